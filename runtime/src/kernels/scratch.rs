//! Memory that a kernel needs while it runs, beside its operands: allocated once, for the largest need.

use crate::pages::Pages;
use alloc::vec::Vec;

/// Values of a cache line.
const LINE: usize = 16;

/// How much memory a kernel needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScratchSize {
    /// Bytes of transformed inputs.
    pub(super) words: usize,
    /// Sums.
    pub(super) sums: usize,
    /// Bytes of outputs.
    pub(super) outputs: usize,
}

impl ScratchSize {
    /// What serves both.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            words: self.words.max(other.words),
            sums: self.sums.max(other.sums),
            outputs: self.outputs.max(other.outputs),
        }
    }

    /// Bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.words + 4 * self.sums + self.outputs
    }
}

/// Memory of one thread.
#[derive(Debug)]
pub struct Scratch {
    words: Option<Pages>,
    sums: Vec<i32>,
    /// Room for outputs: taken by who computes outputs in it with the rest of the memory.
    pub(super) outputs: Option<Pages>,
}

impl Scratch {
    /// For kernels that need none; takes no memory.
    #[must_use]
    pub const fn none() -> Self {
        Self { words: None, sums: Vec::new(), outputs: None }
    }

    /// Memory for kernels that need at most `size`.
    #[must_use]
    pub fn new(size: ScratchSize) -> Self {
        if size == ScratchSize::default() {
            return Self::none();
        }
        Self {
            words: Some(Pages::zeroed(size.words)),
            sums: alloc::vec![0; size.sums + LINE],
            outputs: Some(Pages::zeroed(size.outputs)),
        }
    }

    /// Transformed inputs and sums, aligned to cache lines; empty where nothing is needed.
    pub(super) fn split(&mut self) -> (&mut [u8], &mut [i32]) {
        let start = self.sums.as_ptr().align_offset(4 * LINE).min(self.sums.len());
        (self.words.as_deref_mut().unwrap_or_default(), &mut self.sums[start..])
    }
}
