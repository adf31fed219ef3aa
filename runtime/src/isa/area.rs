//! Rows of bytes at even distances, checked once for all of them.
//!
//! Epilogues read and write a few bytes in every row of a tile, many times. With a check in every place they spent more
//! instructions on checks and addresses than on values.

use super::Isa;
use core::marker::PhantomData;

/// Rows of `width` bytes that begin `step` bytes apart. Where their number is a constant, so is what is asserted of it.
#[derive(Clone, Copy)]
pub(crate) struct Area<'a> {
    /// All rows, from here, are bytes that live for `'a`.
    start: *const u8,
    rows: usize,
    step: usize,
    width: usize,
    bytes: PhantomData<&'a [u8]>,
}

/// As [`Area`], to be written.
pub(crate) struct AreaMut<'a> {
    start: *mut u8,
    rows: usize,
    step: usize,
    width: usize,
    bytes: PhantomData<&'a mut [u8]>,
}

/// Asserts that there are rows, of `width` bytes, `step` apart, from byte `first` on, all of them among `len` bytes.
#[inline(always)]
fn check(len: usize, rows: usize, first: usize, step: usize, width: usize) {
    assert!(rows > 0, "no rows");
    let rows = step.checked_mul(rows - 1).and_then(|last| last.checked_add(width));
    let end = rows.and_then(|rows| rows.checked_add(first));
    assert!(end.is_some_and(|end| end <= len), "rows leave the slice");
}

impl<'a> Area<'a> {
    /// `rows` rows, the first at byte `first`.
    ///
    /// # Panics
    ///
    /// If there are none, or the last of them leaves `bytes`.
    #[inline(always)]
    pub fn new(bytes: &'a [u8], rows: usize, first: usize, step: usize, width: usize) -> Self {
        check(bytes.len(), rows, first, step, width);
        let start = bytes.as_ptr().wrapping_add(first);
        Self { start, rows, step, width, bytes: PhantomData }
    }

    /// `len` bytes of a row.
    ///
    /// # Panics
    ///
    /// If they are not inside.
    #[inline(always)]
    pub fn get(&self, row: usize, from: usize, len: usize) -> &'a [u8] {
        assert!(row < self.rows && from <= self.width && len <= self.width - from, "outside");
        // SAFETY: row `row` is `row * step` behind the start, and has `width` bytes, which live for `'a`; by the
        // assertion these are among them.
        unsafe { core::slice::from_raw_parts(self.start.add(row * self.step + from), len) }
    }
}

impl Area<'_> {
    /// Asks for byte `at` of a row, which may be behind the last.
    #[inline(always)]
    pub fn prefetch<I: Isa>(&self, isa: I, row: usize, at: usize) {
        isa.prefetch_line(self.start.wrapping_add(row.wrapping_mul(self.step) + at));
    }
}

impl<'a> AreaMut<'a> {
    /// As [`Area::new`].
    #[inline(always)]
    pub fn new(bytes: &'a mut [u8], rows: usize, first: usize, step: usize, width: usize) -> Self {
        check(bytes.len(), rows, first, step, width);
        let start = bytes.as_mut_ptr().wrapping_add(first);
        Self { start, rows, step, width, bytes: PhantomData }
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
        assert!(row < self.rows && from <= self.width && len <= self.width - from, "outside");
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
        assert!(row <= last && last < self.rows, "outside");
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
        let area = Area::new(&bytes, 3, 1, 10, 8);
        assert_eq!(area.get(0, 0, 8), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(area.get(2, 6, 2), [27, 28]);
        let mut area = AreaMut::new(&mut bytes, 3, 1, 10, 8);
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
        Area::new(&[0; 29], 3, 1, 10, 9);
    }

    #[test]
    #[should_panic(expected = "no rows")]
    fn there_are_rows() {
        Area::new(&[0; 29], 0, 1, 10, 9);
    }

    #[test]
    #[should_panic(expected = "rows leave the slice")]
    fn overflow_is_checked() {
        AreaMut::new(&mut [0; 29], 3, 1, usize::MAX / 2 + 1, 9);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn rows_are_checked() {
        Area::new(&[0; 29], 2, 0, 10, 9).get(2, 0, 1);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn widths_are_checked() {
        AreaMut::new(&mut [0; 29], 2, 0, 10, 9).get(1, 2, 8);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn spans_are_as_wide_as_rows() {
        AreaMut::new(&mut [0; 29], 2, 0, 10, 9).span(0, 1, 2, 8);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn spans_are_checked() {
        AreaMut::new(&mut [0; 29], 2, 0, 10, 9).span(1, 0, 0, 8);
    }
}
