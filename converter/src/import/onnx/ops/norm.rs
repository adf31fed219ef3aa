//! BatchNormalization and Dropout, both in their evaluation form only.

use super::super::context::{Binding, Context};
use super::super::node::Node;
use crate::error::Result;
use crate::graph::Op;

const TRAINING: &str =
    "is in its training form; expected the evaluation form: call model.eval() before the export";

/// Batch norm with constant statistics.
pub(super) fn batch_norm(context: &mut Context, node: &Node) -> Result<()> {
    let several =
        (1..node.output_count()).any(|i| node.output(i).is_some_and(|o| context.is_used(o)));
    if node.int("training_mode", 0)? != 0
        || several
        || (node.opset < 14 && node.output(1).is_some())
    {
        return Err(node.error(TRAINING));
    }
    let x = context.value(node, 0)?;
    let gamma = context.weights(node, 1, "scale")?;
    let beta = context.weights(node, 2, "shift")?;
    let missing = |what: &str| node.error(format!("has no {what}"));
    let mean = context.maybe_statistics(node, 3, "mean")?.ok_or_else(|| missing("mean"))?;
    let var = context.maybe_statistics(node, 4, "variance")?.ok_or_else(|| missing("variance"))?;
    for (what, v) in [("scale", &gamma), ("shift", &beta), ("mean", &mean), ("variance", &var)] {
        if v.ndim() != 1 {
            return Err(node.error(format!(
                "its {what} has the shape {:?}, expected one value a channel",
                v.shape()
            )));
        }
    }
    let eps = node.float("epsilon", 1e-5)?;
    if var.iter().any(|v| v + eps <= 0.0) || !eps.is_finite() {
        return Err(node.error("holds a variance that is not positive"));
    }
    context.finish(node, Op::BatchNorm { gamma, beta, mean, var, eps }, &[x])
}

/// Dropout, which does nothing in evaluation.
pub(super) fn dropout(context: &mut Context, node: &Node) -> Result<()> {
    let training =
        context.maybe_constant(node, 2, "training_mode")?.and_then(|c| c.truth()).unwrap_or(false);
    if training {
        return Err(node.error(TRAINING));
    }
    node.expect_one_output(|o| context.is_used(o))?;
    match context.operand(node, 0)? {
        c @ Binding::Constant(_) => {
            context.bind(node.output(0), c);
            Ok(())
        }
        _ => {
            let x = context.value(node, 0)?;
            context.finish(node, Op::Dropout, &[x])
        }
    }
}
