//! What follows the accumulation, as [`crate::desc::Epilogue`] defines it: residual, stores, table.
//!
//! [`PackedEpilogue`] is made once, with the platform's bias in the zero points; [`Live`] holds its constants in
//! registers, with the operands of one run. Tested through `conv` and `elementwise`.

use super::Lookup;
use crate::desc::{Affine, DType, Epilogue, Store, TensorDesc};
use crate::isa::Isa;
use crate::quant::{DENOMINATOR, NUMERATOR, REACH};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

/// Lanes of the widest vector: per-channel arrays are padded by as many values.
pub(super) const MAX_LANES: usize = 16;

/// Tensors of more bytes are asked for in time; for smaller ones the hints cost more than they save (3x3 32-32 @32:
/// 0.60 -> 0.62 ms for WRN-28-2, while WRN-16-4 at 320x320 went from 26.4 to 25.2 ms).
pub(super) const FAR: usize = 512 << 10;
/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Per-channel f32 constants, padded for vector loads.
pub(super) fn channels_f32(bytes: &[u8]) -> Vec<f32> {
    let values = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
    values.chain([0.0; MAX_LANES]).collect()
}

/// An activation operand as kernels read it.
#[derive(Clone, Copy)]
pub(super) struct Operand {
    pub dtype: DType,
    pub pixel_stride: usize,
    /// What a load gives for 0.0.
    pub zero_point: i32,
}

impl Operand {
    pub fn new(desc: &TensorDesc, bias: i32) -> Self {
        let bias = if desc.dtype == DType::I8 { bias } else { 0 };
        Self {
            dtype: desc.dtype,
            pixel_stride: desc.pixel_stride as usize,
            zero_point: desc.zero_point + bias,
        }
    }

    /// The largest magnitude of `x - zero_point`.
    pub fn most(&self) -> f64 {
        if self.dtype == DType::I8 { 255.0 } else { 65_535.0 }
    }

    /// `x - zero_point` of the elements from `index` on.
    #[inline(always)]
    pub fn load<I: Isa>(&self, isa: I, bytes: &[u8], index: usize) -> I::I {
        let x = match self.dtype {
            DType::I8 => isa.load_i8(&bytes[index..]),
            DType::I16 => isa.load_i16(&bytes[2 * index..]),
        };
        isa.add(x, isa.splat(-self.zero_point))
    }
}

pub(super) struct PackedStore {
    dtype: DType,
    pub pixel_stride: usize,
    zero_point: i32,
    low: f32,
    high: f32,
    /// Limits of what is stored, without the platform's bias.
    limits: [i32; 2],
    table: Option<Box<[u8; 256]>>,
}

impl PackedStore {
    pub fn new(store: &Store, lookup: &impl Lookup, bias: i32) -> Self {
        let output = lookup.tensor(store.output);
        let bias = if output.dtype == DType::I8 { bias } else { 0 };
        Self {
            dtype: output.dtype,
            pixel_stride: output.pixel_stride as usize,
            zero_point: store.zero_point + bias,
            low: (store.clamp_min - store.zero_point) as f32,
            high: (store.clamp_max - store.zero_point) as f32,
            limits: [store.clamp_min, store.clamp_max],
            table: store.table.map(|span| Box::new(stored_table(lookup.bytes(span), bias))),
        }
    }
}

/// A look-up table over stored bytes.
pub(super) fn stored_table(table: &[u8], bias: i32) -> [u8; 256] {
    let xor = bias as u8;
    core::array::from_fn(|byte| table[usize::from(byte as u8 ^ xor ^ 0x80)] ^ xor)
}

/// An epilogue ready to run.
pub(super) struct PackedEpilogue {
    residual: Option<(Operand, f32)>,
    store: Option<PackedStore>,
    second: Option<(Vec<f32>, Vec<f32>, PackedStore)>,
    /// See [`PackedEpilogue::bound`].
    bounded: bool,
}

/// Below it, `Isa::round` needs no clamp before it.
const MOST: f64 = 1_000_000_000.0;

/// Operands of one run. Outputs start at the first element of `range`.
pub(super) struct Ends<'a> {
    pub residual: Option<&'a [u8]>,
    pub store: Option<&'a mut [u8]>,
    pub second: Option<&'a mut [u8]>,
}

