//! The memory plan: tensors that are alive together do not share bytes, but for views and what they are views of.

use super::super::Section;
use super::super::le::word;
use crate::desc::{List, OpKind, TensorDesc, TensorId};
use crate::{Error, Model};

/// Alignment of a tensor that is no view, in bytes.
const ALIGNMENT: u32 = 64;
/// Code of concatenations, to skip other records quickly.
const CONCAT: u32 = 9;

/// Checks alignment and overlap of all tensors.
pub(super) fn verify(model: &Model<'_>) -> Result<(), Error> {
    let count = model.tensor_count() as u32;
    for tensor in 0..count {
        let a = model.tensor(TensorId(tensor));
        let is_view = a.pixel_stride > a.channels;
        if !a.arena_offset.is_multiple_of(ALIGNMENT) && !is_view {
            return Err(Error::TensorAlignment { tensor });
        }
        for other in tensor + 1..count {
            let b = model.tensor(TensorId(other));
            let together = a.first_op <= b.last_op && b.first_op <= a.last_op;
            if together
                && overlap(&a, &b)
                && !interleave(&a, &b)
                && !are_related(model, tensor, other)
            {
                return Err(Error::TensorsOverlap { tensor, other });
            }
        }
    }
    Ok(())
}

/// Whether two tensors share bytes, slack included.
fn overlap(a: &TensorDesc, b: &TensorDesc) -> bool {
    let slack = u64::from(TensorDesc::SLACK_BYTES);
    let end = |t: &TensorDesc| u64::from(t.arena_offset) + u64::from(t.extent_bytes()) + slack;
    u64::from(a.arena_offset) < end(b) && u64::from(b.arena_offset) < end(a)
}

/// Whether two tensors are different channels of pixels of one size, so that no element of one is an element of the
/// other.
fn interleave(a: &TensorDesc, b: &TensorDesc) -> bool {
    let step = |t: &TensorDesc| u64::from(t.pixel_stride) * u64::from(t.dtype.bytes());
    let width = |t: &TensorDesc| u64::from(t.channels) * u64::from(t.dtype.bytes());
    let (low, high) = if a.arena_offset <= b.arena_offset { (a, b) } else { (b, a) };
    let apart = u64::from(high.arena_offset - low.arena_offset) % step(low);
    step(a) == step(b) && apart >= width(low) && apart + width(high) <= step(low)
}

/// Whether the elements that two tensors share are meant to be: one of the tensors, or a tensor that it is a slice of,
/// is the other, or is joined at its place into it.
fn are_related(model: &Model<'_>, tensor: u32, other: u32) -> bool {
    sources(model, tensor).any(|a| {
        sources(model, other)
            .any(|b| a == b || is_operand_of(model, a, b) || is_operand_of(model, b, a))
    })
}

/// A tensor, what it is a view of as a slice, and so on.
fn sources<'a>(model: &'a Model<'_>, tensor: u32) -> impl Iterator<Item = u32> + 'a {
    core::iter::successors(Some(tensor), move |&id| {
        let output = TensorId(id);
        if output == model.input().tensor {
            return None;
        }
        let desc = model.tensor(output);
        match model.op(desc.first_op as usize).kind {
            // What an operator reads was written by an earlier one, so this ends.
            OpKind::Copy(copy)
                if copy.output == output && copy.is_view(&model.tensor(copy.input), &desc) =>
            {
                Some(copy.input.0)
            }
            _ => None,
        }
    })
}

/// Whether some concatenation finds its operand `tensor` at its place in its output `whole`.
fn is_operand_of(model: &Model<'_>, tensor: u32, whole: u32) -> bool {
    concats(model)
        .any(|(inputs, output)| output.0 == whole && has_at_place(model, inputs, output, tensor))
}

/// Operands and outputs of all concatenations.
fn concats(model: &Model<'_>) -> impl Iterator<Item = (List, TensorId)> {
    (0..model.op_count()).filter_map(move |index| {
        let record = model.layout().record(Section::Ops, index)?;
        if word(record, 0) != CONCAT {
            return None;
        }
        match model.op(index).kind {
            OpKind::Concat { inputs, output, .. } => Some((inputs, output)),
            _ => None,
        }
    })
}

/// Whether a tensor lies at its place as an operand in a concatenation's output.
fn has_at_place(model: &Model<'_>, inputs: List, output: TensorId, tensor: u32) -> bool {
    let target = model.tensor(output);
    let mut channel = 0u32;
    for id in model.list(inputs) {
        let operand = model.tensor(id);
        if id.0 == tensor && operand.is_view_of(&target, channel) {
            return true;
        }
        channel = channel.saturating_add(operand.channels);
    }
    false
}
