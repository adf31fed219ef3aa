//! The micro-kernel of arranged activations: up to four rows by one or two vectors.

use super::{Arranged, CHANNELS, Order};
use crate::isa::{Isa, Kernel, Runs};
use crate::kernels::conv::Body;
use crate::kernels::gemm::{End, MAX_ROWS, ToEpilogue, ToMemory};
use crate::kernels::indirect::Panel;
use crate::kernels::live::Live;
use core::ops::Range;

/// A tile and the end of its sums.
struct Tile<'a, I: Isa, E, const MR: usize, const NV: usize> {
    isa: I,
    x: &'a Arranged,
    weights: &'a [i8],
    ahead: &'a [i8],
    end: E,
}

impl<I0: Isa, E: End<I0>, const MR: usize, const NV: usize> Kernel for Tile<'_, I0, E, MR, NV> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, _: I) {
        let Self { isa, x, weights, ahead, end } = self;
        let mut acc: [[I0::I; NV]; MR] =
            core::array::from_fn(|r| core::array::from_fn(|n| end.start(isa, r, n, NV)));
        isa.pairs(&mut acc, &x.0, weights, ahead);
        end.take(isa, &acc);
    }
}

/// Every shape is a function of its own, as those of [`crate::kernels::gemm`].
macro_rules! shapes {
    ($isa:ident, $shape:ident, $operands:ident, $end:ident; $($mr:literal $nv:literal)*) => {
        match $shape {
            $(($mr, $nv) => {
                let (x, weights, ahead) = $operands;
                $isa.enter(Tile::<_, _, $mr, $nv> { isa: $isa, x, weights, ahead, end: $end });
            })*
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
            let mut acc: [[I0::I; 2]; MR] =
                core::array::from_fn(|r| core::array::from_fn(|n| end.start(isa, r, n, 2)));
            let weights = &packed[p.weights.0..][..p.weights.1];
            isa.pairs(
                &mut acc,
                &arranged.0,
                weights,
                if ahead.is_empty() { weights } else { ahead },
            );
            end.take(isa, &acc);
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
