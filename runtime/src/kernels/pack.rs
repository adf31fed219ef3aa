//! Weights in the order in which micro-kernels read them.

use super::epilogue::MAX_LANES;
use super::tuned::Blocking;
use crate::isa::{Isa, as_i8};
use crate::pages::Pages;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::{Deref, Range};

/// A cache line.
const LINE: usize = 64;

/// Memory that operators pack their weights into, one behind the other.
#[derive(Debug)]
pub struct Shelf {
    chunks: Vec<Pages>,
    used: usize,
    chunk_bytes: usize,
    /// Of convolutions that are packed onto it, in place of the chosen one.
    pub(super) blocking: Option<Blocking>,
    /// Whether convolutions that can be computed by Winograd's method are, in place of where it pays.
    pub(super) winograd: Option<bool>,
    /// Whether panels are read in pairs wherever it is possible, or nowhere, in place of where it pays.
    pub(super) pairs: Option<bool>,
    /// Whether convolutions are divided into output channels wherever it is possible, or nowhere, in place of where it
    /// pays.
    pub(super) columns: Option<bool>,
    /// Threads among which operators are divided.
    pub(super) threads: usize,
}

impl Shelf {
    /// A shelf that takes memory in pieces of at least `chunk_bytes`.
    #[must_use]
    pub const fn new(chunk_bytes: usize) -> Self {
        Self {
            chunks: Vec::new(),
            used: 0,
            chunk_bytes,
            blocking: None,
            winograd: None,
            pairs: None,
            columns: None,
            threads: 1,
        }
    }

    /// With one blocking for all convolutions.
    #[doc(hidden)]
    #[must_use]
    pub fn blocked(self, blocking: Option<Blocking>) -> Self {
        Self { blocking, ..self }
    }

    /// For operators that are divided among so many threads.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// With Winograd's method wherever it is possible, or nowhere.
    #[doc(hidden)]
    #[must_use]
    pub fn with_winograd(self, winograd: Option<bool>) -> Self {
        Self { winograd, ..self }
    }

    /// With products of pairs wherever they are possible, or nowhere.
    #[doc(hidden)]
    #[must_use]
    pub fn with_pairs(self, pairs: Option<bool>) -> Self {
        Self { pairs, ..self }
    }

    /// With convolutions divided into output channels wherever it is possible, or nowhere.
    #[doc(hidden)]
    #[must_use]
    pub fn with_columns(self, columns: Option<bool>) -> Self {
        Self { columns, ..self }
    }

    /// The filled memory, for [`super::PackedOp::attach`].
    #[must_use]
    pub fn finish(self) -> Vec<Arc<Pages>> {
        self.chunks.into_iter().map(Arc::new).collect()
    }

    /// A place for `len` bytes, and the bytes, zeroed.
    pub(super) fn take(&mut self, len: usize) -> (Packed, &mut [u8]) {
        let mut start = self.used.next_multiple_of(LINE);
        if self.chunks.last().is_none_or(|chunk| chunk.len() < start + len) {
            self.chunks.push(Pages::zeroed(len.max(self.chunk_bytes)));
            start = 0;
        }
        self.used = start + len;
        let range = start..self.used;
        let chunk = self.chunks.len() - 1;
        let packed = Packed { memory: None, chunk, range: range.clone() };
        (packed, &mut self.chunks[chunk][range])
    }
}

/// Of panels in the order of their output channels (the first, and the one behind the last) those with some of `range`.
#[inline(always)]
pub(super) fn within<'p, P>(
    panels: &'p [P],
    range: &Range<usize>,
    channels: impl Fn(&P) -> (usize, usize),
) -> &'p [P] {
    let first = panels.partition_point(|p| channels(p).1 <= range.start);
    let end = panels.partition_point(|p| channels(p).0 < range.end);
    &panels[first..end]
}

/// Packed weights, aligned to a cache line. They can be read when their shelf is attached.
pub(super) struct Packed {
    memory: Option<Arc<Pages>>,
    chunk: usize,
    range: Range<usize>,
}

impl Packed {
    /// Gives access to the memory of a finished shelf.
    pub fn attach(&mut self, shelf: &[Arc<Pages>]) {
        self.memory = shelf.get(self.chunk).cloned();
    }
}

impl Deref for Packed {
    type Target = [i8];

    fn deref(&self) -> &[i8] {
        self.memory.as_ref().map_or(&[], |memory| as_i8(&memory[self.range.clone()]))
    }
}

/// Bytes of `taps` rows of `k` weights for `vectors` vectors of output channels.
pub(super) fn panel_bytes<I: Isa>(taps: usize, k: usize, vectors: usize) -> usize {
    taps * k.div_ceil(4) * vectors * 4 * I::LANES
}

