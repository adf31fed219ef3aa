//! Plain Rust: the meaning of every operation, and the fallback of every target.

use super::{Isa, Kernel};
use crate::quant::round_ties_even;

/// Token of the portable implementation; needs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar;

const LANES: usize = 4;

// Shapes of a kernel in one function are compiled several times slower.
#[inline(never)]
fn entered<K: Kernel>(isa: Scalar, kernel: K) -> K::Output {
    kernel.eval(isa)
}

impl Isa for Scalar {
    const NAME: &'static str = "scalar";
    const LANES: usize = LANES;
    const BIAS: i32 = 0;
    const MR: usize = 4;
    const NV: usize = 2;
    const WIDE: usize = 0;
    const FINISHES: bool = false;
    const TRANSLATES: bool = true;
    type F = [f32; LANES];
    type A<'a> = &'a [u8; 16];
    type X = [[i8; 4]; LANES];
    type W = [[i8; 4]; LANES];
    type B = [u8; 4 * LANES];

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        entered(self, kernel)
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
    fn lane<const L: usize>(self, a: &[u8; 16]) -> Self::X {
        [core::array::from_fn(|k| a[4 * L + k] as i8); LANES]
    }

    #[inline(always)]
    fn group<const CPG: usize, const J: usize>(self, x: &[u8; 16]) -> Self::X {
        self.lane::<J>(x)
    }

    #[inline(always)]
    fn own<const R: usize>(self, x: &[u8]) -> Self::X {
        const { assert!(R < 4) };
        let x = &x[..4 * LANES];
        core::array::from_fn(|l| core::array::from_fn(|k| x[4 * (l ^ R) + k] as i8))
    }

    #[inline(always)]
    fn weights(self, w: &[i8]) -> [[i8; 4]; LANES] {
        let w = &w[..4 * LANES];
        core::array::from_fn(|l| core::array::from_fn(|k| w[4 * l + k]))
    }

    #[inline(always)]
    fn dp(self, acc: [i32; LANES], x: Self::X, w: [[i8; 4]; LANES]) -> [i32; LANES] {
        core::array::from_fn(|l| {
            (0..4).fold(acc[l], |s, k| s.wrapping_add(i32::from(x[l][k]) * i32::from(w[l][k])))
        })
    }

    #[inline(always)]
    fn splat(self, x: i32) -> [i32; LANES] {
        [x; LANES]
    }

    #[inline(always)]
    fn load_i32(self, x: &[i32]) -> [i32; LANES] {
        let x = &x[..LANES];
        core::array::from_fn(|l| x[l])
    }

    #[inline(always)]
    fn store_i32(self, v: [i32; LANES], out: &mut [i32]) {
        out[..LANES].copy_from_slice(&v);
    }

    #[inline(always)]
    fn add(self, a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        core::array::from_fn(|l| a[l].wrapping_add(b[l]))
    }

    #[inline(always)]
    fn mul_add(self, acc: [i32; LANES], x: [i32; LANES], y: [i32; LANES]) -> [i32; LANES] {
        core::array::from_fn(|l| acc[l].wrapping_add(x[l].wrapping_mul(y[l])))
    }

    #[inline(always)]
    fn splat_f32(self, x: f32) -> [f32; LANES] {
        [x; LANES]
    }

    #[inline(always)]
    fn load_f32(self, x: &[f32]) -> [f32; LANES] {
        let x = &x[..LANES];
        core::array::from_fn(|l| x[l])
    }

    #[inline(always)]
    fn to_f32(self, v: [i32; LANES]) -> [f32; LANES] {
        v.map(|x| x as f32)
    }

    #[inline(always)]
    fn mul_f32(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        core::array::from_fn(|l| a[l] * b[l])
    }

    #[inline(always)]
    fn div_f32(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        core::array::from_fn(|l| a[l] / b[l])
    }

    #[inline(always)]
    fn add_f32(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        core::array::from_fn(|l| a[l] + b[l])
    }

    #[inline(always)]
    fn min_f32(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        core::array::from_fn(|l| if a[l] > b[l] { b[l] } else { a[l] })
    }

