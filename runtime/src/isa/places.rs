//! Where the steps of a sum read, checked once for all of them.

use alloc::vec::Vec;

/// Byte offsets of pieces, from a start that is chosen later.
#[derive(Clone, Debug)]
pub struct Places {
    offsets: Vec<usize>,
    /// The largest of them.
    last: usize,
}

impl Places {
    /// Pieces in the order in which they are read.
    #[must_use]
    pub fn new(offsets: Vec<usize>) -> Self {
        let last = offsets.iter().copied().max().unwrap_or(0);
        Self { offsets, last }
    }

    /// The offsets, from which so many bytes can be read where `len` bytes begin, and `more` behind it as well.
    ///
    /// # Panics
    ///
    /// If there are fewer bytes.
    #[inline(always)]
    pub fn within(&self, len: usize, more: usize, piece: usize) -> &[usize] {
        let end = self.last.checked_add(more).and_then(|last| last.checked_add(piece));
        assert!(end.is_some_and(|end| end <= len), "pieces leave the slice");
        &self.offsets
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn places_inside_are_given() {
        assert_eq!(Places::new([3, 8, 5].into()).within(47, 7, 32), [3, 8, 5]);
        assert!(Places::new([].into()).within(32, 0, 32).is_empty());
    }

    #[test]
    #[should_panic(expected = "pieces leave the slice")]
    fn the_last_place_is_checked() {
        let _ = Places::new([3, 8, 5].into()).within(46, 7, 32);
    }

    #[test]
    #[should_panic(expected = "pieces leave the slice")]
    fn overflow_is_checked() {
        let _ = Places::new([8].into()).within(46, usize::MAX - 7, 32);
    }
}
