//! Outputs made of chosen channels: convolutions are split, so that each output is computed on its own.

use ndarray::{ArrayD, Axis};

use crate::error::{Error, Result};
use crate::graph::{Conv2d, Graph, Op, Rewrite, ValueId, Weights, weights};

/// An output to be made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pick {
    /// Its name.
    pub name: String,
    /// The value whose channels are taken, `[1, C, H, W]`.
    pub source: ValueId,
    /// Which channels, in the output's order.
    pub channels: Vec<usize>,
    /// What they are multiplied by.
    pub factor: f32,
}

/// The network up to these outputs, and nothing behind them.
///
/// # Errors
/// The node of a source that is no image, or has fewer channels.
pub(super) fn pick(graph: &Graph, picks: &[Pick]) -> Result<Graph> {
    let mut g = graph.clone();
    g.outputs.clear();
    for p in picks {
        let mut value = take(&mut g, p.source, &p.channels, &p.name)?;
        if p.factor != 1.0 {
            let channels = p.channels.len();
            let vector = |v: f32| weights(ArrayD::from_elem(vec![channels], v));
            let op = Op::Affine { scale: vector(p.factor), shift: vector(0.0) };
            value = g.push(format!("{}/scale", p.name), op, &[value])?;
        }
        g.mark_output(p.name.clone(), value);
    }
    live(&g)
}

/// A value with just these channels.
fn take(g: &mut Graph, value: ValueId, channels: &[usize], name: &str) -> Result<ValueId> {
    let at = g.value(value).name.clone();
    let &[_, available, _, _] = g.shape(value) else {
        let detail = format!("has the shape {:?}, expected a map [1, C, H, W]", g.shape(value));
        return Err(Error::graph(at, detail));
    };
    if let Some(beyond) = channels.iter().find(|&&c| c >= available) {
        let detail = format!("has {available} channels; the head reads channel {beyond}");
        return Err(Error::graph(at, detail));
    }
    if channels.iter().copied().eq(0..available) {
        return Ok(value);
    }
    let Some(node) = g.producer_node(value).cloned() else {
        return runs(g, value, channels, name);
    };
    let some = |w: &Weights| select(w, channels);
    let (op, operand) = match &node.op {
        Op::Conv2d(c) if c.groups == 1 => {
            let bias = c.bias.as_ref().map(some);
            let op = Op::Conv2d(Conv2d { weight: some(&c.weight), bias, ..c.clone() });
            return g.push(format!("{}/{name}", node.name), op, &node.inputs);
        }
        Op::BatchNorm { gamma, beta, mean, var, eps } => {
            let (gamma, beta, mean, var) = (some(gamma), some(beta), some(mean), some(var));
            (Op::BatchNorm { gamma, beta, mean, var, eps: *eps }, node.inputs[0])
        }
        Op::Affine { scale, shift } => {
            (Op::Affine { scale: some(scale), shift: some(shift) }, node.inputs[0])
        }
        Op::Identity | Op::Dropout => return take(g, node.inputs[0], channels, name),
        Op::Activation(_) => (node.op.clone(), node.inputs[0]),
        Op::Concat { axis: 1 } => {
            let mut first = 0;
            for &part in &node.inputs {
                let next = first + g.shape(part)[1];
                if channels.iter().all(|c| (first..next).contains(c)) {
                    let inside: Vec<usize> = channels.iter().map(|c| c - first).collect();
                    return take(g, part, &inside, name);
                }
                first = next;
            }
            return runs(g, value, channels, name);
        }
        _ => return runs(g, value, channels, name),
    };
    let operand = take(g, operand, channels, name)?;
    g.push(format!("{}/{name}", node.name), op, &[operand])
}

/// Slices of neighbouring channels, joined.
fn runs(g: &mut Graph, value: ValueId, channels: &[usize], name: &str) -> Result<ValueId> {
    let mut parts = Vec::new();
    for run in channels.chunk_by(|a, b| a + 1 == *b) {
        let op = Op::Slice { axis: 1, start: run[0], end: run[0] + run.len(), step: 1 };
        parts.push(g.push(format!("{name}/channels"), op, &[value])?);
    }
    match parts[..] {
        [one] => Ok(one),
        _ => g.push(format!("{name}/join"), Op::Concat { axis: 1 }, &parts),
    }
}

/// Entries along the first axis.
fn select(array: &Weights, channels: &[usize]) -> Weights {
    weights(array.select(Axis(0), channels))
}

/// The graph without nodes that no output needs.
fn live(graph: &Graph) -> Result<Graph> {
    let mut live = vec![false; graph.values().len()];
    graph.outputs.iter().for_each(|o| live[o.value.0] = true);
    for node in graph.nodes().iter().rev() {
        if live[node.output.0] {
            node.inputs.iter().for_each(|v| live[v.0] = true);
        }
    }
    let mut r = Rewrite::new(graph);
    for node in graph.nodes().iter().filter(|n| live[n.output.0]) {
        r.keep(node)?;
    }
    Ok(r.finish())
}
