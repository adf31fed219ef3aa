//! The command line, from arguments to exit code, streams and files; called in-process.

use std::path::{Path, PathBuf};
use std::process::Command;

use kenar_tests::command::{self, ok};
use safetensors::SafeTensors;
use serde_json::Value;

/// What a call left behind.
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

fn kenar(args: &[&str]) -> Outcome {
    let (code, out, err) = command::kenar(args);
    Outcome { code, out, err }
}

/// Runs a command whose standard output has to be one JSON document.
fn json(args: &[&str]) -> Value {
    let out = ok(args);
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}"))
}

/// Runs a command that has to fail with exit code 1, saying nothing on standard output and all of `words`.
fn refused(args: &[&str], words: &[&str]) {
    let o = kenar(args);
    assert_eq!((o.code, o.out.as_str()), (1, ""), "{args:?}: {}", o.err);
    assert!(o.err.starts_with("error: "), "{args:?}: {}", o.err);
    for word in words {
        assert!(o.err.contains(word), "{args:?}: '{word}' is missing in: {}", o.err);
    }
}

fn demo_file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/demo").join(name);
    path.to_str().unwrap().to_owned()
}

/// A folder with a model file made from the demo network.
fn converted() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("demo.kenar").to_str().unwrap().to_owned();
    let (source, calib) = (demo_file("model.safetensors"), demo_file("calib.bin"));
    ok(&[
        "convert",
        &source,
        "--calib",
        &calib,
        "--calib-count",
        "24",
        "--preset",
        "cifar10",
        "-o",
        &model,
    ]);
    (dir, model)
}

