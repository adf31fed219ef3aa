//! Convolution units of necks and heads: where their convolution and batch norm are.

use crate::arch::builder::{Builder, Geometry};
use crate::arch::file::Act;
use crate::error::{Error, Result};
use crate::graph::ValueId;

/// Convolution and batch norm, relative to the unit.
pub(super) const SPELLINGS: &[(&str, &[&str])] =
    &[("conv", &["bn", "norm"]), ("0", &["1"]), ("conv.0", &["conv.1"])];

/// Paths of a unit's convolution and batch norm.
fn parts(b: &Builder<'_>, path: &str) -> Result<(String, Option<String>)> {
    if let Some((conv, bn)) = path.split_once('+') {
        return Ok((conv.trim().to_owned(), Some(bn.trim().to_owned())));
    }
    let has = |p: &str, leaf: &str| b.has(&format!("{p}.{leaf}"));
    for (conv, norms) in SPELLINGS {
        let conv = format!("{path}.{conv}");
        if has(&conv, "weight") {
            let bn = norms.iter().map(|n| format!("{path}.{n}"));
            return Ok((conv, bn.into_iter().find(|p| has(p, "running_mean"))));
        }
    }
    if has(path, "weight") {
        return Ok((path.to_owned(), None));
    }
    Err(Error::source(
        path,
        "the checkpoint has no convolution here (looked for the path itself, conv, 0, conv.0, each with .weight)",
    ))
}

/// Appends the units of a chain; the first has the stride, those with a batch norm the activation.
pub(super) fn chain(
    b: &mut Builder<'_>,
    paths: &[String],
    x: ValueId,
    stride: usize,
    activation: Act,
) -> Result<ValueId> {
    let mut y = x;
    for (i, path) in paths.iter().enumerate() {
        let (conv, bn) = parts(b, path)?;
        y = b.conv(&conv, y, Geometry::stride(if i == 0 { stride } else { 1 }))?;
        if let Some(bn) = bn {
            y = b.batch_norm(&bn, y)?;
            y = b.activation(path.split(" + ").next().unwrap_or(path), activation, y)?;
        }
    }
    Ok(y)
}
