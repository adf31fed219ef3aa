//! Tensor records: 64 bytes, reader and writer side by side.

use super::le::word;
use crate::desc::{DType, Span, TensorDesc};

/// Bytes of a tensor record.
pub(crate) const TENSOR_BYTES: usize = 64;

/// Reads a record; `None` if the type is unknown or a reserved word is not zero.
pub(crate) fn decode_tensor(record: &[u8]) -> Option<TensorDesc> {
    let w = |index| word(record, index);
    let dtype = match w(6) {
        0 => DType::I8,
        1 => DType::I16,
        _ => return None,
    };
    if (12..16).any(|index| w(index) != 0) {
        return None;
    }
    Some(TensorDesc {
        name: Span { offset: w(0), len: w(1) },
        height: w(2),
        width: w(3),
        channels: w(4),
        pixel_stride: w(5),
        dtype,
        scale: f32::from_bits(w(7)),
        zero_point: w(8) as i32,
        arena_offset: w(9),
        first_op: w(10),
        last_op: w(11),
    })
}

/// The record of a tensor.
#[cfg(feature = "alloc")]
pub(super) fn encode_tensor(tensor: &TensorDesc) -> [u32; TENSOR_BYTES / 4] {
    let dtype = match tensor.dtype {
        DType::I8 => 0,
        DType::I16 => 1,
    };
    [
        tensor.name.offset,
        tensor.name.len,
        tensor.height,
        tensor.width,
        tensor.channels,
        tensor.pixel_stride,
        dtype,
        tensor.scale.to_bits(),
        tensor.zero_point as u32,
        tensor.arena_offset,
        tensor.first_op,
        tensor.last_op,
        0,
        0,
        0,
        0,
    ]
}
