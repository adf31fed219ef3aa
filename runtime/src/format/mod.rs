//! The model file.
//!
//! One file, little-endian, read in place from flash or a memory map. It is plain fixed-size records; nothing is
//! compressed, nothing is optional. `u32 name[2]` and the like mean two words: offset and length of a text in the
//! string section, or of bytes in the data section, counted from the start of that section.
//!
//! ```text
//! header     128 bytes
//!   0  u8  magic[8]        "KENAR\r\n" 0x1A
//!   8  u16 major, minor    1, 1; with several input sizes 1, 2; with SiLU in a convolution 1, 3
//!  12  u32 file_bytes      length of the file, a multiple of 64
//!  16  u64 checksum        of all other bytes, see below
//!  24  u32 arena_bytes     end of the memory plan
//!  28  u32 zero
//!  32  u32 section[10][2]  offset in the file, length in bytes
//! 112  u32 sizes[2]        the same of section 10; zeros before version 1.2
//! 120  u32 zero[2]
//!
//! sections, in this order, each beginning at the next multiple of 64 behind the one before it; zeros between
//!   0 tensors     64 bytes each: name[2], height, width, channels, pixel_stride, dtype (0 i8, 1 i16), scale (f32),
//!                 zero_point (i32), arena_offset, first_op, last_op, zero[4]
//!   1 operators   192 bytes each: code, name[2], then the fields of its record in `desc::OpKind` in the order written
//!                 there, zeros to the end; see `format/op.rs`
//!   2 lists       u32 each: operands of concatenations
//!   3 input       64 bytes, exactly one: name[2], tensor, channel order (0 RGB, 1 BGR, 2 gray, 3 feature map),
//!                 letterbox value (0..=255, or u32::MAX), mean[3] (f32), std[3] (f32), table[2],
//!                 letterbox placement (0 top left, 1 centred), zero[2]
//!   4 outputs     16 bytes each: name[2], tensor, zero
//!   5 labels      8 bytes each: text[2]; class names in the order of the outputs' channels
//!   6 provenance  32 bytes: source[2], source_hash[2], converter[2], calibration[2]
//!   7 head        empty, or 64 bytes: box code (0 DFL, 1 distance, 2 exp distance, 3 exp size, 4 anchor), bins (of DFL,
//!                 else 0), centre (f32), anchors per cell, classes, points, levels, zero[9]; then per level 128
//!                 bytes: stride, the outputs' numbers of boxes, objectness (or u32::MAX), scores, points (or
//!                 u32::MAX), zero[3], anchors[9][2] (f32), zero[6]; see `detect::Head`
//!   8 strings     UTF-8
//!   9 data        every array begins at a multiple of 64: weights i8, biases i32, multipliers f32, tables i8
//! ```
//!
//! The checksum runs over the file as little-endian u64 words `w`, the checksum's own word left out:
//! `h = (rotate_left(h, 5) ^ w) * 0x9E3779B97F4A7C15` (wrapping), from `h = 0xCBF29CE484222325`. It finds damage, not
//! forgery; every count, offset, enumerator, shape, range and overlap is checked whatever it says, once, by
//! [`Model::parse`](crate::Model::parse), without allocating.
//!
//! The plans of section 10 replace what the tensors and operators say about the first input size; everything else is shared
//! by all sizes. Every size is checked as if it were alone in the file.
//!
//! # History
//!
//! A runtime reads its own major version at any minor version it knows. Minor versions add at the end; operator codes
//! are never reused.
//!
//! | version | change |
//! | --- | --- |
//! | 1.0 | first |
//! | 1.1 | the head section; where a letterbox puts the image |
//! | 1.2 | the sizes section; only files that have several sizes state this version |
//! | 1.3 | SiLU of a convolution on unrounded sums; only files with such a convolution state this version, and their sizes section may be empty |

mod head;
mod layout;
mod le;
mod meta;
mod op;
mod sizes;
mod tensor;
mod verify;

#[cfg(feature = "alloc")]
mod place;
#[cfg(feature = "alloc")]
mod views;
#[cfg(feature = "alloc")]
pub mod write;

pub use layout::{MAJOR, MINOR, checksum, seal};
pub use le::{F32s, I32s};
pub use meta::{ChannelOrder, InputContract, Placement, Provenance};
pub use sizes::MAX_SIZES;

pub(crate) use head::decode_head;
pub(crate) use layout::{Layout, Section};
pub(crate) use meta::{decode_input, decode_output, decode_provenance, decode_span};
pub(crate) use op::decode_op;
pub(crate) use sizes::SizePlan;
pub(crate) use tensor::decode_tensor;

pub(crate) use verify::verify;
