//! Operators that pass their operand on unchanged.

use crate::error::Result;
use crate::graph::{Activation, Graph, Node, Op, Rewrite};

pub(super) fn run(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let mut r = Rewrite::new(graph);
    for node in graph.nodes() {
        if passes_on(graph, node) {
            changes.push(format!("{} ({})", node.name, node.op.name()));
            r.bypass(node, node.inputs[0]);
        } else {
            r.keep(node)?;
        }
    }
    Ok(r.finish())
}

fn passes_on(graph: &Graph, node: &Node) -> bool {
    let same_shape = || graph.shape(node.inputs[0]) == graph.shape(node.output);
    match &node.op {
        Op::Dropout | Op::Identity => true,
        Op::Concat { .. } => node.inputs.len() == 1,
        Op::Flatten | Op::Reshape { .. } | Op::Resize(_) | Op::Slice { .. } => same_shape(),
        Op::GlobalAvgPool | Op::GlobalMaxPool => same_shape(),
        Op::Pad { pads, .. } => pads.iter().all(|&p| p == (0, 0)),
        Op::Transpose { perm } => perm.iter().enumerate().all(|(i, &p)| i == p),
        Op::Pool(p) => p.window == [1, 1] && p.stride == [1, 1] && p.padding == [0; 4],
        Op::Activation(Activation::LeakyRelu { slope }) => *slope == 1.0,
        Op::Activation(Activation::Clip { min, max }) => *min <= f32::MIN && *max >= f32::MAX,
        Op::Affine { scale, shift } => {
            scale.iter().all(|&s| s == 1.0) && shift.iter().all(|&s| s == 0.0)
        }
        _ => false,
    }
}