impl PackedEpilogue {
    pub fn new(epilogue: &Epilogue, lookup: &impl Lookup, bias: i32) -> Self {
        let pack = |(Affine { a, b }, store): &(Affine, Store)| {
            let (a, b) = (channels_f32(lookup.bytes(*a)), channels_f32(lookup.bytes(*b)));
            (a, b, PackedStore::new(store, lookup, bias))
        };
        Self {
            residual: epilogue
                .residual
                .map(|r| (Operand::new(&lookup.tensor(r.tensor), bias), r.multiplier)),
            store: epilogue.store.as_ref().map(|s| PackedStore::new(s, lookup, bias)),
            second: epilogue.second.as_ref().map(pack),
            bounded: false,
        }
    }

    /// Says that scaled accumulators are at most `most` in magnitude. If that keeps all that follows small, values are
    /// rounded and then limited as integers, [`Live::quad`], instead of clamped and then rounded. The result is the
    /// same, because the limits are integers and rounding keeps the order.
    pub fn bound(&mut self, most: f64) {
        let largest = |values: &[f32]| values.iter().fold(0f32, |m, v| m.max(v.abs()));
        let residual = self
            .residual
            .map_or(0.0, |(operand, multiplier)| operand.most() * f64::from(multiplier.abs()));
        let most = most + residual;
        let second = self
            .second
            .as_ref()
            .map_or(0.0, |(a, b, _)| most * f64::from(largest(a)) + f64::from(largest(b)));
        let simple = |store: &PackedStore| store.dtype == DType::I8 || store.zero_point == 0;
        let stores = self.store.iter().chain(self.second.as_ref().map(|(_, _, store)| store));
        self.bounded = most.max(second) < MOST && stores.into_iter().all(simple);
    }

    /// Whether [`Live::quad`] serves.
    pub fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// An epilogue of one store.
    pub fn of_store(store: &Store, lookup: &impl Lookup, bias: i32) -> Self {
        let store = Some(PackedStore::new(store, lookup, bias));
        Self { residual: None, store, second: None, bounded: false }
    }

    /// Whether all tensors have pixels of `channels` elements without gaps and no constant is per channel, so that
    /// the map may be seen as one long pixel.
    pub fn is_flat(&self, channels: usize) -> bool {
        self.second.is_none()
            && self.residual.is_none_or(|(r, _)| r.pixel_stride == channels)
            && self.store.as_ref().is_none_or(|s| s.pixel_stride == channels)
    }

    /// The constants in registers, with the operands. `first` is the pixel and channel at which the outputs start.
    #[inline(always)]
    pub fn live<'a, I: Isa>(
        &'a self,
        isa: I,
        ends: Ends<'a>,
        first: (usize, usize),
    ) -> Live<'a, I> {
        let store = |s: &'a PackedStore, out: &'a mut [u8]| LiveStore {
            out,
            first: first.0 * s.pixel_stride + first.1,
            pixel_stride: s.pixel_stride,
            dtype: s.dtype,
            zero_point: isa.splat(s.zero_point),
            low: isa.splat_f32(s.low),
            high: isa.splat_f32(s.high),
            words: s.limits.map(|x| isa.splat_i16(x as i16)),
            zero: isa.splat_i16(s.zero_point as i16),
            bytes: s.limits.map(|x| isa.splat_i8(x)),
            table: s.table.as_deref(),
        };
        Live {
            bounded: self.bounded,
            residual: self
                .residual
                .zip(ends.residual)
                .map(|((operand, multiplier), bytes)| (operand, isa.splat_f32(multiplier), bytes)),
            store: self.store.as_ref().zip(ends.store).map(|(s, out)| store(s, out)),
            second: self
                .second
                .as_ref()
                .zip(ends.second)
                .map(|((a, b, s), out)| (a.as_slice(), b.as_slice(), store(s, out))),
        }
    }
}

struct LiveStore<'a, I: Isa> {
    out: &'a mut [u8],
    first: usize,
    pixel_stride: usize,
    dtype: DType,
    zero_point: I::I,
    low: I::F,
    high: I::F,
    /// Limits of i16 and of i8, and the zero point of i8.
    words: [I::H; 2],
    bytes: [I::B; 2],
    zero: I::H,
    table: Option<&'a [u8; 256]>,
}

