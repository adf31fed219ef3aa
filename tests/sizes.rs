//! Several input sizes in one model file, and what the memory plans of detectors cost; by the command line, called
//! in-process.

use std::path::{Path, PathBuf};

use image::RgbImage;
use kenar::detect::BoxCode;
use kenar::isa::Platform;
use kenar_tests::command::kenar;
use kenar_tests::detectors::random_detector_sizes;
use kenar_tests::random::Random;
use serde_json::{Value, json};

fn ok(args: &[&str]) -> Value {
    let (code, out, err) = kenar(&[args, &["--json"]].concat());
    assert_eq!(code, 0, "{args:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}"))
}

fn refused(args: &[&str], words: &[&str]) {
    let (code, _, err) = kenar(args);
    assert_eq!(code, 1, "{args:?}: {err}");
    words.iter().for_each(|word| assert!(err.contains(word), "{args:?}: no '{word}' in {err}"));
}

fn demo(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo").join(name);
    path.to_str().unwrap().to_owned()
}

/// The demo's classifier, calibrated at and planned for these sizes.
fn classifier(folder: &Path, name: &str, sizes: &[&str]) -> String {
    let model = folder.join(name).to_str().unwrap().to_owned();
    let (source, calib) = (demo("model.safetensors"), demo("calib.bin"));
    let mut args = vec!["convert", &source, "--calib", &calib, "--calib-count", "8"];
    args.extend(["--preset", "cifar10", "-o", &model]);
    sizes.iter().for_each(|size| args.extend(["--input", size]));
    ok(&args);
    model
}

#[test]
fn several_sizes_share_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let one = classifier(dir.path(), "one.kenar", &["32x32"]);
    let three = classifier(dir.path(), "three.kenar", &["32x32", "48x40", "3x24x64"]);
    let bytes = |path: &str| std::fs::metadata(path).unwrap().len();
    assert!(bytes(&three) < bytes(&one) + 8192, "{} and {}", bytes(&one), bytes(&three));
    let [single, several] = [&one, &three].map(|model| ok(&["inspect", model]));
    assert_eq!((&single["version"], &several["version"]), (&json!("1.1"), &json!("1.2")));
    assert_eq!(single["weight_bytes"], several["weight_bytes"]);
    let sizes = several["sizes"].as_array().unwrap();
    assert_eq!(single["sizes"].as_array().unwrap().len(), 1);
    for (size, [h, w]) in sizes.iter().zip([[32, 32], [48, 40], [24, 64]]) {
        assert_eq!((&size["height"], &size["width"]), (&json!(h), &json!(w)));
        assert_eq!(size["outputs"]["output"], json!([1, 10]));
        let number = |key: &str| size[key].as_f64().unwrap();
        let area = f64::from(h * w) / 1024.0;
        let per_pixel = number("macs") / several["macs"].as_f64().unwrap() / area;
        assert!((0.99..1.01).contains(&per_pixel), "{per_pixel}");
        assert!(number("plan_bytes") <= 1.15 * number("plan_floor_bytes"));
    }

    let out = dir.path().join("out.safetensors").to_str().unwrap().to_owned();
    let test = demo("test.bin");
    let run = |size: &[&str], extra: &[&str]| -> Value {
        let args = ["run", &three, &test, "--limit", "3", "-o", &out];
        ok(&[&args[..], size, extra].concat())["hash"].clone()
    };
    let mut hashes = vec![run(&[], &[])];
    assert_eq!(hashes[0], run(&["--size", "32x32"], &[]));
    for size in ["48x40", "24x64"] {
        let hash = run(&["--size", size], &[]);
        for platform in Platform::available() {
            let with = ["--isa", platform.name(), "--threads", "2"];
            assert_eq!(run(&["--size", size], &with), hash, "{size} {}", platform.name());
        }
        assert!(!hashes.contains(&hash));
        hashes.push(hash);
    }

    // Every size follows the float network at that size.
    let source = demo("model.safetensors");
    for size in ["32x32", "48x40", "24x64"] {
        let report = ok(&[
            "eval", &three, "--float", &source, "--data", &test, "--limit", "24", "--size", size,
        ]);
        assert!(report["agreement"].as_f64().unwrap() > 0.85, "{size}: {}", report["agreement"]);
    }
    let bench = ok(&["bench", &three, "--runs", "2", "--size", "48x40"]);
    assert_eq!(bench["macs"], sizes[1]["macs"]);
}

