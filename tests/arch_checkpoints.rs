//! Trained checkpoints, where they are: parameter counts and logits as measured with PyTorch.

use std::path::{Path, PathBuf};

use kenar_convert::{arch, data, exec, import};
use ndarray::{ArrayD, Axis, concatenate};

fn shared() -> Option<PathBuf> {
    let dir = std::env::var_os("KENAR_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from)
        .join("data");
    if !dir.is_dir() {
        println!("skipped: no data at {}", dir.display());
        return None;
    }
    Some(dir)
}

/// File, what it is called, family, parameters.
const CHECKPOINTS: &[(&str, Option<&str>, &str, usize)] = &[
    ("resnet20-12fca82f.th", Some("resnet20"), "cifar-resnet", 269_722),
    ("resnet32-d509ac18.th", Some("resnet32"), "cifar-resnet", 464_154),
    ("resnet56-4bfd9763.th", Some("resnet56"), "cifar-resnet", 853_018),
    ("wrn-16-1-seed-2-dict.pth", Some("wrn-16-1"), "wide-resnet", 175_066),
    ("wrn-16-2-seed-2-dict.pth", Some("wrn-16-2"), "wide-resnet", 691_674),
    ("wrn-40-1-seed-1-dict.pth", Some("wrn-40-1"), "wide-resnet", 563_930),
    ("4_0_0_80x80_MiniFASNetV1SE.pth", None, "mini-fasnet", 433_586),
];

#[test]
fn trained_checkpoints_give_their_parameters_and_logits() {
    let Some(dir) = shared() else { return };
    let text = std::fs::read(dir.join("cifar10/reference_logits.json")).unwrap();
    let reference: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let images = data::Dataset::open(&dir.join("cifar10/test_lossless.bin"), None).unwrap().take(8);
    for (file, model, family, parameters) in CHECKPOINTS {
        let ckpt = import::checkpoint::read(&dir.join("checkpoints").join(file)).unwrap();
        let arch = arch::recognise(&ckpt).unwrap();
        assert_eq!((arch.model.as_deref(), arch.family.as_str()), (*model, *family), "{file}");
        let graph = arch::build(&ckpt, &arch, None).unwrap();
        assert_eq!(graph.parameters, *parameters, "{file}");
        let Some(wanted) = reference["logits"][file].as_array() else { continue };
        let preprocess = arch.preprocess().unwrap().unwrap();
        let inputs: Vec<ArrayD<f32>> =
            images.samples(&preprocess).map(|s| s.unwrap().tensor).collect();
        let views: Vec<_> = inputs.iter().map(|a| a.view()).collect();
        let logits = exec::run(&graph, &concatenate(Axis(0), &views).unwrap()).unwrap().remove(0);
        assert_eq!(logits.shape(), [8, 10]);
        let wanted = wanted.iter().flat_map(|row| row.as_array().unwrap());
        let error = logits
            .iter()
            .zip(wanted)
            .fold(0f64, |m, (a, b)| m.max((f64::from(*a) - b.as_f64().unwrap()).abs()));
        println!("{file:32} largest difference of a logit {error:.1e}");
        assert!(error < 1e-3, "{file}: {error}");
    }
}

#[test]
fn the_face_network_reads_raw_bgr_crops() {
    let Some(dir) = shared() else { return };
    let file = dir.join("checkpoints/4_0_0_80x80_MiniFASNetV1SE.pth");
    let ckpt = import::checkpoint::read(&file).unwrap();
    let arch = arch::recognise(&ckpt).unwrap();
    assert_eq!(arch.input.size, [80, 80]);
    assert!(arch.input.bgr);
    let graph = arch::build(&ckpt, &arch, None).unwrap();
    let count = |name: &str| graph.nodes().iter().filter(|n| n.op.name() == name).count();
    // Identity residuals in the stages of 4, 6 and 2 blocks; one squeeze-excitation in each.
    assert_eq!((count("Add"), count("Mul"), count("Sigmoid")), (12, 3, 3));
    let input = ArrayD::from_shape_fn(vec![1, 3, 80, 80], |i| {
        let [c, h, w] = [i[1], i[2], i[3]];
        ((c * 131 + h * 17 + w * 29 + (h * w) % 57) % 256) as f32
    });
    let logits = exec::run(&graph, &input).unwrap().remove(0);
    // PyTorch's forward pass over the same image.
    for (found, wanted) in logits.iter().zip([1.5783, 1.8493, -3.4293]) {
        assert!((found - wanted).abs() < 2e-4, "{logits}");
    }
}
