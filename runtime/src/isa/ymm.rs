//! What sets with vectors of 256 bits have in common: everything but the dot product and the form of bytes.

/// Intrinsics on registers, or on memory that is a reference to an array of the vector's size.
macro_rules! proven {
    ($e:expr) => {{
        // SAFETY: `self` exists, so `new` found the instructions; pointers come from references to arrays of at least
        // the bytes that the instruction touches, and the instruction needs no alignment.
        unsafe { $e }
    }};
}
pub(super) use proven;

/// The operations of [`super::Isa`] that such sets share. Their bytes differ in sign: how they become i32, how i16 become
/// bytes, and their limits. `entered` and the token's `spread`, which makes an [`super::Isa::X`] of activations, are the
/// set's own.
macro_rules! operations {
    ($widen:ident, $narrow:ident, $min:ident, $max:ident) => {
        const LANES: usize = 8;
        const NV: usize = 2;
        const FINISHES: bool = true;
        const FUSES: bool = true;
        const TRANSLATES: bool = false;
        type F = __m256;
        type A<'a> = &'a [u8; 16];
        type B = __m256i;

        #[inline(always)]
        fn weight_index(lane: usize, k: usize) -> usize {
            4 * lane + k
        }

        #[inline(always)]
        fn acts(self, x: &[u8; 16]) -> &[u8; 16] {
            x
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
        fn splat(self, x: i32) -> __m256i {
            proven!(_mm256_set1_epi32(x))
        }

        #[inline(always)]
        fn load_i32(self, x: &[i32]) -> __m256i {
            let x: &[i32; 8] = x[..8].try_into().expect("8 values");
            proven!(_mm256_loadu_si256(x.as_ptr().cast()))
        }

        #[inline(always)]
        fn store_i32(self, v: __m256i, out: &mut [i32]) {
            let out: &mut [i32; 8] = (&mut out[..8]).try_into().expect("8 values");
            proven!(_mm256_storeu_si256(out.as_mut_ptr().cast(), v))
        }

        #[inline(always)]
        fn add(self, a: __m256i, b: __m256i) -> __m256i {
            proven!(_mm256_add_epi32(a, b))
        }

        #[inline(always)]
        fn splat_f32(self, x: f32) -> __m256 {
            proven!(_mm256_set1_ps(x))
        }

        #[inline(always)]
        fn load_f32(self, x: &[f32]) -> __m256 {
            let x: &[f32; 8] = x[..8].try_into().expect("8 values");
            proven!(_mm256_loadu_ps(x.as_ptr()))
        }

        #[inline(always)]
        fn to_f32(self, v: __m256i) -> __m256 {
            proven!(_mm256_cvtepi32_ps(v))
        }

        #[inline(always)]
        fn mul_f32(self, a: __m256, b: __m256) -> __m256 {
            proven!(_mm256_mul_ps(a, b))
        }

        #[inline(always)]
        fn div_f32(self, a: __m256, b: __m256) -> __m256 {
            proven!(_mm256_div_ps(a, b))
        }

        #[inline(always)]
        fn add_f32(self, a: __m256, b: __m256) -> __m256 {
            proven!(_mm256_add_ps(a, b))
        }

        #[inline(always)]
        fn mul_add_f32(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            proven!(_mm256_fmadd_ps(a, b, c))
        }

        #[inline(always)]
        fn as_f32(self, v: __m256i) -> __m256 {
            proven!(_mm256_castsi256_ps(v))
        }

        #[inline(always)]
        fn min_f32(self, a: __m256, b: __m256) -> __m256 {
            proven!(_mm256_min_ps(a, b))
        }

        #[inline(always)]
        fn max_f32(self, a: __m256, b: __m256) -> __m256 {
            proven!(_mm256_max_ps(a, b))
        }

        #[inline(always)]
        fn round(self, v: __m256) -> __m256i {
            // Rust code runs with the default rounding mode, ties to even.
            proven!(_mm256_cvtps_epi32(v))
        }

        #[inline(always)]
        fn load_i16(self, x: &[u8]) -> __m256i {
            let x: &[u8; 16] = x[..16].try_into().expect("16 bytes");
            proven!(_mm256_cvtepi16_epi32(_mm_loadu_si128(x.as_ptr().cast())))
        }

        #[inline(always)]
        fn store_i16(self, v: __m256i, out: &mut [u8]) {
            let mut bytes = [0; 16];
            // SAFETY: the token proves the features; the store writes the 16 bytes of the array.
            unsafe {
                let low = _mm256_castsi256_si128(v);
                let high = _mm256_extracti128_si256::<1>(v);
                _mm_storeu_si128(bytes.as_mut_ptr().cast(), _mm_packs_epi32(low, high));
            }
            match out.first_chunk_mut::<16>() {
                Some(out) => *out = bytes,
                None => out.iter_mut().zip(bytes).for_each(|(o, b)| *o = b),
            }
        }

        #[inline(always)]
        fn splat_i16(self, x: i16) -> __m256i {
            proven!(_mm256_set1_epi16(x))
        }

        #[inline(always)]
        fn pack_i16(self, q: [__m256i; 2], low: __m256i, high: __m256i) -> __m256i {
            proven!({
                // Packing works in each half of the register; the permutation joins what belongs together.
                let v = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(q[0], q[1]));
                _mm256_min_epi16(_mm256_max_epi16(v, low), high)
            })
        }

        #[inline(always)]
        fn look_up(self, table: &[u8; 256], bytes: &mut [u8]) {
            let (whole, rest) = bytes.as_chunks_mut::<32>();
            for bytes in whole {
                let index = proven!(_mm256_loadu_si256(bytes.as_ptr().cast()));
                let found = self.translate(table, index);
                proven!(_mm256_storeu_si256(bytes.as_mut_ptr().cast(), found));
            }
            for b in rest {
                *b = table[usize::from(*b)];
            }
        }

        #[inline(always)]
        fn translate(self, table: &[u8; 256], index: __m256i) -> __m256i {
            // Sixteen entries at a time: a shuffle gives zero where the index has its highest bit set, which a saturating
            // sum sets for all but the sixteen indices that are meant.
            let mut found = proven!(_mm256_setzero_si256());
            for (i, entries) in table.as_chunks::<16>().0.iter().enumerate() {
                proven!({
                    let entries = _mm_loadu_si128(entries.as_ptr().cast());
                    let entries = _mm256_broadcastsi128_si256(entries);
                    let near = _mm256_xor_si256(index, _mm256_set1_epi8((16 * i) as i8));
                    let near = _mm256_adds_epu8(near, _mm256_set1_epi8(0x70));
                    found = _mm256_or_si256(found, _mm256_shuffle_epi8(entries, near));
                });
            }
            found
        }

        #[inline(always)]
        fn put_i16<const P: usize>(self, v: __m256i, out: &mut [u8], step: usize) {
            const { assert!(P == 1 || P == 2) };
            assert!(
                parted(32, P, step).is_some_and(|end| end <= out.len()),
                "no room for a vector"
            );
            let out = out.as_mut_ptr();
            // SAFETY: the token proves the features; the parts are inside `out`, by the assertion.
            unsafe {
                if P == 1 {
                    _mm256_storeu_si256(out.cast(), v);
                } else {
                    _mm_storeu_si128(out.cast(), _mm256_castsi256_si128(v));
                    _mm_storeu_si128(out.add(step).cast(), _mm256_extracti128_si256::<1>(v));
                }
            }
        }

        #[inline(always)]
        fn put_i8<const P: usize>(self, b: __m256i, out: &mut [u8], step: usize) {
            const { assert!(P == 1 || P == 2 || P == 4) };
            assert!(
                parted(32, P, step).is_some_and(|end| end <= out.len()),
                "no room for a vector"
            );
            let out = out.as_mut_ptr();
            // SAFETY: the token proves the features; the parts are inside `out`, by the assertion.
            unsafe {
                let (low, high) = (_mm256_castsi256_si128(b), _mm256_extracti128_si256::<1>(b));
                match P {
                    1 => _mm256_storeu_si256(out.cast(), b),
                    2 => {
                        _mm_storeu_si128(out.cast(), low);
                        _mm_storeu_si128(out.add(step).cast(), high);
                    }
                    _ => {
                        _mm_storel_epi64(out.cast(), low);
                        _mm_storel_epi64(out.add(step).cast(), _mm_unpackhi_epi64(low, low));
                        _mm_storel_epi64(out.add(2 * step).cast(), high);
                        _mm_storel_epi64(out.add(3 * step).cast(), _mm_unpackhi_epi64(high, high));
                    }
                }
            }
        }

        #[inline(always)]
        fn enter<K: Kernel>(self, kernel: K) -> K::Output {
            // SAFETY: the token exists, so the processor has the features.
            unsafe { entered(self, kernel) }
        }

        #[inline(always)]
        fn lane<const L: usize>(self, a: &[u8; 16]) -> Self::X {
            let x = i32::from_le_bytes([a[4 * L], a[4 * L + 1], a[4 * L + 2], a[4 * L + 3]]);
            self.spread(proven!(_mm256_set1_epi32(x)))
        }

        #[inline(always)]
        fn group<const CPG: usize, const J: usize>(self, x: &[u8; 16]) -> Self::X {
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
        fn own<const R: usize>(self, x: &[u8]) -> Self::X {
            const { assert!(R < 4) };
            let x: &[u8; 32] = x[..32].try_into().expect("32 bytes");
            let x = proven!(_mm256_loadu_si256(x.as_ptr().cast()));
            self.spread(match R {
                0 => x,
                1 => proven!(_mm256_shuffle_epi32::<0b10_11_00_01>(x)),
                2 => proven!(_mm256_shuffle_epi32::<0b01_00_11_10>(x)),
                _ => proven!(_mm256_shuffle_epi32::<0b00_01_10_11>(x)),
            })
        }

        #[inline(always)]
        fn weights(self, w: &[i8]) -> __m256i {
            let w: &[i8; 32] = w[..32].try_into().expect("32 bytes");
            proven!(_mm256_loadu_si256(w.as_ptr().cast()))
        }

        #[inline(always)]
        fn load_i8(self, x: &[u8]) -> __m256i {
            let x: &[u8; 8] = x[..8].try_into().expect("8 bytes");
            proven!($widen(_mm_loadl_epi64(x.as_ptr().cast())))
        }

        #[inline(always)]
        fn store_i8(self, v: __m256i, out: &mut [u8]) {
            let mut bytes = [0; 8];
            // SAFETY: the token proves the features; the store writes the 8 bytes of the array.
            unsafe {
                let words = _mm256_packs_epi32(v, v);
                let quads = $narrow(words, words);
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
            proven!(_mm256_set1_epi8((q + Self::BIAS) as i8))
        }

        #[inline(always)]
        fn pack_i8(self, q: [__m256i; 4], zero: __m256i, low: __m256i, high: __m256i) -> __m256i {
            proven!({
                let a = _mm256_adds_epi16(_mm256_packs_epi32(q[0], q[1]), zero);
                let b = _mm256_adds_epi16(_mm256_packs_epi32(q[2], q[3]), zero);
                let v = $narrow(a, b);
                let v = $min($max(v, low), high);
                _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
            })
        }

        #[inline(always)]
        fn weave_i8(self, q: [__m256i; 4], zero: __m256i, low: __m256i, high: __m256i) -> __m256i {
            proven!({
                let a = _mm256_adds_epi16(_mm256_packs_epi32(q[0], q[1]), zero);
                let b = _mm256_adds_epi16(_mm256_packs_epi32(q[2], q[3]), zero);
                let v = $narrow(a, b);
                let v = $min($max(v, low), high);
                let order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
                _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(order))
            })
        }
    };
}
pub(super) use operations;
