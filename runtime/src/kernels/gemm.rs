//! The micro-kernel: a tile of `MR` output pixels by `NV` vectors of output channels.
//!
//! Activations are rows of bytes found through offsets, one per output pixel and window tap; weights are packed by
//! [`super::pack`]. A step takes 16 bytes of every row; the four lanes of four bytes are written out, because in a loop
//! compilers leave the accumulators in memory. Rows whose length is no multiple of 16 end with single lanes, in a
//! variant of the tile: with both loops in one function accumulators were spilled and the rate fell from 86 to 63 % of
//! the peak (`rates`, 3x3 128-128 @28). Tested through `conv`.

use crate::isa::{Isa, Kernel};

/// Most rows of a tile on any instruction set.
pub(super) const MAX_ROWS: usize = 14;
/// Most accumulators of a tile on any instruction set.
pub(super) const MAX_TILE: usize = 14 * 32;
/// The offset of a tap outside the map: its row is the padding row.
pub(super) const OUTSIDE: u32 = u32::MAX;

/// Offsets into the input of one tap for the rows of a tile.
pub(super) type Tap = [u32; MAX_ROWS];

/// Arguments of a tile.
pub(super) struct Args<'a> {
    /// The input tensor with its slack.
    pub input: &'a [u8],
    /// The row read for [`OUTSIDE`].
    pub padding: &'a [u8],
    /// One entry per tap.
    pub taps: &'a [Tap],
    /// Added to every offset: first channel of the group.
    pub channel: usize,
    /// Steps of 16 bytes per tap.
    pub steps: usize,
    /// Lanes of 4 bytes behind them, 0 to 3.
    pub lanes: usize,
    /// Panel: per tap `4 * steps + lanes` times `NV` vectors.
    pub weights: &'a [i8],
    /// Where the sums start, `NV * LANES` values; none: at what `acc` holds.
    pub bias: Option<&'a [i32]>,
    /// `[MR, NV * LANES]` sums.
    pub acc: &'a mut [i32],
}

/// `TAIL`: whether there are `lanes`.
struct Tile<'a, const MR: usize, const NV: usize, const TAIL: bool>(Args<'a>);

impl<const MR: usize, const NV: usize, const TAIL: bool> Kernel for Tile<'_, MR, NV, TAIL> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Args { input, padding, taps, channel, steps, lanes, mut weights, bias, acc: out } =
            self.0;
        let vector = 4 * I::LANES;
        let mut acc = [[isa.splat(0); NV]; MR];
        for (r, row) in acc.iter_mut().enumerate() {
            for (n, a) in row.iter_mut().enumerate() {
                *a = match bias {
                    Some(bias) => isa.load_i32(&bias[n * I::LANES..]),
                    None => isa.load_i32(&out[(r * NV + n) * I::LANES..]),
                };
            }
        }
        for tap in taps {
            let (panel, rest) = weights.split_at((4 * steps + lanes) * NV * vector);
            let (full, tail) = panel.split_at(4 * steps * NV * vector);
            weights = rest;
            let rows: [&[u8]; MR] = core::array::from_fn(|r| match tap[r] {
                OUTSIDE => padding,
                offset => &input[offset as usize + channel..],
            });
            let whole: [&[[u8; 16]]; MR] =
                core::array::from_fn(|r| &rows[r].as_chunks::<16>().0[..steps]);
            for (k, w) in full.chunks_exact(4 * NV * vector).take(steps).enumerate() {
                let x: [I::A<'_>; MR] = core::array::from_fn(|r| isa.acts(&whole[r][k]));
                step::<I, MR, NV, 0>(isa, &mut acc, &x, &w[..NV * vector]);
                step::<I, MR, NV, 1>(isa, &mut acc, &x, &w[NV * vector..2 * NV * vector]);
                step::<I, MR, NV, 2>(isa, &mut acc, &x, &w[2 * NV * vector..3 * NV * vector]);
                step::<I, MR, NV, 3>(isa, &mut acc, &x, &w[3 * NV * vector..]);
            }
            if TAIL {
                let rest: [&[[u8; 4]]; MR] = core::array::from_fn(|r| {
                    &rows[r][16 * steps..].as_chunks::<4>().0[..lanes + 3]
                });
                for (k, w) in tail.chunks_exact(NV * vector).take(lanes).enumerate() {
                    let x: [I::A<'_>; MR] = core::array::from_fn(|r| {
                        let quads = rest[r][k..].first_chunk::<4>();
                        isa.acts(quads.expect("slack").as_flattened().try_into().expect("16 bytes"))
                    });
                    step::<I, MR, NV, 0>(isa, &mut acc, &x, w);
                }
            }
        }
        for (r, row) in acc.iter().enumerate() {
            for (n, a) in row.iter().enumerate() {
                isa.store_i32(*a, &mut out[(r * NV + n) * I::LANES..]);
            }
        }
    }
}

#[inline(always)]
fn step<I: Isa, const MR: usize, const NV: usize, const L: usize>(
    isa: I,
    acc: &mut [[I::I; NV]; MR],
    x: &[I::A<'_>; MR],
    w: &[i8],
) {
    let w: [I::W; NV] = core::array::from_fn(|n| isa.weights(&w[n * 4 * I::LANES..]));
    for (row, x) in acc.iter_mut().zip(x) {
        let x = isa.lane::<L>(*x);
        for (a, w) in row.iter_mut().zip(w) {
            *a = isa.dp(*a, x, w);
        }
    }
}

/// Runs a tile of `rows` (at most `I::MR`) by `vectors` (1 or `I::NV`).
///
/// Every shape is a function of its own: registers are allocated for it alone, and its assembly can be looked at.
#[inline(always)]
pub(super) fn tile<I: Isa>(isa: I, rows: usize, vectors: usize, args: Args<'_>) {
    // `const` blocks keep shapes that the instruction set lacks from being compiled at all.
    macro_rules! shapes {
        ($nv:literal: $($mr:literal)*) => {
            match rows {
                $($mr => if const { I::MR >= $mr && (I::NV == $nv || $nv == 1) } {
                    if args.lanes == 0 {
                        isa.enter(Tile::<$mr, $nv, false>(args))
                    } else {
                        isa.enter(Tile::<$mr, $nv, true>(args))
                    }
                } else {
                    unreachable!("a tile has 1..=MR rows")
                })*
                _ => unreachable!("a tile has 1..=MR rows"),
            }
        };
    }
    if vectors == 1 {
        shapes!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    } else if I::NV == 2 {
        shapes!(2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    } else {
        shapes!(4: 1 2 3 4)
    }
}
