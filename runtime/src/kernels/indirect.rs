//! Indirect GEMM (Dukhan 2019, arXiv:1907.02129): convolution as a matrix product whose rows are found where they are,
//! without an im2col copy. With one tap it is the pointwise GEMM, with one pixel the linear layer.
//!
//! What the rows read is the business of [`super::finder`]. Groups are panels that start at another input channel.

use super::conv::{Body, Source};
use super::finder::{COPIES, Finder, MAX_RUNS, SPARE, Walk};
use super::gemm::{Args, MAX_ROWS, MAX_TILE, ToMemory, finishes, most_rows, tile};
use super::live::{Column, FAR, Live};
use super::pack::{Packed, Shelf, panel, panel_bytes, within};
use super::paired::{self, Order, Paired, Rows};
use super::panels::{self, Panels, pairs_finish};
use super::scale::Scale;
use super::tuned::{self, Blocking, Problem};
use crate::isa::{Isa, Kernel, Ordered, PAIR_ROWS, Runs, Starts, as_i8};
use crate::pages::Pages;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

/// KiB of weights that stay in the second cache level while all pixels pass.
const BLOCK_KIB: u16 = 256;

/// Pixels of a thread below which a convolution with more weights than the second cache level takes at a time is divided by
/// channels: every thread would read all weights, for so few products that they do not come in time.
const COLUMN_PIXELS: usize = 64;

/// Largest panel of four vectors, so that it stays in the first cache level. Narrow vectors need their weights less
/// often: those come from the second level in time.
const fn widest<I: Isa>() -> usize {
    if I::LANES >= 16 { 40 << 10 } else { (BLOCK_KIB as usize) << 10 }
}

/// Ranges of channels start at multiples of it: no panel of an ungrouped convolution straddles one.
pub(super) const CHANNEL_GRANULE: usize = 64;

/// A run of output channels whose weights are packed together.
pub(super) struct Panel {
    /// Start and length of its weights.
    pub weights: (usize, usize),
    /// Output channels.
    pub channels: (usize, usize),
    /// First input channel.
    pub depth_start: usize,
    /// Vectors of output channels.
    pub vectors: usize,
    /// If its products are those of pairs.
    pub paired: Option<Paired>,
    /// Whether its sums are raised where they are finished in registers.
    raised: bool,
    /// How many of the panels from it on are full, have as many vectors and are as raised, if it is full itself.
    alike: usize,
}

impl Panel {
    /// Whether all its vectors are full.
    #[inline(always)]
    fn is_whole<I: Isa>(&self) -> bool {
        self.channels.1 - self.channels.0 == self.vectors * I::LANES
    }
}

/// Packed panels.
pub(super) struct Weights {
    packed: Packed,
    panels: Vec<Panel>,
    /// What sums of products of pairs start from; empty if there are none.
    bias: Box<[i32]>,
    /// What sums start from that are finished in registers.
    starts: Box<[i32]>,
    /// Runs and bytes of a run, as the micro-kernel sees them.
    runs: usize,
    depth: usize,
    walk: Walk,
    /// How the panels are made and grouped.
    blocking: Blocking,
    /// A run of zero points, with what the micro-kernel reads behind it.
    padding: Box<[u8]>,
    /// Whether the work is divided by channels, though there are several pixels.
    in_columns: bool,
}

