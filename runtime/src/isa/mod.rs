//! Instruction sets: one token per set, and the trait through which kernels use it.
//!
//! A token is a value whose existence proves that the processor has the instructions: its field is private and its
//! only constructor asks the processor (or the compiler, without `std`). Kernels are safe code, generic over
//! [`Isa`], and know nothing of intrinsics. This is the only module of the crate beside the arena that may use
//! `unsafe`; each file holds one set. `tests` runs every operation of every set against [`Scalar`].
#![allow(unsafe_code)]

#[cfg_attr(
    not(feature = "alloc"),
    expect(dead_code, reason = "without kernels only maps are read")
)]
mod area;
#[cfg(feature = "alloc")]
mod places;
mod platform;
#[cfg(feature = "alloc")]
mod runs;
mod scalar;
#[cfg(feature = "alloc")]
mod strided;
#[cfg(all(test, feature = "alloc"))]
mod tests;
mod turn;

mod words;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod pairs;
#[cfg(all(target_arch = "x86_64", feature = "alloc"))]
mod woven;
#[cfg(target_arch = "x86_64")]
mod ymm;

pub(crate) use area::Area;
#[cfg(feature = "alloc")]
pub(crate) use area::AreaMut;
#[cfg(target_arch = "x86_64")]
pub use avx_vnni::AvxVnni;
#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512_vnni::Avx512Vnni;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
#[cfg(feature = "alloc")]
pub use places::Places;
pub use platform::Platform;
#[cfg(feature = "alloc")]
pub(crate) use runs::{Runs, Starts};
pub use scalar::Scalar;
#[cfg(feature = "alloc")]
pub(crate) use strided::{copy_strided, strided, strided_inside};
pub(crate) use turn::turned;
pub use words::Words;

/// Work that can run on any instruction set: a struct of its arguments.
///
/// `eval` and everything it calls is `#[inline(always)]`, so that the whole of it is compiled for the set's features.
pub trait Kernel {
    /// What the work gives back.
    type Output;

    /// Does the work with the operations of `isa`.
    fn eval<I: Isa>(self, isa: I) -> Self::Output;
}

/// The operations that kernels are written in, on vectors of [`Isa::LANES`] 32-bit lanes.
///
/// An i8 activation `q` is kept in memory as the byte `q + BIAS` (mod 256); loads give the i32 `q + BIAS` and stores
/// take it, so kernels add `BIAS` to zero points once and the set's preference for signed or unsigned bytes shows
/// nowhere else.
pub trait Isa: Words {
    /// Name on the command line and in reports.
    const NAME: &'static str;
    /// 32-bit lanes of a vector; output channels that one vector of weights serves.
    const LANES: usize;
    /// 128 where the dot product wants unsigned activations, otherwise 0.
    const BIAS: i32;
    /// Rows of the largest GEMM tile that fits the register file.
    const MR: usize;
    /// Vectors of a row of that tile.
    const NV: usize;
    /// Rows of a tile with four vectors in a row, where that is another tile worth having; otherwise 0.
    const WIDE: usize;
    /// Whether there are registers in which sums can be finished.
    const FINISHES: bool;
    /// Whether there is [`Isa::pairs`], which is faster than [`Isa::dp`].
    const PAIRS: bool = false;
    /// Whether [`Isa::mul_add_f32`] rounds once and takes the time of a product.
    const FUSES: bool = false;
    /// Whether [`Isa::translate`] needs so few registers that it can run beside a tile's sums.
    const TRANSLATES: bool;

    /// `LANES` f32.
    type F: core::marker::Copy;
    /// 16 activations of one row of a GEMM tile.
    type A<'a>: core::marker::Copy;
    /// Four activations for each of `LANES` dot products.
    type X: core::marker::Copy;
    /// Four weights for each of `LANES` dot products.
    type W: core::marker::Copy;
    /// `4 * LANES` bytes.
    type B: core::marker::Copy;

