//! What follows the accumulation, as [`crate::desc::Epilogue`] defines it: residual, stores, table.
//!
//! [`PackedEpilogue`] is made once, with the platform's bias in the zero points; [`Live`] holds its constants in
//! registers, with the operands of one run. Tested through `conv` and `elementwise`.

use super::Lookup;
use crate::desc::{Affine, DType, Epilogue, Store, TensorDesc};
use crate::isa::Isa;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Lanes of the widest vector: per-channel arrays are padded by as many values.
pub(super) const MAX_LANES: usize = 16;

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
}

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
        }
    }

    /// An epilogue of one store.
    pub fn of_store(store: &Store, lookup: &impl Lookup, bias: i32) -> Self {
        let store = Some(PackedStore::new(store, lookup, bias));
        Self { residual: None, store, second: None }
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
            table: s.table.as_deref(),
        };
        Live {
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
    table: Option<&'a [u8; 256]>,
}

impl<I: Isa> LiveStore<'_, I> {
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
                    for b in out {
                        *b = table[usize::from(*b)];
                    }
                }
            }
            DType::I16 => isa.store_i16(q, &mut self.out[2 * index..2 * (index + lanes)]),
        }
    }
}

/// An epilogue in registers.
pub(super) struct Live<'a, I: Isa> {
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

/// Which residual [`Live::plain`] adds.
const NONE: u8 = 0;
const I8: u8 = 1;
const I16: u8 = 2;

impl<I: Isa> Live<'_, I> {
    /// Finishes a column of sums.
    #[inline(always)]
    pub fn column(&mut self, isa: I, scale: &Scale<I>, column: Column<'_>) {
        let plain = self.second.is_none()
            && self.store.as_ref().is_some_and(|s| s.dtype == DType::I8 && s.table.is_none())
            && scale.slope.is_none()
            && column.lanes == I::LANES;
        match self.residual.as_ref().map(|(operand, ..)| operand.dtype) {
            None if plain => self.plain::<NONE>(isa, scale, column),
            Some(DType::I8) if plain => self.plain::<I8>(isa, scale, column),
            Some(DType::I16) if plain => self.plain::<I16>(isa, scale, column),
            _ => {
                for (i, sums) in column.sums.chunks(column.step).take(column.count).enumerate() {
                    let t = scale.value(isa, isa.load_i32(sums));
                    self.put(isa, t, column.pixel + i, column.channel, column.lanes);
                }
            }
        }
    }

    /// [`Live::column`] for the commonest epilogues: full vectors, one i8 store, no table, no slope. All conditions
    /// are outside of the loop; the general loop takes twice the time (`rates`, 1x1 64-256 @56).
    #[inline(always)]
    fn plain<const RESIDUAL: u8>(&mut self, isa: I, scale: &Scale<I>, column: Column<'_>) {
        let Some(LiveStore { out, first, pixel_stride, zero_point, low, high, .. }) =
            &mut self.store
        else {
            return;
        };
        let (zero_point, low, high) = (*zero_point, *low, *high);
        let (factor, offset, step, mut residual) = match &self.residual {
            Some((r, m, bytes)) if RESIDUAL != NONE => {
                let element = r.dtype.bytes() as usize;
                let start = (column.pixel * r.pixel_stride + column.channel) * element;
                (*m, isa.splat(-r.zero_point), r.pixel_stride * element, &bytes[start..])
            }
            _ => (low, zero_point, 0, &[][..]),
        };
        let start = column.pixel * *pixel_stride + column.channel - *first;
        let out = out[start..].chunks_mut(*pixel_stride);
        let sums = column.sums.chunks(column.step);
        for (sums, out) in sums.zip(out).take(column.count) {
            let mut t = isa.mul_f32(isa.to_f32(isa.load_i32(sums)), scale.multiplier);
            if RESIDUAL != NONE {
                let r = if RESIDUAL == I8 { isa.load_i8(residual) } else { isa.load_i16(residual) };
                // The last pixel's successor may lie behind the slack.
                residual = residual.get(step..).unwrap_or_default();
                t = isa.add_f32(t, isa.mul_f32(isa.to_f32(isa.add(r, offset)), factor));
            }
            let t = isa.min_f32(isa.max_f32(t, low), high);
            isa.store_i8(isa.add(isa.round(t), zero_point), &mut out[..I::LANES]);
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

/// What makes an accumulator a value, for `LANES` channels.
pub(super) struct Scale<I: Isa> {
    pub multiplier: I::F,
    pub slope: Option<I::F>,
}

impl<I: Isa> Scale<I> {
    /// `t = f32(acc) * m; t = t < 0 ? t * slope : t`.
    #[inline(always)]
    pub fn value(&self, isa: I, acc: I::I) -> I::F {
        let t = isa.mul_f32(isa.to_f32(acc), self.multiplier);
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
