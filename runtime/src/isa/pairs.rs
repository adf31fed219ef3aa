//! Products of unsigned activations by signed weights, two of which fit an i16: the tile of AVX2, written out. Compilers
//! add the products of several steps first and leave accumulators in memory meanwhile.

use super::ARRANGED;
use core::arch::asm;
use core::arch::x86_64::*;

/// Four activations of every row by one vector of weights, or two.
macro_rules! quad {
    ($w:literal, $next:literal; $($row:literal $a:ident $b:ident)*) => {
        concat!(
            "vmovdqu {u}, ymmword ptr [", $w, "]\n",
            "vmovdqu {v}, ymmword ptr [", $next, "]\n",
            $(
                "vpbroadcastd {x}, dword ptr [{rows} + ", $row, " * {row}]\n",
                "vpmaddubsw {p}, {x}, {u}\n",
                "vpmaddubsw {q}, {x}, {v}\n",
                "vpmaddwd {p}, {p}, {ones}\n",
                "vpmaddwd {q}, {q}, {ones}\n",
                "vpaddd {", stringify!($a), "}, {", stringify!($a), "}, {p}\n",
                "vpaddd {", stringify!($b), "}, {", stringify!($b), "}, {q}\n",
            )*
        )
    };
    ($w:literal; $($row:literal $a:ident)*) => {
        concat!(
            "vmovdqu {u}, ymmword ptr [", $w, "]\n",
            $(
                "vpbroadcastd {x}, dword ptr [{rows} + ", $row, " * {row}]\n",
                "vpmaddubsw {p}, {x}, {u}\n",
                "vpmaddwd {p}, {p}, {ones}\n",
                "vpaddd {", stringify!($a), "}, {", stringify!($a), "}, {p}\n",
            )*
        )
    };
}

/// All quads of a tile: `$quad` multiplies one by `$bytes` bytes of weights, in the registers of the operands behind.
macro_rules! quads {
    ($rows:ident, $w:ident, $quads:ident, $ahead:ident; $quad:expr, $bytes:literal; $($operands:tt)*) => {
        // SAFETY: these instructions are of AVX2 and read what the caller vouches for; hints read nothing.
        unsafe {
            asm!(
                "2:",
                "prefetcht1 byte ptr [{ahead}]",
                $quad,
                "add {rows}, 4",
                concat!("add {w}, ", $bytes),
                "add {ahead}, 64",
                "dec {quads}",
                "jnz 2b",
                $($operands)*
                u = out(ymm_reg) _,
                x = out(ymm_reg) _,
                p = out(ymm_reg) _,
                ones = in(ymm_reg) _mm256_set1_epi16(1),
                rows = inout(reg) $rows => _,
                w = inout(reg) $w => _,
                ahead = inout(reg) $ahead => _,
                quads = inout(reg) $quads => _,
                row = const ARRANGED,
                options(readonly, nostack),
            );
        }
    };
}

/// A tile of so many rows by two vectors, and one by one vector.
macro_rules! tile {
    ($two:ident, $one:ident, $rows:literal: $($row:literal $a:ident $b:ident)*) => {
        /// # Safety
        ///
        /// `quads`, not 0, times 4 bytes of every row and 64 bytes of weights can be read.
        #[target_feature(enable = "avx2")]
        #[inline]
        unsafe fn $two(acc: &mut [[__m256i; 2]; $rows], rows: *const u8, w: *const i8, quads: usize, ahead: *const i8) {
            quads!(rows, w, quads, ahead; quad!("{w}", "{w} + 32"; $($row $a $b)*), 64;
                $($a = inout(ymm_reg) acc[$row][0], $b = inout(ymm_reg) acc[$row][1],)*
                v = out(ymm_reg) _,
                q = out(ymm_reg) _,
            );
        }

        /// # Safety
        ///
        /// `quads`, not 0, times 4 bytes of every row and 32 bytes of weights can be read.
        #[target_feature(enable = "avx2")]
        #[inline]
        unsafe fn $one(acc: &mut [[__m256i; 1]; $rows], rows: *const u8, w: *const i8, quads: usize, ahead: *const i8) {
            quads!(rows, w, quads, ahead; quad!("{w}"; $($row $a)*), 32;
                $($a = inout(ymm_reg) acc[$row][0],)*
            );
        }
    };
}

tile!(one_by_two, one_by_one, 1: 0 a b);
tile!(two_by_two, two_by_one, 2: 0 a b 1 c d);
tile!(three_by_two, three_by_one, 3: 0 a b 1 c d 2 e f);
tile!(four_by_two, four_by_one, 4: 0 a b 1 c d 2 e f 3 g h);

