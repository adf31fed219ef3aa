//! Which input channels can share an i16.
//!
//! `vpmaddubsw` multiplies unsigned activations by signed weights and adds two neighbouring products in an i16, which
//! saturates if weights of one sign sum to more than [`MOST`]. Where four channels stay below that, the sums of two pairs
//! can be added as i16 as well. A channel's activations may come turned, as `255 - x` with weights of the other sign, so
//! that four channels have eight ways to fit each other.

use super::MOST;
use crate::isa::TURNED;

/// Input channels that are arranged among each other: as many as a shuffle of bytes reorders.
pub const BLOCK: usize = 16;
/// Output channels that an order has to suit.
pub const CHANNELS: usize = 8;

/// Weights of a block, those of an output channel side by side.
pub type Block = [[i8; BLOCK]; CHANNELS];

/// Input channels that share an i16, with [`TURNED`] where they come turned.
pub type Set = [u8; 4];

/// Sums of the positive and of the negative weights of some input channels, per output channel.
#[derive(Clone, Copy, Debug)]
pub struct Sums([u8; 2 * CHANNELS]);

impl Sums {
    /// Of every input channel alone.
    fn of(block: &Block) -> [Self; BLOCK] {
        let mut sums = [Self([0; 2 * CHANNELS]); BLOCK];
        for (n, weights) in block.iter().enumerate() {
            for (Self(sums), w) in sums.iter_mut().zip(weights) {
                let magnitude = w.unsigned_abs();
                (sums[n], sums[CHANNELS + n]) =
                    if *w < 0 { (0, magnitude) } else { (magnitude, 0) };
            }
        }
        sums
    }

    /// Of the same channels turned.
    #[inline(always)]
    fn turned(self) -> Self {
        Self(core::array::from_fn(|i| self.0[(i + CHANNELS) % (2 * CHANNELS)]))
    }

    /// With others, if all products fit an i16, whatever the activations.
    #[inline(always)]
    pub fn joined(self, other: Self) -> Option<Self> {
        let sums: [u8; 2 * CHANNELS] =
            core::array::from_fn(|i| self.0[i].saturating_add(other.0[i]));
        let beyond = sums.map(|sum| sum.saturating_sub(MOST as u8));
        (u128::from_ne_bytes(beyond) == 0).then_some(Self(sums))
    }
}

/// An input channel as it is and turned.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// Its number in the block.
    number: u8,
    sides: [Sums; 2],
}

impl Channel {
    /// Those of a block.
    pub fn all(block: &Block) -> [Self; BLOCK] {
        let sums = Sums::of(block);
        core::array::from_fn(|i| Self { number: i as u8, sides: [sums[i], sums[i].turned()] })
    }

    /// The ways in which it can be read, as it is first.
    #[inline(always)]
    pub fn ways(&self) -> [(u8, Sums); 2] {
        [(self.number, self.sides[0]), (self.number | TURNED, self.sides[1])]
    }

    fn size(&self) -> u32 {
        self.sides[0].0.iter().map(|w| u32::from(*w) * u32::from(*w)).sum()
    }
}

/// What may be tried for the sets of a block, and for two sets of a part of it. More than that finds few more: of weights in
/// a bell whose largest is 2.8 deviations (256 input channels), 200 find four sets in 83 % of the blocks and 1000 in 87 %;
/// 3.3 deviations (1024), 99.4 and 99.8 %.
const TRIES: (u32, u32) = (200, 50);

/// Disjoint sets of a block's input channels.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub sets: [Set; 4],
    /// Four, two, or none.
    pub count: usize,
}

/// Disjoint sets of a block's input channels: four, which are all, or two, or none.
pub fn find(channels: &[Channel; BLOCK]) -> Found {
    // The largest first: it is those that find few others.
    let mut channels = *channels;
    channels.sort_by_cached_key(|channel| core::cmp::Reverse(channel.size()));
    let none = Found { sets: [[0; 4]; 4], count: 0 };
    let mut search = Search { channels, tries: TRIES.0, path: none.sets, found: none };
    search.extend(u16::MAX, 0, 4);
    for first in 1..=BLOCK - 8 {
        if search.found.count > 0 {
            break;
        }
        // The largest in no set.
        search.tries = TRIES.1;
        search.extend(u16::MAX << first, 0, 2);
    }
    search.found
}

