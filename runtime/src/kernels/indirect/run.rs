//! Tiles of pixels by panels: a block of panels after the other, of each block all tiles.

use super::super::conv::Body;
use super::super::finder::{COPIES, Finder, MAX_RUNS};
use super::super::gemm::{Args, MAX_ROWS, MAX_TILE, ToMemory, finishes, most_rows, tile};
use super::super::live::{Column, FAR, Live};
use super::super::paired::{self, Rows};
use super::super::panels::{self, Panels, pairs_finish};
use super::super::scale::Scale;
use super::{Panel, Weights};
use crate::isa::{Isa, Kernel, Ordered, PAIR_ROWS, Runs, Starts, as_i8};
use core::ops::Range;

/// Runs of most windows.
const FEW_RUNS: usize = 9;
/// Bytes that most layers copy at most.
const SOME_COPIES: usize = COPIES / 4;

/// Copies of window rows or of windows, on cache lines of their own.
#[repr(align(64))]
struct Copies<const N: usize>([u8; N]);

/// Sums of a tile, on a cache line of their own.
#[repr(align(64))]
struct Sums([i32; MAX_TILE]);

#[inline(always)]
pub(in super::super) fn run<I: Isa>(
    isa: I,
    body: &Body,
    weights: &Weights,
    input: &[u8],
    next: &[i8],
    mut live: Live<'_, I>,
    range: Range<usize>,
) {
    let g = &body.geometry;
    let (pixels, channels) = if weights.is_by_channels(body) {
        (0..1, range)
    } else if weights.in_columns {
        (0..g.pixels(), range)
    } else {
        (range, 0..body.channels_out)
    };
    let mut sums = Sums([0; MAX_TILE]);
    let mut finder = Finder::new(body, weights.walk);
    // Most layers need little of what there may be, and a small one would notice how long it takes to clear the rest.
    let (mut few, mut many, mut some, mut all);
    let starts = match weights.runs.min(MAX_RUNS) {
        runs @ ..=FEW_RUNS => {
            few = [Starts::<MAX_ROWS>::NONE; FEW_RUNS];
            &mut few[..runs]
        }
        runs => {
            many = [Starts::<MAX_ROWS>::NONE; MAX_RUNS];
            &mut many[..runs]
        }
    };
    let copies: &mut [u8] = match finder.copies(body) {
        0 => &mut [],
        1..=SOME_COPIES => {
            some = Copies([0; SOME_COPIES]);
            &mut some.0
        }
        _ => {
            all = Copies([0; COPIES]);
            &mut all.0
        }
    };
    let (mut few_blocks, mut all_blocks, mut ordered);
    let mut rows = if const { I::PAIRS } && weights.is_in_pairs() {
        ordered = Ordered::new();
        let blocks = if weights.runs * weights.depth <= paired::FEW_BLOCKS * 16 {
            few_blocks = [[[0; 16]; PAIR_ROWS]; paired::FEW_BLOCKS];
            &mut few_blocks[..]
        } else {
            all_blocks = [[[0; 16]; PAIR_ROWS]; paired::BLOCKS];
            &mut all_blocks[..]
        };
        Some(Rows { blocks, ordered: &mut ordered })
    } else {
        None
    };
    let quads = weights.depth.div_ceil(4);
    let (steps, lanes) = (quads / 4, quads % 4);
    let is_far = g.taps() == 1 && input.len() > FAR;
    let is_dense = g.is_pointwise() && g.pixel_stride == body.depth;
    // What is the same for all tiles is settled here: a tile of few products takes no longer than that.
    let packed = &weights.packed[..];
    let in_registers = weights.runs <= MAX_RUNS && lanes == 0 && body.finishes_in_registers();
    let form = body.epilogue.form(I::BIAS);

    let these = weights.of_channels(&channels);
    let mut rest = weights.blocks::<I>(these).peekable();
    while let Some(block) = rest.next() {
        // While a block is computed, the next one comes from memory.
        let mut ahead = rest.peek().map_or(next, |block| weights.block(block));
        // Tiles of nearly equal height: 49 rows are 13 + 12 + 12 + 12, not 14 + 14 + 14 + 7.
        let most = if rows.is_some() { paired::ROWS } else { most_rows::<I>(block[0].vectors) };
        let tiles = pixels.len().div_ceil(most);
        let (height, taller) = (pixels.len() / tiles.max(1), pixels.len() % tiles.max(1));
        let mut from = pixels.start;
        for index in 0..tiles {
            let height = height + usize::from(index < taller);
            let tile_pixels = from..from + height;
            if !copies.is_empty() {
                finder.copy(body, input, tile_pixels.clone(), copies);
            }
            let later = from + height..(from + 2 * height).min(pixels.end);
            // Beside the products, which takes no time; at once while weights are asked for.
            let mut later_rows;
            let ahead = if is_far && is_dense && ahead.is_empty() {
                let bytes = &input[later.start * g.pixel_stride..later.end * g.pixel_stride];
                later_rows = as_i8(bytes);
                &mut later_rows
            } else {
                if is_far {
                    finder.prefetch(isa, input, later);
                }
                &mut ahead
            };
            let mut first = 0;
            while first < weights.runs {
                let count = (weights.runs - first).min(MAX_RUNS);
                let mut runs = Runs::begin(&mut starts[..count], height, &weights.padding);
                let places = (tile_pixels.clone(), first..first + count);
                finder.find(body, input, copies, places, &mut runs);
                let runs = &runs;
                // Where the rows of pairs begin.
                let mut have = None;
                let mut rest = block;
                while let Some(p) = rest.first() {
                    let alike = p.alike.min(rest.len());
                    let finishes = if rows.is_some() {
                        pairs_finish::<I>(height, p.vectors)
                    } else {
                        finishes::<I>(height, p.vectors)
                    };
                    let finishes = finishes && in_registers && alike > 0;
                    let (these, others) = rest.split_at(if finishes { alike } else { 1 });
                    let now = *ahead;
                    *ahead = now.get(panels::asked(these, count * steps)..).unwrap_or(&[]);
                    rest = others;
                    if finishes {
                        let panels = Panels {
                            body,
                            panels: these,
                            packed,
                            bias: &weights.starts,
                            raised: p.raised,
                            ahead: now,
                            runs,
                            steps,
                            rows: rows.as_mut().map(Rows::borrowed),
                            live: &mut live,
                            pixels: tile_pixels.clone(),
                        };
                        panels::finished(isa, (height, p.vectors), form, panels);
                        continue;
                    }
                    if p.channels.1 <= channels.start || p.channels.0 >= channels.end {
                        continue;
                    }
                    let mut panel = &packed[p.weights.0..][..p.weights.1];
                    if count < weights.runs {
                        let run_bytes = p.weights.1 / weights.runs;
                        panel = &panel[first * run_bytes..][..count * run_bytes];
                    }
                    let ahead = if now.is_empty() { &panel[..1] } else { now };
                    let (shape, channel) = ((height, p.vectors), p.depth_start);
                    if let (true, Some(paired), Some(rows)) =
                        (const { I::PAIRS }, &p.paired, &mut rows)
                    {
                        if have != Some(channel) {
                            rows.put(height, runs, (channel, steps));
                            have = Some(channel);
                        }
                        let bias = Some(&weights.bias[p.channels.0..]);
                        let end = ToMemory { bias, sums: &mut sums.0 };
                        paired::tile(isa, height, (rows, paired.panel(panel), ahead), end);
                    } else {
                        let bias = (first == 0).then_some(&body.bias[p.channels.0..]);
                        let end = ToMemory { bias, sums: &mut sums.0 };
                        let args = Args { runs, channel, steps, lanes, weights: panel, ahead };
                        tile(isa, shape, args, end);
                    }
                    if first + count == weights.runs {
                        finish(isa, body, &sums.0, p, &channels, tile_pixels.clone(), &mut live);
                    }
                }
                first += count;
            }
            from += height;
        }
    }
}

