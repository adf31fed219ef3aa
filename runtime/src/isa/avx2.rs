//! x86-64 with AVX2: `vpmaddubsw` on magnitudes. Two products of 128 * 127 fit an i16, so nothing saturates.

use super::ymm::{operations, proven};
use super::{Isa, Kernel, parted};
use core::arch::x86_64::*;

/// Token of AVX2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// The token, if the processor has the instructions.
    #[must_use]
    pub fn new() -> Option<Self> {
        #[cfg(feature = "std")]
        let found = std::arch::is_x86_feature_detected!("avx2");
        #[cfg(not(feature = "std"))]
        let found = cfg!(target_feature = "avx2");
        found.then_some(Self(()))
    }

    /// Magnitudes beside the values: `vpsignb` gives the weights the activations' signs.
    #[inline(always)]
    fn spread(self, x: __m256i) -> (__m256i, __m256i) {
        proven!((_mm256_abs_epi8(x), x))
    }
}

#[target_feature(enable = "avx2")]
#[inline(never)]
fn entered<K: Kernel>(isa: Avx2, kernel: K) -> K::Output {
    kernel.eval(isa)
}

impl Isa for Avx2 {
    const NAME: &'static str = "avx2";
    const BIAS: i32 = 0;
    const MR: usize = 4;
    const WIDE: usize = 3;

    type X = (__m256i, __m256i);
    type W = __m256i;

    operations!();

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the token exists, so the processor has the features.
        unsafe { entered(self, kernel) }
    }

    #[inline(always)]
    fn lane<const L: usize>(self, a: &[u8; 16]) -> (__m256i, __m256i) {
        let x = i32::from_le_bytes([a[4 * L], a[4 * L + 1], a[4 * L + 2], a[4 * L + 3]]);
        self.spread(proven!(_mm256_set1_epi32(x)))
    }

    #[inline(always)]
    fn group<const CPG: usize, const J: usize>(self, x: &[u8; 16]) -> (__m256i, __m256i) {
        const { assert!(CPG == 4 || CPG == 8 || CPG == 16) };
        match CPG {
            4 => self.spread(proven!(_mm256_permutevar8x32_epi32(
                _mm256_castsi128_si256(_mm_loadu_si128(x.as_ptr().cast())),
                _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1),
            ))),
            _ => self.lane::<J>(x),
        }
    }

    #[inline(always)]
    fn weights(self, w: &[i8]) -> __m256i {
        let w: &[i8; 32] = w[..32].try_into().expect("32 bytes");
        proven!(_mm256_loadu_si256(w.as_ptr().cast()))
    }

    #[inline(always)]
    fn dp(self, acc: __m256i, (magnitude, x): (__m256i, __m256i), w: __m256i) -> __m256i {
        proven!({
            let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(w, x));
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        })
    }

    #[inline(always)]
    fn mul_add(self, acc: __m256i, x: __m256i, y: __m256i) -> __m256i {
        // The high half of each i32 of `y` is cleared, so the second of the two products is zero.
        proven!({
            let y = _mm256_and_si256(y, _mm256_set1_epi32(0xffff));
            _mm256_add_epi32(acc, _mm256_madd_epi16(x, y))
        })
    }

    #[inline(always)]
    fn load_i8(self, x: &[u8]) -> __m256i {
        let x: &[u8; 8] = x[..8].try_into().expect("8 bytes");
        proven!(_mm256_cvtepi8_epi32(_mm_loadl_epi64(x.as_ptr().cast())))
    }

    #[inline(always)]
    fn store_i8(self, v: __m256i, out: &mut [u8]) {
        let mut bytes = [0; 8];
        // SAFETY: the token proves the features; the store writes the 8 bytes of the array.
        unsafe {
            let words = _mm256_packs_epi32(v, v);
            let quads = _mm256_packs_epi16(words, words);
            let low = _mm256_castsi256_si128(quads);
            let high = _mm256_extracti128_si256::<1>(quads);
            _mm_storel_epi64(bytes.as_mut_ptr().cast(), _mm_unpacklo_epi32(low, high));
        }
        match out.first_chunk_mut::<8>() {
            Some(out) => *out = bytes,
            None => out.iter_mut().zip(bytes).for_each(|(o, b)| *o = b),
        }
    }

    #[inline(always)]
    fn splat_i8(self, q: i32) -> __m256i {
        proven!(_mm256_set1_epi8(q as i8))
    }

    #[inline(always)]
    fn pack_i8(self, q: [__m256i; 4], zero: __m256i, low: __m256i, high: __m256i) -> __m256i {
        proven!({
            let a = _mm256_adds_epi16(_mm256_packs_epi32(q[0], q[1]), zero);
            let b = _mm256_adds_epi16(_mm256_packs_epi32(q[2], q[3]), zero);
            let v = _mm256_packs_epi16(a, b);
            let v = _mm256_min_epi8(_mm256_max_epi8(v, low), high);
            _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
        })
    }
}
