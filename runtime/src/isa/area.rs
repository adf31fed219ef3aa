//! Rows of bytes at even distances, checked once for all of them.
//!
//! Epilogues read and write a few bytes in every row of a tile, many times. With a check in every place they spent more
//! instructions on checks and addresses than on values.

use core::marker::PhantomData;

/// `R` rows of `width` bytes that begin `step` bytes apart.
#[derive(Clone, Copy)]
pub(crate) struct Area<'a, const R: usize> {
    /// All rows, from here, are bytes that live for `'a`.
    start: *const u8,
    step: usize,
    width: usize,
    bytes: PhantomData<&'a [u8]>,
}

/// As [`Area`], to be written.
pub(crate) struct AreaMut<'a, const R: usize> {
    start: *mut u8,
    step: usize,
    width: usize,
    bytes: PhantomData<&'a mut [u8]>,
}

/// Asserts that `R` rows of `width` bytes, `step` apart, from byte `first` on, are among `len` bytes.
#[inline(always)]
fn check<const R: usize>(len: usize, first: usize, step: usize, width: usize) {
    const { assert!(R > 0) };
    let rows = step.checked_mul(R - 1).and_then(|last| last.checked_add(width));
    let end = rows.and_then(|rows| rows.checked_add(first));
    assert!(end.is_some_and(|end| end <= len), "rows leave the slice");
}

impl<'a, const R: usize> Area<'a, R> {
    /// Rows that begin at byte `first`.
    ///
    /// # Panics
    ///
    /// If the last of them leaves `bytes`.
    #[inline(always)]
    pub fn new(bytes: &'a [u8], first: usize, step: usize, width: usize) -> Self {
        check::<R>(bytes.len(), first, step, width);
        let start = bytes.as_ptr().wrapping_add(first);
        Self { start, step, width, bytes: PhantomData }
    }

    /// `len` bytes of a row.
    ///
    /// # Panics
    ///
    /// If they are not inside.
    #[inline(always)]
    pub fn get(&self, row: usize, from: usize, len: usize) -> &'a [u8] {
        assert!(row < R && from <= self.width && len <= self.width - from, "outside");
        // SAFETY: row `row` is `row * step` behind the start, and has `width` bytes, which live for `'a`; by the
        // assertion these are among them.
        unsafe { core::slice::from_raw_parts(self.start.add(row * self.step + from), len) }
    }
}

impl<'a, const R: usize> AreaMut<'a, R> {
    /// As [`Area::new`].
    #[inline(always)]
    pub fn new(bytes: &'a mut [u8], first: usize, step: usize, width: usize) -> Self {
        check::<R>(bytes.len(), first, step, width);
        let start = bytes.as_mut_ptr().wrapping_add(first);
        Self { start, step, width, bytes: PhantomData }
    }

    /// Bytes from row to row.
    #[inline(always)]
    pub fn step(&self) -> usize {
        self.step
    }

    /// `len` bytes of a row.
    ///
    /// # Panics
    ///
    /// If they are not inside.
    #[inline(always)]
    pub fn get(&mut self, row: usize, from: usize, len: usize) -> &mut [u8] {
        assert!(row < R && from <= self.width && len <= self.width - from, "outside");
        // SAFETY: as in `Area::get`; the borrow of `self`, which borrows the slice, keeps others away.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(row * self.step + from), len) }
    }

    /// What begins with byte `from` of row `row` and ends `len` bytes behind that of row `last`.
    ///
    /// # Panics
    ///
    /// If these rows are not inside, or in another order.
    #[inline(always)]
    pub fn span(&mut self, row: usize, last: usize, from: usize, len: usize) -> &mut [u8] {
        assert!(row <= last && last < R, "outside");
        assert!(from <= self.width && len <= self.width - from, "outside");
        let len = (last - row) * self.step + len;
        // SAFETY: the bytes from row `row` to the end of row `last` are inside the slice that was checked, and the
        // borrow of `self`, which borrows it, keeps others away.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(row * self.step + from), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_where_they_should_be() {
        let mut bytes: [u8; 32] = core::array::from_fn(|i| i as u8);
        let area = Area::<3>::new(&bytes, 1, 10, 8);
        assert_eq!(area.get(0, 0, 8), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(area.get(2, 6, 2), [27, 28]);
        let mut area = AreaMut::<3>::new(&mut bytes, 1, 10, 8);
        assert_eq!(area.step(), 10);
        area.get(1, 7, 1).fill(99);
        let span = area.span(1, 2, 0, 3);
        assert_eq!((span.len(), span[7], span[10]), (13, 99, 21));
        let span = area.span(1, 2, 6, 2);
        assert_eq!((span.len(), span[1], span[10]), (12, 99, 27));
        assert_eq!(area.span(2, 2, 0, 8).len(), 8);
        assert_eq!(bytes[18], 99);
    }

    #[test]
    #[should_panic(expected = "rows leave the slice")]
    fn areas_are_checked() {
        Area::<3>::new(&[0; 29], 1, 10, 9);
    }

    #[test]
    #[should_panic(expected = "rows leave the slice")]
    fn overflow_is_checked() {
        AreaMut::<3>::new(&mut [0; 29], 1, usize::MAX / 2 + 1, 9);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn rows_are_checked() {
        Area::<2>::new(&[0; 29], 0, 10, 9).get(2, 0, 1);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn widths_are_checked() {
        AreaMut::<2>::new(&mut [0; 29], 0, 10, 9).get(1, 2, 8);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn spans_are_as_wide_as_rows() {
        AreaMut::<2>::new(&mut [0; 29], 0, 10, 9).span(0, 1, 2, 8);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn spans_are_checked() {
        AreaMut::<2>::new(&mut [0; 29], 0, 10, 9).span(1, 0, 0, 8);
    }
}
