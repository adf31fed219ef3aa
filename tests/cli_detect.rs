//! `kenar detect`, from arguments to exit code, streams and pictures; called in-process.

use std::path::{Path, PathBuf};

use image::RgbImage;
use kenar::detect::{BoxCode, Detection, Letterbox, Options};
use kenar::format::Placement;
use kenar::{Model, Session};
use kenar_tests::command::{kenar, ok};
use kenar_tests::detectors::random_detector;
use kenar_tests::random::Random;
use serde_json::Value;
use tempfile::TempDir;

fn boxes(args: &[&str]) -> Vec<Value> {
    let out = ok(&[&["detect"], args, &["--json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}"))
}

/// A picture of coloured patches, so that a random network finds something.
fn picture(seed: u64, width: u32, height: u32) -> RgbImage {
    let mut random = Random::new(seed);
    let patches: Vec<u8> = (0..64 * 3).map(|_| random.below(256) as u8).collect();
    RgbImage::from_fn(width, height, |x, y| {
        let patch = 3 * ((8 * y / height) * 8 + 8 * x / width) as usize;
        image::Rgb([patches[patch], patches[patch + 1], patches[patch + 2]])
    })
}

/// A folder with a detector of 96x128 images (height, width) and three pictures.
fn folder() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let model = random_detector(5, BoxCode::ExpSize, [96, 128], 24);
    std::fs::write(dir.path().join("det.kenar"), model).unwrap();
    std::fs::create_dir(dir.path().join("photos")).unwrap();
    for (name, [width, height]) in
        [("a.png", [128, 96]), ("b.jpg", [300, 200]), ("c.webp", [90, 160])]
    {
        picture(1, width, height).save(dir.path().join("photos").join(name)).unwrap();
    }
    let model = dir.path().join("det.kenar").to_str().unwrap().to_owned();
    (dir, model)
}

fn text(path: PathBuf) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn boxes_are_those_of_the_runtime() {
    let (dir, model) = folder();
    let photo = text(dir.path().join("photos/a.png"));
    let file = std::fs::read(&model).unwrap();
    let parsed = Model::parse(&file).unwrap();
    let mut arena = vec![0; parsed.arena_bytes()];
    let mut session = Session::new(&parsed, &mut arena).unwrap();
    session.input().set_rgb8(&picture(1, 128, 96), 128, 96).unwrap();
    session.run().unwrap();
    let mut buffer = [Detection::default(); 1000];
    let options = Options { confidence: 0.1, ..Options::default() };
    let expected = session.detect(&options, &mut buffer).unwrap();
    let letterbox = Letterbox::new([128, 96], [128, 96], Placement::Centred);
    for extra in [&["--isa", "scalar"][..], &["--threads", "2"]] {
        let found = boxes(&[&[&model, &photo, "--conf", "0.1"], extra].concat());
        assert!(found.len() > 3 && found.len() == expected.len(), "{}", found.len());
        for (found, expected) in found.iter().zip(expected.iter()) {
            let [x1, y1, x2, y2] = letterbox.to_image(expected.corners).map(f64::from);
            for (k, value) in [x1, y1, x2 - x1, y2 - y1].into_iter().enumerate() {
                assert!((found["bbox"][k].as_f64().unwrap() - value).abs() < 1e-2);
            }
            assert_eq!(found["category_id"], expected.class + 1);
            assert!((found["score"].as_f64().unwrap() - f64::from(expected.score)).abs() < 1e-6);
            assert_eq!(found["image_id"], "a");
        }
    }
}

#[test]
fn folders_and_patterns_are_annotated_into_a_folder() {
    let (dir, model) = folder();
    let (photos, out) = (text(dir.path().join("photos")), text(dir.path().join("found")));
    let printed = ok(&["detect", &model, &photos, "-o", &out, "--conf", "0.1"]);
    assert!(printed.contains("3 images: ") && printed.contains("a.png"), "{printed}");
    for (name, size) in [("a.png", (128, 96)), ("b.jpg", (300, 200)), ("c.webp", (90, 160))] {
        let drawn = image::open(Path::new(&out).join(name)).unwrap().into_rgb8();
        assert_eq!(drawn.dimensions(), size);
        let changed = drawn
            .pixels()
            .zip(image::open(Path::new(&photos).join(name)).unwrap().into_rgb8().pixels())
            .filter(|(a, b)| a != b)
            .count();
        assert!(changed > 100, "{name}: {changed}");
    }
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 3);
    let pattern = text(dir.path().join("photos/[ac].*"));
    let all = boxes(&[&model, &pattern, "--conf", "0.1"]);
    let mut ids: Vec<&str> = all.iter().map(|one| one["image_id"].as_str().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids, ["a", "c"]);
}