impl Weights {
    #[inline(always)]
    pub fn pack<I: Isa>(
        _: I,
        body: &Body,
        groups: usize,
        source: Source<'_>,
        shelf: &mut Shelf,
    ) -> Self {
        let g = &body.geometry;
        let row = g.size[1] * body.depth;
        let walk = Walk::choose(body, groups);
        let (runs, depth) = match walk {
            Walk::Taps => (g.taps(), body.depth),
            Walk::Rows => (g.size[0], row),
            // Whole steps: no lanes.
            Walk::Windows => (1, (g.size[0] * row).next_multiple_of(16)),
        };

        let problem = problem(I::NAME, body, (runs, depth));
        let usual = || Blocking {
            wide: panel_bytes::<I>(runs, depth, 4) <= widest::<I>(),
            block_kib: BLOCK_KIB,
        };
        let chosen = shelf.blocking.or_else(|| tuned::measured(&problem));
        let mut blocking = chosen.unwrap_or_else(usual);
        blocking.wide &= I::WIDE > 0 && depth.div_ceil(4).is_multiple_of(4) && g.pixels() > 1;
        let orders = if const { I::PAIRS } {
            orders::<I>(body, groups, source, (runs, depth), shelf.pairs)
        } else {
            Vec::new()
        };
        blocking.wide &= orders.is_empty();
        let per_group = body.channels_out / groups;
        let mut panels = Vec::new();
        let mut len = 0;
        for group in 0..groups {
            let end = (group + 1) * per_group;
            let mut start = group * per_group;
            while start < end {
                let vectors = if !orders.is_empty() {
                    paired::VECTORS
                } else if blocking.wide && end - start >= 4 * I::LANES {
                    4
                } else if end - start > I::NV / 2 * I::LANES {
                    I::NV
                } else {
                    1
                };
                let next = end.min(start + vectors * I::LANES);
                let order = orders.get(panels.len());
                let bytes = match order {
                    Some(order) => order.bytes::<I>(),
                    None => panel_bytes::<I>(runs, depth, vectors),
                };
                panels.push(Panel {
                    weights: (len, bytes),
                    channels: (start, next),
                    depth_start: group * body.depth,
                    vectors,
                    paired: None,
                    raised: body.raised.serves::<I>(start..next),
                    alike: 0,
                });
                len += bytes;
                start = next;
            }
        }
        let (mut last, mut alike) = (None, 0);
        for p in panels.iter_mut().rev() {
            let kind = Some((p.vectors, p.raised));
            alike = match (p.is_whole::<I>(), kind == last) {
                (true, true) => alike + 1,
                (whole, _) => usize::from(whole),
            };
            (p.alike, last) = (alike, kind);
        }
        let (packed, out) = shelf.take(len);
        for (index, p) in panels.iter_mut().enumerate() {
            let out = &mut out[p.weights.0..][..p.weights.1];
            let (first, channels) = (p.channels.0, p.channels.1 - p.channels.0);
            let channel = |n: usize| source.channel(first + n);
            if let Some(order) = orders.get(index) {
                p.paired = Some(order.pack::<I>(out, channels, channel));
            } else if depth.is_multiple_of(4) {
                // Runs without lanes behind them are one.
                panel::<I>(out, p.vectors, channels, 1, runs * depth, |n, _| channel(n));
            } else {
                let run = |n: usize, run: usize| &channel(n)[run * depth..][..depth];
                panel::<I>(out, p.vectors, channels, runs, depth, run);
            }
        }
        let padding = alloc::vec![body.zero; groups * depth + SPARE].into();
        let mut bias = Vec::new();
        if !orders.is_empty() {
            bias.extend_from_slice(&body.bias);
            for (p, order) in panels.iter().zip(&orders) {
                let bias = &mut bias[p.channels.0..p.channels.1];
                order.take_offsets(bias, |n| source.channel(p.channels.0 + n));
            }
        }
        let mut starts = if bias.is_empty() { body.bias.to_vec() } else { bias.clone() };
        for p in panels.iter().filter(|p| p.raised) {
            body.raised.raise(&mut starts[p.channels.0..p.channels.1], |n| p.channels.0 + n);
        }
        let can = groups == 1 && runs <= MAX_RUNS && g.pixels() > 1;
        let in_columns = can
            && shelf.columns.unwrap_or_else(|| {
                let few = g.pixels() < COLUMN_PIXELS * shelf.threads;
                let wide = body.channels_out >= 2 * CHANNEL_GRANULE * shelf.threads;
                shelf.threads > 1 && few && wide && len > usize::from(BLOCK_KIB) << 10
            });
        let (bias, starts) = (bias.into(), starts.into());
        Self { packed, panels, bias, starts, runs, depth, walk, blocking, padding, in_columns }
    }

    /// Whether all sums are raised that are finished in registers.
    #[cfg(test)]
    pub fn is_raised(&self) -> bool {
        self.panels.iter().all(|panel| panel.raised)
    }

    pub fn attach(&mut self, shelf: &[Arc<Pages>]) {
        self.packed.attach(shelf);
    }

    /// The weights that a run of the channels from `channel` on begins with.
    #[inline(always)]
    pub fn head<I: Isa>(&self, channel: usize) -> &[i8] {
        let panels = self.of_channels(&(channel..usize::MAX));
        blocks::<I>(self, panels).next().map_or(&[], |block| self.block(block))
    }

    /// The weights of a run of panels.
    #[inline(always)]
    fn block(&self, panels: &[Panel]) -> &[i8] {
        match (panels.first(), panels.last()) {
            (Some(first), Some(last)) => {
                &self.packed[first.weights.0..last.weights.0 + last.weights.1]
            }
            _ => &[],
        }
    }

    /// Whether there are orders.
    #[inline(always)]
    pub fn is_in_pairs(&self) -> bool {
        !self.bias.is_empty()
    }

