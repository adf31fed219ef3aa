//! The image input: which of the file's inputs it is, and its size.

use std::collections::HashSet;

use super::proto::{DimensionProto, GraphProto, ValueInfoProto};
use super::tensor;
use crate::error::{Error, Result};

/// The graph's input.
#[derive(Debug, PartialEq)]
pub(super) struct Input {
    /// Its name in the file.
    pub name: String,
    /// `[1, C, H, W]`.
    pub shape: Vec<usize>,
    /// A batch size above 1 that the file fixes.
    pub file_batch: Option<usize>,
}

/// The largest size of an image axis.
const MAX_SIZE: usize = 1 << 16;

fn describe(dims: &[DimensionProto]) -> String {
    let one = |d: &DimensionProto| match (d.dim_value, &d.dim_param) {
        (Some(v), _) => v.to_string(),
        (None, Some(p)) if !p.is_empty() => p.clone(),
        _ => "?".into(),
    };
    format!("[{}]", dims.iter().map(one).collect::<Vec<_>>().join(", "))
}

fn image(input: &ValueInfoProto, given: Option<[usize; 3]>) -> Result<Input> {
    let error = |detail: String| Error::source(&input.name, detail);
    let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| {
        error("is an input that is no tensor; expected an image [N, C, H, W]".into())
    })?;
    if !tensor::is_float(tensor.elem_type) {
        let kind = tensor::type_name(tensor.elem_type);
        return Err(error(format!("is an input of {kind}; expected a float image [N, C, H, W]")));
    }
    let dims: &[DimensionProto] = tensor.shape.as_ref().map_or(&[], |s| s.dim.as_slice());
    let shape = describe(dims);
    let [batch, rest @ ..] = dims else {
        return Err(error("is an input without a shape; expected an image [N, C, H, W]".into()));
    };
    if rest.len() != 3 {
        return Err(error(format!("is an input of shape {shape}; expected an image [N, C, H, W]")));
    }
    let mut sizes = vec![1];
    for (i, dim) in rest.iter().enumerate() {
        // A fixed 0 is how some exporters write "unknown".
        let fixed = dim.dim_value.filter(|&v| v != 0);
        let size = match (fixed, given.map(|g| g[i])) {
            (None, Some(size)) => size,
            (None, None) => {
                return Err(error(format!(
                    "is an input of the open shape {shape}; expected fixed sizes: give them, as in --input 3x320x320"
                )));
            }
            (Some(v), given) => {
                let size = usize::try_from(v).unwrap_or(0);
                if let Some(g) = given.filter(|&g| g != size) {
                    return Err(error(format!(
                        "is an input of the fixed shape {shape}, but {g} was asked for instead of {v}; export the \
                         network with dynamic axes, or at that size"
                    )));
                }
                size
            }
        };
        if size == 0 || size > MAX_SIZE {
            return Err(error(format!(
                "is an input of shape {shape}; expected sizes from 1 to {MAX_SIZE}"
            )));
        }
        sizes.push(size);
    }
    let file_batch = batch.dim_value.and_then(|v| usize::try_from(v).ok()).filter(|&n| n > 1);
    Ok(Input { name: input.name.clone(), shape: sizes, file_batch })
}

/// Finds the one image input among the names that live nodes read.
///
/// # Errors
/// None or several inputs, an input that is no float image, open sizes that `given` (C, H, W) does not fix.
pub(super) fn input(
    graph: &GraphProto,
    is_live: impl Fn(&str) -> bool,
    given: Option<[usize; 3]>,
) -> Result<Input> {
    // Old files list their weights as inputs too.
    let weights: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let mut inputs: Vec<&ValueInfoProto> = graph
        .input
        .iter()
        .filter(|i| is_live(&i.name) && !weights.contains(i.name.as_str()))
        .collect();
    match (inputs.pop(), inputs.is_empty()) {
        (Some(one), true) => image(one, given),
        (Some(last), false) => {
            let names: Vec<&str> =
                inputs.iter().chain([&last]).map(|i| i.name.as_str()).take(8).collect();
            Err(Error::source(
                "",
                format!(
                    "the network has several inputs ({}); expected one image",
                    names.join(", ")
                ),
            ))
        }
        (None, _) => Err(Error::source(
            "",
            "no input of the network reaches its results; expected one image input",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{TensorShapeProto, TensorTypeProto, TypeProto};
    use super::*;

    fn value(name: &str, elem_type: i32, dims: &[Option<i64>]) -> ValueInfoProto {
        let dim = dims
            .iter()
            .map(|&dim_value| DimensionProto { dim_value, dim_param: Some("h".into()) })
            .collect();
        let tensor_type = TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim }) };
        ValueInfoProto {
            name: name.into(),
            r#type: Some(TypeProto { tensor_type: Some(tensor_type) }),
        }
    }

    fn one(dims: &[Option<i64>], given: Option<[usize; 3]>) -> Result<Input, String> {
        image(&value("x", 1, dims), given).map_err(|e| e.to_string())
    }

    #[test]
    fn open_sizes_are_fixed_by_the_caller() {
        let open = [None, Some(3), None, None];
        assert_eq!(one(&open, Some([3, 32, 40])).unwrap().shape, [1, 3, 32, 40]);
        let message = one(&open, None).unwrap_err();
        assert!(
            message.contains("'x'")
                && message.contains("[h, 3, h, h]")
                && message.contains("--input"),
            "{message}"
        );
        let message = one(&open, Some([1, 32, 32])).unwrap_err();
        assert!(message.contains("1 was asked for instead of 3"), "{message}");
    }

    #[test]
    fn the_batch_becomes_one() {
        let input = one(&[Some(4), Some(3), Some(8), Some(8)], None).unwrap();
        assert_eq!((input.shape, input.file_batch), (vec![1, 3, 8, 8], Some(4)));
        assert!(one(&[Some(1), Some(3), Some(8)], None).unwrap_err().contains("expected an image"));
        assert!(one(&[Some(1), Some(3), Some(-8), Some(i64::MAX)], None).is_err());
        assert!(
            image(&value("x", 2, &[Some(1); 4]), None).unwrap_err().to_string().contains("uint8")
        );
    }

    #[test]
    fn there_is_one_input() {
        let two = GraphProto {
            input: vec![value("a", 1, &[]), value("b", 1, &[])],
            ..Default::default()
        };
        let message = |live: &str| input(&two, |n| live.contains(n), None).unwrap_err().to_string();
        assert!(message("ab").contains("several inputs (a, b)"));
        assert!(message("").contains("no input"));
    }
}
