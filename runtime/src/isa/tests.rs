//! Every operation of every token against the scalar token's, on random and extreme data.
//!
//! The same body runs on each token over the same arrays, [`WIDTH`] values long, in steps of the token's lanes. What it
//! sees goes into a transcript in canonical form (bias taken out), so transcripts of all tokens are equal.

use super::{Isa, Kernel, Places, Platform, WOVEN};
use crate::testing::Rng;
use alloc::vec::Vec;

/// A multiple of the lanes of every token.
const WIDTH: usize = 16;
const ROUNDS: usize = 200;

/// What one operation gave, lane by lane.
type Transcript = Vec<(&'static str, Vec<i64>)>;

/// Appends to an operation's results: tokens with fewer lanes take several turns.
fn put(seen: &mut Transcript, name: &'static str, values: impl IntoIterator<Item = i64>) {
    match seen.iter_mut().find(|(n, _)| *n == name) {
        Some((_, all)) => all.extend(values),
        None => seen.push((name, values.into_iter().collect())),
    }
}

/// Runs the body with the data of one seed.
struct Body(u64);

impl Kernel for Body {
    type Output = Transcript;

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) -> Transcript {
        let (mut rng, mut seen) = (Rng::new(self.0), Vec::new());
        integers(isa, &mut rng, &mut seen);
        products(isa, &mut rng, &mut seen);
        floats(isa, &mut rng, &mut seen);
        rounding(isa, &mut rng, &mut seen);
        bytes(isa, &mut rng, &mut seen);
        words(isa, &mut rng, &mut seen);
        word_arithmetic(isa, &mut rng, &mut seen);
        word_dots(isa, &mut rng, &mut seen);
        packs(isa, &mut rng, &mut seen);
        tables(isa, &mut rng, &mut seen);
        lane_dots(isa, &mut rng, &mut seen);
        group_dots(isa, &mut rng, &mut seen);
        own_dots(isa, &mut rng, &mut seen);
        woven_pixels::<I, 1>(isa, &mut rng, &mut seen, "woven 1");
        woven_pixels::<I, 2>(isa, &mut rng, &mut seen, "woven 2");
        seen
    }
}

fn array<T>(f: impl FnMut(usize) -> T) -> [T; WIDTH] {
    core::array::from_fn(f)
}

/// Any i32, the extreme ones often.
fn any(rng: &mut Rng) -> i32 {
    let word = rng.next() as i32;
    rng.pick(&[i32::MIN, i32::MAX, 0, -1, word, word, word, word])
}

#[inline(always)]
fn lanes<I: Isa>(isa: I, v: I::I) -> Vec<i64> {
    let mut out = [0; WIDTH];
    isa.store_i32(v, &mut out);
    out[..I::LANES].iter().map(|&x| i64::from(x)).collect()
}

/// All bits of numbers of magnitudes 1 to 2^22: the nearest integer, and what is missing to it, which is exact.
#[inline(always)]
fn bits<I: Isa>(isa: I, v: I::F) -> Vec<i64> {
    let whole = isa.round(v);
    let rest = isa.add_f32(v, isa.mul_f32(isa.to_f32(whole), isa.splat_f32(-1.0)));
    let rest = isa.round(isa.mul_f32(rest, isa.splat_f32(8_388_608.0)));
    lanes(isa, whole).into_iter().zip(lanes(isa, rest)).flat_map(|(a, b)| [a, b]).collect()
}

#[inline(always)]
fn integers<I: Isa>(isa: I, rng: &mut Rng, seen: &mut Transcript) {
    for _ in 0..ROUNDS {
        let (a, b) = (array(|_| any(rng)), array(|_| any(rng)));
        let c = any(rng);
        for at in (0..WIDTH).step_by(I::LANES) {
            let (a, b) = (isa.load_i32(&a[at..]), isa.load_i32(&b[at..]));
            put(seen, "add", lanes(isa, isa.add(a, b)));
            put(seen, "splat", lanes(isa, isa.add(a, isa.splat(c))));
            put(seen, "sub", lanes(isa, isa.sub(a, b)));
            put(seen, "four", lanes(isa, isa.four(a)));
            put(seen, "mul", lanes(isa, isa.mul(a, b)));
            put(seen, "shr 1", lanes(isa, isa.shr::<1>(a)));
            put(seen, "shr 6", lanes(isa, isa.shr::<6>(a)));
        }
    }
}

