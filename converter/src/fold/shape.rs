//! Reshapes and transposes: chains become one, and each takes its simplest form.

use crate::error::Result;
use crate::graph::{Graph, Node, Op, Rewrite, ValueId};

pub(super) fn run(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let mut r = Rewrite::new(graph);
    for node in graph.nodes() {
        match simpler(graph, node) {
            Some((op, operand)) => {
                changes.push(format!("{} ({} is {})", node.name, node.op.name(), op.name()));
                r.replace(node, op, &[operand])?;
            }
            None => drop(r.keep(node)?),
        }
    }
    Ok(r.finish())
}

fn simpler(graph: &Graph, node: &Node) -> Option<(Op, ValueId)> {
    let operand = *node.inputs.first()?;
    let producer = graph.producer_node(operand);
    match &node.op {
        Op::Flatten | Op::Reshape { .. } => {
            let shape = graph.shape(node.output);
            // Row-major data: where it went through another reshape does not matter.
            let origin = match producer {
                Some(p) if matches!(p.op, Op::Flatten | Op::Reshape { .. }) => p.inputs[0],
                _ => operand,
            };
            let flat =
                shape.len() == 2 && shape[0] == graph.shape(origin).first().copied().unwrap_or(0);
            let op = if flat { Op::Flatten } else { Op::Reshape { shape: shape.to_vec() } };
            let changed = origin != operand || op.name() != node.op.name();
            changed.then_some((op, origin))
        }
        Op::Transpose { perm } => {
            let shape = graph.shape(operand);
            let moved: Vec<usize> = perm.iter().copied().filter(|&axis| shape[axis] != 1).collect();
            if moved.is_sorted() {
                return Some((Op::Reshape { shape: graph.shape(node.output).to_vec() }, operand));
            }
            match producer.map(|p| (&p.op, p.inputs.first())) {
                Some((Op::Transpose { perm: inner }, Some(&origin))) => {
                    Some((Op::Transpose { perm: perm.iter().map(|&p| inner[p]).collect() }, origin))
                }
                _ => None,
            }
        }
        _ => None,
    }
}