    /// Runs a kernel as a function of its own, compiled with the features of the set.
    fn enter<K: Kernel>(self, kernel: K) -> K::Output;

    /// Place of weight `k` (0..4) of lane `lane` among the `4 * LANES` bytes of a [`Isa::W`].
    fn weight_index(lane: usize, k: usize) -> usize;

    /// 16 activations.
    fn acts(self, x: &[u8; 16]) -> Self::A<'_>;
    /// Activations `4 * L .. 4 * L + 4` for every lane.
    fn lane<const L: usize>(self, a: Self::A<'_>) -> Self::X;
    /// Four activations for every lane.
    #[inline(always)]
    fn broadcast(self, x: &[u8; 4]) -> Self::X {
        let mut row = [0; 16];
        row[..4].copy_from_slice(x);
        self.lane::<0>(self.acts(&row))
    }
    /// For lane `l`, activations `4 * J .. 4 * J + 4` of the group that output channel `l` belongs to, of groups of
    /// `CPG` (4, 8 or 16) channels that start at `x[0]`. With `CPG >= LANES` all lanes are of one group.
    fn group<const CPG: usize, const J: usize>(self, x: &[u8; 16]) -> Self::X;
    /// For lane `l`, activations `4 * (l ^ R) .. 4 * (l ^ R) + 4`, with `R < 4`; panics if there are fewer than `4 * LANES`.
    fn own<const R: usize>(self, x: &[u8]) -> Self::X;
    /// `4 * LANES` packed weights; panics if there are fewer.
    fn weights(self, w: &[i8]) -> Self::W;
    /// Asks for 128 bytes from `at` on in the second cache level, where the set can; they may lie behind the end.
    #[inline(always)]
    fn prefetch(self, _: &[i8], _: usize) {}
    /// Asks for the cache line of a byte in the second cache level, where the set can; it may be any address.
    #[inline(always)]
    fn prefetch_line(self, _: *const u8) {}
    /// `acc[l] + sum_k x[l][k] * w[l][k]`, exact for weights in -127..=127, wrapping in i32.
    fn dp(self, acc: Self::I, x: Self::X, w: Self::W) -> Self::I;
    /// Adds the products of `MR` rows of unsigned activations by a vector (`NV` is 1) of weights for every four of them. Of the
    /// weights for the activations whose products share an i16, which are two or four, those of one sign sum to at most
    /// 128 in magnitude. `ordered` is room for activations in the panel's order. Only for sets with [`Isa::PAIRS`]. Asks
    /// for a cache line of `ahead` for every block of a row, half of its weights, as [`Isa::prefetch`].
    ///
    /// # Panics
    ///
    /// If a row is shorter than the panel wants, or the panel's parts do not belong together.
    #[inline(always)]
    fn pairs<const MR: usize, const NV: usize>(
        self,
        _: &mut [[Self::I; NV]; MR],
        _rows: &[PairBlock],
        _: &PairPanel<'_>,
        _ordered: &mut Ordered,
        _ahead: &[i8],
    ) {
        unreachable!("the set has no products of pairs")
    }
    /// Adds the products of `P` pixels by four vectors of weights each, step by step: from a place, and `next` bytes behind it
    /// for every further pixel, `4 * LANES` bytes are read. The `WOVEN` bytes of a step in `w` are the order of these
    /// bytes, in which byte `i` is byte `order[i]` of its 16, what they are then XORed with to be without a sign, and the
    /// vectors of weights. Of the weights for a pair of bytes, those of one sign sum to at most 128 in magnitude. Only for
    /// sets with [`Isa::PAIRS`].
    ///
    /// # Panics
    ///
    /// If `x` is too short for a place, or there are fewer steps than places.
    #[cfg(feature = "alloc")]
    #[inline(always)]
    fn woven<const P: usize>(
        self,
        _: &mut [[Self::I; 4]; P],
        _x: &[u8],
        _next: usize,
        _: &Places,
        _w: &[i8],
    ) {
        unreachable!("the set has no products of pairs")
    }

    /// All lanes `x`.
    fn splat(self, x: i32) -> Self::I;
    /// The first `LANES` values.
    fn load_i32(self, x: &[i32]) -> Self::I;
    /// Writes the first `LANES` values.
    fn store_i32(self, v: Self::I, out: &mut [i32]);
    /// Wrapping sum.
    fn add(self, a: Self::I, b: Self::I) -> Self::I;
    /// `acc + x * y`, exact for factors that fit i16.
    fn mul_add(self, acc: Self::I, x: Self::I, y: Self::I) -> Self::I;

    /// All lanes `x`.
    fn splat_f32(self, x: f32) -> Self::F;
    /// The first `LANES` values.
    fn load_f32(self, x: &[f32]) -> Self::F;
    /// Conversion, ties to even.
    fn to_f32(self, v: Self::I) -> Self::F;
    /// Product, rounded.
    fn mul_f32(self, a: Self::F, b: Self::F) -> Self::F;
    /// Quotient, rounded.
    fn div_f32(self, a: Self::F, b: Self::F) -> Self::F;
    /// Sum, rounded.
    fn add_f32(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once or, where the set does not do that, twice: the same where the product is an f32.
    #[inline(always)]
    fn mul_add_f32(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        self.add_f32(self.mul_f32(a, b), c)
    }
    /// The f32 of these bits. Only for sets with [`Isa::FUSES`].
    #[inline(always)]
    fn as_f32(self, _: Self::I) -> Self::F {
        unreachable!("the set does not fuse")
    }
    /// Smaller of two numbers, neither NaN.
    fn min_f32(self, a: Self::F, b: Self::F) -> Self::F;
    /// Larger of two numbers, neither NaN.
    fn max_f32(self, a: Self::F, b: Self::F) -> Self::F;
    /// Nearest integer, ties to even, for magnitudes up to 2^22; beyond, up to 2^30, any integer of that sign and at
    /// least that magnitude.
    fn round(self, v: Self::F) -> Self::I;

    /// `q + BIAS` of the first `LANES` bytes.
    fn load_i8(self, x: &[u8]) -> Self::I;
    /// The first `LANES` native-endian i16.
    fn load_i16(self, x: &[u8]) -> Self::I;
    /// Writes `q + BIAS` as bytes into the `LANES` places of `out`, or as many as it has.
    fn store_i8(self, v: Self::I, out: &mut [u8]);
    /// Writes native-endian i16 into the `LANES` places (`2 * LANES` bytes) of `out`, or as many as it has.
    fn store_i16(self, v: Self::I, out: &mut [u8]);

    /// All lanes `x`.
    fn splat_i16(self, x: i16) -> Self::H;
    /// All bytes `q + BIAS`.
    fn splat_i8(self, q: i32) -> Self::B;
    /// `q` of two vectors, limited to `low..=high`.
    fn pack_i16(self, q: [Self::I; 2], low: Self::H, high: Self::H) -> Self::H;
    /// `q + BIAS` of four vectors plus `zero` (-512..=512), limited to `low..=high`, as they are stored.
    fn pack_i8(self, q: [Self::I; 4], zero: Self::H, low: Self::B, high: Self::B) -> Self::B;
    /// [`Isa::pack_i8`] where zero is -128, and the limits are those of i8.
    #[inline(always)]
    fn pack_whole_i8(self, q: [Self::I; 4]) -> Self::B {
        let zero = self.splat_i16((Self::BIAS - 128) as i16);
        self.pack_i8(q, zero, self.splat_i8(-128), self.splat_i8(127))
    }
    /// As [`Isa::pack_i8`], but with vectors as the faster index: byte `4 * l + v` is lane `l` of vector `v`.
    fn weave_i8(self, q: [Self::I; 4], zero: Self::H, low: Self::B, high: Self::B) -> Self::B;
    /// Replaces every byte `b` by `table[b]`.
    fn look_up(self, table: &[u8; 256], bytes: &mut [u8]);
    /// Replaces every byte `b` by `table[b]`, of the bytes as they are stored.
    fn translate(self, table: &[u8; 256], b: Self::B) -> Self::B;
    /// Writes `P` (1 or 2) equal parts, `step` bytes apart; panics if `out` is too short.
    fn put_i16<const P: usize>(self, v: Self::H, out: &mut [u8], step: usize);
    /// Writes `P` (1, 2 or 4) equal parts, `step` bytes apart; panics if `out` is too short.
    fn put_i8<const P: usize>(self, b: Self::B, out: &mut [u8], step: usize);
}

/// Rows of a tile of [`Isa::pairs`], at most.
pub(crate) const PAIR_ROWS: usize = 8;

/// Blocks of a row that are put in order at once: they stay in the first cache level.
pub(crate) const PAIR_PART: usize = 16;

/// In a [`PairPanel::order`].
#[cfg(any(target_arch = "x86_64", feature = "alloc"))]
pub(crate) const TURNED: u8 = 16;

/// 16 activations of every row of [`Isa::pairs`].
pub type PairBlock = [[u8; 16]; PAIR_ROWS];

/// Room for a part of the rows in a panel's order, and for what is read behind it.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only sets with pairs read it"))]
#[repr(align(64))]
pub struct Ordered {
    part: [PairBlock; PAIR_PART],
    _behind: [u8; 16],
}

impl Ordered {
    /// Zeros.
    #[cfg(feature = "alloc")]
    pub(crate) const fn new() -> Self {
        Self { part: [[[0; 16]; PAIR_ROWS]; PAIR_PART], _behind: [0; 16] }
    }
}

/// A panel of weights for [`Isa::pairs`], in quads of four activations. A row is read in parts of `PAIR_PART` blocks.
pub struct PairPanel<'a> {
    /// Of every quad four weights of all output channels, in the order of the places.
    pub weights: &'a [i8],
    /// Of every block the order in which its activations are multiplied, as places in it, with `TURNED` where they are
    /// subtracted from 255 before.
    pub order: &'a [[i8; 16]],
    /// What there is of every part.
    pub parts: &'a [PairQuads],
    /// Where in its part, put in order, a quad is: those of joined quads, which are two side by side, then the others.
    pub places: &'a [PairPlace],
}

/// Quads of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PairQuads {
    /// Times two quads whose products are added before they become i32.
    pub joined: usize,
    /// Other quads.
    pub single: usize,
}

