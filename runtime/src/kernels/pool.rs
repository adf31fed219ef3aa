//! Max and average pooling.

use super::epilogue::{Ends, MAX_LANES, Operand, PackedEpilogue};
use super::geometry::Geometry;
use super::large_pool::LargeMax;
use super::live::Live;
use super::segment::{inside, segments};
use super::{Io, Lookup};
use crate::desc::{DType, Pool, PoolKind};
use crate::isa::{Isa, Kernel, Platform};
use crate::ops::Units;
use core::ops::Range;

/// Channels of which the maximum is taken at a time.
const PIECE: usize = 64;

/// Vectors of channels that are summed at a time: a cache line's bytes and more.
pub(super) const VECTORS: usize = 8;

/// Pixels of a line from which on they are summed as words, and bytes of a channel whose sum is one.
const FEW: usize = 4;
const WORDS: usize = 128;

/// Elements of a window that stay in the first cache level.
pub(super) const NEAR: usize = 32 << 10;

/// Sums of the whole map that are kept on the stack.
const SUMS: usize = 512;

/// Ranges of channels start at multiples of it: whole sums of [`VECTORS`] of the widest set.
pub(super) const CHANNEL_GRANULE: usize = VECTORS * MAX_LANES;

/// Taps of a window above which rows and columns are compared one after the other.
const LARGE: usize = 32;

/// A pooling operator.
pub struct PackedPool {
    pub(super) platform: Platform,
    pub(super) kind: PoolKind,
    pub(super) geometry: Geometry,
    pub(super) input: Operand,
    pub(super) channels: usize,
    pub(super) output_stride: usize,
    multiplier: f32,
    count_padding: bool,
    pub(super) epilogue: PackedEpilogue,
}

impl PackedPool {
    /// Prepares a pooling; none for the maximum of i16.
    #[must_use]
    pub fn pack(platform: Platform, pool: &Pool, lookup: &impl Lookup) -> Option<Self> {
        let bias = i32::from(platform.act_xor());
        let (x, y) = (lookup.tensor(pool.input), lookup.tensor(pool.store.output));
        (pool.kind == PoolKind::Average || x.dtype == DType::I8).then(|| Self {
            platform,
            kind: pool.kind,
            geometry: Geometry::new(&pool.window, &x, &y),
            input: Operand::new(&x, bias),
            channels: x.channels as usize,
            output_stride: y.pixel_stride as usize,
            multiplier: pool.multiplier,
            count_padding: pool.count_padding,
            epilogue: PackedEpilogue::of_store(&pool.store, lookup, bias),
        })
    }

    /// The kernel's name.
    #[must_use]
    pub fn kernel(&self) -> &'static str {
        match self.kind {
            PoolKind::Max => "max_pool",
            PoolKind::Average => "average_pool",
        }
    }

    /// How the work can be divided: an average over the whole map by channels.
    #[must_use]
    pub fn units(&self) -> Units {
        if self.kind == PoolKind::Average && self.geometry.pixels() == 1 {
            Units::Channels(CHANNEL_GRANULE)
        } else {
            Units::Pixels
        }
    }

    /// Computes the units of `io.range`.
    pub fn run(&self, io: Io<'_>) {
        match self.kind {
            PoolKind::Max if self.geometry.taps() > LARGE => {
                self.platform.run(LargeMax { op: self, io });
            }
            PoolKind::Max => self.platform.run(Max { op: self, io }),
            PoolKind::Average => self.platform.run(Average { op: self, io }),
        }
    }
}

/// How many input pixels of the window of output pixel `pixel` are inside the map.
#[inline(always)]
fn summed(g: &Geometry, pixel: usize) -> usize {
    g.inside(0, pixel / g.output[1]).len() * g.inside(1, pixel % g.output[1]).len()
}

struct Max<'a> {
    op: &'a PackedPool,
    io: Io<'a>,
}

impl Kernel for Max<'_> {
    type Output = ();

    /// Compares bytes as they are stored, [`PIECE`] at a time; the compiler makes vector instructions of it.
    #[inline(always)]
    fn eval<I: Isa>(self, _: I) {
        let Self { op, io } = self;
        let Some(out) = io.store else { return };
        let g = &op.geometry;
        let pixel_stride = op.input.pixel_stride;
        let (row, step) = (g.input[1] * pixel_stride, g.dilation[1] * pixel_stride);
        let mut out = out.chunks_mut(op.output_stride);
        for segment in segments(g, io.range, usize::MAX) {
            let rows = g.inside(0, segment.y);
            let top = segment.y * g.stride[0] + rows.start * g.dilation[0];
            // Of a window that is outside the map nothing is read.
            let top = top.wrapping_sub(g.padding[0]).wrapping_mul(row);
            let (row_step, rows) = (g.dilation[0] * row, rows.len());
            for (x, out) in (segment.x..segment.x + segment.width).zip(&mut out) {
                let left = (x * g.stride[1]).wrapping_sub(g.padding[1]);
                let columns = inside(left, g.dilation[1], g.size[1], g.input[1]);
                let left = left.wrapping_add(columns.start * g.dilation[1]);
                let first = top.wrapping_add(left.wrapping_mul(pixel_stride));
                for (i, out) in out[..op.channels].chunks_mut(PIECE).enumerate() {
                    let window =
                        Window { first: first.wrapping_add(i * PIECE), rows, row_step, step };
                    let most = match columns.len() {
                        2 => window.most::<I, 2>(io.input, 2),
                        3 => window.most::<I, 3>(io.input, 3),
                        columns => window.most::<I, 0>(io.input, columns),
                    };
                    out.copy_from_slice(&most[..out.len()]);
                }
            }
        }
    }
}

