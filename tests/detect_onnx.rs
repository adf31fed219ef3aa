//! Detectors as ONNX files: the cut between network and decode, what was recognised, and the boxes behind it, compared
//! with ONNX Runtime.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use kenar::detect::BoxCode;
use kenar_convert::detect::{self, Cut, FloatHead, HeadSpec};
use kenar_convert::graph::Graph;
use kenar_convert::import::onnx;
use kenar_convert::{Error, exec, fold};
use kenar_tests::zoo::{detector_images, read_tensors};
use ndarray::{ArrayD, Axis};

type Tensors = HashMap<String, ArrayD<f32>>;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/detect")
}

/// The `.onnx` files of a folder that have a reference, sorted.
fn models(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|e| e.expect("a readable folder").path());
    let is_model = |p: &PathBuf| {
        p.extension().is_some_and(|e| e == "onnx") && p.with_extension("safetensors").exists()
    };
    let mut models: Vec<_> = paths.filter(is_model).collect();
    models.sort();
    models
}

/// Largest difference, by the largest value.
fn relative(found: &ArrayD<f32>, expected: &ArrayD<f32>) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(0f32, |m, (a, b)| if a.is_finite() { m.max((a - b).abs()) } else { f32::INFINITY })
        / largest
}

/// The worst output of a graph, by name.
fn worst(graph: &Graph, input: &ArrayD<f32>, reference: &Tensors) -> f32 {
    let outputs = exec::run(graph, input).expect("the graph runs");
    let named = graph.outputs.iter().zip(&outputs);
    named.fold(0f32, |m, (o, found)| m.max(relative(found, &reference[&o.name])))
}

/// Corners of a box and scores by class.
type Row = ([f32; 4], Vec<f32>);

/// What a file's own decode gave, one row per candidate.
fn decoded(tensors: &Tensors, head: &HeadSpec, size: [f32; 2]) -> Option<Vec<Row>> {
    if let (Some(boxes), Some(scores)) = (tensors.get("boxes"), tensors.get("scores")) {
        let unit = if boxes.iter().all(|v| v.abs() < 8.0) { size } else { [1.0; 2] };
        let rows = boxes.index_axis(Axis(0), 0);
        // Scores beyond 0 to 1 are logits.
        let logits = scores.iter().any(|v| !(0.0..=1.0).contains(v));
        let score = |v: &f32| if logits { 1.0 / (1.0 + (-v).exp()) } else { *v };
        let scores = scores.index_axis(Axis(0), 0);
        let row = |(b, s): (ndarray::ArrayViewD<f32>, ndarray::ArrayViewD<f32>)| {
            let corners = std::array::from_fn(|i| b[[i].as_slice()] * unit[i % 2]);
            (corners, s.iter().map(score).collect())
        };
        return Some(rows.outer_iter().zip(scores.outer_iter()).map(row).collect());
    }
    let output = tensors.get("output0").or_else(|| tensors.get("output"))?;
    let columns = 4 + usize::from(head.levels[0].objectness.is_some()) + head.classes;
    let table = output.index_axis(Axis(0), 0);
    let table = if table.shape()[1] == columns { table } else { table.reversed_axes() };
    let row = |r: ndarray::ArrayViewD<f32>| {
        let v: Vec<f32> = r.iter().copied().collect();
        let [x, y, w, h] = [v[0], v[1], v[2], v[3]];
        let first = columns - head.classes;
        let objectness = if first == 5 { v[4] } else { 1.0 };
        let corners = [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0];
        (corners, v[first..].iter().map(|s| s * objectness).collect())
    };
    Some(table.outer_iter().map(row).collect())
}

/// Errors of one file.
#[derive(Debug, Default)]
struct Errors {
    /// Results of the file's own graph before and after folding, raw maps, relative.
    graph: f32,
    folded: f32,
    raw: f32,
    /// Decoded boxes and scores against ONNX Runtime: pixels, and relative to a coordinate where it is large.
    pixels: f32,
    score: f32,
    /// Boxes against the file's own decode in the same executor.
    own: f32,
}

