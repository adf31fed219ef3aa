//! Tensors: each for itself, and its lifetime against the operators.

use super::values::is_scale;
use crate::desc::{DType, TensorDesc, TensorId};
use crate::{Error, Model};

/// Largest height, width, number of channels, pixel stride.
const MAX_DIMENSION: u32 = 1 << 24;

/// Checks every record for itself, so that sizes and offsets can be computed in 32 bits from here on.
pub(super) fn verify_records(model: &Model<'_>) -> Result<(), Error> {
    for tensor in 0..model.tensor_count() as u32 {
        let desc = model.try_tensor(TensorId(tensor)).ok_or(Error::TensorRecord { tensor })?;
        model.try_text(desc.name).ok_or(Error::StringOutOfBounds)?;
        let sizes = [desc.height, desc.width, desc.channels, desc.pixel_stride];
        if sizes.iter().any(|size| !(1..=MAX_DIMENSION).contains(size))
            || desc.pixel_stride < desc.channels
        {
            return Err(Error::TensorShape { tensor });
        }
        if !is_scale(desc.scale) {
            return Err(Error::TensorScale { tensor });
        }
        let in_range = match desc.dtype {
            DType::I8 => (-128..=127).contains(&desc.zero_point),
            DType::I16 => desc.zero_point == 0,
        };
        if !in_range {
            return Err(Error::TensorZeroPoint { tensor });
        }
        if !desc.arena_offset.is_multiple_of(desc.dtype.bytes()) {
            return Err(Error::TensorAlignment { tensor });
        }
        if end_bytes(&desc).is_none_or(|end| end > model.plan_bytes() as u64) {
            return Err(Error::TensorOutsideArena { tensor });
        }
    }
    Ok(())
}

/// Where a tensor's bytes end, slack included.
fn end_bytes(desc: &TensorDesc) -> Option<u64> {
    let pixels = u64::from(desc.height) * u64::from(desc.width);
    let elements =
        (pixels - 1).checked_mul(u64::from(desc.pixel_stride))? + u64::from(desc.channels);
    let bytes = elements.checked_mul(u64::from(desc.dtype.bytes()))?;
    bytes.checked_add(u64::from(desc.arena_offset) + u64::from(TensorDesc::SLACK_BYTES))
}

/// Checks that a lifetime begins with the operator that writes the tensor and ends with the last one that reads it.
/// That nothing reads or writes outside it was checked with the operators.
pub(super) fn verify_lifetimes(model: &Model<'_>) -> Result<(), Error> {
    let end = model.op_count() as u32;
    for tensor in 0..model.tensor_count() as u32 {
        let id = TensorId(tensor);
        let TensorDesc { first_op: first, last_op: last, .. } = model.tensor(id);
        if first >= end || last > end || first > last {
            return Err(Error::TensorLifetime { tensor });
        }
        let begins = if id == model.input().tensor {
            first == 0
        } else {
            model.op(first as usize).kind.writes().contains(&Some(id))
        };
        let ends = if last == end {
            model.outputs().any(|output| output.tensor == id)
        } else {
            last == first || model.reads(&model.op(last as usize)).any(|read| read == id)
        };
        if !begins || !ends {
            return Err(Error::TensorLifetime { tensor });
        }
    }
    Ok(())
}