/// What is inside the map of a window, for [`PIECE`] channels.
#[derive(Clone, Copy)]
struct Window {
    /// First element.
    first: usize,
    rows: usize,
    /// Elements from row to row and from column to column.
    row_step: usize,
    step: usize,
}

impl Window {
    /// The largest values of `columns` columns; `N` is their number, or 0 if the compiler does not know it.
    #[inline(always)]
    fn most<I: Isa, const N: usize>(self, input: &[u8], columns: usize) -> [u8; PIECE] {
        let Self { first, rows, row_step, step } = self;
        let mut most = [if I::BIAS == 0 { 0x80 } else { 0 }; PIECE];
        for row in 0..rows {
            let first = first + row * row_step;
            for column in 0..if N == 0 { columns } else { N } {
                // The slack behind the tensor has room for a piece.
                larger::<I>(&mut most, &input[first + column * step..][..PIECE]);
            }
        }
        most
    }
}

/// Keeps the larger values of stored bytes.
#[inline(always)]
pub(super) fn larger<I: Isa>(kept: &mut [u8], x: &[u8]) {
    for (kept, x) in kept.iter_mut().zip(x) {
        *kept = if I::BIAS == 0 { (*kept as i8).max(*x as i8) as u8 } else { (*kept).max(*x) };
    }
}

struct Average<'a> {
    op: &'a PackedPool,
    io: Io<'a>,
}

impl Kernel for Average<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Self { op, io } = self;
        let ends = Ends { residual: None, store: io.store, second: None };
        let (pixels, channels) = match op.units() {
            Units::Pixels | Units::Bands(_) => (io.range, 0..op.channels),
            Units::Channels(_) | Units::Columns(_) => (0..1, io.range),
        };
        let mut live = op.epilogue.live(isa, ends, (pixels.start, channels.start), None);
        if op.is_far() {
            return op.whole_map(isa, io.input, &mut live, channels);
        }
        for pixel in pixels {
            let summed = summed(&op.geometry, pixel);
            let count = if op.count_padding { op.geometry.taps() } else { summed };
            let mean = op.mean(isa, summed, count);
            let whole = channels.end / (VECTORS * I::LANES) * VECTORS * I::LANES;
            for channel in (channels.start..whole).step_by(VECTORS * I::LANES) {
                let sums: [I::I; VECTORS] = op.sums(isa, io.input, pixel, channel);
                for (i, sum) in sums.into_iter().enumerate() {
                    live.put(isa, mean.of(isa, sum), pixel, channel + i * I::LANES, I::LANES);
                }
            }
            for channel in (whole.max(channels.start)..channels.end).step_by(I::LANES) {
                let [sum] = op.sums(isa, io.input, pixel, channel);
                let lanes = I::LANES.min(channels.end - channel);
                live.put(isa, mean.of(isa, sum), pixel, channel, lanes);
            }
        }
    }
}

/// How sums of stored values become averages.
pub(super) struct Mean<I: Isa> {
    /// What the zero point takes off every sum.
    offset: I::I,
    multiplier: I::F,
}

impl<I: Isa> Mean<I> {
    /// Averages, in steps of the output.
    #[inline(always)]
    pub fn of(&self, isa: I, sum: I::I) -> I::F {
        isa.mul_f32(isa.to_f32(isa.add(sum, self.offset)), self.multiplier)
    }
}

impl PackedPool {
    /// Of `summed` values, divided by `count`.
    #[inline(always)]
    pub(super) fn mean<I: Isa>(&self, isa: I, summed: usize, count: usize) -> Mean<I> {
        Mean {
            offset: isa.splat((summed as i32).wrapping_mul(-self.input.zero_point)),
            multiplier: isa.splat_f32(self.multiplier / count as f32),
        }
    }

    /// Whether it is one average, over more than the first cache level.
    fn is_far(&self) -> bool {
        let g = &self.geometry;
        g.pixels() == 1 && g.taps() * self.channels > NEAR
    }

