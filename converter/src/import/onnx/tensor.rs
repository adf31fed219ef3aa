//! `TensorProto` to [`Constant`]: element types, both ways of storing values, and what does not fit.

use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn};

use super::constant::Constant;
use super::proto::TensorProto;
use crate::error::{Error, Result};

/// The highest rank that is read.
pub(super) const MAX_RANK: usize = 16;

/// The name of an element type code.
pub(super) fn type_name(code: i32) -> String {
    let name = match code {
        1 => "float",
        2 => "uint8",
        3 => "int8",
        4 => "uint16",
        5 => "int16",
        6 => "int32",
        7 => "int64",
        8 => "string",
        9 => "bool",
        10 => "float16",
        11 => "double",
        12 => "uint32",
        13 => "uint64",
        14 => "complex64",
        15 => "complex128",
        16 => "bfloat16",
        17..=20 => "float8",
        21 => "uint4",
        22 => "int4",
        23 => "float4",
        _ => return format!("type {code}"),
    };
    name.to_owned()
}

/// Whether an element type is held as f32.
pub(super) fn is_float(code: i32) -> bool {
    matches!(code, 1 | 10 | 11 | 16)
}

fn sizes(tensor: &TensorProto) -> Result<(Vec<usize>, usize), String> {
    if tensor.dims.len() > MAX_RANK {
        return Err(format!("has {} axes, expected at most {MAX_RANK}", tensor.dims.len()));
    }
    let bad = || format!("has the shape {:?}, expected sizes of at least 0", tensor.dims);
    let shape: Vec<usize> = tensor
        .dims
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| bad()))
        .collect::<Result<_, _>>()?;
    let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(bad)?;
    Ok((shape, len))
}

/// Values of one element type from little-endian bytes or else from the typed field.
fn read<T: Clone, const N: usize>(
    tensor: &TensorProto,
    len: usize,
    from_bytes: impl Fn([u8; N]) -> T,
    from_field: impl FnOnce() -> Vec<T>,
) -> Result<Vec<T>, String> {
    let values = match &tensor.raw_data {
        Some(raw) => {
            let (chunks, rest) = raw.as_chunks::<N>();
            if chunks.len() != len || !rest.is_empty() {
                return Err(format!(
                    "has {} bytes of data, expected {len} values of {N} bytes for the shape {:?}",
                    raw.len(),
                    tensor.dims
                ));
            }
            chunks.iter().map(|&b| from_bytes(b)).collect()
        }
        None => from_field(),
    };
    if values.len() != len {
        return Err(format!(
            "has {} values, expected {len} for the shape {:?}",
            values.len(),
            tensor.dims
        ));
    }
    Ok(values)
}

fn convert(tensor: &TensorProto) -> Result<Constant, String> {
    if tensor.data_location == 1 || !tensor.external_data.is_empty() {
        let file = tensor
            .external_data
            .iter()
            .find(|e| e.key == "location")
            .map_or("another file", |e| &e.value);
        return Err(format!(
            "its values lie outside the file, in '{file}'; expected one self-contained file: export with \
             torch.onnx.export(..., external_data=False), or join both with onnx.save(onnx.load(IN), OUT)"
        ));
    }
    let (shape, len) = sizes(tensor)?;
    let ints = || tensor.int32_data.iter().map(|&v| i64::from(v)).collect::<Vec<_>>();
    let low_half = || tensor.int32_data.iter().map(|&v| v as u16);
    let float = |v: Vec<f32>| ArrayD::from_shape_vec(IxDyn(&shape), v).map(Constant::from);
    let integer = |v: Vec<i64>| ArrayD::from_shape_vec(IxDyn(&shape), v).map(Constant::from);
    match tensor.data_type {
        1 => float(read(tensor, len, f32::from_le_bytes, || tensor.float_data.clone())?),
        10 => float(read(
            tensor,
            len,
            |b| f16::from_le_bytes(b).to_f32(),
            || low_half().map(|b| f16::from_bits(b).to_f32()).collect(),
        )?),
        16 => float(read(
            tensor,
            len,
            |b| bf16::from_le_bytes(b).to_f32(),
            || low_half().map(|b| bf16::from_bits(b).to_f32()).collect(),
        )?),
        11 => float(read(
            tensor,
            len,
            |b| f64::from_le_bytes(b) as f32,
            || tensor.double_data.iter().map(|&v| v as f32).collect(),
        )?),
        2 => integer(read(tensor, len, |b: [u8; 1]| i64::from(b[0]), ints)?),
        3 => integer(read(tensor, len, |b| i64::from(i8::from_le_bytes(b)), ints)?),
        4 => integer(read(tensor, len, |b| i64::from(u16::from_le_bytes(b)), ints)?),
        5 => integer(read(tensor, len, |b| i64::from(i16::from_le_bytes(b)), ints)?),
        6 => integer(read(tensor, len, |b| i64::from(i32::from_le_bytes(b)), ints)?),
        7 => integer(read(tensor, len, i64::from_le_bytes, || tensor.int64_data.clone())?),
        9 => {
            let values = read(
                tensor,
                len,
                |b: [u8; 1]| b[0] != 0,
                || tensor.int32_data.iter().map(|&v| v != 0).collect(),
            )?;
            ArrayD::from_shape_vec(IxDyn(&shape), values).map(Constant::from)
        }
        12 => integer(read(
            tensor,
            len,
            |b| i64::from(u32::from_le_bytes(b)),
            || tensor.uint64_data.iter().map(|&v| v as i64).collect(),
        )?),
        13 => integer(read(
            tensor,
            len,
            |b| u64::from_le_bytes(b) as i64,
            || tensor.uint64_data.iter().map(|&v| v as i64).collect(),
        )?),
        code => {
            return Err(format!(
                "has elements of {}, expected a float, an integer of 8 to 64 bits or bool",
                type_name(code)
            ));
        }
    }
    .map_err(|e| format!("has the shape {:?}: {e}", tensor.dims))
}