    /// Whether the work is divided by channels: there is one pixel, and panels start at multiples of the granule.
    pub fn is_by_channels(&self, body: &Body) -> bool {
        body.geometry.pixels() == 1 && self.panels.iter().all(|p| p.depth_start == 0)
    }

    /// Whether the work is divided by channels, though there are several pixels.
    pub fn is_in_columns(&self) -> bool {
        self.in_columns
    }

    /// The panels of some channels, which begin at a multiple of the granule.
    #[inline(always)]
    fn of_channels(&self, channels: &Range<usize>) -> &[Panel] {
        within(&self.panels, channels, |p| p.channels)
    }

    /// The problem's size, and how it is divided.
    pub fn blocking(&self, isa: &'static str, body: &Body) -> (Problem, Blocking) {
        (problem(isa, body, (self.runs, self.depth)), self.blocking)
    }

    pub fn name(&self, body: &Body) -> &'static str {
        match self.walk {
            Walk::Windows => "gathered",
            Walk::Rows => "window_rows",
            Walk::Taps if body.geometry.is_pointwise() => "pointwise",
            Walk::Taps => "indirect",
        }
    }
}

/// An order for every panel, or none.
#[inline(always)]
fn orders<I: Isa>(
    body: &Body,
    groups: usize,
    source: Source<'_>,
    (runs, depth): (usize, usize),
    wanted: Option<bool>,
) -> Vec<Order> {
    let k = runs * depth;
    let can = runs <= MAX_RUNS && paired::can::<I>(depth, k) && body.geometry.pixels() >= I::MR;
    if !can || wanted == Some(false) {
        return Vec::new();
    }
    let per_group = body.channels_out / groups;
    let mut orders = Vec::new();
    for group in 0..groups {
        for first in (0..per_group).step_by(paired::VECTORS * I::LANES) {
            let channels = (paired::VECTORS * I::LANES).min(per_group - first);
            let first = group * per_group + first;
            orders.push(Order::find(channels, k, |n| source.channel(first + n)));
        }
    }
    if !wanted.unwrap_or_else(|| paired::pay(&orders)) {
        orders.clear();
    }
    orders
}

/// What a choice of blocking depends on.
fn problem(isa: &'static str, body: &Body, (runs, depth): (usize, usize)) -> Problem {
    Problem { isa, pixels: body.geometry.pixels(), channels: body.channels_out, runs, depth }
}

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
pub(super) fn run<I: Isa>(
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
    let mut rest = blocks::<I>(weights, these).peekable();
    while let Some(block) = rest.next() {
        // While a block is computed, the next one comes from memory.
        let ahead = rest.peek().map_or(next, |block| weights.block(block));
        let mut asked = 0;
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
            let (mut ahead, mut asked_of_tile) = (ahead, asked);
            if is_far && is_dense && asked >= ahead.len() {
                let bytes = &input[later.start * g.pixel_stride..later.end * g.pixel_stride];
                (ahead, asked_of_tile) = (as_i8(bytes), 0);
            } else if is_far {
                finder.prefetch(isa, input, later);
            }
            let asked_before = asked_of_tile;
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
                    let ahead = ahead.get(asked_of_tile..).unwrap_or(&[]);
                    let (these, others) = rest.split_at(if finishes { alike } else { 1 });
                    asked_of_tile += panels::asked(these, count * steps);
                    rest = others;
                    if finishes {
                        let panels = Panels {
                            body,
                            panels: these,
                            packed,
                            bias: &weights.starts,
                            raised: p.raised,
                            ahead,
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
                    let ahead = if ahead.is_empty() { &panel[..1] } else { ahead };
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
            asked += asked_of_tile - asked_before;
            from += height;
        }
    }
}

/// Panels in runs whose weights fit the second cache level, and whose tiles have the same number of rows. Sums that are
/// collected in parts are those of one panel.
fn blocks<'w, I: Isa>(
    weights: &'w Weights,
    panels: &'w [Panel],
) -> impl Iterator<Item = &'w [Panel]> {
    let mut rest = panels;
    let most = if weights.runs > MAX_RUNS { 1 } else { usize::MAX };
    core::iter::from_fn(move || {
        let first = rest.first()?;
        let fits = |p: &&Panel| {
            p.weights.0 + p.weights.1 - first.weights.0
                <= usize::from(weights.blocking.block_kib) << 10
                && (p.vectors == first.vectors || p.vectors.max(first.vectors) <= I::NV)
        };
        let n = rest.iter().take(most).take_while(fits).count();
        let (block, after) = rest.split_at(n.max(1));
        rest = after;
        Some(block)
    })
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
    let whole = p.channels.1 - p.channels.0 == p.vectors * I::LANES && p.channels.1 <= channels.end;
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