    #[inline(always)]
    fn max_f32(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        core::array::from_fn(|l| if a[l] < b[l] { b[l] } else { a[l] })
    }

    #[inline(always)]
    fn round(self, v: [f32; LANES]) -> [i32; LANES] {
        const MOST: f32 = 4_194_304.0;
        v.map(|x| round_ties_even(x.clamp(-MOST, MOST)))
    }

    #[inline(always)]
    fn load_i8(self, x: &[u8]) -> [i32; LANES] {
        let x = &x[..LANES];
        core::array::from_fn(|l| i32::from(x[l] as i8))
    }

    #[inline(always)]
    fn load_i16(self, x: &[u8]) -> [i32; LANES] {
        let x = &x[..2 * LANES];
        core::array::from_fn(|l| i32::from(i16::from_ne_bytes([x[2 * l], x[2 * l + 1]])))
    }

    #[inline(always)]
    fn store_i8(self, v: [i32; LANES], out: &mut [u8]) {
        for (o, x) in out.iter_mut().zip(v) {
            *o = x as u8;
        }
    }

    #[inline(always)]
    fn store_i16(self, v: [i32; LANES], out: &mut [u8]) {
        for (o, x) in out.as_chunks_mut::<2>().0.iter_mut().zip(v) {
            *o = (x as i16).to_ne_bytes();
        }
    }

    #[inline(always)]
    fn splat_i16(self, x: i16) -> [i16; 2 * LANES] {
        [x; 2 * LANES]
    }

    #[inline(always)]
    fn splat_i8(self, q: i32) -> [u8; 4 * LANES] {
        [q as u8; 4 * LANES]
    }

    #[inline(always)]
    fn pack_i16(
        self,
        q: [[i32; LANES]; 2],
        low: [i16; 2 * LANES],
        high: [i16; 2 * LANES],
    ) -> [i16; 2 * LANES] {
        core::array::from_fn(|i| {
            let q = q[i / LANES][i % LANES];
            q.max(i32::from(low[i])).min(i32::from(high[i])) as i16
        })
    }

    #[inline(always)]
    fn pack_i8(
        self,
        q: [[i32; LANES]; 4],
        zero: [i16; 2 * LANES],
        low: [u8; 4 * LANES],
        high: [u8; 4 * LANES],
    ) -> [u8; 4 * LANES] {
        core::array::from_fn(|i| {
            let q = q[i / LANES][i % LANES].saturating_add(i32::from(zero[0]));
            q.max(i32::from(low[i] as i8)).min(i32::from(high[i] as i8)) as u8
        })
    }

    #[inline(always)]
    fn weave_i8(
        self,
        q: [[i32; LANES]; 4],
        zero: [i16; 2 * LANES],
        low: [u8; 4 * LANES],
        high: [u8; 4 * LANES],
    ) -> [u8; 4 * LANES] {
        let packed = self.pack_i8(q, zero, low, high);
        core::array::from_fn(|i| packed[i % 4 * LANES + i / 4])
    }

    #[inline(always)]
    fn look_up(self, table: &[u8; 256], bytes: &mut [u8]) {
        for b in bytes {
            *b = table[usize::from(*b)];
        }
    }

    #[inline(always)]
    fn translate(self, table: &[u8; 256], b: [u8; 4 * LANES]) -> [u8; 4 * LANES] {
        b.map(|b| table[usize::from(b)])
    }

    #[inline(always)]
    fn put_i16<const P: usize>(self, v: [i16; 2 * LANES], out: &mut [u8], step: usize) {
        for (part, v) in v.chunks_exact(2 * LANES / P).enumerate() {
            let out = &mut out[part * step..][..4 * LANES / P];
            for (o, x) in out.as_chunks_mut::<2>().0.iter_mut().zip(v) {
                *o = x.to_ne_bytes();
            }
        }
    }

    #[inline(always)]
    fn put_i8<const P: usize>(self, b: [u8; 4 * LANES], out: &mut [u8], step: usize) {
        for (part, b) in b.chunks_exact(4 * LANES / P).enumerate() {
            out[part * step..][..4 * LANES / P].copy_from_slice(b);
        }
    }
}