#[test]
fn sizes_that_are_not_there_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let model = classifier(dir.path(), "m.kenar", &["32x32", "32x40"]);
    let (source, calib, test) = (demo("model.safetensors"), demo("calib.bin"), demo("test.bin"));
    let out = dir.path().join("o").to_str().unwrap().to_owned();
    refused(&["bench", &model, "--size", "40x32"], &["40x32", "32x32, 32x40"]);
    refused(&["run", &model, &test, "-o", &out, "--size", "8x8"], &["8x8", "32x32, 32x40"]);
    refused(&["run", &source, &test, "-o", &out, "--size", "32x32"], &["--size", "--input"]);
    let convert = ["convert", &source, "--calib", &calib, "-o", &out];
    let with = |sizes: &[&'static str]| [&convert[..], sizes].concat();
    refused(&with(&["--input", "32x32", "--input", "32x32"]), &["32x32", "twice"]);
    let onnx = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/onnx");
    let mut files: Vec<PathBuf> = std::fs::read_dir(onnx)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .collect();
    files.sort();
    // Files of fixed size say so, whichever of the sizes it is that does not fit.
    let file = files[0].to_str().unwrap();
    let (code, _, err) =
        kenar(&["convert", file, "--calib", "noise", "-o", &out, "--input", "7x1111"]);
    assert_eq!(code, 1, "{err}");
}

/// A picture of coloured patches, so that a random network finds something.
fn picture(width: u32, height: u32) -> RgbImage {
    let mut random = Random::new(3);
    let patches: Vec<u8> = (0..64 * 3).map(|_| random.below(256) as u8).collect();
    RgbImage::from_fn(width, height, |x, y| {
        let patch = 3 * ((8 * y / height) * 8 + 8 * x / width) as usize;
        image::Rgb([patches[patch], patches[patch + 1], patches[patch + 2]])
    })
}

#[test]
fn every_picture_gets_the_size_it_fills() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [[96, 96], [128, 128], [64, 128], [128, 64]];
    let file = random_detector_sizes(5, BoxCode::ExpSize, &sizes, 24);
    let text = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let model = text("det.kenar");
    std::fs::write(&model, file).unwrap();
    let boxes = |image: &str, size: &[&str]| -> Value {
        let args = ["detect", &model, image, "--conf", "0.1"];
        ok(&[&args[..], size].concat())
    };
    for ([width, height], size) in [
        ([300, 290], "128x128"),
        ([400, 190], "64x128"),
        ([100, 220], "128x64"),
        ([96, 96], "128x128"),
    ] {
        let image = text(&format!("{width}.png"));
        picture(width, height).save(&image).unwrap();
        let found = boxes(&image, &[]);
        assert!(!found.as_array().unwrap().is_empty(), "{size}");
        assert_eq!(found, boxes(&image, &["--size", size]), "{size}");
        assert_ne!(found, boxes(&image, &["--size", "96x96"]), "{size}");
    }
    refused(&["detect", &model, &text("96.png"), "--size", "32x32"], &["32x32", "96x96, 128x128"]);
}

/// The trained detectors: producers write where concatenations are read, and no plan exceeds its floor by much.
#[test]
fn detectors_copy_nothing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("KENAR_SHARED").map_or(root, PathBuf::from);
    let zoo = shared.join("zoo/detectors");
    if !zoo.is_dir() {
        println!("skipped: no detectors at {} (set KENAR_SHARED)", shared.display());
        return;
    }
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let dir = tempfile::tempdir().unwrap();
    let model = text(dir.path().join("m.kenar"));
    let (calib, images) = (text(zoo.join("calib.txt")), text(shared.join("data/bccd/JPEGImages")));
    for name in ["wide-dfl", "bottleneck-anchor", "resnext-yolox"] {
        let source = text(zoo.join(name).join("model.pt"));
        let mut args = vec!["convert", &source, "--calib", &calib, "--images", &images];
        args.extend(["--calib-count", "4", "--method", "minmax", "--letterbox", "114"]);
        args.extend(["--preset", "unit", "--input", "320x320", "--input", "256x352", "-o", &model]);
        ok(&args);
        let document = ok(&["inspect", &model]);
        let copies = &document["copies"];
        assert_eq!(copies["concat"], json!({ "tensors": 0, "bytes": 0 }), "{name}");
        assert_eq!(copies["copy"], json!({ "tensors": 0, "bytes": 0 }), "{name}");
        // Two enlarged maps and two other operands going up, four coming down.
        assert_eq!(copies["concat_in_place"]["tensors"], 8, "{name}");
        for size in document["sizes"].as_array().unwrap() {
            let number = |key: &str| size[key].as_f64().unwrap();
            let ratio = number("plan_bytes") / number("plan_floor_bytes");
            println!("{name} {}x{}: {ratio:.3}", size["height"], size["width"]);
            assert!(ratio <= 1.15, "{name}: {ratio}");
        }
    }
}
