//! What is done to an accumulator before the epilogue: multiplier, and activations that are no limits.

use crate::isa::Isa;
use crate::quant::{DENOMINATOR, NUMERATOR, REACH};

/// What makes an accumulator a value, for `LANES` channels.
pub(super) struct Scale<I: Isa> {
    pub multiplier: I::F,
    pub slope: Option<I::F>,
    pub silu: Option<I::F>,
}

impl<I: Isa> Scale<I> {
    /// Only a multiplier.
    #[inline(always)]
    pub fn of(multiplier: I::F) -> Self {
        Self { multiplier, slope: None, silu: None }
    }

    /// `t = f32(acc) * m; t = t < 0 ? t * slope : t; t = silu(t) * factor`.
    #[inline(always)]
    pub fn value(&self, isa: I, acc: I::I) -> I::F {
        self.value_by(isa, acc, self.multiplier)
    }

    /// As [`Scale::value`], with another multiplier.
    #[inline(always)]
    pub fn value_by(&self, isa: I, acc: I::I, multiplier: I::F) -> I::F {
        let t = isa.mul_f32(isa.to_f32(acc), multiplier);
        if let Some(factor) = self.silu {
            return isa.mul_f32(silu(isa, t), factor);
        }
        match self.slope {
            Some(slope) => {
                // One of the summands is zero, so the sum is exact.
                let zero = isa.splat_f32(0.0);
                let below = isa.mul_f32(isa.min_f32(t, zero), slope);
                isa.add_f32(isa.max_f32(t, zero), below)
            }
            None => t,
        }
    }
}

/// Multipliers of `NV` vectors of channels, where nothing else is done to sums.
pub(super) struct Scales<I: Isa, const NV: usize> {
    multiplier: [I::F; NV],
    /// As [`Raised::offset`](super::raised::Raised::offset).
    offset: [I::F; NV],
    /// Whether the sums are raised.
    raised: bool,
}

impl<I: Isa, const NV: usize> Scales<I, NV> {
    /// Of as many channels as the vectors have lanes. With `offset` the sums are raised.
    #[inline(always)]
    pub fn new(isa: I, multiplier: &[f32], offset: Option<&[f32]>) -> Self {
        let load = |values: &[f32]| core::array::from_fn(|n| isa.load_f32(&values[n * I::LANES..]));
        let (offset, raised) = match offset {
            Some(offset) => (load(offset), true),
            None => ([isa.splat_f32(0.0); NV], false),
        };
        Self { multiplier: load(multiplier), offset, raised }
    }

    /// Sums of the vectors of `4 / NV` pixels, times their multipliers.
    #[inline(always)]
    pub fn values(&self, isa: I, sums: [I::I; 4]) -> [I::F; 4] {
        let x = if I::FUSES && self.raised {
            [isa.as_f32(sums[0]), isa.as_f32(sums[1]), isa.as_f32(sums[2]), isa.as_f32(sums[3])]
        } else {
            [isa.to_f32(sums[0]), isa.to_f32(sums[1]), isa.to_f32(sums[2]), isa.to_f32(sums[3])]
        };
        let m = [0, 1 % NV, 2 % NV, 3 % NV].map(|n| self.multiplier[n]);
        if const { !I::FUSES } {
            return [
                isa.mul_f32(x[0], m[0]),
                isa.mul_f32(x[1], m[1]),
                isa.mul_f32(x[2], m[2]),
                isa.mul_f32(x[3], m[3]),
            ];
        }
        let o = [0, 1 % NV, 2 % NV, 3 % NV].map(|n| self.offset[n]);
        [
            isa.mul_add_f32(x[0], m[0], o[0]),
            isa.mul_add_f32(x[1], m[1], o[1]),
            isa.mul_add_f32(x[2], m[2], o[2]),
            isa.mul_add_f32(x[3], m[3], o[3]),
        ]
    }
}

/// [`crate::quant::silu`] of every lane.
#[inline(always)]
fn silu<I: Isa>(isa: I, x: I::F) -> I::F {
    let [p0, p1, p2] = NUMERATOR;
    let [q1, q2, q3] = DENOMINATOR;
    let next = |sum: I::F, z: I::F, c: f32| isa.add_f32(isa.mul_f32(sum, z), isa.splat_f32(c));
    let y = isa.max_f32(x, isa.splat_f32(-REACH));
    let y = isa.min_f32(y, isa.splat_f32(REACH));
    let z = isa.mul_f32(y, y);
    let p = next(next(isa.splat_f32(p2), z, p1), z, p0);
    let q = next(next(next(isa.splat_f32(q3), z, q2), z, q1), z, 1.0);
    isa.mul_f32(x, isa.add_f32(isa.mul_f32(y, isa.div_f32(p, q)), isa.splat_f32(0.5)))
}
