//! QuantizeLinear and DequantizeLinear (QDQ form): weights become float again, pairs around values are taken
//! off, so that the float network behind the quantised one is read.
//!
//! One thing of a pair is kept: quantisers leave out a ReLU whose clamp the integer range implies. Where the
//! range starts at exactly zero and the value before it could be negative, the pair becomes that clamp.

use ndarray::{ArrayD, Axis};

use super::super::constant::Constant;
use super::super::context::{Binding, Context};
use super::super::node::Node;
use super::super::shapes;
use crate::error::Result;

/// Scales and zero points of a node.
struct Steps {
    scale: ArrayD<f32>,
    zero_point: Option<ArrayD<i64>>,
}

fn steps(context: &mut Context, node: &Node) -> Result<Steps> {
    let scale = context.constant(node, 1, "scale")?;
    let zero_point = context.maybe_constant(node, 2, "zero point")?;
    let Some(scale) = scale.floats().map(|s| (**s).clone()) else {
        return Err(node.error("has a scale that is no float"));
    };
    let zero_point = match zero_point {
        None => None,
        Some(Constant::I64(z)) if z.shape() == scale.shape() => Some((*z).clone()),
        Some(z) => {
            return Err(node.error(format!(
                "has a zero point of type {} and shape {:?}, expected integers of the scale's shape {:?}",
                z.type_name(),
                z.shape(),
                scale.shape()
            )));
        }
    };
    if scale.iter().any(|s| !s.is_finite() || *s <= 0.0) {
        return Err(node.error("has a scale that is not positive"));
    }
    node.expect_int("block_size", 0)?;
    Ok(Steps { scale, zero_point })
}

/// The integer range of a node's quantised type.
fn range(context: &Context, node: &Node) -> Result<(i64, i64)> {
    let code = match node.input(2) {
        // The type that goes without saying.
        None => node.maybe_int("output_dtype")?.filter(|&code| code != 0).unwrap_or(2),
        Some(name) => context.element_type(name).map_or(-1, i64::from),
    };
    match code {
        2 => Ok((0, 255)),
        3 => Ok((-128, 127)),
        4 => Ok((0, 65_535)),
        5 => Ok((-32_768, 32_767)),
        _ => Err(node
            .error("quantises to another or an unknown type; expected integers of 8 or 16 bits")),
    }
}

/// The integer side of a pair; remembers the float side, clamped where the range implies a clamp.
pub(super) fn quantize(context: &mut Context, node: &Node) -> Result<()> {
    let steps = steps(context, node)?;
    let float = context.operand(node, 0)?;
    let float = match float {
        Binding::Quantized(_) => return Err(node.error("quantises what is quantised already")),
        Binding::Value(v) if v != context.graph.input => {
            let (least, most) = range(context, node)?;
            let zero_point =
                steps.zero_point.as_ref().and_then(|z| z.first().copied()).unwrap_or(0);
            if zero_point == least && steps.scale.len() == 1 && !context.is_non_negative(v) {
                context.pairs.1 += 1;
                let scale = steps.scale.first().copied().unwrap_or(1.0);
                let op =
                    super::activation::clip(node, Some(0.0), Some((most - least) as f32 * scale))?;
                Binding::Value(context.push_as(node, &node.name, op, &[v])?)
            } else {
                context.pairs.0 += 1;
                Binding::Value(v)
            }
        }
        other => other,
    };
    context.bind(node.output(0), Binding::Quantized(Box::new(float)));
    Ok(())
}

/// Back to float: the value before the pair, or the weights that integers stand for.
pub(super) fn dequantize(context: &mut Context, node: &Node) -> Result<()> {
    let steps = steps(context, node)?;
    let float = match context.operand(node, 0)? {
        Binding::Quantized(float) => *float,
        Binding::Value(_) => return Err(node.error("reads a float value; expected integers")),
        Binding::Constant(Constant::I64(q)) => {
            let axis = node.int("axis", 1)?;
            Binding::Constant(dequantized(context, node, &q, &steps, axis)?)
        }
        Binding::Constant(c) => {
            return Err(node
                .error(format!("reads a constant of type {}, expected integers", c.type_name())));
        }
    };
    context.bind(node.output(0), float);
    Ok(())
}

/// `(q - zero_point) * scale`, with one pair of numbers or one along an axis.
fn dequantized(
    context: &mut Context,
    node: &Node,
    q: &ArrayD<i64>,
    steps: &Steps,
    axis: i64,
) -> Result<Constant> {
    context.spend(node, 2 * q.len())?;
    let zero =
        |i: usize| steps.zero_point.as_ref().and_then(|z| z.iter().nth(i).copied()).unwrap_or(0);
    let float = |q: i64, z: i64, s: f32| q.wrapping_sub(z) as f32 * s;
    if steps.scale.len() == 1 {
        let (z, s) = (zero(0), steps.scale.first().copied().unwrap_or(1.0));
        return Ok(q.mapv(|v| float(v, z, s)).into());
    }
    let axis = shapes::axis(axis, q.ndim()).map_err(|e| node.error(e))?;
    if steps.scale.ndim() != 1 || steps.scale.len() != q.shape()[axis] {
        return Err(node.error(format!(
            "has scales of shape {:?} for axis {axis} of {:?}, expected one each",
            steps.scale.shape(),
            q.shape()
        )));
    }
    let zeros: Vec<i64> = match &steps.zero_point {
        Some(z) => z.iter().copied().collect(),
        None => vec![0; steps.scale.len()],
    };
    let mut result = q.mapv(|_| 0.0f32);
    let slices = result.axis_iter_mut(Axis(axis)).zip(q.axis_iter(Axis(axis)));
    for ((mut to, from), (&s, &z)) in slices.zip(steps.scale.iter().zip(&zeros)) {
        ndarray::Zip::from(&mut to).and(&from).for_each(|to, &v| *to = float(v, z, s));
    }
    Ok(result.into())
}
