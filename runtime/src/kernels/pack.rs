//! Weights in the order in which micro-kernels read them.

use crate::isa::Isa;
use alloc::vec::Vec;
use core::ops::Deref;

/// Packed weights, aligned to a cache line.
pub(super) struct Packed {
    data: Vec<i8>,
    start: usize,
}

impl Packed {
    const ALIGN: usize = 64;

    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let data = alloc::vec![0; len + Self::ALIGN];
        let start = data.as_ptr().align_offset(Self::ALIGN).min(Self::ALIGN);
        Self { data, start }
    }

    pub fn as_mut(&mut self) -> &mut [i8] {
        let end = self.data.len() - Self::ALIGN;
        &mut self.data[self.start..][..end]
    }
}

impl Deref for Packed {
    type Target = [i8];

    fn deref(&self) -> &[i8] {
        &self.data[self.start..][..self.data.len() - Self::ALIGN]
    }
}

/// Bytes of `taps` rows of `k` weights for `vectors` vectors of output channels.
pub(super) fn panel_bytes<I: Isa>(taps: usize, k: usize, vectors: usize) -> usize {
    taps * k.div_ceil(4) * vectors * 4 * I::LANES
}

/// Packs a panel: per tap, per lane of 4 k, per vector. `weight(n, tap, k)` is asked for `n < channels` only; the
/// places of other channels, and of `k` beyond the last, stay zero, so what is read there does not count.
pub(super) fn panel<I: Isa>(
    out: &mut [i8],
    vectors: usize,
    channels: usize,
    taps: usize,
    k: usize,
    weight: impl Fn(usize, usize, usize) -> i8,
) {
    let vector = 4 * I::LANES;
    for (i, out) in out.chunks_exact_mut(vector).take(taps * k.div_ceil(4) * vectors).enumerate() {
        let (lane4, v) = (i / vectors, i % vectors);
        let (tap, first) = (lane4 / k.div_ceil(4), 4 * (lane4 % k.div_ceil(4)));
        for n in 0..I::LANES.min(channels.saturating_sub(v * I::LANES)) {
            for j in 0..4.min(k - first) {
                out[I::weight_index(n, j)] = weight(v * I::LANES + n, tap, first + j);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Scalar;

    #[test]
    fn panels_are_aligned_and_zero_padded() {
        let (taps, k, vectors) = (2, 5, 2);
        let mut packed = Packed::zeros(panel_bytes::<Scalar>(taps, k, vectors));
        panel::<Scalar>(packed.as_mut(), vectors, 6, taps, k, |n, t, k| {
            (10 * n + 5 * t + k + 1) as i8
        });
        assert_eq!(packed.as_ptr().align_offset(64), 0);
        assert_eq!(packed.len(), 2 * 2 * 2 * 16);
        // Tap 0, first lane, vector 0: four channels of four k.
        assert_eq!(packed[..8], [1, 2, 3, 4, 11, 12, 13, 14]);
        // Vector 1 has channels 4 and 5 only.
        assert_eq!(packed[16..32], [41, 42, 43, 44, 51, 52, 53, 54, 0, 0, 0, 0, 0, 0, 0, 0]);
        // The second lane has k = 4 only.
        assert_eq!(packed[32..40], [5, 0, 0, 0, 15, 0, 0, 0]);
    }
}
