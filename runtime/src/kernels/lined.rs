//! Grouped convolution with groups of one or two vectors of channels and a window of three columns, over lines that are
//! copied side by side.
//!
//! A group's channels fill vectors, as in [`super::indirect`], but there are so few products that finding what a tile
//! reads takes as long as multiplying it. Here a tile is a part of an output row. The input lines of a cache line of
//! channels are copied with their padding, each once, to where the windows of a row's pixels lie at distances that
//! compilers know:
//!
//! ```text
//! line     | padding | pixel 0 | pixel 1 | ...      64 bytes each: two or four groups
//! window              `--- x * stride ---^
//! ```

use super::conv::{Body, Source};
use super::form::Form;
use super::gemm::{AHEAD, rows};
use super::geometry::Geometry;
use super::live::{FAR, LINE, Live};
use super::pack::{Packed, Shelf, panel, panel_bytes};
use super::quads::Pixels;
use super::scale::Scales;
use crate::isa::{Isa, Kernel, copy_strided};
use crate::pages::Pages;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;

/// Rows and columns of a window.
const WINDOW: usize = 3;
/// Most columns of a line: three lines are less than half of the first cache level.
const MOST_COLUMNS: usize = 84;

/// Weights, per group: per window row, column, four channels.
pub(super) struct Weights {
    packed: Packed,
    /// Of those the bytes for a cache line of channels.
    block_bytes: usize,
    /// What sums start from, raised or not.
    starts: Box<[i32]>,
    /// Whether the sums of each group are raised.
    raised: Box<[bool]>,
    /// Pixels of a tile.
    tile: usize,
}

/// Columns that an output row reads.
fn columns(body: &Body) -> usize {
    (body.geometry.output[1] - 1) * body.geometry.stride[1] + WINDOW
}

/// Pixels of a tile: whichever number computes fewer pixels of a row twice, the larger one first. None if a row has fewer
/// pixels, more than a tenth of the pixels are computed twice, or there are no tiles for these groups.
fn tile<I: Isa>(body: &Body) -> Option<usize> {
    // Enough sums that none waits for its last product: ten of one vector took as long as fourteen.
    let sizes: &[usize] = match (I::LANES, body.depth) {
        (16, 16) => &[14],
        (16, 32) => &[10, 7],
        _ => &[],
    };
    let width = body.geometry.output[1];
    let computed = |size: &usize| width.next_multiple_of(*size);
    let best = sizes.iter().copied().filter(|size| *size <= width).min_by_key(computed)?;
    (10 * computed(&best) <= 11 * width).then_some(best)
}

/// Whether there are tiles for some groups.
pub(super) const fn has<I: Isa>() -> bool {
    I::LANES == 16
}

/// Whether the kernel takes this convolution.
pub(super) fn fits<I: Isa>(body: &Body, groups: usize) -> bool {
    let g = &body.geometry;
    has::<I>()
        && groups > 1
        && body.channels_out == groups * body.depth
        && body.channels_out.is_multiple_of(LINE)
        && g.size == [WINDOW; 2]
        && g.dilation == [1; 2]
        && matches!(g.stride[1], 1 | 2)
        && columns(body) <= MOST_COLUMNS
        && tile::<I>(body).is_some()
        && body.finishes_in_registers()
        && body.epilogue.is_one_store_of_i8()
}

impl Weights {
    #[inline(always)]
    pub fn pack<I: Isa>(_: I, body: &Body, source: Source<'_>, shelf: &mut Shelf) -> Self {
        let (depth, taps) = (body.depth, body.geometry.taps());
        let (packed, out) =
            shelf.take(body.channels_out / depth * panel_bytes::<I>(taps, depth, depth / I::LANES));
        let block_bytes = out.len() / (body.channels_out / LINE);
        let mut starts = body.bias.clone();
        let mut raised = alloc::vec![false; body.channels_out / depth];
        let groups = out.chunks_exact_mut(out.len() / raised.len()).zip(&mut raised);
        for (first, (out, raised)) in (0..).step_by(depth).zip(groups) {
            panel::<I>(out, depth / I::LANES, depth, 1, taps * depth, |n, _| {
                source.channel(first + n)
            });
            let channels = first..first + depth;
            *raised = body.raised.serves::<I>(channels.clone());
            if *raised {
                body.raised.raise(&mut starts[channels], |n| first + n);
            }
        }
        let tile = tile::<I>(body).unwrap_or(0);
        Self { packed, block_bytes, starts, raised: raised.into(), tile }
    }

    /// Whether all sums are raised.
    #[cfg(test)]
    pub fn is_raised(&self) -> bool {
        self.raised.iter().all(|raised| *raised)
    }

    pub fn attach(&mut self, shelf: &[Arc<Pages>]) {
        self.packed.attach(shelf);
    }
}

