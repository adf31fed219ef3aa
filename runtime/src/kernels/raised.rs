//! Sums that become values by one fused multiply-add.
//!
//! A sum `s` of a range of less than 2^23 starts higher by an `r` that puts it into the lowest bits of an f32 between
//! 2^23 and 2^24: read as one, it is `2^23 + r + s`, without a conversion. Where `(2^23 + r) * m` is an f32, and `r` is
//! chosen so that it needs few of a multiplier's bits for that,
//!
//! ```text
//! fma(2^23 + r + s, m, -((2^23 + r) * m)) = s * m, rounded once
//! ```
//!
//! is the product of the definition, in one instruction instead of two. The converter writes multipliers of few bits;
//! of others, and of sums with a larger range, nothing is raised.

use crate::isa::Isa;
use crate::quant::MULTIPLIER_BITS;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

/// The f32 of this many bits is 2^23, and the next integers are the next f32.
const LOWEST: i32 = 0x4B00_0000;
/// 2^23
const SPAN: i64 = 1 << 23;
/// What sums are raised by is a multiple of it, which leaves [`MULTIPLIER_BITS`] to a multiplier.
const STEP: i64 = 1 << MULTIPLIER_BITS;

/// How the sums of some channels are raised.
pub(super) struct Raised {
    /// What is added to what a sum starts from, as bits; 0 where nothing is raised.
    rise: Box<[i32]>,
    /// `-((2^23 + r) * m)`; 0 where nothing is raised.
    offset: Box<[f32]>,
}

impl Raised {
    /// Of channels whose sums are between two values, with their multipliers.
    pub fn new(channels: impl Iterator<Item = ((i64, i64), f32)>, padding: usize) -> Self {
        let (mut rise, mut offset) = (Vec::new(), Vec::new());
        for ((low, high), multiplier) in channels {
            let (r, o) = raise(low, high, multiplier).unwrap_or_default();
            rise.push(r);
            offset.push(o);
        }
        rise.resize(rise.len() + padding, 0);
        offset.resize(offset.len() + padding, 0.0);
        Self { rise: rise.into(), offset: offset.into() }
    }

    /// Whether all of some channels are raised.
    pub fn serves<I: Isa>(&self, channels: Range<usize>) -> bool {
        I::FUSES && self.rise[channels].iter().all(|rise| *rise != 0)
    }

    /// Raises what some sums start from, of which number `n` is that of `channel(n)`.
    pub fn raise(&self, starts: &mut [i32], channel: impl Fn(usize) -> usize) {
        for (n, start) in starts.iter_mut().enumerate() {
            *start = start.wrapping_add(self.rise[channel(n)]);
        }
    }

    /// What is added to products with multipliers, from a channel on.
    #[inline(always)]
    pub fn offset(&self, channel: usize) -> &[f32] {
        &self.offset[channel..]
    }
}

/// Rise and offset for sums from `low` to `high`, if there are any.
fn raise(low: i64, high: i64, multiplier: f32) -> Option<(i32, f32)> {
    let r = -low.div_euclid(STEP) * STEP;
    // Sums beyond 2^24 are rounded before they are multiplied.
    if r + high >= SPAN || r.abs() >= SPAN {
        return None;
    }
    let exact = (SPAN + r) as f64 * f64::from(multiplier);
    let offset = exact as f32;
    let in_range = multiplier.is_normal() && offset < f32::MAX / 4.0;
    let is_exact = in_range && f64::from(offset) == exact;
    is_exact.then_some((LOWEST + r as i32, -offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::significant;

    #[test]
    fn a_raised_sum_is_multiplied_exactly() {
        for (low, high) in [(-4_000_000, 4_000_000), (-8_000_000, 1000), (5, 7_000_000), (-3, 9)] {
            for multiplier in [0.0123f32, 3.7e-5, 0.5, 1.9e4] {
                let multiplier = significant(multiplier, MULTIPLIER_BITS);
                let (rise, offset) = raise(low, high, multiplier).expect("few bits");
                for sum in [low, low + 1, -1, 0, 1, 12_345, high - 1, high] {
                    let sum = sum.clamp(low, high) as i32;
                    let x = f32::from_bits((sum + rise) as u32);
                    let fused = x.mul_add(multiplier, offset);
                    assert_eq!(fused.to_bits(), (sum as f32 * multiplier).to_bits(), "{sum}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_raised_is_left() {
        let few = significant(0.01, MULTIPLIER_BITS);
        assert!(raise(-4_200_000, 4_200_000, few).is_none());
        assert!(raise(-100, i64::from(i32::MAX), few).is_none());
        assert!(raise(i64::from(i32::MIN), -2_147_000_000, few).is_none());
        assert!(raise(-100, 100, f32::from_bits(few.to_bits() | 1)).is_none());
        assert!(raise(-100, 100, f32::MAX / 3.0).is_none());
        assert!(raise(-100, 100, f32::from_bits(1 << 10)).is_none());
    }
}
