//! Products of unsigned activations by signed weights, two or four of which fit an i16: the tile of AVX2, written out.
//! Compilers add the products of several steps first and leave accumulators in memory meanwhile.
//!
//! Joined quads are multiplied by themselves and added as i16, so that five instructions make 64 products, where two that
//! become i32 each need six. Activations are put in the panel's order beforehand, a part of the row at a time: the shuffle
//! that would do it for every four of them meets the products, which use all ports that it could use.

use super::{Ordered, PAIR_PART, PAIR_ROWS, PairBlock, PairPanel, PairPlace, PairQuads, TURNED};
use core::arch::asm;
use core::arch::x86_64::*;

/// Bytes of weights of a quad.
const QUAD: usize = 32;

/// Four activations of every row, twice, by two vectors of weights.
macro_rules! joined {
    ($($row:literal $a:ident)*) => {
        concat!(
            "vmovdqu {u}, ymmword ptr [{w}]\n",
            "vmovdqu {v}, ymmword ptr [{w} + 32]\n",
            $(
                "vpbroadcastd {x}, dword ptr [{ordered} + {at} + 16 * ", $row, "]\n",
                "vpbroadcastd {y}, dword ptr [{ordered} + {at} + 16 * ", $row, " + 4]\n",
                "vpmaddubsw {x}, {x}, {u}\n",
                "vpmaddubsw {y}, {y}, {v}\n",
                "vpaddw {x}, {x}, {y}\n",
                "vpmaddwd {x}, {x}, {ones}\n",
                "vpaddd {", stringify!($a), "}, {", stringify!($a), "}, {x}\n",
            )*
        )
    };
}

/// Four activations of every row by a vector of weights.
macro_rules! single {
    ($($row:literal $a:ident)*) => {
        concat!(
            "vmovdqu {u}, ymmword ptr [{w}]\n",
            $(
                "vpbroadcastd {x}, dword ptr [{ordered} + {at} + 16 * ", $row, "]\n",
                "vpmaddubsw {x}, {x}, {u}\n",
                "vpmaddwd {x}, {x}, {ones}\n",
                "vpaddd {", stringify!($a), "}, {", stringify!($a), "}, {x}\n",
            )*
        )
    };
}

/// A tile of so many rows.
macro_rules! tile {
    ($name:ident, $rows:literal: $($row:literal $a:ident)*) => {
        /// Adds the products of a part.
        ///
        /// # Safety
        ///
        /// From `places` on there are as many as `quads` says, and from `weights` on [`QUAD`] bytes for every quad.
        #[target_feature(enable = "avx2")]
        #[inline]
        unsafe fn $name(
            acc: &mut [[__m256i; 1]; $rows],
            ordered: &Ordered,
            quads: PairQuads,
            places: *const PairPlace,
            weights: *const i8,
        ) {
            // SAFETY: these instructions are of AVX2. They read what the caller vouches for, and 4 or 8 bytes of every row
            // from a place on, which a `PairPlace` says to be in `ordered`.
            unsafe {
                asm!(
                    "test {joined}, {joined}",
                    "jz 3f",
                    "2:",
                    "movzx {at:e}, word ptr [{places}]",
                    joined!($($row $a)*),
                    "add {places}, 2",
                    "add {w}, 64",
                    "dec {joined}",
                    "jnz 2b",
                    "3:",
                    "test {single}, {single}",
                    "jz 5f",
                    "4:",
                    "movzx {at:e}, word ptr [{places}]",
                    single!($($row $a)*),
                    "add {places}, 2",
                    "add {w}, 32",
                    "dec {single}",
                    "jnz 4b",
                    "5:",
                    $($a = inout(ymm_reg) acc[$row][0],)*
                    u = out(ymm_reg) _,
                    v = out(ymm_reg) _,
                    x = out(ymm_reg) _,
                    y = out(ymm_reg) _,
                    ones = in(ymm_reg) _mm256_set1_epi16(1),
                    ordered = in(reg) core::ptr::from_ref(ordered),
                    at = out(reg) _,
                    w = inout(reg) weights => _,
                    places = inout(reg) places => _,
                    joined = inout(reg) quads.joined => _,
                    single = inout(reg) quads.single => _,
                    options(readonly, nostack),
                );
            }
        }
    };
}

