//! Convolution: packing and the choice of a kernel.

use super::epilogue::{Ends, MAX_LANES, Operand, PackedEpilogue, channels_f32};
use super::geometry::Geometry;
use super::raised::Raised;
use super::scale::Scale;
use super::tuned::{Blocking, Problem};
use super::winograd::Division;
use super::{Io, Lookup, ScratchSize, Shelf, depthwise, grouped, indirect, stem, winograd};
use crate::arena::Columns;
use crate::desc::{Conv2d, TensorDesc};
use crate::isa::{Isa, Kernel, Platform};
use crate::ops::Units;
use crate::pages::Pages;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A convolution with weights packed for a platform.
///
/// ```text
/// acc[o] = sum (x - z) * w[o] + bias[o] = sum stored(x) * w[o] + (bias[o] - (z + BIAS) * sum w[o])
/// ```
///
/// The second bracket is the bias that kernels start from.
pub struct PackedConv {
    platform: Platform,
    pub(super) body: Body,
    method: Method,
}

/// What every method needs.
pub(super) struct Body {
    pub geometry: Geometry,
    pub channels_out: usize,
    /// Input channels of a group.
    pub depth: usize,
    /// The byte that stands for 0.0 in the arena.
    pub zero: u8,
    /// Folded, padded by [`MAX_LANES`].
    pub bias: Box<[i32]>,
    /// Padded by [`MAX_LANES`].
    pub multiplier: Box<[f32]>,
    /// How sums can be raised that are finished in registers.
    pub raised: Box<Raised>,
    /// Factors below zero, padded by [`MAX_LANES`].
    slope: Option<Box<[f32]>>,
    /// Factors behind SiLU, padded by [`MAX_LANES`].
    silu: Option<Box<[f32]>>,
    pub epilogue: PackedEpilogue,
}

impl Body {
    /// Scales of the channels from `channel` on.
    #[inline(always)]
    pub fn scale<I: Isa>(&self, isa: I, channel: usize) -> Scale<I> {
        Scale {
            multiplier: isa.load_f32(&self.multiplier[channel..]),
            slope: self.slope.as_ref().map(|s| isa.load_f32(&s[channel..])),
            silu: self.silu.as_ref().map(|f| isa.load_f32(&f[channel..])),
        }
    }

    /// Bytes of all pixels of some output channels, in both stores.
    pub fn output_bytes(&self, channels: usize) -> usize {
        self.geometry.pixels() * channels * self.epilogue.value_bytes().iter().sum::<usize>()
    }

    /// Whether sums may be finished four vectors at a time.
    #[inline(always)]
    pub fn finishes_in_quads(&self) -> bool {
        self.epilogue.is_bounded() && self.slope.is_none()
    }

    /// Whether sums may be finished in registers, by their multiplier and the epilogue alone.
    #[inline(always)]
    pub fn finishes_in_registers(&self) -> bool {
        self.finishes_in_quads() && self.silu.is_none()
    }
}

/// Bytes of outputs that are computed before they are copied; at least those of [`indirect::CHANNEL_GRANULE`] channels.
const COLUMN_BYTES: usize = 64 << 10;

/// How the sums are computed.
enum Method {
    /// GEMM over rows found where they are: taps, or whole window rows.
    Indirect(indirect::Weights),
    /// Groups of few channels.
    Grouped(grouped::Weights),
    /// One channel per group.
    Depthwise(depthwise::Weights),
    /// Images: windows of few bytes.
    Stem(stem::Weights),
    /// Windows of 3x3, with fewer products.
    Winograd(winograd::Weights),
}

impl PackedConv {
    /// Packs the weights of `conv` for `platform`, into memory of their own.
    #[must_use]
    pub fn pack(platform: Platform, conv: &Conv2d, lookup: &impl Lookup) -> Self {
        let mut shelf = Shelf::new(0);
        let mut packed = Self::pack_on(platform, conv, lookup, &mut shelf);
        packed.attach(&shelf.finish());
        packed
    }