/// Packs a panel into zeros: per tap, per lane of 4 k, per vector. `row(n, tap)` gives the weights of channel
/// `n < channels`, `k` of them or fewer; what is missing stays zero, so what is read there does not count.
///
/// It is a transposition of words of four weights: where all lanes of a vector have a cache line, those lines at a time.
#[inline(always)]
pub(super) fn panel<'s, I: Isa>(
    out: &mut [u8],
    vectors: usize,
    channels: usize,
    taps: usize,
    k: usize,
    row: impl Fn(usize, usize) -> &'s [u8],
) {
    let vector = 4 * I::LANES;
    let step = vectors * vector;
    let tap_bytes = k.div_ceil(4) * step;
    for (tap, out) in out.chunks_exact_mut(tap_bytes).take(taps).enumerate() {
        for first in (0..channels).step_by(I::LANES) {
            let out = &mut out[first / I::LANES * vector..];
            let lanes = I::LANES.min(channels - first);
            let mut rows = [&[][..]; MAX_LANES];
            for (n, rest) in rows[..lanes].iter_mut().enumerate() {
                *rest = row(first + n, tap);
            }
            let lines = if lanes == I::LANES { rows[0].len() / LINE } else { 0 };
            for (line, out) in out.chunks_mut(LINE / 4 * step).take(lines).enumerate() {
                let mut words = [[[0; 4]; LINE / 4]; MAX_LANES];
                for (words, row) in words[..I::LANES].iter_mut().zip(&rows) {
                    words.copy_from_slice(row[line * LINE..][..LINE].as_chunks().0);
                }
                for (quad, out) in out.chunks_mut(step).enumerate() {
                    let out = &mut out[..vector];
                    for (lane, words) in words[..I::LANES].iter().enumerate() {
                        place::<I>(out, lane, words[quad % (LINE / 4)]);
                    }
                }
            }
            for (lane, row) in rows[..lanes].iter().enumerate() {
                let (words, rest) = row[lines * LINE..].as_chunks::<4>();
                let mut places = out.chunks_mut(step).skip(lines * LINE / 4);
                for (word, out) in words.iter().zip(&mut places) {
                    place::<I>(&mut out[..vector], lane, *word);
                }
                if let (false, Some(out)) = (rest.is_empty(), places.next()) {
                    let mut word = [0; 4];
                    word[..rest.len()].copy_from_slice(rest);
                    place::<I>(&mut out[..vector], lane, word);
                }
            }
        }
    }
}

/// Writes the weights of one lane of a vector. Every set keeps pairs together, and most keep all four.
#[inline(always)]
fn place<I: Isa>(vector: &mut [u8], lane: usize, word: [u8; 4]) {
    let [first, second] = [0, 2].map(|k| I::weight_index(lane, k));
    if second == first + 2 {
        vector[first..first + 4].copy_from_slice(&word);
    } else {
        vector[first..first + 2].copy_from_slice(&word[..2]);
        vector[second..second + 2].copy_from_slice(&word[2..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Kernel, Platform, Scalar};

    #[test]
    fn panels_are_aligned_and_zero_padded() {
        let (taps, k, vectors) = (2, 5, 2);
        let mut shelf = Shelf::new(0);
        let (_, _) = shelf.take(3);
        let (mut packed, out) = shelf.take(panel_bytes::<Scalar>(taps, k, vectors));
        let weights: Vec<u8> =
            (0..6).flat_map(|n| (0..10).map(move |tap_k| 10 * n + tap_k + 1)).collect();
        panel::<Scalar>(out, vectors, 6, taps, k, |n, tap| &weights[10 * n + 5 * tap..][..5]);
        packed.attach(&shelf.finish());
        assert_eq!(packed.as_ptr().align_offset(64), 0);
        assert_eq!(packed.len(), 2 * 2 * 2 * 16);
        // Tap 0, first lane, vector 0: four channels of four k.
        assert_eq!(packed[..8], [1, 2, 3, 4, 11, 12, 13, 14]);
        // Vector 1 has channels 4 and 5 only.
        assert_eq!(packed[16..32], [41, 42, 43, 44, 51, 52, 53, 54, 0, 0, 0, 0, 0, 0, 0, 0]);
        // The second lane has k = 4 only.
        assert_eq!(packed[32..40], [5, 0, 0, 0, 15, 0, 0, 0]);
    }

    /// Packs by the definition, weight by weight.
    struct AllPlaces;

    impl Kernel for AllPlaces {
        type Output = ();

        #[inline(always)]
        fn eval<I: Isa>(self, _: I) {
            for (taps, k, vectors, channels) in
                [(1, 4, 1, 1), (3, 70, 2, I::LANES + 3), (2, 64, 4, 4 * I::LANES), (1, 531, 3, 5)]
            {
                let weights: Vec<u8> =
                    (0..channels * taps * k).map(|i| (i * 37 % 251 + 1) as u8).collect();
                let at = |n: usize, tap: usize| &weights[(n * taps + tap) * k..][..k];
                let mut actual = alloc::vec![0; panel_bytes::<I>(taps, k, vectors)];
                let mut expected = actual.clone();
                panel::<I>(&mut actual, vectors, channels, taps, k, at);
                for n in 0..channels {
                    for tap in 0..taps {
                        for (i, &weight) in at(n, tap).iter().enumerate() {
                            let quad = tap * k.div_ceil(4) + i / 4;
                            let vector = (quad * vectors + n / I::LANES) * 4 * I::LANES;
                            expected[vector + I::weight_index(n % I::LANES, i % 4)] = weight;
                        }
                    }
                }
                assert!(actual == expected, "{} {taps} {k} {vectors} {channels}", I::NAME);
            }
        }
    }

    #[test]
    fn every_weight_of_every_set_is_in_its_place() {
        for platform in Platform::available() {
            platform.run(AllPlaces);
        }
    }

    #[test]
    fn shelves_grow() {
        let mut shelf = Shelf::new(100);
        let mut packed: Vec<Packed> = [70, 10, 30, 300, 5]
            .iter()
            .enumerate()
            .map(|(i, &len)| {
                let (packed, out) = shelf.take(len);
                out.fill(i as u8 + 1);
                packed
            })
            .collect();
        let shelf = shelf.finish();
        for (i, packed) in packed.iter_mut().enumerate() {
            assert!(packed.is_empty());
            packed.attach(&shelf);
            assert!(packed.iter().all(|&b| b == i as i8 + 1) && !packed.is_empty());
        }
    }
}
