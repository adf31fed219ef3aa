//! Arithmetic with per-channel constants becomes affine operators; affine operators merge into their neighbours.

use super::scale::{ChannelScale, channel_constant};
use crate::error::Result;
use crate::graph::{Graph, Node, Op, Rewrite, ValueId};

pub(super) fn run(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let graph = from_arithmetic(graph, changes)?;
    let graph = into_producers(&graph, changes)?;
    into_readers(&graph, changes)
}

/// `x + c`, `x * c`, `x - c`, `c - x`, `x / c`.
fn from_arithmetic(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let mut r = Rewrite::new(graph);
    for node in graph.nodes() {
        match arithmetic(graph, node).and_then(|(scale, x)| Some((scale.affine()?, x))) {
            Some((op, x)) => {
                changes.push(format!("{} ({} is {})", node.name, node.op.name(), op.name()));
                r.replace(node, op, &[x])?;
            }
            None => drop(r.keep(node)?),
        }
    }
    Ok(r.finish())
}

fn arithmetic(graph: &Graph, node: &Node) -> Option<(ChannelScale, ValueId)> {
    let &[a, b] = &node.inputs[..] else { return None };
    let shape = graph.shape(node.output);
    let operand = |x: ValueId, c: ValueId| {
        let vector = channel_constant(graph, c, shape).filter(|_| graph.shape(x) == shape)?;
        (graph.constant(x).is_none()).then_some(vector)
    };
    let (x, vector, first) = match (operand(a, b), operand(b, a)) {
        (Some(v), _) => (a, v, true),
        (None, Some(v)) => (b, v, false),
        _ => return None,
    };
    let n = vector.len();
    let scale = match (&node.op, first) {
        (Op::Add, _) => ChannelScale { scale: vec![1.0; n], shift: vector },
        (Op::Mul, _) => ChannelScale { scale: vector, shift: vec![0.0; n] },
        (Op::Sub, true) => {
            ChannelScale { scale: vec![1.0; n], shift: vector.iter().map(|c| -c).collect() }
        }
        (Op::Sub, false) => ChannelScale { scale: vec![-1.0; n], shift: vector },
        (Op::Div, true) => {
            ChannelScale { scale: vector.iter().map(|c| 1.0 / c).collect(), shift: vec![0.0; n] }
        }
        _ => return None,
    };
    Some((scale, x))
}

/// Into the convolution, linear layer or affine operator before, when nobody else reads that one's result.
fn into_producers(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let uses = graph.use_counts();
    let mut r = Rewrite::new(graph);
    for node in graph.nodes() {
        let merged = ChannelScale::of(&node.op).and_then(|scale| {
            let operand = node.inputs[0];
            let rank = graph.shape(operand).len();
            let producer = r.producer(operand)?;
            let free = uses[operand.0] == 1 && ChannelScale::fits_behind(&producer.op, rank);
            free.then(|| scale.behind(&producer.op)).flatten().map(|op| (op, producer.name.clone()))
        });
        match merged {
            Some((op, name)) => {
                *r.producer_op_mut(node.inputs[0]).expect("it was there just now") = op;
                changes.push(format!("{} into {name}", node.name));
                r.bypass(node, node.inputs[0]);
            }
            None => drop(r.keep(node)?),
        }
    }
    Ok(r.finish())
}

/// Into the convolution or linear layer behind, when that is its only reader and no padding is in the way.
fn into_readers(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let uses = graph.use_counts();
    let mut r = Rewrite::new(graph);
    for node in graph.nodes() {
        let merged = node.inputs.first().filter(|v| uses[v.0] == 1).and_then(|&v| {
            let affine = graph.producer_node(v).filter(|p| matches!(p.op, Op::Affine { .. }))?;
            let scale = ChannelScale::of(&affine.op)?;
            let fits = scale.fits_before(&node.op, graph.shape(v).len());
            fits.then(|| scale.before(&node.op)).flatten().map(|op| (op, affine))
        });
        match merged {
            Some((op, affine)) => {
                changes.push(format!("{} into {}", affine.name, node.name));
                r.replace(node, op, &affine.inputs)?;
            }
            None => drop(r.keep(node)?),
        }
    }
    Ok(r.finish())
}