    /// Packs the weights of `conv` for `platform` onto a shelf; it has to be attached before the first run.
    #[must_use]
    pub fn pack_on(
        platform: Platform,
        conv: &Conv2d,
        lookup: &impl Lookup,
        shelf: &mut Shelf,
    ) -> Self {
        platform.run(Pack { platform, conv, lookup, shelf })
    }

    /// Attaches the finished shelf that the weights were packed onto.
    pub fn attach(&mut self, shelf: &[Arc<Pages>]) {
        match &mut self.method {
            Method::Indirect(w) => w.attach(shelf),
            Method::Grouped(w) => w.attach(shelf),
            Method::Winograd(w) => w.attach(shelf),
            Method::Stem(w) => w.attach(shelf),
            Method::Depthwise(_) => {}
        }
    }

    /// Size and blocking, where there is one.
    #[doc(hidden)]
    #[must_use]
    pub fn blocking(&self) -> Option<(Problem, Blocking)> {
        match &self.method {
            Method::Indirect(w) => Some(w.blocking(self.platform.name(), &self.body)),
            _ => None,
        }
    }

    /// The name of the chosen kernel.
    #[must_use]
    pub fn kernel(&self) -> &'static str {
        match &self.method {
            Method::Indirect(w) => w.name(&self.body),
            Method::Grouped(_) => "grouped",
            Method::Depthwise(_) => "depthwise",
            Method::Stem(_) => "stem",
            Method::Winograd(_) => "winograd",
        }
    }

    /// Whether products are those of pairs.
    #[cfg(test)]
    pub(crate) fn is_in_pairs(&self) -> bool {
        match &self.method {
            Method::Indirect(w) => w.is_in_pairs(),
            Method::Grouped(w) => w.is_in_pairs(),
            _ => false,
        }
    }

    /// Whether all sums are raised that are finished in registers.
    #[cfg(test)]
    pub(crate) fn is_raised(&self) -> bool {
        match &self.method {
            Method::Indirect(w) => w.is_raised(),
            Method::Grouped(w) => w.is_raised(),
            Method::Stem(w) => w.is_raised(),
            _ => false,
        }
    }

    /// What the epilogue does to quads.
    #[cfg(test)]
    pub(crate) fn form(&self) -> super::form::Form {
        self.body.epilogue.form(i32::from(self.platform.act_xor()))
    }

    /// The packed weights that a run from unit `first` on begins with, where they are many.
    #[must_use]
    pub fn head(&self, first: usize) -> &[i8] {
        let channel = match self.units() {
            Units::Channels(_) | Units::Columns(_) => first,
            Units::Pixels | Units::Bands(_) => 0,
        };
        self.platform.run(Head { method: &self.method, channel })
    }

    /// What a run needs beside its operands.
    #[must_use]
    pub fn scratch(&self) -> ScratchSize {
        let need = self.platform.run(Need(&self.method));
        if !matches!(self.units(), Units::Columns(_)) {
            return need;
        }
        let channels = self.channels_at_once().min(self.body.channels_out);
        ScratchSize { outputs: self.body.output_bytes(channels), ..need }
    }

    /// Time of the products of a run, relative to those of the definition, both at the processor's peak.
    #[doc(hidden)]
    #[must_use]
    pub fn effort(&self) -> f32 {
        match self.method {
            Method::Winograd(_) => self.platform.run(Effort(&self.body)),
            _ => 1.0,
        }
    }

    /// How the work can be divided: by output pixels, or by channels where there is one pixel.
    #[must_use]
    pub fn units(&self) -> Units {
        match &self.method {
            Method::Indirect(w) if w.is_by_channels(&self.body) => {
                Units::Channels(indirect::CHANNEL_GRANULE)
            }
            Method::Indirect(w) if w.is_in_columns() => Units::Columns(indirect::CHANNEL_GRANULE),
            Method::Winograd(w) => match w.division() {
                Division::Bands => Units::Bands(winograd::granule(&self.body)),
                Division::Columns(_) => Units::Columns(indirect::CHANNEL_GRANULE),
            },
            Method::Grouped(w) if w.takes_rows() => Units::Bands(self.body.geometry.output[1]),
            _ => Units::Pixels,
        }
    }

    /// Computes the units of `io.range`. Where these are [`Units::Columns`], outputs have no other channels.
    pub fn run(&self, io: Io<'_>) {
        self.platform.run(Run { conv: self, io });
    }

    /// Computes the units of `io.range`, which are [`Units::Columns`], in memory of `io.scratch`, and copies them.
    pub fn run_in_columns(&self, io: Io<'_>, mut columns: [Option<Columns<'_>>; 2]) {
        let pixels = self.body.geometry.pixels();
        let Io { input, residual, next, scratch, range, .. } = io;
        let value_bytes = self.body.epilogue.value_bytes();
        let most = self.channels_at_once();
        let mut memory = scratch.outputs.take();
        for start in range.clone().step_by(most) {
            let part = start..range.end.min(start + most);
            let [first, second] = value_bytes.map(|bytes| pixels * part.len() * bytes);
            let memory = memory.as_deref_mut().unwrap_or_default();
            let (first, rest) = memory.split_at_mut(first);
            let mut outputs = [first, &mut rest[..second]];
            let [store, second] = outputs.each_mut().map(|out| Some(&mut **out));
            self.run(Io {
                input,
                gate: None,
                residual,
                store: store.filter(|out| !out.is_empty()),
                second: second.filter(|out| !out.is_empty()),
                next,
                scratch,
                range: part.clone(),
            });
            for ((columns, out), bytes) in columns.iter_mut().zip(outputs).zip(value_bytes) {
                let Some(columns) = columns else { continue };
                for (pixel, out) in out.chunks_exact(part.len() * bytes).enumerate() {
                    columns.put(pixel, (start - range.start) * bytes, out);
                }
            }
        }
        scratch.outputs = memory;
    }

    /// Output channels that are computed before they are copied: as many as [`COLUMN_BYTES`] have room for, or all those of
    /// a part where inputs are transformed first.
    fn channels_at_once(&self) -> usize {
        if let Method::Winograd(w) = &self.method
            && let Division::Columns(channels) = w.division()
        {
            return channels as usize;
        }
        let most = COLUMN_BYTES / self.body.output_bytes(1).max(1);
        (most / indirect::CHANNEL_GRANULE).max(1) * indirect::CHANNEL_GRANULE
    }
}

