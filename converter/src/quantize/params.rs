//! Scale and zero point of a tensor.

use kenar::desc::DType;

use super::range::Range;

/// How much of an i16 tensor's reach the calibration data fills: a stream that runs hotter on new images is not cut.
const I16_HEADROOM: f64 = 2.0;
/// Scales are kept where products and quotients of them stay normal in f32.
const SMALLEST_SCALE: f64 = 1e-18;

/// `real = scale * (q - zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QParams {
    /// Real step.
    pub scale: f32,
    /// The quantised value of 0.0; 0 for i16.
    pub zero_point: i32,
    /// Element type.
    pub dtype: DType,
}

impl QParams {
    /// Asymmetric i8 over a range that holds zero.
    #[must_use]
    pub fn i8(range: Range) -> Self {
        let (lo, hi) = (f64::from(range.lo.min(0.0)), f64::from(range.hi.max(0.0)));
        let width = hi - lo;
        if width <= 0.0 {
            return Self {
                scale: 1.0,
                zero_point: if lo < 0.0 { 127 } else { -128 },
                dtype: DType::I8,
            };
        }
        let scale = (width / 255.0).max(SMALLEST_SCALE);
        let zero_point = (-128.0 - lo / scale).round().clamp(-128.0, 127.0) as i32;
        Self { scale: scale as f32, zero_point, dtype: DType::I8 }
    }

    /// Symmetric i16 that reaches `magnitude` with headroom.
    #[must_use]
    pub fn i16(magnitude: f32) -> Self {
        let scale = if magnitude > 0.0 {
            (f64::from(magnitude) * I16_HEADROOM / 32767.0).max(SMALLEST_SCALE)
        } else {
            1.0
        };
        Self { scale: scale as f32, zero_point: 0, dtype: DType::I16 }
    }

    /// Smallest and largest quantised value.
    #[must_use]
    pub fn limits(&self) -> (i32, i32) {
        match self.dtype {
            DType::I8 => (-128, 127),
            DType::I16 => (-32767, 32767),
        }
    }

    /// The nearest quantised value.
    #[must_use]
    pub fn quantize(&self, x: f64) -> i32 {
        let (lo, hi) = self.limits();
        let q = (x / f64::from(self.scale)).round_ties_even() + f64::from(self.zero_point);
        q.clamp(f64::from(lo), f64::from(hi)) as i32
    }

    /// The real value of `q`.
    #[must_use]
    pub fn dequantize(&self, q: i32) -> f64 {
        f64::from(self.scale) * f64::from(q - self.zero_point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_exact_and_relu_outputs_start_at_the_bottom() {
        let relu = QParams::i8(Range { lo: 0.0, hi: 6.0 });
        assert_eq!((relu.zero_point, relu.quantize(6.0), relu.dequantize(-128)), (-128, 127, 0.0));
        let signed = QParams::i8(Range { lo: -1.0, hi: 3.0 });
        assert_eq!(signed.quantize(0.0), signed.zero_point);
        assert_eq!(signed.dequantize(signed.zero_point), 0.0);
        let negative = QParams::i8(Range { lo: -4.0, hi: 0.0 });
        assert_eq!(negative.zero_point, 127);
    }

    #[test]
    fn empty_and_tiny_ranges_have_normal_scales() {
        assert_eq!(QParams::i8(Range { lo: 0.0, hi: 0.0 }).scale, 1.0);
        assert!(QParams::i8(Range { lo: 0.0, hi: 1e-40 }).scale.is_normal());
        assert!(QParams::i16(0.0).scale.is_normal());
    }

    #[test]
    fn i16_is_symmetric_with_headroom() {
        let p = QParams::i16(10.0);
        assert_eq!(p.quantize(0.0), 0);
        assert_eq!(p.quantize(-100.0), -32767);
        assert!(p.quantize(15.0) < 32767);
    }
}
