//! Concat and Pad.

use super::super::context::Context;
use super::super::node::Node;
use super::super::shapes;
use crate::error::Result;
use crate::graph::Op;

/// Concat of values and constants.
pub(super) fn concat(context: &mut Context, node: &Node) -> Result<()> {
    let parts: Vec<_> =
        (0..node.input_count()).map(|i| context.value(node, i)).collect::<Result<_>>()?;
    let Some(&first) = parts.first() else { return Err(node.error("has nothing to join")) };
    let Some(axis) = node.maybe_int("axis")? else { return Err(node.error("has no axis")) };
    let axis = shapes::axis(axis, context.shape(first).len()).map_err(|e| node.error(e))?;
    let op = if parts.len() == 1 { Op::Identity } else { Op::Concat { axis } };
    context.finish(node, op, &parts)
}

/// No real padding is wider.
const MAX_PAD: i64 = 1 << 16;

/// Pad with a constant.
pub(super) fn pad(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let rank = context.shape(x).len();
    let mode = node.string("mode", "constant")?;
    if mode != "constant" {
        return Err(node.error(format!("has the mode '{mode}', expected 'constant'")));
    }
    let list = context.ints(node, 1, "pads")?.ok_or_else(|| node.error("has no pads"))?;
    let value = match context.maybe_constant(node, 2, "pad value")? {
        None => 0.0,
        Some(c) => {
            c.float().ok_or_else(|| node.error("has a pad value that is no single float"))?
        }
    };
    let axes = match context.maybe_ints(node, 3, "axes")? {
        None => (0..rank).collect(),
        Some(axes) => shapes::axes(&axes, rank).map_err(|e| node.error(e))?,
    };
    if list.len() != 2 * axes.len() || list.iter().any(|p| !(0..=MAX_PAD).contains(p)) {
        return Err(node.error(format!(
            "has pads {list:?} for {} axes; expected two numbers an axis, from 0 to {MAX_PAD}",
            axes.len()
        )));
    }
    if !value.is_finite() {
        return Err(node.error(format!("pads with {value}, expected a finite number")));
    }
    let mut pads = vec![(0, 0); rank];
    for (i, &axis) in axes.iter().enumerate() {
        pads[axis] = (list[i] as usize, list[i + axes.len()] as usize);
    }
    let op = if pads.iter().all(|&p| p == (0, 0)) { Op::Identity } else { Op::Pad { pads, value } };
    context.finish(node, op, &[x])
}
