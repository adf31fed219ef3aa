//! Signal to quantisation noise of every tensor of a model, measured against the float network.

use std::collections::HashMap;

use kenar::{Model, Session};
use ndarray::ArrayD;

use crate::error::{Error, Result};
use crate::exec::Executor;
use crate::graph::{Graph, ValueId};

/// One tensor that an operator writes.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSqnr {
    /// Index of the operator.
    pub op: usize,
    /// Name of the operator.
    pub operator: String,
    /// Name of the value.
    pub value: String,
    /// Whether it is an output of the model.
    pub is_output: bool,
    /// `10 log10(sum x^2 / sum (x - y)^2)` over all images; infinite where nothing differs.
    pub sqnr_db: f64,
}

/// Runs a model and the graph it was made from (folded, as it was lowered) on the same images and compares every tensor
/// with the float value of its name.
///
/// # Errors
/// What the iterator yields; [`Error::Model`] when the file does not load; [`Error::Input`] when a tensor has no value of
/// its name and size in the graph, or there is no image.
pub fn sqnr(
    graph: &Graph,
    file: &[u8],
    images: impl Iterator<Item = Result<ArrayD<f32>>>,
) -> Result<Vec<LayerSqnr>> {
    let model = Model::parse(file)?;
    let executor = Executor::new(graph)?;
    let named: HashMap<&str, usize> =
        graph.values().iter().enumerate().map(|(i, v)| (v.name.as_str(), i)).collect();
    let outputs: Vec<_> = model.outputs().map(|o| o.tensor).collect();
    let mut layers = Vec::new();
    let mut values = Vec::new();
    for (op, desc) in model.ops().enumerate() {
        for id in desc.kind.writes().into_iter().flatten() {
            let tensor = model.tensor(id);
            let name = model.text(tensor.name);
            let value = named.get(name).copied().filter(|&v| {
                graph.shape(ValueId(v)).iter().product::<usize>() == tensor.elements() as usize
            });
            let value = value.ok_or_else(|| {
                Error::Input(format!("the model's tensor '{name}' is not in the float network"))
            })?;
            values.push(value);
            layers.push(LayerSqnr {
                op,
                operator: model.text(desc.name).to_owned(),
                value: name.to_owned(),
                is_output: outputs.contains(&id),
                sqnr_db: 0.0,
            });
        }
    }

    let mut powers = vec![(0.0f64, 0.0f64); layers.len()];
    let mut arena = vec![0; model.arena_bytes()];
    let mut session = Session::new(&model, &mut arena)?;
    let mut count = 0;
    for image in images {
        let image = image?.as_standard_layout().into_owned();
        let mut float: HashMap<usize, ArrayD<f32>> = HashMap::new();
        executor.run_one(image.view(), &mut |v, array| {
            if values.contains(&v.0) {
                float.insert(v.0, array.as_standard_layout().into_owned());
            }
        })?;
        session.input().set_f32_nchw(image.as_slice().unwrap_or(&[]))?;
        let mut at = 0;
        let mut integer = Vec::new();
        let mut failed = None;
        session.run_with(&mut |_, tensor| {
            let exact = float[&values[at]].as_slice().unwrap_or(&[]);
            integer.resize(exact.len(), 0.0);
            if let Err(e) = tensor.copy_f32_nchw(&mut integer) {
                failed = Some(e);
            }
            let (signal, noise) = &mut powers[at];
            for (&x, &y) in exact.iter().zip(&integer) {
                *signal += f64::from(x).powi(2);
                *noise += (f64::from(x) - f64::from(y)).powi(2);
            }
            at += 1;
        })?;
        if let Some(e) = failed {
            return Err(e.into());
        }
        count += 1;
    }
    if count == 0 {
        return Err(Error::Input("a comparison needs at least one image, got none".into()));
    }
    for (layer, (signal, noise)) in layers.iter_mut().zip(powers) {
        layer.sqnr_db = if noise == 0.0 { f64::INFINITY } else { 10.0 * (signal / noise).log10() };
    }
    Ok(layers)
}
