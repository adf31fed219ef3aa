//! Test helpers: one body per operator, run by every platform against `naive`.

mod columns;
mod conv;
mod forms;
mod lined;
mod naive;
mod pairs;
#[cfg(feature = "std")]
mod shapes;
mod stem;
mod winograd;

use crate::desc::{DType, Span, Store, TensorDesc, TensorId};
use crate::isa::Platform;
use crate::kernels::Lookup;
use alloc::vec::Vec;

/// xorshift64*, seeded.
pub(crate) struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }

    /// A value in `low..=high`, the limits more often than the others.
    pub fn int(&mut self, low: i32, high: i32) -> i32 {
        match self.next() % 8 {
            0 => low,
            1 => high,
            _ => low + (self.next() % (high - low + 1) as u32) as i32,
        }
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.next() as usize % of.len()]
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.next() % 100 < percent
    }

    /// A weight from a bell-shaped distribution.
    pub fn bell(&mut self, deviation: f32) -> i32 {
        // Six values in -1..1 have a variance of 2.
        let sum: f32 = (0..6).map(|_| self.float(-1.0, 1.0)).sum();
        (sum * deviation * core::f32::consts::FRAC_1_SQRT_2).clamp(-127.0, 127.0) as i32
    }

    /// A value in `low..high`.
    pub fn float(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 8) as f32 / 16_777_216.0
    }
}

/// What the tensors and stores of a [`Bench`] are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything.
    #[default]
    Any,
    /// Without tables; 0.0 is not the smallest i8.
    Plain,
    /// As a ReLU leaves them: 0.0 is the smallest i8, and there are no other limits.
    Relu,
}

/// Tensors with their values, and constants.
#[derive(Default)]
pub(crate) struct Bench {
    /// Of what is added next.
    pub kind: Kind,
    tensors: Vec<TensorDesc>,
    values: Vec<Vec<i32>>,
    data: Vec<u8>,
}

impl Lookup for Bench {
    fn tensor(&self, id: TensorId) -> TensorDesc {
        self.tensors[id.0 as usize]
    }

    fn bytes(&self, span: Span) -> &[u8] {
        &self.data[span.offset as usize..][..span.len as usize]
    }
}

impl Bench {
    /// A tensor of random values; sometimes a view with gaps between its pixels.
    pub fn tensor_of(&mut self, rng: &mut Rng, dtype: DType, [h, w, c]: [usize; 3]) -> TensorId {
        let gap = if rng.chance(25) { rng.int(1, 40) as u32 } else { 0 };
        let zero_point = match (dtype, self.kind) {
            (DType::I8, Kind::Any) => rng.int(-128, 127),
            (DType::I8, Kind::Plain) => rng.int(-127, 127),
            (DType::I8, Kind::Relu) => -128,
            (DType::I16, _) => 0,
        };
        let (low, high) = if dtype == DType::I8 { (-128, 127) } else { (-32767, 32767) };
        self.tensors.push(TensorDesc {
            name: Span::default(),
            height: h as u32,
            width: w as u32,
            channels: c as u32,
            pixel_stride: c as u32 + gap,
            dtype,
            scale: 1.0,
            zero_point,
            arena_offset: 0,
            first_op: 0,
            last_op: 0,
        });
        self.values.push((0..h * w * c).map(|_| rng.int(low, high)).collect());
        TensorId(self.tensors.len() as u32 - 1)
    }

    pub fn values(&self, id: TensorId) -> &[i32] {
        &self.values[id.0 as usize]
    }

    pub fn constant(&mut self, bytes: impl IntoIterator<Item = u8>) -> Span {
        let offset = self.data.len() as u32;
        self.data.extend(bytes);
        Span { offset, len: self.data.len() as u32 - offset }
    }

    pub fn f32s(&mut self, values: impl IntoIterator<Item = f32>) -> Span {
        self.constant(values.into_iter().flat_map(f32::to_le_bytes))
    }

    pub fn read_f32s(&self, span: Span) -> Vec<f32> {
        self.bytes(span).as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    /// A store to a new tensor of that type and shape.
    pub fn store(&mut self, rng: &mut Rng, dtype: DType, shape: [usize; 3]) -> Store {
        let output = self.tensor_of(rng, dtype, shape);
        let zero_point = self.tensor(output).zero_point;
        let (low, high) = if dtype == DType::I8 { (-128, 127) } else { (-32767, 32767) };
        if self.kind == Kind::Relu {
            return Store { output, zero_point, clamp_min: low, clamp_max: high, table: None };
        }
        let table = (dtype == DType::I8 && self.kind == Kind::Any && rng.chance(20))
            .then(|| self.constant((0..256).map(|_| rng.next() as u8).collect::<Vec<_>>()));
        Store {
            output,
            zero_point,
            clamp_min: if rng.chance(50) { zero_point.max(low) } else { low },
            clamp_max: if rng.chance(20) { high.min(zero_point.max(low) + 60) } else { high },
            table,
        }
    }

    /// A tensor in a platform's storage form, with noise in the gaps and in the slack.
    pub fn stored(&self, rng: &mut Rng, platform: Platform, id: TensorId) -> Vec<u8> {
        let desc = self.tensor(id);
        let size = desc.dtype.bytes() as usize;
        let (stride, channels) = (desc.pixel_stride as usize, desc.channels as usize);
        let len = ((desc.pixels() as usize - 1) * stride + channels) * size;
        let mut bytes: Vec<u8> =
            (0..len + TensorDesc::SLACK_BYTES as usize).map(|_| rng.next() as u8).collect();
        for (p, pixel) in self.values(id).chunks_exact(channels).enumerate() {
            for (c, v) in pixel.iter().enumerate() {
                let at = (p * stride + c) * size;
                match desc.dtype {
                    DType::I8 => bytes[at] = *v as u8 ^ platform.act_xor(),
                    DType::I16 => bytes[at..at + 2].copy_from_slice(&(*v as i16).to_ne_bytes()),
                }
            }
        }
        bytes
    }
}