impl<I: Isa> LiveStore<'_, I> {
    /// Stores four vectors of [`Live::quad`], but for the table if that needs the registers of the sums.
    #[inline(always)]
    fn put_quad<const NV: usize>(
        &mut self,
        isa: I,
        t: [I::F; 4],
        pixel: usize,
        next: usize,
        channel: usize,
    ) {
        let q = [isa.round(t[0]), isa.round(t[1]), isa.round(t[2]), isa.round(t[3])];
        let index = pixel * self.pixel_stride + channel - self.first;
        let step = next * self.pixel_stride;
        match self.dtype {
            DType::I8 => {
                let bytes = isa.pack_i8(q, self.zero, self.bytes[0], self.bytes[1]);
                let bytes = match self.table {
                    Some(table) if I::TRANSLATES => isa.translate(table, bytes),
                    _ => bytes,
                };
                let out = &mut self.out[index..];
                match NV {
                    4 => isa.put_i8::<1>(bytes, out, step),
                    2 => isa.put_i8::<2>(bytes, out, step),
                    _ => isa.put_i8::<4>(bytes, out, step),
                }
            }
            DType::I16 => {
                let [low, high] = self.words;
                let a = isa.pack_i16([q[0], q[1]], low, high);
                let b = isa.pack_i16([q[2], q[3]], low, high);
                let out = &mut self.out[2 * index..];
                match NV {
                    4 => {
                        isa.put_i16::<1>(a, out, 0);
                        isa.put_i16::<1>(b, &mut out[4 * I::LANES..], 0);
                    }
                    2 => {
                        isa.put_i16::<1>(a, out, 0);
                        isa.put_i16::<1>(b, &mut out[2 * step..], 0);
                    }
                    _ => {
                        isa.put_i16::<2>(a, out, 2 * step);
                        isa.put_i16::<2>(b, &mut out[4 * step..], 2 * step);
                    }
                }
            }
        }
    }

    /// Looks up what [`LiveStore::put_quad`] left in some pixels.
    #[inline(always)]
    fn look_up(&mut self, isa: I, pixels: Range<usize>, channel: usize, channels: usize) {
        let Some(table) = self.table.filter(|_| !I::TRANSLATES) else { return };
        for pixel in pixels {
            let index = pixel * self.pixel_stride + channel - self.first;
            isa.look_up(table, &mut self.out[index..index + channels]);
        }
    }

    #[inline(always)]
    fn put(&mut self, isa: I, t: I::F, pixel: usize, channel: usize, lanes: usize) {
        let t = isa.min_f32(isa.max_f32(t, self.low), self.high);
        let q = isa.add(isa.round(t), self.zero_point);
        let index = pixel * self.pixel_stride + channel - self.first;
        match self.dtype {
            DType::I8 => {
                let out = &mut self.out[index..index + lanes];
                isa.store_i8(q, out);
                if let Some(table) = self.table {
                    isa.look_up(table, out);
                }
            }
            DType::I16 => isa.store_i16(q, &mut self.out[2 * index..2 * (index + lanes)]),
        }
    }
}

/// An epilogue in registers.
pub(super) struct Live<'a, I: Isa> {
    bounded: bool,
    residual: Option<(Operand, I::F, &'a [u8])>,
    store: Option<LiveStore<'a, I>>,
    second: Option<(&'a [f32], &'a [f32], LiveStore<'a, I>)>,
}

/// Sums of some pixels for one vector of channels.
#[derive(Clone, Copy)]
pub(super) struct Column<'a> {
    /// `LANES` sums of every pixel, `step` values apart.
    pub sums: &'a [i32],
    pub step: usize,
    /// First pixel, and how many.
    pub pixel: usize,
    pub count: usize,
    /// First channel, and how many (at most `LANES`).
    pub channel: usize,
    pub lanes: usize,
}

