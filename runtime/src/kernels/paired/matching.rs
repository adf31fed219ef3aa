//! The order of a block: its sets, and a perfect matching of the other input channels, as far as there is one. Channels
//! are joined by an edge if they fit each other in all output channels of a panel.

use super::sets::{self, BLOCK, Block, Channel, ones};
use crate::isa::TURNED;

/// The order in which a block's input channels are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matching {
    /// Two quads that are joined, if there are, then two more or pairs. Of joined quads, the first pairs are a set, and
    /// the second pairs another. With [`TURNED`] where a channel comes turned.
    pub order: [u8; BLOCK],
    /// Times two quads.
    pub joined: usize,
    /// Pairs that do not saturate, those of joined quads too; the others come behind them.
    pub safe: usize,
}

impl Matching {
    /// Finds sets, and a matching of what is in none: greedily, those with the fewest choices first, then exchanging
    /// partners where that makes one pair more. It may miss the best.
    pub fn find(block: &Block) -> Self {
        let channels = Channel::all(block);
        let found = sets::find(&channels);
        let mut order = [0; BLOCK];
        let mut free = u16::MAX;
        let (quads, _) = order.as_chunks_mut::<8>();
        for ([a, b], quads) in found.sets[..found.count].as_chunks::<2>().0.iter().zip(quads) {
            *quads = [a[0], a[1], b[0], b[1], a[2], a[3], b[2], b[3]];
            quads.iter().for_each(|channel| free &= !(1 << (channel % TURNED)));
        }
        let pairs = 2 * found.count;
        let safe = pairs + match_rest(&channels, free, &mut order[2 * pairs..]);
        Self { order, joined: found.count / 2, safe }
    }
}

/// Puts the free channels in an order, pairs first, and says how many pairs there are.
fn match_rest(channels: &[Channel; BLOCK], free: u16, order: &mut [u8]) -> usize {
    let all = free;
    let mut fits = [0u16; BLOCK];
    for (i, after) in ones(all) {
        for (j, _) in ones(after) {
            let fit = u16::from(pair(channels, i, j).is_some());
            fits[i] |= fit << j;
            fits[j] |= fit << i;
        }
    }
    // Channels by the number of those that fit them.
    let mut with = [0u16; BLOCK];
    for (i, _) in ones(all) {
        with[fits[i].count_ones() as usize] |= 1 << i;
    }
    let mut free = all;
    let mut partner = [None; BLOCK];
    for few in with {
        for (i, _) in ones(few) {
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
    for (i, _) in ones(free) {
        for (j, _) in ones(free) {
            if i == j || partner[i].is_some() || partner[j].is_some() {
                continue;
            }
            // a and b leave each other for i and j.
            let exchange = ones(fits[i])
                .filter_map(|(a, _)| partner[a].map(|b| (a, b)))
                .find(|(_, b)| fits[j] >> b & 1 == 1);
            if let Some((a, b)) = exchange {
                (partner[i], partner[a]) = (Some(a), Some(i));
                (partner[j], partner[b]) = (Some(b), Some(j));
            }
        }
    }
    // Pairs in the order of their first channels, then those without a partner.
    let pairs = ones(all).filter_map(|(i, _)| {
        let j = partner[i].filter(|&j| i < j)?;
        pair(channels, i, j)
    });
    let alone = ones(all).filter(|(i, _)| partner[*i].is_none()).map(|(i, _)| i);
    let mut safe = 0;
    for pair in pairs {
        order[2 * safe..][..2].copy_from_slice(&pair);
        safe += 1;
    }
    for (place, i) in order[2 * safe..].iter_mut().zip(alone) {
        *place = i as u8;
    }
    safe
}

/// Two channels that fit each other, the second as it is or turned.
#[inline(always)]
fn pair(channels: &[Channel; BLOCK], i: usize, j: usize) -> Option<[u8; 2]> {
    let [(i, sums), _] = channels[i].ways();
    let (j, _) = channels[j].ways().into_iter().find(|(_, other)| sums.joined(*other).is_some())?;
    Some([i, j])
}

#[cfg(test)]
mod tests {
    use super::super::sets::CHANNELS;
    use super::*;
    use crate::testing::Rng;

    fn block(rng: &mut Rng, deviation: f32) -> Block {
        core::array::from_fn(|_| core::array::from_fn(|_| rng.bell(deviation) as i8))
    }

    #[test]
    fn orders_are_permutations_and_what_is_safe_does_not_saturate() {
        let mut rng = Rng::new(1);
        for deviation in [20.0, 40.0, 60.0, 90.0, 300.0] {
            for _ in 0..100 {
                let block = block(&mut rng, deviation);
                let found = Matching::find(&block);
                let mut seen = [false; BLOCK];
                found.order.iter().for_each(|&i| seen[usize::from(i % TURNED)] = true);
                assert_eq!(seen, [true; BLOCK]);
                let fits = |channels: &[u8]| {
                    block.iter().all(|weights| {
                        let of_sign = |sign: i32| -> i32 {
                            let weight = |i: &u8| {
                                let w = i32::from(weights[usize::from(i % TURNED)]);
                                if *i < TURNED { w } else { -w }
                            };
                            channels.iter().map(|i| (weight(i) * sign).max(0)).sum()
                        };
                        255 * of_sign(1) <= 32767 && 255 * of_sign(-1) <= 32768
                    })
                };
                for quads in found.order.as_chunks::<8>().0.iter().take(found.joined) {
                    let [a, b, c, d, e, f, g, h] = *quads;
                    assert!(fits(&[a, b, e, f]) && fits(&[c, d, g, h]), "{found:?}");
                }
                assert!(found.safe >= 4 * found.joined);
                for pair in found.order.as_chunks::<2>().0.iter().take(found.safe) {
                    assert!(fits(pair), "{found:?}");
                }
            }
        }
    }

    #[test]
    fn usual_weights_are_matched_whole() {
        let mut rng = Rng::new(2);
        // Three and a half deviations are 127: about a thousand input channels.
        let whole =
            (0..200).filter(|_| Matching::find(&block(&mut rng, 36.0)).safe == BLOCK / 2).count();
        assert!(whole >= 199, "{whole}");
    }

    #[test]
    fn halves_are_matched_and_what_fits_nothing_is_left() {
        // Half of the channels do not fit each other.
        let mut block = [[0; BLOCK]; CHANNELS];
        block[0] = core::array::from_fn(|i| if i % 2 == 0 { 127 } else { 0 });
        let found = Matching::find(&block);
        assert_eq!(found.safe, BLOCK / 2);
        // Half of the channels have to be turned.
        let found = Matching::find(&[[127; BLOCK]; CHANNELS]);
        assert_eq!((found.joined, found.safe), (0, BLOCK / 2));
        assert_eq!(found.order.iter().filter(|channel| **channel >= TURNED).count(), BLOCK / 2);
        // Nothing fits anything: no two channels have the same signs in all output channels, or opposite ones.
        let found = Matching::find(&core::array::from_fn(|n| {
            core::array::from_fn(|i| if i >> n & 1 == 1 { 127 } else { -127 })
        }));
        assert_eq!((found.joined, found.safe, found.order[15]), (0, 0, 15));
    }
}