/// [`PackedConv::head`]
struct Head<'a> {
    method: &'a Method,
    channel: usize,
}

impl<'a> Kernel for Head<'a> {
    type Output = &'a [i8];

    #[inline(always)]
    fn eval<I: Isa>(self, _: I) -> &'a [i8] {
        match self.method {
            Method::Indirect(w) => w.head::<I>(self.channel),
            Method::Winograd(w) => w.head::<I>(self.channel),
            // While these run, the weights behind them come, which are many.
            Method::Grouped(_) | Method::Depthwise(_) | Method::Stem(_) => &[],
        }
    }
}

/// [`PackedConv::scratch`]
struct Need<'a>(&'a Method);

impl Kernel for Need<'_> {
    type Output = ScratchSize;

    #[inline(always)]
    fn eval<I: Isa>(self, _: I) -> ScratchSize {
        match self.0 {
            Method::Winograd(w) => w.scratch::<I>(),
            _ => ScratchSize::default(),
        }
    }
}

/// [`PackedConv::effort`]
struct Effort<'a>(&'a Body);

impl Kernel for Effort<'_> {
    type Output = f32;

    #[inline(always)]
    fn eval<I: Isa>(self, _: I) -> f32 {
        winograd::effort::<I>(self.0)
    }
}

struct Pack<'a, L> {
    platform: Platform,
    conv: &'a Conv2d,
    lookup: &'a L,
    shelf: &'a mut Shelf,
}

