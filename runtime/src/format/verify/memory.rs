//! The memory plan: tensors that are alive together do not share bytes, but for views and their parents.

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
        if !a.arena_offset.is_multiple_of(ALIGNMENT) && !is_view(model, tensor) {
            return Err(Error::TensorAlignment { tensor });
        }
        for other in tensor + 1..count {
            let b = model.tensor(TensorId(other));
            let together = a.first_op <= b.last_op && b.first_op <= a.last_op;
            if together && overlap(&a, &b) && !are_related(model, tensor, other) {
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

/// Whether a tensor lies at its place in the output of some concatenation.
fn is_view(model: &Model<'_>, tensor: u32) -> bool {
    concats(model).any(|(inputs, output)| place(model, inputs, output, tensor).is_some())
}

/// Whether the bytes that two tensors share are meant to be: one is a view of the other, or both are views of different
/// channels of a third.
fn are_related(model: &Model<'_>, tensor: u32, other: u32) -> bool {
    concats(model).any(|(inputs, output)| {
        let belongs = |id: u32| id == output.0 || place(model, inputs, output, id).is_some();
        belongs(tensor) && belongs(other)
    })
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

/// The channel of a concatenation's output at which a tensor lies as a view. Operands lie one behind the other, so two
/// of them never share a channel.
fn place(model: &Model<'_>, inputs: List, output: TensorId, tensor: u32) -> Option<u32> {
    let target = model.tensor(output);
    let mut channel = 0u32;
    for id in model.list(inputs) {
        let operand = model.tensor(id);
        if id.0 == tensor && operand.is_view_of(&target, channel) {
            return Some(channel);
        }
        channel = channel.saturating_add(operand.channels);
    }
    None
}
