//! Between planes of real values, as training frameworks hold them, and pixels of quantised ones.
//!
//! Some pixels at a time in arrays of fixed size, which compilers turn into vector instructions: the work runs as a
//! [`Kernel`] of the session's platform. Channels move in words of four bytes, so that no byte is moved by itself.

use crate::desc::DType;
use crate::isa::{Isa, Kernel};
use crate::ops::{Map, MapMut};

/// Pixels at a time.
const BLOCK: usize = 32;
/// Pixels of a map that are near each other: a cache line of each fits the first cache level.
const NEAR: usize = 256;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Copies a map to planes, every value converted.
pub(super) struct ToPlanes<'a, T, F> {
    pub map: Map<'a>,
    /// `[channels, pixels]`
    pub out: &'a mut [T],
    pub pixels: usize,
    /// From quantised values.
    pub convert: F,
}

impl<T, F: Fn(i32) -> T> Kernel for ToPlanes<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Self { map, out, pixels, convert } = self;
        match map.dtype {
            DType::I8 => to_planes(isa, map, out, pixels, |word, k| {
                convert(i32::from((word >> (8 * k)) as i8))
            }),
            DType::I16 => to_planes(isa, map, out, pixels, |word, k| {
                // As they are in memory.
                convert(i32::from(u16::from_le((word >> (16 * k)) as u16) as i16))
            }),
        }
    }
}

/// Copies a map to planes. `convert` takes a word and which of its values to convert.
#[inline(always)]
fn to_planes<I: Isa, T>(
    isa: I,
    map: Map<'_>,
    out: &mut [T],
    pixels: usize,
    convert: impl Fn(u32, usize) -> T,
) {
    // Channels of a word.
    let step = 4 / map.dtype.bytes() as usize;
    let start = out.as_ptr();
    // All channels of some pixels, then the next: a line of each of them fits the first cache level, and planes are
    // written in long runs.
    for near in (0..pixels).step_by(NEAR) {
        for (i, planes) in out.chunks_mut(4 * step * pixels).enumerate() {
            let end = pixels.min(near + NEAR);
            let mut parts: [&mut [T]; 4 * 4] = core::array::from_fn(|_| &mut [][..]);
            for (part, plane) in parts.iter_mut().zip(planes.chunks_exact_mut(pixels)) {
                *part = &mut plane[near..end];
            }
            for first in (near..end).step_by(BLOCK) {
                let count = BLOCK.min(end - first);
                if end - near == NEAR {
                    // What is written next: many runs, each too short for processors to see it coming.
                    for plane in 4 * step * (i + 1)..4 * step * (i + 2) {
                        let places = start.wrapping_add(plane * pixels + first).cast::<u8>();
                        for line in (0..BLOCK * size_of::<T>()).step_by(LINE) {
                            isa.prefetch_line(places.wrapping_add(line));
                        }
                    }
                }
                let mut words = [[0; BLOCK]; 4];
                map.words(first, 4 * i * step, &mut words);
                for (words, parts) in words.iter().zip(parts.chunks_exact_mut(step)) {
                    for (k, part) in
                        parts.iter_mut().enumerate().filter(|(_, part)| !part.is_empty())
                    {
                        let (places, rest) = core::mem::take(part).split_at_mut(count);
                        *part = rest;
                        place(words, places, |word| convert(word, k));
                    }
                }
            }
        }
    }
}

/// Converts one value of each word.
#[inline(always)]
fn place<T>(words: &[u32; BLOCK], places: &mut [T], convert: impl Fn(u32) -> T) {
    if let Some(places) = places.first_chunk_mut::<BLOCK>() {
        for (place, word) in places.iter_mut().zip(words) {
            *place = convert(*word);
        }
    } else {
        for (place, word) in places.iter_mut().zip(words) {
            *place = convert(*word);
        }
    }
}

/// Quantises `C` planes into a map of `N` (at most four) i8 channels without gaps.
pub(super) struct FromPlanes<'a, 'm, const N: usize, const C: usize, F> {
    /// `[channels, pixels]`
    pub values: &'a [f32],
    /// Pixels of a plane.
    pub pixels: usize,
    /// The first of those to write, which are the map's.
    pub first: usize,
    pub map: &'a mut MapMut<'m>,
    /// Byte of the channels that have no plane, as it is stored.
    pub rest: u8,
    /// From a channel to what quantises its real values.
    pub quantize: F,
}