impl<L: Lookup> Kernel for Pack<'_, L> {
    type Output = PackedConv;

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) -> PackedConv {
        let Self { platform, conv, lookup, shelf } = self;
        let input = lookup.tensor(conv.input);
        let (body, largest) = body::<I>(conv, &input, lookup);
        let w = Source {
            weights: lookup.bytes(conv.weights),
            depth: body.geometry.taps() * body.depth,
        };
        let groups = conv.groups as usize;
        let can_transform = const { I::WINOGRAD }
            && winograd::can(&body, groups, largest)
            && (shelf.winograd.is_some() || !stem::fits::<I>(&body, groups));
        let division = can_transform.then(|| winograd::choose::<I>(&body, shelf)).flatten();
        let method = if depthwise::fits(&body, groups) {
            Method::Depthwise(depthwise::Weights::pack(isa, &body, w))
        } else if grouped::fits::<I>(&body, groups) {
            Method::Grouped(grouped::Weights::pack(isa, &body, w, shelf))
        } else if let Some(division) = division {
            Method::Winograd(winograd::Weights::pack(isa, &body, division, w, shelf))
        } else if stem::fits::<I>(&body, groups) {
            Method::Stem(stem::Weights::pack(isa, &body, w, shelf))
        } else {
            Method::Indirect(indirect::Weights::pack(isa, &body, groups, w, shelf))
        };
        PackedConv { platform, body, method }
    }
}

/// What every method needs, and the largest magnitude of a sum of products of stored activations and weights.
#[inline(always)]
fn body<I: Isa>(conv: &Conv2d, input: &TensorDesc, lookup: &impl Lookup) -> (Body, u32) {
    let output = conv.epilogue.store.as_ref().or(conv.epilogue.second.as_ref().map(|(_, s)| s));
    let output = lookup.tensor(output.expect("an epilogue stores").output);
    let geometry = Geometry::new(&conv.window, input, &output);
    let depth = (input.channels / conv.groups) as usize;
    let zero_point = Operand::new(input, I::BIAS).zero_point;
    let weights = lookup.bytes(conv.weights);
    let bias = lookup.bytes(conv.bias).as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b));
    let mut sums = Vec::with_capacity(conv.channels_out as usize);
    // No `collect`, which would not be compiled for the set.
    for channel in weights.chunks_exact(geometry.taps() * depth) {
        sums.push(Sums::new(channel));
    }
    let folded = bias.zip(&sums).map(|(b, sums)| b.wrapping_sub(zero_point.wrapping_mul(sums.sum)));
    let folded: Box<[i32]> = folded.chain([0; MAX_LANES * 4]).collect();
    let multiplier = channels_f32(lookup.bytes(conv.multiplier));
    let ranges = folded.iter().zip(&sums).map(|(bias, sums)| sums.range::<I>(*bias));
    let raised = Raised::new(ranges.zip(multiplier.iter().copied()), MAX_LANES * 4);
    let mut epilogue = PackedEpilogue::new(&conv.epilogue, lookup, I::BIAS);
    if conv.slope.is_none() {
        epilogue.bound(most(conv, lookup, &sums));
    }
    let largest = sums.iter().map(Sums::largest::<I>).max().unwrap_or(0);
    let body = Body {
        geometry,
        channels_out: conv.channels_out as usize,
        depth,
        zero: zero_point as u8,
        bias: folded,
        multiplier,
        raised: Box::new(raised),
        slope: conv.slope.map(|s| channels_f32(lookup.bytes(s))),
        silu: conv.silu.map(|f| channels_f32(lookup.bytes(f))),
        epilogue,
    };
    (body, largest)
}

/// Sums over the weights of an output channel.
struct Sums {
    sum: i32,
    magnitude: u32,
}

