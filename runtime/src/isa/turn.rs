//! Four rows of four words, turned.

/// Word `i` of row `j` as word `j` of row `i`.
///
/// Written out for x86-64, where compilers move the words one by one.
#[inline(always)]
pub(crate) fn turned(rows: [[u8; 16]; 4]) -> [[u32; 4]; 4] {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::*;
        // SAFETY: SSE2 is part of x86-64; vectors and arrays have the same size, and all bits are values of both.
        unsafe {
            let [a, b, c, d]: [__m128i; 4] = core::mem::transmute(rows);
            let (ab, cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
            let (ef, gh) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
            core::mem::transmute([
                _mm_unpacklo_epi64(ab, cd),
                _mm_unpackhi_epi64(ab, cd),
                _mm_unpacklo_epi64(ef, gh),
                _mm_unpackhi_epi64(ef, gh),
            ])
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let word = |row: &[u8; 16], i: usize| {
            u32::from_ne_bytes([row[4 * i], row[4 * i + 1], row[4 * i + 2], row[4 * i + 3]])
        };
        core::array::from_fn(|i| core::array::from_fn(|j| word(&rows[j], i)))
    }
}

#[cfg(test)]
mod tests {
    use super::turned;

    #[test]
    fn rows_become_columns() {
        let rows = core::array::from_fn(|j| core::array::from_fn(|k| (16 * j + k) as u8));
        for (i, row) in turned(rows).into_iter().enumerate() {
            for (j, word) in row.into_iter().enumerate() {
                let first = (16 * j + 4 * i) as u8;
                assert_eq!(word.to_ne_bytes(), [first, first + 1, first + 2, first + 3]);
            }
        }
    }
}
