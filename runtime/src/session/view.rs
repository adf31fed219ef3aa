//! Tensors as users see them.

use super::planes::ToPlanes;
use crate::Error;
use crate::desc::{DType, TensorDesc, TensorId};
use crate::isa::Platform;
use crate::ops::Map;

/// A tensor of a session, `[1, height, width, channels]`.
///
/// `real = scale * (q - zero_point)`.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'s> {
    id: TensorId,
    desc: TensorDesc,
    name: &'s str,
    map: Map<'s>,
    platform: Platform,
}

impl<'s> TensorView<'s> {
    pub(crate) fn new(
        id: TensorId,
        desc: TensorDesc,
        name: &'s str,
        bytes: &'s [u8],
        platform: Platform,
        xor: u8,
    ) -> Self {
        Self { id, desc, name, map: Map::new(bytes, &desc, xor), platform }
    }

    /// Its values by pixel and channel.
    #[cfg(feature = "detect")]
    pub(crate) const fn map(&self) -> Map<'s> {
        self.map
    }

    /// Its number in the model.
    #[must_use]
    pub const fn id(&self) -> TensorId {
        self.id
    }

    /// The tensor's name (an output's name may be another).
    #[must_use]
    pub const fn name(&self) -> &'s str {
        self.name
    }

    /// `[1, height, width, channels]`.
    #[must_use]
    pub const fn shape(&self) -> [usize; 4] {
        [1, self.desc.height as usize, self.desc.width as usize, self.desc.channels as usize]
    }

    /// Number of elements.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.desc.elements() as usize
    }

    /// Whether there are none; there always are.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element type.
    #[must_use]
    pub const fn dtype(&self) -> DType {
        self.desc.dtype
    }

    /// Real step.
    #[must_use]
    pub const fn scale(&self) -> f32 {
        self.desc.scale
    }

    /// The quantised value of 0.0.
    #[must_use]
    pub const fn zero_point(&self) -> i32 {
        self.desc.zero_point
    }

    /// Quantised value `index`, counted row by row with channels innermost.
    ///
    /// # Panics
    ///
    /// If `index >= len()`.
    #[inline]
    #[must_use]
    pub fn q(&self, index: usize) -> i32 {
        self.map.get(index / self.map.channels, index % self.map.channels)
    }

    /// Real value `index`, counted row by row with channels innermost.
    ///
    /// # Panics
    ///
    /// If `index >= len()`.
    #[inline]
    #[must_use]
    pub fn real(&self, index: usize) -> f32 {
        self.dequantize(self.q(index))
    }

    #[inline]
    fn dequantize(&self, q: i32) -> f32 {
        (q - self.desc.zero_point) as f32 * self.desc.scale
    }

    /// Copies quantised values of an i8 tensor, row by row with channels innermost.
    ///
    /// # Errors
    ///
    /// [`Error::BufferSize`] if `out` does not have [`TensorView::len`] elements; [`Error::ElementType`] for i16 tensors.
    pub fn copy_i8(&self, out: &mut [i8]) -> Result<(), Error> {
        if self.desc.dtype != DType::I8 {
            return Err(Error::ElementType);
        }
        self.copy_nhwc(out, |q| q as i8)
    }

    /// Copies quantised values of either type, row by row with channels innermost.
    ///
    /// # Errors
    ///
    /// [`Error::BufferSize`] if `out` does not have [`TensorView::len`] elements.
    pub fn copy_i16(&self, out: &mut [i16]) -> Result<(), Error> {
        self.copy_nhwc(out, |q| q as i16)
    }

    /// Copies real values, row by row with channels innermost.
    ///
    /// # Errors
    ///
    /// [`Error::BufferSize`] if `out` does not have [`TensorView::len`] elements.
    pub fn copy_f32_nhwc(&self, out: &mut [f32]) -> Result<(), Error> {
        self.copy_nhwc(out, |q| self.dequantize(q))
    }

    /// Copies real values, channel by channel.
    ///
    /// # Errors
    ///
    /// [`Error::BufferSize`] if `out` does not have [`TensorView::len`] elements.
    pub fn copy_f32_nchw(&self, out: &mut [f32]) -> Result<(), Error> {
        self.copy_nchw(out, |q| self.dequantize(q))
    }

    /// Copies real values rounded to f16, row by row with channels innermost.
    ///
    /// # Errors
    ///
    /// [`Error::BufferSize`] if `out` does not have [`TensorView::len`] elements.
    #[cfg(feature = "half")]
    pub fn copy_f16_nhwc(&self, out: &mut [half::f16]) -> Result<(), Error> {
        self.copy_nhwc(out, |q| half::f16::from_f32(self.dequantize(q)))
    }

    /// Copies real values rounded to f16, channel by channel.
    ///
    /// # Errors
    ///
    /// [`Error::BufferSize`] if `out` does not have [`TensorView::len`] elements.
    #[cfg(feature = "half")]
    pub fn copy_f16_nchw(&self, out: &mut [half::f16]) -> Result<(), Error> {
        self.copy_nchw(out, |q| half::f16::from_f32(self.dequantize(q)))
    }

    fn copy_nhwc<T>(&self, out: &mut [T], convert: impl Fn(i32) -> T) -> Result<(), Error> {
        self.check_len(out)?;
        for (pixel, values) in out.chunks_exact_mut(self.map.channels).enumerate() {
            for (c, value) in values.iter_mut().enumerate() {
                *value = convert(self.map.get(pixel, c));
            }
        }
        Ok(())
    }

    fn copy_nchw<T>(&self, out: &mut [T], convert: impl Fn(i32) -> T) -> Result<(), Error> {
        self.check_len(out)?;
        let pixels = self.desc.pixels() as usize;
        self.platform.run(ToPlanes { map: self.map, out, pixels, convert });
        Ok(())
    }

    fn check_len<T>(&self, out: &[T]) -> Result<(), Error> {
        if out.len() == self.len() {
            Ok(())
        } else {
            Err(Error::BufferSize { expected: self.len() as u32 })
        }
    }

    /// The bytes of the canonical values, for hashes.
    pub(super) fn for_each_byte(&self, mut f: impl FnMut(u8)) {
        for index in 0..self.len() {
            let [low, high] = (self.q(index) as i16).to_le_bytes();
            f(low);
            if self.desc.dtype == DType::I16 {
                f(high);
            }
        }
    }
}
