//! How fast the machine reads memory, to set measured rates against.

use crate::isa::{Isa, Kernel, Platform};
use std::time::{Duration, Instant};
use std::vec::Vec;

/// Vectors that are on their way at a time.
const VECTORS: usize = 8;
/// Values that are read between two looks at the clock: many microseconds' worth, and few of a scheduler's.
const PIECE: usize = 256 << 10;

/// Sums a buffer, some times over.
struct Sums<'a> {
    buffer: &'a [i32],
    passes: u32,
}

impl Kernel for Sums<'_> {
    /// Bytes read.
    type Output = u64;

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) -> u64 {
        let step = VECTORS * I::LANES;
        let mut acc = [isa.splat(0); VECTORS];
        for _ in 0..self.passes {
            // Or one pass would serve for all.
            for values in core::hint::black_box(self.buffer).chunks_exact(step) {
                for (v, a) in acc.iter_mut().enumerate() {
                    *a = isa.add(*a, isa.load_i32(&values[v * I::LANES..]));
                }
            }
        }
        let mut sums = [0; 16];
        for a in acc {
            isa.store_i32(a, &mut sums);
            core::hint::black_box(&sums);
        }
        u64::from(self.passes) * (self.buffer.len() / step * step * size_of::<i32>()) as u64
    }
}

impl Platform {
    /// Bytes per nanosecond (10^9 per second) that one core reads from a buffer over and over, for about `time`: the
    /// median over pieces, so that it does not matter if other programs run at times. A buffer much smaller than a cache
    /// level and larger than the one before it gives that level's rate.
    ///
    /// The buffer has to be written beforehand: pages that never were are one page of zeros.
    #[must_use]
    pub fn read_gbytes(self, buffer: &[i32], time: Duration) -> f64 {
        let length = buffer.len().clamp(1, PIECE);
        let passes = (PIECE / length) as u32;
        let mut pieces = buffer.chunks(length).filter(|piece| piece.len() == length).cycle();
        let mut rate = || {
            let piece = pieces.next().unwrap_or_default();
            let start = Instant::now();
            let bytes = self.run(Sums { buffer: piece, passes });
            bytes as f64 / start.elapsed().as_nanos().max(1) as f64
        };
        // Once through the buffer, so that it is where it can be.
        for _ in 0..buffer.len() / length {
            rate();
        }
        let start = Instant::now();
        let mut rates = Vec::new();
        while rates.len() < 9 || start.elapsed() < time {
            rates.push(rate());
        }
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_reads_all_of_a_buffer() {
        let buffer = std::vec![1; 4096 + 3];
        for platform in Platform::available() {
            let read = platform.run(Sums { buffer: &buffer, passes: 3 });
            assert_eq!(read, 3 * 4 * 4096, "{}", platform.name());
            let rate = platform.read_gbytes(&buffer, Duration::from_micros(200));
            assert!(rate > 0.0, "{}", platform.name());
        }
    }
}
