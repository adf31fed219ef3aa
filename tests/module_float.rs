//! A trained detector that was saved as a module: raw outputs of PyTorch, and the boxes of a reference implementation.

use std::path::{Path, PathBuf};

use kenar::detect::{Letterbox, Options};
use kenar_convert::data::{self, Fit, Preprocess};
use kenar_convert::detect::{FloatHead, find, separate};
use kenar_convert::exec::{self, Executor};
use kenar_convert::fold;
use kenar_convert::import::{self, LoadOptions, Source};
use ndarray::{ArrayD, IxDyn};
use serde_json::Value;

fn detectors() -> Option<PathBuf> {
    let shared = std::env::var_os("KENAR_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let folder = shared.join("data/detectors");
    if folder.join("yolov5n.pt").is_file() {
        return Some(folder);
    }
    eprintln!("skipped: no yolov5n.pt at {} (set KENAR_SHARED)", folder.display());
    None
}

fn load(folder: &Path, size: [usize; 2]) -> Source {
    let options = LoadOptions { input: Some([3, size[0], size[1]]), ..LoadOptions::default() };
    import::load(&folder.join("yolov5n.pt"), &options).unwrap_or_else(|e| panic!("{e}"))
}

/// For the pixels `i * 7919 % 1000 / 1000` of a 64x96 image: output, values, mean magnitude, the value 17 behind each
/// quarter. From PyTorch 2.15 with fp32 arithmetic on the fp16 weights.
const RAW: [(&str, usize, f64, [f32; 4]); 3] = [
    ("p3_pred", 24480, 5.048_049_448, [-0.011_615_45, -4.635_19, -4.229_298, -4.496_846]),
    ("p4_pred", 6120, 5.058_399_825, [-0.349_825_1, -4.523_432, -4.275_635, -4.761_971]),
    ("p5_pred", 1530, 5.145_803_459, [-0.197_478_2, -3.491_758, -6.594_615, -6.579_803]),
];

#[test]
fn raw_outputs_of_pytorch() {
    let Some(folder) = detectors() else { return };
    let source = load(&folder, [64, 96]);
    assert_eq!((source.kind, source.graph.family.as_str()), ("pytorch-module", "yolov5n"));
    assert_eq!(source.graph.parameters, 1_872_157);
    let pixels = (0..3 * 64 * 96).map(|i| (i * 7919 % 1000) as f32 / 1000.0).collect();
    let input = ArrayD::from_shape_vec(IxDyn(&[1, 3, 64, 96]), pixels).unwrap();
    let (folded, _) = fold::run(&source.graph).unwrap();
    for graph in [&source.graph, &folded] {
        let outputs = exec::run(graph, &input).unwrap();
        for ((output, values), (name, count, mean, samples)) in
            graph.outputs.iter().zip(&outputs).zip(RAW)
        {
            assert_eq!((output.name.as_str(), values.len()), (name, count));
            let found = values.iter().map(|v| f64::from(v.abs())).sum::<f64>() / count as f64;
            assert!((found - mean).abs() <= 1e-4 * mean, "{name}: {found}");
            for (quarter, sample) in samples.into_iter().enumerate() {
                let value = *values.iter().nth(quarter * count / 4 + 17).unwrap();
                assert!((value - sample).abs() <= 1e-4 * mean as f32, "{name}: {value}, {sample}");
            }
        }
    }
}

fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
    let area = |c: [f32; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let both = side(0) * side(1);
    both / (area(a) + area(b) - both)
}

#[test]
fn boxes_of_the_reference() {
    let Some(folder) = detectors() else { return };
    let text = std::fs::read(folder.join("reference_float32.json")).unwrap();
    let reference: Value = serde_json::from_slice(&text).unwrap();
    let source = load(&folder, [640, 640]);
    let raw = source.head.unwrap();
    assert_eq!((raw.labels.len(), raw.labels[16].as_str()), (80, "dog"));
    assert_eq!(raw.levels[2].anchors, [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]]);
    let hint = raw.input.unwrap();
    let (graph, spec) = separate(&source.graph, &raw).unwrap();
    let (graph, _) = fold::run(&graph).unwrap();
    let head = FloatHead::new(&spec, &graph).unwrap();
    let executor = Executor::new(&graph).unwrap();
    let preprocess = Preprocess {
        size: [640, 640],
        mean: hint.mean,
        std: hint.std,
        order: hint.order,
        fit: Fit::Letterbox(data::Letterbox::top_left(114)),
    };
    let (mut worst, mut apart) = (1.0f32, 0.0f32);
    for (name, wanted) in reference["yolov5n.pt"].as_object().unwrap() {
        let image = data::read_image(&folder.join("images").join(name)).unwrap();
        let outputs = executor.run(&preprocess.normalize(&preprocess.fit(&image))).unwrap();
        let found = find(&head.decoder(&outputs).unwrap(), &Options::default(), 1000);
        let placement = kenar::format::Placement::TopLeft;
        let size = [image.width as u32, image.height as u32];
        let letterbox = Letterbox::new(size, [640, 640], placement);
        let wanted = wanted.as_array().unwrap();
        let number = |row: &Value, i: usize| row[i].as_f64().unwrap() as f32;
        let clear = wanted.iter().filter(|row| number(row, 1) > 0.27);
        for row in clear.clone() {
            let corners = [2, 3, 4, 5].map(|i| number(row, i));
            let same = found.iter().filter(|f| f.detection.class == number(row, 0) as u32);
            let fit = |f: &kenar_convert::detect::Found| {
                overlap(letterbox.to_image(f.detection.corners), corners)
            };
            let best = same.max_by(|a, b| fit(a).total_cmp(&fit(b)));
            let best = best.unwrap_or_else(|| panic!("{name}: {row} not found"));
            worst = worst.min(fit(best));
            apart = apart.max((best.detection.score - number(row, 1)).abs());
        }
        let ours = found.iter().filter(|f| f.detection.score > 0.27).count();
        assert!(ours.abs_diff(clear.count()) <= 1, "{name}: {found:?} {wanted:?}");
    }
    println!("yolov5n: overlap at least {worst:.3}, scores at most {apart:.4} apart");
    // Photographs are scaled by another program, in bytes.
    assert!(worst > 0.93 && apart < 0.04, "{worst} {apart}");
}
