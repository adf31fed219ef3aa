//! Batch norm into the convolution or linear layer before it; what cannot fold becomes a per-channel affine operator.
//!
//! Dropout between the two is gone by then. A convolution whose raw result has another reader or is an output keeps
//! it: there the batch norm stays an operator of its own, as it does on the residual stream of pre-activation blocks.

use super::scale::ChannelScale;
use crate::error::{Error, Result};
use crate::graph::{Graph, Op, Rewrite};

pub(super) fn run(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let uses = graph.use_counts();
    let mut r = Rewrite::new(graph);
    for node in graph.nodes() {
        let Some(scale) =
            ChannelScale::of(&node.op).filter(|_| matches!(node.op, Op::BatchNorm { .. }))
        else {
            r.keep(node)?;
            continue;
        };
        let operand = node.inputs[0];
        let rank = graph.shape(operand).len();
        let overflow = |into: &str| {
            Error::graph(
                &node.name,
                format!("folding into {into} gives values that are not finite"),
            )
        };
        let producer = r
            .producer(operand)
            .filter(|p| uses[operand.0] == 1 && ChannelScale::fits_behind(&p.op, rank));
        if let Some(producer) = producer {
            let name = producer.name.clone();
            let merged = scale.behind(&producer.op).ok_or_else(|| overflow(&name))?;
            *r.producer_op_mut(operand).expect("it was there just now") = merged;
            changes.push(format!("{} into {name}", node.name));
            r.bypass(node, operand);
        } else {
            let affine = scale.affine().ok_or_else(|| overflow("a scale and a shift"))?;
            changes.push(format!("{} stays as Affine", node.name));
            r.replace(node, affine, &[operand])?;
        }
    }
    Ok(r.finish())
}