/// Where a quad is in [`Ordered`].
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct PairPlace(u16);

impl PairPlace {
    /// From byte `at` of block `block` of the part on. What is read behind the block's end counts only with a weight of 0.
    ///
    /// # Panics
    ///
    /// If the part has no such block, or the block no such byte.
    #[must_use]
    pub fn new(block: usize, at: usize) -> Self {
        const { assert!(PAIR_PART * size_of::<PairBlock>() <= 1 << 16) };
        assert!(block < PAIR_PART && at < 16, "no such place");
        Self((block * size_of::<PairBlock>() + at) as u16)
    }
}

/// Bytes of a step of [`Isa::woven`]: six vectors of 32.
#[cfg(feature = "alloc")]
pub(crate) const WOVEN: usize = 6 * 32;

/// Bytes that `parts` parts of `whole` bytes need, `step` apart.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
fn parted(whole: usize, parts: usize, step: usize) -> Option<usize> {
    step.checked_mul(parts - 1)?.checked_add(whole / parts)
}

/// Bytes as weights.
#[inline(always)]
#[cfg(feature = "alloc")]
pub(crate) fn as_i8(bytes: &[u8]) -> &[i8] {
    // SAFETY: the same bytes for the same lifetime; both types have size and alignment 1, and every value is valid.
    unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}
