//! The scalar definition of requantisation: the numeric specification of the runtime.
//!
//! Everything is IEEE 754 binary32, in the order written here, nothing contracted into a fused multiply-add and
//! nothing reassociated. Rounding is to nearest, ties to even. Every kernel on every instruction set equals these
//! functions bit for bit.

/// Rounds to the nearest integer, ties to even, for `|t| <= 2^22`.
///
/// Adding `1.5 * 2^23` leaves no fraction bits, so that the hardware's default rounding (IEEE 754-2019, 4.3.1
/// roundTiesToEven) does the work on every target, with or without a rounding instruction; the integer then stands in
/// the lowest bits of the sum.
#[inline(always)]
#[must_use]
pub fn round_ties_even(t: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0;
    (t + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32
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

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// The same in f64, where every product and sum here is exact, rounded by the standard library's rules.
    fn exact(t: f32, zero_point: i32, low: i32, high: i32) -> i32 {
        let floor = f64::from(t).clamp(-1e9, 1e9);
        let whole = floor as i64 - i64::from(floor < floor as i64 as f64);
        let rest = floor - whole as f64;
        let up = rest > 0.5 || (rest == 0.5 && whole % 2 != 0);
        (whole + i64::from(up) + i64::from(zero_point)).clamp(low.into(), high.into()) as i32
    }

    #[test]
    fn every_tie_and_its_neighbours_round_to_even() {
        for half in -70_000..70_000_i32 {
            let tie = half as f32 + 0.5;
            for t in [tie.next_down(), tie, tie.next_up(), half as f32] {
                assert_eq!(round_ties_even(t), exact(t, 0, i32::MIN, i32::MAX), "{t}");
            }
        }
        for exponent in 0..23 {
            for t in [2f32.powi(exponent), 1.5 * 2f32.powi(exponent)] {
                for t in [t.next_down(), t, t.next_up(), -t, (-t).next_down(), (-t).next_up()] {
                    if t.abs() <= 4_194_304.0 {
                        assert_eq!(round_ties_even(t), exact(t, 0, i32::MIN, i32::MAX), "{t}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_clamp_and_zero_point_of_i8() {
        let values: Vec<f32> = (-1100..1100)
            .map(|i| i as f32 / 4.0)
            .chain([f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -0.0, f32::from_bits(1)])
            .collect();
        for zero_point in -128..=127 {
            for (low, high) in [(-128, 127), (zero_point, 127), (-128, zero_point), (-3, 3), (5, 5)]
            {
                for &t in &values {
                    assert_eq!(
                        requantize(t, zero_point, low, high),
                        exact(t, zero_point, low, high),
                        "{t} {zero_point} {low} {high}"
                    );
                }
            }
        }
    }

    #[test]
    fn every_i16_value_survives() {
        for q in -32_767..=32_767 {
            for t in [q as f32, q as f32 + 0.25, q as f32 - 0.25] {
                assert_eq!(requantize(t, 0, -32_767, 32_767), q);
            }
        }
        assert_eq!(requantize(1e30, 0, -32_767, 32_767), 32_767);
        assert_eq!(requantize(-1e30, 0, -32_767, 32_767), -32_767);
    }

    #[test]
    fn accumulators_around_every_tie() {
        // f32(acc) * m is exact for these, so ties are met and not only approached.
        for shift in 1..24 {
            let m = 1.0 / (1u32 << shift) as f32;
            let half = 1i64 << (shift - 1);
            for k in -130..130_i64 {
                for near in -2..=2 {
                    let acc = (2 * k + 1) * half + near;
                    // Beyond 2^24 the conversion rounds as well; both sides see the converted value.
                    let t = scale_accumulator(acc as i32, m);
                    assert_eq!(f64::from(t), f64::from(acc as f32) / (1u64 << shift) as f64);
                    assert_eq!(
                        requantize(t, 0, -128, 127),
                        exact(t, 0, -128, 127),
                        "{acc} / 2^{shift}"
                    );
                }
            }
        }
    }

    /// What a machine that flushes subnormal numbers to zero sees.
    fn flush(t: f32) -> f32 {
        if t.is_subnormal() { 0.0 } else { t }
    }

    /// An epilogue in which every operation gives and takes `f(value)`.
    fn epilogue(
        f: impl Fn(f32) -> f32,
        acc: i32,
        r: i32,
        [m, m_r, slope, a, b]: [f32; 5],
    ) -> [i32; 2] {
        let mut t = f(f(acc as f32) * f(m));
        if t < 0.0 {
            t = f(t * f(slope));
        }
        t = f(t + f(f(r as f32) * f(m_r)));
        let u = f(f(t * f(a)) + f(b));
        [requantize(t, 3, -128, 127), requantize(u, -5, -128, 127)]
    }

    #[test]
    fn flushing_subnormal_numbers_changes_nothing() {
        // The limits of what the loader accepts, see `format/verify/values.rs`.
        let (least, most) = (2f32.powi(-64), 2f32.powi(64));
        let multipliers = [least, least.next_up(), 1e-12, 0.37, 1.0, 1e9, most];
        let slopes = [0.0, f32::MIN_POSITIVE, -f32::MIN_POSITIVE, least, 0.25, 1.0, 65_536.0];
        let factors = [0.0, f32::MIN_POSITIVE, -f32::MIN_POSITIVE, 1e-30, -0.5, 1.0, most, -most];
        let summands = [0.0, f32::MIN_POSITIVE, 0.5, 0.5f32.next_down(), 1.5, -2.5, 1e30];
        for acc in [0, 1, -1, 2, 1000, -1001, i32::MAX, i32::MIN] {
            for r in [0, 1, -1, 127, -255] {
                for m in multipliers {
                    for m_r in multipliers {
                        for slope in slopes {
                            for a in factors {
                                for b in summands {
                                    let numbers = [m, m_r, slope, a, b];
                                    assert_eq!(
                                        epilogue(|t| t, acc, r, numbers),
                                        epilogue(flush, acc, r, numbers),
                                        "{acc} {r} {numbers:?}"
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
