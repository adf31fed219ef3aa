//! `kenar eval` on detectors: small networks on drawn images, and the mean average precision of the trained detectors, float
//! and int8, from every kind of source.

use std::path::{Path, PathBuf};

use kenar_convert::data::{Dataset, Fit, Letterbox, Preprocess, Preset};
use kenar_tests::command;
use safetensors::SafeTensors;
use serde_json::Value;

/// Name, mAP@0.5, mAP@0.5:0.95 as measured in PyTorch, options that say how it was trained.
const DETECTORS: [(&str, f64, f64, &[&str]); 3] = [
    ("wide-dfl", 0.8569, 0.5713, &["--preset", "unit"]),
    ("bottleneck-anchor", 0.8956, 0.5440, &["--preset", "imagenet"]),
    ("resnext-yolox", 0.8612, 0.5500, &["--preset", "unit"]),
];
/// The figures were measured on the pixels of another JPEG decoder, which rounds colours differently by a level or two; a
/// platelet found or lost is 0.007 of mAP@0.5. On that decoder's pixels they agree to four places.
const TOLERANCE: f64 = 0.003;

fn shared() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("KENAR_SHARED").map_or(root, PathBuf::from);
    if shared.join("zoo/detectors").is_dir() {
        return Some(shared);
    }
    eprintln!("skipped: no detectors at {} (set KENAR_SHARED)", shared.display());
    None
}

fn kenar(args: &[&str]) -> String {
    let (code, out, err) = command::kenar(args);
    assert_eq!(code, 0, "{args:?}: {err}");
    out
}

/// Converts with the 60 images of the calibration list and evaluates on the 67 of the validation set.
fn evaluate(shared: &Path, name: &str, source: &str, options: &[&str]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let zoo = shared.join("zoo/detectors");
    let images = text(shared.join("data/bccd/JPEGImages"));
    let source = text(zoo.join(name).join(source));
    let (model, calib) = (text(dir.path().join("m.kenar")), text(zoo.join("calib.txt")));
    let truth = text(zoo.join("val.coco.json"));
    let convert = [
        "convert", &source, "-o", &model, "--calib", &calib, "--images", &images, "--labels",
        &truth,
    ];
    kenar(&[&convert[..], &["--letterbox", "114"], options].concat());
    let document = kenar(&[
        "eval",
        &model,
        "--float",
        &source,
        "--data",
        &truth,
        "--images",
        &images,
        "--layer-images",
        "0",
        "--json",
    ]);
    serde_json::from_str(&document).unwrap()
}

fn check(source: &str, names: &[&str]) {
    let Some(shared) = shared() else { return };
    for (name, map50, map, options) in DETECTORS.into_iter().filter(|d| names.contains(&d.0)) {
        let report = evaluate(&shared, name, source, options);
        let figure = |network: &str, key: &str| report[network][key].as_f64().unwrap();
        eprintln!(
            "{name}/{source}: float {:.4} {:.4}, int8 {:.4} {:.4}, paired {}",
            figure("float", "map50"),
            figure("float", "map"),
            figure("int8", "map50"),
            figure("int8", "map"),
            report["paired"]
        );
        assert_eq!(report["n"], 67);
        for (key, expected) in [("map50", map50), ("map", map)] {
            let float = figure("float", key);
            assert!((float - expected).abs() < TOLERANCE, "{name}: {key} {float}, not {expected}");
        }
    }
}

#[test]
fn from_onnx_with_decode() {
    check("model-decoded.onnx", &["wide-dfl", "bottleneck-anchor", "resnext-yolox"]);
}

#[test]
fn from_pickled_state_dicts() {
    check("model.pt", &["wide-dfl", "resnext-yolox"]);
}