fn listing(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn documents_have_the_keys_that_scripts_rely_on() {
    let (dir, model) = converted();
    let (source, test) = (demo_file("model.safetensors"), demo_file("test.bin"));

    for file in [&source, &model] {
        let d = json(&["inspect", file, "--json"]);
        assert_eq!(d["parameters"], 175_066, "{file}");
        assert_eq!(d["macs"], 26_657_408, "{file}");
        assert_eq!(d["family"], "wide-resnet", "{file}");
        assert_eq!(
            d["inputs"].as_object().unwrap().values().next().unwrap(),
            &serde_json::json!([1, 3, 32, 32])
        );
        assert_eq!(d["outputs"]["output"], serde_json::json!([1, 10]), "{file}");
        assert!(d["arena_bytes"].as_u64().unwrap() > 32 * 32 * 16, "{file}");
        assert!(d["weight_bytes"].as_u64().unwrap() > 170_000, "{file}");
        assert!(!d["layers"].as_array().unwrap().is_empty());
    }

    let d = json(&["eval", &model, "--float", &source, "--data", &test, "--limit", "48", "--json"]);
    assert_eq!(d["n"], 48);
    for key in ["float", "int8"] {
        let top1 = d[key]["top1"].as_f64().unwrap();
        assert!((0.8..=1.0).contains(&top1), "{key}: {top1}");
    }
    assert!(d["agreement"].as_f64().unwrap() > 0.9);
    assert_eq!(d["notes"], serde_json::json!([]));
    let layers = d["layers"].as_array().unwrap();
    assert!(layers.len() > 15);
    assert!(layers.iter().all(|l| l["sqnr_db"].as_f64().unwrap() > 15.0 && l["name"].is_string()));

    let d = json(&["bench", &model, "--runs", "3", "--threads", "1,2", "--per-layer", "--json"]);
    for result in [&d, &d["results"][1]] {
        for key in ["median_ms", "p90_ms", "min_ms", "gmacs_per_s", "peak_fraction"] {
            assert!(result[key].as_f64().unwrap() > 0.0, "{key}: {result}");
        }
        assert_eq!((&result["runs"], &result["macs"]), (&3.into(), &26_657_408.into()));
        assert!(result["isa"].is_string() && result["layers"].as_array().unwrap().len() > 10);
    }
    assert_eq!((&d["threads"], &d["results"][1]["threads"]), (&1.into(), &2.into()));
    assert_eq!(d["output_hash"], d["results"][1]["output_hash"]);

    let out = dir.path().join("o.safetensors").to_str().unwrap().to_owned();
    let d = json(&["run", &model, &test, "--limit", "2", "-o", &out, "--json"]);
    assert_eq!((&d["n"], &d["outputs"]["output"]), (&2.into(), &serde_json::json!([2, 10])));
    assert_eq!(d["hash"].as_str().unwrap().len(), 16);
}

#[test]
fn runs_write_f32_or_raw_values_that_agree() {
    let (dir, model) = converted();
    let (source, test) = (demo_file("model.safetensors"), demo_file("test.bin"));
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (real, raw, float) =
        (path("real.safetensors"), path("raw.safetensors"), path("float.safetensors"));
    let hash = |args: &[&str]| json(args)["hash"].as_str().unwrap().to_owned();
    let first = hash(&["run", &model, &test, "--limit", "5", "-o", &real, "--json"]);
    let second = hash(&["run", &model, &test, "--limit", "5", "--raw", "-o", &raw, "--json"]);
    ok(&["run", &source, &test, "--limit", "5", "--preset", "cifar10", "-o", &float]);
    assert_eq!(first, second);
    // Every kernel family and thread count gives the same bytes.
    for platform in kenar::isa::Platform::available() {
        for threads in ["1", "2", "3"] {
            let args = ["run", &model, &test, "--limit", "5", "-o", &real, "--json"];
            let args = [&args[..], &["--isa", platform.name(), "--threads", threads]].concat();
            assert_eq!(hash(&args), first, "{} {threads}", platform.name());
        }
    }

    let floats = |path: &str, name: &str| -> Vec<f32> {
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let t = file.tensor(name).unwrap();
        t.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let real = floats(&real, "output");
    let bytes = std::fs::read(&raw).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let q = file.tensor("output").unwrap();
    assert_eq!(q.shape(), [5, 1, 1, 10]);
    let scale = floats(&raw, "output.scale")[0];
    let zero = file.tensor("output.zero_point").unwrap();
    let zero = i32::from_le_bytes(zero.data().try_into().unwrap());
    assert_eq!(q.dtype(), safetensors::Dtype::I16);
    for (real, q) in real.iter().zip(q.data().chunks_exact(2)) {
        let q = i16::from_le_bytes(q.try_into().unwrap());
        assert_eq!(*real, (i32::from(q) - zero) as f32 * scale);
    }
    let float = floats(&float, "output");
    let noise: f32 = real.iter().zip(&float).map(|(a, b)| (a - b).powi(2)).sum();
    let signal: f32 = float.iter().map(|a| a.powi(2)).sum();
    assert!(signal / noise > 100.0, "int8 outputs are far from float: {signal} / {noise}");
}

#[test]
fn an_image_gets_a_table_of_classes() {
    let (dir, model) = converted();
    let image = dir.path().join("sign.png");
    let out = dir.path().join("o.safetensors").to_str().unwrap().to_owned();
    let data = std::fs::read(demo_file("test.bin")).unwrap();
    let record = &data[..3073];
    let pixels: Vec<u8> =
        (0..1024).flat_map(|i| [0, 1, 2].map(|c| record[1 + 1024 * c + i])).collect();
    std::fs::write(&image, png(32, 32, &pixels)).unwrap();
    let names = std::fs::read_to_string(demo_file("labels.txt")).unwrap();
    let label = names.lines().nth(record[0] as usize).unwrap();
    let text = ok(&["run", &model, image.to_str().unwrap(), "-o", &out]);
    let first = text.lines().find(|l| l.trim_start().starts_with("1 ")).unwrap();
    assert!(first.contains(label), "{text}");
    let d = json(&["run", &model, image.to_str().unwrap(), "-o", &out, "--json"]);
    assert_eq!(d["top5"][0]["label"], label);
    assert_eq!(d["top5"].as_array().unwrap().len(), 5);
}

/// An uncompressed PNG.
fn png(width: u32, height: u32, rgb: &[u8]) -> Vec<u8> {
    let crc = |bytes: &[u8]| {
        !bytes.iter().fold(!0u32, |mut crc, &byte| {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            }
            crc
        })
    };
    let mut raw = Vec::new();
    for row in rgb.chunks(3 * width as usize) {
        raw.push(0);
        raw.extend_from_slice(row);
    }
    let (a, b) = raw.iter().fold((1u32, 0u32), |(a, b), &x| {
        let a = (a + u32::from(x)) % 65521;
        (a, (b + a) % 65521)
    });
    let len = raw.len() as u16;
    let mut zlib = vec![0x78, 1, 1];
    zlib.extend_from_slice(&len.to_le_bytes());
    zlib.extend_from_slice(&(!len).to_le_bytes());
    zlib.extend_from_slice(&raw);
    zlib.extend_from_slice(&((b << 16) | a).to_be_bytes());
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = width.to_be_bytes().to_vec();
    header.extend_from_slice(&height.to_be_bytes());
    header.extend_from_slice(&[8, 2, 0, 0, 0]);
    for (kind, data) in [(b"IHDR", &header), (b"IDAT", &zlib), (b"IEND", &Vec::new())] {
        file.extend_from_slice(&(data.len() as u32).to_be_bytes());
        let chunk = [&kind[..], data].concat();
        file.extend_from_slice(&chunk);
        file.extend_from_slice(&crc(&chunk).to_be_bytes());
    }
    file
}

#[test]
fn bad_input_is_named_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (source, calib) = (demo_file("model.safetensors"), demo_file("calib.bin"));
    let (out, absent) = (path("out.kenar"), path("absent.pt"));
    let bytes = std::fs::read(&source).unwrap();
    let cut = path("cut.safetensors");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let images = std::fs::read(&calib).unwrap();
    let short = path("short.bin");
    std::fs::write(&short, &images[..5000]).unwrap();
    let copy = path("copy.safetensors");
    std::fs::write(&copy, &bytes).unwrap();
    let two = path("two.txt");
    std::fs::write(&two, "a\nb\n").unwrap();
    let empty = path("empty");
    std::fs::create_dir(&empty).unwrap();
    let before = listing(dir.path());

    let convert = |source: &str, calib: &str, more: &[&str], words: &[&str]| {
        let args = ["convert", source, "--calib", calib, "-o", out.as_str()];
        refused(&[&args[..], more].concat(), words);
    };
    refused(&["convert", &source, "-o", &out], &["--calib", "folder", "noise"]);
    convert(&absent, &calib, &[], &["absent.pt"]);
    convert(&cut, &calib, &[], &["cut.safetensors"]);
    convert(dir.path().to_str().unwrap(), &calib, &[], &["is a folder"]);
    convert(&source, &absent, &[], &["absent.pt"]);
    convert(&source, &short, &[], &["short.bin", "3073", "record 1"]);
    convert(&source, &empty, &[], &["empty", "no images"]);
    convert(&source, &source, &[], &["model.safetensors", "expected 'input'"]);
    convert(&source, &calib, &["--outputs", "nowhere"], &["'nowhere'", "model.safetensors"]);
    convert(&source, &calib, &["--input", "1x32x32"], &["model.safetensors", "1x32x32"]);
    convert(&source, &calib, &["--arch", "resnet50"], &["model.safetensors"]);
    convert(&source, &calib, &["--labels", &two], &["2 class names"]);
    convert(&source, &calib, &["--mean", "124,117,104", "--std", "58,57,57"], &["pixel / 255"]);
    let args = ["convert", &copy, "--calib", &calib, "-o", &copy];
    refused(&args, &["overwrite its own source"]);
    let args = ["convert", &source, "--calib", &calib, "-o", &path("no/such/folder.kenar")];
    refused(&args, &["there is no folder"]);
    assert_eq!(listing(dir.path()), before);
    assert_eq!(std::fs::read(&copy).unwrap(), bytes);

    refused(&["inspect", &path("two.txt")], &["two.txt"]);
    refused(&["bench", &source], &["model.safetensors", "is no model file"]);
    refused(&["eval", &source, "--float", &source, "--data", &calib], &["is no model file"]);
    refused(&["run", &source, &calib, "--raw", "-o", &path("o.safetensors")], &["--raw"]);
    assert_eq!(listing(dir.path()), before);
}

