//! x86-64 with AVX2: `vpmaddubsw` on magnitudes, of which two products of 128 * 127 fit an i16, or on what it is given where
//! weights come in an order in which two products fit ([`pairs`]): nothing saturates.

use super::ymm::{operations, proven};
use super::{Isa, Kernel, Ordered, PairBlock, PairPanel, pairs, parted};
use core::arch::x86_64::*;

/// Token of AVX2 and FMA, which processors have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// The token, if the processor has the instructions.
    #[must_use]
    pub fn new() -> Option<Self> {
        #[cfg(feature = "std")]
        let found = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma");
        #[cfg(not(feature = "std"))]
        let found = cfg!(all(target_feature = "avx2", target_feature = "fma"));
        found.then_some(Self(()))
    }

    /// Magnitudes beside the values: `vpsignb` gives the weights the activations' signs.
    #[inline(always)]
    fn spread(self, x: __m256i) -> (__m256i, __m256i) {
        proven!((_mm256_abs_epi8(x), x))
    }
}

#[target_feature(enable = "avx2,fma")]
#[inline(never)]
fn entered<K: Kernel>(isa: Avx2, kernel: K) -> K::Output {
    kernel.eval(isa)
}

impl Isa for Avx2 {
    const NAME: &'static str = "avx2";
    const BIAS: i32 = 0;
    const MR: usize = 4;
    const WIDE: usize = 3;
    const PAIRS: bool = true;

    type X = (__m256i, __m256i);
    type W = __m256i;

    operations!(_mm256_cvtepi8_epi32, _mm256_packs_epi16, _mm256_min_epi8, _mm256_max_epi8);

    #[inline(always)]
    fn dp(self, acc: __m256i, (magnitude, x): (__m256i, __m256i), w: __m256i) -> __m256i {
        proven!({
            let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(w, x));
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        })
    }

    #[inline(always)]
    fn pairs<const MR: usize, const NV: usize>(
        self,
        acc: &mut [[__m256i; NV]; MR],
        rows: &[PairBlock],
        panel: &PairPanel<'_>,
        ordered: &mut Ordered,
        ahead: &[i8],
    ) {
        proven!(pairs::tile(acc, rows, panel, ordered, ahead));
    }

    #[cfg(feature = "alloc")]
    #[inline(always)]
    fn woven<const P: usize>(
        self,
        acc: &mut [[__m256i; 4]; P],
        x: &[u8],
        next: usize,
        places: &super::Places,
        w: &[i8],
    ) {
        proven!(super::woven::pixels(acc, x, next, places, w));
    }

    #[inline(always)]
    fn mul_add(self, acc: __m256i, x: __m256i, y: __m256i) -> __m256i {
        // The high half of each i32 of `y` is cleared, so the second of the two products is zero.
        proven!({
            let y = _mm256_and_si256(y, _mm256_set1_epi32(0xffff));
            _mm256_add_epi32(acc, _mm256_madd_epi16(x, y))
        })
    }
}