#[test]
fn letterboxed_photos_are_those_the_detectors_saw() {
    let Some(shared) = shared() else { return };
    let zoo = shared.join("zoo/detectors");
    let golden = std::fs::read(zoo.join("wide-dfl/golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&golden).unwrap();
    let golden = golden.tensor("image").unwrap();
    let images = shared.join("data/bccd/JPEGImages");
    let data = Dataset::open(&zoo.join("val.txt"), Some(&images)).unwrap();
    assert!(data.is_annotated());
    let fit = Fit::Letterbox(Letterbox::centred(114));
    let preprocess = Preprocess { fit, ..Preprocess::preset(Preset::Unit, [320, 320]) };
    let expected = golden.data().chunks_exact(3 * 320 * 320);
    for (sample, expected) in data.samples(&preprocess).zip(expected) {
        let sample = sample.unwrap();
        assert_eq!(sample.original, [480, 640]);
        let pixels = sample.pixels.unwrap().data;
        let differences = pixels.iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
        // Another JPEG decoder: a level or two.
        let (max, sum) = differences.fold((0, 0u64), |(m, s), d| (d.max(m), s + u64::from(d)));
        assert!(max <= 4 && sum < pixels.len() as u64 / 4, "{}: {max} {sum}", sample.name);
    }
}

#[test]
fn lists_and_files_of_annotations_hold_the_same_boxes() {
    let Some(shared) = shared() else { return };
    let (zoo, images) = (shared.join("zoo/detectors"), shared.join("data/bccd/JPEGImages"));
    let list = Dataset::open(&zoo.join("val.txt"), Some(&images)).unwrap();
    let coco = Dataset::open(&zoo.join("val.coco.json"), Some(&images)).unwrap();
    let (voc, coco) = (list.annotations().unwrap(), coco.annotations().unwrap());
    assert_eq!(voc.classes, ["Platelets", "RBC", "WBC"]);
    assert!(voc.notes[0].starts_with("1 boxes without an area"), "{:?}", voc.notes);
    assert_eq!(coco.classes, ["RBC", "WBC", "Platelets"]);
    let voc = voc.in_classes_of(&coco.classes, 3).unwrap();
    assert_eq!(voc.images, coco.images);
    let root = Dataset::open(&shared.join("data/bccd"), None).unwrap();
    assert_eq!((root.len(), root.annotations().unwrap().images.len()), (344, 344));
}

/// Three images with boxes, in the form of VOC, and a small detector for them.
fn small() -> (tempfile::TempDir, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let voc = dir.path().join("voc");
    for folder in ["JPEGImages", "Annotations"] {
        std::fs::create_dir_all(voc.join(folder)).unwrap();
    }
    for i in 0..3u8 {
        let pixel = |x: u32, y: u32| {
            image::Rgb([x * 5 + u32::from(i) * 31, y * 7, x * y].map(|v| (v % 251) as u8))
        };
        let image = image::RgbImage::from_fn(48, 32, pixel);
        let text = (0..3).map(|c| {
            format!(
                "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>2</ymin><xmax>{}</xmax><ymax>30</ymax></bndbox></object>",
                ["ant", "bee", "cat"][c],
                4 * c,
                20 + 8 * c
            )
        });
        let text = format!("<annotation>{}</annotation>", text.collect::<String>());
        std::fs::write(voc.join(format!("Annotations/{i}.xml")), text).unwrap();
        image.save(voc.join(format!("JPEGImages/{i}.png"))).unwrap();
    }
    let labels = dir.path().join("labels.txt");
    std::fs::write(&labels, "bee\ncat\nant\n").unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/detect/anchor_ts17.onnx");
    let [source, labels, voc, model] =
        [source, labels, voc, dir.path().join("m.kenar")].map(|p| p.to_str().unwrap().to_owned());
    kenar(&[
        "convert",
        &source,
        "-o",
        &model,
        "--calib",
        &voc,
        "--letterbox",
        "114",
        "--preset",
        "unit",
        "--labels",
        &labels,
    ]);
    (dir, model, source)
}

#[test]
fn reports_hold_precision_pairs_and_classes() {
    let (dir, model, source) = small();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (voc, curves) = (path("voc"), path("curves"));
    let eval = ["eval", &model, "--float", &source, "--data", &voc];
    let report =
        kenar(&[&eval[..], &["--json", "--curves", &curves, "--paired-conf", "0.05"]].concat());
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["n"], 3);
    for network in ["float", "int8"] {
        for figure in ["map", "map50", "map75", "recall_100"] {
            let value = report[network][figure].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&value), "{network} {figure}: {value}");
        }
    }
    let difference =
        |key: &str| report["float"][key].as_f64().unwrap() - report["int8"][key].as_f64().unwrap();
    assert_eq!(report["drop"]["map"].as_f64().unwrap(), difference("map"));
    let classes = report["classes"].as_array().unwrap();
    let names: Vec<&str> = classes.iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bee", "cat", "ant"]);
    assert!(classes.iter().all(|c| c["objects"] == 3));
    let paired = &report["paired"];
    assert_eq!(paired["confidence"], 0.05, "what the flag says, to the last digit");
    assert!(paired["float_boxes"].as_u64().unwrap() > 0, "{paired}");
    assert!(paired["matched_50"].as_f64().unwrap() > 0.8, "{paired}");
    for file in ["all.svg", "class ant.svg", "class bee.svg", "class cat.svg"] {
        let svg = std::fs::read_to_string(dir.path().join("curves").join(file)).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("precision"), "{file}");
    }
    let text = kenar(&eval);
    for word in ["mAP@0.5:0.95", "drop", "bee", "IoU ≥ 0.9", "SQNR"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let photos = path("voc/JPEGImages/0.png");
    let text = kenar(&["eval", &model, "--float", &source, "--data", &photos]);
    assert!(text.contains("no mAP") && !text.contains("mAP@0.5"), "{text}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let (dir, model, source) = small();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (voc, photo, two) = (path("voc"), path("voc/JPEGImages/0.png"), path("two.txt"));
    std::fs::write(&two, "ant\nbee\n").unwrap();
    let others = path("others.txt");
    std::fs::write(&others, "car\nbus\nvan\n").unwrap();
    for (options, words) in [
        (&["--data", &photo, "--curves", "x"][..], "--curves"),
        (&["--data", &voc, "--labels", &two], "2 class names"),
        (&["--data", &voc, "--labels", &others], "none of the data set's classes"),
    ] {
        let args = [&["eval", &model, "--float", &source][..], options].concat();
        let (code, _, err) = command::kenar(&args);
        assert_eq!(code, 1, "{options:?}");
        assert!(err.contains(words), "{options:?}: {err}");
    }
    assert!(!Path::new("x").exists());
}