/// A cache line of channels of every column of a line.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line([[u8; LINE]; MOST_COLUMNS]);

/// The last lines that were copied: window row `ky` of output row `y` is number `(y * stride + ky) % WINDOW`.
struct Lines([Line; WINDOW]);

impl Lines {
    /// Copies what output row `row` reads of the channels from `first` on; of that, `have` window rows are there.
    #[inline(always)]
    fn fill(&mut self, body: &Body, input: &[u8], row: usize, have: usize, first: usize) {
        let g = &body.geometry;
        let columns = columns(body);
        let inside = g.padding[1].min(columns)..columns.min(g.padding[1] + g.input[1]);
        for ky in have..WINDOW {
            let line = &mut self.0[(row * g.stride[0] + ky) % WINDOW].0[..columns];
            let Some(y) = g.tap(0, row, ky) else {
                line.fill([body.zero; LINE]);
                continue;
            };
            line[..inside.start].fill([body.zero; LINE]);
            line[inside.end..].fill([body.zero; LINE]);
            let to = line[inside.clone()].as_flattened_mut();
            copy_strided::<LINE>(
                to,
                LINE,
                &self::line(g, input, y)[first..],
                g.pixel_stride,
                inside.len(),
            );
        }
    }
}

/// Computes whole rows of output pixels.
#[inline(always)]
pub(super) fn run<I: Isa>(
    isa: I,
    body: &Body,
    weights: &Weights,
    (input, next): (&[u8], &[i8]),
    mut live: Live<'_, I>,
    range: Range<usize>,
) {
    let g = &body.geometry;
    let width = g.output[1];
    let form = body.epilogue.form(I::BIAS);
    let mut lines = Lines([Line([[0; LINE]; MOST_COLUMNS]); WINDOW]);
    for first in (0..body.channels_out).step_by(LINE) {
        // While a block is computed, the next one comes from memory.
        let later = &weights.packed[(first / LINE + 1) * weights.block_bytes..];
        let ahead = if later.is_empty() { next } else { &later[..weights.block_bytes] };
        let (mut have, mut asked) = (0, 0);
        for y in range.start / width..range.end.div_ceil(width) {
            lines.fill(body, input, y, have, first);
            have = WINDOW.saturating_sub(g.stride[0]);
            let top = y * g.stride[0] % WINDOW;
            let window = [0, 1, 2].map(|ky| &lines.0[(top + ky) % WINDOW].0);
            // What is copied next, if it is not near.
            let far = match g.tap(0, y + 1, WINDOW - 1) {
                Some(y) if input.len() > FAR => line(g, input, y),
                _ => &[],
            };
            let (pixel, ahead) = (y * width, (ahead, &mut asked));
            let row = Row { body, weights, window, pixel, first, ahead, far, live: &mut live };
            run_row(isa, form, row);
        }
        live.after_quads(isa, range.clone(), first, LINE);
    }
}

/// Line `y` of a map; the last one may end with its last channel.
fn line<'a>(g: &Geometry, input: &'a [u8], y: usize) -> &'a [u8] {
    let bytes = g.input[1] * g.pixel_stride;
    let line = &input[y * bytes..];
    &line[..bytes.min(line.len())]
}