#[test]
fn damaged_and_foreign_model_files_are_refused() {
    let (dir, model) = converted();
    let damaged = dir.path().join("damaged.kenar").to_str().unwrap().to_owned();
    let mut bytes = std::fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, &bytes).unwrap();
    refused(&["inspect", &damaged], &["damaged.kenar"]);
    refused(&["bench", &damaged], &["damaged.kenar"]);
    std::fs::write(&damaged, &bytes[..middle]).unwrap();
    refused(&["inspect", &damaged, "--json"], &["damaged.kenar"]);

    let calib = demo_file("calib.bin");
    let again = dir.path().join("again.kenar").to_str().unwrap().to_owned();
    refused(&["convert", &model, "--calib", &calib, "-o", &again], &["is a model file already"]);
    refused(
        &["eval", &model, "--float", &model, "--data", &calib],
        &["demo.kenar", "is a model file"],
    );
    refused(&["inspect", &model, "--arch"], &["--arch is about checkpoints"]);
    let out = dir.path().join("o.safetensors").to_str().unwrap().to_owned();
    refused(&["run", &model, &calib, "--preset", "unit", "-o", &out], &["--preset"]);
}

#[test]
fn an_isa_of_another_machine_is_refused_with_what_there_is() {
    let (_dir, model) = converted();
    let foreign = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
    refused(&["bench", &model, "--isa", foreign], &[foreign, "scalar"]);
}

