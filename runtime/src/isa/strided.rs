//! Evenly spaced pieces of a slice, with one bounds check for all.

use core::ops::Range;

/// `N` pieces of 16 bytes that begin `step` bytes apart.
///
/// With a check for each piece, which the compiler cannot merge because `step` is a variable, the grouped convolution
/// spent more instructions on checks than on products (`rates`, g32 3x3 128 @56).
///
/// # Panics
///
/// If the last piece leaves `bytes`.
#[inline(always)]
pub(crate) fn strided<const N: usize>(bytes: &[u8], step: usize) -> [&[u8; 16]; N] {
    let end = step.checked_mul(N - 1).and_then(|last| last.checked_add(16));
    assert!(end.is_some_and(|end| end <= bytes.len()), "pieces leave the slice");
    core::array::from_fn(|i| {
        // SAFETY: `i <= N - 1`, so `i * step + 16` does not overflow and is at most `bytes.len()`, by the assertion;
        // any 16 initialised bytes are a `[u8; 16]`, which has no alignment.
        unsafe { &*bytes.as_ptr().add(i * step).cast() }
    })
}

/// `N` neighbouring pieces of 16 bytes `step` bytes apart: those of `inside` are in `bytes`, which begin with the first
/// of them; the others are `outside`.
///
/// # Panics
///
/// If the last piece of `inside` leaves `bytes`, or is not one of the `N`.
#[inline(always)]
pub(crate) fn strided_inside<'a, const N: usize>(
    bytes: &'a [u8],
    step: usize,
    inside: Range<usize>,
    outside: &'a [u8; 16],
) -> [&'a [u8; 16]; N] {
    let end =
        step.checked_mul(inside.len().saturating_sub(1)).and_then(|last| last.checked_add(16));
    assert!(
        inside.is_empty() || (inside.end <= N && end.is_some_and(|end| end <= bytes.len())),
        "pieces leave the slice"
    );
    let first = bytes.as_ptr().wrapping_sub(inside.start.wrapping_mul(step));
    core::array::from_fn(|i| {
        let piece = first.wrapping_add(i.wrapping_mul(step));
        let piece = if i >= inside.start && i < inside.end { piece } else { outside.as_ptr() };
        // SAFETY: `i` of `inside` is `(i - inside.start) * step` behind the begin of `bytes`, and 16 bytes from there
        // are inside, by the assertion; any 16 initialised bytes are a `[u8; 16]`, which has no alignment.
        unsafe { &*piece.cast() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_where_they_should_be() {
        let bytes: [u8; 64] = core::array::from_fn(|i| i as u8);
        let pieces: [&[u8; 16]; 4] = strided(&bytes, 16);
        assert_eq!(pieces.map(|p| p[0]), [0, 16, 32, 48]);
        assert_eq!(strided::<3>(&bytes, 24).map(|p| p[15]), [15, 39, 63]);
        assert_eq!(strided::<2>(&bytes[..16], 0).map(|p| p[15]), [15, 15]);
    }

    #[test]
    fn pieces_outside_are_the_other_ones() {
        let bytes: [u8; 64] = core::array::from_fn(|i| i as u8);
        let pieces = strided_inside::<5>(&bytes[8..], 10, 1..4, &[99; 16]);
        assert_eq!(pieces.map(|p| p[15]), [99, 23, 33, 43, 99]);
        assert_eq!(strided_inside::<2>(&[], 10, 2..2, &[99; 16]).map(|p| p[0]), [99; 2]);
    }

    #[test]
    #[should_panic(expected = "pieces leave the slice")]
    fn pieces_inside_are_checked() {
        let _ = strided_inside::<5>(&[0; 35], 10, 1..4, &[99; 16]);
    }

    #[test]
    #[should_panic(expected = "pieces leave the slice")]
    fn there_are_no_more_pieces_than_asked_for() {
        let _ = strided_inside::<3>(&[0; 64], 10, 1..4, &[99; 16]);
    }

    #[test]
    #[should_panic(expected = "pieces leave the slice")]
    fn the_last_piece_is_checked() {
        let _ = strided::<3>(&[0; 63], 24);
    }

    #[test]
    #[should_panic(expected = "pieces leave the slice")]
    fn overflow_is_checked() {
        let _ = strided::<3>(&[0; 63], usize::MAX / 2 + 8);
    }
}
