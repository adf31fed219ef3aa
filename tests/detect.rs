//! Boxes: those of the trained detectors against PyTorch's, and the same bits on every instruction set.

use std::collections::HashMap;
use std::path::PathBuf;

use kenar::detect::{BoxCode, Decoder, Detection, Options, hash};
use kenar::isa::Platform;
use kenar::{Model, Options as Execution, Session};
use kenar_convert::detect::{HeadSpec, LevelSpec};
use kenar_tests::detectors::{CODES, random_detector};
use kenar_tests::zoo::read_tensors;
use ndarray::{ArrayD, Axis, Slice};

/// The folder of trained detectors, if it is there.
fn trained() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let folder = std::env::var_os("KENAR_SHARED").map_or_else(|| default.into(), PathBuf::from);
    let folder = folder.join("zoo/detectors");
    if !folder.is_dir() {
        println!("skipped: no trained detectors at {}", folder.display());
        return None;
    }
    Some(folder)
}

/// The head that `spec.json` describes.
fn head_of(spec: &serde_json::Value) -> HeadSpec {
    let anchors = |level: usize| -> Vec<[f32; 2]> {
        let side = |v: &serde_json::Value| v.as_f64().expect("a number") as f32;
        let anchor = |a: &serde_json::Value| [side(&a[0]), side(&a[1])];
        spec["model"]["anchors"][level].as_array().into_iter().flatten().map(anchor).collect()
    };
    let code = match spec["model"]["head"].as_str() {
        Some("dfl") => BoxCode::Dfl { bins: 16 },
        Some("yolox") => BoxCode::ExpDistance,
        Some("anchor") => BoxCode::Anchor,
        other => panic!("{other:?}"),
    };
    let level = |(index, stride)| LevelSpec {
        stride,
        boxes: format!("p{}_reg", index + 3),
        objectness: (!matches!(code, BoxCode::Dfl { .. })).then(|| format!("p{}_obj", index + 3)),
        scores: format!("p{}_cls", index + 3),
        points: None,
        anchors: anchors(index),
    };
    HeadSpec {
        kind: "zoo".into(),
        code,
        centre: 0.5,
        anchors_per_cell: anchors(0).len().max(1),
        classes: 3,
        points: 0,
        levels: [8, 16, 32].into_iter().enumerate().map(level).collect(),
    }
}

/// Takes `pN_pred` apart: channel = anchor * 8 + (4 of the box, objectness, 3 classes).
fn separate(tensors: &mut HashMap<String, ArrayD<f32>>) {
    for level in 3..6 {
        let Some(mixed) = tensors.remove(&format!("p{level}_pred")) else { continue };
        for (name, components) in [("reg", 0..4), ("obj", 4..5), ("cls", 5..8)] {
            let channels: Vec<usize> =
                (0..3).flat_map(|anchor| components.clone().map(move |k| 8 * anchor + k)).collect();
            let part = mixed.select(Axis(1), &channels).as_standard_layout().into_owned();
            tensors.insert(format!("p{level}_{name}"), part);
        }
    }
}

#[test]
fn trained_detectors_decode_as_in_pytorch() {
    let Some(folder) = trained() else { return };
    for name in ["wide-dfl", "bottleneck-anchor", "resnext-yolox"] {
        let text = std::fs::read_to_string(folder.join(name).join("spec.json")).unwrap();
        let spec = head_of(&serde_json::from_str(&text).unwrap());
        let mut tensors = read_tensors(&folder.join(name).join("golden.safetensors"));
        separate(&mut tensors);
        let names: Vec<&str> = spec.outputs().collect();
        let head = spec.record(&names).unwrap();
        for image in 0..2 {
            let one = |name: &str| {
                tensors[name].slice_axis(Axis(0), Slice::from(image..image + 1)).into_owned()
            };
            let maps: Vec<ArrayD<f32>> = names.iter().map(|name| one(name)).collect();
            let sizes = [[40, 40], [20, 20], [10, 10]];
            let decoder =
                Decoder::from_f32(head, &sizes, |o| maps[o as usize].as_slice().unwrap()).unwrap();
            let (boxes, scores) = (one("boxes"), one("scores"));
            assert_eq!(decoder.candidates() as usize, boxes.shape()[1], "{name}");
            let (mut farthest, mut worst) = (0.0f32, 0.0f32);
            for candidate in 0..decoder.candidates() {
                let at = candidate as usize;
                for (k, corner) in decoder.corners(candidate).into_iter().enumerate() {
                    farthest = farthest.max((corner - boxes[[0, at, k]]).abs());
                }
                for class in 0..3 {
                    let error = decoder.score(candidate, class) - scores[[0, at, class as usize]];
                    worst = worst.max(error.abs());
                }
            }
            println!("{name}: corners within {farthest:.1e} px, scores within {worst:.1e}");
            assert!(farthest < 1e-3 && worst < 1e-5, "{name}: {farthest} px, {worst}");
        }
    }
}