#[test]
fn thresholds_and_classes_choose() {
    let (dir, model) = folder();
    let photo = text(dir.path().join("photos/b.jpg"));
    let all = boxes(&[&model, &photo, "--conf", "0.05", "--iou", "0.9", "--multi-label"]);
    let scores: Vec<f64> = all.iter().map(|one| one["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|&s| s > 0.05));
    let class = all[0]["category_id"].as_u64().unwrap();
    let name = (class - 1).to_string();
    let some = boxes(&[
        &model,
        &photo,
        "--conf",
        "0.05",
        "--iou",
        "0.9",
        "--multi-label",
        "--classes",
        &name,
    ]);
    assert!(!some.is_empty() && some.iter().all(|one| one["category_id"] == class));
    assert_eq!(boxes(&[&model, &photo, "--conf", "0.05", "--max-det", "2"]).len(), 2);
    assert_eq!(boxes(&[&model, &photo, "--conf", "1"]).len(), 0);
    let all = ["--conf", "0.05", "--iou", "0", "--max-det", "1000"];
    let agnostic = boxes(&[&[model.as_str(), &photo][..], &all, &["--agnostic"]].concat());
    let within = boxes(&[&[model.as_str(), &photo][..], &all].concat());
    assert!(agnostic.len() < within.len(), "{} {}", agnostic.len(), within.len());
}

#[test]
fn what_cannot_be_done_is_said_and_leaves_nothing() {
    let (dir, model) = folder();
    let at = |name: &str| text(dir.path().join(name));
    let photo = at("photos/a.png");
    std::fs::write(at("broken.jpg"), "no image").unwrap();
    let other = kenar_tests::models::random_model(1, kenar_tests::models::Size::TINY);
    std::fs::write(at("other.kenar"), other).unwrap();
    let refused = |args: &[&str], words: &[&str]| {
        let (code, out, err) = kenar(&[&["detect"], args].concat());
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}: {err}");
        for word in words {
            assert!(err.contains(word), "{args:?}: '{word}' is missing in: {err}");
        }
    };
    let (out, broken, plain) = (at("out.png"), at("broken.jpg"), at("other.kenar"));
    refused(&[&plain, &photo], &["other.kenar", "head"]);
    refused(&[&model, &broken, "-o", &out], &["broken.jpg", "is no image"]);
    refused(&[&model, &at("absent.jpg")], &["absent.jpg"]);
    refused(&[&model, &at("*.tiff")], &["*.tiff"]);
    refused(&[&model, &photo, "-o", &photo], &["overwrite"]);
    refused(&[&model, &photo, "-o", &model], &["det.kenar"]);
    refused(&[&model, &photo, "--classes", "20"], &["--classes 20", "0 to 19"]);
    refused(&[&model, &photo, "--preset", "unit"], &["--preset", "model file"]);
    assert!(!Path::new(&out).exists());

    // One bad image among others: those are done, and it is named.
    let folder = at("found");
    let (code, printed, err) = kenar(&["detect", &model, &photo, &broken, "-o", &folder]);
    assert_eq!(code, 1);
    assert!(printed.contains("1 image: ") && err.contains("broken.jpg") && err.contains("1 of 2"));
    assert!(Path::new(&folder).join("a.png").exists());
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

/// A model file of ONNX with statements beside its graph: fields of a message may follow it.
fn with_metadata(mut file: Vec<u8>, statements: &[(&str, &str)]) -> Vec<u8> {
    fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
        out.push(tag << 3 | 2);
        let mut length = bytes.len();
        while length > 127 {
            out.push(length as u8 | 128);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend(bytes);
    }
    for (key, value) in statements {
        let mut entry = Vec::new();
        field(&mut entry, 1, key.as_bytes());
        field(&mut entry, 2, value.as_bytes());
        field(&mut file, 14, &entry);
    }
    file
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/detect").join(name)
}

#[test]
fn anchors_that_an_onnx_file_lacks_come_from_a_file_of_a_few_lines() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| text(dir.path().join(name));
    picture(3, 24, 16).save(dir.path().join("photo.png")).unwrap();
    let (source, photo, model) =
        (text(fixture("anchor_raw_ts17.onnx")), at("photo.png"), at("m.kenar"));
    // Without them it converts, and everything that boxes are asked of says what helps.
    let convert = ["convert", &source, "-o", &model, "--calib", "noise", "--calib-count", "4"];
    assert!(ok(&convert).contains("--arch FILE.toml"));
    for detector in [&source, &model] {
        let (code, _, err) = kenar(&["detect", detector, &photo]);
        assert_eq!(code, 1);
        assert!(
            err.contains(if detector == &source { "--arch FILE.toml" } else { "convert" }),
            "{err}"
        );
    }
    let anchors = "anchors = [[[3, 4], [5, 5], [8, 6]], [[9, 12], [14, 10], [16, 16]]]";
    let file = at("head.toml");
    let labels = "labels = [\"ant\", \"bee\", \"cat\"]";
    std::fs::write(&file, format!("[head]\n{anchors}\n{labels}\n")).unwrap();
    ok(&[&convert[..], &["--arch", &file]].concat());
    let options = [&photo, "--conf", "0.1"];
    let int8 = boxes(&[&[&*model][..], &options].concat());
    let float = boxes(&[&[&*source][..], &options, &["--arch", &file]].concat());
    assert!(!float.is_empty() && float.len().abs_diff(int8.len()) <= 1 + float.len() / 5);
    assert!(["ant", "bee", "cat"].contains(&int8[0]["category_name"].as_str().unwrap()));
    for (wrong, words) in [
        ("anchors = [[[3, 4]]]", "expected 3 on each of 2"),
        ("labels = [\"ant\"]", "1 labels are given, the head has 3 classes"),
        ("classes = 3", "says nothing that an ONNX file leaves open"),
    ] {
        std::fs::write(&file, format!("[head]\n{wrong}\n")).unwrap();
        let (code, _, err) = kenar(&[&convert[..], &["--arch", &file]].concat());
        assert!(code == 1 && err.contains(words), "{err}");
    }
}

#[test]
fn names_and_sizes_that_exporters_state_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| text(dir.path().join(name));
    let (source, model, own) = (at("net.onnx"), at("m.kenar"), at("own.txt"));
    let names = "{0: 'red cell', 1: \"white cell\", 2: 'platelet'}";
    let file = std::fs::read(fixture("dfl_open_ts17.onnx")).unwrap();
    let stated = [("names", names), ("imgsz", "[64, 96]"), ("task", "detect"), ("stride", "8")];
    std::fs::write(&source, with_metadata(file.clone(), &stated)).unwrap();
    std::fs::write(&own, "a\nb\nc\n").unwrap();
    let convert = ["convert", &source, "-o", &model, "--calib", "noise", "--calib-count", "2"];
    let labels = || -> Vec<String> {
        let document: Value = serde_json::from_str(&ok(&["inspect", &model, "--json"])).unwrap();
        let shape = document["inputs"].as_object().unwrap().values().next().unwrap();
        assert!(shape.as_array().unwrap().contains(&64.into()), "{shape}");
        document["labels"].as_array().unwrap().iter().map(|l| l.as_str().unwrap().into()).collect()
    };
    assert!(ok(&convert).contains("96x64 is taken"));
    assert_eq!(labels(), ["red cell", "white cell", "platelet"]);
    ok(&[&convert[..], &["--labels", &own]].concat());
    assert_eq!(labels(), ["a", "b", "c"]);
    // Names of other classes are left out, and said so.
    let two = [("names", "['ant', 'bee']"), ("imgsz", "64")];
    std::fs::write(&source, with_metadata(file.clone(), &two)).unwrap();
    assert!(ok(&convert).contains("names 2 classes"));
    assert!(labels().is_empty());
    // A head for another task is told by its name.
    let pose = [("task", "pose"), ("imgsz", "64")];
    let file = std::fs::read(fixture("refused_softmax_ts17.onnx")).unwrap();
    std::fs::write(&source, with_metadata(file, &pose)).unwrap();
    let (code, _, err) = kenar(&convert);
    assert!(code == 1 && err.contains("'pose'") && err.contains("keypoints"), "{err}");
}

#[test]
fn the_time_of_every_step_is_told() {
    let (dir, model) = folder();
    let (photos, out) = (text(dir.path().join("photos")), text(dir.path().join("found")));
    let printed = ok(&["detect", &model, &photos, "-o", &out, "--json", "--timing"]);
    let document: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(document["images"], 3);
    assert_eq!(document["results"], Value::from(boxes(&[&model, &photos])));
    for step in ["read", "resize", "network", "boxes", "draw", "write", "elapsed"] {
        assert!(document["milliseconds"][step].as_f64().unwrap() > 0.0, "{step}: {document}");
    }
    let printed = ok(&["detect", &model, &photos]);
    assert!(printed.contains("network ") && printed.contains("by the clock"), "{printed}");
    assert_eq!(kenar(&["detect", &model, &photos, "--timing"]).0, 2);
}
