//! Conv.

use super::super::context::Context;
use super::super::node::Node;
use super::window;
use crate::error::Result;
use crate::graph::{Conv2d, Op};

/// Conv with constant weights over an image.
pub(super) fn conv(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let weight = context.weights(node, 1, "weight")?;
    let bias = context.maybe_weights(node, 2, "bias")?;
    let &[_, _, kh, kw] = weight.shape() else {
        return Err(node.error(format!(
            "its weight has the shape {:?}, expected a two-dimensional convolution [C_out, C_in/groups, H, W]",
            weight.shape()
        )));
    };
    let [_, _, h, w] = context.image(node, x)?;
    if kh == 0 || kw == 0 || window::kernel(node)?.is_some_and(|k| k != [kh, kw]) {
        let given = node.ints("kernel_shape")?;
        return Err(
            node.error(format!("has kernel_shape {given:?} but weights {:?}", weight.shape()))
        );
    }
    let groups = node.int("group", 1)?;
    let groups = usize::try_from(groups)
        .map_err(|_| node.error(format!("has group = {groups}, expected 1 or more")))?;
    // A group count that wraps when multiplied by the channels per group is no group count.
    if weight.shape()[1].checked_mul(groups).is_none() {
        return Err(node.error(format!("has group = {groups} for weights {:?}", weight.shape())));
    }
    let window = window::window(node, [h, w], [kh, kw])?;
    let conv = Conv2d {
        weight,
        bias,
        stride: window.stride,
        padding: window.padding,
        dilation: window.dilation,
        groups,
    };
    context.finish(node, Op::Conv2d(conv), &[x])
}