#[inline(always)]
fn products<I: Isa>(isa: I, rng: &mut Rng, seen: &mut Transcript) {
    for _ in 0..ROUNDS {
        let acc = array(|_| any(rng));
        let (x, y) = (array(|_| rng.int(-32768, 32767)), array(|_| rng.int(-32767, 32767)));
        for at in (0..WIDTH).step_by(I::LANES) {
            let [acc, x, y] = [&acc, &x, &y].map(|v| isa.load_i32(&v[at..]));
            put(seen, "mul_add", lanes(isa, isa.mul_add(acc, x, y)));
        }
    }
}

/// Bytes and words leave in parts; what is between the parts stays.
#[inline(always)]
fn packs<I: Isa>(isa: I, rng: &mut Rng, seen: &mut Transcript) {
    for _ in 0..ROUNDS {
        // Vector `v` of lanes `at..` is the same piece of all tokens' data.
        let q: [[i32; WIDTH]; 4] = core::array::from_fn(|_| {
            array(|_| if rng.chance(20) { any(rng) } else { rng.int(-400, 400) })
        });
        let zero = rng.int(-128, 127);
        let low = rng.int(-128, 127);
        let high = rng.int(low, 127);
        for at in (0..WIDTH).step_by(I::LANES) {
            let v = [&q[0], &q[1], &q[2], &q[3]].map(|q| isa.load_i32(&q[at..]));
            let limits = [isa.splat_i8(low), isa.splat_i8(high)];
            let zero = isa.splat_i16((zero + I::BIAS) as i16);
            let bytes = isa.pack_i8(v, zero, limits[0], limits[1]);
            let step = I::LANES + 3;
            let mut out = [[77; 4 * (WIDTH + 3)]; 3];
            isa.put_i8::<1>(bytes, &mut out[0], 0);
            isa.put_i8::<2>(bytes, &mut out[1], 2 * step);
            isa.put_i8::<4>(bytes, &mut out[2], step);
            for i in 0..4 {
                let lane = I::LANES * i;
                let whole = &out[0][lane..][..I::LANES];
                assert_eq!(whole, &out[1][i / 2 * 2 * step + i % 2 * I::LANES..][..I::LANES]);
                assert_eq!(whole, &out[2][i * step..][..I::LANES]);
                assert!(i == 3 || out[2][i * step + I::LANES..][..3] == [77; 3]);
                let name = ["pack_i8 0", "pack_i8 1", "pack_i8 2", "pack_i8 3"][i];
                put(seen, name, whole.iter().map(|b| i64::from(*b as i8 as u8 ^ I::BIAS as u8)));
            }
            let mut woven = [77; 4 * WIDTH];
            isa.put_i8::<1>(isa.weave_i8(v, zero, limits[0], limits[1]), &mut woven, 0);
            for (i, byte) in woven[..4 * I::LANES].iter().enumerate() {
                assert_eq!(*byte, out[0][i % 4 * I::LANES + i / 4]);
            }
            let limits = [isa.splat_i16(-32767), isa.splat_i16(30000)];
            let words = isa.pack_i16([v[0], v[1]], limits[0], limits[1]);
            let mut out = [[77; 4 * WIDTH + 6]; 2];
            isa.put_i16::<1>(words, &mut out[0], 0);
            isa.put_i16::<2>(words, &mut out[1], 2 * step);
            for i in 0..2 {
                let whole = &out[0][2 * I::LANES * i..][..2 * I::LANES];
                assert_eq!(whole, &out[1][2 * step * i..][..2 * I::LANES]);
                let words = whole.as_chunks::<2>().0.iter().map(|x| i16::from_ne_bytes(*x).into());
                put(seen, ["pack_i16 0", "pack_i16 1"][i], words);
            }
        }
    }
}

