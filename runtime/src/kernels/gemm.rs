//! The micro-kernel: a tile of `MR` output pixels by `NV` vectors of output channels.
//!
//! Activations are [`Runs`] of bytes, some for every output pixel; weights are packed by [`super::pack`]. A step takes
//! 16 bytes of every row; the four lanes of four bytes are written out, because in a loop compilers leave the
//! accumulators in memory. Runs whose length is no multiple of 16 end with single lanes, in a variant of the tile: with
//! both loops in one function accumulators were spilled and the rate fell from 86 to 63 % of the peak (`rates`,
//! 3x3 128-128 @28). Tested through `conv`.

use super::quads::Pixels;
use super::scale::Scales;
use crate::isa::{Isa, Kernel, Runs};

/// Most rows of a tile on any instruction set.
pub(super) const MAX_ROWS: usize = 14;
/// Bytes that a step asks for: a quarter of the weights that it reads on the widest instruction set.
pub(super) const AHEAD: usize = 128;
/// Most accumulators of a tile on any instruction set.
pub(super) const MAX_TILE: usize = 14 * 32;

/// Arguments of a tile.
pub(super) struct Args<'a> {
    /// What the rows read.
    pub runs: &'a Runs<'a, MAX_ROWS>,
    /// First byte of every run: first channel of the group.
    pub channel: usize,
    /// Steps of 16 bytes per run.
    pub steps: usize,
    /// Lanes of 4 bytes behind them, 0 to 3.
    pub lanes: usize,
    /// Panel: per run `4 * steps + lanes` times `NV` vectors.
    pub weights: &'a [i8],
    /// What is asked for from memory meanwhile: [`AHEAD`] bytes in every step.
    pub ahead: &'a [i8],
}

/// Leaves the sums in memory, `[MR, NV * LANES]`.
pub(super) struct ToMemory<'a> {
    /// Where they start, `NV * LANES` values; none: at what `sums` holds.
    pub bias: Option<&'a [i32]>,
    pub sums: &'a mut [i32],
}

impl ToMemory<'_> {
    /// What the sums of row `row`, vector `n` of `nv`, start from.
    #[inline(always)]
    pub fn start<I: Isa>(&self, isa: I, row: usize, n: usize, nv: usize) -> I::I {
        match self.bias {
            Some(bias) => isa.load_i32(&bias[n * I::LANES..]),
            None => isa.load_i32(&self.sums[(row * nv + n) * I::LANES..]),
        }
    }

    /// Takes the sums.
    #[inline(always)]
    pub fn take<I: Isa, const MR: usize, const NV: usize>(self, isa: I, acc: &[[I::I; NV]; MR]) {
        let sums = &mut self.sums[..MR * NV * I::LANES];
        for (sums, a) in sums.chunks_exact_mut(I::LANES).zip(acc.as_flattened()) {
            isa.store_i32(*a, sums);
        }
    }
}

/// Finishes the `Q`th four vectors.
#[inline(always)]
pub(super) fn rows<I: Isa, const MR: usize, const NV: usize, const Q: usize>(
    isa: I,
    acc: &[[I::I; NV]; MR],
    scales: &Scales<I, NV>,
    pixels: &mut Pixels<'_, I>,
) {
    let per_quad = const { 4 / NV };
    let first = Q * per_quad;
    if NV == 1 && first < MR && MR >= 4 {
        // The last four move back and finish some rows again.
        let first = first.min(MR.saturating_sub(4));
        let quad = [acc[first][0], acc[first + 1][0], acc[first + 2][0], acc[first + 3][0]];
        pixels.quad::<NV>(isa, scales.values(isa, quad), first, first + 3);
    } else if NV > 1 && first < MR {
        // An odd row at the end is finished twice.
        let last = (first + per_quad - 1).min(MR - 1);
        let quad = [acc[first][0], acc[first][1 % NV], acc[last][2 % NV], acc[last][3 % NV]];
        pixels.quad::<NV>(isa, scales.values(isa, quad), first, last);
    }
}

/// A tile whose sums go to memory. `TAIL`: whether there are `lanes`.
struct Tile<'a, const MR: usize, const NV: usize, const TAIL: bool>(Args<'a>, ToMemory<'a>);

impl<const MR: usize, const NV: usize, const TAIL: bool> Kernel for Tile<'_, MR, NV, TAIL> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Self(args, end) = self;
        let mut acc: [[I::I; NV]; MR] =
            core::array::from_fn(|r| core::array::from_fn(|n| end.start(isa, r, n, NV)));
        products::<I, MR, NV, TAIL>(isa, &mut acc, args);
        end.take(isa, &acc);
    }
}

