//! x86-64 with AVX-512 VNNI: `vpdpbusd` multiplies unsigned activations with signed weights, four per lane.

use super::{Isa, Kernel, parted};
use core::arch::x86_64::*;

/// Token of AVX-512 F, BW, VL, DQ and VNNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512Vnni {
    /// Whether there is VBMI as well: byte shuffles over several registers.
    vbmi: bool,
}

/// Intrinsics on registers, or on memory that is a reference to an array of the vector's size.
macro_rules! proven {
    ($e:expr) => {{
        // SAFETY: `self` exists, so `new` found every feature that the intrinsics need; pointers come from references
        // to arrays of at least the bytes that the instruction touches, and the instruction needs no alignment.
        unsafe { $e }
    }};
}

impl Avx512Vnni {
    /// The token, if the processor has the instructions.
    #[must_use]
    pub fn new() -> Option<Self> {
        #[cfg(feature = "std")]
        let found = std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512vl")
            && std::arch::is_x86_feature_detected!("avx512dq")
            && std::arch::is_x86_feature_detected!("avx512vnni");
        #[cfg(not(feature = "std"))]
        let found = cfg!(all(
            target_feature = "avx512f",
            target_feature = "avx512bw",
            target_feature = "avx512vl",
            target_feature = "avx512dq",
            target_feature = "avx512vnni"
        ));
        #[cfg(feature = "std")]
        let vbmi = std::arch::is_x86_feature_detected!("avx512vbmi");
        #[cfg(not(feature = "std"))]
        let vbmi = cfg!(target_feature = "avx512vbmi");
        found.then_some(Self { vbmi })
    }

