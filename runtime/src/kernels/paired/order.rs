//! The order in which a panel reads the bytes of a window.

use super::VECTORS;
use super::halves::halve;
use super::matching::Matching;
use super::sets::{BLOCK, Block, CHANNELS};
use crate::isa::{Isa, PAIR_PART, PairPanel, PairPlace, PairQuads, TURNED};
use crate::kernels::live::LINE;
use crate::kernels::pack::{panel, panel_bytes};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Pairs of a block.
const PAIRS: usize = BLOCK / 2;

/// An order of the bytes of a window.
pub struct Order(Vec<Matching>);

/// How a panel in an order is packed.
pub struct Paired {
    /// Bytes of weights; behind them is the order of every block.
    weights: usize,
    blocks: usize,
    parts: Box<[PairQuads]>,
    places: Box<[PairPlace]>,
}

impl Paired {
    /// The parts of the packed panel.
    #[inline(always)]
    pub fn panel<'a>(&'a self, packed: &'a [i8]) -> PairPanel<'a> {
        let Self { weights, blocks, parts, places } = self;
        let (weights, order) = packed.split_at(*weights);
        PairPanel { weights, order: &order.as_chunks().0[..*blocks], parts, places }
    }
}

/// Quads as a tile meets them.
enum Quads {
    /// Two that are joined: the first or second of the block.
    Joined(usize),
    /// One.
    Single(usize),
    /// Pairs that are read again, from this one on: two, or the last alone.
    Again(usize),
}

impl Order {
    /// One for up to [`CHANNELS`] output channels, of which `channel(n)` gives the weights, `k` or fewer.
    #[inline(always)]
    pub fn find<'s>(channels: usize, k: usize, channel: impl Fn(usize) -> &'s [u8]) -> Self {
        let mut weights = [&[][..]; CHANNELS];
        for (n, weights) in weights[..channels].iter_mut().enumerate() {
            *weights = channel(n);
        }
        let mut blocks = Vec::with_capacity(k.div_ceil(BLOCK));
        for start in (0..k).step_by(BLOCK) {
            let mut block: Block = [[0; BLOCK]; CHANNELS];
            for (row, weights) in block.iter_mut().zip(&weights[..channels]) {
                let weights = &weights[start.min(weights.len())..];
                match weights.first_chunk::<BLOCK>() {
                    Some(weights) => *row = weights.map(|w| w as i8),
                    None => row.iter_mut().zip(weights).for_each(|(row, w)| *row = *w as i8),
                }
            }
            blocks.push(Matching::find(&block));
        }
        Self(blocks)
    }

    /// Blocks of a row.
    pub fn blocks(&self) -> usize {
        self.0.len()
    }

    /// Quads of a row.
    pub fn quads(&self) -> PairQuads {
        count(&self.0)
    }

    /// Bytes of the packed panel.
    #[inline(always)]
    pub fn bytes<I: Isa>(&self) -> usize {
        self.weight_bytes::<I>() + (BLOCK * self.0.len()).next_multiple_of(LINE)
    }

    /// Those of them that are weights.
    #[inline(always)]
    fn weight_bytes<I: Isa>(&self) -> usize {
        panel_bytes::<I>(1, 4 * all(self.quads()), VECTORS)
    }

    /// Takes from what sums start from what their products are in excess, because activations come as `q + 128` or
    /// `127 - q`.
    #[inline(always)]
    pub fn take_offsets<'s>(&self, bias: &mut [i32], channel: impl Fn(usize) -> &'s [u8]) {
        for (index, Matching { order, .. }) in self.0.iter().enumerate() {
            let mut sides = [128i16; BLOCK];
            for from in order.iter().filter(|from| **from >= TURNED) {
                sides[usize::from(from % TURNED)] = -127;
            }
            for (n, bias) in bias.iter_mut().enumerate() {
                let weights = channel(n).get(BLOCK * index..).unwrap_or(&[]);
                let products = weights
                    .iter()
                    .zip(sides)
                    .map(|(w, side)| i32::from(*w as i8) * i32::from(side));
                *bias = bias.wrapping_sub(products.sum());
            }
        }
    }

    /// Packs the panel's weights, and the order behind them, into zeros.
    #[inline(always)]
    pub fn pack<'s, I: Isa>(
        &self,
        out: &mut [u8],
        channels: usize,
        channel: impl Fn(usize) -> &'s [u8],
    ) -> Paired {
        let row = 4 * all(self.quads());
        let mut rows = alloc::vec![0; channels * row];
        for (n, out) in rows.chunks_exact_mut(row).enumerate() {
            self.arrange(channel(n), out);
        }
        let (weights, order) = out.split_at_mut(self.weight_bytes::<I>());
        panel::<I>(&mut *weights, VECTORS, channels, 1, row, |n, _| &rows[n * row..][..row]);
        for (out, block) in order.as_chunks_mut().0.iter_mut().zip(&self.0) {
            *out = block.order;
        }
        let mut places = Vec::new();
        for part in self.0.chunks(PAIR_PART) {
            places.extend(visits(part).map(|(block, quads)| PairPlace::new(block, quads.start())));
        }
        Paired {
            weights: weights.len(),
            blocks: self.0.len(),
            parts: self.0.chunks(PAIR_PART).map(count).collect(),
            places: places.into(),
        }
    }

    /// Weights of an output channel as the tile meets them, into zeros; those that are missing are zero.
    #[inline(always)]
    fn arrange(&self, weights: &[u8], mut out: &mut [u8]) {
        for (index, part) in self.0.chunks(PAIR_PART).enumerate() {
            for (block, quads) in visits(part) {
                let from = weights.get(BLOCK * (index * PAIR_PART + block)..).unwrap_or(&[]);
                let from = &from[..from.len().min(BLOCK)];
                let mut bytes = [0; BLOCK];
                bytes[..from.len()].copy_from_slice(from);
                let Matching { order, safe, .. } = &part[block];
                let bytes = order.map(|from| {
                    let w: u8 = bytes[usize::from(from % TURNED)];
                    if from < TURNED { w } else { w.wrapping_neg() }
                });
                let pairs = bytes.as_chunks::<2>().0;
                let pairs = pairs.iter().enumerate().skip(quads.start() / 2);
                let (these, rest) = out.split_at_mut(4 * quads.count());
                out = rest;
                for (out, (pair, weights)) in these.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
                    let mut kept = weights.map(|w| w as i8);
                    let excess = if pair < *safe { [0; 2] } else { halve(&mut kept) };
                    let weights = if let Quads::Again(_) = quads { excess } else { kept };
                    *out = weights.map(|w| w as u8);
                }
            }
        }
    }
}

