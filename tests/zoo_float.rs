//! Every zoo model from all four containers: float outputs against PyTorch's, before and after folding, and the same
//! folded graph whatever the container.

use kenar_convert::exec;
use kenar_convert::fold::{self, equivalent};
use kenar_convert::graph::Graph;
use kenar_convert::import::{checkpoint, onnx};
use kenar_convert::{Result as ConvertResult, arch};
use kenar_tests::zoo::{self, ONNX, WEIGHT_CONTAINERS, ZooModel};
use ndarray::ArrayD;

/// Against the reference: largest error over largest value of each output.
const REFERENCE_TOLERANCE: f32 = 1e-4;
/// Between unfolded and folded.
const FOLD_TOLERANCE: f32 = 1e-5;

/// Largest error over largest reference value.
fn relative_error(got: &ArrayD<f32>, want: &ArrayD<f32>) -> f32 {
    if got.shape() != want.shape() {
        return f32::INFINITY;
    }
    let largest = want.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let error = |(a, b): (&f32, &f32)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
    got.iter().zip(want).map(error).fold(0.0, f32::max) / largest
}

/// The float graph of one container, for images of the zoo's size.
fn load(model: &ZooModel, container: &str) -> ConvertResult<Graph> {
    if container == ONNX {
        return onnx::read(&model.path(container), None);
    }
    let checkpoint = checkpoint::read(&model.path(container))?;
    arch::build(&checkpoint, &arch::recognise(&checkpoint)?, Some(model.input))
}

/// Measured on one container of one model.
struct Row {
    loaded: f32,
    folded: f32,
    between: f32,
    graph: Graph,
}

fn measure(model: &ZooModel, container: &str) -> Result<Row, String> {
    let source = load(model, container).map_err(|e| e.to_string())?;
    let (graph, _) = fold::run(&source).map_err(|e| e.to_string())?;
    let reference = model.reference();
    let input = &reference["input"];
    let before = exec::run(&source, input).map_err(|e| e.to_string())?;
    let after = exec::run(&graph, input).map_err(|e| e.to_string())?;
    let mut row = Row { loaded: 0.0, folded: 0.0, between: 0.0, graph };
    for (i, output) in row.graph.outputs.iter().enumerate() {
        let want =
            reference.get(&output.name).ok_or_else(|| format!("no reference '{}'", output.name))?;
        row.loaded = row.loaded.max(relative_error(&before[i], want));
        row.folded = row.folded.max(relative_error(&after[i], want));
        row.between = row.between.max(relative_error(&after[i], &before[i]));
    }
    if row.graph.outputs.len() + 1 != reference.len() {
        return Err(format!(
            "{} outputs, the reference has {}",
            row.graph.outputs.len(),
            reference.len() - 1
        ));
    }
    if container != ONNX && source.parameter_count() != model.parameters {
        return Err(format!(
            "{} parameters, expected {}",
            source.parameter_count(),
            model.parameters
        ));
    }
    Ok(row)
}

#[test]
fn four_containers_give_the_reference_outputs_and_one_graph() {
    let Some(models) = zoo::models() else { return };
    let mut failures = Vec::new();
    println!("{:28} {:12} {:>9} {:>9} {:>9}", "model", "container", "loaded", "folded", "between");
    for model in &models {
        let mut first: Option<Graph> = None;
        for container in WEIGHT_CONTAINERS.into_iter().chain([ONNX]) {
            let what = format!("{:28} {container:12}", model.name);
            match measure(model, container) {
                Err(e) => failures.push(format!("{what} {e}")),
                Ok(row) => {
                    println!("{what} {:9.1e} {:9.1e} {:9.1e}", row.loaded, row.folded, row.between);
                    if row.loaded.max(row.folded) > REFERENCE_TOLERANCE
                        || row.between > FOLD_TOLERANCE
                    {
                        failures.push(format!(
                            "{what} error {:e} loaded, {:e} folded, {:e} between",
                            row.loaded, row.folded, row.between
                        ));
                    }
                    match &first {
                        None => first = Some(row.graph),
                        Some(graph) => {
                            if let Err(e) = equivalent(graph, &row.graph, 1e-5) {
                                failures
                                    .push(format!("{what} is another graph than the first: {e}"));
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(!models.is_empty(), "zoo.json lists no model");
}
