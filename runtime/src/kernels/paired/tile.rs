//! The micro-kernel of arranged activations: up to four rows by one or two vectors.

use super::{Arranged, CHANNELS, Order};
use crate::isa::{Isa, Kernel, Runs};
use crate::kernels::conv::Body;
use crate::kernels::gemm::{End, MAX_ROWS, ToEpilogue, ToMemory};
use crate::kernels::indirect::Panel;
use crate::kernels::live::Live;
use core::ops::Range;

/// Multiplies, and passes the sums to their end.
#[inline(always)]
fn multiply<I: Isa, E: End<I>, const MR: usize, const NV: usize>(
    isa: I,
    (x, weights, ahead): (&Arranged, &[i8], &[i8]),
    end: E,
) {
    let mut acc: [[I::I; NV]; MR] =
        core::array::from_fn(|r| core::array::from_fn(|n| end.start(isa, r, n, NV)));
    isa.pairs(&mut acc, &x.0, weights, ahead);
    end.take(isa, &acc);
}

/// A tile whose sums go to memory.
struct Tile<'a, const MR: usize, const NV: usize> {
    operands: (&'a Arranged, &'a [i8], &'a [i8]),
    end: ToMemory<'a>,
}

impl<const MR: usize, const NV: usize> Kernel for Tile<'_, MR, NV> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        multiply::<I, _, MR, NV>(isa, self.operands, self.end);
    }
}

/// Every shape is a function of its own, as those of [`crate::kernels::gemm`].
macro_rules! shapes {
    ($isa:ident, $shape:ident, $operands:ident, $end:ident; $($mr:literal $nv:literal)*) => {
        match $shape {
            $(($mr, $nv) => $isa.enter(Tile::<$mr, $nv> { operands: $operands, end: $end }),)*
            _ => unreachable!("no such tile"),
        }
    };
}

/// Runs a tile of `shape` rows by vectors. `operands`: activations, weights, and what is asked for from memory meanwhile.
#[inline(always)]
pub fn tile<I: Isa>(
    isa: I,
    shape: (usize, usize),
    operands: (&Arranged, &[i8], &[i8]),
    end: ToMemory<'_>,
) {
    if const { I::PAIRS } {
        shapes!(isa, shape, operands, end; 1 1 2 1 3 1 4 1 1 2 2 2 3 2 4 2)
    }
}

/// Whole panels of [`CHANNELS`] output channels with orders, and what tiles of some pixels read and write.
pub struct Panels<'p, 'a, I: Isa> {
    pub body: &'p Body,
    pub panels: &'p [Panel],
    /// Where the panels' weights are, what their sums start from, and what is asked for from memory meanwhile.
    pub packed: &'p [i8],
    pub bias: &'p [i32],
    pub ahead: &'p [i8],
    /// Activations, `steps` blocks in every run.
    pub runs: &'p Runs<'p, MAX_ROWS>,
    pub steps: usize,
    pub arranged: &'p mut Arranged,
    pub live: &'p mut Live<'a, I>,
    /// The pixels, and those of the next tile.
    pub pixels: Range<usize>,
    pub after: Range<usize>,
}

/// One tile of each panel, `MR` rows.
struct TileOfEach<'p, 'a, I: Isa, const MR: usize> {
    isa: I,
    panels: Panels<'p, 'a, I>,
}

impl<I0: Isa, const MR: usize> Kernel for TileOfEach<'_, '_, I0, MR> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, _: I) {
        let isa = self.isa;
        let Panels {
            body,
            panels,
            packed,
            bias,
            mut ahead,
            runs,
            steps,
            arranged,
            live,
            pixels,
            after,
        } = self.panels;
        let mut have: Option<&Order> = None;
        for p in panels {
            let Some(order) = p.order.as_deref() else { continue };
            if !have.is_some_and(|have| core::ptr::eq(have, order)) {
                arranged.put_rows::<I0, MR>(isa, order, runs, (p.depth_start, steps));
                have = Some(order);
            }
            let channel = p.channels.0;
            // One tile ahead: a tile of few products ends before its residual has come.
            live.prefetch(isa, after.clone(), channel, CHANNELS);
            let (bias, multiplier) = (&bias[channel..], &body.multiplier[channel..]);
            let end = ToEpilogue { bias, multiplier, live, pixel: pixels.start, channel };
            let weights = &packed[p.weights.0..][..p.weights.1];
            let asked = if ahead.is_empty() { weights } else { ahead };
            multiply::<I0, _, MR, 2>(isa, (&*arranged, weights, asked), end);
            ahead = ahead.get(p.weights.1..).unwrap_or(&[]);
        }
    }
}

/// Runs a tile of each panel, of two pixels or more, whose sums are finished in registers.
#[inline(always)]
pub fn finished<I: Isa>(isa: I, panels: Panels<'_, '_, I>) {
    if const { I::PAIRS } {
        match panels.pixels.len() {
            2 => isa.enter(TileOfEach::<I, 2> { isa, panels }),
            3 => isa.enter(TileOfEach::<I, 3> { isa, panels }),
            4 => isa.enter(TileOfEach::<I, 4> { isa, panels }),
            _ => unreachable!("no such tile"),
        }
    }
}