    /// The average of the whole map, or what there is of the window: line by line, as the map lies in memory.
    #[inline(always)]
    fn whole_map<I: Isa>(
        &self,
        isa: I,
        input: &[u8],
        live: &mut Live<'_, I>,
        channels: Range<usize>,
    ) {
        let g = &self.geometry;
        let (summed, pixel_stride) = (summed(g, 0), self.input.pixel_stride);
        let count = if self.count_padding { g.taps() } else { summed };
        let mean = self.mean(isa, summed, count);
        let columns = g.inside(1, 0);
        let left = columns.start * g.dilation[1] - g.padding[1];
        let step = g.dilation[1] * pixel_stride;
        for start in channels.clone().step_by(SUMS) {
            let channels = start..channels.end.min(start + SUMS);
            let mut sums = [0; SUMS];
            for ky in g.inside(0, 0) {
                let line = (ky * g.dilation[0] - g.padding[0]) * g.input[1];
                let first = (line + left) * pixel_stride;
                let mut channel = channels.start;
                for sums in sums.chunks_exact_mut(VECTORS * I::LANES) {
                    if channel >= channels.end {
                        break;
                    }
                    let line = (first + channel, step, columns.len());
                    if channel + VECTORS * I::LANES <= channels.end {
                        self.add_to::<I, VECTORS>(isa, input, line, sums);
                    } else {
                        for (i, sums) in sums.chunks_exact_mut(I::LANES).enumerate() {
                            // What is behind the channels does not count.
                            if channel + i * I::LANES < channels.end {
                                let line = (line.0 + i * I::LANES, step, columns.len());
                                self.add_to::<I, 1>(isa, input, line, sums);
                            }
                        }
                    }
                    channel += VECTORS * I::LANES;
                }
            }
            for (channel, sums) in
                channels.clone().step_by(I::LANES).zip(sums.chunks_exact(I::LANES))
            {
                let lanes = I::LANES.min(channels.end - channel);
                live.put(isa, mean.of(isa, isa.load_i32(sums)), 0, channel, lanes);
            }
        }
    }

    /// As [`PackedPool::add`], to sums in memory.
    #[inline(always)]
    pub(super) fn add_to<I: Isa, const N: usize>(
        &self,
        isa: I,
        input: &[u8],
        line: (usize, usize, usize),
        sums: &mut [i32],
    ) {
        let acc = core::array::from_fn(|n| isa.load_i32(&sums[n * I::LANES..]));
        let acc: [I::I; N] = self.add(isa, input, line, acc);
        for (acc, sums) in acc.into_iter().zip(sums.chunks_exact_mut(I::LANES)) {
            isa.store_i32(acc, sums);
        }
    }

    /// Adds `count` pixels, `step` elements apart from element `first` on, to sums of `N` vectors of channels.
    #[inline(always)]
    fn add<I: Isa, const N: usize>(
        &self,
        isa: I,
        input: &[u8],
        (first, step, count): (usize, usize, usize),
        mut acc: [I::I; N],
    ) -> [I::I; N] {
        let element = self.input.dtype.bytes() as usize;
        let mut at = first * element;
        if const { N == VECTORS } && self.input.dtype == DType::I8 && count >= FEW {
            // As words: half as many instructions, and no more sums than there are registers.
            const { assert!(WORDS * 255 <= i16::MAX as usize) };
            for start in (0..count).step_by(WORDS) {
                let mut words = [isa.splat_i16(0); VECTORS / 2];
                for _ in start..count.min(start + WORDS) {
                    let x = &input[at..][..VECTORS * I::LANES];
                    for (word, x) in words.iter_mut().zip(x.chunks_exact(2 * I::LANES)) {
                        *word = isa.add_words(*word, isa.widen(x));
                    }
                    at += step;
                }
                let mut bytes = [0; 2 * VECTORS * MAX_LANES];
                for (word, bytes) in words.into_iter().zip(bytes.chunks_exact_mut(4 * I::LANES)) {
                    isa.store_words(word, bytes);
                }
                for (acc, words) in acc.iter_mut().zip(bytes.chunks_exact(2 * I::LANES)) {
                    *acc = isa.add(*acc, isa.load_i16(words));
                }
            }
            return acc;
        }
        for _ in 0..count {
            let x = &input[at..][..N * I::LANES * element];
            for (acc, x) in acc.iter_mut().zip(x.chunks_exact(I::LANES * element)) {
                let x = match self.input.dtype {
                    DType::I8 => isa.load_i8(x),
                    DType::I16 => isa.load_i16(x),
                };
                *acc = isa.add(*acc, x);
            }
            at += step * element;
        }
        acc
    }

    /// Sums of `N` vectors of channels over the window of an output pixel, zero points and all.
    #[inline(always)]
    fn sums<I: Isa, const N: usize>(
        &self,
        isa: I,
        input: &[u8],
        pixel: usize,
        channel: usize,
    ) -> [I::I; N] {
        let g = &self.geometry;
        let (y, x) = (pixel / g.output[1], pixel % g.output[1]);
        let (rows, columns) = (g.inside(0, y), g.inside(1, x));
        let mut acc = [isa.splat(0); N];
        let stride = self.input.pixel_stride;
        for ky in rows {
            let row = y * g.stride[0] + ky * g.dilation[0] - g.padding[0];
            let left = x * g.stride[1] + columns.start * g.dilation[1] - g.padding[1];
            let first = (row * g.input[1] + left) * stride + channel;
            acc = self.add(isa, input, (first, g.dilation[1] * stride, columns.len()), acc);
        }
        acc
    }
}