/// Cuts, separates, folds and runs a network; compares every stage with the reference. `anchors` are for files that hold
/// none.
fn compare(
    graph: &Graph,
    reference: &Tensors,
    whole_graph: bool,
    anchors: &[Vec<[f32; 2]>],
) -> (Cut, HeadSpec, Errors) {
    let input = &reference["input"];
    let mut errors = Errors::default();
    let mut own = None;
    if whole_graph {
        let outputs = exec::run(graph, input).expect("the graph runs");
        let named = graph.outputs.iter().map(|o| o.name.clone()).zip(outputs);
        own = Some(named.collect::<Tensors>());
        errors.graph =
            own.iter().flatten().fold(0.0, |m, (name, v)| m.max(relative(v, &reference[name])));
        errors.folded = worst(&fold::run(graph).expect("folds").0, input, reference);
    }
    let mut cut = detect::cut(graph).unwrap_or_else(|e| panic!("{e}")).expect("a detector");
    if cut.head.lacks_anchors() && !anchors.is_empty() {
        cut.head.set_anchors(anchors).expect("anchors that fit");
    }
    let (separate, spec) = detect::separate(&cut.graph, &cut.head).expect("separates");
    let (folded, _) = fold::run(&separate).expect("folds");
    let outputs = exec::run(&folded, input).expect("runs");
    for (output, found) in folded.outputs.iter().zip(&outputs) {
        if let Some(expected) = reference.get(&output.name) {
            errors.raw = errors.raw.max(relative(found, expected));
        }
    }
    let size = [input.shape()[3] as f32, input.shape()[2] as f32];
    if !spec.is_complete() {
        return (cut, spec, errors);
    }
    let head = FloatHead::new(&spec, &folded).expect("a head");
    let decoder = head.decoder(&outputs).expect("fits");
    let distance = |rows: Option<Vec<Row>>| {
        let (mut pixels, mut score) = (0f32, 0f32);
        for (candidate, (corners, scores)) in rows.iter().flatten().enumerate() {
            assert_eq!(decoder.candidates() as usize, rows.iter().flatten().count());
            for (a, b) in decoder.corners(candidate as u32).iter().zip(corners) {
                // Beyond 1,000 pixels a coordinate is allowed an error in proportion.
                pixels = pixels.max((a - b).abs() / (b.abs() / 1000.0).max(1.0));
            }
            for (class, expected) in scores.iter().enumerate() {
                let found = decoder.score(candidate as u32, class as u32);
                score = score.max((found - expected).abs());
            }
        }
        (pixels, score)
    };
    (errors.pixels, errors.score) = distance(decoded(reference, &spec, size));
    errors.own = distance(own.and_then(|own| decoded(&own, &spec, size))).0;
    (cut, spec, errors)
}

fn image_size(reference: &Tensors) -> [usize; 3] {
    let &[_, c, h, w] = reference["input"].shape() else { panic!("no image") };
    [c, h, w]
}

/// What must be recognised: kind, code, anchors a cell, objectness, landmarks, decode in the graph.
fn expected(name: &str) -> (&'static str, BoxCode, usize, bool, usize) {
    match name.split('_').next().unwrap_or_default() {
        "dfl" => ("YOLOv8", BoxCode::Dfl { bins: 8 }, 1, false, 0),
        "anchor" => ("YOLOv5", BoxCode::Anchor, 3, true, 0),
        "yolox" => ("YOLOX", BoxCode::ExpSize, 1, true, 0),
        "exp" => ("FCOS", BoxCode::ExpDistance, 1, true, 0),
        "pixels" => ("SCRFD", BoxCode::Distance, 1, false, 0),
        "scrfd" => ("SCRFD", BoxCode::Distance, 2, false, 5),
        other => panic!("{other}"),
    }
}