tile!(one, 1: 0 a);
tile!(two, 2: 0 a 1 b);
tile!(three, 3: 0 a 1 b 2 c);
tile!(four, 4: 0 a 1 b 2 c 3 d);
tile!(five, 5: 0 a 1 b 2 c 3 d 4 e);
tile!(six, 6: 0 a 1 b 2 c 3 d 4 e 5 f);
tile!(seven, 7: 0 a 1 b 2 c 3 d 4 e 5 f 6 g);
tile!(eight, 8: 0 a 1 b 2 c 3 d 4 e 5 f 6 g 7 h);

/// Puts the activations of the first `MR` rows in order, and asks for a cache line of `ahead` for every block.
#[target_feature(enable = "avx2")]
#[inline]
fn put_in_order<const MR: usize>(
    ordered: &mut Ordered,
    rows: &[PairBlock],
    order: &[[i8; 16]],
    ahead: *const i8,
) {
    for (index, ((out, rows), order)) in ordered.part.iter_mut().zip(rows).zip(order).enumerate() {
        _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(64 * index));
        // SAFETY: arrays of the vector's size; nothing needs alignment.
        let order = unsafe { _mm_loadu_si128(order.as_ptr().cast()) };
        // The shuffle looks at the lowest four bits.
        let order = _mm256_broadcastsi128_si256(order);
        let turned = _mm256_cmpgt_epi8(order, _mm256_set1_epi8(TURNED as i8 - 1));
        let out = out.as_flattened_mut().as_chunks_mut::<32>().0;
        let rows = rows.as_flattened().as_chunks::<32>().0;
        for (out, rows) in out.iter_mut().zip(rows).take(MR.div_ceil(2)) {
            // SAFETY: as above.
            unsafe {
                let rows = _mm256_loadu_si256(rows.as_ptr().cast());
                let rows = _mm256_xor_si256(_mm256_shuffle_epi8(rows, order), turned);
                _mm256_storeu_si256(out.as_mut_ptr().cast(), rows);
            }
        }
    }
}

