//! aarch64 without the dot product: `SMULL`, `SMLAL2`, `SADALP`. Two products of 128 * 127 fit an i16.
//!
//! The 16 bytes of a weight vector hold weights 0 and 1 of the four lanes, then weights 2 and 3, so that one pairwise
//! accumulation finishes a lane:
//!
//! ```text
//! w:  l0k0 l0k1 l1k0 l1k1 l2k0 l2k1 l3k0 l3k1 | l0k2 l0k3 l1k2 l1k3 l2k2 l2k3 l3k2 l3k3
//! x:   x0   x1   x0   x1   x0   x1   x0   x1  |  x2   x3   x2   x3   x2   x3   x2   x3
//! ```

use super::{Isa, Kernel, parted};
use core::arch::aarch64::*;

/// Token of the aarch64 baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon(());

/// Intrinsics on registers, or on memory that is a reference to an array of the vector's size.
macro_rules! proven {
    ($e:expr) => {{
        // SAFETY: NEON is part of the targets that this file is compiled for and `new` made sure of it; pointers come
        // from references to arrays of at least the bytes that the instruction touches.
        unsafe { $e }
    }};
}

impl Neon {
    /// The token; every aarch64 target with floating point has the instructions.
    #[must_use]
    pub fn new() -> Option<Self> {
        cfg!(target_feature = "neon").then_some(Self(()))
    }
}

#[target_feature(enable = "neon")]
#[inline(never)]
fn entered<K: Kernel>(isa: Neon, kernel: K) -> K::Output {
    kernel.eval(isa)
}

/// Table look-up indices of [`Isa::lane`].
const fn spread(lane: usize) -> [u8; 16] {
    let l = 4 * lane as u8;
    let (a, b) = ([l, l + 1], [l + 2, l + 3]);
    [a[0], a[1], a[0], a[1], a[0], a[1], a[0], a[1], b[0], b[1], b[0], b[1], b[0], b[1], b[0], b[1]]
}

/// Table look-up indices of [`Isa::own`].
const fn turned(by: usize) -> [u8; 16] {
    let mut index = [0; 16];
    let mut i = 0;
    while i < 16 {
        // Byte `i` is a weight's partner: half `i / 8`, lane `i % 8 / 2`.
        index[i] = (4 * ((i % 8 / 2) ^ by) + 2 * (i / 8) + i % 2) as u8;
        i += 1;
    }
    index
}

