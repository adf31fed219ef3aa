//! The micro-kernel: up to four rows by one or two vectors.

use super::{CHANNELS, Rows};
use crate::isa::{Isa, Kernel, PairPanel, Runs};
use crate::kernels::conv::Body;
use crate::kernels::gemm::{self, End, MAX_ROWS, ToMemory};
use crate::kernels::indirect::Panel;
use crate::kernels::live::{FarResidual, LINE, Live};
use crate::kernels::quads::Pixels;
use core::ops::Range;

/// Activations, weights, and what is asked for from memory meanwhile.
pub type Operands<'a> = (&'a Rows, PairPanel<'a>, &'a [i8]);

/// What a tile asks for is one part of so many of what it reads.
pub const ASKS: usize = 4;

/// A tile whose sums go to memory.
struct Tile<'a, const MR: usize, const NV: usize> {
    operands: Operands<'a>,
    end: ToMemory<'a>,
}

impl<const MR: usize, const NV: usize> Kernel for Tile<'_, MR, NV> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Self { operands: (rows, panel, ahead), end } = self;
        let mut acc: [[I::I; NV]; MR] =
            core::array::from_fn(|r| core::array::from_fn(|n| end.start(isa, r, n, NV)));
        isa.pairs(&mut acc, &rows.0, &panel, ahead);
        end.take(isa, &acc);
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

/// Runs a tile of `shape` rows by vectors.
#[inline(always)]
pub fn tile<I: Isa>(isa: I, shape: (usize, usize), operands: Operands<'_>, end: ToMemory<'_>) {
    if const { I::PAIRS } {
        shapes!(isa, shape, operands, end; 1 1 2 1 3 1 4 1 1 2 2 2 3 2 4 2)
    }
}

/// Whole panels of [`CHANNELS`] output channels in pairs, and what tiles of some pixels read and write.
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
    /// Room for them as unsigned ones.
    pub rows: &'p mut Rows,
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
        let Panels { body, panels, packed, bias, ahead, runs, steps, rows, live, pixels, after } =
            self.panels;
        let (Some(first), Some(last)) = (panels.first(), panels.last()) else { return };
        let channels = first.channels.0..last.channels.1;
        let shared = Shared { body, panels, packed, bias, ahead, runs, steps, after };
        let far = live.far_residual();
        let ends =
            Pixels::<I0, MR>::new(isa, &mut *live, pixels.start, channels.start, channels.len());
        // What comes most often is compiled alone.
        if !ends.is_bytes() {
            each(isa, shared, rows, far, ends);
            live.after_quads(isa, pixels, channels.start, channels.len());
        } else if ends.has_residual() {
            if let Some(ends) = ends.bytes(true) {
                each(isa, shared, rows, far, ends);
            }
        } else if let Some(ends) = ends.bytes(false) {
            each(isa, shared, rows, None, ends);
        }
    }
}

/// What does not depend on the epilogue.
struct Shared<'p> {
    body: &'p Body,
    panels: &'p [Panel],
    packed: &'p [i8],
    bias: &'p [i32],
    ahead: &'p [i8],
    runs: &'p Runs<'p, MAX_ROWS>,
    steps: usize,
    after: Range<usize>,
}

#[inline(always)]
fn each<I: Isa, const MR: usize>(
    isa: I,
    shared: Shared<'_>,
    rows: &mut Rows,
    far: Option<FarResidual<'_>>,
    mut ends: Pixels<'_, I, MR>,
) {
    let Shared { body, panels, packed, bias, mut ahead, runs, steps, after } = shared;
    let start = panels[0].channels.0;
    let mut have = None;
    for p in panels {
        let Some(paired) = &p.paired else { continue };
        let panel = paired.panel(&packed[p.weights.0..][..p.weights.1]);
        if have != Some(p.depth_start) {
            rows.put_rows::<MR>(runs, (p.depth_start, steps));
            have = Some(p.depth_start);
        }
        let channel = p.channels.0;
        if let Some(far) = far.filter(|_| (channel - start).is_multiple_of(LINE)) {
            // One tile ahead: a tile of few products ends before its residual has come.
            far.prefetch(isa, after.clone(), channel, LINE);
        }
        let bias: [I::I; 2] = vectors(&bias[channel..]).map(|bias| isa.load_i32(bias));
        let scale: [I::F; 2] = vectors(&body.multiplier[channel..]).map(|m| isa.load_f32(m));
        let mut acc = [bias; MR];
        let asked = if ahead.is_empty() { panel.weights } else { ahead };
        isa.pairs(&mut acc, &rows.0, &panel, asked);
        ahead = ahead.get(p.weights.1 / ASKS..).unwrap_or(&[]);
        ends.begin_with(channel - start);
        gemm::rows::<I, MR, 2, 0>(isa, &acc, &scale, &mut ends);
        gemm::rows::<I, MR, 2, 1>(isa, &acc, &scale, &mut ends);
    }
}

/// Two vectors of [`CHANNELS`] values.
#[inline(always)]
fn vectors<T>(values: &[T]) -> [&[T]; 2] {
    let (first, second) = values[..CHANNELS].split_at(CHANNELS / 2);
    [first, second]
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
