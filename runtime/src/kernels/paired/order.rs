//! The order in which a panel reads the bytes of a window.

use super::halves::halve;
use super::matching::{BLOCK, Block, CHANNELS, Fits, Matching};
use crate::isa::{BlockStart, Isa, PairPanel};
use crate::kernels::live::LINE;
use crate::kernels::pack::{panel, panel_bytes};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

/// Quads of a block.
const QUADS: usize = BLOCK / 4;

/// An order of the bytes of a window.
pub struct Order {
    /// Of every block, two by two.
    blocks: Vec<[u8; BLOCK]>,
    /// Quads of which some weights have more than fits.
    again: Vec<Again>,
}

/// A quad that is read a second time: a block, and the first of two pairs in its order; there may be no second.
#[derive(Clone, Copy)]
struct Again {
    block: usize,
    pair: usize,
}

/// How a panel of pairs is packed.
pub struct Paired {
    /// Bytes of weights; behind them is the order.
    weights: usize,
    /// Quads.
    quads: usize,
    /// The blocks that are read again.
    again: Box<[BlockStart]>,
}

impl Paired {
    /// The parts of the packed panel.
    #[inline(always)]
    pub fn panel<'a>(&'a self, packed: &'a [i8]) -> PairPanel<'a> {
        let Self { weights, quads, again } = self;
        let (weights, order) = packed.split_at(*weights);
        PairPanel { weights, order: &order[..4 * quads], again }
    }
}

impl Order {
    /// One for up to [`CHANNELS`] output channels, of which `channel(n)` gives the weights, `k` or fewer.
    #[inline(always)]
    pub fn find<'s, I: Isa>(
        isa: I,
        channels: usize,
        k: usize,
        channel: impl Fn(usize) -> &'s [u8],
    ) -> Self {
        let mut weights = [&[][..]; CHANNELS];
        for (n, weights) in weights[..channels].iter_mut().enumerate() {
            *weights = channel(n);
        }
        let mut blocks = Vec::with_capacity(k / BLOCK);
        let mut again = Vec::new();
        for start in (0..k).step_by(BLOCK) {
            let mut block: Block = [[0; BLOCK]; CHANNELS];
            for (row, weights) in block.iter_mut().zip(&weights[..channels]) {
                let weights = &weights[start.min(weights.len())..];
                match weights.first_chunk::<BLOCK>() {
                    Some(weights) => *row = weights.map(|w| w as i8),
                    None => row.iter_mut().zip(weights).for_each(|(row, w)| *row = *w as i8),
                }
            }
            let found = Matching::find(&Fits::of(isa, &block));
            let pairs = (found.safe..BLOCK / 2).step_by(2);
            again.extend(pairs.map(|pair| Again { block: blocks.len(), pair }));
            blocks.push(found.order);
        }
        Self { blocks, again }
    }

    /// Quads of a row, and how many of them are read again.
    pub fn quads(&self) -> (usize, usize) {
        (QUADS * self.blocks.len() + self.again.len(), self.again.len())
    }

    /// Bytes of the packed panel.
    #[inline(always)]
    pub fn bytes<I: Isa>(&self, vectors: usize) -> usize {
        self.weight_bytes::<I>(vectors) + (4 * self.quads().0).next_multiple_of(LINE)
    }

    /// Those of them that are weights.
    #[inline(always)]
    fn weight_bytes<I: Isa>(&self, vectors: usize) -> usize {
        panel_bytes::<I>(1, 4 * self.quads().0, vectors)
    }

    /// Packs the panel's weights, and the order behind them, into zeros.
    #[inline(always)]
    pub fn pack<'s, I: Isa>(
        &self,
        out: &mut [u8],
        vectors: usize,
        channels: usize,
        channel: impl Fn(usize) -> &'s [u8],
    ) -> Paired {
        let (quads, _) = self.quads();
        let row = 4 * quads;
        let mut rows = alloc::vec![0; channels * row];
        for (n, out) in rows.chunks_exact_mut(row).enumerate() {
            self.arrange(channel(n), out);
        }
        let (weights, order) = out.split_at_mut(self.weight_bytes::<I>(vectors));
        panel::<I>(&mut *weights, vectors, channels, 1, row, |n, _| &rows[n * row..][..row]);
        let (blocks, behind) = order.split_at_mut(BLOCK * self.blocks.len());
        blocks.copy_from_slice(self.blocks.as_flattened());
        for (again, out) in self.again.iter().zip(behind.chunks_exact_mut(4)) {
            let pairs = again.places();
            out[..pairs.len()].copy_from_slice(&self.blocks[again.block][pairs]);
        }
        let again = self.again.iter().map(|again| BlockStart::new(again.block)).collect();
        Paired { weights: weights.len(), quads, again }
    }

    /// Weights of an output channel as the tile meets them, into zeros; those that are missing are zero.
    #[inline(always)]
    fn arrange(&self, weights: &[u8], out: &mut [u8]) {
        let (out, behind) = out.split_at_mut(BLOCK * self.blocks.len());
        let (out, _) = out.as_chunks_mut::<BLOCK>();
        for ((weights, order), out) in weights.chunks(BLOCK).zip(&self.blocks).zip(&mut *out) {
            let mut block = [0; BLOCK];
            block[..weights.len()].copy_from_slice(weights);
            *out = order.map(|from| block[usize::from(from)]);
        }
        for (again, excess) in self.again.iter().zip(behind.chunks_exact_mut(4)) {
            let pairs = out[again.block][again.places()].as_chunks_mut::<2>().0;
            for (pair, excess) in pairs.iter_mut().zip(excess.as_chunks_mut::<2>().0) {
                let mut kept = pair.map(|w| w as i8);
                *excess = halve(&mut kept).map(|w| w as u8);
                *pair = kept.map(|w| w as u8);
            }
        }
    }
}

impl Again {
    /// Its places in the order of its block.
    #[inline(always)]
    fn places(self) -> Range<usize> {
        2 * self.pair..BLOCK.min(2 * self.pair + 4)
    }
}
