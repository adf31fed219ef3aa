//! Biases: i32 at `scale(x) * scale(w[o])`, and the guard that keeps them and the accumulator inside i32.
//!
//! A batch norm with a tiny variance or a gamma of about zero leaves weights of about zero beside an ordinary bias:
//! at the scale such weights ask for, the bias overflows. The guard gives the channel a larger weight scale instead; its
//! weights lose resolution that they do not need.

/// What is kept of the accumulator for the bias: well inside i32, and finer than any output step.
const BIAS_LIMIT: f64 = (1u32 << 30) as f64;
/// Scale of a channel without weights: its bias lands around this.
const DEAD_BIAS: f64 = (1u32 << 20) as f64;
/// Scales below this make multipliers that are not normal numbers.
const SMALLEST_SCALE: f64 = 1e-18;

/// The smallest weight scale of one output channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeastScale {
    /// Lower bound, positive and normal.
    pub scale: f32,
    /// Whether all weights are zero.
    pub dead: bool,
}

/// The largest magnitude of a bias beside a sum of `taps` products: `255 * 127` each.
fn limit(taps: usize) -> f64 {
    BIAS_LIMIT.min(f64::from(i32::MAX) - 255.0 * 127.0 * taps as f64).max(f64::from(1u32 << 16))
}

/// The smallest weight scale with which the bias fits.
#[must_use]
pub fn least_scale(weights: &[f32], bias: f32, input_scale: f32) -> LeastScale {
    let dead = weights.iter().all(|&w| w == 0.0);
    let room = if dead { DEAD_BIAS } else { limit(weights.len()) };
    let mut scale = (f64::from(bias.abs()) / (f64::from(input_scale) * room)).max(SMALLEST_SCALE);
    if dead && bias == 0.0 {
        scale = 1.0;
    }
    // Rounded up, so that the quotient stays inside.
    LeastScale { scale: (scale * (1.0 + 1e-6)) as f32, dead }
}

/// `round(bias / (scale(x) * scale(w)))` beside a sum of `taps` products.
#[must_use]
pub fn quantize(bias: f64, input_scale: f32, weight_scale: f32, taps: usize) -> i32 {
    let q = bias / (f64::from(input_scale) * f64::from(weight_scale));
    q.round_ties_even().clamp(-limit(taps), limit(taps)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_channels_are_left_alone() {
        let l = least_scale(&[0.1, -0.2], 0.5, 0.02);
        assert!(l.scale < 0.2 / 127.0 && !l.dead);
    }

    #[test]
    fn a_tiny_channel_with_an_ordinary_bias_is_raised() {
        let weights = [1e-12, -2e-12];
        let l = least_scale(&weights, 3.0, 0.02);
        assert!(l.scale > 2e-12 / 127.0);
        let q = quantize(3.0, 0.02, l.scale, 2);
        assert!(q <= 1 << 30 && q > 1 << 29);
        let real = f64::from(q) * f64::from(l.scale) * f64::from(0.02f32);
        assert!((real - 3.0).abs() < 1e-5);
    }

    #[test]
    fn dead_channels_keep_their_bias() {
        for bias in [0.0, 1e-20, 0.3, -1e6] {
            let l = least_scale(&[0.0; 9], bias, 0.05);
            assert!(l.dead && l.scale.is_normal());
            let real = f64::from(quantize(f64::from(bias), 0.05, l.scale, 9))
                * f64::from(l.scale)
                * f64::from(0.05f32);
            assert!(
                (real - f64::from(bias)).abs() <= f64::from(bias.abs()) * 1e-5 + 1e-12,
                "{bias} {real}"
            );
        }
    }

    #[test]
    fn long_sums_leave_less_room() {
        assert_eq!(limit(9), BIAS_LIMIT);
        assert!(limit(66_000) + 255.0 * 127.0 * 66_000.0 <= f64::from(i32::MAX));
    }
}
