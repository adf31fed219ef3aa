//! ONNX files of both exporters of PyTorch: what they compute is what ONNX Runtime and PyTorch computed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use kenar_convert::exec;
use kenar_convert::graph::Graph;
use kenar_convert::import::onnx;
use kenar_tests::zoo;
use ndarray::ArrayD;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/onnx")
}

/// All `.onnx` files of a folder, sorted.
fn models(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|e| e.expect("a readable folder").path());
    let mut models: Vec<_> = paths.filter(|p| p.extension().is_some_and(|e| e == "onnx")).collect();
    models.sort();
    models
}

/// `max |error| / max |reference|` over all outputs, each by its own largest value.
fn error(graph: &Graph, input: &ArrayD<f32>, expected: &HashMap<String, ArrayD<f32>>) -> f32 {
    let outputs = exec::run(graph, input).expect("the graph runs");
    let mut worst = 0f32;
    for (output, result) in graph.outputs.iter().zip(outputs) {
        let expected = &expected[&output.name];
        assert_eq!(result.len(), expected.len(), "{}", output.name);
        assert!(result.iter().chain(expected).all(|v| v.is_finite()), "{}", output.name);
        let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        let distance = result.iter().zip(expected).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        worst = worst.max(distance / largest.max(f32::MIN_POSITIVE));
    }
    worst
}

/// As [`error`], for the tensors of a file.
fn error_of_file(graph: &Graph, reference: &Path) -> f32 {
    let tensors = zoo::read_tensors(reference);
    assert_eq!(graph.outputs.len(), tensors.len() - 1, "{}", reference.display());
    error(graph, &tensors["input"], &tensors)
}

/// The size in a file name's reference, for files that leave it open.
fn input_size(reference: &Path) -> [usize; 3] {
    let tensors = zoo::read_tensors(reference);
    let &[_, c, h, w] = tensors["input"].shape() else { panic!("{}", reference.display()) };
    [c, h, w]
}

#[test]
fn exported_files_compute_what_the_exporter_meant() {
    let models = models(&fixtures());
    assert!(models.len() >= 25, "{} files", models.len());
    for path in models {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let reference = path.with_extension("safetensors");
        let open = name.contains("open").then(|| input_size(&reference));
        let graph = onnx::read(&path, open).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(graph.family, "onnx");
        let error = error_of_file(&graph, &reference);
        // Quantised references carry the rounding that is taken off on import.
        let bound = if name.starts_with("qdq") { 0.03 } else { 1e-5 };
        println!(
            "{name}: {error:.2e}, {} nodes, {} parameters",
            graph.nodes().len(),
            graph.parameters
        );
        assert!(error <= bound, "{name}: error {error:.2e}");
    }
}

#[test]
fn the_zoo_is_reproduced() {
    let Some(models) = zoo::models() else { return };
    assert_eq!(models.len(), 25);
    for model in models {
        let graph = onnx::read(&model.path("onnx"), None).unwrap_or_else(|e| panic!("{e}"));
        let error = error_of_file(&graph, &model.path("io.safetensors"));
        println!("{}: {error:.2e}", model.name);
        assert!(error <= 1e-4, "{}: error {error:.2e}", model.name);
    }
}

/// More files with references beside them, in the folder that `KENAR_ONNX` names: other exporters, other networks.
#[test]
fn further_files_are_reproduced() {
    let Some(folder) = std::env::var_os("KENAR_ONNX") else {
        eprintln!("skipped: no further ONNX files (set KENAR_ONNX)");
        return;
    };
    let mut failed = Vec::new();
    for path in models(Path::new(&folder)) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        match onnx::read(&path, None) {
            Ok(graph) => {
                let error = error_of_file(&graph, &path.with_extension("safetensors"));
                println!("{name}: {error:.2e}");
                if error > 1e-4 {
                    failed.push(format!("{name}: error {error:.2e}"));
                }
            }
            Err(e) => failed.push(e.to_string()),
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The folder of shared material, where it is installed.
fn shared() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("KENAR_SHARED").map_or(root, PathBuf::from);
    if shared.is_dir() {
        return Some(shared);
    }
    eprintln!("skipped: no {} (set KENAR_SHARED)", shared.display());
    None
}

#[test]
fn trained_detectors_are_reproduced() {
    let Some(shared) = shared() else { return };
    for name in ["bottleneck-anchor", "resnext-yolox", "wide-dfl"] {
        let folder = shared.join("zoo/detectors").join(name);
        let expected = zoo::read_tensors(&folder.join("golden.safetensors"));
        // The heads as they are, and decoded by the network itself.
        for file in ["model.onnx", "model-decoded.onnx"] {
            let graph = onnx::read(&folder.join(file), None).unwrap_or_else(|e| panic!("{e}"));
            let error = error(&graph, &zoo::detector_images(&folder), &expected);
            println!("{name}/{file}: {error:.2e}");
            assert!(error <= 1e-4, "{name}/{file}: error {error:.2e}");
        }
    }
}

#[test]
fn published_detectors_have_the_shapes_of_their_files() {
    let Some(shared) = shared() else { return };
    let shapes = |file: &str| -> Vec<Vec<usize>> {
        let graph = onnx::read(&shared.join("data/detectors").join(file), None)
            .unwrap_or_else(|e| panic!("{e}"));
        graph.outputs.iter().map(|o| graph.shape(o.value).to_vec()).collect()
    };
    assert_eq!(shapes("yolox_nano.onnx"), [vec![1, 3549, 85]]);
    let rows = [12_800, 3_200, 800];
    let scrfd: Vec<Vec<usize>> =
        [1, 4, 10].iter().flat_map(|&n| rows.map(|r| vec![1, r, n])).collect();
    assert_eq!(shapes("scrfd_2.5g_kps.onnx"), scrfd);
}

/// Every file of the fixtures, damaged in a few hundred places: an error or a graph, and no panic.
#[test]
fn damaged_files_are_errors_or_graphs() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % below
    };
    let (mut graphs, mut errors) = (0, 0);
    for path in models(&fixtures()) {
        let whole = std::fs::read(&path).expect("a readable file");
        for round in 0..200 {
            let mut bytes = whole.clone();
            match round % 4 {
                0 => bytes.truncate(random(bytes.len())),
                1 => bytes[random(whole.len())] ^= 1 << random(8),
                2 => {
                    let at = random(whole.len());
                    bytes.drain(at..(at + 1 + random(16)).min(whole.len()));
                }
                _ => (0..3)
                    .for_each(|_| bytes[random(whole.len())] = [0, 1, 0x7f, 0x80, 0xff][random(5)]),
            }
            match onnx::from_bytes(&bytes, (round % 8 < 4).then_some([3, 16, 16])) {
                Ok(_) => graphs += 1,
                Err(_) => errors += 1,
            }
        }
    }
    println!("{graphs} graphs, {errors} errors");
    assert!(graphs > 100 && errors > 1000, "{graphs} graphs, {errors} errors");
}