impl<const N: usize, const C: usize, Q: Fn(f32) -> i32, F: Fn(usize) -> Q> Kernel
    for FromPlanes<'_, '_, N, C, F>
{
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, _: I) {
        let Self { values, pixels, first, map, rest, quantize } = self;
        let (xor, bytes) = map.bytes();
        let quantize: [Q; C] = core::array::from_fn(quantize);
        // In words throughout: bytes that are put together become moves of single bytes.
        let [xor, rest] = [xor, rest].map(u32::from);
        let rest: u32 = (C..4).map(|c| rest << (8 * c)).sum();
        let word = |values: [f32; C]| {
            let mut word = rest;
            for c in 0..C {
                word |= (quantize[c](values[c]) as u32 & 0xff ^ xor) << (8 * c);
            }
            word
        };
        // All planes in one pass: one at a time, with words in memory between them, took four times as long.
        let mut planes: [&[f32]; C] = [&[]; C];
        for (c, plane) in planes.iter_mut().enumerate() {
            *plane = &values[c * pixels + first..][..bytes.len() / N];
        }
        for (block, places) in bytes.as_chunks_mut::<N>().0.chunks_mut(BLOCK).enumerate() {
            let at = block * BLOCK;
            let Some(places) = places.first_chunk_mut::<BLOCK>() else {
                for (i, place) in places.iter_mut().enumerate() {
                    let word = word(core::array::from_fn(|c| planes[c][at + i]));
                    place.copy_from_slice(&word.to_le_bytes()[..N]);
                }
                continue;
            };
            let planes: [&[f32; BLOCK]; C] =
                core::array::from_fn(|c| planes[c][at..].first_chunk().expect("a block"));
            let mut words = [0; BLOCK];
            for (i, slot) in words.iter_mut().enumerate() {
                *slot = word(core::array::from_fn(|c| planes[c][i]));
            }
            // A whole word each, of which the next overwrites what is too much.
            let places = places.as_flattened_mut();
            for (i, word) in words[..BLOCK - 1].iter().enumerate() {
                places[N * i..][..4].copy_from_slice(&word.to_le_bytes());
            }
            let last = &mut places[N * (BLOCK - 1)..];
            last.copy_from_slice(&words[BLOCK - 1].to_le_bytes()[..N]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desc::{Span, TensorDesc};
    use crate::isa::Platform;
    use crate::ops::Part;
    use std::vec;
    use std::vec::Vec;

    fn desc(size: [u32; 3], pixel_stride: u32, dtype: DType) -> TensorDesc {
        TensorDesc {
            name: Span { offset: 0, len: 0 },
            height: size[0],
            width: size[1],
            channels: size[2],
            pixel_stride,
            dtype,
            scale: 1.0,
            zero_point: 0,
            arena_offset: 0,
            first_op: 0,
            last_op: 0,
        }
    }

    #[test]
    fn planes_hold_what_pixels_hold() {
        for platform in Platform::available() {
            let xor = platform.act_xor();
            for dtype in [DType::I8, DType::I16] {
                for (pixels, channels, stride) in [
                    (1, 1, 1),
                    (2, 3, 3),
                    (31, 5, 7),
                    (32, 4, 4),
                    (33, 2, 9),
                    (100, 17, 17),
                    (64, 6, 80),
                    (600, 5, 6),
                ] {
                    let desc = desc([1, pixels, channels], stride, dtype);
                    // Without slack: words at the end are incomplete.
                    let len = (pixels - 1) * stride + channels;
                    let bytes: Vec<u8> =
                        (0..len * dtype.bytes()).map(|i| (i * 37 + 11) as u8).collect();
                    let map = Map::new(&bytes, &desc, xor);
                    let (pixels, channels) = (pixels as usize, channels as usize);
                    let mut out = vec![0; pixels * channels];
                    platform.run(ToPlanes { map, out: &mut out, pixels, convert: |q| q });
                    for (i, q) in out.into_iter().enumerate() {
                        let (c, pixel) = (i / pixels, i % pixels);
                        assert_eq!(q, map.get(pixel, c), "{} {desc:?} {i}", platform.name());
                    }
                }
            }
        }
    }

    /// In two parts.
    fn from_planes<const N: usize, const C: usize>(platform: Platform, pixels: usize) {
        let size = [1, pixels as u32, N as u32];
        let desc = desc(size, N as u32, DType::I8);
        let values: Vec<f32> = (0..pixels * C).map(|i| (i * 7 % 300) as f32 - 150.0).collect();
        let quantize = |value: f32, c: usize| (value as i32 + c as i32).clamp(-128, 127);
        let mut bytes = vec![9; pixels * N];
        let middle = pixels / 3;
        for range in [0..middle, middle..pixels] {
            let (first, values, rest) = (range.start, &values[..], 77);
            let bytes = &mut bytes[range.start * N..range.end * N];
            let part = Part { pixels: range, channels: 0..N };
            let map = &mut MapMut::new(bytes, &desc, platform.act_xor(), &part);
            let quantize = |c| move |value| quantize(value, c);
            platform.run(FromPlanes::<N, C, _> { values, pixels, first, map, rest, quantize });
        }
        let map = Map::new(&bytes, &desc, platform.act_xor());
        for pixel in 0..pixels {
            for c in 0..C {
                let expected = quantize(values[c * pixels + pixel], c);
                assert_eq!(map.get(pixel, c), expected, "{} {pixels} {pixel} {c}", platform.name());
            }
            assert!(bytes[pixel * N + C..(pixel + 1) * N].iter().all(|byte| *byte == 77));
        }
    }

    #[test]
    fn pixels_hold_what_planes_hold() {
        for platform in Platform::available() {
            for pixels in [1, 31, 32, 33, 64, 100] {
                from_planes::<4, 3>(platform, pixels);
                from_planes::<4, 4>(platform, pixels);
                from_planes::<3, 3>(platform, pixels);
            }
        }
    }
}
