//! An epilogue at work: its constants in registers, with the operands of one run.

use super::epilogue::{Operand, PackedStore};
use super::quads::Pixels;
use super::scale::Scale;
use crate::desc::DType;
use crate::isa::Isa;
use core::ops::Range;

/// Tensors of more bytes are asked for in time; for smaller ones the hints cost more than they save (3x3 32-32 @32:
/// 0.60 -> 0.62 ms for WRN-28-2, while WRN-16-4 at 320x320 went from 26.4 to 25.2 ms).
pub(super) const FAR: usize = 512 << 10;
/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Constants of a store.
pub(super) struct Constants<'a, I: Isa> {
    pub dtype: DType,
    zero_point: I::I,
    low: I::F,
    high: I::F,
    /// Limits of i16 and of i8, and the zero point of i8.
    pub words: [I::H; 2],
    pub bytes: [I::B; 2],
    pub zero: I::H,
    /// Whether 0.0 is the smallest i8 and there are no other limits.
    pub whole: bool,
    pub table: Option<&'a [u8; 256]>,
}

pub(super) struct LiveStore<'a, I: Isa> {
    pub out: &'a mut [u8],
    /// Element of the whole map that `out` starts with.
    pub first: usize,
    pub pixel_stride: usize,
    pub constants: Constants<'a, I>,
}

impl<'a, I: Isa> LiveStore<'a, I> {
    /// `first` is the pixel and channel at which `out` starts, `width` how many values a pixel has there, if that isn't what
    /// the tensor says.
    #[inline(always)]
    pub fn new(
        isa: I,
        s: &'a PackedStore,
        out: &'a mut [u8],
        first: (usize, usize),
        width: Option<usize>,
    ) -> Self {
        let constants = Constants {
            dtype: s.dtype,
            zero_point: isa.splat(s.zero_point),
            low: isa.splat_f32(s.low),
            high: isa.splat_f32(s.high),
            words: s.limits.map(|x| isa.splat_i16(x as i16)),
            zero: isa.splat_i16(s.zero_point as i16),
            whole: s.is_whole(I::BIAS),
            bytes: s.limits.map(|x| isa.splat_i8(x)),
            table: s.table.as_deref(),
        };
        let pixel_stride = width.unwrap_or(s.pixel_stride);
        Self { out, first: first.0 * pixel_stride + first.1, pixel_stride, constants }
    }

    /// Looks up what quads left in some pixels.
    #[inline(always)]
    fn look_up(&mut self, isa: I, pixels: Range<usize>, channel: usize, channels: usize) {
        let Some(table) = self.constants.table.filter(|_| !I::TRANSLATES) else { return };
        for pixel in pixels {
            let index = pixel * self.pixel_stride + channel - self.first;
            isa.look_up(table, &mut self.out[index..index + channels]);
        }
    }

    #[inline(always)]
    fn put(&mut self, isa: I, t: I::F, pixel: usize, channel: usize, lanes: usize) {
        let c = &self.constants;
        let t = isa.min_f32(isa.max_f32(t, c.low), c.high);
        let q = isa.add(isa.round(t), c.zero_point);
        let index = pixel * self.pixel_stride + channel - self.first;
        match c.dtype {
            DType::I8 => {
                let out = &mut self.out[index..index + lanes];
                isa.store_i8(q, out);
                if let Some(table) = c.table {
                    isa.look_up(table, out);
                }
            }
            DType::I16 => isa.store_i16(q, &mut self.out[2 * index..2 * (index + lanes)]),
        }
    }
}

/// An epilogue in registers.
pub(super) struct Live<'a, I: Isa> {
    pub bounded: bool,
    pub residual: Option<LiveResidual<'a, I>>,
    pub store: Option<LiveStore<'a, I>>,
    pub second: Option<LiveSecond<'a, I>>,
}

pub(super) struct LiveSecond<'a, I: Isa> {
    /// Factor of each channel, and what is added, if that is not always 0.
    pub a: &'a [f32],
    pub b: Option<&'a [f32]>,
    pub store: LiveStore<'a, I>,
}

pub(super) struct LiveResidual<'a, I: Isa> {
    pub operand: Operand,
    pub multiplier: I::F,
    /// Whether all products with the multiplier are f32.
    pub is_exact: bool,
    pub bytes: &'a [u8],
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

impl<'a, I: Isa> Live<'a, I> {
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
                self.quad::<1>(isa, value, pixel + first, channel);
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

    /// Finishes the scaled values of `NV` vectors of channels of `4 / NV` neighbouring pixels. Only where the epilogue is
    /// [bounded](super::epilogue::PackedEpilogue::bound).
    #[inline(always)]
    pub fn quad<const NV: usize>(
        &mut self,
        isa: I,
        value: [I::F; 4],
        pixel: usize,
        channel: usize,
    ) {
        let channels = NV * I::LANES;
        match NV {
            4 => Pixels::new(isa, self, (pixel, 1), channel, channels).quad::<4>(isa, value, 0, 0),
            2 => Pixels::new(isa, self, (pixel, 2), channel, channels).quad::<2>(isa, value, 0, 1),
            _ => Pixels::new(isa, self, (pixel, 4), channel, channels).quad::<1>(isa, value, 0, 3),
        }
    }

    /// What quads leave undone, once their sums are out of the registers.
    #[inline(always)]
    pub fn after_quads(&mut self, isa: I, pixels: Range<usize>, channel: usize, channels: usize) {
        if let Some(store) = &mut self.store {
            store.look_up(isa, pixels.clone(), channel, channels);
        }
        if let Some(LiveSecond { store, .. }) = &mut self.second {
            store.look_up(isa, pixels, channel, channels);
        }
    }

    /// Finishes `lanes` (at most `LANES`) channels of a pixel from `t`, the scaled accumulators.
    #[inline(always)]
    pub fn put(&mut self, isa: I, t: I::F, pixel: usize, channel: usize, lanes: usize) {
        let t = match &self.residual {
            Some(LiveResidual { operand, multiplier, bytes, .. }) => {
                let r = operand.load(isa, bytes, pixel * operand.pixel_stride + channel);
                isa.add_f32(t, isa.mul_f32(isa.to_f32(r), *multiplier))
            }
            None => t,
        };
        if let Some(store) = &mut self.store {
            store.put(isa, t, pixel, channel, lanes);
        }
        if let Some(LiveSecond { a, b, store }) = &mut self.second {
            let u = isa.mul_f32(t, isa.load_f32(&a[channel..]));
            let u = b.map_or(u, |b| isa.add_f32(u, isa.load_f32(&b[channel..])));
            store.put(isa, u, pixel, channel, lanes);
        }
    }
}
