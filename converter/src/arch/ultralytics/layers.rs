//! Layers of PyTorch, with the geometry that their records hold.

use super::unknown;
use crate::arch::builder::{Builder, Geometry};
use crate::error::{Error, Result};
use crate::graph::{Activation, Op, Pool, PoolKind, Resize, ValueId};
use crate::import::module::{Attribute, ModuleRecord};

/// Appends a layer of `torch.nn`.
pub(super) fn build(
    b: &mut Builder<'_>,
    layer: &ModuleRecord,
    path: &str,
    x: ValueId,
) -> Result<ValueId> {
    let activation = |b: &mut Builder<'_>, a| b.graph.push(path, Op::Activation(a), &[x]);
    match layer.kind() {
        "Identity" | "Dropout" | "Dropout2d" => Ok(x),
        "Conv2d" => convolution(b, layer, path, x),
        "BatchNorm2d" => {
            #[allow(clippy::cast_possible_truncation)] // as short as it was written
            let eps = layer.attributes.get("eps").and_then(Attribute::float).unwrap_or(1e-5) as f32;
            b.batch_norm_with(path, x, eps)
        }
        "SiLU" => activation(b, Activation::Silu),
        "ReLU" => activation(b, Activation::Relu),
        "ReLU6" => activation(b, Activation::Clip { min: 0.0, max: 6.0 }),
        "Hardswish" => activation(b, Activation::HardSwish),
        "Sigmoid" => activation(b, Activation::Sigmoid),
        "LeakyReLU" => {
            let slope = layer.attributes.get("negative_slope").and_then(Attribute::float);
            #[allow(clippy::cast_possible_truncation)] // as short as it was written
            activation(b, Activation::LeakyRelu { slope: slope.unwrap_or(0.01) as f32 })
        }
        "MaxPool2d" => pool(b, layer, path, x),
        "Upsample" => upsample(b, layer, path, x),
        _ => Err(unknown(path, &layer.class)),
    }
}

/// A number, or a pair of equal ones.
fn side(layer: &ModuleRecord, path: &str, name: &str) -> Result<usize> {
    let attribute = layer.attributes.get(name);
    let number = match attribute {
        Some(Attribute::List(pair)) => match pair.as_slice() {
            [Attribute::Int(a), Attribute::Int(b)] if a == b => Some(*a),
            _ => None,
        },
        other => other.and_then(Attribute::int),
    };
    number.and_then(|n| usize::try_from(n).ok()).ok_or_else(|| {
        Error::source(
            path,
            format!("{name} = {attribute:?}, expected one number for both directions"),
        )
    })
}

fn convolution(
    b: &mut Builder<'_>,
    layer: &ModuleRecord,
    path: &str,
    x: ValueId,
) -> Result<ValueId> {
    let mode = layer.attributes.get("padding_mode").and_then(Attribute::str).unwrap_or("zeros");
    if mode != "zeros" || side(layer, path, "dilation")? != 1 {
        return Err(Error::source(
            path,
            "padding other than with zeros, or dilation: export the model to ONNX",
        ));
    }
    let geometry = Geometry {
        stride: side(layer, path, "stride")?,
        padding: Some(side(layer, path, "padding")?),
        groups: Some(layer.int("groups").and_then(|g| usize::try_from(g).ok()).unwrap_or(1)),
    };
    b.conv(path, x, geometry)
}

/// Max-pooling.
pub(super) fn pool(
    b: &mut Builder<'_>,
    layer: &ModuleRecord,
    path: &str,
    x: ValueId,
) -> Result<ValueId> {
    let window = side(layer, path, "kernel_size")?;
    let (stride, padding) = (side(layer, path, "stride")?, side(layer, path, "padding")?);
    if window == 0 || stride == 0 || padding > window / 2 {
        return Err(Error::source(
            path,
            format!("a {window}x{window} pooling of stride {stride}, padding {padding}"),
        ));
    }
    let op = Op::Pool(Pool {
        kind: PoolKind::Max,
        window: [window; 2],
        stride: [stride; 2],
        padding: [padding; 4],
        dilation: [1, 1],
        ceil_mode: layer.is("ceil_mode"),
    });
    b.graph.push(path, op, &[x])
}

fn upsample(b: &mut Builder<'_>, layer: &ModuleRecord, path: &str, x: ValueId) -> Result<ValueId> {
    let mode = layer.attributes.get("mode").and_then(Attribute::str).unwrap_or_default();
    let factor = layer.attributes.get("scale_factor").and_then(Attribute::float);
    let (Some(factor), "nearest") = (factor.filter(|f| (1.0..=16.0).contains(f)), mode) else {
        return Err(Error::source(
            path,
            format!("upsampling '{mode}' by {factor:?}; nearest by a whole factor is supported"),
        ));
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 1 to 16
    let whole = factor as usize;
    #[allow(clippy::cast_precision_loss)] // 1 to 16
    let exact = whole as f64 == factor;
    let &[_, _, h, w] = b.graph.shape(x) else {
        return Err(Error::source(path, "upsampling of something that is no map"));
    };
    if !exact {
        return Err(Error::source(path, format!("upsampling by {factor}, which is not whole")));
    }
    b.graph.push(path, Op::Resize(Resize { size: [h * whole, w * whole] }), &[x])
}
