//! The machine's ceiling, to set measured rates against.

use crate::isa::{Isa, Kernel, Platform};
use std::time::Instant;

/// Independent accumulators: enough to hide the latency of the dot product.
const CHAINS: usize = 12;

/// Dot products on registers, and next to nothing else.
struct Dots {
    rounds: u32,
}

impl Kernel for Dots {
    /// Multiply-accumulates done.
    type Output = u64;

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) -> u64 {
        // Other activations in every round: a sum of equal products would be computed outside of the loop.
        let bytes = core::hint::black_box([[3u8; 16], [5; 16], [7; 16], [9; 16]]);
        let weights = core::hint::black_box([5i8; 64]);
        let w = isa.weights(&weights);
        let mut acc: [I::I; CHAINS] = core::array::from_fn(|i| isa.splat(i as i32));
        for round in 0..self.rounds {
            let x = isa.lane::<0>(isa.acts(&bytes[round as usize % 4]));
            for a in &mut acc {
                *a = isa.dp(*a, x, w);
            }
        }
        let mut sums = [0; 16];
        for a in acc {
            isa.store_i32(a, &mut sums);
            core::hint::black_box(&sums);
        }
        u64::from(self.rounds) * (CHAINS * I::LANES * 4) as u64
    }
}

impl Platform {
    /// Multiply-accumulates per second (in units of 10^9) that one core reaches on registers: the best of a few runs of
    /// about a millisecond each.
    #[must_use]
    pub fn peak_gmacs(self) -> f64 {
        let rate = |rounds| {
            let start = Instant::now();
            let macs = self.run(Dots { rounds: core::hint::black_box(rounds) });
            macs as f64 / start.elapsed().as_nanos().max(1) as f64
        };
        // As many rounds as fill a millisecond.
        let first = rate(10_000);
        let macs_per_round = (CHAINS * 4 * 16) as f64;
        let rounds = (first * 1e6 / macs_per_round).clamp(1e3, 1e7) as u32;
        (0..20).map(|_| rate(rounds)).fold(first, f64::max)
    }
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
