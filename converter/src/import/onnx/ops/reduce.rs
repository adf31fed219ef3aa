//! ReduceMean, ReduceMax and ReduceSum over the axes of an image or the last axes of anything.

use super::super::context::Context;
use super::super::node::Node;
use super::super::shapes;
use super::elementwise::uniform_affine;
use super::linear::sum_row;
use super::shape::reshape_op;
use crate::error::Result;
use crate::graph::{Op, Pool, PoolKind};

/// A pool of an image over `axes` (height, width or both), which stay with size 1.
fn pool(shape: &[usize], axes: &[usize], largest: bool) -> Op {
    let window = [2, 3].map(|a| if axes.contains(&a) { shape[a] } else { 1 });
    match (window == shape[2..], largest) {
        (true, true) => Op::GlobalMaxPool,
        (true, false) => Op::GlobalAvgPool,
        (false, _) => {
            let kind = if largest {
                PoolKind::Max
            } else {
                PoolKind::Average { count_include_pad: false }
            };
            Op::Pool(Pool {
                kind,
                window,
                stride: [1; 2],
                padding: [0; 4],
                dilation: [1; 2],
                ceil_mode: false,
            })
        }
    }
}

/// A reduction of a value.
pub(super) fn reduce(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let shape = context.shape(x);
    let given = context.ints(node, 1, "axes")?.filter(|list| !list.is_empty());
    if given.is_none() && node.int("noop_with_empty_axes", 0)? != 0 {
        return context.finish(node, Op::Identity, &[x]);
    }
    let named = match given {
        Some(list) => shapes::axes(&list, shape.len()).map_err(|e| node.error(e))?,
        None => (0..shape.len()).collect(),
    };
    let keep = node.int("keepdims", 1)? != 0;
    let target: Vec<usize> = (0..shape.len())
        .filter(|i| keep || !named.contains(i))
        .map(|i| if named.contains(&i) { 1 } else { shape[i] })
        .collect();

    // Axes of size 1 reduce to themselves.
    let mut axes: Vec<usize> = named.into_iter().filter(|&a| shape[a] != 1).collect();
    axes.sort_unstable();
    let count: usize = axes.iter().map(|&a| shape[a]).product();
    let (mean, largest) = (node.op_type() == "ReduceMean", node.op_type() == "ReduceMax");
    let mut after = shape.clone();
    axes.iter().for_each(|&a| after[a] = 1);
    let mut chain = Vec::new();
    if axes.is_empty() {
        // Nothing but the shape changes.
    } else if shape.len() == 4 && axes.iter().all(|&a| a >= 2) {
        chain.push(("pool", pool(&shape, &axes, largest)));
        if !mean && !largest {
            chain.push(("sum", uniform_affine(context, node, &after, count as f32, 0.0)?));
        }
    } else if axes.iter().rev().zip((0..shape.len()).rev()).all(|(&a, b)| a == b) && !largest {
        context.spend(node, count)?;
        let kept = &shape[..shape.len() - axes.len()];
        let rows = [kept, &[count]].concat();
        if rows != shape {
            chain.push(("rows", Op::Reshape { shape: rows }));
        }
        let weight = sum_row(count, if mean { 1.0 / count as f32 } else { 1.0 });
        chain.push(("sum", Op::Linear { weight, bias: None }));
        after = [kept, &[1]].concat();
    } else {
        return Err(node.error(format!(
            "reduces the axes {axes:?} of {shape:?}; expected height and width of an image, or the last axes in a mean \
             or sum"
        )));
    }
    if after != target {
        chain.push(("shape", reshape_op(&after, target)));
    }
    context.finish_chain(node, x, chain)
}
