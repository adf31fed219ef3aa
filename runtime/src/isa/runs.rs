//! Runs of bytes of one length, checked when they are collected and not again where they are read.

use core::marker::PhantomData;
use core::ops::Range;

/// Room for where a run begins in each of up to `N` rows.
#[derive(Clone, Copy)]
pub(crate) struct Starts<const N: usize> {
    /// In row 0, and the distance from row to row; used if `even`.
    first: *const u8,
    step: usize,
    even: bool,
    /// Otherwise.
    each: [*const u8; N],
}

impl<const N: usize> Starts<N> {
    pub const NONE: Self =
        Self { first: core::ptr::null(), step: 0, even: true, each: [core::ptr::null(); N] };

    #[inline(always)]
    fn at(&self, row: usize) -> *const u8 {
        if self.even { self.first.wrapping_add(row * self.step) } else { self.each[row] }
    }
}

/// What the rows of a tile read: the same number of runs each.
pub(crate) struct Runs<'a, const N: usize> {
    /// The first `rows` of each are starts of `len` bytes that live for `'a`.
    starts: &'a mut [Starts<N>],
    rows: usize,
    len: usize,
    bytes: PhantomData<&'a [u8]>,
}

impl<'a, const N: usize> Runs<'a, N> {
    /// Begins as many runs as there is room for, for each of `rows` rows, all of them `filler`, which gives the length
    /// of a run.
    ///
    /// # Panics
    ///
    /// If there is no room for as many rows.
    #[inline(always)]
    pub fn begin(starts: &'a mut [Starts<N>], rows: usize, filler: &'a [u8]) -> Self {
        assert!(rows <= N, "no room for the rows");
        for starts in starts.iter_mut() {
            (starts.first, starts.step, starts.even) = (filler.as_ptr(), 0, true);
        }
        Self { starts, rows, len: filler.len(), bytes: PhantomData }
    }

    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// Sets a run of some rows to what begins `step` bytes apart.
    ///
    /// # Panics
    ///
    /// If the last of them leaves `bytes`.
    #[inline(always)]
    pub fn set(&mut self, run: usize, rows: Range<usize>, bytes: &'a [u8], step: usize) {
        assert!(rows.end <= self.rows, "no such rows");
        if rows.is_empty() {
            return;
        }
        let end = step.checked_mul(rows.len() - 1).and_then(|last| last.checked_add(self.len));
        assert!(end.is_some_and(|end| end <= bytes.len()), "a run is too short");
        let starts = &mut self.starts[run];
        if rows.len() == self.rows {
            (starts.first, starts.step, starts.even) = (bytes.as_ptr(), step, true);
            return;
        }
        if starts.even {
            starts.each = core::array::from_fn(|row| starts.at(row));
            starts.even = false;
        }
        let mut at = bytes.as_ptr();
        for place in &mut starts.each[rows] {
            *place = at;
            // Inside `bytes`, by the assertion, but behind the last.
            at = at.wrapping_add(step);
        }
    }

    /// `len` pieces of `K` bytes of a run, from byte `from` on, of the first `R` rows.
    ///
    /// # Panics
    ///
    /// If they are not inside the run.
    #[inline(always)]
    pub fn pieces<const R: usize, const K: usize>(
        &self,
        run: usize,
        from: usize,
        len: usize,
    ) -> [&'a [[u8; K]]; R] {
        let end = len.checked_mul(K).and_then(|bytes| bytes.checked_add(from));
        assert!(R <= self.rows && R <= N && end.is_some_and(|end| end <= self.len), "outside");
        let starts = &self.starts[run];
        let piece = |start: *const u8| {
            // SAFETY: this is the start of one of the first `rows` rows, so `begin` or `set` found `self.len` bytes
            // there, alive for `'a`; by the assertion the pieces are among them. Bytes have no alignment.
            unsafe { core::slice::from_raw_parts(start.add(from).cast(), len) }
        };
        if starts.even {
            core::array::from_fn(|row| piece(starts.first.wrapping_add(row * starts.step)))
        } else {
            core::array::from_fn(|row| piece(starts.each[row]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_where_they_should_be() {
        let bytes: [u8; 64] = core::array::from_fn(|i| i as u8);
        let mut room = [Starts::<3>::NONE; 2];
        let mut runs = Runs::begin(&mut room, 2, &[100; 16]);
        runs.set(0, 0..2, &bytes, 10);
        runs.set(1, 1..2, &bytes[30..46], 1000);
        runs.set(1, 2..2, &[], 1);
        assert_eq!(runs.count(), 2);
        assert_eq!(runs.pieces::<2, 4>(0, 8, 2)[0], [[8, 9, 10, 11], [12, 13, 14, 15]]);
        assert_eq!(runs.pieces::<2, 4>(0, 8, 2)[1], [[18, 19, 20, 21], [22, 23, 24, 25]]);
        assert_eq!(runs.pieces::<2, 16>(1, 0, 1).map(|row| row[0][15]), [100, 45]);
    }

    #[test]
    #[should_panic(expected = "too short")]
    fn runs_are_checked() {
        Runs::begin(&mut [Starts::<2>::NONE; 1], 2, &[0; 16]).set(0, 0..2, &[0; 20], 5);
    }

    #[test]
    #[should_panic(expected = "too short")]
    fn overflow_is_checked() {
        let mut room = [Starts::<3>::NONE; 1];
        Runs::begin(&mut room, 3, &[0; 16]).set(0, 0..3, &[0; 20], usize::MAX / 2 + 1);
    }

    #[test]
    #[should_panic(expected = "no such rows")]
    fn rows_to_set_are_checked() {
        Runs::begin(&mut [Starts::<2>::NONE; 1], 1, &[0; 16]).set(0, 0..2, &[0; 64], 1);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn pieces_are_checked() {
        let _ = Runs::begin(&mut [Starts::<1>::NONE; 1], 1, &[0; 16]).pieces::<1, 4>(0, 4, 4);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn rows_are_checked() {
        let _ = Runs::begin(&mut [Starts::<2>::NONE; 1], 1, &[0; 16]).pieces::<2, 4>(0, 4, 1);
    }
}
