//! Averages over a whole map (the squeeze of Hu, Shen and Sun 2018, arXiv:1709.01507) that the threads which compute the
//! map sum up: each adds what it has just written, while that is in its core's cache. Divided by channels afterwards,
//! every thread would read all of what the others have written.
//!
//! Sums are whole numbers, so that their order makes no difference.

use super::epilogue::Ends;
use super::pool::{CHANNEL_GRANULE, NEAR, PackedPool, VECTORS};
use crate::desc::PoolKind;
use crate::isa::{Isa, Kernel};

impl PackedPool {
    /// Sums that the average is made of, one for each channel; none if it is no average over a whole map, or not one of
    /// whole vectors.
    #[must_use]
    pub fn squeezed(&self) -> Option<usize> {
        let g = &self.geometry;
        let whole = g.size == g.input && g.padding == [0, 0] && g.dilation == [1, 1];
        let squeezes = self.kind == PoolKind::Average && g.pixels() == 1 && whole;
        (squeezes && self.channels.is_multiple_of(CHANNEL_GRANULE)).then_some(self.channels)
    }

    /// Adds pixels, from the first byte of the first one to the last of the last one, to the sums of all channels.
    pub fn add_pixels(&self, bytes: &[u8], sums: &mut [i32]) {
        self.platform.run(Add { pool: self, bytes, sums });
    }

    /// Writes the average whose `sums` are complete.
    pub fn finish(&self, sums: &[i32], out: &mut [u8]) {
        self.platform.run(Finish { pool: self, sums, out });
    }
}

struct Add<'a> {
    pool: &'a PackedPool,
    bytes: &'a [u8],
    sums: &'a mut [i32],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Self { pool, bytes, sums } = self;
        let stride = pool.input.pixel_stride;
        let pixel_bytes = stride * pool.input.dtype.bytes() as usize;
        let pixels = bytes.len().div_ceil(pixel_bytes);
        let near = (NEAR / pixel_bytes).max(1);
        for first in (0..pixels).step_by(near) {
            let count = near.min(pixels - first);
            let sums = sums[..pool.channels].chunks_exact_mut(VECTORS * I::LANES);
            for (i, sums) in sums.enumerate() {
                let line = (first * stride + i * VECTORS * I::LANES, stride, count);
                pool.add_to::<I, VECTORS>(isa, bytes, line, sums);
            }
        }
    }
}

struct Finish<'a> {
    pool: &'a PackedPool,
    sums: &'a [i32],
    out: &'a mut [u8],
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Self { pool, sums, out } = self;
        let ends = Ends { residual: None, store: Some(out), second: None };
        let mut live = pool.epilogue.live(isa, ends, (0, 0), None);
        let count = pool.geometry.taps();
        let mean = pool.mean(isa, count, count);
        for (i, sums) in sums[..pool.channels].chunks_exact(I::LANES).enumerate() {
            live.put(isa, mean.of(isa, isa.load_i32(sums)), 0, i * I::LANES, I::LANES);
        }
    }
}
