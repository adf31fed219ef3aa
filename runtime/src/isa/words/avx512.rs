//! AVX-512: `vpdpwssd` multiplies two pairs of i16 per lane and sums without saturation.

use super::Words;
use crate::isa::Avx512Vnni;
use core::arch::x86_64::*;

/// Intrinsics on registers, or on memory that is a reference to an array of the vector's size.
macro_rules! proven {
    ($e:expr) => {{
        // SAFETY: `self` exists, so its constructor found every feature that the intrinsics need; pointers come from
        // references to arrays of at least the bytes that the instruction touches, and it needs no alignment.
        unsafe { $e }
    }};
}

impl Words for Avx512Vnni {
    const WINOGRAD: bool = true;
    const WORD_ROWS: usize = 10;
    const DP_IN_DOTS: usize = 100;
    const TRANSFORM_IN_DOTS: usize = 156;
    const COLUMN_PAIRS: usize = 32;

    type I = __m512i;
    type H = __m512i;

    #[inline(always)]
    fn word_index(lane: usize, k: usize) -> usize {
        2 * lane + k
    }

    #[inline(always)]
    fn widen(self, x: &[u8]) -> __m512i {
        let x: &[u8; 32] = x[..32].try_into().expect("32 bytes");
        proven!(_mm512_cvtepu8_epi16(_mm256_loadu_si256(x.as_ptr().cast())))
    }

    #[inline(always)]
    fn widen_weights(self, w: &[i8]) -> __m512i {
        let w: &[i8; 32] = w[..32].try_into().expect("32 bytes");
        proven!(_mm512_cvtepi8_epi16(_mm256_loadu_si256(w.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_words(self, x: &[u8]) -> __m512i {
        let x: &[u8; 64] = x[..64].try_into().expect("64 bytes");
        proven!(_mm512_loadu_si512(x.as_ptr().cast()))
    }

    #[inline(always)]
    fn store_words(self, v: __m512i, out: &mut [u8]) {
        let out: &mut [u8; 64] = (&mut out[..64]).try_into().expect("64 bytes");
        proven!(_mm512_storeu_si512(out.as_mut_ptr().cast(), v))
    }

    #[inline(always)]
    fn pair(self, x: &[u8; 4]) -> __m512i {
        proven!(_mm512_set1_epi32(i32::from_le_bytes(*x)))
    }

    #[inline(always)]
    fn add_words(self, a: __m512i, b: __m512i) -> __m512i {
        proven!(_mm512_add_epi16(a, b))
    }

    #[inline(always)]
    fn sub_words(self, a: __m512i, b: __m512i) -> __m512i {
        proven!(_mm512_sub_epi16(a, b))
    }

    #[inline(always)]
    fn mul_words(self, a: __m512i, b: __m512i) -> __m512i {
        proven!(_mm512_mullo_epi16(a, b))
    }

    #[inline(always)]
    fn four_words(self, a: __m512i) -> __m512i {
        proven!(_mm512_slli_epi16::<2>(a))
    }

    #[inline(always)]
    fn dot(self, acc: __m512i, x: __m512i, w: __m512i) -> __m512i {
        proven!(_mm512_dpwssd_epi32(acc, x, w))
    }

    #[inline(always)]
    fn sub(self, a: __m512i, b: __m512i) -> __m512i {
        proven!(_mm512_sub_epi32(a, b))
    }

    #[inline(always)]
    fn four(self, a: __m512i) -> __m512i {
        proven!(_mm512_slli_epi32::<2>(a))
    }

    #[inline(always)]
    fn mul(self, a: __m512i, b: __m512i) -> __m512i {
        proven!(_mm512_mullo_epi32(a, b))
    }

    #[inline(always)]
    fn shr<const N: u32>(self, a: __m512i) -> __m512i {
        proven!(_mm512_srai_epi32::<N>(a))
    }
}