impl<I: Isa> Live<'_, I> {
    /// Finishes a column of sums.
    #[inline(always)]
    pub fn column(&mut self, isa: I, scale: &Scale<I>, column: Column<'_>) {
        let Column { sums, step, pixel, count, channel, lanes } = column;
        if self.bounded && scale.slope.is_none() && lanes == I::LANES && count >= 4 {
            let mut at = 0;
            while at < count {
                // The last four move back and finish some pixels again.
                let first = at.min(count - 4);
                let quad = &sums[first * step..][..3 * step + I::LANES];
                let value = [
                    scale.value(isa, isa.load_i32(quad)),
                    scale.value(isa, isa.load_i32(&quad[step..])),
                    scale.value(isa, isa.load_i32(&quad[2 * step..])),
                    scale.value(isa, isa.load_i32(&quad[3 * step..])),
                ];
                self.quad_of::<1>(isa, value, pixel + first, 1, channel);
                at += 4;
            }
            self.after_quads(isa, pixel..pixel + count, channel, lanes);
            return;
        }
        for (i, sums) in sums.chunks(step).take(count).enumerate() {
            let t = scale.value(isa, isa.load_i32(sums));
            self.put(isa, t, pixel + i, channel, lanes);
        }
    }

    /// Finishes the sums of `NV` vectors of channels of `4 / NV` pixels, `next` pixels apart. Only where the epilogue
    /// is [bounded](PackedEpilogue::bound) and there are no slopes.
    ///
    /// Vectors leave as whole registers of bytes, which takes half the time of one by one (`rates`, 1x1 64-256 @56).
    #[inline(always)]
    pub fn quad<const NV: usize>(
        &mut self,
        isa: I,
        sums: [I::I; 4],
        scale: &[I::F; NV],
        pixel: usize,
        next: usize,
        channel: usize,
    ) {
        // No closures: compilers leave them as functions, and accumulators in registers are lost around a call.
        let value = [
            isa.mul_f32(isa.to_f32(sums[0]), scale[0]),
            isa.mul_f32(isa.to_f32(sums[1]), scale[1 % NV]),
            isa.mul_f32(isa.to_f32(sums[2]), scale[2 % NV]),
            isa.mul_f32(isa.to_f32(sums[3]), scale[3 % NV]),
        ];
        self.quad_of::<NV>(isa, value, pixel, next, channel);
    }

    /// As [`Live::quad`], of scaled values.
    #[inline(always)]
    pub fn quad_of<const NV: usize>(
        &mut self,
        isa: I,
        value: [I::F; 4],
        pixel: usize,
        next: usize,
        channel: usize,
    ) {
        let t = match &self.residual {
            Some((operand, factor, bytes)) => {
                let offset = isa.splat(-operand.zero_point);
                let start = pixel * operand.pixel_stride + channel;
                let down = next * operand.pixel_stride;
                let at = [
                    start,
                    start + 1 / NV * down + 1 % NV * I::LANES,
                    start + 2 / NV * down + 2 % NV * I::LANES,
                    start + 3 / NV * down + 3 % NV * I::LANES,
                ];
                let r = match operand.dtype {
                    DType::I8 => [
                        isa.load_i8(&bytes[at[0]..]),
                        isa.load_i8(&bytes[at[1]..]),
                        isa.load_i8(&bytes[at[2]..]),
                        isa.load_i8(&bytes[at[3]..]),
                    ],
                    DType::I16 => [
                        isa.load_i16(&bytes[2 * at[0]..]),
                        isa.load_i16(&bytes[2 * at[1]..]),
                        isa.load_i16(&bytes[2 * at[2]..]),
                        isa.load_i16(&bytes[2 * at[3]..]),
                    ],
                };
                [
                    residual(isa, value[0], r[0], offset, *factor),
                    residual(isa, value[1], r[1], offset, *factor),
                    residual(isa, value[2], r[2], offset, *factor),
                    residual(isa, value[3], r[3], offset, *factor),
                ]
            }
            None => value,
        };
        if let Some(store) = &mut self.store {
            store.put_quad::<NV>(isa, t, pixel, next, channel);
        }
        if let Some((a, b, store)) = &mut self.second {
            let (a, b) = (&a[channel..][..NV * I::LANES], &b[channel..][..NV * I::LANES]);
            let u = [
                affine(isa, t[0], a, b),
                affine(isa, t[1], &a[1 % NV * I::LANES..], &b[1 % NV * I::LANES..]),
                affine(isa, t[2], &a[2 % NV * I::LANES..], &b[2 % NV * I::LANES..]),
                affine(isa, t[3], &a[3 % NV * I::LANES..], &b[3 % NV * I::LANES..]),
            ];
            store.put_quad::<NV>(isa, u, pixel, next, channel);
        }
    }

    /// Asks for the residual of these pixels, if it is too large to be near.
    #[inline(always)]
    pub fn prefetch(&self, isa: I, pixels: Range<usize>, channel: usize, channels: usize) {
        let Some((operand, _, bytes)) = self.residual.as_ref().filter(|r| r.2.len() > FAR) else {
            return;
        };
        let element = operand.dtype.bytes() as usize;
        for pixel in pixels {
            let first = (pixel * operand.pixel_stride + channel) * element;
            for at in (first..first + channels * element).step_by(LINE) {
                isa.prefetch_line(bytes, at);
            }
        }
    }

    /// What [`Live::quad`] leaves undone, once its sums are out of the registers.
    #[inline(always)]
    pub fn after_quads(&mut self, isa: I, pixels: Range<usize>, channel: usize, channels: usize) {
        if let Some(store) = &mut self.store {
            store.look_up(isa, pixels.clone(), channel, channels);
        }
        if let Some((.., store)) = &mut self.second {
            store.look_up(isa, pixels, channel, channels);
        }
    }

    /// Finishes `lanes` (at most `LANES`) channels of a pixel from `t`, the scaled accumulators.
    #[inline(always)]
    pub fn put(&mut self, isa: I, t: I::F, pixel: usize, channel: usize, lanes: usize) {
        let t = match &self.residual {
            Some((operand, multiplier, bytes)) => {
                let r = operand.load(isa, bytes, pixel * operand.pixel_stride + channel);
                isa.add_f32(t, isa.mul_f32(isa.to_f32(r), *multiplier))
            }
            None => t,
        };
        if let Some(store) = &mut self.store {
            store.put(isa, t, pixel, channel, lanes);
        }
        if let Some((a, b, store)) = &mut self.second {
            let u = isa.mul_f32(t, isa.load_f32(&a[channel..]));
            let u = isa.add_f32(u, isa.load_f32(&b[channel..]));
            store.put(isa, u, pixel, channel, lanes);
        }
    }
}

