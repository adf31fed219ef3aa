//! Products of unsigned activations by signed weights, two of which fit an i16: the tile of AVX2, written out. Compilers
//! add the products of several steps first and leave accumulators in memory meanwhile.
//!
//! The shuffle that puts four activations in the panel's order also spreads them to all lanes. It runs beside the
//! multiplications, which are what limits the loop: two a cycle (Zen 3: 8.6 cycles for 16 of them, 8.4 without it).

use super::{PAIR_ROW, PairPanel};
use core::arch::asm;
use core::arch::x86_64::*;

/// Four activations of every row, of the block at `rows`, by one vector of weights, or two.
macro_rules! quad {
    ($order:literal, $w:literal, $next:literal; $($row:literal $a:ident $b:ident)*) => {
        concat!(
            "vmovdqu {u}, ymmword ptr [{w} + ", $w, "]\n",
            "vmovdqu {v}, ymmword ptr [{w} + ", $next, "]\n",
            "vpbroadcastd {o}, dword ptr [{order} + ", $order, "]\n",
            $(
                "vbroadcasti128 {x}, xmmword ptr [{rows} + ", $row, " * {row}]\n",
                "vpshufb {x}, {x}, {o}\n",
                "vpmaddubsw {p}, {x}, {u}\n",
                "vpmaddubsw {q}, {x}, {v}\n",
                "vpmaddwd {p}, {p}, {ones}\n",
                "vpmaddwd {q}, {q}, {ones}\n",
                "vpaddd {", stringify!($a), "}, {", stringify!($a), "}, {p}\n",
                "vpaddd {", stringify!($b), "}, {", stringify!($b), "}, {q}\n",
            )*
        )
    };
    ($order:literal, $w:literal; $($row:literal $a:ident)*) => {
        concat!(
            "vmovdqu {u}, ymmword ptr [{w} + ", $w, "]\n",
            "vpbroadcastd {o}, dword ptr [{order} + ", $order, "]\n",
            $(
                "vbroadcasti128 {x}, xmmword ptr [{rows} + ", $row, " * {row}]\n",
                "vpshufb {x}, {x}, {o}\n",
                "vpmaddubsw {p}, {x}, {u}\n",
                "vpmaddwd {p}, {p}, {ones}\n",
                "vpaddd {", stringify!($a), "}, {", stringify!($a), "}, {p}\n",
            )*
        )
    };
}

/// All products of a tile: those of whole blocks, four quads each, then the quads that are read again. `$bytes`: weights
/// of a quad; the accumulators are in the registers of the operands behind.
macro_rules! products {
    ($at:ident; $first:expr, $second:expr, $third:expr, $fourth:expr, $again:expr; $bytes:literal; $($operands:tt)*) => {
        // SAFETY: these instructions are of AVX2 and read what the caller vouches for; hints read nothing.
        unsafe {
            asm!(
                "2:",
                "prefetcht1 byte ptr [{ahead}]",
                $first,
                $second,
                $third,
                $fourth,
                "add {rows}, 16",
                "add {order}, 16",
                concat!("add {w}, 4 * ", $bytes),
                "add {ahead}, 64",
                "dec {blocks}",
                "jnz 2b",
                "test {more}, {more}",
                "jz 4f",
                "3:",
                "mov {rows:e}, dword ptr [{again}]",
                "add {rows}, {start}",
                $again,
                "add {again}, 4",
                "add {order}, 4",
                concat!("add {w}, ", $bytes),
                "dec {more}",
                "jnz 3b",
                "4:",
                $($operands)*
                u = out(ymm_reg) _,
                o = out(ymm_reg) _,
                x = out(ymm_reg) _,
                p = out(ymm_reg) _,
                ones = in(ymm_reg) _mm256_set1_epi16(1),
                rows = inout(reg) $at.rows => _,
                start = in(reg) $at.rows,
                w = inout(reg) $at.weights => _,
                order = inout(reg) $at.order => _,
                again = inout(reg) $at.again => _,
                ahead = inout(reg) $at.ahead => _,
                blocks = inout(reg) $at.blocks => _,
                more = inout(reg) $at.more => _,
                row = const PAIR_ROW,
                options(readonly, nostack),
            );
        }
    };
}

/// What a tile reads.
struct At {
    rows: *const u8,
    weights: *const i8,
    order: *const i8,
    again: *const u32,
    ahead: *const i8,
    /// Blocks, not none, and quads behind them.
    blocks: usize,
    more: usize,
}

