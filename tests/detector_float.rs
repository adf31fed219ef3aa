//! Trained detectors from their weights alone: every named map equals PyTorch's, and the head is understood.

use std::path::{Path, PathBuf};

use kenar::detect::BoxCode;
use kenar_convert::exec::{self, Executor};
use kenar_convert::fold;
use kenar_convert::import::{self, LoadOptions, Source};
use ndarray::{ArrayD, IxDyn};
use safetensors::SafeTensors;
use serde_json::Value;

const DETECTORS: [&str; 3] = ["wide-dfl", "bottleneck-anchor", "resnext-yolox"];

fn zoo() -> Option<PathBuf> {
    let shared = std::env::var_os("KENAR_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let zoo = shared.join("zoo/detectors");
    if zoo.is_dir() {
        return Some(zoo);
    }
    eprintln!("skipped: no trained detectors at {} (set KENAR_SHARED)", zoo.display());
    None
}

fn spec(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("spec.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn map(golden: &SafeTensors<'_>, name: &str) -> ArrayD<f32> {
    let tensor = golden.tensor(name).unwrap();
    let values = tensor.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
    ArrayD::from_shape_vec(IxDyn(tensor.shape()), values).unwrap()
}

/// The golden images as the network wants them.
fn images(golden: &SafeTensors<'_>, spec: &Value) -> ArrayD<f32> {
    let (mean, std) = (numbers(&spec["input"]["mean"]), numbers(&spec["input"]["std"]));
    let tensor = golden.tensor("image").unwrap();
    let &[n, h, w, c] = tensor.shape() else { panic!("{:?}", tensor.shape()) };
    let pixel = |i: &[usize]| f32::from(tensor.data()[((i[0] * h + i[2]) * w + i[3]) * c + i[1]]);
    ArrayD::from_shape_fn(IxDyn(&[n, c, h, w]), |i| {
        let i = [i[0], i[1], i[2], i[3]];
        (pixel(&i) / 255.0 - mean[i[1]]) / std[i[1]]
    })
}

fn relative_error(got: &ArrayD<f32>, want: &ArrayD<f32>) -> f32 {
    assert_eq!(got.shape(), want.shape());
    let largest = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    got.iter().zip(want).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

fn load(path: &Path, options: LoadOptions) -> Source {
    import::load(path, &options).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn every_map_equals_pytorch() {
    let Some(zoo) = zoo() else { return };
    println!("{:20} {:12} {:>10} {:>10}", "detector", "container", "loaded", "folded");
    for name in DETECTORS {
        let folder = zoo.join(name);
        let bytes = std::fs::read(folder.join("golden.safetensors")).unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let spec = spec(&folder);
        let mut outputs: Vec<String> =
            spec["outputs"].as_object().unwrap().keys().cloned().collect();
        outputs.extend(["c3", "c4", "c5", "p3", "p4", "p5"].map(str::to_owned));
        let images = images(&golden, &spec);
        for file in ["model.pt", "model.safetensors"] {
            let options = LoadOptions { outputs: outputs.clone(), ..LoadOptions::default() };
            let source = load(&folder.join(file), options);
            assert!(source.outputs_refused.is_none(), "{:?}", source.outputs_refused);
            let graph = &source.graph;
            assert_eq!(spec["derived"]["parameters"], graph.parameters, "{name}");
            assert_eq!(spec["derived"]["macs"], graph.macs(), "{name}");
            let (folded, _) = fold::run(&source.graph).unwrap();
            let (mut before, mut after) = (0.0f32, 0.0f32);
            let loaded = exec::run(&source.graph, &images).unwrap();
            let merged = Executor::new(&folded).unwrap().run(&images).unwrap();
            for (output, (loaded, merged)) in outputs.iter().zip(loaded.iter().zip(&merged)) {
                let want = map(&golden, output);
                before = before.max(relative_error(loaded, &want));
                after = after.max(relative_error(merged, &want));
            }
            println!("{name:20} {file:12} {before:10.1e} {after:10.1e}");
            assert!(before <= 1e-4 && after <= 1e-4, "{name}: {before} {after}");
        }
    }
}

#[test]
fn heads_are_understood_as_far_as_weights_show() {
    let Some(zoo) = zoo() else { return };
    for name in DETECTORS {
        let folder = zoo.join(name);
        let spec = spec(&folder);
        let source = load(&folder.join("model.safetensors"), LoadOptions::default());
        let names: Vec<&str> = source.graph.outputs.iter().map(|o| o.name.as_str()).collect();
        let mut wanted: Vec<&String> = spec["outputs"].as_object().unwrap().keys().collect();
        wanted.sort_by_key(|n| {
            (&n[..2], ["reg", "obj", "cls", "pred"].iter().position(|k| n.ends_with(k)))
        });
        assert_eq!(names, wanted, "{name}");
        let head = source.head.unwrap();
        if name == "bottleneck-anchor" {
            assert!(head.levels.iter().all(|l| l.anchors.is_empty()));
            assert!(
                source.notes.iter().any(|n| n.contains("anchors = [[[w, h]")),
                "{:?}",
                source.notes
            );
            continue;
        }
        let code =
            if name == "wide-dfl" { BoxCode::Dfl { bins: 16 } } else { BoxCode::ExpDistance };
        assert_eq!(
            (head.code, head.centre, head.classes, head.anchors_per_cell),
            (code, 0.5, 3, 1)
        );
        let strides: Vec<u32> = head.levels.iter().map(|l| l.stride).collect();
        assert_eq!(strides, [8, 16, 32]);
        assert_eq!(head.levels[0].objectness.is_some(), name == "resnext-yolox");
        // Without being told, the normalisation is that of training.
        let hint = head.input.unwrap();
        assert_eq!(
            (hint.mean.to_vec(), hint.std.to_vec()),
            (numbers(&spec["input"]["mean"]), numbers(&spec["input"]["std"]))
        );
    }
}

#[test]
fn what_weights_do_not_show_comes_from_a_file_of_a_few_lines() {
    let Some(zoo) = zoo() else { return };
    let folder = zoo.join("bottleneck-anchor");
    let spec = spec(&folder);
    let anchors = &spec["model"]["anchors"];
    let text = format!(
        "[input]\npreset = \"imagenet\"\n[head]\nanchors = {anchors}\nlabels = {}\n",
        spec["classes"]
    );
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("cells.toml");
    std::fs::write(&file, text).unwrap();
    let arch = Some(file.to_string_lossy().into_owned());
    let source = load(&folder.join("model.pt"), LoadOptions { arch, ..LoadOptions::default() });
    let head = source.head.unwrap();
    assert_eq!((head.code, head.anchors_per_cell, head.classes), (BoxCode::Anchor, 3, 3));
    assert_eq!(head.labels, ["RBC", "WBC", "Platelets"]);
    assert_eq!(head.levels[1].anchors, [[42.0, 42.0], [52.0, 50.0], [62.0, 66.0]]);
    let hint = head.input.unwrap();
    assert_eq!(
        (hint.mean.to_vec(), hint.std.to_vec()),
        (numbers(&spec["input"]["mean"]), numbers(&spec["input"]["std"]))
    );
    let level = &head.levels[2];
    assert_eq!((level.stride, level.scores.first, level.scores.per_anchor), (32, 5, 8));
}