/// Reads a tensor; `at` is what an error calls it.
///
/// # Errors
/// External data, element types without a float or integer meaning, and values that do not fill the shape.
pub(super) fn constant(tensor: &TensorProto, at: &str) -> Result<Constant> {
    convert(tensor).map_err(|detail| Error::source(at, detail))
}

#[cfg(test)]
mod tests {
    use super::super::proto::StringStringEntryProto;
    use super::*;

    fn raw(data_type: i32, dims: &[i64], bytes: &[u8]) -> TensorProto {
        TensorProto {
            data_type,
            dims: dims.to_vec(),
            raw_data: Some(bytes.to_vec()),
            ..Default::default()
        }
    }

    #[test]
    fn every_element_type_reads_from_bytes() {
        let cases: [(i32, &[u8], Constant); 7] = [
            (1, &1.5f32.to_le_bytes(), Constant::from_floats(vec![1.5])),
            (10, &[0x00, 0x3e], Constant::from_floats(vec![1.5])),
            (16, &[0xc0, 0x3f], Constant::from_floats(vec![1.5])),
            (11, &1.5f64.to_le_bytes(), Constant::from_floats(vec![1.5])),
            (2, &[200], Constant::from_ints(vec![200])),
            (3, &[200], Constant::from_ints(vec![-56])),
            (6, &(-7i32).to_le_bytes(), Constant::from_ints(vec![-7])),
        ];
        for (code, bytes, expected) in cases {
            assert_eq!(
                constant(&raw(code, &[1], bytes), "w").unwrap(),
                expected,
                "{}",
                type_name(code)
            );
        }
    }

    #[test]
    fn typed_fields_read_too() {
        let half = TensorProto {
            data_type: 10,
            dims: vec![2],
            int32_data: vec![0x3e00, 0xc000],
            ..Default::default()
        };
        assert_eq!(constant(&half, "w").unwrap(), Constant::from_floats(vec![1.5, -2.0]));
        let ints = TensorProto { data_type: 7, int64_data: vec![4], ..Default::default() };
        assert_eq!(constant(&ints, "w").unwrap(), Constant::from_int(4));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let message = |t: &TensorProto| constant(t, "w").unwrap_err().to_string();
        assert!(
            message(&raw(1, &[2], &[0; 4])).contains("'w': has 4 bytes of data, expected 2 values")
        );
        assert!(message(&raw(1, &[-1], &[])).contains("shape [-1]"));
        assert!(message(&raw(1, &[i64::MAX, i64::MAX], &[])).contains("shape"));
        assert!(message(&raw(8, &[1], &[])).contains("elements of string"));
        assert!(message(&raw(1, &[1; 40], &[0; 4])).contains("40 axes"));
        assert!(message(&raw(1, &[0, i64::MAX, 16], &[])).contains("shape"));
    }

    #[test]
    fn external_data_is_refused_with_the_fix() {
        let entry = StringStringEntryProto { key: "location".into(), value: "m.onnx.data".into() };
        let tensor =
            TensorProto { data_location: 1, external_data: vec![entry], ..raw(1, &[1], &[0; 4]) };
        let message = constant(&tensor, "conv.weight").unwrap_err().to_string();
        assert!(message.contains("'conv.weight'") && message.contains("m.onnx.data"), "{message}");
        assert!(message.contains("external_data=False"), "{message}");
    }
}
