//! MaxPool, AveragePool and their global forms.

use super::super::context::Context;
use super::super::node::Node;
use super::window;
use crate::error::Result;
use crate::graph::{Op, Pool, PoolKind};

/// A pool over a window.
pub(super) fn pool(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    node.expect_one_output(|o| context.is_used(o))?;
    let [_, _, h, w] = context.image(node, x)?;
    let kernel = window::kernel(node)?.ok_or_else(|| node.error("has no kernel_shape"))?;
    let window = window::window(node, [h, w], kernel)?;
    let kind = match node.op_type() {
        "MaxPool" => PoolKind::Max,
        _ if window.dilation != [1, 1] => {
            return Err(node
                .error(format!("has dilations {:?}, expected 1 in an average", window.dilation)));
        }
        _ => PoolKind::Average { count_include_pad: node.int("count_include_pad", 0)? != 0 },
    };
    // Else some window could lie in the padding alone, and have no maximum or mean.
    let reach = |i: usize| (kernel[i] - 1) * window.dilation[i];
    if (0..2).any(|i| window.padding[i].max(window.padding[i + 2]) > reach(i)) {
        return Err(node.error(format!(
            "has pads {:?} for a window of {kernel:?}; expected less",
            window.padding
        )));
    }
    let pool = Pool {
        kind,
        window: kernel,
        stride: window.stride,
        padding: window.padding,
        dilation: window.dilation,
        ceil_mode: node.int("ceil_mode", 0)? != 0,
    };
    context.finish(node, Op::Pool(pool), &[x])
}

/// A pool over the whole image.
pub(super) fn global(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    context.image(node, x)?;
    let op = if node.op_type() == "GlobalMaxPool" { Op::GlobalMaxPool } else { Op::GlobalAvgPool };
    context.finish(node, op, &[x])
}
