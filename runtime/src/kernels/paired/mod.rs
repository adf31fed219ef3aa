//! Products of unsigned activations by signed weights that fit an i16 in twos or fours, for sets that would saturate: full
//! 8-bit weights, in fewer instructions per product than kernels take that need 7-bit ones.
//!
//! Every panel of weights, one vector wide, reads its input channels in an [`Order`] in which as many as possible share an
//! i16 without saturating ([`matching`]). A tile's activations are put in that order before they are multiplied. Where a
//! block has no such order, what is too much of a weight becomes a weight of its own, for a pair of activations that is
//! read again.

mod halves;
mod matching;
mod order;
mod sets;
mod tile;

use super::gemm::MAX_ROWS;
use crate::isa::{Isa, Ordered, PAIR_ROWS, PairBlock, PairPanel, Runs};
pub(super) use halves::{MOST, halve};
pub(super) use order::{Order, Paired};
use sets::{BLOCK, CHANNELS};
pub(super) use tile::tile;

/// Rows of a tile.
pub(super) const ROWS: usize = PAIR_ROWS;
/// Vectors of a panel.
pub(super) const VECTORS: usize = 1;
/// Blocks of a row, at most: [`ROWS`] of them stay in the second cache level.
pub(super) const BLOCKS: usize = 320;
/// Blocks of the rows of most layers.
pub(super) const FEW_BLOCKS: usize = 80;

/// What a tile asks for from memory is one part of so many of what it reads.
pub(super) const ASKS: usize = 2;

/// Whether there can be orders for runs of `depth` bytes, `k` bytes in all.
pub(super) fn can<I: Isa>(depth: usize, k: usize) -> bool {
    const { assert!(!I::PAIRS || VECTORS * I::LANES == CHANNELS) };
    I::PAIRS && depth.is_multiple_of(BLOCK) && k <= BLOCKS * BLOCK
}

/// Instructions for two quads that are joined, two that are not, and two whose products cannot saturate in any order.
const INSTRUCTIONS: [usize; 3] = [5, 6, 8];
/// Products in an order take less time than others as long as they are at most so many instructions of as many, for what
/// it takes to put activations in order.
const PAYS: (usize, usize) = (15, 16);

/// Whether tiles of panels in these orders take less time than others.
pub(super) fn pay(orders: &[Order]) -> bool {
    let (mut some, mut all) = (0, 0);
    for order in orders {
        let quads = order.quads();
        some += INSTRUCTIONS[0] * quads.joined + INSTRUCTIONS[1] * quads.single / 2;
        all += INSTRUCTIONS[2] * 2 * order.blocks();
    }
    PAYS.1 * some <= PAYS.0 * all
}

/// Room for a tile's activations, unsigned: `q + 128`.
pub(super) struct Rows<'a> {
    pub blocks: &'a mut [PairBlock],
    pub ordered: &'a mut Ordered,
}

impl Rows<'_> {
    /// The same room for a while.
    #[inline(always)]
    pub fn borrowed(&mut self) -> Rows<'_> {
        Rows { blocks: self.blocks, ordered: self.ordered }
    }

    /// Takes the activations of a tile of `height` rows, `steps` blocks from byte `channel` on in every run.
    #[inline(always)]
    pub fn put(&mut self, height: usize, runs: &Runs<'_, MAX_ROWS>, part: (usize, usize)) {
        match height {
            1 => self.put_rows::<1>(runs, part),
            2 => self.put_rows::<2>(runs, part),
            3 => self.put_rows::<3>(runs, part),
            4 => self.put_rows::<4>(runs, part),
            5 => self.put_rows::<5>(runs, part),
            6 => self.put_rows::<6>(runs, part),
            7 => self.put_rows::<7>(runs, part),
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
            for (index, out) in self.blocks[run * steps..][..steps].iter_mut().enumerate() {
                for (out, piece) in out.iter_mut().zip(pieces) {
                    *out = piece[index].map(|x| x ^ 0x80);
                }
            }
        }
    }

    /// Adds the products of a tile, as [`Isa::pairs`].
    #[inline(always)]
    pub fn add<I: Isa, const MR: usize, const NV: usize>(
        &mut self,
        isa: I,
        acc: &mut [[I::I; NV]; MR],
        panel: &PairPanel<'_>,
        ahead: &[i8],
    ) {
        isa.pairs(acc, self.blocks, panel, self.ordered, ahead);
    }
}