    /// What [`Isa::pack_i8`] gives, in every quarter of the register: four lanes of each vector.
    #[inline(always)]
    fn quarters(self, q: [__m512i; 4], zero: __m512i, low: __m512i, high: __m512i) -> __m512i {
        proven!({
            let a = _mm512_adds_epi16(_mm512_packs_epi32(q[0], q[1]), zero);
            let b = _mm512_adds_epi16(_mm512_packs_epi32(q[2], q[3]), zero);
            let v = _mm512_packus_epi16(a, b);
            _mm512_min_epu8(_mm512_max_epu8(v, low), high)
        })
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
#[inline(never)]
fn entered<K: Kernel>(isa: Avx512Vnni, kernel: K) -> K::Output {
    kernel.eval(isa)
}

/// 256 table entries in four registers, selected by seven bits twice and by the eighth.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look_up_vbmi(table: &[u8; 256], bytes: &mut [u8]) {
    // SAFETY: the pointer is that of an array of 256 bytes; the instruction needs no alignment.
    let quarter = |i: usize| unsafe { _mm512_loadu_si512(table.as_ptr().add(64 * i).cast()) };
    let quarters = [quarter(0), quarter(1), quarter(2), quarter(3)];
    for piece in bytes.chunks_mut(64) {
        let mask = u64::MAX >> (64 - piece.len());
        // SAFETY: the mask keeps the load inside `piece`.
        let index = unsafe { _mm512_maskz_loadu_epi8(mask, piece.as_ptr().cast()) };
        let low = _mm512_permutex2var_epi8(quarters[0], index, quarters[1]);
        let high = _mm512_permutex2var_epi8(quarters[2], index, quarters[3]);
        let chosen = _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
        // SAFETY: as the load.
        unsafe { _mm512_mask_storeu_epi8(piece.as_mut_ptr().cast(), mask, chosen) };
    }
}

/// 128 table entries in two registers, selected by seven bits.
///
/// Assembly, because the set is not compiled for VBMI, and a function that is would not be inlined: the sums of a tile
/// would go to memory and back around the call.
///
/// # Safety
///
/// The processor has AVX-512 VBMI.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn permute2(low: __m512i, index: __m512i, high: __m512i) -> __m512i {
    let mut found = index;
    // SAFETY: the instruction works on these registers alone; that the processor has it is the caller's promise.
    unsafe {
        core::arch::asm!(
            "vpermi2b {found}, {low}, {high}",
            found = inout(zmm_reg) found,
            low = in(zmm_reg) low,
            high = in(zmm_reg) high,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    found
}

/// As [`Isa::translate`], without VBMI.
#[target_feature(enable = "avx512f")]
#[cold]
#[inline(never)]
fn translate_bytes(table: &[u8; 256], b: __m512i) -> __m512i {
    let mut bytes = [0u8; 64];
    // SAFETY: the pointer is that of an array of 64 bytes; the instruction needs no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), b) };
    let bytes = bytes.map(|b| table[usize::from(b)]);
    // SAFETY: as above.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// A mask of the first `n` lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n.min(16)) - 1) as __mmask16
}

impl Isa for Avx512Vnni {
    const NAME: &'static str = "avx512vnni";
    const LANES: usize = 16;
    const BIAS: i32 = 128;
    const MR: usize = 14;
    const NV: usize = 2;
    const WIDE: usize = 6;
    const FINISHES: bool = true;
    const FUSES: bool = true;
    const TRANSLATES: bool = true;
    type F = __m512;
    type A<'a> = &'a [u8; 16];
    type X = __m512i;
    type W = __m512i;
    type B = __m512i;

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: the token exists, so the processor has the features.
        unsafe { entered(self, kernel) }
    }

    #[inline(always)]
    fn weight_index(lane: usize, k: usize) -> usize {
        4 * lane + k
    }

    #[inline(always)]
    fn acts(self, x: &[u8; 16]) -> &[u8; 16] {
        x
    }

    #[inline(always)]
    fn lane<const L: usize>(self, a: &[u8; 16]) -> __m512i {
        let x = i32::from_le_bytes([a[4 * L], a[4 * L + 1], a[4 * L + 2], a[4 * L + 3]]);
        proven!(_mm512_set1_epi32(x))
    }

    #[inline(always)]
    fn group<const CPG: usize, const J: usize>(self, x: &[u8; 16]) -> __m512i {
        const { assert!(CPG == 4 || CPG == 8 || CPG == 16) };
        let j = J as i32;
        match CPG {
            4 => proven!(_mm512_permutexvar_epi32(
                _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
                _mm512_castsi128_si512(_mm_loadu_si128(x.as_ptr().cast())),
            )),
            8 => proven!(_mm512_permutexvar_epi32(
                _mm512_setr_epi32(
                    j,
                    j,
                    j,
                    j,
                    j,
                    j,
                    j,
                    j,
                    j + 2,
                    j + 2,
                    j + 2,
                    j + 2,
                    j + 2,
                    j + 2,
                    j + 2,
                    j + 2
                ),
                _mm512_castsi128_si512(_mm_loadu_si128(x.as_ptr().cast())),
            )),
            _ => self.lane::<J>(x),
        }
    }

    #[inline(always)]
    fn own<const R: usize>(self, x: &[u8]) -> __m512i {
        const { assert!(R < 4) };
        let x: &[u8; 64] = x[..64].try_into().expect("64 bytes");
        proven!({
            let x = _mm512_loadu_si512(x.as_ptr().cast());
            match R {
                0 => x,
                1 => _mm512_shuffle_epi32::<0b10_11_00_01>(x),
                2 => _mm512_shuffle_epi32::<0b01_00_11_10>(x),
                _ => _mm512_shuffle_epi32::<0b00_01_10_11>(x),
            }
        })
    }

    #[inline(always)]
    fn weights(self, w: &[i8]) -> __m512i {
        let w: &[i8; 64] = w[..64].try_into().expect("64 bytes");
        proven!(_mm512_loadu_si512(w.as_ptr().cast()))
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[i8], at: usize) {
        let first = bytes.as_ptr().wrapping_add(at);
        // SAFETY: a hint reads nothing, whatever the address; SSE is part of x86-64.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(first);
            _mm_prefetch::<_MM_HINT_T1>(first.wrapping_add(64));
        }
    }

    #[inline(always)]
    fn prefetch_line(self, at: *const u8) {
        // SAFETY: a hint reads nothing, whatever the address; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn dp(self, acc: __m512i, x: __m512i, w: __m512i) -> __m512i {
        proven!(_mm512_dpbusd_epi32(acc, x, w))
    }

    #[inline(always)]
    fn splat(self, x: i32) -> __m512i {
        proven!(_mm512_set1_epi32(x))
    }

    #[inline(always)]
    fn load_i32(self, x: &[i32]) -> __m512i {
        let x: &[i32; 16] = x[..16].try_into().expect("16 values");
        proven!(_mm512_loadu_si512(x.as_ptr().cast()))
    }