/// How many quads there are.
fn all(quads: PairQuads) -> usize {
    2 * quads.joined + quads.single
}

/// Quads of some blocks.
fn count(blocks: &[Matching]) -> PairQuads {
    let joined = blocks.iter().map(|block| block.joined).sum();
    let again = |block: &Matching| (PAIRS - block.safe).div_ceil(2);
    let single = blocks.iter().map(|block| PAIRS / 2 - 2 * block.joined + again(block)).sum();
    PairQuads { joined, single }
}

/// The quads of a part and their blocks, as a tile meets them: those that are joined first.
fn visits(part: &[Matching]) -> impl Iterator<Item = (usize, Quads)> {
    let joined = part
        .iter()
        .enumerate()
        .flat_map(|(at, block)| (0..block.joined).map(move |quads| (at, Quads::Joined(quads))));
    let single = part.iter().enumerate().flat_map(|(at, block)| {
        let single = (2 * block.joined..PAIRS / 2).map(Quads::Single);
        let again = (block.safe..PAIRS).step_by(2).map(Quads::Again);
        single.chain(again).map(move |quads| (at, quads))
    });
    joined.chain(single)
}

impl Quads {
    /// First byte in the order of the block.
    fn start(&self) -> usize {
        match self {
            Self::Joined(two) => 8 * two,
            Self::Single(quad) => 4 * quad,
            Self::Again(pair) => 2 * pair,
        }
    }

    fn count(&self) -> usize {
        if let Self::Joined(_) = self { 2 } else { 1 }
    }
}