#[test]
fn every_way_of_decoding_is_recognised_and_gives_the_same_boxes() {
    let models = models(&fixtures());
    assert!(models.len() >= 19, "{} files", models.len());
    for path in models {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name.starts_with("refused") {
            continue;
        }
        let mut reference = read_tensors(&path.with_extension("safetensors"));
        let open = name.contains("open").then(|| image_size(&reference));
        let graph = onnx::read(&path, open).unwrap_or_else(|e| panic!("{e}"));
        let undecoded = name.starts_with("yolox_ts");
        if undecoded {
            // The same network with its decode in the graph says where the boxes are.
            let decoded = read_tensors(&fixtures().join("yolox_decoded_ts17.safetensors"));
            assert_eq!(decoded["input"], reference["input"]);
            reference = decoded;
        }
        let (cut, spec, errors) = compare(&graph, &reference, !undecoded, &[]);
        println!("{name}: {}: {errors:?}", cut.notes.join("; "));
        let (kind, code, anchors, objectness, points) = expected(&name);
        assert_eq!((spec.kind.as_str(), spec.code), (kind, code), "{name}");
        assert_eq!(
            (spec.anchors_per_cell, spec.classes),
            (anchors, if points > 0 { 1 } else { 3 })
        );
        assert_eq!(
            (spec.levels[0].objectness.is_some(), spec.points),
            (objectness, points),
            "{name}"
        );
        let strides: Vec<u32> = spec.levels.iter().map(|l| l.stride).collect();
        assert_eq!(strides, [4, 8], "{name}");
        if code == BoxCode::Anchor && !name.contains("raw") {
            assert_eq!(spec.levels[0].anchors, [[5.0, 7.0], [9.0, 6.0], [11.0, 13.0]], "{name}");
            assert_eq!(
                spec.levels[1].anchors,
                [[17.0, 12.0], [20.0, 24.0], [40.0, 30.0]],
                "{name}"
            );
        } else {
            assert_eq!(spec.is_complete(), !name.contains("raw") || code != BoxCode::Anchor);
        }
        // Each part is a convolution's output, with nothing behind it.
        let outputs: usize = spec.outputs().count();
        assert_eq!(outputs, cut.graph.outputs.len(), "{name}");
        assert!(
            errors.graph < 1e-5 && errors.folded < 1e-5 && errors.raw < 1e-5,
            "{name}: {errors:?}"
        );
        assert!(errors.pixels.max(errors.own) < 1e-3, "{name}: {errors:?}");
        assert!(errors.score < 1e-5, "{name}: {errors:?}");
    }
}

#[test]
fn a_decode_that_is_not_understood_is_refused_by_node() {
    let refused = |name: &str| {
        let graph = onnx::read(&fixtures().join(name), None).unwrap();
        match detect::cut(&graph) {
            Err(e @ Error::Graph { .. }) => e.to_string(),
            other => panic!("{name}: {other:?}"),
        }
    };
    let message = refused("refused_softmax_ts17.onnx");
    assert!(message.contains("node '") && message.contains("sigmoid"), "{message}");
    let message = refused("refused_old_anchor_ts17.onnx");
    assert!(message.contains("node '") && message.contains("as YOLOv5 does"), "{message}");
}

#[test]
fn networks_without_a_head_are_left_alone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/onnx");
    for path in models(&folder) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let reference = read_tensors(&path.with_extension("safetensors"));
        let open = name.contains("open").then(|| image_size(&reference));
        let graph = onnx::read(&path, open).unwrap();
        match detect::cut(&graph) {
            Ok(None) => {}
            // Lists of cells that are no boxes.
            Err(Error::Graph { .. }) if name.starts_with("detector") => {}
            other => panic!("{name}: {:?}", other.map(|c| c.map(|c| c.notes))),
        }
    }
}

/// A folder of shared material, where it is installed.
fn folder(variable: &str, default: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(default);
    let folder = std::env::var_os(variable).map_or(root, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no {} (set {variable})", folder.display());
    None
}

#[test]
fn exported_yolo_networks_give_the_same_boxes() {
    let Some(folder) = folder("KENAR_YOLO", "../target/yolo") else { return };
    for path in models(&folder) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let reference = read_tensors(&path.with_extension("safetensors"));
        let open = name.contains("open").then(|| image_size(&reference));
        let graph = onnx::read(&path, open).unwrap_or_else(|e| panic!("{e}"));
        let (cut, spec, errors) = compare(&graph, &reference, true, &[]);
        println!("{name}: {}: {errors:?}", cut.notes.join("; "));
        let anchor = name.contains("anchor");
        let code = if anchor { BoxCode::Anchor } else { BoxCode::Dfl { bins: 16 } };
        assert_eq!((spec.code, spec.classes, spec.levels.len()), (code, 80, 3), "{name}");
        assert!(spec.is_complete());
        assert!(
            errors.graph < 1e-4 && errors.folded < 1e-4 && errors.raw < 1e-4,
            "{name}: {errors:?}"
        );
        // Random weights amplify rounding, so boxes differ more between executors than between decodes.
        assert!(
            errors.own < 1e-3 && errors.pixels < 0.2 && errors.score < 2e-3,
            "{name}: {errors:?}"
        );
    }
}

