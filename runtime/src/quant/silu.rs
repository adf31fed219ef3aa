//! The scalar definition of SiLU on unrounded values.

/// Beyond it the sigmoid stays what it is there, `8e-6` off its limit.
pub(crate) const REACH: f32 = 12.0;
/// Numerator of `(sigmoid(y) - 1/2) / y` in `y^2`, lowest power first.
pub(crate) const NUMERATOR: [f32; 3] = [0.249_967_98, 0.007_081_232_6, 2.241_558e-5];
/// Denominator, without the leading 1.
pub(crate) const DENOMINATOR: [f32; 3] = [0.111_594_37, 0.001_067_936, 8.083_513e-7];

/// `x * sigmoid(x)` to within `2e-5`, from sums, products and one quotient.
///
/// ```text
/// y = clamp(x, -12, 12);  z = y * y
/// p = (p2 * z + p1) * z + p0;  q = ((q3 * z + q2) * z + q1) * z + 1
/// x * (y * (p / q) + 1/2)
/// ```
///
/// Every operation is rounded by itself, so that every machine gets the same bits. The coefficients have the smallest
/// largest error of the result (least squares with weights that follow the error), which is below a fifteenth of the
/// smallest useful step of an i8 tensor: SiLU's own minimum is -0.28.
#[inline(always)]
#[must_use]
pub fn silu(x: f32) -> f32 {
    let [p0, p1, p2] = NUMERATOR;
    let [q1, q2, q3] = DENOMINATOR;
    let y = if x < -REACH { -REACH } else { x };
    let y = if y > REACH { REACH } else { y };
    let z = y * y;
    let p = (p2 * z + p1) * z + p0;
    let q = ((q3 * z + q2) * z + q1) * z + 1.0;
    x * (y * (p / q) + 0.5)
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn equals_x_times_sigmoid() {
        for i in -400_000..=400_000 {
            let x = i as f32 / 10_000.0;
            let exact = f64::from(x) / (1.0 + (-f64::from(x)).exp());
            let most = if x.abs() > REACH { 1e-5 * f64::from(x.abs()) } else { 2.5e-5 };
            assert!((f64::from(silu(x)) - exact).abs() < most, "{x}");
        }
        assert_eq!(silu(0.0), 0.0);
        let most = 2f32.powi(95);
        assert!((silu(most) / most - 1.0).abs() < 1e-5 && silu(-most).is_finite());
    }

    #[test]
    fn flushing_subnormal_numbers_changes_nothing() {
        // `f32(acc) * m` is zero or at least 2^-64 in size, see `format/verify/values.rs`; its square may be subnormal.
        for exponent in -64..-50 {
            for x in [2f32.powi(exponent), -1.7 * 2f32.powi(exponent)] {
                let half = x * (x * NUMERATOR[0] + 0.5);
                assert_eq!(silu(x), half, "{x}");
            }
        }
    }
}
