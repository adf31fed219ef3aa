//! First layers: ungrouped convolution of images, three or four channels, to at most four vectors of channels, with windows
//! read where they are.
//!
//! A row of a window lies in the map without a gap; its bytes are multiplied four at a time, and those of the next output
//! pixel lie at a constant distance. So nothing is gathered: bytes of a row are spread over the lanes of all output
//! channels straight from the map. A row whose length is no multiple of four reads into what follows it, which meets
//! weights of zero. That is a few products more than gathered windows need, and less than gathering them takes.

use super::conv::{Body, Source};
use super::epilogue::MAX_LANES;
use super::form::Form;
use super::live::Live;
use super::pack::{Packed, Shelf, panel, panel_bytes};
use super::quads::Pixels;
use super::scale::Scales;
use super::segment::{MAX_PIXELS, Row, Segment, Sums, inside, segments, tiles};
use crate::isa::{Isa, Kernel};
use crate::pages::Pages;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;

/// Longest row of a window: 7 pixels of 4 channels.
const MAX_ROW: usize = 28;
/// Bytes that the windows of a tile cover at most: 8 pixels, 2 columns of 4 channels apart.
const MAX_SPAN: usize = 7 * 2 * 4 + MAX_ROW;
/// Most vectors of output channels whose sums may go through memory.
const VECTORS: usize = 2;
/// Pixels of a tile of four vectors.
const WIDE_ROWS: usize = 6;

/// Weights: per window row, per four bytes, per vector.
pub(super) struct Weights {
    packed: Packed,
    /// What sums start from, raised or not.
    bias: Box<[i32]>,
    raised: bool,
}

/// Pixels of a tile of some vectors.
const fn rows<I: Isa>(vectors: usize) -> usize {
    if vectors == 4 {
        WIDE_ROWS
    } else if I::MR < 8 {
        I::MR
    } else {
        8
    }
}

/// Whether there are tiles of so many vectors.
const fn has<I: Isa>(vectors: usize) -> bool {
    matches!(vectors, 1 | 2) || (vectors == 4 && I::WIDE == WIDE_ROWS)
}

/// Whether sums of four vectors can be finished in registers; they have no room in memory.
fn is_plain<I: Isa>(body: &Body) -> bool {
    body.channels_out == 4 * I::LANES
        && body.finishes_in_registers()
        && matches!(body.epilogue.form(I::BIAS), Form::Store | Form::Relu)
}

/// Vectors of output channels.
fn vectors<I: Isa>(body: &Body) -> usize {
    body.channels_out.div_ceil(I::LANES)
}

/// Whether the kernel takes this convolution.
pub(super) fn fits<I: Isa>(body: &Body, groups: usize) -> bool {
    let g = &body.geometry;
    // Sets that multiply by a lane of a register want 16 bytes side by side.
    I::FINISHES
        && I::LANES >= 8
        && groups == 1
        && has::<I>(vectors::<I>(body))
        && (vectors::<I>(body) < 4 || is_plain::<I>(body))
        && matches!(body.depth, 3 | 4)
        && g.pixel_stride == body.depth
        && g.size[1] * body.depth <= MAX_ROW
        && matches!(g.stride[1], 1 | 2)
        && g.dilation[1] == 1
        && g.output[1] >= rows::<I>(vectors::<I>(body))
}

impl Weights {
    #[inline(always)]
    pub fn pack<I: Isa>(_: I, body: &Body, source: Source<'_>, shelf: &mut Shelf) -> Self {
        let [rows, columns] = body.geometry.size;
        let (row, vectors) = (columns * body.depth, vectors::<I>(body));
        let (packed, out) = shelf.take(panel_bytes::<I>(rows, row, vectors));
        panel::<I>(out, vectors, body.channels_out, rows, row, |n, tap| {
            &source.channel(n)[tap * row..][..row]
        });
        // Only the sums of four vectors are always finished in registers.
        let raised = vectors == 4 && body.raised.serves::<I>(0..body.channels_out);
        let mut bias = body.bias.clone();
        if raised {
            body.raised.raise(&mut bias[..body.channels_out], |n| n);
        }
        Self { packed, bias, raised }
    }