/// What was found in a fixed pattern, with its hash, and whether outputs were equal too.
fn found(session: &mut Session<'_, '_>, options: &Options<'_>) -> (u64, Vec<Detection>, u64) {
    session.input().set_pattern(3);
    session.run().unwrap();
    let outputs = session.output_hash().unwrap();
    let mut buffer = vec![Detection::default(); 500];
    let found = session.detect(options, &mut buffer).unwrap();
    (outputs, found.to_vec(), hash(found))
}

#[test]
fn boxes_have_the_same_bits_on_every_instruction_set_and_thread_count() {
    for code in CODES {
        let file = random_detector(5, code, [96, 128], 40);
        let model = Model::parse(&file).unwrap();
        let mut arena = vec![0; model.arena_bytes()];
        for (confidence, best_class) in [(0.05, false), (0.3, true)] {
            let options = Options { confidence, best_class, max_boxes: 200, ..Options::default() };
            let expected = found(&mut Session::new(&model, &mut arena).unwrap(), &options);
            assert!(expected.1.len() > 10, "{code:?}: {} boxes", expected.1.len());
            for platform in Platform::available() {
                for threads in [1, 2, 3] {
                    let execution = Execution { platform, threads };
                    let mut session = Session::with_options(&model, &mut arena, execution).unwrap();
                    let this = found(&mut session, &options);
                    assert_eq!(this, expected, "{code:?}, {}, {threads}", platform.name());
                }
            }
        }
    }
}

/// The boxes of the definition itself, written down: a change of any of them is a change of results.
#[test]
fn boxes_have_the_bits_that_are_written_down() {
    const HASHES: [u64; 5] = [
        0x8959_28e0_6e3c_3355,
        0x736e_9f4d_cc1e_e618,
        0x1dc9_d0bb_6753_b3c2,
        0xca72_3eb0_6871_58c3,
        0x622a_5e8c_1c44_994c,
    ];
    let mut hashes = Vec::new();
    for code in CODES {
        let file = random_detector(5, code, [96, 128], 40);
        let model = Model::parse(&file).unwrap();
        let mut arena = vec![0; model.arena_bytes()];
        let mut session = Session::new(&model, &mut arena).unwrap();
        hashes.push(found(&mut session, &Options::default()).2);
    }
    assert_eq!(hashes, HASHES, "{hashes:#018x?}");
}

#[test]
fn only_detectors_have_boxes() {
    let file = kenar_tests::models::random_model(1, kenar_tests::models::Size::TINY);
    let model = Model::parse(&file).unwrap();
    let mut arena = vec![0; model.arena_bytes()];
    let session = Session::new(&model, &mut arena).unwrap();
    let refused = session.detect(&Options::default(), &mut []).unwrap_err();
    assert_eq!(refused, kenar::Error::NoHead);
    let file = random_detector(5, BoxCode::ExpSize, [32, 32], 8);
    let model = Model::parse(&file).unwrap();
    let mut arena = vec![0; model.arena_bytes()];
    let session = Session::new(&model, &mut arena).unwrap();
    let refused = session.detect(&Options::default(), &mut []).unwrap_err();
    assert_eq!(refused, kenar::Error::NotRun);
}