impl Sums {
    #[inline(always)]
    fn new(weights: &[u8]) -> Self {
        let mut sums = Self { sum: 0, magnitude: 0 };
        // As many as fit i16, so that a vector holds many of them.
        for part in weights.chunks(i16::MAX as usize / 128) {
            let (mut sum, mut magnitude) = (0i16, 0i16);
            for &weight in part {
                let weight = i16::from(weight as i8);
                sum += weight;
                magnitude += weight.abs();
            }
            sums.sum = sums.sum.wrapping_add(i32::from(sum));
            sums.magnitude += u32::from(magnitude as u16);
        }
        sums
    }

    /// Between which values sums of products with stored activations are that start from `bias`.
    fn range<I: Isa>(&self, bias: i32) -> (i64, i64) {
        let (above, below) = (i64::from(127 + I::BIAS), i64::from(128 - I::BIAS));
        let positive = i64::from(self.magnitude.wrapping_add_signed(self.sum) / 2);
        let negative = i64::from(self.magnitude) - positive;
        let bias = i64::from(bias);
        (bias - positive * below - negative * above, bias + positive * above + negative * below)
    }

    /// The largest magnitude of a sum of products with stored activations.
    fn largest<I: Isa>(&self) -> u32 {
        let (low, high) = self.range::<I>(0);
        high.max(-low) as u32
    }
}

/// The largest magnitude of a scaled accumulator, over all inputs; SiLU is never larger than its operand.
fn most(conv: &Conv2d, lookup: &impl Lookup, sums: &[Sums]) -> f64 {
    let bias = lookup.bytes(conv.bias).as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b));
    let multiplier = lookup.bytes(conv.multiplier).as_chunks::<4>().0;
    let factors = conv.silu.map(|f| channels_f32(lookup.bytes(f)));
    let channels =
        sums.iter().zip(bias).zip(multiplier).enumerate().map(|(i, ((sums, bias), m))| {
            let acc = 255.0 * f64::from(sums.magnitude) + f64::from(bias.unsigned_abs());
            let factor = factors.as_ref().map_or(1.0, |f| f64::from(f[i]));
            acc * f64::from(f32::from_le_bytes(*m)) * factor
        });
    channels.fold(0.0, f64::max)
}

/// Canonical weights, `[C_out, taps, depth]`.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    weights: &'a [u8],
    /// Weights of a channel.
    depth: usize,
}

impl<'a> Source<'a> {
    /// All taps of an output channel.
    #[inline(always)]
    pub fn channel(&self, channel: usize) -> &'a [u8] {
        &self.weights[channel * self.depth..][..self.depth]
    }
}

struct Run<'a> {
    conv: &'a PackedConv,
    io: Io<'a>,
}

impl Kernel for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Self { conv: PackedConv { body, method, .. }, io } = self;
        let first = match self.conv.units() {
            Units::Pixels | Units::Bands(_) => (io.range.start, 0),
            Units::Channels(_) | Units::Columns(_) => (0, io.range.start),
        };
        let ends = Ends { residual: io.residual, store: io.store, second: io.second };
        let width = matches!(self.conv.units(), Units::Columns(_)).then_some(io.range.len());
        let live = body.epilogue.live(isa, ends, first, width);
        match method {
            Method::Indirect(w) => {
                indirect::run(isa, body, w, io.input, io.next, live, io.range);
            }
            Method::Grouped(w) => {
                grouped::run(isa, body, w, (io.input, io.next), live, io.range);
            }
            Method::Depthwise(w) => depthwise::run(isa, body, w, io.input, live, io.range),
            Method::Stem(w) => stem::run(isa, body, w, io.input, live, io.range),
            Method::Winograd(w) if const { I::WINOGRAD } => {
                let Io { input, next, scratch, range, .. } = io;
                winograd::run(
                    isa,
                    body,
                    w,
                    winograd::Operands { input, next, scratch, range },
                    live,
                );
            }
            Method::Winograd(_) => unreachable!("chosen where it is compiled"),
        }
    }
}
