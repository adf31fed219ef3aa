//! Evenly spaced pieces of a slice, with one bounds check for all.

use core::ops::Range;

/// `N` pieces of `K` bytes that begin `step` bytes apart.
///
/// With a check for each piece, which the compiler cannot merge because `step` is a variable, the grouped convolution
/// spent more instructions on checks than on products (`rates`, g32 3x3 128 @56).
///
/// # Panics
///
/// If the last piece leaves `bytes`.
#[inline(always)]
pub(crate) fn strided<const N: usize, const K: usize>(bytes: &[u8], step: usize) -> [&[u8; K]; N] {
    let end = step.checked_mul(N - 1).and_then(|last| last.checked_add(K));
    assert!(end.is_some_and(|end| end <= bytes.len()), "pieces leave the slice");
    core::array::from_fn(|i| {
        // SAFETY: `i <= N - 1`, so `i * step + K` does not overflow and is at most `bytes.len()`, by the assertion;
        // any K initialised bytes are a `[u8; K]`, which has no alignment.
        unsafe { &*bytes.as_ptr().add(i * step).cast() }
    })
}

/// `N` neighbouring pieces of `K` bytes `step` bytes apart: those of `inside` are in `bytes`, which begin with the first
/// of them; the others are `outside`.
///
/// # Panics
///
/// If the last piece of `inside` leaves `bytes`, or is not one of the `N`.
#[inline(always)]
pub(crate) fn strided_inside<'a, const N: usize, const K: usize>(
    bytes: &'a [u8],
    step: usize,
    inside: Range<usize>,
    outside: &'a [u8; K],
) -> [&'a [u8; K]; N] {
    let end = step.checked_mul(inside.len().saturating_sub(1)).and_then(|last| last.checked_add(K));
    assert!(
        inside.is_empty() || (inside.end <= N && end.is_some_and(|end| end <= bytes.len())),
        "pieces leave the slice"
    );
    let first = bytes.as_ptr().wrapping_sub(inside.start.wrapping_mul(step));
    core::array::from_fn(|i| {
        let piece = first.wrapping_add(i.wrapping_mul(step));
        let piece = if i >= inside.start && i < inside.end { piece } else { outside.as_ptr() };
        // SAFETY: `i` of `inside` is `(i - inside.start) * step` behind the begin of `bytes`, and K bytes from there
        // are inside, by the assertion; any K initialised bytes are a `[u8; K]`, which has no alignment.
        unsafe { &*piece.cast() }
    })
}

/// Copies `N` bytes `count` times, from places `from_step` bytes apart to places `step` bytes apart.
///
/// # Panics
///
/// If the last piece leaves `from` or `to`.
#[inline(always)]
pub(crate) fn copy_strided<const N: usize>(
    to: &mut [u8],
    step: usize,
    from: &[u8],
    from_step: usize,
    count: usize,
) {
    let end =
        |step: usize| step.checked_mul(count.saturating_sub(1)).and_then(|x| x.checked_add(N));
    assert!(
        count == 0
            || (end(step).is_some_and(|end| end <= to.len())
                && end(from_step).is_some_and(|end| end <= from.len())),
        "pieces leave the slice"
    );
    for i in 0..count {
        // SAFETY: `i < count`, so both places and the `N` bytes from there are inside their slices, by the assertion;
        // the slices do not overlap, since one of them is borrowed mutably. Arrays of bytes have no alignment.
        unsafe {
            let piece: [u8; N] = from.as_ptr().add(i * from_step).cast::<[u8; N]>().read();
            to.as_mut_ptr().add(i * step).cast::<[u8; N]>().write(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_where_they_should_be() {
        let bytes: [u8; 64] = core::array::from_fn(|i| i as u8);
        let pieces: [&[u8; 16]; 4] = strided(&bytes, 16);
        assert_eq!(pieces.map(|p| p[0]), [0, 16, 32, 48]);
        assert_eq!(strided::<3, 16>(&bytes, 24).map(|p| p[15]), [15, 39, 63]);
        assert_eq!(strided::<2, 16>(&bytes[..16], 0).map(|p| p[15]), [15, 15]);
    }

    #[test]
    fn pieces_outside_are_the_other_ones() {
        let bytes: [u8; 64] = core::array::from_fn(|i| i as u8);
        let pieces = strided_inside::<5, 16>(&bytes[8..], 10, 1..4, &[99; 16]);
        assert_eq!(pieces.map(|p| p[15]), [99, 23, 33, 43, 99]);
        assert_eq!(strided_inside::<2, 16>(&[], 10, 2..2, &[99; 16]).map(|p| p[0]), [99; 2]);
    }

    #[test]
    #[should_panic(expected = "pieces leave the slice")]
    fn pieces_inside_are_checked() {
        let _ = strided_inside::<5, 16>(&[0; 35], 10, 1..4, &[99; 16]);
    }

    #[test]
    #[should_panic(expected = "pieces leave the slice")]
    fn there_are_no_more_pieces_than_asked_for() {
        let _ = strided_inside::<3, 16>(&[0; 64], 10, 1..4, &[99; 16]);
    }

    #[test]
    #[should_panic(expected = "pieces leave the slice")]
    fn the_last_piece_is_checked() {
        let _ = strided::<3, 16>(&[0; 63], 24);
    }

    #[test]
    fn copies_are_where_they_should_be() {
        let from: [u8; 20] = core::array::from_fn(|i| i as u8);
        let mut to = [99; 12];
        copy_strided::<2>(&mut to, 5, &from, 9, 3);
        assert_eq!(to, [0, 1, 99, 99, 99, 9, 10, 99, 99, 99, 18, 19]);
        copy_strided::<2>(&mut [], 5, &from, 9, 0);
    }

    #[test]
    #[should_panic(expected = "pieces leave the slice")]
    fn copies_stay_inside_the_source() {
        copy_strided::<4>(&mut [0; 64], 4, &[0; 21], 9, 3);
    }

    #[test]
    #[should_panic(expected = "pieces leave the slice")]
    fn copies_stay_inside_the_target() {
        copy_strided::<4>(&mut [0; 21], 9, &[0; 64], 4, 3);
    }

    #[test]
    #[should_panic(expected = "pieces leave the slice")]
    fn overflow_is_checked() {
        let _ = strided::<3, 16>(&[0; 63], usize::MAX / 2 + 8);
    }
}