/// Adds the products of a tile, as [`super::Isa::pairs`] says.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn tile<const MR: usize, const NV: usize>(
    acc: &mut [[__m256i; NV]; MR],
    x: &[[u8; ARRANGED]],
    w: &[i8],
    ahead: &[i8],
) {
    const { assert!(NV == 1 || NV == 2) };
    let quads = w.len() / (32 * NV);
    assert!(MR <= x.len() && 4 * quads <= ARRANGED, "no such rows");
    if quads == 0 {
        return;
    }
    let (x, w, ahead) = (x.as_ptr().cast::<u8>(), w.as_ptr(), ahead.as_ptr());
    let acc = acc.as_flattened_mut();
    // SAFETY: the rows have `ARRANGED` bytes each, as many as the quads are, and the weights `quads` times what one reads.
    // `acc` has `MR * NV` vectors.
    unsafe {
        match (MR, NV) {
            (1, 1) => one_by_one(&mut *acc.as_mut_ptr().cast(), x, w, quads, ahead),
            (2, 1) => two_by_one(&mut *acc.as_mut_ptr().cast(), x, w, quads, ahead),
            (3, 1) => three_by_one(&mut *acc.as_mut_ptr().cast(), x, w, quads, ahead),
            (4, 1) => four_by_one(&mut *acc.as_mut_ptr().cast(), x, w, quads, ahead),
            (1, 2) => one_by_two(&mut *acc.as_mut_ptr().cast(), x, w, quads, ahead),
            (2, 2) => two_by_two(&mut *acc.as_mut_ptr().cast(), x, w, quads, ahead),
            (3, 2) => three_by_two(&mut *acc.as_mut_ptr().cast(), x, w, quads, ahead),
            (4, 2) => four_by_two(&mut *acc.as_mut_ptr().cast(), x, w, quads, ahead),
            _ => unreachable!("no such tile"),
        }
    }
}

/// Arranges rows, as [`super::Isa::arrange`] says.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn arrange<const R: usize>(
    x: &[&[[u8; 16]]; R],
    order: &[[u8; 16]],
    out: &mut [[u8; ARRANGED]],
    at: usize,
) {
    let blocks = order.len();
    assert!(R <= out.len() && at <= ARRANGED && 16 * blocks <= ARRANGED - at, "no such rows");
    assert!(x.iter().all(|x| x.len() == blocks), "as many blocks as orders");
    let x: [*const u8; R] = core::array::from_fn(|r| x[r].as_ptr().cast());
    let (order, out) = (order.as_ptr().cast::<u8>(), out.as_mut_ptr().cast::<u8>());
    let flip = _mm256_set1_epi8(-128);
    let mut from = 0;
    // SAFETY: `blocks` times 16 bytes can be read from every row and from the orders, and as many written from byte `at`
    // of every row of `out`; two blocks are moved where there are two left.
    unsafe {
        while from + 32 <= 16 * blocks {
            let order = _mm256_loadu_si256(order.add(from).cast());
            for (r, x) in x.iter().enumerate() {
                let x = _mm256_shuffle_epi8(_mm256_loadu_si256(x.add(from).cast()), order);
                let out = out.add(r * ARRANGED + at + from);
                _mm256_storeu_si256(out.cast(), _mm256_xor_si256(x, flip));
            }
            from += 32;
        }
        if from < 16 * blocks {
            let order = _mm_loadu_si128(order.add(from).cast());
            for (r, x) in x.iter().enumerate() {
                let x = _mm_shuffle_epi8(_mm_loadu_si128(x.add(from).cast()), order);
                let out = out.add(r * ARRANGED + at + from);
                _mm_storeu_si128(out.cast(), _mm_xor_si128(x, _mm256_castsi256_si128(flip)));
            }
        }
    }
}

/// Columns that fit each other, as [`super::Isa::fits`] says.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn fits(rows: &[[i8; 16]; 16]) -> [u16; 16] {
    let (two, _) = rows.as_flattened().as_chunks::<32>();
    let zero = _mm256_setzero_si256();
    let mut fits = [0; 16];
    for (i, fits) in fits.iter_mut().enumerate() {
        let column = _mm256_set1_epi8(i as i8);
        let mut beyond = zero;
        for rows in two {
            // SAFETY: an array of the vector's size; the load needs no alignment.
            let w = unsafe { _mm256_loadu_si256(rows.as_ptr().cast()) };
            let other = _mm256_shuffle_epi8(w, column);
            let (sum, limited) = (_mm256_add_epi8(w, other), _mm256_adds_epi8(w, other));
            beyond = _mm256_or_si256(beyond, _mm256_xor_si256(sum, limited));
        }
        let fit = _mm256_movemask_epi8(_mm256_cmpeq_epi8(beyond, zero)) as u32;
        *fits = (fit & fit >> 16) as u16 & !(1 << i);
    }
    fits
}
