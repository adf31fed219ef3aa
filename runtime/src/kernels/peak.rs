//! The machine's ceiling, to set measured rates against.

use crate::isa::{Isa, Kernel, Ordered, PAIR_ROWS, PairPanel, PairPlace, PairQuads, Platform};
use std::time::Instant;

/// Independent accumulators: activations by vectors of weights, enough to hide the latency of the dot product. No two
/// share both factors: sets that add products in a step of its own would multiply them once. How many vectors hide it
/// without leaving the registers depends on the set, so several numbers are tried.
const ROWS: usize = 2;

/// Blocks of 16 bytes of every row of a tile of pairs.
const BLOCKS: usize = 16;

/// Activations of a round, other ones in each lane.
const ROUND: [u8; 16] = [3, 5, 7, 9, 13, 15, 17, 19, 23, 25, 27, 29, 33, 35, 37, 39];

/// Dot products on registers, and next to nothing else.
struct Dots<const VECTORS: usize> {
    rounds: u32,
}

impl<const VECTORS: usize> Kernel for Dots<VECTORS> {
    /// Multiply-accumulates done.
    type Output = u64;

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) -> u64 {
        // Other activations in every round: a sum of equal products would be computed outside of the loop.
        let bytes = core::hint::black_box([
            ROUND,
            ROUND.map(|b| b + 40),
            ROUND.map(|b| b + 80),
            ROUND.map(|b| b + 120),
        ]);
        let weights =
            core::hint::black_box([[5i8; 64], [6; 64], [7; 64], [8; 64], [9; 64], [10; 64]]);
        let w: [I::W; VECTORS] = core::array::from_fn(|v| isa.weights(&weights[v]));
        let mut acc = [[isa.splat(1); VECTORS]; ROWS];
        for round in 0..self.rounds {
            let bytes = isa.acts(&bytes[round as usize % 4]);
            let x: [I::X; ROWS] = [isa.lane::<0>(bytes), isa.lane::<1>(bytes)];
            for (row, x) in acc.iter_mut().zip(x) {
                for (a, w) in row.iter_mut().zip(&w) {
                    *a = isa.dp(*a, x, *w);
                }
            }
        }
        let mut sums = [0; 16];
        for a in acc.as_flattened() {
            let a = *a;
            isa.store_i32(a, &mut sums);
            core::hint::black_box(&sums);
        }
        u64::from(self.rounds) * (ROWS * VECTORS * I::LANES * 4) as u64
    }
}

/// As [`Dots`], products of pairs: a tile whose operands stay in the first cache level, with all quads joined. Sets without
/// pairs do none.
struct Pairs {
    rounds: u32,
}

impl Kernel for Pairs {
    /// Multiply-accumulates done.
    type Output = u64;

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) -> u64 {
        if const { !I::PAIRS } {
            return 0;
        }
        let rows = core::hint::black_box([[[3; 16]; PAIR_ROWS]; BLOCKS]);
        let weights = core::hint::black_box([5i8; BLOCKS * 16 * 8]);
        let order = core::hint::black_box([[0; 16]; BLOCKS]);
        let places: [PairPlace; 2 * BLOCKS] =
            core::array::from_fn(|i| PairPlace::new(i / 2, 8 * (i % 2)));
        let parts = [PairQuads { joined: 2 * BLOCKS, single: 0 }];
        let panel = PairPanel { weights: &weights, order: &order, parts: &parts, places: &places };
        let mut ordered = Ordered::new();
        let mut acc = [[isa.splat(1)]; PAIR_ROWS];
        for _ in 0..self.rounds {
            isa.pairs(&mut acc, &rows, &panel, &mut ordered, &weights);
        }
        let mut sums = [0; 16];
        for a in acc.as_flattened() {
            let a = *a;
            isa.store_i32(a, &mut sums);
            core::hint::black_box(&sums);
        }
        u64::from(self.rounds) * (PAIR_ROWS * BLOCKS * 16 * I::LANES) as u64
    }
}

impl Platform {
    /// Multiply-accumulates per second (in units of 10^9) that one core reaches on registers: the best of a few runs of
    /// about a millisecond each.
    #[must_use]
    pub fn peak_gmacs(self) -> f64 {
        let macs = PAIR_ROWS * BLOCKS * 16 * 8;
        let pairs = rate(|rounds| self.run(Pairs { rounds }), macs as f64);
        self.rate::<4>().max(self.rate::<5>()).max(self.rate::<6>()).max(pairs)
    }

    /// The rate with so many vectors of weights.
    fn rate<const VECTORS: usize>(self) -> f64 {
        rate(|rounds| self.run(Dots::<VECTORS> { rounds }), (ROWS * VECTORS * 4 * 16) as f64)
    }
}

/// The best rate of work that takes a number of rounds, about `macs_per_round` multiply-accumulates each, and says how
/// many it did.
fn rate(work: impl Fn(u32) -> u64, macs_per_round: f64) -> f64 {
    let rate = |rounds| {
        let start = Instant::now();
        let macs = work(core::hint::black_box(rounds));
        macs as f64 / start.elapsed().as_nanos().max(1) as f64
    };
    // As many rounds as fill a millisecond.
    let first = rate(10 + (1e6 / macs_per_round) as u32);
    let rounds = (first * 1e6 / macs_per_round).clamp(10.0, 1e7) as u32;
    (0..10).map(|_| rate(rounds)).fold(first, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_has_a_rate() {
        for platform in Platform::available() {
            assert!(platform.peak_gmacs() > 0.0, "{}", platform.name());
        }
    }
}
