//! Where the network ends: the raw maps that a decode reads.

use crate::graph::{Activation, Conv2d, Graph, Op, PoolKind, ValueId};

/// Boxes, objectness, classes, landmarks.
pub(super) const MAX_PARTS: usize = 4;

/// For every value of a graph, whether it is a map of the network rather than a step of the decode.
#[derive(Debug)]
pub(super) struct Maps {
    is_map: Vec<bool>,
    is_image: Vec<bool>,
}

impl Maps {
    /// A value is a map when a convolution makes it, or one followed by numbers per channel (batch norm, a learned
    /// scale), or any other operator that no decode has.
    pub(super) fn new(graph: &Graph) -> Self {
        let mut is_map = vec![false; graph.values().len()];
        let mut is_image = is_map.clone();
        for node in graph.nodes() {
            let image = graph.shape(node.output).len() == 4;
            is_map[node.output.0] = image
                && match &node.op {
                    Op::Conv2d(c) => !(is_pointwise(c) && behind_softmax(graph, node.inputs[0])),
                    Op::Affine { .. } | Op::BatchNorm { .. } | Op::Dropout | Op::Identity => {
                        is_map[node.inputs[0].0]
                    }
                    // A sum over bins is written as a mean.
                    Op::Pool(p) if matches!(p.kind, PoolKind::Average { .. }) => {
                        !behind_softmax(graph, node.inputs[0])
                    }
                    op => !decodes(op),
                };
            let moves = matches!(
                node.op,
                Op::Concat { axis: 1 }
                    | Op::Slice { axis: 1, .. }
                    | Op::Activation(_)
                    | Op::Affine { .. }
                    | Op::Identity
            );
            is_image[node.output.0] = is_map[node.output.0]
                || image
                    && moves
                    && node.inputs.len() <= MAX_PARTS
                    && node.inputs.iter().all(|v| is_image[v.0]);
        }
        Self { is_map, is_image }
    }

    /// Whether this value is a map.
    pub(super) fn is_map(&self, value: ValueId) -> bool {
        self.is_map[value.0]
    }

    /// Whether a value is a map, or maps of one size side by side, each number computed from one.
    pub(super) fn is_image(&self, value: ValueId) -> bool {
        self.is_image[value.0]
    }

    /// Whether a convolution makes this map, and its window.
    pub(super) fn window(graph: &Graph, mut map: ValueId) -> Option<[usize; 2]> {
        loop {
            let node = graph.producer_node(map)?;
            match &node.op {
                Op::Conv2d(c) => return Some([c.weight.shape()[2], c.weight.shape()[3]]),
                Op::Affine { .. } | Op::BatchNorm { .. } | Op::Identity | Op::Dropout => {
                    map = node.inputs[0];
                }
                _ => return None,
            }
        }
    }

    /// The maps that a value is computed from, in the graph's order, and whether anything lies between.
    pub(super) fn reached(&self, graph: &Graph, from: ValueId) -> Vec<ValueId> {
        let mut seen = vec![false; graph.values().len()];
        let mut open = vec![from];
        let mut maps = Vec::new();
        while let Some(value) = open.pop() {
            if std::mem::replace(&mut seen[value.0], true) {
                continue;
            }
            if self.is_map(value) {
                maps.push(value);
            } else if let Some(node) = graph.producer_node(value) {
                open.extend(&node.inputs);
            }
        }
        maps.sort_unstable();
        maps
    }
}

/// Operators of decodes.
fn decodes(op: &Op) -> bool {
    matches!(
        op,
        Op::Add
            | Op::Sub
            | Op::Mul
            | Op::Div
            | Op::Affine { .. }
            | Op::Concat { .. }
            | Op::Slice { .. }
            | Op::Flatten
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Softmax { .. }
            | Op::Linear { .. }
            | Op::Identity
            | Op::Dropout
            | Op::Constant(_)
            | Op::Activation(Activation::Sigmoid | Activation::Exp)
    )
}

/// A convolution that is a weighted sum over channels of each position.
pub(super) fn is_pointwise(c: &Conv2d) -> bool {
    c.weight.shape()[2..] == [1, 1] && c.stride == [1, 1] && c.padding == [0; 4] && c.groups == 1
}

/// Whether a value is a softmax, in another shape or times constants.
fn behind_softmax(graph: &Graph, mut value: ValueId) -> bool {
    while let Some(node) = graph.producer_node(value) {
        value = match node.op {
            Op::Softmax { .. } => return true,
            Op::Reshape { .. }
            | Op::Flatten
            | Op::Transpose { .. }
            | Op::Identity
            | Op::Affine { .. } => node.inputs[0],
            Op::Mul => match node.inputs.iter().find(|&&v| graph.constant(v).is_none()) {
                Some(&factor) => factor,
                None => return false,
            },
            _ => return false,
        };
    }
    false
}
