//! Which input channels of a lane are neighbours.
//!
//! Two neighbours share an i16, as in [`crate::kernels::paired`], but here an order has to suit the four output channels
//! of a lane alone, and there is one for every lane and tap. An activation can come as `127 - q` instead of `q + 128`,
//! with weights of the other sign: then two channels fit each other if none of their differences is too large.

use crate::kernels::paired::MOST;

/// Most input channels of a group.
pub const MOST_CHANNELS: usize = 16;

/// Weights of the four output channels of a lane for the input channels of its group.
pub type Lane<'a> = [&'a [u8]; 4];

/// The order in which a lane reads the input channels of its group: two by two.
#[derive(Clone, Copy, Debug)]
pub struct Partners {
    pub order: [u8; MOST_CHANNELS],
    /// Pairs of which the second channel has the other sign, a bit each.
    pub turned: u8,
    /// Pairs that saturate, a bit each.
    pub beyond: u8,
}

impl Partners {
    /// Neighbours that saturate exchange partners with other pairs, as long as they find two that fit.
    #[inline(always)]
    pub fn find(weights: &Lane<'_>) -> Self {
        let pairs = weights[0].len().min(MOST_CHANNELS) / 2;
        let order = core::array::from_fn(|i| i as u8);
        let mut found = Self { order, turned: 0, beyond: 0 };
        for i in 0..pairs {
            let [a, b] = found.pair(i);
            found.set(i, [a, b], fit(weights, a, b));
        }
        for i in 0..pairs {
            for j in (0..pairs).filter(|&j| j != i) {
                if found.beyond >> i & 1 == 0 {
                    break;
                }
                let ([a, b], [c, d]) = (found.pair(i), found.pair(j));
                for (c, d) in [(c, d), (d, c)] {
                    let fits = (fit(weights, a, c), fit(weights, b, d));
                    if let (Some(_), Some(_)) = fits {
                        found.set(i, [a, c], fits.0);
                        found.set(j, [b, d], fits.1);
                        break;
                    }
                }
            }
        }
        found
    }

    /// The channels of a pair.
    #[inline(always)]
    fn pair(&self, i: usize) -> [u8; 2] {
        [self.order[2 * i], self.order[2 * i + 1]]
    }

    #[inline(always)]
    fn set(&mut self, i: usize, pair: [u8; 2], fit: Option<bool>) {
        self.order[2 * i..][..2].copy_from_slice(&pair);
        let put = |bits: u8, bit: bool| bits & !(1 << i) | u8::from(bit) << i;
        self.turned = put(self.turned, fit == Some(true));
        self.beyond = put(self.beyond, fit.is_none());
    }
}

/// Whether the second of two channels has to turn for them not to saturate, if one of both does.
#[inline(always)]
fn fit(weights: &Lane<'_>, a: u8, b: u8) -> Option<bool> {
    let (mut sums, mut differences) = (0, 0);
    for w in weights {
        let [a, b] = [a, b].map(|i| i16::from(w[usize::from(i)] as i8));
        sums = (a + b).abs().max(sums);
        differences = (a - b).abs().max(differences);
    }
    (sums.min(differences) <= MOST).then_some(sums > MOST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;
    use alloc::vec::Vec;

    /// Pairs that saturate, of so many lanes in all.
    fn beyond(rng: &mut Rng, channels: usize, deviation: f32, lanes: usize) -> u32 {
        let mut beyond = 0;
        for _ in 0..lanes {
            let weights: [Vec<u8>; 4] = core::array::from_fn(|_| {
                (0..channels).map(|_| rng.bell(deviation) as u8).collect()
            });
            let found = Partners::find(&weights.each_ref().map(|w| &w[..]));
            let mut seen = [false; MOST_CHANNELS];
            found.order.iter().for_each(|&i| seen[usize::from(i)] = true);
            assert_eq!(seen, [true; MOST_CHANNELS]);
            for i in 0..channels / 2 {
                let fit = weights.iter().all(|w| {
                    let [a, b] = found.pair(i).map(|i| i32::from(w[usize::from(i)] as i8));
                    let b = if found.turned >> i & 1 == 1 { -b } else { b };
                    [[0, 255], [255, 0], [255, 255]]
                        .iter()
                        .all(|x| i16::try_from(x[0] * a + x[1] * b).is_ok())
                });
                assert_eq!(found.beyond >> i & 1 == 0, fit, "{weights:?} {found:?}");
            }
            beyond += found.beyond.count_ones();
        }
        beyond
    }

    #[test]
    fn orders_are_permutations_and_pairs_are_as_they_are_said_to_be() {
        let mut rng = Rng::new(1);
        for channels in [4, 8, 16] {
            for deviation in [20.0, 60.0, 90.0, 300.0] {
                beyond(&mut rng, channels, deviation, 100);
            }
        }
    }

    #[test]
    fn usual_weights_find_partners() {
        let mut rng = Rng::new(2);
        // Of a group of four and 3x3 taps, the largest weight is 2.2 deviations.
        for (channels, deviation, most) in
            [(4, 40.0, 5), (4, 55.0, 60), (8, 50.0, 5), (16, 50.0, 0)]
        {
            let beyond = beyond(&mut rng, channels, deviation, 1000);
            assert!(beyond <= most, "{beyond} of 1000 lanes of {channels}");
        }
    }
}
