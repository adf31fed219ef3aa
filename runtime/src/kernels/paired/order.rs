//! The order in which panels read the bytes of a window.

use super::matching::{BLOCK, Block, CHANNELS, Fits, MOST, Matching};
use crate::isa::{ARRANGED, Isa};
use alloc::vec::Vec;

/// Time of a tile's products of a byte of every row, where arranging it is 1.
const PRODUCTS: usize = 7;
/// And of those of a byte as it is, less what a tile of fewer output channels takes longer.
const UNPAIRED: f32 = 8.7;
/// Panels that share an order at most.
const SHARING: usize = 8;

/// An order of the bytes of a window.
pub struct Order {
    /// Of every 16 bytes.
    pub order: Vec<[u8; BLOCK]>,
    /// Pairs, in that order, that are read a second time.
    pub again: Vec<u16>,
}

/// For all blocks of a panel.
struct Panel(Vec<Fits>);

impl Panel {
    /// Of up to 16 output channels, `k` weights of each.
    #[inline(always)]
    fn new<I: Isa>(isa: I, weights: &[u8], k: usize) -> Self {
        let mut blocks = Vec::with_capacity(k / BLOCK);
        for start in (0..k).step_by(BLOCK) {
            let mut block: Block = [[0; BLOCK]; CHANNELS];
            for (row, weights) in block.iter_mut().zip(weights.chunks_exact(k)) {
                for (row, weight) in row.iter_mut().zip(&weights[start..start + BLOCK]) {
                    *row = *weight as i8;
                }
            }
            blocks.push(Fits::of(isa, &block));
        }
        Self(blocks)
    }
}

/// Orders for panels of the [`CHANNELS`] next output channels each, of `k` weights per channel: each with how many
/// panels share it. And whether tiles take less time with them than without.
#[inline(always)]
pub fn orders<I: Isa>(isa: I, weights: &[u8], k: usize) -> (Vec<(usize, Order)>, bool) {
    let (mut orders, mut time) = (Vec::new(), 0);
    for weights in weights.chunks(SHARING * CHANNELS * k) {
        let mut panels = Vec::with_capacity(SHARING);
        for weights in weights.chunks(CHANNELS * k) {
            panels.push(Panel::new(isa, weights, k));
        }
        let (some_time, some) = shared(&panels);
        orders.extend(some);
        time += some_time;
    }
    let unpaired = (weights.len() / k).div_ceil(CHANNELS) * k;
    (orders, (time as f32) < UNPAIRED * unpaired as f32)
}

/// The best division of panels into halves that share an order, and the time that a tile takes.
fn shared(panels: &[Panel]) -> (usize, Vec<(usize, Order)>) {
    let fits: Vec<Fits> = (0..panels[0].0.len())
        .map(|block| panels[1..].iter().fold(panels[0].0[block], |fits, p| fits.and(p.0[block])))
        .collect();
    let halves = || {
        let (left, right) = panels.split_at(panels.len().div_ceil(2));
        let (left, right) = (shared(left), shared(right));
        (left.0 + right.0, left.1.into_iter().chain(right.1).collect())
    };
    // Where channels fit two others each, about half of them find a partner.
    if panels.len() > 1
        && fits.iter().map(Fits::count).sum::<u32>() < (2 * BLOCK * fits.len()) as u32
    {
        return halves();
    }
    let whole = Order::of(&fits);
    let time = BLOCK * whole.order.len() + panels.len() * PRODUCTS * whole.row();
    if panels.len() > 1 && !whole.again.is_empty() {
        let halves = halves();
        if halves.0 < time {
            return halves;
        }
    }
    (time, alloc::vec![(panels.len(), whole)])
}

impl Order {
    /// One for all blocks of a row.
    fn of(fits: &[Fits]) -> Self {
        let mut order = Vec::with_capacity(fits.len());
        let mut again = Vec::new();
        for (block, fits) in fits.iter().enumerate() {
            let found = Matching::find(fits);
            order.push(found.order);
            again.extend((found.safe..BLOCK / 2).map(|pair| (block * BLOCK / 2 + pair) as u16));
        }
        Self { order, again }
    }

    /// Whether a row of activations has room.
    pub fn fits(&self) -> bool {
        self.row() <= ARRANGED
    }

    /// Bytes of a row, a multiple of four.
    #[inline(always)]
    pub fn row(&self) -> usize {
        BLOCK * self.order.len() + 4 * self.again.len().div_ceil(2)
    }

    /// Weights of an output channel as the tile meets them, into zeros; those that are missing are zero.
    #[inline(always)]
    pub fn arrange_weights(&self, weights: &[u8], out: &mut [u8]) {
        let (out, behind) = out.split_at_mut(self.order.len() * BLOCK);
        let blocks = weights.chunks(BLOCK).zip(&self.order);
        for ((weights, order), out) in blocks.zip(out.as_chunks_mut::<BLOCK>().0) {
            let mut block = [0; BLOCK];
            block[..weights.len()].copy_from_slice(weights);
            *out = order.map(|from| block[usize::from(from)]);
        }
        let pairs = out.as_chunks_mut::<2>().0;
        for (again, excess) in self.again.iter().zip(behind.as_chunks_mut::<2>().0) {
            *excess = halve(&mut pairs[usize::from(*again)]);
        }
    }
}

/// Takes from a pair of weights what saturates, and gives it.
#[inline(always)]
fn halve(pair: &mut [u8; 2]) -> [u8; 2] {
    let [a, b] = pair.map(|w| i16::from(w as i8));
    let excess = ((a + b).abs() - MOST).max(0) * (a + b).signum();
    // Not more than the larger of the two is.
    let excess = if a.abs() >= b.abs() { [excess, 0] } else { [0, excess] };
    *pair = [a - excess[0], b - excess[1]].map(|w| w as u8);
    excess.map(|w| w as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_weights_is_the_sum_of_two_that_do_not_saturate() {
        for a in -127..=127i8 {
            for b in -127..=127i8 {
                let mut kept = [a as u8, b as u8];
                let excess = halve(&mut kept);
                let [kept, excess] = [kept, excess].map(|pair| pair.map(|w| i32::from(w as i8)));
                assert_eq!([kept[0] + excess[0], kept[1] + excess[1]], [a, b].map(i32::from));
                for [a, b] in [kept, excess] {
                    for [x, y] in [[0, 255], [255, 0], [255, 255]] {
                        assert!(i16::try_from(x * a + y * b).is_ok(), "{a} {b}");
                    }
                }
            }
        }
    }
}