#[test]
fn conversion_is_reproducible_and_outputs_can_be_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let source = demo_file("model.safetensors");
    let args = ["convert", &source, "--calib", "noise", "--calib-count", "3", "--json"];
    let outputs = ["--outputs", "stage1,c2"];
    for name in ["a.kenar", "b.kenar"] {
        let d = json(&[&args[..], &outputs, &["-o", &path(name)]].concat());
        assert_eq!(d["calibration"]["images"], 3);
        assert!(d["notes"][0].as_str().unwrap().contains("cifar10"), "{}", d["notes"]);
    }
    assert_eq!(std::fs::read(path("a.kenar")).unwrap(), std::fs::read(path("b.kenar")).unwrap());
    let d = json(&["inspect", &path("a.kenar"), "--json"]);
    assert_eq!(d["outputs"]["stage1"], serde_json::json!([1, 16, 32, 32]));
    assert_eq!(d["outputs"]["c2"], serde_json::json!([1, 64, 8, 8]));
    let model = path("a.kenar");
    let eval = ["eval", &model, "--float", &source, "--data", "noise", "--limit", "4", "--json"];
    let d = json(&eval);
    assert_eq!(d, json(&eval), "the same figures again, whatever thread was first");
    assert_eq!((d["agreement"].is_null(), d["outputs"].as_array().unwrap().len()), (true, 2));
}

#[test]
fn architectures_print_as_files_that_can_be_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let source = demo_file("model.safetensors");
    let arch = dir.path().join("net.toml");
    std::fs::write(&arch, ok(&["inspect", &source, "--arch"])).unwrap();
    let args = ["inspect", &source, "--quick", "--json"];
    assert_eq!(json(&["inspect", &source, "--arch", "--json"])["arch"]["family"], "wide-resnet");
    let with_file = json(&[&args[..], &[&format!("--arch={}", arch.display())]].concat());
    assert_eq!(with_file, json(&args));
}

#[test]
fn the_demo_runs_and_keeps_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, picture) = (dir.path().join("kept"), dir.path().join("demo.png"));
    let [kept, png] = [&folder, &picture].map(|p| p.to_str().unwrap());
    let d = json(&["demo", "--json", "--keep", kept, "-o", png]);
    assert_eq!(d["eval"]["n"], 256);
    let (float, int8) = (&d["eval"]["float"]["top1"], &d["eval"]["int8"]["top1"]);
    assert!(float.as_f64().unwrap() > 0.95 && int8.as_f64().unwrap() > 0.94, "{float} {int8}");
    assert!(d["bench"]["median_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(
        listing(&folder),
        ["calib.bin", "detector", "labels.txt", "model.kenar", "model.safetensors", "test.bin"]
    );
    assert!(folder.join("detector/model.kenar").is_file());

    // The detector finds the signs: boxes of their class at IoU > 0.5, few others, the same as in float.
    let e = &d["detector"]["eval"];
    let count = |key: &str| e[key].as_u64().unwrap();
    let (signs, found, extra) = (count("signs"), count("found"), count("extra"));
    assert!(signs == 29 && found >= 26 && extra <= 5, "{e}");
    let map = |who: &str| e[who]["map"].as_f64().unwrap();
    assert!(map("float") > 0.6 && map("int8") > map("float") - 0.02, "{e}");
    assert!(e["paired"]["matched_50"].as_f64().unwrap() > 0.95, "{e}");
    let image = image::open(&picture).unwrap().to_rgb8();
    assert_eq!(image.dimensions(), (2 * 640 + 24, 3 * 384 + 32));
    let marked = |x: u32, y: u32, w: u32, h: u32, class_colour: [u8; 3]| {
        let near = |p: &image::Rgb<u8>| p.0 == class_colour;
        (y..y + h).any(|y| (x..x + w).any(|x| near(image.get_pixel(x, y))))
    };
    assert!(marked(8, 8, 640, 384, kenar_convert::draw::of_class(0)), "no stop sign is marked");
    let text = ok(&["demo", "-o", png]);
    assert!(text.contains("256 unseen images") && text.contains("29 signs"), "{text}");
    assert!(text.contains(png) && text.contains("What to try next"), "{text}");
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(&["completions", shell]);
        for command in ["convert", "inspect", "run", "eval", "bench", "demo"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
}

#[test]
fn the_program_gives_the_same_codes() {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let found = ["release", "debug"]
        .map(|p| target.join(p).join("kenar"))
        .into_iter()
        .find(|p| p.is_file());
    let Some(program) = found else {
        println!("skipped: {} holds no built kenar", target.display());
        return;
    };
    let code = |args: &[&str]| {
        let output = Command::new(&program).args(args).output().unwrap();
        (output.status.code(), output.stdout.is_empty(), output.stderr.is_empty())
    };
    assert_eq!(code(&["--version"]), (Some(0), false, true));
    assert_eq!(code(&["inspect", "no such file"]), (Some(1), true, false));
    assert_eq!(code(&["inspect"]), (Some(2), true, false));
    let source = PathBuf::from(demo_file("model.safetensors"));
    assert_eq!(code(&["inspect", source.to_str().unwrap(), "--quick"]), (Some(0), false, true));
}
