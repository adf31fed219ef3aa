//! What follows the accumulation, as [`crate::desc::Epilogue`] defines it: residual, stores, table.
//!
//! [`PackedEpilogue`] is made once, with the platform's bias in the zero points; [`super::live`] runs it. Tested through
//! `conv` and `elementwise`.

use super::Lookup;
use super::form::{Form, Kind, Parts};
use super::live::{Live, LiveResidual, LiveSecond, LiveStore};
use crate::desc::{Affine, DType, Epilogue, Store, TensorDesc};
use crate::isa::Isa;
use crate::quant::{RESIDUAL_BITS, has_bits};
use alloc::boxed::Box;

/// Lanes of the widest vector: per-channel arrays are padded by as many values.
pub(super) const MAX_LANES: usize = 16;

/// Per-channel f32 constants, padded for vector loads.
pub(super) fn channels_f32(bytes: &[u8]) -> Box<[f32]> {
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

    /// Whether the product of `x - zero_point` and a multiplier is always an f32.
    pub fn is_exact(&self, multiplier: f32) -> bool {
        self.dtype == DType::I8 && multiplier.is_normal() && has_bits(multiplier, RESIDUAL_BITS)
    }

    /// What it is as the residual of a form, on a platform that adds `bias` to stored bytes, if there may be one. `is_exact`
    /// is whether its products are.
    fn kind(&self, bias: i32, is_exact: bool) -> Option<Kind> {
        match self.dtype {
            DType::I8 if is_exact && self.zero_point == bias - 128 => Some(Kind::Relu),
            DType::I8 if is_exact => Some(Kind::I8),
            DType::I16 if !is_exact && self.zero_point == 0 => Some(Kind::I16),
            DType::I8 | DType::I16 => None,
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
    pub dtype: DType,
    pub pixel_stride: usize,
    pub zero_point: i32,
    pub low: f32,
    pub high: f32,
    /// Limits of what is stored, without the platform's bias.
    pub limits: [i32; 2],
    pub table: Option<Box<[u8; 256]>>,
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

    /// What it is in a form, on a platform that adds `bias` to stored bytes.
    fn kind(&self, bias: i32) -> Kind {
        match self.dtype {
            DType::I8 if self.is_whole(bias) => Kind::Relu,
            DType::I8 => Kind::I8,
            DType::I16 => Kind::I16,
        }
    }

    /// Whether 0.0 is the smallest i8 and there are no other limits, on a platform that adds `bias` to stored bytes.
    pub fn is_whole(&self, bias: i32) -> bool {
        self.dtype == DType::I8 && self.zero_point == bias - 128 && self.limits == [-128, 127]
    }
}

/// A look-up table over stored bytes.
pub(super) fn stored_table(table: &[u8], bias: i32) -> [u8; 256] {
    let xor = bias as u8;
    core::array::from_fn(|byte| table[usize::from(byte as u8 ^ xor ^ 0x80)] ^ xor)
}

/// An epilogue ready to run.
pub(super) struct PackedEpilogue {
    /// With its multiplier, and whether all products with that are f32.
    residual: Option<(Operand, f32, bool)>,
    store: Option<PackedStore>,
    second: Option<PackedSecond>,
    /// See [`PackedEpilogue::bound`].
    bounded: bool,
}

struct PackedSecond {
    /// Factor of each channel, and what is added, if that is not always 0.
    a: Box<[f32]>,
    b: Option<Box<[f32]>>,
    store: PackedStore,
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
            let b = Some(b).filter(|b| b.iter().any(|b| *b != 0.0));
            PackedSecond { a, b, store: PackedStore::new(store, lookup, bias) }
        };
        Self {
            residual: epilogue
                .residual
                .map(|r| (Operand::new(&lookup.tensor(r.tensor), bias), r.multiplier))
                .map(|(operand, multiplier)| (operand, multiplier, operand.is_exact(multiplier))),
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
            .map_or(0.0, |(operand, multiplier, _)| operand.most() * f64::from(multiplier.abs()));
        let most = most + residual;
        let second = self.second.as_ref().map_or(0.0, |PackedSecond { a, b, .. }| {
            most * f64::from(largest(a)) + b.as_deref().map_or(0.0, |b| f64::from(largest(b)))
        });
        let simple = |store: &PackedStore| store.dtype == DType::I8 || store.zero_point == 0;
        let stores = self.store.iter().chain(self.second.as_ref().map(|second| &second.store));
        self.bounded = most.max(second) < MOST && stores.into_iter().all(simple);
    }

    /// Whether [`Live::quad`] serves.
    pub fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// Whether there is one result, of i8, and nothing is added to it.
    pub fn is_one_store_of_i8(&self) -> bool {
        let store = self.store.as_ref().is_some_and(|s| s.dtype == DType::I8);
        store && self.residual.is_none() && self.second.is_none()
    }

    /// What it does to quads, on a platform that adds `bias` to stored bytes.
    pub fn form(&self, bias: i32) -> Form {
        let stores = || self.store.iter().chain(self.second.as_ref().map(|second| &second.store));
        if stores().any(|s| s.table.is_some()) {
            return Form::Any;
        }
        let residual = match &self.residual {
            Some((operand, _, is_exact)) => match operand.kind(bias, *is_exact) {
                None => return Form::Any,
                kind => kind,
            },
            None => None,
        };
        Form::of(Parts {
            residual,
            store: self.store.as_ref().map(|s| s.kind(bias)),
            second: self.second.as_ref().map(|second| second.store.kind(bias)),
        })
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
            && self.residual.is_none_or(|(r, ..)| r.pixel_stride == channels)
            && self.store.as_ref().is_none_or(|s| s.pixel_stride == channels)
    }

    /// Bytes of a value of either store; 0 where there is none.
    pub fn value_bytes(&self) -> [usize; 2] {
        let bytes = |store: &PackedStore| store.dtype.bytes() as usize;
        let second = self.second.as_ref().map_or(0, |second| bytes(&second.store));
        [self.store.as_ref().map_or(0, bytes), second]
    }

    /// The constants in registers, with the operands. `first` is the pixel and channel at which the outputs start, `width`
    /// how many values a pixel has there, if that isn't what the tensor says.
    #[inline(always)]
    pub fn live<'a, I: Isa>(
        &'a self,
        isa: I,
        ends: Ends<'a>,
        first: (usize, usize),
        width: Option<usize>,
    ) -> Live<'a, I> {
        Live {
            bounded: self.bounded,
            residual: self.residual.zip(ends.residual).map(
                |((operand, multiplier, is_exact), bytes)| {
                    let multiplier = isa.splat_f32(multiplier);
                    LiveResidual { operand, multiplier, is_exact, bytes }
                },
            ),
            store: self
                .store
                .as_ref()
                .zip(ends.store)
                .map(|(s, out)| LiveStore::new(isa, s, out, first, width)),
            second: self.second.as_ref().zip(ends.second).map(|(second, out)| LiveSecond {
                a: &second.a,
                b: second.b.as_deref(),
                store: LiveStore::new(isa, &second.store, out, first, width),
            }),
        }
    }
}