impl Isa for Neon {
    const NAME: &'static str = "neon";
    const LANES: usize = 4;
    const BIAS: i32 = 0;
    const MR: usize = 4;
    const NV: usize = 4;
    const WIDE: usize = 0;
    const FINISHES: bool = true;
    const TRANSLATES: bool = false;
    type F = float32x4_t;
    type A<'a> = int8x16_t;
    type X = int8x16_t;
    type W = int8x16_t;
    type B = int8x16_t;

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the token exists, so the processor has the features.
        unsafe { entered(self, kernel) }
    }

    #[inline(always)]
    fn weight_index(lane: usize, k: usize) -> usize {
        8 * (k / 2) + 2 * lane + k % 2
    }

    #[inline(always)]
    fn acts(self, x: &[u8; 16]) -> int8x16_t {
        proven!(vld1q_s8(x.as_ptr().cast()))
    }

    #[inline(always)]
    fn lane<const L: usize>(self, a: int8x16_t) -> int8x16_t {
        let index = const { spread(L) };
        proven!(vqtbl1q_s8(a, vld1q_u8(index.as_ptr())))
    }

    #[inline(always)]
    fn group<const CPG: usize, const J: usize>(self, x: &[u8; 16]) -> int8x16_t {
        self.lane::<J>(self.acts(x))
    }

    #[inline(always)]
    fn own<const R: usize>(self, x: &[u8]) -> int8x16_t {
        const { assert!(R < 4) };
        let x: &[u8; 16] = x[..16].try_into().expect("16 bytes");
        let index = const { turned(R) };
        proven!(vqtbl1q_s8(vld1q_s8(x.as_ptr().cast()), vld1q_u8(index.as_ptr())))
    }

    #[inline(always)]
    fn weights(self, w: &[i8]) -> int8x16_t {
        let w: &[i8; 16] = w[..16].try_into().expect("16 bytes");
        proven!(vld1q_s8(w.as_ptr()))
    }

    #[inline(always)]
    fn dp(self, acc: int32x4_t, x: int8x16_t, w: int8x16_t) -> int32x4_t {
        proven!({
            let pairs = vmull_s8(vget_low_s8(x), vget_low_s8(w));
            vpadalq_s16(acc, vmlal_high_s8(pairs, x, w))
        })
    }

    #[inline(always)]
    fn splat(self, x: i32) -> int32x4_t {
        proven!(vdupq_n_s32(x))
    }

    #[inline(always)]
    fn load_i32(self, x: &[i32]) -> int32x4_t {
        let x: &[i32; 4] = x[..4].try_into().expect("4 values");
        proven!(vld1q_s32(x.as_ptr()))
    }

    #[inline(always)]
    fn store_i32(self, v: int32x4_t, out: &mut [i32]) {
        let out: &mut [i32; 4] = (&mut out[..4]).try_into().expect("4 values");
        proven!(vst1q_s32(out.as_mut_ptr(), v))
    }

    #[inline(always)]
    fn add(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        proven!(vaddq_s32(a, b))
    }

    #[inline(always)]
    fn mul_add(self, acc: int32x4_t, x: int32x4_t, y: int32x4_t) -> int32x4_t {
        proven!(vmlal_s16(acc, vmovn_s32(x), vmovn_s32(y)))
    }

    #[inline(always)]
    fn splat_f32(self, x: f32) -> float32x4_t {
        proven!(vdupq_n_f32(x))
    }

    #[inline(always)]
    fn load_f32(self, x: &[f32]) -> float32x4_t {
        let x: &[f32; 4] = x[..4].try_into().expect("4 values");
        proven!(vld1q_f32(x.as_ptr()))
    }

    #[inline(always)]
    fn to_f32(self, v: int32x4_t) -> float32x4_t {
        proven!(vcvtq_f32_s32(v))
    }

    #[inline(always)]
    fn mul_f32(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        proven!(vmulq_f32(a, b))
    }

    #[inline(always)]
    fn div_f32(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        proven!(vdivq_f32(a, b))
    }

    #[inline(always)]
    fn add_f32(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        proven!(vaddq_f32(a, b))
    }

    #[inline(always)]
    fn mul_add_f32(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        proven!(vfmaq_f32(c, a, b))
    }

    #[inline(always)]
    fn min_f32(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        proven!(vminq_f32(a, b))
    }

    #[inline(always)]
    fn max_f32(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        proven!(vmaxq_f32(a, b))
    }

    #[inline(always)]
    fn round(self, v: float32x4_t) -> int32x4_t {
        proven!(vcvtnq_s32_f32(v))
    }

    #[inline(always)]
    fn load_i8(self, x: &[u8]) -> int32x4_t {
        let x: [u8; 4] = x[..4].try_into().expect("4 bytes");
        let x = u64::from(u32::from_le_bytes(x));
        proven!(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(x)))))
    }

    #[inline(always)]
    fn load_i16(self, x: &[u8]) -> int32x4_t {
        let x: [u8; 8] = x[..8].try_into().expect("8 bytes");
        proven!(vmovl_s16(vcreate_s16(u64::from_le_bytes(x))))
    }

    #[inline(always)]
    fn store_i8(self, v: int32x4_t, out: &mut [u8]) {
        let x = proven!({
            let words = vmovn_s32(v);
            vget_lane_u32::<0>(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(words, words))))
        });
        let bytes = x.to_le_bytes();
        match out.first_chunk_mut::<4>() {
            Some(out) => *out = bytes,
            None => out.iter_mut().zip(bytes).for_each(|(o, b)| *o = b),
        }
    }

    #[inline(always)]
    fn store_i16(self, v: int32x4_t, out: &mut [u8]) {
        let bytes = proven!(vget_lane_u64::<0>(vreinterpret_u64_s16(vmovn_s32(v)))).to_le_bytes();
        match out.first_chunk_mut::<8>() {
            Some(out) => *out = bytes,
            None => out.iter_mut().zip(bytes).for_each(|(o, b)| *o = b),
        }
    }

    #[inline(always)]
    fn splat_i16(self, x: i16) -> int16x8_t {
        proven!(vdupq_n_s16(x))
    }

    #[inline(always)]
    fn splat_i8(self, q: i32) -> int8x16_t {
        proven!(vdupq_n_s8(q as i8))
    }

    #[inline(always)]
    fn pack_i16(self, q: [int32x4_t; 2], low: int16x8_t, high: int16x8_t) -> int16x8_t {
        proven!({
            let v = vqmovn_high_s32(vqmovn_s32(q[0]), q[1]);
            vminq_s16(vmaxq_s16(v, low), high)
        })
    }

    #[inline(always)]
    fn pack_i8(
        self,
        q: [int32x4_t; 4],
        zero: int16x8_t,
        low: int8x16_t,
        high: int8x16_t,
    ) -> int8x16_t {
        proven!({
            let a = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(q[0]), q[1]), zero);
            let b = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(q[2]), q[3]), zero);
            let v = vqmovn_high_s16(vqmovn_s16(a), b);
            vminq_s8(vmaxq_s8(v, low), high)
        })
    }

    #[inline(always)]
    fn weave_i8(
        self,
        q: [int32x4_t; 4],
        zero: int16x8_t,
        low: int8x16_t,
        high: int8x16_t,
    ) -> int8x16_t {
        let order = [0u8, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
        proven!(vqtbl1q_s8(self.pack_i8(q, zero, low, high), vld1q_u8(order.as_ptr())))
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 256], bytes: &mut [u8]) {
        let (whole, rest) = bytes.as_chunks_mut::<16>();
        for bytes in whole {
            let found = self.translate(table, proven!(vld1q_s8(bytes.as_ptr().cast())));
            proven!(vst1q_s8(bytes.as_mut_ptr().cast(), found));
        }
        for b in rest {
            *b = table[usize::from(*b)];
        }
    }

    #[inline(always)]
    fn translate(self, table: &[u8; 256], b: int8x16_t) -> int8x16_t {
        proven!({
            // Four times 64 entries; an index outside of a quarter's range leaves the byte as it is.
            let quarter = |i: usize| vld1q_u8_x4(table.as_ptr().add(64 * i));
            let index = vreinterpretq_u8_s8(b);
            let v = vqtbl4q_u8(quarter(0), index);
            let v = vqtbx4q_u8(v, quarter(1), vsubq_u8(index, vdupq_n_u8(64)));
            let v = vqtbx4q_u8(v, quarter(2), vsubq_u8(index, vdupq_n_u8(128)));
            let v = vqtbx4q_u8(v, quarter(3), vsubq_u8(index, vdupq_n_u8(192)));
            vreinterpretq_s8_u8(v)
        })
    }

    #[inline(always)]
    fn put_i16<const P: usize>(self, v: int16x8_t, out: &mut [u8], step: usize) {
        const { assert!(P == 1 || P == 2) };
        assert!(parted(16, P, step).is_some_and(|end| end <= out.len()), "no room for a vector");
        let (out, v) = (out.as_mut_ptr(), proven!(vreinterpretq_u8_s16(v)));
        // SAFETY: NEON is there; the parts are inside `out`, by the assertion.
        unsafe {
            if P == 1 {
                vst1q_u8(out, v);
            } else {
                vst1_u8(out, vget_low_u8(v));
                vst1_u8(out.add(step), vget_high_u8(v));
            }
        }
    }

    #[inline(always)]
    fn put_i8<const P: usize>(self, b: int8x16_t, out: &mut [u8], step: usize) {
        const { assert!(P == 1 || P == 2 || P == 4) };
        assert!(parted(16, P, step).is_some_and(|end| end <= out.len()), "no room for a vector");
        let (out, b) = (out.as_mut_ptr(), proven!(vreinterpretq_u8_s8(b)));
        // SAFETY: NEON is there; the parts are inside `out`, by the assertion; lanes are written by copies of four
        // bytes, which need no alignment.
        unsafe {
            match P {
                1 => vst1q_u8(out, b),
                2 => {
                    vst1_u8(out, vget_low_u8(b));
                    vst1_u8(out.add(step), vget_high_u8(b));
                }
                _ => {
                    let words = vreinterpretq_u32_u8(b);
                    let word: [u32; 4] = [
                        vgetq_lane_u32::<0>(words),
                        vgetq_lane_u32::<1>(words),
                        vgetq_lane_u32::<2>(words),
                        vgetq_lane_u32::<3>(words),
                    ];
                    for (i, word) in word.into_iter().enumerate() {
                        out.add(i * step).cast::<u32>().write_unaligned(word);
                    }
                }
            }
        }
    }
}
