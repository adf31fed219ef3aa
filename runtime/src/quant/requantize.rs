//! The scalar definition of requantisation: the numeric specification of the runtime.
//!
//! Everything is IEEE 754 binary32, in the order written here, nothing contracted into a fused multiply-add and
//! nothing reassociated. Rounding is to nearest, ties to even. Every kernel on every instruction set equals these
//! functions bit for bit.

/// Rounds to the nearest integer, ties to even, for `|t| <= 2^22`.
///
/// Adding and subtracting `1.5 * 2^23` leaves no fraction bits, so that the hardware's default rounding
/// (IEEE 754-2019, 4.3.1 roundTiesToEven) does the work on every target, with or without a rounding instruction.
#[inline(always)]
#[must_use]
pub fn round_ties_even(t: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0;
    ((t + MAGIC) - MAGIC) as i32
}

/// `f32(acc) * multiplier`: an accumulator in steps of the output. The conversion rounds ties to even.
#[inline(always)]
#[must_use]
pub fn scale_accumulator(acc: i32, multiplier: f32) -> f32 {
    acc as f32 * multiplier
}

/// Clamps `t` (output steps relative to the zero point) and rounds it: the last step of every epilogue.
///
/// ```text
/// q = round_ties_even(clamp(t, clamp_min - zero_point, clamp_max - zero_point)) + zero_point
/// ```
///
/// `clamp_min <= clamp_max` are in quantised units and hold ReLU, ReLU6 and the limits of the type. Clamping comes
/// before the conversion, so no instruction set's out-of-range behaviour shows. `t` is never NaN: multipliers are
/// finite and accumulators are integers.
#[inline(always)]
#[must_use]
pub fn requantize(t: f32, zero_point: i32, clamp_min: i32, clamp_max: i32) -> i32 {
    let low = (clamp_min - zero_point) as f32;
    let high = (clamp_max - zero_point) as f32;
    let t = if t < low { low } else { t };
    let t = if t > high { high } else { t };
    round_ties_even(t) + zero_point
}
