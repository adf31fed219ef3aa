//! ONNX files of both exporters of PyTorch: what they compute is what ONNX Runtime and PyTorch computed.

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
fn error(graph: &Graph, reference: &Path) -> f32 {
    let tensors = zoo::read_tensors(reference);
    let outputs = exec::run(graph, &tensors["input"]).expect("the graph runs");
    assert_eq!(outputs.len(), tensors.len() - 1, "{}", reference.display());
    let mut worst = 0f32;
    for (output, result) in graph.outputs.iter().zip(outputs) {
        let expected = &tensors[&output.name];
        assert_eq!(result.len(), expected.len(), "{}: {}", reference.display(), output.name);
        let distance = |a: &ArrayD<f32>, b: &ArrayD<f32>| {
            a.iter().zip(b).fold(0f32, |m, (a, b)| m.max((a - b).abs()))
        };
        let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(result.iter().all(|v| v.is_finite()), "{}: {}", reference.display(), output.name);
        worst = worst.max(distance(&result, expected) / largest.max(f32::MIN_POSITIVE));
    }
    worst
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
        let error = error(&graph, &reference);
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
        let error = error(&graph, &model.path("io.safetensors"));
        println!("{}: {error:.2e}", model.name);
        assert!(error <= 1e-4, "{}: error {error:.2e}", model.name);
    }
}
