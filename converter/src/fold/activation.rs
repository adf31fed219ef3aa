//! Activations written out as arithmetic, and activations that are special cases of simpler ones.
//!
//! Only the last node of a pattern is replaced; what it read is left to the pass that removes dead nodes.

use crate::error::Result;
use crate::graph::{Activation, Graph, Node, Op, Rewrite, ValueId};

pub(super) fn run(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let uses = graph.use_counts();
    let mut r = Rewrite::new(graph);
    for node in graph.nodes() {
        let found = match &node.op {
            Op::Mul => sigmoid_product(graph, node).or_else(|| sixth(graph, node)),
            Op::Div => sixth(graph, node),
            Op::PRelu { slope } if slope.iter().all(|s| Some(s) == slope.first()) => {
                slope.first().map(|&slope| (Activation::LeakyRelu { slope }, node.inputs[0]))
            }
            Op::Activation(a) => simpler(a).map(|a| (a, node.inputs[0])).or_else(|| {
                if uses[node.inputs[0].0] == 1 { limits(graph, a, node.inputs[0]) } else { None }
            }),
            _ => None,
        };
        match found {
            Some((activation, operand)) => {
                let op = Op::Activation(activation);
                changes.push(format!("{} ({} is {})", node.name, node.op.name(), op.name()));
                r.replace(node, op, &[operand])?;
            }
            None => drop(r.keep(node)?),
        }
    }
    Ok(r.finish())
}

fn simpler(a: &Activation) -> Option<Activation> {
    match *a {
        Activation::Clip { min: 0.0, max } if max >= f32::MAX => Some(Activation::Relu),
        Activation::LeakyRelu { slope: 0.0 } => Some(Activation::Relu),
        _ => None,
    }
}

/// An activation that only limits: its limits.
fn clip_limits(a: &Activation) -> Option<(f32, f32)> {
    match *a {
        Activation::Relu => Some((0.0, f32::INFINITY)),
        Activation::Clip { min, max } => Some((min, max)),
        _ => None,
    }
}

/// Two limits in a row are one.
fn limits(graph: &Graph, outer: &Activation, operand: ValueId) -> Option<(Activation, ValueId)> {
    let (min, max) = clip_limits(outer)?;
    let inner = graph.producer_node(operand)?;
    let Op::Activation(a) = &inner.op else { return None };
    let (inner_min, inner_max) = clip_limits(a)?;
    if min > max || inner_min > inner_max {
        return None;
    }
    let merged =
        Activation::Clip { min: inner_min.clamp(min, max), max: inner_max.clamp(min, max) };
    Some((simpler(&merged).unwrap_or(merged), inner.inputs[0]))
}

/// `x * sigmoid(x)`, `x * hard_sigmoid(x)`.
fn sigmoid_product(graph: &Graph, node: &Node) -> Option<(Activation, ValueId)> {
    let &[a, b] = &node.inputs[..] else { return None };
    [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
        let gate = graph.producer_node(gate).filter(|g| g.inputs == [x])?;
        match gate.op {
            Op::Activation(Activation::Sigmoid) => Some((Activation::Silu, x)),
            Op::Activation(Activation::HardSigmoid { alpha, beta })
                if is(alpha, 1.0 / 6.0) && is(beta, 0.5) =>
            {
                Some((Activation::HardSwish, x))
            }
            _ => None,
        }
    })
}

/// `clip(x + 3, 0, 6) / 6` and `x * clip(x + 3, 0, 6) / 6`, the division also as a product.
fn sixth(graph: &Graph, node: &Node) -> Option<(Activation, ValueId)> {
    let &[a, b] = &node.inputs[..] else { return None };
    let numerator = match node.op {
        Op::Div if is(scalar(graph, b)?, 6.0) => a,
        Op::Mul => match (scalar(graph, a), scalar(graph, b)) {
            (_, Some(s)) if is(s, 1.0 / 6.0) => a,
            (Some(s), _) if is(s, 1.0 / 6.0) => b,
            _ => return None,
        },
        _ => return None,
    };
    if let Some(x) = clipped_sum(graph, numerator) {
        return Some((Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, x));
    }
    let product = graph.producer_node(numerator).filter(|n| matches!(n.op, Op::Mul))?;
    let &[a, b] = &product.inputs[..] else { return None };
    [(a, b), (b, a)]
        .into_iter()
        .find(|&(x, gate)| clipped_sum(graph, gate) == Some(x))
        .map(|(x, _)| (Activation::HardSwish, x))
}

/// `x` of `clip(x + 3, 0, 6)`.
fn clipped_sum(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let clip = graph.producer_node(value)?;
    let Op::Activation(Activation::Clip { min: 0.0, max }) = clip.op else { return None };
    let sum =
        graph.producer_node(clip.inputs[0]).filter(|n| is(max, 6.0) && matches!(n.op, Op::Add))?;
    let &[a, b] = &sum.inputs[..] else { return None };
    let three = |v| scalar(graph, v).is_some_and(|s| is(s, 3.0));
    match (three(a), three(b)) {
        (_, true) => Some(a),
        (true, _) => Some(b),
        _ => None,
    }
}

fn scalar(graph: &Graph, value: ValueId) -> Option<f32> {
    graph.constant(value).filter(|w| w.len() == 1).and_then(|w| w.first().copied())
}

fn is(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-6 * b.abs()
}