/// Adds the products of a tile, as [`super::Isa::pairs`] says.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn tile<const MR: usize, const NV: usize>(
    acc: &mut [[__m256i; NV]; MR],
    rows: &[PairBlock],
    panel: &PairPanel<'_>,
    ordered: &mut Ordered,
    mut ahead: &[i8],
) {
    assert!(MR > 0 && MR <= PAIR_ROWS && NV == 1, "no such tile");
    let PairPanel { mut weights, order, parts, mut places } = *panel;
    assert!(
        order.len() <= rows.len() && parts.len() == order.len().div_ceil(PAIR_PART),
        "no such rows"
    );
    for ((quads, order), rows) in
        parts.iter().zip(order.chunks(PAIR_PART)).zip(rows.chunks(PAIR_PART))
    {
        put_in_order::<MR>(ordered, rows, order, ahead.as_ptr());
        ahead = ahead.get(64 * order.len()..).unwrap_or(&[]);
        let count = quads.joined.checked_add(quads.single).expect("as many as there are places");
        let (these, others) = places.split_at(count);
        let (w, rest) = weights.split_at(QUAD * (count + quads.joined));
        (places, weights) = (others, rest);
        let (these, w) = (these.as_ptr(), w.as_ptr());
        let acc = acc.as_mut_ptr();
        // SAFETY: the parts that were split off are as long as they have to be, and `acc` has `MR` vectors.
        unsafe {
            match MR {
                1 => one(&mut *acc.cast(), ordered, *quads, these, w),
                2 => two(&mut *acc.cast(), ordered, *quads, these, w),
                3 => three(&mut *acc.cast(), ordered, *quads, these, w),
                4 => four(&mut *acc.cast(), ordered, *quads, these, w),
                5 => five(&mut *acc.cast(), ordered, *quads, these, w),
                6 => six(&mut *acc.cast(), ordered, *quads, these, w),
                7 => seven(&mut *acc.cast(), ordered, *quads, these, w),
                _ => eight(&mut *acc.cast(), ordered, *quads, these, w),
            }
        }
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::isa::{Avx2, Isa};
    use crate::testing::Rng;
    use alloc::vec::Vec;

    const LANES: usize = 8;

    /// Weights of one sign that share an i16 sum to at most 128: the later ones have what the first leave. Lane by lane of
    /// every quad, joined ones first.
    fn weights(rng: &mut Rng, joined: usize, single: usize) -> Vec<i8> {
        let mut weights = Vec::new();
        for quads in core::iter::repeat_n(2, joined).chain(core::iter::repeat_n(1, single)) {
            let mut quad = [[[0; 4]; LANES]; 2];
            #[expect(clippy::needless_range_loop, reason = "of both quads")]
            for lane in 0..LANES {
                for pair in 0..2 {
                    let mut left = [128, 128];
                    for place in 0..2 * quads {
                        let w = rng.int(-127, 127);
                        let left = &mut left[usize::from(w < 0)];
                        let w = w.signum() * w.abs().min(*left);
                        *left -= w.abs();
                        quad[place / 2][lane][2 * pair + place % 2] = w as i8;
                    }
                }
            }
            weights.extend(quad[..quads].as_flattened().as_flattened());
        }
        weights
    }

    /// Tiles of `blocks` blocks, of every part `quads`, against the definition.
    fn check<const MR: usize>(isa: Avx2, rng: &mut Rng, blocks: usize, quads: PairQuads) {
        let mut rows = alloc::vec![[[0; 16]; PAIR_ROWS]; blocks];
        for x in rows.as_flattened_mut().as_flattened_mut() {
            *x = rng.int(0, 255) as u8;
        }
        let mut order = alloc::vec![[0; 16]; blocks];
        order.as_flattened_mut().iter_mut().for_each(|place| *place = rng.int(0, 31) as i8);
        let mut want: [[i32; LANES]; MR] =
            core::array::from_fn(|_| core::array::from_fn(|_| rng.next() as i32));
        let mut acc = want.map(|sums| [isa.load_i32(&sums)]);
        let (mut all_weights, mut places) = (Vec::new(), Vec::new());
        for (part, rows) in rows.chunks(PAIR_PART).enumerate() {
            let mut weights = weights(rng, quads.joined, quads.single);
            let mut rest = weights.as_chunks_mut::<4>().0;
            for index in 0..quads.joined + quads.single {
                let width = if index < quads.joined { 8 } else { 4 };
                let block = rng.next() as usize % rows.len();
                // Behind the block's end are other activations.
                let at = rng.int(0, 17 - width as i32) as usize;
                let (inside, place) = ((16 - at).min(width), PairPlace::new(block, at));
                places.push(place);
                let (these, others) = rest.split_at_mut(width / 4 * LANES);
                rest = others;
                for (n, weights) in these.iter_mut().enumerate() {
                    let (quad, lane) = (n / LANES, n % LANES);
                    for (k, w) in weights.iter_mut().enumerate() {
                        if 4 * quad + k >= inside {
                            *w = 0;
                            continue;
                        }
                        let from = order[part * PAIR_PART + block][at + 4 * quad + k] as u8;
                        for (row, want) in want.iter_mut().enumerate() {
                            let x = rows[block][row][usize::from(from % TURNED)];
                            let x = i32::from(if from < TURNED { x } else { 255 - x });
                            want[lane] = want[lane].wrapping_add(x * i32::from(*w));
                        }
                    }
                }
            }
            all_weights.append(&mut weights);
        }
        let parts = alloc::vec![quads; blocks.div_ceil(PAIR_PART)];
        let panel =
            PairPanel { weights: &all_weights, order: &order, parts: &parts, places: &places };
        isa.pairs(&mut acc, &rows, &panel, &mut Ordered::new(), &[]);
        for ([acc], want) in acc.iter().zip(&want) {
            let mut got = [0; LANES];
            isa.store_i32(*acc, &mut got);
            assert_eq!(got, *want, "{MR} rows, {blocks} blocks, {quads:?}");
        }
    }

    #[test]
    fn tiles_equal_the_definition() {
        let Some(isa) = Avx2::new() else { return };
        let mut rng = Rng::new(3);
        for blocks in [1, 2, 5, PAIR_PART, PAIR_PART + 1, 2 * PAIR_PART] {
            for (joined, single) in [(0, 0), (1, 0), (0, 1), (2, 1), (3, 5), (9, 4)] {
                let quads = PairQuads { joined, single };
                check::<1>(isa, &mut rng, blocks, quads);
                check::<2>(isa, &mut rng, blocks, quads);
                check::<3>(isa, &mut rng, blocks, quads);
                check::<4>(isa, &mut rng, blocks, quads);
                check::<5>(isa, &mut rng, blocks, quads);
                check::<6>(isa, &mut rng, blocks, quads);
                check::<7>(isa, &mut rng, blocks, quads);
                check::<8>(isa, &mut rng, blocks, quads);
            }
        }
    }

    #[test]
    #[should_panic(expected = "no such place")]
    fn places_behind_a_part_are_refused() {
        let _ = PairPlace::new(PAIR_PART, 0);
    }
}