#[inline(always)]
fn tables<I: Isa>(isa: I, rng: &mut Rng, seen: &mut Transcript) {
    let table: [u8; 256] = core::array::from_fn(|_| rng.next() as u8);
    for len in [0, 1, 15, 16, 31, 32, 33, 63, 64, 65, 256] {
        let bytes: Vec<u8> =
            (0..len).map(|i| (if len == 256 { i } else { rng.next() }) as u8).collect();
        let mut found = bytes.clone();
        isa.look_up(&table, &mut found);
        assert!(bytes.iter().zip(&found).all(|(b, f)| table[usize::from(*b)] == *f));
        put(seen, "look_up", found.iter().map(|b| i64::from(*b)));
    }
}

#[inline(always)]
fn floats<I: Isa>(isa: I, rng: &mut Rng, seen: &mut Transcript) {
    let sign = |rng: &mut Rng, x: f32| if rng.chance(50) { -x } else { x };
    for _ in 0..ROUNDS {
        let (low, high) = (rng.float(1.0, 1000.0), rng.float(1001.0, 2000.0));
        let a = array(|_| {
            let x = rng.float(low, high);
            sign(rng, x)
        });
        let b = array(|_| {
            let x = rng.float(3000.0, 4000.0);
            sign(rng, x)
        });
        let n = array(|_| rng.next() as i32);
        for at in (0..WIDTH).step_by(I::LANES) {
            let (a, b) = (isa.load_f32(&a[at..]), isa.load_f32(&b[at..]));
            let half = isa.splat_f32(0.5);
            put(seen, "load_f32", bits(isa, a));
            // Products of 3e3 to 8e6 leave the range; halved they are in it.
            put(seen, "mul_f32", bits(isa, isa.mul_f32(half, isa.mul_f32(a, b))));
            put(seen, "div_f32", bits(isa, isa.div_f32(b, a)));
            put(seen, "add_f32", bits(isa, isa.add_f32(a, b)));
            put(seen, "min_f32", bits(isa, isa.min_f32(a, b)));
            put(seen, "max_f32", bits(isa, isa.max_f32(a, b)));
            // Conversion rounds to 24 bits, ties to even; 2^-12 makes the result small enough for `bits`.
            let n = isa.to_f32(isa.load_i32(&n[at..]));
            let small = isa.mul_f32(n, isa.splat_f32(1.0 / 4096.0));
            let (one, scaled) = (isa.splat_f32(1.0), isa.max_f32(small, isa.splat_f32(-1e6)));
            let inside = isa.max_f32(one, isa.min_f32(scaled, isa.splat_f32(1e6)));
            put(seen, "to_f32", bits(isa, inside));
        }
    }
}

#[inline(always)]
fn rounding<I: Isa>(isa: I, rng: &mut Rng, seen: &mut Transcript) {
    for _ in 0..ROUNDS {
        let x = array(|_| match rng.next() % 4 {
            // Exact ties, and their neighbours.
            0 => rng.int(-300, 300) as f32 + 0.5,
            1 => f32::from_bits((rng.int(-300, 300) as f32 + 0.5).to_bits() + 1),
            2 => f32::from_bits((rng.int(1, 300) as f32 + 0.5).to_bits() - 1),
            _ => rng.float(-4_194_304.0, 4_194_304.0),
        });
        for at in (0..WIDTH).step_by(I::LANES) {
            put(seen, "round", lanes(isa, isa.round(isa.load_f32(&x[at..]))));
        }
    }
    for edge in [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, 4_194_303.5, -4_194_303.5, 4_194_304.0, 1e-40] {
        let rounded = lanes(isa, isa.round(isa.splat_f32(edge)));
        assert!(rounded.iter().all(|x| *x == rounded[0]));
        put(seen, "round of edges", [rounded[0]]);
    }
}

/// Loads of i8 from stored bytes, and stores of every length.
#[inline(always)]
fn bytes<I: Isa>(isa: I, rng: &mut Rng, seen: &mut Transcript) {
    for _ in 0..ROUNDS {
        let q = array(|_| rng.int(-128, 127));
        let stored = q.map(|q| (q + I::BIAS) as u8);
        for at in (0..WIDTH).step_by(I::LANES) {
            let v = isa.load_i8(&stored[at..]);
            put(seen, "load_i8", lanes(isa, v).into_iter().map(|x| x - i64::from(I::BIAS)));
            for len in 0..=I::LANES + 3 {
                let mut out = [0xA5; WIDTH + 3];
                isa.store_i8(v, &mut out[..len]);
                let written = len.min(I::LANES);
                assert_eq!(out[..written], stored[at..at + written]);
                assert!(out[written..].iter().all(|b| *b == 0xA5), "writes behind {len} bytes");
            }
        }
    }
}