/// An output row, and the lines of its windows.
struct Row<'a, 'l, I: Isa> {
    body: &'l Body,
    weights: &'l Weights,
    window: [&'l [[u8; LINE]; MOST_COLUMNS]; WINDOW],
    /// Its first pixel.
    pixel: usize,
    /// First channel.
    first: usize,
    /// What is asked for from memory meanwhile, and how much of it was.
    ahead: (&'l [i8], &'l mut usize),
    /// A line of the map of which the same channels are asked for.
    far: &'l [u8],
    live: &'l mut Live<'a, I>,
}

/// Every shape is a function of its own, as in `gemm`.
#[inline(always)]
fn run_row<I: Isa>(isa: I, form: Form, row: Row<'_, '_, I>) {
    let stride = row.body.geometry.stride[1];
    macro_rules! shapes {
        ($($depth:literal $nv:literal $tile:literal;)*) => {
            match (row.body.depth, row.weights.tile, stride) {
                $(
                    ($depth, $tile, 1) if const { I::LANES * $nv == $depth } => {
                        shape!($depth, $nv, $tile, 1)
                    }
                    ($depth, $tile, 2) if const { I::LANES * $nv == $depth } => {
                        shape!($depth, $nv, $tile, 2)
                    }
                )*
                _ => unreachable!("`fits` admits groups of one or two vectors"),
            }
        };
    }
    macro_rules! shape {
        ($depth:literal, $nv:literal, $tile:literal, $stride:literal) => {{
            const SPAN: usize = ($tile - 1) * $stride * LINE + $depth;
            if form == Form::Relu {
                const FORM: u8 = Form::Relu as u8;
                isa.enter(Tiled::<I, $depth, $nv, $tile, $stride, SPAN, FORM> { isa, row })
            } else {
                const FORM: u8 = Form::Any as u8;
                isa.enter(Tiled::<I, $depth, $nv, $tile, $stride, SPAN, FORM> { isa, row })
            }
        }};
    }
    shapes!(16 1 14; 32 2 10; 32 2 7;);
}

/// Groups have `D` channels, which are `NV` vectors; tiles have `P` pixels, whose windows step by `S` columns, and of
/// which a tap lies in `SPAN` bytes of a line.
struct Tiled<
    'a,
    'l,
    I: Isa,
    const D: usize,
    const NV: usize,
    const P: usize,
    const S: usize,
    const SPAN: usize,
    const FORM: u8,
> {
    isa: I,
    row: Row<'a, 'l, I>,
}

impl<
    I: Isa,
    const D: usize,
    const NV: usize,
    const P: usize,
    const S: usize,
    const SPAN: usize,
    const FORM: u8,
> Kernel for Tiled<'_, '_, I, D, NV, P, S, SPAN, FORM>
{
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, row } = self;
        let Row { body, weights, window, pixel, first, ahead, far, live } = row;
        let g = &body.geometry;
        let (width, step) = (g.output[1], NV * 4 * I::LANES);
        let far = far.get(first..).unwrap_or(&[]);
        let of_tile = g.input[1].div_ceil(width.div_ceil(P) * LINE / D) * g.pixel_stride;
        let mut far = far.chunks(of_tile);
        let of_group = WINDOW * WINDOW * D / 4 * step;
        for start in (0..LINE).step_by(D) {
            let channel = first + start;
            let group = channel / D;
            let packed = &weights.packed[group * of_group..][..of_group];
            let starts = &weights.starts[channel..][..D];
            let offset = weights.raised[group].then(|| body.raised.offset(channel));
            let scales = Scales::new(isa, &body.multiplier[channel..], offset);
            for x in (0..width).step_by(P).map(|x| x.min(width - P)) {
                // Not `[start; P]`: of more than twelve rows that stays a loop.
                let mut acc: [[I::I; NV]; P] = core::array::from_fn(|_| {
                    core::array::from_fn(|n| isa.load_i32(&starts[n * I::LANES..]))
                });
                for pixel in far.next().unwrap_or(&[]).chunks(g.pixel_stride) {
                    isa.prefetch_line(pixel.as_ptr());
                }
                // One loop over all taps: of those of a row compilers see that they share activations, and keep these in
                // memory, spread.
                let taps: [&[u8; SPAN]; WINDOW * WINDOW] = core::array::from_fn(|tap| {
                    let line = &window[tap / WINDOW][x * S + tap % WINDOW..];
                    line.as_flattened()[start..].first_chunk().expect("a tile")
                });
                let asks =
                    ahead.0.get(*ahead.1..).filter(|rest| !rest.is_empty()).unwrap_or(packed);
                *ahead.1 += WINDOW * WINDOW * NV * AHEAD;
                for (tap, (bytes, w)) in
                    taps.iter().zip(packed.chunks_exact(D / 4 * step)).enumerate()
                {
                    for n in 0..NV {
                        isa.prefetch(asks, (tap * NV + n) * AHEAD);
                    }
                    for (quad, w) in w.chunks_exact(step).enumerate() {
                        let bytes = &bytes[4 * quad..];
                        let w: [I::W; NV] =
                            core::array::from_fn(|n| isa.weights(&w[n * 4 * I::LANES..]));
                        for (p, acc) in acc.iter_mut().enumerate() {
                            let x = bytes[p * S * LINE..].first_chunk::<4>();
                            let x = isa.broadcast(x.expect("4 bytes"));
                            for n in 0..NV {
                                acc[n] = isa.dp(acc[n], x, w[n]);
                            }
                        }
                    }
                }
                let ends = Pixels::new(isa, &mut *live, (pixel + x, P), channel, D);
                let Some(mut ends) = ends.in_form::<FORM>() else {
                    unreachable!("another epilogue")
                };
                // Not a loop: compilers do not unroll one of this size, and index the accumulators in memory.
                rows::<I, P, NV, 0>(isa, &acc, &scales, &mut ends);
                rows::<I, P, NV, 1>(isa, &acc, &scales, &mut ends);
                rows::<I, P, NV, 2>(isa, &acc, &scales, &mut ends);
                rows::<I, P, NV, 3>(isa, &acc, &scales, &mut ends);
                rows::<I, P, NV, 4>(isa, &acc, &scales, &mut ends);
            }
        }
    }
}
