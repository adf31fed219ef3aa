//! x86-64 with AVX-VNNI: `vpdpbusd` on 256 bits, of processors without AVX-512.

use super::ymm::{operations, proven};
use super::{Isa, Kernel, parted};
use core::arch::x86_64::*;

/// Token of AVX-VNNI, AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvxVnni(());

impl AvxVnni {
    /// The token, if the processor has the instructions.
    #[must_use]
    pub fn new() -> Option<Self> {
        #[cfg(feature = "std")]
        let found = std::arch::is_x86_feature_detected!("avxvnni")
            && std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma");
        #[cfg(not(feature = "std"))]
        let found =
            cfg!(all(target_feature = "avxvnni", target_feature = "avx2", target_feature = "fma"));
        found.then_some(Self(()))
    }

    /// As they are.
    #[inline(always)]
    fn spread(self, x: __m256i) -> __m256i {
        x
    }
}

#[target_feature(enable = "avx2,fma,avxvnni")]
#[inline(never)]
fn entered<K: Kernel>(isa: AvxVnni, kernel: K) -> K::Output {
    kernel.eval(isa)
}

impl Isa for AvxVnni {
    const NAME: &'static str = "avxvnni";
    const BIAS: i32 = 128;
    const MR: usize = 6;
    const WIDE: usize = 0;

    type X = __m256i;
    type W = __m256i;

    operations!(_mm256_cvtepu8_epi32, _mm256_packus_epi16, _mm256_min_epu8, _mm256_max_epu8);

    #[inline(always)]
    fn dp(self, acc: __m256i, x: __m256i, w: __m256i) -> __m256i {
        proven!(_mm256_dpbusd_avx_epi32(acc, x, w))
    }

    #[inline(always)]
    fn mul_add(self, acc: __m256i, x: __m256i, y: __m256i) -> __m256i {
        // The high half of each i32 of `y` is cleared, so the second of the two products is zero.
        proven!(_mm256_dpwssd_avx_epi32(acc, x, _mm256_and_si256(y, _mm256_set1_epi32(0xffff))))
    }
}