/// Adds the products of a tile. `TAIL`: whether there are `lanes`.
#[inline(always)]
fn products<I: Isa, const MR: usize, const NV: usize, const TAIL: bool>(
    isa: I,
    acc: &mut [[I::I; NV]; MR],
    args: Args<'_>,
) {
    let Args { runs, channel, steps, lanes, mut weights, ahead } = args;
    let mut asked = 0;
    let vector = 4 * I::LANES;
    for run in 0..runs.count() {
        let (panel, rest) = weights.split_at((4 * steps + lanes) * NV * vector);
        let (full, tail) = panel.split_at(4 * steps * NV * vector);
        weights = rest;
        let whole: [&[[u8; 16]]; MR] = runs.pieces(run, channel, steps);
        asked = whole_steps(isa, acc, &whole, full, (ahead, asked));
        if TAIL {
            let rest: [&[[u8; 4]]; MR] = runs.pieces(run, channel + 16 * steps, lanes + 3);
            for (k, w) in tail.chunks_exact(NV * vector).take(lanes).enumerate() {
                let x: [I::A<'_>; MR] = core::array::from_fn(|r| {
                    let quads = rest[r][k..].first_chunk::<4>();
                    isa.acts(quads.expect("4 more").as_flattened().try_into().expect("16"))
                });
                step::<I, MR, NV, 0>(isa, acc, &x, w);
            }
        }
    }
}

/// How far ahead of its products a single row asks for weights, in bytes: there is no other row to wait for them with.
const STREAM: usize = 8 << 10;

/// Adds the products of a run of whole steps. `ahead` is what is asked for meanwhile, and from where on: gives back where
/// the next run goes on.
#[inline(always)]
pub(super) fn whole_steps<I: Isa, const MR: usize, const NV: usize>(
    isa: I,
    acc: &mut [[I::I; NV]; MR],
    x: &[&[[u8; 16]]; MR],
    weights: &[i8],
    (ahead, asked): (&[i8], usize),
) -> usize {
    let (steps, vector) = (x[0].len(), 4 * I::LANES);
    for (k, w) in weights.chunks_exact(4 * NV * vector).take(steps).enumerate() {
        let x: [I::A<'_>; MR] = core::array::from_fn(|r| isa.acts(&x[r][k]));
        isa.prefetch(ahead, asked + k * AHEAD);
        if MR == 1 {
            for at in (0..4 * NV * vector).step_by(AHEAD) {
                isa.prefetch(w, STREAM + at);
            }
        }
        step::<I, MR, NV, 0>(isa, acc, &x, &w[..NV * vector]);
        step::<I, MR, NV, 1>(isa, acc, &x, &w[NV * vector..2 * NV * vector]);
        step::<I, MR, NV, 2>(isa, acc, &x, &w[2 * NV * vector..3 * NV * vector]);
        step::<I, MR, NV, 3>(isa, acc, &x, &w[3 * NV * vector..]);
    }
    asked + steps * AHEAD
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

/// The tiles of every instruction set: rows by vectors. Every shape is a function of its own: registers are allocated
/// for it alone, and its assembly can be looked at. `const` blocks keep shapes that the set lacks from being compiled.
macro_rules! shapes {
    ($tail:tt, $isa:ident, $rows:ident, $vectors:ident, $args:ident, $end:ident;
        $($nv:literal: $($mr:literal)*;)*) => {
        match ($rows, $vectors) {
            $($(($mr, $nv) => if const { has::<I>($mr, $nv) } {
                $isa.enter(Tile::<$mr, $nv, $tail>($args, $end))
            } else {
                unreachable!("no such tile")
            })*)*
            _ => unreachable!("no such tile"),
        }
    };
}

/// Most rows of a tile of `vectors`.
pub(super) const fn most_rows<I: Isa>(vectors: usize) -> usize {
    if vectors > I::NV { I::WIDE } else { I::MR }
}

/// Whether [`tile`] has a shape.
const fn has<I: Isa>(rows: usize, vectors: usize) -> bool {
    (rows <= I::MR && (vectors == 1 || vectors == I::NV)) || (vectors == 4 && rows <= I::WIDE)
}

/// Whether [`super::panels::finished`] has a shape: the large ones. Each is a large function, so there are none with
/// lanes.
pub(super) const fn finishes<I: Isa>(rows: usize, vectors: usize) -> bool {
    if !I::FINISHES {
        false
    } else if vectors == I::NV || vectors == 1 {
        2 * rows >= I::MR && rows <= I::MR && (vectors > 1 || rows >= 4)
    } else {
        vectors == 4 && rows <= I::WIDE
    }
}

/// Runs a tile of `rows` by `vectors`, as [`has`] says.
#[inline(always)]
pub(super) fn tile<I: Isa>(
    isa: I,
    (rows, vectors): (usize, usize),
    args: Args<'_>,
    end: ToMemory<'_>,
) {
    if args.lanes == 0 {
        tile_of::<I, false>(isa, (rows, vectors), args, end);
    } else {
        tile_of::<I, true>(isa, (rows, vectors), args, end);
    }
}

#[inline(always)]
fn tile_of<I: Isa, const TAIL: bool>(
    isa: I,
    (rows, vectors): (usize, usize),
    args: Args<'_>,
    end: ToMemory<'_>,
) {
    shapes!(TAIL, isa, rows, vectors, args, end;
        1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14;
        2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14;
        4: 1 2 3 4 5 6;
    )
}
