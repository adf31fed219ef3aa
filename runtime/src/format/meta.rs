//! Input contract, outputs, labels, provenance: what surrounds the operators.

use super::le::word;
use crate::desc::{Span, TensorId};

/// Bytes of the input record.
pub(crate) const INPUT_BYTES: usize = 64;
/// Bytes of an output record.
pub(crate) const OUTPUT_BYTES: usize = 16;
/// Bytes of a label record.
pub(crate) const LABEL_BYTES: usize = 8;
/// Bytes of the provenance record.
pub(crate) const PROVENANCE_BYTES: usize = 32;

const NO_LETTERBOX: u32 = u32::MAX;

/// What the input's channels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Three channels, red first.
    Rgb,
    /// Three channels, blue first.
    Bgr,
    /// One channel, luminance.
    Gray,
    /// Not an image: a feature map of any number of channels.
    Features,
}

impl ChannelOrder {
    /// Channels of an image in this order; `None` for feature maps.
    #[must_use]
    pub const fn channels(self) -> Option<u32> {
        match self {
            Self::Rgb | Self::Bgr => Some(3),
            Self::Gray => Some(1),
            Self::Features => None,
        }
    }
}

/// Where a letterbox puts the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Placement {
    /// At the top left.
    TopLeft,
    /// In the middle; of an odd number of rows or columns to fill, the greater part is below or on the right.
    #[default]
    Centred,
}

/// What the model expects at its input.
///
/// A pixel `p` (0..=255) of channel `c` stands for `(p / 255 - mean[c]) / std[c]`. `table` holds its quantised value
/// for each `c` and `p`, so that preprocessing is exact everywhere. Height, width and quantisation are those of the
/// tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputContract {
    /// Name, a text in the string section.
    pub name: Span,
    /// The tensor to fill; dense (`pixel_stride == channels`).
    ///
    /// An image's tensor may have one channel more than its order says: the mask, 127 wherever there is an image. With
    /// it the other channels hold pixel values as they are, `q = p - 128`, and convolutions normalise: in their padding
    /// all channels are zero, the mask too, so that a mean that weights take off by the mask is not taken off there.
    pub tensor: TensorId,
    /// Meaning of its channels.
    pub order: ChannelOrder,
    /// Images of another shape are scaled with their aspect ratio kept, and padded with this value.
    pub letterbox: Option<u8>,
    /// Where such an image is put; top left without a letterbox.
    pub placement: Placement,
    /// Per channel of the tensor, of values in 0..=1; zeros for feature maps.
    pub mean: [f32; 3],
    /// Per channel of the tensor, positive; ones for feature maps.
    pub std: [f32; 3],
    /// For images: i8 `[channels][256]`, the quantised value of each pixel value; else empty.
    pub table: Span,
}

/// Where a model comes from. Texts in the string section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Provenance {
    /// Name of the file it was converted from.
    pub source: Span,
    /// Hash of that file, hexadecimal, with the algorithm in front (`sha256:...`).
    pub source_hash: Span,
    /// Name and version of the converter.
    pub converter: Span,
    /// How it was calibrated: data, number of images, method.
    pub calibration: Span,
}

/// Reads two words.
pub(crate) fn decode_span(record: &[u8], index: usize) -> Span {
    Span { offset: word(record, index), len: word(record, index + 1) }
}

/// Reads the input record; `None` for an unknown order or letterbox value, or a reserved word that is not zero.
pub(crate) fn decode_input(record: &[u8]) -> Option<InputContract> {
    let order = match word(record, 3) {
        0 => ChannelOrder::Rgb,
        1 => ChannelOrder::Bgr,
        2 => ChannelOrder::Gray,
        3 => ChannelOrder::Features,
        _ => return None,
    };
    let letterbox = match word(record, 4) {
        NO_LETTERBOX => None,
        value => Some(u8::try_from(value).ok()?),
    };
    let placement = match word(record, 13) {
        0 => Placement::TopLeft,
        1 if letterbox.is_some() => Placement::Centred,
        _ => return None,
    };
    if (14..16).any(|index| word(record, index) != 0) {
        return None;
    }
    let floats = |at: usize| [at, at + 1, at + 2].map(|index| f32::from_bits(word(record, index)));
    Some(InputContract {
        name: decode_span(record, 0),
        tensor: TensorId(word(record, 2)),
        order,
        letterbox,
        placement,
        mean: floats(5),
        std: floats(8),
        table: decode_span(record, 11),
    })
}

/// Reads an output record; `None` if its reserved word is not zero.
pub(crate) fn decode_output(record: &[u8]) -> Option<(Span, TensorId)> {
    (word(record, 3) == 0).then(|| (decode_span(record, 0), TensorId(word(record, 2))))
}

/// Reads the provenance record.
pub(crate) fn decode_provenance(record: &[u8]) -> Provenance {
    Provenance {
        source: decode_span(record, 0),
        source_hash: decode_span(record, 2),
        converter: decode_span(record, 4),
        calibration: decode_span(record, 6),
    }
}

/// The record of an input.
#[cfg(feature = "alloc")]
pub(super) fn encode_input(input: &InputContract) -> [u32; INPUT_BYTES / 4] {
    let order = match input.order {
        ChannelOrder::Rgb => 0,
        ChannelOrder::Bgr => 1,
        ChannelOrder::Gray => 2,
        ChannelOrder::Features => 3,
    };
    let letterbox = input.letterbox.map_or(NO_LETTERBOX, u32::from);
    let mut words = [0; INPUT_BYTES / 4];
    words[..5].copy_from_slice(&[
        input.name.offset,
        input.name.len,
        input.tensor.0,
        order,
        letterbox,
    ]);
    words[5..8].copy_from_slice(&input.mean.map(f32::to_bits));
    words[8..11].copy_from_slice(&input.std.map(f32::to_bits));
    let placement = match (input.letterbox, input.placement) {
        (Some(_), Placement::Centred) => 1,
        _ => 0,
    };
    words[11..14].copy_from_slice(&[input.table.offset, input.table.len, placement]);
    words
}

/// The record of an output.
#[cfg(feature = "alloc")]
pub(super) const fn encode_output(name: Span, tensor: TensorId) -> [u32; OUTPUT_BYTES / 4] {
    [name.offset, name.len, tensor.0, 0]
}

/// The record of the provenance.
#[cfg(feature = "alloc")]
pub(super) const fn encode_provenance(p: &Provenance) -> [u32; PROVENANCE_BYTES / 4] {
    [
        p.source.offset,
        p.source.len,
        p.source_hash.offset,
        p.source_hash.len,
        p.converter.offset,
        p.converter.len,
        p.calibration.offset,
        p.calibration.len,
    ]
}
