//! Arithmetic on i16 and on whole sums, which exact Winograd convolution needs beside [`super::Isa`].

mod scalar;

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod ymm;

/// Operations on vectors of `2 * LANES` i16 and of `LANES` i32, where `LANES` is that of [`super::Isa`].
pub trait Words: core::marker::Copy + Send + Sync + 'static {
    /// Whether Winograd convolution is compiled for the set. Plain Rust would be a megabyte of code for it.
    const WINOGRAD: bool;

    /// Rows of a tile of [`Words::dot`] with [`super::Isa::NV`] vectors of sums in a row.
    const WORD_ROWS: usize;

    /// Time of an [`super::Isa::dp`], which multiplies four pairs, in hundredths of that of a [`Words::dot`].
    const DP_IN_DOTS: usize;

    /// Time of transforming the weights of a pair of channels for a vector of others, in that of a [`Words::dot`]: mostly
    /// that of 36 stores to the second cache level.
    const TRANSFORM_IN_DOTS: usize;

    /// Most pairs of channels whose products are taken for all six points of a column at once, which needs 27 registers;
    /// none if there are fewer. The weights of a column have to fit into the first cache level.
    const COLUMN_PAIRS: usize = 0;

    /// Whether loops over [`Words::dot`] stay loops. Where one follows the other without a jump, compilers may make two
    /// instructions of each, a product and a sum, because the sum alone keeps the next waiting for less time; but
    /// there are always enough others to do.
    const STAYS_A_LOOP: bool = false;

    /// `LANES` i32.
    type I: core::marker::Copy;
    /// `2 * LANES` i16.
    type H: core::marker::Copy;

    /// Place of weight `k` (0 or 1) of lane `lane` among the i16 of a vector of weights.
    fn word_index(lane: usize, k: usize) -> usize;

    /// The first `2 * LANES` stored activations, as `q + BIAS`.
    fn widen(self, x: &[u8]) -> Self::H;
    /// The first `2 * LANES` weights.
    fn widen_weights(self, w: &[i8]) -> Self::H;
    /// The first `2 * LANES` native-endian i16.
    fn load_words(self, x: &[u8]) -> Self::H;
    /// Writes `2 * LANES` native-endian i16.
    fn store_words(self, v: Self::H, out: &mut [u8]);
    /// Two neighbouring i16 in all lanes, in the order of [`Words::word_index`].
    fn pair(self, x: &[u8; 4]) -> Self::H;
    /// Wrapping sum.
    fn add_words(self, a: Self::H, b: Self::H) -> Self::H;
    /// Wrapping difference.
    fn sub_words(self, a: Self::H, b: Self::H) -> Self::H;
    /// Wrapping product.
    fn mul_words(self, a: Self::H, b: Self::H) -> Self::H;
    /// Four times the value, wrapping.
    fn four_words(self, a: Self::H) -> Self::H;
    /// `acc[l] + x[l][0] * w[l][0] + x[l][1] * w[l][1]`, wrapping, for factors above -32768.
    fn dot(self, acc: Self::I, x: Self::H, w: Self::H) -> Self::I;

    /// Wrapping difference.
    fn sub(self, a: Self::I, b: Self::I) -> Self::I;
    /// Four times the value, wrapping.
    fn four(self, a: Self::I) -> Self::I;
    /// Wrapping product.
    fn mul(self, a: Self::I, b: Self::I) -> Self::I;
    /// Shift to the right by `N` bits, keeping the sign.
    fn shr<const N: u32>(self, a: Self::I) -> Self::I;
}
