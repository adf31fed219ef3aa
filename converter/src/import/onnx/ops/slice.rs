//! Slice, Split and Gather of values.

use super::super::context::{Binding, Context};
use super::super::evaluate::split_sizes;
use super::super::node::Node;
use super::super::shapes;
use super::shape::reshape_op;
use crate::error::Result;
use crate::graph::Op;

/// Slice along any number of axes.
pub(super) fn slice(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let shape = context.shape(x);
    let need = |list: Option<Vec<i64>>, what: &str| {
        list.ok_or_else(|| node.error(format!("has no {what}")))
    };
    let starts = need(context.maybe_ints(node, 1, "starts")?, "starts")?;
    let ends = need(context.maybe_ints(node, 2, "ends")?, "ends")?;
    let axes =
        context.maybe_ints(node, 3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = context.maybe_ints(node, 4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(node.error("has starts, ends, axes and steps of different lengths"));
    }
    let mut chain = Vec::new();
    for (i, axis) in
        shapes::axes(&axes, shape.len()).map_err(|e| node.error(e))?.into_iter().enumerate()
    {
        let range =
            shapes::slice(starts[i], ends[i], steps[i], shape[axis]).map_err(|e| node.error(e))?;
        if range.count == shape[axis] && range.step == 1 {
            continue;
        }
        if range.step < 0 && range.count > 1 {
            return Err(node.error(format!(
                "runs backwards (step {}), expected a step of 1 or more",
                range.step
            )));
        }
        if range.count == 0 {
            return Err(node.error(format!("takes nothing of axis {axis} of {shape:?}")));
        }
        let step = if range.count == 1 { 1 } else { range.step as usize };
        let end = range.start + (range.count - 1) * step + 1;
        chain.push(("axis", Op::Slice { axis, start: range.start, end, step }));
    }
    context.finish_chain(node, x, chain)
}

/// Split into parts, of which only those that are read become nodes.
pub(super) fn split(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let shape = context.shape(x);
    let axis = shapes::axis(node.int("axis", 0)?, shape.len()).map_err(|e| node.error(e))?;
    let given = context.ints(node, 1, "split")?;
    let parts = split_sizes(given.as_deref(), node.output_count(), shape[axis])
        .map_err(|e| node.error(e))?;
    let mut start = 0;
    for (i, size) in parts.into_iter().enumerate() {
        if let Some(name) = node.output(i).filter(|o| context.is_used(o)) {
            let op = Op::Slice { axis, start, end: start + size, step: 1 };
            let part = context.push_as(node, name, op, &[x])?;
            context.bind(Some(name), Binding::Value(part));
        }
        start += size;
    }
    Ok(())
}

/// Gather of evenly spaced indices, which is a slice.
pub(super) fn gather(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let shape = context.shape(x);
    let indices = context.constant(node, 1, "index list")?;
    let axis = shapes::axis(node.int("axis", 0)?, shape.len()).map_err(|e| node.error(e))?;
    let list = indices.ints().ok_or_else(|| node.error("has indices that are no integers"))?;
    let list: Vec<usize> = list
        .iter()
        .map(|&i| {
            shapes::axis(i, shape[axis])
                .map_err(|_| node.error(format!("index {i} is outside of {}", shape[axis])))
        })
        .collect::<Result<_>>()?;
    let (Some(&first), Some(&last)) = (list.first(), list.last()) else {
        return Err(node.error("takes nothing"));
    };
    let step = list.get(1).map_or(Some(1), |second| second.checked_sub(first)).filter(|&s| s > 0);
    let even = step.filter(|s| list.windows(2).all(|w| w[1].checked_sub(w[0]) == Some(*s)));
    let Some(step) = even else {
        return Err(node.error(format!(
            "takes the indices {:?}...; expected evenly spaced ones",
            &list[..list.len().min(8)]
        )));
    };
    let mut chain = Vec::new();
    if list.len() != shape[axis] {
        chain.push(("axis", Op::Slice { axis, start: first, end: last + 1, step }));
    }
    let mut sliced = shape.clone();
    sliced[axis] = list.len();
    let target = [&shape[..axis], indices.shape(), &shape[axis + 1..]].concat();
    if target != sliced {
        chain.push(("shape", reshape_op(&sliced, target)));
    }
    context.finish_chain(node, x, chain)
}
