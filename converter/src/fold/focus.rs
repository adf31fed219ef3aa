//! Pixels of a block as channels, in front of a convolution (the "focus" of YOLOX and early YOLOv5): a convolution with a
//! larger window and stride takes the same products from the map itself, and no pixel is moved.
//!
//! ```text
//! conv(concat(x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]), window k, stride t, padding p)
//!     = conv(x, window 2k, stride 2t, padding 2p)
//! ```

use ndarray::{ArrayD, IxDyn};

use crate::error::Result;
use crate::graph::{Conv2d, Graph, Node, Op, Rewrite, ValueId, weights};

/// The pixels of every block at one place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Phase {
    source: ValueId,
    /// Block height, width.
    step: [usize; 2],
    /// Row, column in the block.
    start: [usize; 2],
}

pub(super) fn run(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let mut r = Rewrite::new(graph);
    for node in graph.nodes() {
        match merge(graph, node) {
            Some((conv, source)) => {
                let blocks = graph.producer_node(node.inputs[0]).map_or("", |n| &n.name);
                changes.push(format!("{blocks} into {}", node.name));
                r.replace(node, Op::Conv2d(conv), &[source])?;
            }
            None => drop(r.keep(node)?),
        }
    }
    Ok(r.finish())
}

/// The convolution over the map itself, if this one reads its blocks and nothing but convolutions does.
fn merge(graph: &Graph, node: &Node) -> Option<(Conv2d, ValueId)> {
    let conv = plain(node)?;
    let blocks = node.inputs[0];
    let concat = graph.producer_node(blocks)?;
    let Op::Concat { axis: 1 } = concat.op else { return None };
    let phases: Vec<Phase> =
        concat.inputs.iter().map(|&v| phase(graph, v)).collect::<Option<_>>()?;
    let &Phase { source, step, .. } = phases.first()?;
    let one_map = phases.iter().all(|p| (p.source, p.step) == (source, step));
    let distinct = phases.iter().enumerate().all(|(i, p)| !phases[..i].contains(p));
    // All places of the block: no product more than there was.
    let all = phases.len() == step[0] * step[1] && phases.len() > 1;
    let readers = graph.consumers(blocks);
    let only = !graph.is_output(blocks)
        && readers.iter().all(|&reader| plain(&graph.nodes()[reader]).is_some());
    (one_map && distinct && all && only)
        .then(|| (enlarged(conv, &phases, graph.shape(source)[1]), source))
}

/// A convolution that can be enlarged.
fn plain(node: &Node) -> Option<&Conv2d> {
    match &node.op {
        Op::Conv2d(conv) if conv.groups == 1 && conv.dilation == [1, 1] => Some(conv),
        _ => None,
    }
}

/// Follows slices of rows and columns to the map that they cut, if they take each block's pixel and leave none over.
fn phase(graph: &Graph, value: ValueId) -> Option<Phase> {
    let (mut source, mut step, mut start) = (value, [1; 2], [0; 2]);
    while let Some(node) = graph.producer_node(source) {
        let Op::Slice { axis: axis @ (2 | 3), start: first, step: by, .. } = node.op else { break };
        if step[axis - 2] != 1 {
            return None;
        }
        (step[axis - 2], start[axis - 2]) = (by, first);
        source = node.inputs[0];
    }
    let (cut, whole) = (graph.shape(value), graph.shape(source));
    let fits = |i: usize| start[i] < step[i] && cut[i + 2] * step[i] == whole[i + 2];
    (whole.len() == 4 && fits(0) && fits(1)).then_some(Phase { source, step, start })
}

fn enlarged(conv: &Conv2d, phases: &[Phase], channels: usize) -> Conv2d {
    let step = phases[0].step;
    let shape = conv.weight.shape();
    let (outputs, height, width) = (shape[0], shape[2], shape[3]);
    let mut weight = ArrayD::zeros(IxDyn(&[outputs, channels, height * step[0], width * step[1]]));
    for (index, &w) in conv.weight.indexed_iter() {
        let (o, c, y, x) = (index[0], index[1], index[2], index[3]);
        let phase = phases[c / channels];
        let (y, x) = (y * step[0] + phase.start[0], x * step[1] + phase.start[1]);
        weight[[o, c % channels, y, x]] = w;
    }
    let [top, left, bottom, right] = conv.padding;
    Conv2d {
        weight: weights(weight),
        bias: conv.bias.clone(),
        stride: [conv.stride[0] * step[0], conv.stride[1] * step[1]],
        padding: [top * step[0], left * step[1], bottom * step[0], right * step[1]],
        dilation: [1, 1],
        groups: 1,
    }
}