/// A tile of so many rows by two vectors, and one by one vector.
macro_rules! tile {
    ($two:ident, $one:ident, $rows:literal: $($row:literal $a:ident $b:ident)*) => {
        /// # Safety
        ///
        /// All of `at` can be read: its blocks of every row and those at `again`, and 64 bytes of weights and 4 of the
        /// order for every quad.
        #[target_feature(enable = "avx2")]
        #[inline]
        unsafe fn $two(acc: &mut [[__m256i; 2]; $rows], at: &At) {
            products!(at;
                quad!("0", "0", "32"; $($row $a $b)*),
                quad!("4", "64", "96"; $($row $a $b)*),
                quad!("8", "128", "160"; $($row $a $b)*),
                quad!("12", "192", "224"; $($row $a $b)*),
                quad!("0", "0", "32"; $($row $a $b)*);
                64;
                $($a = inout(ymm_reg) acc[$row][0], $b = inout(ymm_reg) acc[$row][1],)*
                v = out(ymm_reg) _,
                q = out(ymm_reg) _,
            );
        }

        /// # Safety
        ///
        /// As of two vectors, with 32 bytes of weights for every quad.
        #[target_feature(enable = "avx2")]
        #[inline]
        unsafe fn $one(acc: &mut [[__m256i; 1]; $rows], at: &At) {
            products!(at;
                quad!("0", "0"; $($row $a)*),
                quad!("4", "32"; $($row $a)*),
                quad!("8", "64"; $($row $a)*),
                quad!("12", "96"; $($row $a)*),
                quad!("0", "0"; $($row $a)*);
                32;
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
    rows: &[[u8; PAIR_ROW]],
    panel: &PairPanel<'_>,
    ahead: &[i8],
) {
    let PairPanel { weights, order, again } = panel;
    let (quads, more) = (order.len() / 4, again.len());
    let blocks = quads.saturating_sub(more) / 4;
    assert!(MR <= rows.len() && 16 * blocks <= PAIR_ROW, "no such rows");
    assert!(4 * blocks + more == quads && (blocks > 0 || more == 0), "no blocks");
    assert!(weights.len() / (32 * NV) >= quads, "too few weights");
    if blocks == 0 {
        return;
    }
    let at = At {
        rows: rows.as_ptr().cast(),
        weights: weights.as_ptr(),
        order: order.as_ptr(),
        again: again.as_ptr().cast(),
        ahead: ahead.as_ptr(),
        blocks,
        more,
    };
    let acc = acc.as_flattened_mut();
    // SAFETY: the assertions say that there is what a tile reads, and a start that its block is in the row. `acc` has
    // `MR * NV` vectors.
    unsafe {
        match (MR, NV) {
            (1, 1) => one_by_one(&mut *acc.as_mut_ptr().cast(), &at),
            (2, 1) => two_by_one(&mut *acc.as_mut_ptr().cast(), &at),
            (3, 1) => three_by_one(&mut *acc.as_mut_ptr().cast(), &at),
            (4, 1) => four_by_one(&mut *acc.as_mut_ptr().cast(), &at),
            (1, 2) => one_by_two(&mut *acc.as_mut_ptr().cast(), &at),
            (2, 2) => two_by_two(&mut *acc.as_mut_ptr().cast(), &at),
            (3, 2) => three_by_two(&mut *acc.as_mut_ptr().cast(), &at),
            (4, 2) => four_by_two(&mut *acc.as_mut_ptr().cast(), &at),
            _ => unreachable!("no such tile"),
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

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::isa::{Avx2, BlockStart, Isa};
    use crate::testing::Rng;
    use alloc::vec::Vec;

    const LANES: usize = 8;

    /// Tiles of `blocks` blocks, and `more` quads that are read again, against the definition.
    fn check<const MR: usize, const NV: usize>(
        isa: Avx2,
        rng: &mut Rng,
        (blocks, more): (usize, usize),
    ) {
        let mut rows = [[0; PAIR_ROW]; MR];
        for x in rows.as_flattened_mut() {
            *x = rng.int(0, 255) as u8;
        }
        let again: Vec<BlockStart> =
            (0..more).map(|_| BlockStart::new(rng.next() as usize % blocks)).collect();
        let quads = 4 * blocks + more;
        let order: Vec<i8> = (0..4 * quads).map(|_| rng.int(0, 15) as i8).collect();
        // The second of two has what the first leaves.
        let mut first = 0;
        let weights: Vec<i8> = (0..4 * quads * NV * LANES)
            .map(|i| {
                let limits = if i % 2 == 0 { (-127, 127) } else { (-128 - first, 128 - first) };
                first = rng.int(-127, 127).clamp(limits.0, limits.1);
                first as i8
            })
            .collect();
        let mut want: [[[i32; LANES]; NV]; MR] = core::array::from_fn(|_| {
            core::array::from_fn(|_| core::array::from_fn(|_| rng.next() as i32))
        });
        let mut acc = want.map(|row| row.map(|sums| isa.load_i32(&sums)));
        isa.pairs(
            &mut acc,
            &rows,
            &PairPanel { weights: &weights, order: &order, again: &again },
            &[],
        );
        for (row, x) in want.iter_mut().zip(&rows) {
            for (quad, order) in order.as_chunks::<4>().0.iter().enumerate() {
                let start = match quad.checked_sub(4 * blocks) {
                    Some(quad) => again[quad].0 as usize,
                    None => quad / 4 * 16,
                };
                for (n, sum) in row.as_flattened_mut().iter_mut().enumerate() {
                    let weights = &weights[(quad * NV * LANES + n) * 4..];
                    for (from, w) in order.iter().zip(weights) {
                        let x = i32::from(x[start + *from as usize]);
                        *sum = sum.wrapping_add(x * i32::from(*w));
                    }
                }
            }
        }
        for (acc, want) in acc.as_flattened().iter().zip(want.as_flattened()) {
            let mut got = [0; LANES];
            isa.store_i32(*acc, &mut got);
            assert_eq!(got, *want, "{MR}x{NV}, {blocks} blocks, {more} quads again");
        }
    }

    #[test]
    fn tiles_equal_the_definition() {
        let Some(isa) = Avx2::new() else { return };
        let mut rng = Rng::new(3);
        for size in [(0, 0), (1, 0), (1, 3), (2, 1), (5, 0), (PAIR_ROW / 16, 2)] {
            for _ in 0..5 {
                check::<1, 1>(isa, &mut rng, size);
                check::<2, 1>(isa, &mut rng, size);
                check::<3, 1>(isa, &mut rng, size);
                check::<4, 1>(isa, &mut rng, size);
                check::<1, 2>(isa, &mut rng, size);
                check::<2, 2>(isa, &mut rng, size);
                check::<3, 2>(isa, &mut rng, size);
                check::<4, 2>(isa, &mut rng, size);
            }
        }
    }

    #[test]
    #[should_panic(expected = "no such block")]
    fn blocks_behind_the_row_are_refused() {
        let _ = BlockStart::new(PAIR_ROW / 16);
    }
}
