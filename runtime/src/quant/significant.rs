//! Multipliers of few bits: with them some products need no rounding, and kernels fuse those with the sum that follows.

/// Significant bits of a convolution's multipliers, as the converter writes them: the error is 2^-19 of a value, the
/// 4,000th part of a step for the largest i8.
pub const MULTIPLIER_BITS: u32 = 18;

/// Significant bits of a residual's multiplier, as the converter writes it where the residual is i8: the product with a
/// difference of two i8, which has 8, is an f32.
pub const RESIDUAL_BITS: u32 = 16;

/// The nearest number to a finite `x` that has at most `bits` (2 to 24) significant bits, ties to even.
///
/// ```
/// use kenar::quant::{has_bits, significant};
///
/// assert_eq!(significant(1.0 + 1.0 / 1024.0, 10), 1.0);
/// assert_eq!(significant(0.1, 4), 0.1015625);
/// assert!(has_bits(0.1015625, 4) && !has_bits(0.1, 23));
/// ```
#[must_use]
pub const fn significant(x: f32, bits: u32) -> f32 {
    let spare = 24 - bits;
    if spare == 0 {
        return x;
    }
    let b = x.to_bits();
    let odd = b >> spare & 1;
    // A carry out of the fraction is one into the exponent, as it should be.
    f32::from_bits((b + (1 << (spare - 1)) - 1 + odd) >> spare << spare)
}

/// Whether a normal number has at most `bits` (2 to 24) significant bits.
#[must_use]
pub const fn has_bits(x: f32, bits: u32) -> bool {
    x.to_bits().trailing_zeros() >= 24 - bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_number_is_found() {
        for bits in 2..=24 {
            for i in 0..20_000u32 {
                let x = f32::from_bits(0x3C12_3456u32.wrapping_add(i * 7919));
                let near = significant(x, bits);
                assert!(has_bits(near, bits));
                let unit =
                    f32::from_bits(near.to_bits() & 0xFF80_0000) * (0.5f32).powi(bits as i32);
                assert!((near - x).abs() <= unit, "{x} {bits}");
            }
        }
        // Ties, a carry, a sign.
        assert_eq!(significant(f32::from_bits(0x3F80_0020), MULTIPLIER_BITS), 1.0);
        assert_eq!(
            significant(f32::from_bits(0x3F80_0060), MULTIPLIER_BITS).to_bits(),
            0x3F80_0080
        );
        assert_eq!(significant(f32::from_bits(0x3FFF_FFFF), RESIDUAL_BITS), 2.0);
        assert_eq!((significant(-2.5, 2), significant(-3.5, 2)), (-2.0, -4.0));
    }
}