    /// Whether sums are raised.
    #[cfg(test)]
    pub fn is_raised(&self) -> bool {
        self.raised
    }

    pub fn attach(&mut self, shelf: &[Arc<Pages>]) {
        self.packed.attach(shelf);
    }
}

#[inline(always)]
pub(super) fn run<I: Isa>(
    isa: I,
    body: &Body,
    weights: &Weights,
    input: &[u8],
    mut live: Live<'_, I>,
    range: Range<usize>,
) {
    let mut sums = [const { Sums([0; MAX_PIXELS * MAX_LANES]) }; VECTORS];
    for segment in segments(&body.geometry, range, MAX_PIXELS) {
        let (sums, live) = (&mut sums, &mut live);
        run_strip(isa, Strip { body, input, segment, weights, sums, live });
    }
}

/// A segment, all its channels.
struct Strip<'a, 'l, I: Isa> {
    body: &'l Body,
    input: &'l [u8],
    segment: Segment,
    weights: &'l Weights,
    sums: &'l mut [Sums; VECTORS],
    live: &'l mut Live<'a, I>,
}

/// Runs a segment in tiles. Every shape is a function of its own, as in `gemm`.
#[inline(always)]
fn run_strip<I: Isa>(isa: I, strip: Strip<'_, '_, I>) {
    let g = &strip.body.geometry;
    let vectors = vectors::<I>(strip.body);
    let tile = if strip.segment.width < rows::<I>(vectors) { 1 } else { rows::<I>(vectors) };
    macro_rules! shapes {
        ($($depth:literal $stride:literal $vectors:literal $tile:literal;)*) => {
            match (strip.body.depth, g.stride[1], vectors, tile) {
                $(($depth, $stride, $vectors, $tile)
                    if const {
                        I::LANES >= 8
                            && has::<I>($vectors)
                            && ($tile == 1 || $tile == rows::<I>($vectors))
                    } =>
                {
                    isa.enter(Tiled::<I, $depth, $stride, $vectors, $tile> { isa, strip })
                })*
                _ => unreachable!("`fits` admits 3 and 4 channels, strides 1 and 2"),
            }
        };
    }
    shapes!(
        3 1 1 1; 3 1 1 4; 3 1 1 6; 3 1 1 8; 3 1 2 1; 3 1 2 4; 3 1 2 6; 3 1 2 8;
        3 2 1 1; 3 2 1 4; 3 2 1 6; 3 2 1 8; 3 2 2 1; 3 2 2 4; 3 2 2 6; 3 2 2 8;
        4 1 1 1; 4 1 1 4; 4 1 1 6; 4 1 1 8; 4 1 2 1; 4 1 2 4; 4 1 2 6; 4 1 2 8;
        4 2 1 1; 4 2 1 4; 4 2 1 6; 4 2 1 8; 4 2 2 1; 4 2 2 4; 4 2 2 6; 4 2 2 8;
        3 1 4 1; 3 1 4 6; 3 2 4 1; 3 2 4 6; 4 1 4 1; 4 1 4 6; 4 2 4 1; 4 2 4 6;
    );
}

/// Pixels have `D` channels; windows step by `S` columns; tiles have `P` pixels and `NV` vectors of output channels.
struct Tiled<'a, 'l, I: Isa, const D: usize, const S: usize, const NV: usize, const P: usize> {
    isa: I,
    strip: Strip<'a, 'l, I>,
}

