//! Products of unsigned activations in pairs that fit an i16, for sets that would saturate: full 8-bit weights at the
//! instructions per product of kernels that need 7-bit ones.
//!
//! Every panel of weights reads its input channels in an [`Order`] in which no two neighbours can saturate
//! ([`matching`]). Where a block has no such order, what is too much of a weight becomes a weight of its own, at the
//! end of the panel, for a pair of activations that is read again. Activations of a tile are put in the panel's order
//! before its products: a shuffle of bytes for sixteen output channels and more, as panels share orders.

mod matching;
mod order;
mod tile;

use super::gemm::MAX_ROWS;
use crate::isa::{ARRANGED, Isa, Runs};
use matching::{BLOCK, CHANNELS};
pub(super) use order::{Order, orders};
pub(super) use tile::{Panels, finished, tile};

/// Rows of a tile of sets that have pairs.
const ROWS: usize = 4;

/// Whether there can be orders for runs of `depth` bytes, `k` bytes in all.
pub(super) fn can<I: Isa>(depth: usize, k: usize) -> bool {
    const { assert!(!I::PAIRS || (I::NV * I::LANES == CHANNELS && I::MR <= ROWS)) };
    I::PAIRS && depth.is_multiple_of(BLOCK) && k <= ARRANGED
}

/// A tile's activations in the order of a panel.
#[repr(align(64))]
pub(super) struct Arranged([[u8; ARRANGED]; ROWS]);

impl Arranged {
    pub const fn new() -> Self {
        Self([[0; ARRANGED]; ROWS])
    }

    /// Puts the activations of a tile in order, as unsigned bytes: those of `height` rows, in runs of `steps` blocks
    /// from byte `channel` on.
    #[inline(always)]
    pub fn put<I: Isa>(
        &mut self,
        isa: I,
        order: &Order,
        height: usize,
        runs: &Runs<'_, MAX_ROWS>,
        part: (usize, usize),
    ) {
        match height {
            1 => self.put_rows::<I, 1>(isa, order, runs, part),
            2 => self.put_rows::<I, 2>(isa, order, runs, part),
            3 => self.put_rows::<I, 3>(isa, order, runs, part),
            _ => self.put_rows::<I, ROWS>(isa, order, runs, part),
        }
    }

    #[inline(always)]
    fn put_rows<I: Isa, const R: usize>(
        &mut self,
        isa: I,
        order: &Order,
        runs: &Runs<'_, MAX_ROWS>,
        (channel, steps): (usize, usize),
    ) {
        for run in 0..runs.count() {
            let blocks = run * steps..(run + 1) * steps;
            let at = blocks.start * BLOCK;
            isa.arrange(
                &runs.pieces::<R, BLOCK>(run, channel, steps),
                &order.order[blocks],
                &mut self.0,
                at,
            );
        }
        for row in &mut self.0[..R] {
            let (row, behind) = row.split_at_mut(order.order.len() * BLOCK);
            let pairs = row.as_chunks::<2>().0;
            for (again, out) in order.again.iter().zip(behind.as_chunks_mut::<2>().0) {
                *out = pairs[usize::from(*again)];
            }
        }
    }
}
