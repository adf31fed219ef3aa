//! Tensors as operators see them: quantised values by pixel and channel.

use core::ops::Range;

use crate::desc::{DType, TensorDesc};
use crate::isa::{Area, turned};

/// The part of an operator's result that is computed: all combinations of these pixels and channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Pixels, row by row.
    pub pixels: Range<usize>,
    /// Channels.
    pub channels: Range<usize>,
}

impl Part {
    /// Calls `f(pixel, channel)` for the whole part, channels innermost.
    pub(crate) fn for_each(&self, mut f: impl FnMut(usize, usize)) {
        for pixel in self.pixels.clone() {
            for channel in self.channels.clone() {
                f(pixel, channel);
            }
        }
    }
}

/// A tensor to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map<'s> {
    bytes: &'s [u8],
    xor: u8,
    pub(crate) dtype: DType,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pixel_stride: usize,
    pub(crate) zero_point: i32,
}

impl<'s> Map<'s> {
    /// `bytes` are those of the tensor, from its first element on.
    pub(crate) fn new(bytes: &'s [u8], desc: &TensorDesc, xor: u8) -> Self {
        Self {
            bytes,
            xor,
            dtype: desc.dtype,
            height: desc.height as usize,
            width: desc.width as usize,
            channels: desc.channels as usize,
            pixel_stride: desc.pixel_stride as usize,
            zero_point: desc.zero_point,
        }
    }

    /// The quantised value.
    #[inline]
    pub(crate) fn get(&self, pixel: usize, channel: usize) -> i32 {
        let index = pixel * self.pixel_stride + channel;
        match self.dtype {
            DType::I8 => i32::from((self.bytes[index] ^ self.xor) as i8),
            DType::I16 => {
                i32::from(i16::from_ne_bytes([self.bytes[2 * index], self.bytes[2 * index + 1]]))
            }
        }
    }

    /// Sixteen bytes of the pixels from `pixel` on, those of the values from `channel` on, as four words with the first
    /// value lowest: word `w` of pixel `i` of these is `words[w][i]`. What is behind the last channel or pixel does not
    /// count. The values of an i8 tensor are signed bytes there, whatever the platform.
    #[inline(always)]
    pub(crate) fn words<const N: usize>(
        &self,
        pixel: usize,
        channel: usize,
        words: &mut [[u32; N]; 4],
    ) {
        const { assert!(N.is_multiple_of(4)) };
        let element = self.dtype.bytes() as usize;
        let (step, skip) = (self.pixel_stride * element, channel * element);
        let xor = match self.dtype {
            DType::I8 => u32::from_le_bytes([self.xor; 4]),
            DType::I16 => 0,
        };
        let bytes = &self.bytes[pixel * step + skip..];
        let mut put = |i: usize, rows: [[u8; 16]; 4]| {
            for (words, turned) in words.iter_mut().zip(turned(rows)) {
                for (word, turned) in words[i..i + 4].iter_mut().zip(turned) {
                    *word = u32::from_le(turned) ^ xor;
                }
            }
        };
        if bytes.len() >= (N - 1) * step + 16 {
            let area = Area::new(bytes, N, 0, step, 16);
            for i in (0..N).step_by(4) {
                put(
                    i,
                    core::array::from_fn(|r| {
                        *area.get(i + r, 0, 16).first_chunk().expect("16 bytes")
                    }),
                );
            }
            return;
        }
        for i in (0..N).step_by(4) {
            let Some(bytes) = bytes.get(i * step..) else { break };
            // The last pixels may have fewer bytes.
            put(
                i,
                core::array::from_fn(|r| {
                    core::array::from_fn(|k| bytes.get(r * step + k).copied().unwrap_or(0))
                }),
            );
        }
    }

    /// The largest quantised value of these channels of a pixel; `i32::MIN` of none.
    #[cfg(feature = "detect")]
    #[inline]
    pub(crate) fn max(&self, pixel: usize, channels: Range<usize>) -> i32 {
        let start = pixel * self.pixel_stride;
        match self.dtype {
            DType::I8 => {
                let values = &self.bytes[start + channels.start..start + channels.end];
                // A fold over bytes vectorises.
                let largest =
                    values.iter().fold(i8::MIN, |most, &x| most.max((x ^ self.xor) as i8));
                if values.is_empty() { i32::MIN } else { i32::from(largest) }
            }
            DType::I16 => {
                let (values, _) = self.bytes
                    [2 * (start + channels.start)..2 * (start + channels.end)]
                    .as_chunks();
                let largest =
                    values.iter().fold(i16::MIN, |most, &x| most.max(i16::from_ne_bytes(x)));
                if values.is_empty() { i32::MIN } else { i32::from(largest) }
            }
        }
    }

    /// `x' = x - zero_point`.
    #[inline]
    pub(super) fn centered(&self, pixel: usize, channel: usize) -> i32 {
        self.get(pixel, channel) - self.zero_point
    }

    /// `sum x'[c] * w[c]` over the channels from `channel` on, of an i8 tensor.
    #[inline]
    pub(super) fn dot(&self, pixel: usize, channel: usize, weights: &[u8]) -> i32 {
        let start = pixel * self.pixel_stride + channel;
        let values = &self.bytes[start..start + weights.len()];
        let centered = |x: u8| i32::from((x ^ self.xor) as i8) - self.zero_point;
        values.iter().zip(weights).map(|(&x, &w)| centered(x) * i32::from(w as i8)).sum()
    }
}

/// A tensor to write.
#[derive(Debug)]
pub(crate) struct MapMut<'s> {
    bytes: &'s mut [u8],
    xor: u8,
    dtype: DType,
    pixel_stride: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    /// Element index of the first byte.
    first: usize,
}

impl<'s> MapMut<'s> {
    /// `bytes` begin at the first pixel and channel of `part`.
    pub(crate) fn new(bytes: &'s mut [u8], desc: &TensorDesc, xor: u8, part: &Part) -> Self {
        let pixel_stride = desc.pixel_stride as usize;
        Self {
            bytes,
            xor,
            dtype: desc.dtype,
            pixel_stride,
            height: desc.height as usize,
            width: desc.width as usize,
            first: part.pixels.start * pixel_stride + part.channels.start,
        }
    }

    /// Writes a quantised value, which is in the range of the type.
    #[inline]
    pub(crate) fn put(&mut self, pixel: usize, channel: usize, q: i32) {
        let index = pixel * self.pixel_stride + channel - self.first;
        match self.dtype {
            DType::I8 => self.bytes[index] = q as i8 as u8 ^ self.xor,
            DType::I16 => {
                self.bytes[2 * index..2 * index + 2].copy_from_slice(&(q as i16).to_ne_bytes());
            }
        }
    }

    /// What values are xored with, and the bytes.
    pub(crate) fn bytes(&mut self) -> (u8, &mut [u8]) {
        (self.xor, self.bytes)
    }

    /// Writes quantised values of one channel to pixels from `pixel` on.
    #[inline]
    pub(crate) fn put_run(&mut self, pixel: usize, channel: usize, values: &[i32]) {
        let first = pixel * self.pixel_stride + channel - self.first;
        match self.dtype {
            DType::I8 => {
                let places = self.bytes[first..].iter_mut().step_by(self.pixel_stride);
                places.zip(values).for_each(|(place, &q)| *place = q as i8 as u8 ^ self.xor);
            }
            DType::I16 => {
                for (i, &q) in values.iter().enumerate() {
                    self.put(pixel + i, channel, q);
                }
            }
        }
    }
}