impl<I: Isa, const D: usize, const S: usize, const NV: usize, const P: usize> Kernel
    for Tiled<'_, '_, I, D, S, NV, P>
{
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, strip } = self;
        let Strip { body, input, segment, weights, sums, live } = strip;
        let g = &body.geometry;
        let row_bytes = g.size[1] * D;
        let quads = row_bytes.div_ceil(4);
        let apart = const { (P - 1) * S * D };
        let (span, columns) = (apart + 4 * quads, (P - 1) * S + g.size[1]);
        let bias: [I::I; NV] =
            core::array::from_fn(|n| isa.load_i32(&weights.bias[n * I::LANES..]));
        let padding = [body.zero; MAX_SPAN];
        for x in tiles::<P>(segment) {
            let left = (x * S).wrapping_sub(g.padding[1]);
            let inside = inside(left, 1, columns, g.input[1]);
            let mut acc: [[I::I; P]; NV] = core::array::from_fn(|n| [bias[n]; P]);
            let mut edge = padding;
            for (ky, w) in weights.packed.chunks_exact(quads * NV * 4 * I::LANES).enumerate() {
                let bytes = match g.tap(0, segment.y, ky) {
                    Some(y) if inside == (0..columns) => {
                        &input[(y * g.input[1] + left) * D..][..span]
                    }
                    Some(y) if !inside.is_empty() => {
                        let left = left.wrapping_add(inside.start);
                        let from = &input[(y * g.input[1] + left) * D..][..inside.len() * D];
                        edge[inside.start * D..inside.end * D].copy_from_slice(from);
                        &edge[..span]
                    }
                    _ => &padding[..span],
                };
                for (quad, w) in w.chunks_exact(NV * 4 * I::LANES).enumerate() {
                    let x = &bytes[4 * quad..][..apart + 4];
                    let w: [I::W; NV] =
                        core::array::from_fn(|n| isa.weights(&w[n * 4 * I::LANES..]));
                    for p in 0..P {
                        let x = x[p * S * D..].first_chunk::<4>().expect("4 bytes");
                        let x = isa.broadcast(x);
                        for n in 0..NV {
                            acc[n][p] = isa.dp(acc[n][p], x, w[n]);
                        }
                    }
                }
            }
            if NV == 4 {
                finish_pixels(isa, (body, weights.raised), &acc, segment.y * g.output[1] + x, live);
                continue;
            }
            for (n, acc) in acc.iter().enumerate() {
                let mut row = row(body, segment, n * I::LANES, &mut sums[n], live);
                let direct = row.is_direct::<P>();
                row.take(isa, direct, x, acc);
            }
        }
        if NV == 4 {
            return;
        }
        for (n, sums) in sums.iter_mut().enumerate().take(NV) {
            let row = row(body, segment, n * I::LANES, sums, live);
            let direct = row.is_direct::<P>();
            row.end(isa, direct);
        }
    }
}

/// Stores all channels of the pixels from `pixel` on, each a whole line.
#[inline(always)]
fn finish_pixels<I: Isa, const P: usize, const NV: usize>(
    isa: I,
    (body, raised): (&Body, bool),
    acc: &[[I::I; P]; NV],
    pixel: usize,
    live: &mut Live<'_, I>,
) {
    let offset = raised.then(|| body.raised.offset(0));
    let scales = Scales::<I, 4>::new(isa, &body.multiplier, offset);
    let pixels = Pixels::new(isa, live, (pixel, P), 0, 4 * I::LANES);
    let Some(mut pixels) = pixels.in_form::<{ Form::Store as u8 }>() else {
        unreachable!("another epilogue")
    };
    // Not a loop: compilers do not unroll one of this size, and index the accumulators in memory.
    pixels.quad::<4>(isa, scales.values(isa, of(acc, 0)), 0, 0);
    if P == WIDE_ROWS {
        pixels.quad::<4>(isa, scales.values(isa, of(acc, 1)), 1, 1);
        pixels.quad::<4>(isa, scales.values(isa, of(acc, 2)), 2, 2);
        pixels.quad::<4>(isa, scales.values(isa, of(acc, 3)), 3, 3);
        pixels.quad::<4>(isa, scales.values(isa, of(acc, 4)), 4, 4);
        pixels.quad::<4>(isa, scales.values(isa, of(acc, 5)), 5, 5);
    }
}

/// Four vectors of pixel `p`.
#[inline(always)]
fn of<T: Copy, const P: usize, const NV: usize>(acc: &[[T; P]; NV], p: usize) -> [T; 4] {
    [acc[0][p % P], acc[1 % NV][p % P], acc[2 % NV][p % P], acc[3 % NV][p % P]]
}

/// What becomes of the sums of a vector of channels.
#[inline(always)]
fn row<'a, 'l, I: Isa>(
    body: &'l Body,
    segment: Segment,
    channel: usize,
    sums: &'l mut Sums,
    live: &'l mut Live<'a, I>,
) -> Row<'a, 'l, i8, I> {
    Row { body, input: &[], segment, channel, weights: &[], sums, live }
}