/// A search, depth first.
struct Search {
    channels: [Channel; BLOCK],
    /// Sums that may still be looked at.
    tries: u32,
    path: [Set; 4],
    found: Found,
}

impl Search {
    /// Looks for a set with the first of the channels that are `free`, and for those behind it. Says whether it has found
    /// as many as are `wanted`.
    fn extend(&mut self, free: u16, depth: usize, wanted: usize) -> bool {
        if depth > self.found.count && depth.is_multiple_of(2) {
            self.found = Found { sets: self.path, count: depth };
        }
        if depth == wanted {
            return true;
        }
        let a = free.trailing_zeros() as usize;
        let free = free & !(1 << a);
        let [(a, sums), _] = self.channels[a].ways();
        for (i, after) in ones(free) {
            for (b, sums) in self.fitting(sums, i) {
                for (j, after) in ones(after) {
                    for (c, sums) in self.fitting(sums, j) {
                        for (k, _) in ones(after) {
                            let Some((d, _)) = self.fitting(sums, k).next() else { continue };
                            self.path[depth] = [a, b, c, d];
                            let free = free & !(1 << i | 1 << j | 1 << k);
                            if self.extend(free, depth + 1, wanted) {
                                return true;
                            }
                        }
                    }
                }
            }
        }
        false
    }

    /// The ways in which a channel fits others, as long as there are tries.
    #[inline(always)]
    fn fitting(&mut self, sums: Sums, channel: usize) -> impl Iterator<Item = (u8, Sums)> + use<> {
        let ways = self.channels[channel].ways().map(|(way, side)| {
            self.tries = self.tries.checked_sub(1)?;
            Some((way, sums.joined(side)?))
        });
        ways.into_iter().flatten()
    }
}

/// The bits that are set, lowest first, and with each those behind it.
#[inline(always)]
pub fn ones(mut bits: u16) -> impl Iterator<Item = (usize, u16)> {
    core::iter::from_fn(move || {
        let lowest = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        lowest.map(|lowest| (lowest, bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    fn block(rng: &mut Rng, deviation: f32) -> Block {
        core::array::from_fn(|_| core::array::from_fn(|_| rng.bell(deviation) as i8))
    }

    #[test]
    fn sets_are_disjoint_and_do_not_saturate() {
        let mut rng = Rng::new(1);
        for deviation in [20.0, 40.0, 60.0, 90.0, 300.0] {
            for _ in 0..100 {
                let block = block(&mut rng, deviation);
                let found = find(&Channel::all(&block));
                assert!(matches!(found.count, 0 | 2 | 4));
                let mut seen = 0u16;
                for set in &found.sets[..found.count] {
                    for i in set {
                        assert_eq!(seen >> (i % TURNED) & 1, 0, "{found:?}");
                        seen |= 1 << (i % TURNED);
                    }
                    for weights in &block {
                        let weights = set.map(|i| {
                            let w = i32::from(weights[usize::from(i % TURNED)]);
                            if i < TURNED { w } else { -w }
                        });
                        for activations in 0..16 {
                            let sum: i32 =
                                (0..4).map(|k| (activations >> k & 1) * 255 * weights[k]).sum();
                            assert!(i16::try_from(sum).is_ok(), "{set:?} {weights:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn usual_weights_are_in_sets() {
        let mut rng = Rng::new(2);
        // Three and a half deviations are 127: about a thousand input channels.
        let mut counts = [0; 5];
        for _ in 0..200 {
            counts[find(&Channel::all(&block(&mut rng, 36.0))).count] += 1;
        }
        assert!(counts[4] >= 195, "{counts:?}");
    }

    #[test]
    fn sets_of_the_smaller_are_found_where_the_largest_has_none() {
        // Two of the others stay below 128 on either side, three on one do not.
        let mut block = [[43; BLOCK]; CHANNELS];
        for (i, weights) in block[..6].iter_mut().enumerate() {
            weights[15 - i] = 127;
        }
        let found = find(&Channel::all(&block));
        assert_eq!(found.count, 2);
        assert!(found.sets[..2].as_flattened().iter().all(|i| i % TURNED < 10), "{found:?}");
        assert_eq!(find(&Channel::all(&[[127; BLOCK]; CHANNELS])).count, 0);
        assert_eq!(find(&Channel::all(&[[0; BLOCK]; CHANNELS])).count, 4);
    }
}
