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

/// Whether the elements that two tensors share are meant to be: both tensors are parts of one value.
fn are_related(model: &Model<'_>, tensor: u32, other: u32) -> bool {
    wholes(model, tensor).any(|a| {
        wholes(model, other).any(|b| a == b || is_joined(model, a, b) || is_joined(model, b, a))
    })
}

/// Whether a tensor lies at its place in `whole`, the output of a concatenation.
fn is_joined(model: &Model<'_>, tensor: u32, whole: u32) -> bool {
    concats(model)
        .any(|(inputs, output)| output.0 == whole && has_at_place(model, inputs, output, tensor))
}

/// A tensor and what it is part of: what it is a slice of, and so on, and for each of these the concatenation's output
/// in which it lies at its place, and so on.
fn wholes<'a>(model: &'a Model<'_>, tensor: u32) -> impl Iterator<Item = u32> + 'a {
    let sources = core::iter::successors(Some(tensor), |&id| source(model, id));
    sources.flat_map(|id| core::iter::successors(Some(id), |&id| joined(model, id)))
}

/// What a tensor is a view of as a slice. An earlier operator wrote it.
fn source(model: &Model<'_>, tensor: u32) -> Option<u32> {
    let output = TensorId(tensor);
    if output == model.input().tensor {
        return None;
    }
    let desc = model.tensor(output);
    match model.op(desc.first_op as usize).kind {
        OpKind::Copy(copy)
            if copy.output == output && copy.is_view(&model.tensor(copy.input), &desc) =>
        {
            Some(copy.input.0)
        }
        _ => None,
    }
}

/// The output of the first concatenation in which a tensor lies at its place. A later operator writes it.
fn joined(model: &Model<'_>, tensor: u32) -> Option<u32> {
    let mut concats = concats(model);
    let found = concats.find(|(inputs, output)| has_at_place(model, *inputs, *output, tensor));
    found.map(|(_, output)| output.0)
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
