//! What all operators have in common: operands exist, are written once and before they are read, and do not overlap.

use super::super::Section;
use crate::desc::{Op, OpKind, TensorDesc, TensorId};
use crate::{Error, Model};

/// Checks the operands of operator `op`.
pub(super) fn verify(model: &Model<'_>, op: u32) -> Result<(), Error> {
    debug_assert!((op as usize) < model.layout().count(Section::Ops));
    let record = model.try_op(op as usize).ok_or(Error::OpRecord { op })?;
    model.try_text(record.name).ok_or(Error::StringOutOfBounds)?;
    if let Some(list) = record.kind.list() {
        model.try_list(list).ok_or(Error::ListOutOfBounds)?;
    }

    for id in model.reads(&record) {
        let tensor = model.try_tensor(id).ok_or(Error::OpTensor { op })?;
        let written = tensor.first_op < op || id == model.input().tensor;
        if !written || tensor.last_op < op {
            return Err(Error::OpReadsUnwritten { op, tensor: id.0 });
        }
    }
    let [first, second] = record.kind.writes();
    if first.or(second).is_none() {
        return Err(Error::OpOperands { op });
    }
    if first == second {
        return Err(Error::OpWritesTwice { op, tensor: first.map_or(0, |id| id.0) });
    }
    for id in [first, second].into_iter().flatten() {
        let tensor = model.try_tensor(id).ok_or(Error::OpTensor { op })?;
        // One operator per tensor: the one its lifetime begins with.
        if tensor.first_op != op || id == model.input().tensor {
            return Err(Error::OpWritesTwice { op, tensor: id.0 });
        }
    }
    verify_extents(model, op, &record)
}

/// Checks that the bytes an operator writes are apart from those it reads. Sessions hand both out as slices.
fn verify_extents(model: &Model<'_>, op: u32, record: &Op) -> Result<(), Error> {
    let [first, second] = record.kind.writes();
    for id in [first, second].into_iter().flatten() {
        let (start, end) = extent(&model.tensor(id));
        let overlap = Error::OpOverlap { op, tensor: id.0 };
        let apart = |input: TensorId| {
            let (low, high) = extent(&model.tensor(input));
            high + u64::from(TensorDesc::SLACK_BYTES) <= start || end <= low
        };
        let is_view = match &record.kind {
            OpKind::Copy(copy) => {
                copy.is_view(&model.tensor(copy.input), &model.tensor(copy.output))
            }
            _ => false,
        };
        if !is_view && record.kind.reads().into_iter().flatten().any(|input| !apart(input)) {
            return Err(overlap);
        }
        if let OpKind::Concat { inputs, output, .. } = record.kind {
            let target = model.tensor(output);
            let mut channel = 0u32;
            for input in model.list(inputs) {
                let tensor = model.tensor(input);
                if !tensor.is_view_of(&target, channel) && !apart(input) {
                    return Err(overlap);
                }
                channel = channel.saturating_add(tensor.channels);
            }
        }
    }
    if let (Some(first), Some(second)) = (first, second) {
        let ((a, a_end), (b, b_end)) =
            (extent(&model.tensor(first)), extent(&model.tensor(second)));
        if a < b_end && b < a_end {
            return Err(Error::OpOverlap { op, tensor: second.0 });
        }
    }
    Ok(())
}

/// First byte and end of a tensor in the arena, without slack.
fn extent(tensor: &TensorDesc) -> (u64, u64) {
    let start = u64::from(tensor.arena_offset);
    (start, start + u64::from(tensor.extent_bytes()))
}
