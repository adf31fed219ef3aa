//! Plain Rust.

use super::Words;
use crate::isa::Scalar;

const LANES: usize = 4;

/// Native-endian i16.
fn word(x: &[u8], i: usize) -> i16 {
    i16::from_ne_bytes([x[2 * i], x[2 * i + 1]])
}

impl Words for Scalar {
    const WINOGRAD: bool = false;
    const WORD_ROWS: usize = 4;
    const DP_IN_DOTS: usize = 200;
    const TRANSFORM_IN_DOTS: usize = 84;

    type I = [i32; LANES];
    type H = [i16; 2 * LANES];

    #[inline(always)]
    fn word_index(lane: usize, k: usize) -> usize {
        2 * lane + k
    }

    #[inline(always)]
    fn widen(self, x: &[u8]) -> Self::H {
        let x = &x[..2 * LANES];
        core::array::from_fn(|i| i16::from(x[i] as i8))
    }

    #[inline(always)]
    fn widen_weights(self, w: &[i8]) -> Self::H {
        let w = &w[..2 * LANES];
        core::array::from_fn(|i| i16::from(w[i]))
    }

    #[inline(always)]
    fn load_words(self, x: &[u8]) -> Self::H {
        let x = &x[..4 * LANES];
        core::array::from_fn(|i| word(x, i))
    }

    #[inline(always)]
    fn store_words(self, v: Self::H, out: &mut [u8]) {
        for (out, v) in out[..4 * LANES].as_chunks_mut::<2>().0.iter_mut().zip(v) {
            *out = v.to_ne_bytes();
        }
    }

    #[inline(always)]
    fn pair(self, x: &[u8; 4]) -> Self::H {
        core::array::from_fn(|i| word(x, i % 2))
    }

    #[inline(always)]
    fn add_words(self, a: Self::H, b: Self::H) -> Self::H {
        core::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }

    #[inline(always)]
    fn sub_words(self, a: Self::H, b: Self::H) -> Self::H {
        core::array::from_fn(|i| a[i].wrapping_sub(b[i]))
    }

    #[inline(always)]
    fn mul_words(self, a: Self::H, b: Self::H) -> Self::H {
        core::array::from_fn(|i| a[i].wrapping_mul(b[i]))
    }

    #[inline(always)]
    fn four_words(self, a: Self::H) -> Self::H {
        a.map(|a| a.wrapping_mul(4))
    }

    #[inline(always)]
    fn dot(self, acc: Self::I, x: Self::H, w: Self::H) -> Self::I {
        let product = |i: usize| i32::from(x[i]) * i32::from(w[i]);
        core::array::from_fn(|l| {
            acc[l].wrapping_add(product(2 * l)).wrapping_add(product(2 * l + 1))
        })
    }

    #[inline(always)]
    fn sub(self, a: Self::I, b: Self::I) -> Self::I {
        core::array::from_fn(|l| a[l].wrapping_sub(b[l]))
    }

    #[inline(always)]
    fn four(self, a: Self::I) -> Self::I {
        a.map(|a| a.wrapping_mul(4))
    }

    #[inline(always)]
    fn mul(self, a: Self::I, b: Self::I) -> Self::I {
        core::array::from_fn(|l| a[l].wrapping_mul(b[l]))
    }

    #[inline(always)]
    fn shr<const N: u32>(self, a: Self::I) -> Self::I {
        a.map(|a| a >> N)
    }
}
