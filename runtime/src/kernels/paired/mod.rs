//! Products of unsigned activations in pairs that fit an i16, for sets that would saturate: full 8-bit weights at the
//! instructions per product of kernels that need 7-bit ones.
//!
//! Every panel of weights reads its input channels in an [`Order`] in which no two neighbours can saturate
//! ([`matching`]): where the micro-kernel spreads four activations to all lanes, it picks those of the order. Where a
//! block has no such order, what is too much of a weight becomes a weight of its own, at the end of the panel, for a
//! pair of activations that is read again.

mod halves;
mod matching;
mod order;
mod tile;

use super::gemm::MAX_ROWS;
use crate::isa::{Isa, PAIR_ROW, PairPanel, Runs};
pub(super) use halves::{MOST, halve};
use matching::{BLOCK, CHANNELS};
pub(super) use order::{Order, Paired};
pub(super) use tile::tile;

/// Rows of a tile of sets that have pairs.
const ROWS: usize = 4;

/// What a tile asks for from memory is one part of so many of what it reads.
pub(super) const ASKS: usize = 4;

/// Whether there can be orders for runs of `depth` bytes, `k` bytes in all.
pub(super) fn can<I: Isa>(depth: usize, k: usize) -> bool {
    const { assert!(!I::PAIRS || (I::NV * I::LANES == CHANNELS && I::MR <= ROWS)) };
    I::PAIRS && depth.is_multiple_of(BLOCK) && k <= PAIR_ROW
}

/// Products of pairs take less time than others as long as they are at most five quarters as many, for the quads that are
/// read again.
const PAYS: (usize, usize) = (5, 4);

/// Whether tiles of panels in these orders take less time than others.
pub(super) fn pay(orders: &[Order]) -> bool {
    let (mut all, mut again) = (0, 0);
    for quads in orders.iter().map(Order::quads) {
        (all, again) = (all + quads.0, again + quads.1);
    }
    PAYS.1 * all <= PAYS.0 * (all - again)
}

/// A tile's activations, unsigned: `q + 128`.
#[repr(align(64))]
pub(super) struct Rows([[u8; PAIR_ROW]; ROWS]);

impl Rows {
    pub const fn new() -> Self {
        Self([[0; PAIR_ROW]; ROWS])
    }

    /// Takes the activations of a tile of `height` rows, `steps` blocks from byte `channel` on in every run.
    #[inline(always)]
    pub fn put(&mut self, height: usize, runs: &Runs<'_, MAX_ROWS>, part: (usize, usize)) {
        match height {
            1 => self.put_rows::<1>(runs, part),
            2 => self.put_rows::<2>(runs, part),
            3 => self.put_rows::<3>(runs, part),
            _ => self.put_rows::<ROWS>(runs, part),
        }
    }

    /// As [`Rows::put`], of `R` rows.
    #[inline(always)]
    pub fn put_rows<const R: usize>(
        &mut self,
        runs: &Runs<'_, MAX_ROWS>,
        (channel, steps): (usize, usize),
    ) {
        for run in 0..runs.count() {
            let pieces = runs.pieces::<R, BLOCK>(run, channel, steps);
            for (row, piece) in self.0.iter_mut().zip(pieces) {
                let out = &mut row.as_chunks_mut::<BLOCK>().0[run * steps..][..steps];
                for (out, x) in out.iter_mut().zip(piece) {
                    *out = x.map(|x| x ^ 0x80);
                }
            }
        }
    }

    /// Adds the products of a tile, as [`Isa::pairs`].
    #[inline(always)]
    pub fn add<I: Isa, const MR: usize, const NV: usize>(
        &self,
        isa: I,
        acc: &mut [[I::I; NV]; MR],
        panel: PairPanel<'_>,
        ahead: &[i8],
    ) {
        isa.pairs(acc, &self.0, &panel, ahead);
    }
}
