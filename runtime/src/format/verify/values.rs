//! Ranges of single numbers and of constant arrays.
//!
//! The ranges are chosen so that no result can be NaN and no result depends on whether a machine flushes subnormal
//! numbers to zero (ARMv7 NEON always does):
//!
//! - `f32(acc) * m` is zero or at least `2^-64` in size, and at most `2^95`.
//! - A sum of two such values can be subnormal or tiny only by cancellation; it then rounds to the zero point either
//!   way, and times an affine factor of at most `2^64` it stays below `2^-62`, which cannot move a summand across a
//!   rounding tie.
//! - Behind SiLU a factor adds at most `2^32` either way: `t` stays finite and normal.
//! - A slope adds at most a factor of `2^16`, so `t` stays finite up to the affine factor.
//! - `f32(acc) * m * a` is at most `2^176`, so it may become infinite, but the summand `b` is finite, and the clamp
//!   takes infinities.

use super::super::layout::ALIGNMENT;
use super::super::{F32s, I32s};
use crate::desc::Span;
use crate::{Error, Model};

const LARGEST: f32 = 18_446_744_073_709_551_616.0; // 2^64
const SMALLEST: f32 = 1.0 / LARGEST;

/// Finite, normal, positive.
pub(super) fn is_scale(value: f32) -> bool {
    value.is_normal() && value > 0.0
}

/// Within `2^-64..=2^64`.
pub(super) fn is_multiplier(value: f32) -> bool {
    (SMALLEST..=LARGEST).contains(&value)
}

/// Zero, or normal and at most `2^64` in size.
fn is_affine(value: f32) -> bool {
    value == 0.0 || (value.is_normal() && value.abs() <= LARGEST)
}

/// Checks a multiplier of operator `op`.
pub(super) fn multiplier(op: u32, value: f32) -> Result<(), Error> {
    if is_multiplier(value) { Ok(()) } else { Err(Error::OpMultiplier { op }) }
}

/// A constant of operator `op` with `len` bytes.
pub(super) fn data<'m>(
    model: &Model<'m>,
    op: u32,
    span: Span,
    len: u64,
) -> Result<&'m [u8], Error> {
    let bytes = model.try_data(span).ok_or(Error::OpData { op })?;
    if u64::from(span.len) != len || !(span.offset as usize).is_multiple_of(ALIGNMENT) {
        return Err(Error::OpData { op });
    }
    Ok(bytes)
}

/// `count` multipliers.
pub(super) fn multipliers<'m>(
    model: &Model<'m>,
    op: u32,
    span: Span,
    count: u32,
) -> Result<F32s<'m>, Error> {
    let values = F32s(data(model, op, span, 4 * u64::from(count))?);
    if !values.iter().all(is_multiplier) {
        return Err(Error::OpMultiplier { op });
    }
    Ok(values)
}

/// `count` affine factors or summands.
pub(super) fn affine(model: &Model<'_>, op: u32, span: Span, count: u32) -> Result<(), Error> {
    let values = F32s(data(model, op, span, 4 * u64::from(count))?);
    if values.iter().all(is_affine) { Ok(()) } else { Err(Error::OpAffine { op }) }
}

/// `count` slopes below zero: zero, or normal and at most `2^16` in size.
pub(super) fn slopes(model: &Model<'_>, op: u32, span: Span, count: u32) -> Result<(), Error> {
    let values = F32s(data(model, op, span, 4 * u64::from(count))?);
    let steepest = 65_536.0;
    if values.iter().all(|slope| is_affine(slope) && slope.abs() <= steepest) {
        Ok(())
    } else {
        Err(Error::OpAffine { op })
    }
}

/// `count` factors behind SiLU, within `2^-32..=2^32`.
pub(super) fn factors(model: &Model<'_>, op: u32, span: Span, count: u32) -> Result<(), Error> {
    const MOST: f32 = 4_294_967_296.0; // 2^32
    let values = F32s(data(model, op, span, 4 * u64::from(count))?);
    let fits = |factor: f32| (1.0 / MOST..=MOST).contains(&factor);
    if values.iter().all(fits) { Ok(()) } else { Err(Error::OpAffine { op }) }
}

/// `count` biases that leave room for `depth` products of an i8 weight and an activation.
pub(super) fn biases(
    model: &Model<'_>,
    op: u32,
    span: Span,
    count: u32,
    depth: u64,
) -> Result<(), Error> {
    let values = I32s(data(model, op, span, 4 * u64::from(count))?);
    let room = i32::MAX as u64 - depth * 127 * 255;
    if values.iter().all(|bias| u64::from(bias.unsigned_abs()) <= room) {
        Ok(())
    } else {
        Err(Error::OpBias { op })
    }
}

/// `count` weights, none of them -128.
pub(super) fn weights(model: &Model<'_>, op: u32, span: Span, count: u64) -> Result<(), Error> {
    let bytes = data(model, op, span, count)?;
    // Without an early exit the loop vectorises.
    let found = bytes
        .chunks(4096)
        .any(|chunk| chunk.iter().fold(false, |found, &byte| found | (byte == 0x80)));
    if found { Err(Error::OpWeights { op }) } else { Ok(()) }
}
