//! Operators that only rename, reshape or permute.

use super::super::constant::Constant;
use super::super::context::{Binding, Context};
use super::super::node::Node;
use super::super::{shapes, tensor};
use super::elementwise::stretched;
use crate::error::Result;
use crate::graph::Op;

/// A reshape in its plainest form.
pub(super) fn reshape_op(from: &[usize], to: Vec<usize>) -> Op {
    match to.as_slice() {
        same if same == from => Op::Identity,
        &[1, _] if from.len() > 2 && from[0] == 1 => Op::Flatten,
        _ => Op::Reshape { shape: to },
    }
}

/// Identity, casts between floats, shapes, and Expand.
pub(super) fn transparent(context: &mut Context, node: &Node) -> Result<()> {
    if matches!(node.op_type(), "Shape" | "Size") {
        return describe(context, node);
    }
    if node.op_type() == "Identity" {
        let operand = context.operand(node, 0)?;
        if !matches!(operand, Binding::Value(_)) {
            context.bind(node.output(0), operand);
            return Ok(());
        }
    }
    let x = context.value(node, 0)?;
    if node.op_type() == "Cast" {
        let to = node.int("to", 0)?;
        let to = i32::try_from(to).unwrap_or(-1);
        if !tensor::is_float(to) {
            return Err(node.error(format!(
                "casts a value to {}, expected a float type",
                tensor::type_name(to)
            )));
        }
    }
    if node.op_type() == "Expand" {
        let shape = context.shape(x);
        let target = context.maybe_ints(node, 1, "shape")?.unwrap_or_default();
        let sizes: Option<Vec<usize>> = target.iter().map(|&d| usize::try_from(d).ok()).collect();
        let full = sizes.and_then(|s| shapes::broadcast(&shape, &s).ok());
        let full = full.filter(|f| shapes::element_count(f).is_ok());
        let full = full.ok_or_else(|| node.error(format!("expands {shape:?} to {target:?}")))?;
        let copies = stretched(context, node, x, &full)?;
        context.bind(node.output(0), Binding::Value(copies));
        return Ok(());
    }
    context.finish(node, Op::Identity, &[x])
}

/// Every shape is known, so Shape and Size are constants.
fn describe(context: &mut Context, node: &Node) -> Result<()> {
    let mut operand = context.operand(node, 0)?;
    while let Binding::Quantized(inner) = operand {
        operand = *inner;
    }
    let shape = match operand {
        Binding::Value(v) => context.shape(v),
        Binding::Constant(c) => c.shape().to_vec(),
        Binding::Quantized(_) => Vec::new(),
    };
    let result = if node.op_type() == "Size" {
        Constant::from_int(shape.iter().product::<usize>() as i64)
    } else {
        let range =
            shapes::slice(node.int("start", 0)?, node.int("end", i64::MAX)?, 1, shape.len());
        let range = range.map_err(|e| node.error(e))?;
        Constant::from_ints(
            shape[range.start..range.start + range.count].iter().map(|&d| d as i64).collect(),
        )
    };
    context.bind(node.output(0), Binding::Constant(result));
    Ok(())
}

/// Reshape, Flatten, Squeeze and Unsqueeze.
pub(super) fn reshape(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let from = context.shape(x);
    let to = match node.op_type() {
        "Flatten" => shapes::flatten(&from, node.int("axis", 1)?),
        "Squeeze" => shapes::squeeze(&from, context.ints(node, 1, "axes")?.as_deref()),
        "Unsqueeze" => {
            let axes = context.ints(node, 1, "axes")?.ok_or_else(|| node.error("has no axes"))?;
            shapes::unsqueeze(&from, &axes)
        }
        _ => {
            let mut target =
                context.maybe_ints(node, 1, "shape")?.ok_or_else(|| node.error("has no shape"))?;
            let allow_zero = node.int("allowzero", 0)? != 0;
            let as_written = shapes::reshape(&from, &target, allow_zero);
            match (context.file_batch, target.first_mut()) {
                // A batch that the exporter wrote into the shape.
                (Some(batch), Some(first)) if usize::try_from(*first) == Ok(batch) => {
                    *first = 1;
                    shapes::reshape(&from, &target, allow_zero).or(as_written)
                }
                (Some(batch), _) => {
                    as_written.map_err(|e| format!("{e} (the file is made for a batch of {batch})"))
                }
                _ => as_written,
            }
        }
    };
    let to = to.map_err(|e| node.error(e))?;
    context.finish(node, reshape_op(&from, to), &[x])
}

/// Transpose; the batch axis of size 1 stays first.
pub(super) fn transpose(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let from = context.shape(x);
    let perm = shapes::permutation(node.ints("perm")?, from.len()).map_err(|e| node.error(e))?;
    if perm.iter().enumerate().all(|(i, &p)| i == p) {
        return context.finish(node, Op::Identity, &[x]);
    }
    if perm[0] == 0 {
        return context.finish(node, Op::Transpose { perm }, &[x]);
    }
    if from[0] != 1 {
        return Err(node.error(format!(
            "moves the first axis of {from:?}; expected it to stay, or to have size 1"
        )));
    }
    let to: Vec<usize> = perm.iter().map(|&p| from[p]).collect();
    let mut batch_first = vec![0];
    batch_first.extend(perm.into_iter().filter(|&p| p != 0));
    let chain =
        vec![("axes", Op::Transpose { perm: batch_first }), ("shape", Op::Reshape { shape: to })];
    context.finish_chain(node, x, chain)
}

/// DepthToSpace and SpaceToDepth as reshape, permute, reshape.
pub(super) fn depth_space(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let [_, c, h, w] = context.image(node, x)?;
    let block = node.int("blocksize", 0)?;
    let b = usize::try_from(block).ok().filter(|b| (1..=1 << 16).contains(b));
    let b = b.ok_or_else(|| node.error(format!("has blocksize {block}, expected 1 or more")))?;
    let to_space = node.op_type() == "DepthToSpace";
    let fits = if to_space { c % (b * b) == 0 } else { h % b == 0 && w % b == 0 };
    if !fits {
        return Err(node.error(format!("blocks of {b} do not divide {:?}", [1, c, h, w])));
    }
    let (split, perm, joined) = if to_space {
        let d = c / (b * b);
        let joined = vec![1, d, h * b, w * b];
        match node.string("mode", "DCR")? {
            "CRD" => (vec![1, d, b, b, h, w], vec![0, 1, 4, 2, 5, 3], joined),
            _ => (vec![1, b, b, d, h, w], vec![0, 3, 4, 1, 5, 2], joined),
        }
    } else {
        (vec![1, c, h / b, b, w / b, b], vec![0, 3, 5, 1, 2, 4], vec![1, c * b * b, h / b, w / b])
    };
    let chain = vec![
        ("split", Op::Reshape { shape: split }),
        ("axes", Op::Transpose { perm }),
        ("joined", Op::Reshape { shape: joined }),
    ];
    context.finish_chain(node, x, chain)
}