    #[inline(always)]
    fn store_i32(self, v: __m512i, out: &mut [i32]) {
        let out: &mut [i32; 16] = (&mut out[..16]).try_into().expect("16 values");
        proven!(_mm512_storeu_si512(out.as_mut_ptr().cast(), v))
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        proven!(_mm512_add_epi32(a, b))
    }

    #[inline(always)]
    fn mul_add(self, acc: __m512i, x: __m512i, y: __m512i) -> __m512i {
        // The high half of each i32 of `y` is cleared, so the second of the two products is zero.
        proven!(_mm512_dpwssd_epi32(acc, x, _mm512_and_si512(y, _mm512_set1_epi32(0xffff))))
    }

    #[inline(always)]
    fn splat_f32(self, x: f32) -> __m512 {
        proven!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load_f32(self, x: &[f32]) -> __m512 {
        let x: &[f32; 16] = x[..16].try_into().expect("16 values");
        proven!(_mm512_loadu_ps(x.as_ptr()))
    }

    #[inline(always)]
    fn to_f32(self, v: __m512i) -> __m512 {
        proven!(_mm512_cvtepi32_ps(v))
    }

    #[inline(always)]
    fn mul_f32(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div_f32(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn add_f32(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn mul_add_f32(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        proven!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn as_f32(self, v: __m512i) -> __m512 {
        proven!(_mm512_castsi512_ps(v))
    }

    #[inline(always)]
    fn min_f32(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn max_f32(self, a: __m512, b: __m512) -> __m512 {
        proven!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn round(self, v: __m512) -> __m512i {
        proven!(_mm512_cvt_roundps_epi32::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v))
    }

    #[inline(always)]
    fn load_i8(self, x: &[u8]) -> __m512i {
        let x: &[u8; 16] = x[..16].try_into().expect("16 bytes");
        proven!(_mm512_cvtepu8_epi32(_mm_loadu_si128(x.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_i16(self, x: &[u8]) -> __m512i {
        let x: &[u8; 32] = x[..32].try_into().expect("32 bytes");
        proven!(_mm512_cvtepi16_epi32(_mm256_loadu_si256(x.as_ptr().cast())))
    }

    #[inline(always)]
    fn store_i8(self, v: __m512i, out: &mut [u8]) {
        if let Some(out) = out.first_chunk_mut::<16>() {
            proven!(_mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(v)))
        } else {
            let mask = first(out.len());
            // SAFETY: the token proves the features; the mask keeps the store inside `out`.
            unsafe { _mm512_mask_cvtepi32_storeu_epi8(out.as_mut_ptr().cast(), mask, v) }
        }
    }

    #[inline(always)]
    fn store_i16(self, v: __m512i, out: &mut [u8]) {
        if let Some(out) = out.first_chunk_mut::<32>() {
            proven!(_mm256_storeu_si256(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(v)))
        } else {
            let mask = first(out.len() / 2);
            // SAFETY: the token proves the features; the mask keeps the store inside `out`.
            unsafe { _mm512_mask_cvtepi32_storeu_epi16(out.as_mut_ptr().cast(), mask, v) }
        }
    }

    #[inline(always)]
    fn splat_i16(self, x: i16) -> __m512i {
        proven!(_mm512_set1_epi16(x))
    }

    #[inline(always)]
    fn splat_i8(self, q: i32) -> __m512i {
        proven!(_mm512_set1_epi8((q + Self::BIAS) as i8))
    }

    #[inline(always)]
    fn pack_i16(self, q: [__m512i; 2], low: __m512i, high: __m512i) -> __m512i {
        proven!({
            // Packing works in each quarter of the register; the permutation joins what belongs together.
            let v = _mm512_packs_epi32(q[0], q[1]);
            let v = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), v);
            _mm512_min_epi16(_mm512_max_epi16(v, low), high)
        })
    }

    #[inline(always)]
    fn pack_i8(self, q: [__m512i; 4], zero: __m512i, low: __m512i, high: __m512i) -> __m512i {
        proven!({
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_permutexvar_epi32(order, self.quarters(q, zero, low, high))
        })
    }

    #[inline(always)]
    fn weave_i8(self, q: [__m512i; 4], zero: __m512i, low: __m512i, high: __m512i) -> __m512i {
        proven!({
            let order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let order = _mm512_broadcast_i32x4(order);
            _mm512_shuffle_epi8(self.quarters(q, zero, low, high), order)
        })
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 256], bytes: &mut [u8]) {
        if self.vbmi {
            // SAFETY: the token's field says that the processor has the features.
            return unsafe { look_up_vbmi(table, bytes) };
        }
        for b in bytes {
            *b = table[usize::from(*b)];
        }
    }

    #[inline(always)]
    fn translate(self, table: &[u8; 256], b: __m512i) -> __m512i {
        if self.vbmi {
            let quarter = |i: usize| proven!(_mm512_loadu_si512(table.as_ptr().add(64 * i).cast()));
            // SAFETY: the token's field says that the processor has VBMI.
            let (low, high) = unsafe {
                (permute2(quarter(0), b, quarter(1)), permute2(quarter(2), b, quarter(3)))
            };
            return proven!(_mm512_mask_blend_epi8(_mm512_movepi8_mask(b), low, high));
        }
        proven!(translate_bytes(table, b))
    }

    #[inline(always)]
    fn put_i16<const P: usize>(self, v: __m512i, out: &mut [u8], step: usize) {
        const { assert!(P == 1 || P == 2) };
        assert!(parted(64, P, step).is_some_and(|end| end <= out.len()), "no room for a vector");
        let out = out.as_mut_ptr();
        // SAFETY: the token proves the features; the parts are inside `out`, by the assertion.
        unsafe {
            if P == 1 {
                _mm512_storeu_si512(out.cast(), v);
            } else {
                _mm256_storeu_si256(out.cast(), _mm512_castsi512_si256(v));
                _mm256_storeu_si256(out.add(step).cast(), _mm512_extracti64x4_epi64::<1>(v));
            }
        }
    }

    #[inline(always)]
    fn put_i8<const P: usize>(self, b: __m512i, out: &mut [u8], step: usize) {
        const { assert!(P == 1 || P == 2 || P == 4) };
        assert!(parted(64, P, step).is_some_and(|end| end <= out.len()), "no room for a vector");
        let out = out.as_mut_ptr();
        // SAFETY: the token proves the features; the parts are inside `out`, by the assertion.
        unsafe {
            match P {
                1 => _mm512_storeu_si512(out.cast(), b),
                2 => {
                    _mm256_storeu_si256(out.cast(), _mm512_castsi512_si256(b));
                    _mm256_storeu_si256(out.add(step).cast(), _mm512_extracti64x4_epi64::<1>(b));
                }
                _ => {
                    let part = [
                        _mm512_castsi512_si128(b),
                        _mm512_extracti32x4_epi32::<1>(b),
                        _mm512_extracti32x4_epi32::<2>(b),
                        _mm512_extracti32x4_epi32::<3>(b),
                    ];
                    _mm_storeu_si128(out.cast(), part[0]);
                    _mm_storeu_si128(out.add(step).cast(), part[1]);
                    _mm_storeu_si128(out.add(2 * step).cast(), part[2]);
                    _mm_storeu_si128(out.add(3 * step).cast(), part[3]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte looked up, in four registers.
    struct LookUp(Avx512Vnni);

    impl Kernel for LookUp {
        type Output = [[u8; 64]; 4];

        #[inline(always)]
        fn eval<I: Isa>(self, _: I) -> [[u8; 64]; 4] {
            let isa = self.0;
            let table: [u8; 256] = core::array::from_fn(|i| (7 * i + 3) as u8);
            core::array::from_fn(|quarter| {
                let bytes: [u8; 64] = core::array::from_fn(|i| (64 * quarter + i) as u8);
                let index = proven_load(&bytes);
                let mut out = [0; 64];
                isa.put_i8::<1>(isa.translate(&table, index), &mut out, 0);
                out
            })
        }
    }

    #[inline(always)]
    fn proven_load(bytes: &[u8; 64]) -> __m512i {
        // SAFETY: called where a token exists; the instruction needs no alignment.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[test]
    fn tables_need_no_vbmi() {
        let Some(isa) = Avx512Vnni::new() else { return };
        let with = isa.enter(LookUp(isa));
        assert_eq!(with, isa.enter(LookUp(Avx512Vnni { vbmi: false })));
        assert_eq!(with[3][63], (7 * 255 + 3) as u8);
    }
}