/// `t + f32(r + offset) * factor`
#[inline(always)]
fn residual<I: Isa>(isa: I, t: I::F, r: I::I, offset: I::I, factor: I::F) -> I::F {
    isa.add_f32(t, isa.mul_f32(isa.to_f32(isa.add(r, offset)), factor))
}

/// `t * a + b`, rounded twice.
#[inline(always)]
fn affine<I: Isa>(isa: I, t: I::F, a: &[f32], b: &[f32]) -> I::F {
    isa.add_f32(isa.mul_f32(t, isa.load_f32(a)), isa.load_f32(b))
}

/// What makes an accumulator a value, for `LANES` channels.
pub(super) struct Scale<I: Isa> {
    pub multiplier: I::F,
    pub slope: Option<I::F>,
    pub silu: Option<I::F>,
}

impl<I: Isa> Scale<I> {
    /// `t = f32(acc) * m; t = t < 0 ? t * slope : t; t = silu(t) * factor`.
    #[inline(always)]
    pub fn value(&self, isa: I, acc: I::I) -> I::F {
        let t = isa.mul_f32(isa.to_f32(acc), self.multiplier);
        if let Some(factor) = self.silu {
            return isa.mul_f32(silu(isa, t), factor);
        }
        match self.slope {
            Some(slope) => {
                // One of the summands is zero, so the sum is exact.
                let zero = isa.splat_f32(0.0);
                let below = isa.mul_f32(isa.min_f32(t, zero), slope);
                isa.add_f32(isa.max_f32(t, zero), below)
            }
            None => t,
        }
    }
}

/// [`crate::quant::silu`] of every lane.
#[inline(always)]
fn silu<I: Isa>(isa: I, x: I::F) -> I::F {
    let [p0, p1, p2] = NUMERATOR;
    let [q1, q2, q3] = DENOMINATOR;
    let next = |sum: I::F, z: I::F, c: f32| isa.add_f32(isa.mul_f32(sum, z), isa.splat_f32(c));
    let y = isa.max_f32(x, isa.splat_f32(-REACH));
    let y = isa.min_f32(y, isa.splat_f32(REACH));
    let z = isa.mul_f32(y, y);
    let p = next(next(isa.splat_f32(p2), z, p1), z, p0);
    let q = next(next(next(isa.splat_f32(q3), z, q2), z, q1), z, 1.0);
    isa.mul_f32(x, isa.add_f32(isa.mul_f32(y, isa.div_f32(p, q)), isa.splat_f32(0.5)))
}
