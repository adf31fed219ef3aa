//! aarch64: `SMLAL` multiplies four i16 and adds them to four sums.

use super::Words;
use crate::isa::Neon;
use core::arch::aarch64::*;

/// Intrinsics on registers, or on memory that is a reference to an array of the vector's size.
macro_rules! proven {
    ($e:expr) => {{
        // SAFETY: NEON is part of the targets that this file is compiled for, and the token's constructor made sure of
        // it; pointers come from references to arrays of at least the bytes that the instruction touches.
        unsafe { $e }
    }};
}

impl Words for Neon {
    const WINOGRAD: bool = true;
    const WORD_ROWS: usize = 4;
    // Three instructions and two.
    const DP_IN_DOTS: usize = 150;
    const TRANSFORM_IN_DOTS: usize = 84;

    type I = int32x4_t;
    type H = int16x8_t;

    /// The first weights of all lanes, then the second ones.
    #[inline(always)]
    fn word_index(lane: usize, k: usize) -> usize {
        4 * k + lane
    }

    #[inline(always)]
    fn widen(self, x: &[u8]) -> int16x8_t {
        let x: &[u8; 8] = x[..8].try_into().expect("8 bytes");
        proven!(vmovl_s8(vld1_s8(x.as_ptr().cast())))
    }

    #[inline(always)]
    fn widen_weights(self, w: &[i8]) -> int16x8_t {
        let w: &[i8; 8] = w[..8].try_into().expect("8 bytes");
        proven!(vmovl_s8(vld1_s8(w.as_ptr())))
    }

    #[inline(always)]
    fn load_words(self, x: &[u8]) -> int16x8_t {
        let x: &[u8; 16] = x[..16].try_into().expect("16 bytes");
        proven!(vreinterpretq_s16_u8(vld1q_u8(x.as_ptr())))
    }

    #[inline(always)]
    fn store_words(self, v: int16x8_t, out: &mut [u8]) {
        let out: &mut [u8; 16] = (&mut out[..16]).try_into().expect("16 bytes");
        proven!(vst1q_u8(out.as_mut_ptr(), vreinterpretq_u8_s16(v)))
    }

    #[inline(always)]
    fn pair(self, x: &[u8; 4]) -> int16x8_t {
        let word = |i: usize| i16::from_le_bytes([x[2 * i], x[2 * i + 1]]);
        proven!(vcombine_s16(vdup_n_s16(word(0)), vdup_n_s16(word(1))))
    }

    #[inline(always)]
    fn add_words(self, a: int16x8_t, b: int16x8_t) -> int16x8_t {
        proven!(vaddq_s16(a, b))
    }

    #[inline(always)]
    fn sub_words(self, a: int16x8_t, b: int16x8_t) -> int16x8_t {
        proven!(vsubq_s16(a, b))
    }

    #[inline(always)]
    fn mul_words(self, a: int16x8_t, b: int16x8_t) -> int16x8_t {
        proven!(vmulq_s16(a, b))
    }

    #[inline(always)]
    fn four_words(self, a: int16x8_t) -> int16x8_t {
        proven!(vshlq_n_s16::<2>(a))
    }

    #[inline(always)]
    fn dot(self, acc: int32x4_t, x: int16x8_t, w: int16x8_t) -> int32x4_t {
        proven!(vmlal_high_s16(vmlal_s16(acc, vget_low_s16(x), vget_low_s16(w)), x, w))
    }

    #[inline(always)]
    fn sub(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        proven!(vsubq_s32(a, b))
    }

    #[inline(always)]
    fn four(self, a: int32x4_t) -> int32x4_t {
        proven!(vshlq_n_s32::<2>(a))
    }

    #[inline(always)]
    fn mul(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        proven!(vmulq_s32(a, b))
    }

    #[inline(always)]
    fn shr<const N: u32>(self, a: int32x4_t) -> int32x4_t {
        proven!(vshlq_s32(a, vdupq_n_s32(-(N as i32))))
    }
}