/// Scales the sums of a tile and passes them to the epilogue.
#[inline(always)]
fn finish<I: Isa>(
    isa: I,
    body: &Body,
    sums: &[i32],
    p: &Panel,
    channels: &Range<usize>,
    pixels: Range<usize>,
    live: &mut Live<'_, I>,
) {
    let whole = p.is_whole::<I>() && p.channels.1 <= channels.end;
    if whole && body.finishes_in_quads() && pixels.len() * p.vectors >= 4 {
        match p.vectors {
            1 => return isa.enter(Quads::<I, 1> { isa, body, sums, p, pixels, live }),
            2 => return isa.enter(Quads::<I, 2> { isa, body, sums, p, pixels, live }),
            _ => return isa.enter(Quads::<I, 4> { isa, body, sums, p, pixels, live }),
        }
    }
    for v in 0..p.vectors {
        let channel = p.channels.0 + v * I::LANES;
        if channel >= p.channels.1.min(channels.end) {
            break;
        }
        let lanes = I::LANES.min(p.channels.1 - channel);
        let scale = body.scale(isa, channel);
        let column = Column {
            sums: &sums[v * I::LANES..],
            step: p.vectors * I::LANES,
            pixel: pixels.start,
            count: pixels.len(),
            channel,
            lanes,
        };
        live.column(isa, &scale, column);
    }
}

/// Finishes a whole tile of `NV` vectors, four sums at a time. A function of its own, so that the constants of SiLU stay
/// in registers.
struct Quads<'a, 'l, I: Isa, const NV: usize> {
    isa: I,
    body: &'l Body,
    sums: &'l [i32],
    p: &'l Panel,
    pixels: Range<usize>,
    live: &'l mut Live<'a, I>,
}

impl<I: Isa, const NV: usize> Kernel for Quads<'_, '_, I, NV> {
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, body, sums, p, pixels, live } = self;
        let channel = p.channels.0;
        let scale: [Scale<I>; NV] =
            core::array::from_fn(|n| body.scale(isa, channel + n * I::LANES));
        let per_quad = const { 4 / NV };
        for at in (0..pixels.len()).step_by(per_quad) {
            // The last quad moves back and finishes some rows again.
            let first = at.min(pixels.len() - per_quad);
            let sums = &sums[first * NV * I::LANES..][..4 * I::LANES];
            let value = [
                scale[0].value(isa, isa.load_i32(sums)),
                scale[1 % NV].value(isa, isa.load_i32(&sums[I::LANES..])),
                scale[2 % NV].value(isa, isa.load_i32(&sums[2 * I::LANES..])),
                scale[3 % NV].value(isa, isa.load_i32(&sums[3 * I::LANES..])),
            ];
            live.quad::<NV>(isa, value, pixels.start + first, channel);
        }
        live.after_quads(isa, pixels, channel, NV * I::LANES);
    }
}