/// Loads and stores of i16.
#[inline(always)]
fn words<I: Isa>(isa: I, rng: &mut Rng, seen: &mut Transcript) {
    for _ in 0..ROUNDS {
        let q = array(|_| rng.int(-32768, 32767) as i16);
        let stored: Vec<u8> = q.iter().flat_map(|q| q.to_ne_bytes()).collect();
        for at in (0..WIDTH).step_by(I::LANES) {
            let v = isa.load_i16(&stored[2 * at..]);
            put(seen, "load_i16", lanes(isa, v));
            for len in 0..=I::LANES + 1 {
                let mut out = [0xA5; 2 * WIDTH + 2];
                isa.store_i16(v, &mut out[..2 * len]);
                let written = 2 * len.min(I::LANES);
                assert_eq!(out[..written], stored[2 * at..2 * at + written]);
                assert!(out[written..].iter().all(|b| *b == 0xA5), "writes behind {len} values");
            }
        }
    }
}

/// Arithmetic on i16, in loads of twice as many values as there are lanes.
#[inline(always)]
fn word_arithmetic<I: Isa>(isa: I, rng: &mut Rng, seen: &mut Transcript) {
    const TWICE: usize = 2 * WIDTH;
    for _ in 0..ROUNDS {
        let mut some = || -> [i16; TWICE] {
            core::array::from_fn(|_| {
                let word = rng.next() as i16;
                rng.pick(&[i16::MIN, i16::MAX, 0, -1, word, word, word, word])
            })
        };
        let (a, b) = (some(), some());
        let q: [i32; TWICE] = core::array::from_fn(|_| rng.int(-128, 127));
        let stored = q.map(|q| (q + I::BIAS) as u8);
        let weights = q.map(|q| q as i8);
        let bytes =
            |x: [i16; TWICE]| -> Vec<u8> { x.iter().flat_map(|x| x.to_ne_bytes()).collect() };
        let (a, b) = (bytes(a), bytes(b));
        for at in (0..TWICE).step_by(2 * I::LANES) {
            let (x, y) = (isa.load_words(&a[2 * at..]), isa.load_words(&b[2 * at..]));
            put(seen, "add_words", words_of(isa, isa.add_words(x, y)));
            put(seen, "sub_words", words_of(isa, isa.sub_words(x, y)));
            put(seen, "mul_words", words_of(isa, isa.mul_words(x, y)));
            put(seen, "four_words", words_of(isa, isa.four_words(x)));
            put(seen, "widen_weights", words_of(isa, isa.widen_weights(&weights[at..])));
            let widened = words_of(isa, isa.widen(&stored[at..])).into_iter();
            put(seen, "widen", widened.map(|x| x - i64::from(I::BIAS)));
        }
    }
}

#[inline(always)]
fn words_of<I: Isa>(isa: I, v: I::H) -> Vec<i64> {
    let mut out = [0; 4 * WIDTH];
    isa.store_words(v, &mut out);
    let words = out[..4 * I::LANES].as_chunks::<2>().0;
    words.iter().map(|x| i64::from(i16::from_ne_bytes(*x))).collect()
}

/// Dot products of pairs of i16.
#[inline(always)]
fn word_dots<I: Isa>(isa: I, rng: &mut Rng, seen: &mut Transcript) {
    for _ in 0..ROUNDS {
        let mut word = || rng.int(-32767, 32767) as i16;
        let x = [word(), word()].map(i16::to_le_bytes);
        let w: [[i16; 2]; WIDTH] = array(|_| [word(), word()]);
        let acc = array(|_| any(rng));
        for at in (0..WIDTH).step_by(I::LANES) {
            let mut bytes = [0; 4 * WIDTH];
            for lane in 0..I::LANES {
                for (k, w) in w[at + lane].iter().enumerate() {
                    let place = 2 * I::word_index(lane, k);
                    bytes[place..place + 2].copy_from_slice(&w.to_ne_bytes());
                }
            }
            let x = isa.pair(&[x[0][0], x[0][1], x[1][0], x[1][1]]);
            let sums = isa.dot(isa.load_i32(&acc[at..]), x, isa.load_words(&bytes));
            put(seen, "dot", lanes(isa, sums));
        }
    }
}

