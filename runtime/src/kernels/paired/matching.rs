//! Which input channels share an i16.
//!
//! `vpmaddubsw` multiplies unsigned activations by signed weights and adds two neighbouring products in an i16, which
//! saturates if both weights have one sign and their sum is beyond [`MOST`](super::MOST). Which two are neighbours is
//! free, as long as activations come in the same order: a perfect matching of the graph whose edges join channels that
//! fit each other in all output channels of a panel.

use crate::isa::Isa;

/// Input channels that are matched among each other: as many as a shuffle of bytes reorders.
pub const BLOCK: usize = 16;
/// Output channels that a matching has to suit.
pub const CHANNELS: usize = 16;

/// Weights of a block, those of an output channel side by side.
pub type Block = [[i8; BLOCK]; CHANNELS];

/// For every input channel of a block those that fit it, a bit each.
#[derive(Clone, Copy, Debug)]
pub struct Fits([u16; BLOCK]);

impl Fits {
    /// Those whose sums stay in i8 in all output channels; that a sum of 128 would do as well is not used.
    #[inline(always)]
    pub fn of<I: Isa>(isa: I, block: &Block) -> Self {
        Self(isa.fits(block))
    }
}

/// The order in which a block's input channels are read: two by two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matching {
    pub order: [u8; BLOCK],
    /// Pairs that do not saturate; the others come behind them.
    pub safe: usize,
}

impl Matching {
    /// Finds a matching: greedily, those with the fewest choices first, then exchanging partners where that makes one
    /// pair more. It may miss the largest.
    #[inline(always)]
    pub fn find(Fits(fits): &Fits) -> Self {
        // Channels by the number of those that fit them.
        let mut with = [0; BLOCK];
        for (i, fits) in fits.iter().enumerate() {
            with[fits.count_ones() as usize] |= 1 << i;
        }
        let mut partner = [None; BLOCK];
        let mut free = u16::MAX;
        for few in with {
            for i in ones(few) {
                let near = if free >> i & 1 == 1 { fits[i] & free } else { 0 };
                if near == 0 {
                    continue;
                }
                let first = with.iter().map(|few| few & near).find(|&few| few != 0);
                let j = first.unwrap_or(near).trailing_zeros() as usize;
                (partner[i], partner[j]) = (Some(j), Some(i));
                free &= !(1 << i | 1 << j);
            }
        }
        for i in ones(free) {
            for j in ones(free) {
                if i == j || partner[i].is_some() || partner[j].is_some() {
                    continue;
                }
                // a and b leave each other for i and j.
                let exchange = ones(fits[i])
                    .filter_map(|a| partner[a].map(|b| (a, b)))
                    .find(|(_, b)| fits[j] >> b & 1 == 1);
                if let Some((a, b)) = exchange {
                    (partner[i], partner[a]) = (Some(a), Some(i));
                    (partner[j], partner[b]) = (Some(b), Some(j));
                }
            }
        }
        Self::of(&partner)
    }

    /// Pairs in the order of their first channels, then those without a partner.
    #[inline(always)]
    fn of(partner: &[Option<usize>; BLOCK]) -> Self {
        let pairs = (0..BLOCK).filter_map(|i| partner[i].filter(|&j| i < j).map(|j| [i, j]));
        let alone = (0..BLOCK).filter(|&i| partner[i].is_none());
        let mut order = [0; BLOCK];
        let mut safe = 0;
        for pair in pairs {
            order[2 * safe..2 * safe + 2].copy_from_slice(&pair.map(|i| i as u8));
            safe += 1;
        }
        for (place, i) in order[2 * safe..].iter_mut().zip(alone) {
            *place = i as u8;
        }
        Self { order, safe }
    }
}

/// The bits that are set, lowest first.
#[inline(always)]
fn ones(mut bits: u16) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let lowest = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        lowest
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Scalar;
    use crate::testing::Rng;

    fn block(rng: &mut Rng, deviation: f32) -> Block {
        core::array::from_fn(|_| core::array::from_fn(|_| rng.bell(deviation) as i8))
    }

    #[test]
    fn orders_are_permutations_and_safe_pairs_do_not_saturate() {
        let mut rng = Rng::new(1);
        for deviation in [20.0, 40.0, 60.0, 90.0, 300.0] {
            for _ in 0..100 {
                let block = block(&mut rng, deviation);
                let found = Matching::find(&Fits::of(Scalar, &block));
                let mut seen = [false; BLOCK];
                found.order.iter().for_each(|&i| seen[usize::from(i)] = true);
                assert_eq!(seen, [true; BLOCK]);
                for pair in found.order.as_chunks::<2>().0.iter().take(found.safe) {
                    for weights in &block {
                        let [a, b] = pair.map(|i| weights[usize::from(i)]);
                        for x in [[0, 255], [255, 0], [255, 255]] {
                            let sum = x[0] * i32::from(a) + x[1] * i32::from(b);
                            assert!(i16::try_from(sum).is_ok(), "{a} {b}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn usual_weights_are_matched_whole() {
        let mut rng = Rng::new(2);
        // Three and a half deviations are 127: about a thousand input channels.
        let whole = (0..200)
            .filter(|_| Matching::find(&Fits::of(Scalar, &block(&mut rng, 36.0))).safe == BLOCK / 2)
            .count();
        assert!(whole >= 195, "{whole}");
    }

    #[test]
    fn halves_are_matched_and_what_fits_nothing_is_left() {
        // Half of the channels do not fit each other.
        let mut block = [[0; BLOCK]; CHANNELS];
        block[0] = core::array::from_fn(|i| if i % 2 == 0 { 127 } else { 0 });
        assert_eq!(Matching::find(&Fits::of(Scalar, &block)).safe, BLOCK / 2);
        // Nothing fits anything.
        let found = Matching::find(&Fits::of(Scalar, &[[127; BLOCK]; CHANNELS]));
        assert_eq!((found.safe, found.order[15]), (0, 15));
    }
}
