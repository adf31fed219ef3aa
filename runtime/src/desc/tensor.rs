//! Tensors of a model.

use super::Span;

/// Index into the tensor table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId(pub u32);

/// Element type of an activation tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DType {
    /// Asymmetric 8-bit: `real = scale * (q - zero_point)`, q in -128..=127.
    I8 = 0,
    /// Symmetric 16-bit (`zero_point` is 0), q in -32767..=32767: residual streams, logits.
    I16 = 1,
}

impl DType {
    /// Bytes per element.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::I8 => 1,
            Self::I16 => 2,
        }
    }
}

/// An activation tensor, `[1, height, width, channels]`, and its place in the arena.
///
/// Element (y, x, c) is at byte `arena_offset + ((y * width + x) * pixel_stride + c) * dtype.bytes()`.
/// `pixel_stride > channels` where the tensor is a view: channels of a concatenation's buffer, or of what it is a slice
/// of. `arena_offset` then already includes the channel offset. Behind the last element, [`TensorDesc::SLACK_BYTES`] bytes belong to the
/// tensor too, so that vector loads may run over its end; what they read there meets zero weights only.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorDesc {
    /// Name in the string section.
    pub name: Span,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Channels.
    pub channels: u32,
    /// Elements from one pixel to the next.
    pub pixel_stride: u32,
    /// Element type.
    pub dtype: DType,
    /// Real step, finite, normal, positive.
    pub scale: f32,
    /// The quantised value of 0.0.
    pub zero_point: i32,
    /// Byte offset in the arena.
    pub arena_offset: u32,
    /// Index of the operator that writes it (for the model's input: 0), first of its lifetime.
    pub first_op: u32,
    /// Index of the last operator that reads it (for outputs: the number of operators), last of its lifetime.
    pub last_op: u32,
}

impl TensorDesc {
    /// Bytes behind the last element that vector loads may touch.
    pub const SLACK_BYTES: u32 = 64;

    /// Number of pixels.
    #[must_use]
    pub const fn pixels(&self) -> u32 {
        self.height * self.width
    }

    /// Number of elements.
    #[must_use]
    pub const fn elements(&self) -> u32 {
        self.pixels() * self.channels
    }

    /// Bytes from the first to the end of the last element; between pixels they hold other tensors' elements where
    /// the tensor is a view.
    #[must_use]
    pub const fn extent_bytes(&self) -> u32 {
        ((self.pixels() - 1) * self.pixel_stride + self.channels) * self.dtype.bytes()
    }

    /// Whether this tensor lies at its place in another one, `channel` channels in: an operand of a concatenation in the
    /// output, a slice in what it is cut from.
    #[must_use]
    pub fn is_view_of(&self, output: &Self, channel: u32) -> bool {
        let offset =
            u64::from(output.arena_offset) + u64::from(channel) * u64::from(output.dtype.bytes());
        u64::from(self.arena_offset) == offset
            && self.pixel_stride == output.pixel_stride
            && self.height == output.height
            && self.width == output.width
            && self.has_values_of(output)
    }

    /// Whether equal bytes mean equal numbers: same type, scale and zero point.
    #[must_use]
    pub fn has_values_of(&self, other: &Self) -> bool {
        self.dtype == other.dtype
            && self.scale.to_bits() == other.scale.to_bits()
            && self.zero_point == other.zero_point
    }

    /// Whether height, width and channels are equal.
    #[must_use]
    pub const fn has_shape_of(&self, other: &Self) -> bool {
        self.height == other.height && self.width == other.width && self.channels == other.channels
    }
}