/// Activations in storage form, weights of [`WIDTH`] channels, and the bias's part of every dot product.
fn operands(rng: &mut Rng, bias: i32) -> ([u8; 32], [[i8; 4]; WIDTH], [i32; WIDTH]) {
    let x: [u8; 32] = core::array::from_fn(|_| (rng.int(-128, 127) + bias) as u8);
    let w = array(|_| core::array::from_fn(|_| rng.int(-127, 127) as i8));
    let part = w.map(|w| bias * w.iter().map(|w| i32::from(*w)).sum::<i32>());
    (x, w, part)
}

/// The packed weights of the lanes from `at` on.
fn packed<I: Isa>(isa: I, w: &[[i8; 4]; WIDTH], at: usize) -> I::W {
    let mut bytes = [0; 4 * WIDTH];
    for lane in 0..I::LANES {
        for k in 0..4 {
            bytes[I::weight_index(lane, k)] = w[at + lane][k];
        }
    }
    isa.weights(&bytes)
}

#[inline(always)]
fn lane_dots<I: Isa>(isa: I, rng: &mut Rng, seen: &mut Transcript) {
    for _ in 0..ROUNDS {
        let (x, w, part) = operands(rng, I::BIAS);
        let acc = array(|_| rng.int(-1 << 28, 1 << 28));
        let row: &[u8; 16] = x.first_chunk().expect("16 bytes");
        for at in (0..WIDTH).step_by(I::LANES) {
            let (acc, w) = (isa.load_i32(&acc[at..]), packed(isa, &w, at));
            let a = isa.acts(row);
            let dots = [
                isa.dp(acc, isa.lane::<0>(a), w),
                isa.dp(acc, isa.lane::<1>(a), w),
                isa.dp(acc, isa.lane::<2>(a), w),
                isa.dp(acc, isa.lane::<3>(a), w),
                isa.dp(acc, isa.broadcast(&[row[5], row[6], row[7], row[8]]), w),
            ];
            let names = ["lane 0", "lane 1", "lane 2", "lane 3", "broadcast"];
            for (name, dot) in names.into_iter().zip(dots) {
                let sums = lanes(isa, dot).into_iter().zip(&part[at..]);
                put(seen, name, sums.map(|(sum, part)| sum - i64::from(*part)));
            }
        }
    }
}

#[inline(always)]
fn group_dots<I: Isa>(isa: I, rng: &mut Rng, seen: &mut Transcript) {
    for _ in 0..ROUNDS {
        let (x, w, part) = operands(rng, I::BIAS);
        for at in (0..WIDTH).step_by(I::LANES) {
            let w = packed(isa, &w, at);
            let x = |cpg: usize| x[at / cpg * cpg..].first_chunk().expect("16 bytes");
            let spread = [
                ("group 4, 0", isa.group::<4, 0>(x(4))),
                ("group 8, 0", isa.group::<8, 0>(x(8))),
                ("group 8, 1", isa.group::<8, 1>(x(8))),
                ("group 16, 0", isa.group::<16, 0>(x(16))),
                ("group 16, 1", isa.group::<16, 1>(x(16))),
                ("group 16, 2", isa.group::<16, 2>(x(16))),
                ("group 16, 3", isa.group::<16, 3>(x(16))),
            ];
            for (name, x) in spread {
                let sums = lanes(isa, isa.dp(isa.splat(0), x, w)).into_iter().zip(&part[at..]);
                put(seen, name, sums.map(|(sum, part)| sum - i64::from(*part)));
            }
        }
    }
}