/// The images of a trained detector's reference, `[N, 3, H, W]`, normalised as its description says.
fn golden(folder: &Path) -> (ArrayD<f32>, Tensors) {
    let expected = read_tensors(&folder.join("golden.safetensors"));
    (detector_images(folder), expected)
}

#[test]
fn trained_detectors_are_recognised_and_give_the_same_boxes() {
    let Some(shared) = folder("KENAR_SHARED", "../../shared") else { return };
    for (name, kind, code) in [
        ("wide-dfl", "YOLOv8", BoxCode::Dfl { bins: 16 }),
        ("bottleneck-anchor", "YOLOv5", BoxCode::Anchor),
        ("resnext-yolox", "FCOS", BoxCode::ExpDistance),
    ] {
        let folder = shared.join("zoo/detectors").join(name);
        let (input, expected) = golden(&folder);
        for file in ["model.onnx", "model-decoded.onnx"] {
            let graph = onnx::read(&folder.join(file), None).unwrap_or_else(|e| panic!("{e}"));
            let text = std::fs::read(folder.join("spec.json")).expect("a description");
            let described: serde_json::Value =
                serde_json::from_slice(&text).expect("a description");
            let anchors: Vec<Vec<[f32; 2]>> =
                serde_json::from_value(described["model"]["anchors"].clone()).unwrap_or_default();
            let mut worst = Errors::default();
            for i in 0..input.shape()[0] {
                let one = |a: &ArrayD<f32>| a.slice_axis(Axis(0), (i..=i).into()).to_owned();
                let mut reference: Tensors =
                    expected.iter().map(|(k, v)| (k.clone(), one(v))).collect();
                reference.insert("input".into(), one(&input));
                let (_, spec, errors) = compare(&graph, &reference, false, &anchors);
                assert_eq!((spec.kind.as_str(), spec.code, spec.classes), (kind, code, 3));
                let strides: Vec<u32> = spec.levels.iter().map(|l| l.stride).collect();
                assert_eq!(strides, [8, 16, 32]);
                if code == BoxCode::Anchor {
                    assert_eq!(
                        spec.levels[2].anchors,
                        [[80.0, 76.0], [100.0, 92.0], [124.0, 112.0]]
                    );
                }
                worst.raw = worst.raw.max(errors.raw);
                worst.pixels = worst.pixels.max(errors.pixels);
                worst.score = worst.score.max(errors.score);
            }
            println!("{name}/{file}: {worst:?}");
            assert!(worst.raw < 1e-4 && worst.pixels < 1e-3 && worst.score < 1e-4, "{worst:?}");
        }
    }
}

#[test]
fn published_detectors_are_recognised() {
    let Some(shared) = folder("KENAR_SHARED", "../../shared") else { return };
    for (name, kind, code, anchors, classes, points) in [
        ("yolox_nano", "YOLOX", BoxCode::ExpSize, 1, 80, 0),
        ("scrfd_2.5g_kps", "SCRFD", BoxCode::Distance, 2, 1, 5),
    ] {
        let path = shared.join("data/detectors").join(format!("{name}.onnx"));
        let graph = onnx::read(&path, None).unwrap_or_else(|e| panic!("{e}"));
        let cut = detect::cut(&graph).unwrap_or_else(|e| panic!("{e}")).expect("a detector");
        let (separate, spec) = detect::separate(&cut.graph, &cut.head).unwrap();
        assert_eq!((spec.kind.as_str(), spec.code), (kind, code));
        assert_eq!((spec.anchors_per_cell, spec.classes, spec.points), (anchors, classes, points));
        assert_eq!(spec.outputs().count(), separate.outputs.len());
        let strides: Vec<u32> = spec.levels.iter().map(|l| l.stride).collect();
        assert_eq!(strides, [8, 16, 32]);
        println!("{name}: {}", cut.notes.join("; "));
    }
}
