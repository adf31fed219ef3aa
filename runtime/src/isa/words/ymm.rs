//! Vectors of 256 bits: AVX2, where `vpmaddwd` multiplies and sums pairs, and AVX-VNNI, where `vpdpwssd` does so and
//! adds them to the sums. Neither saturates for factors above -32768.

use super::Words;
use crate::isa::ymm::proven;
use crate::isa::{Avx2, AvxVnni};
use core::arch::x86_64::*;

/// The operations of [`Words`] that both sets share. Their bytes differ in sign.
macro_rules! words {
    ($widen:ident) => {
        const WINOGRAD: bool = true;
        const WORD_ROWS: usize = 6;

        type I = __m256i;
        type H = __m256i;

        #[inline(always)]
        fn word_index(lane: usize, k: usize) -> usize {
            2 * lane + k
        }

        #[inline(always)]
        fn widen(self, x: &[u8]) -> __m256i {
            let x: &[u8; 16] = x[..16].try_into().expect("16 bytes");
            proven!($widen(_mm_loadu_si128(x.as_ptr().cast())))
        }

        #[inline(always)]
        fn widen_weights(self, w: &[i8]) -> __m256i {
            let w: &[i8; 16] = w[..16].try_into().expect("16 bytes");
            proven!(_mm256_cvtepi8_epi16(_mm_loadu_si128(w.as_ptr().cast())))
        }

        #[inline(always)]
        fn load_words(self, x: &[u8]) -> __m256i {
            let x: &[u8; 32] = x[..32].try_into().expect("32 bytes");
            proven!(_mm256_loadu_si256(x.as_ptr().cast()))
        }

        #[inline(always)]
        fn store_words(self, v: __m256i, out: &mut [u8]) {
            let out: &mut [u8; 32] = (&mut out[..32]).try_into().expect("32 bytes");
            proven!(_mm256_storeu_si256(out.as_mut_ptr().cast(), v))
        }

        #[inline(always)]
        fn pair(self, x: &[u8; 4]) -> __m256i {
            proven!(_mm256_set1_epi32(i32::from_le_bytes(*x)))
        }

        #[inline(always)]
        fn add_words(self, a: __m256i, b: __m256i) -> __m256i {
            proven!(_mm256_add_epi16(a, b))
        }

        #[inline(always)]
        fn sub_words(self, a: __m256i, b: __m256i) -> __m256i {
            proven!(_mm256_sub_epi16(a, b))
        }

        #[inline(always)]
        fn mul_words(self, a: __m256i, b: __m256i) -> __m256i {
            proven!(_mm256_mullo_epi16(a, b))
        }

        #[inline(always)]
        fn four_words(self, a: __m256i) -> __m256i {
            proven!(_mm256_slli_epi16::<2>(a))
        }

        #[inline(always)]
        fn sub(self, a: __m256i, b: __m256i) -> __m256i {
            proven!(_mm256_sub_epi32(a, b))
        }

        #[inline(always)]
        fn four(self, a: __m256i) -> __m256i {
            proven!(_mm256_slli_epi32::<2>(a))
        }

        #[inline(always)]
        fn mul(self, a: __m256i, b: __m256i) -> __m256i {
            proven!(_mm256_mullo_epi32(a, b))
        }

        #[inline(always)]
        fn shr<const N: u32>(self, a: __m256i) -> __m256i {
            // The count is a constant: this becomes the shift by an immediate.
            proven!(_mm256_sra_epi32(a, _mm_cvtsi32_si128(N as i32)))
        }
    };
}

impl Words for Avx2 {
    // In pairs, measured: 1.31 and 0.5 cycles on Zen 5. Fours take five instructions for six.
    const DP_IN_DOTS: usize = 215;
    const TRANSFORM_IN_DOTS: usize = 108;

    words!(_mm256_cvtepi8_epi16);

    #[inline(always)]
    fn dot(self, acc: __m256i, x: __m256i, w: __m256i) -> __m256i {
        proven!(_mm256_add_epi32(acc, _mm256_madd_epi16(x, w)))
    }
}

impl Words for AvxVnni {
    const DP_IN_DOTS: usize = 100;
    // Measured: 90 cycles on Golden Cove.
    const TRANSFORM_IN_DOTS: usize = 180;
    // Took WRN-16-4 at 320x320 from 51.1 to 45.7 ms on Golden Cove.
    const STAYS_A_LOOP: bool = true;

    words!(_mm256_cvtepu8_epi16);

    #[inline(always)]
    fn dot(self, acc: __m256i, x: __m256i, w: __m256i) -> __m256i {
        proven!(_mm256_dpwssd_avx_epi32(acc, x, w))
    }
}