#[inline(always)]
fn own_dots<I: Isa>(isa: I, rng: &mut Rng, seen: &mut Transcript) {
    for _ in 0..ROUNDS {
        let (_, w, part) = operands(rng, I::BIAS);
        let x: [u8; 4 * WIDTH] = core::array::from_fn(|_| (rng.int(-128, 127) + I::BIAS) as u8);
        for at in (0..WIDTH).step_by(I::LANES) {
            let (x, w) = (&x[4 * at..], packed(isa, &w, at));
            let exchanged = [isa.own::<0>(x), isa.own::<1>(x), isa.own::<2>(x), isa.own::<3>(x)];
            for (name, x) in ["own 0", "own 1", "own 2", "own 3"].into_iter().zip(exchanged) {
                let sums = lanes(isa, isa.dp(isa.splat(0), x, w)).into_iter().zip(&part[at..]);
                put(seen, name, sums.map(|(sum, part)| sum - i64::from(*part)));
            }
        }
    }
}

/// Weights of which neighbours of one sign sum to at most 128: the second of two has what the first leaves.
fn weights_of_pairs(rng: &mut Rng, count: usize) -> Vec<i8> {
    let mut first = 0;
    let weight = |i| {
        let w = rng.int(-127, 127);
        let w = if i % 2 == 0 { w } else { w.clamp(-128 - first, 128 - first).clamp(-127, 127) };
        first = w;
        w as i8
    };
    (0..count).map(weight).collect()
}

/// Steps of pixels, by the definition on sets that have none.
#[inline(always)]
fn woven_pixels<I: Isa, const P: usize>(
    isa: I,
    rng: &mut Rng,
    seen: &mut Transcript,
    name: &'static str,
) {
    /// Lanes of a vector of the sets that have the operation.
    const LANES: usize = 8;
    for steps in [0, 1, 2, 9] {
        let x: Vec<u8> = (0..200 + 50 * (P - 1)).map(|_| rng.int(0, 255) as u8).collect();
        let next = rng.int(0, 50) as usize;
        let mut places = Vec::new();
        let mut packed = Vec::new();
        for _ in 0..steps {
            places.push(rng.int(0, 168) as usize);
            packed.extend((0..4 * LANES).map(|_| rng.int(0, 15) as i8));
            packed.extend((0..4 * LANES).map(|_| rng.next() as i8));
            packed.extend(weights_of_pairs(rng, 16 * LANES));
        }
        let starts: [[[i32; LANES]; 4]; P] =
            core::array::from_fn(|_| core::array::from_fn(|_| core::array::from_fn(|_| any(rng))));
        let mut want = starts;
        for (pixel, sums) in want.iter_mut().enumerate() {
            for (place, step) in places.iter().zip(packed.chunks_exact(WOVEN)) {
                let (order, rest) = step.split_at(4 * LANES);
                let (signs, weights) = rest.split_at(4 * LANES);
                let x = &x[place + pixel * next..];
                for (v, weights) in weights.chunks_exact(4 * LANES).enumerate() {
                    for (i, w) in weights.iter().enumerate() {
                        let x = x[i / 16 * 16 + order[i] as usize] ^ signs[i] as u8;
                        let sum = &mut sums[v][i / 4];
                        *sum = sum.wrapping_add(i32::from(x) * i32::from(*w));
                    }
                }
            }
        }
        let mut got = want;
        if const { I::PAIRS } {
            let mut acc: [[I::I; 4]; P] =
                core::array::from_fn(|p| core::array::from_fn(|v| isa.load_i32(&starts[p][v])));
            isa.woven(&mut acc, &x, next, &Places::new(places), &packed);
            for (got, acc) in got.as_flattened_mut().iter_mut().zip(acc.as_flattened()) {
                let acc = *acc;
                isa.store_i32(acc, got);
            }
        }
        put(seen, name, got.into_iter().flatten().flatten().map(i64::from));
    }
}

#[test]
fn every_operation_equals_the_scalar_one() {
    for seed in 1..4 {
        let expected = Platform::scalar().run(Body(seed));
        for platform in Platform::available() {
            for ((name, got), (_, want)) in platform.run(Body(seed)).iter().zip(&expected) {
                assert_eq!(got.len(), want.len(), "{}: {name}", platform.name());
                let wrong = got.iter().zip(want).position(|(a, b)| a != b);
                assert_eq!(wrong, None, "{}: {name}", platform.name());
            }
        }
    }
}
