//! Header, section table, checksum: reading, checking and writing them.

use super::le::word;
use super::meta::{INPUT_BYTES, LABEL_BYTES, OUTPUT_BYTES, PROVENANCE_BYTES};
use super::op::OP_BYTES;
use super::sizes::SIZES_UNIT;
use super::tensor::TENSOR_BYTES;
use crate::Error;

/// Major version that this runtime reads and writes.
pub const MAJOR: u16 = 1;
/// Newest minor version that this runtime reads; it writes the oldest that can say what a file says.
pub const MINOR: u16 = 3;
/// The minor version that brought the last section, which no file of that version lacks.
const MINOR_OF_SIZES: u16 = 2;
/// The minor version that brought SiLU to convolutions.
#[cfg(feature = "alloc")]
const MINOR_OF_SILU: u16 = 3;

const MAGIC: [u8; 8] = *b"KENAR\r\n\x1A";
const HEADER_BYTES: usize = 128;
const CHECKSUM_AT: usize = 16;
const SECTIONS_AT: usize = 32;
pub(super) const ALIGNMENT: usize = 64;

/// Sections, in file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Tensors,
    Ops,
    Lists,
    Input,
    Outputs,
    Labels,
    Provenance,
    Head,
    Strings,
    Data,
    Sizes,
}

impl Section {
    pub(super) const COUNT: usize = 11;
    const ALL: [Self; Self::COUNT] = [
        Self::Tensors,
        Self::Ops,
        Self::Lists,
        Self::Input,
        Self::Outputs,
        Self::Labels,
        Self::Provenance,
        Self::Head,
        Self::Strings,
        Self::Data,
        Self::Sizes,
    ];

    /// Bytes of a record, and how many records there may be.
    const fn records(self) -> (usize, usize) {
        match self {
            Self::Tensors => (TENSOR_BYTES, 8192),
            Self::Ops => (OP_BYTES, 4096),
            Self::Lists => (4, 1 << 16),
            Self::Input => (INPUT_BYTES, 1),
            Self::Outputs => (OUTPUT_BYTES, 1024),
            Self::Labels => (LABEL_BYTES, 1 << 20),
            Self::Provenance => (PROVENANCE_BYTES, 1),
            Self::Head => (1, usize::MAX),
            Self::Strings | Self::Data => (1, usize::MAX),
            Self::Sizes => (SIZES_UNIT, usize::MAX),
        }
    }
}

/// The checksum of a model file, its own field left out. Bytes behind the last whole word are not looked at; a file's
/// length is a multiple of 64.
#[must_use]
pub fn checksum(file: &[u8]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for (index, &bytes) in file.as_chunks::<8>().0.iter().enumerate() {
        if index != CHECKSUM_AT / 8 {
            let mixed = hash.rotate_left(5) ^ u64::from_le_bytes(bytes);
            hash = mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }
    hash
}

/// Writes the checksum that belongs to the contents: for tools that edit a file, and for tests that damage one.
/// Files shorter than a header are left alone.
pub fn seal(file: &mut [u8]) {
    let sum = checksum(file);
    if let Some(field) = file.get_mut(CHECKSUM_AT..CHECKSUM_AT + 8) {
        field.copy_from_slice(&sum.to_le_bytes());
    }
}

/// A file cut into its sections. Only the container is checked, not what the sections hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout<'m> {
    sections: [&'m [u8]; Section::COUNT],
    pub(crate) arena_bytes: u32,
    pub(crate) version: (u16, u16),
}

impl<'m> Layout<'m> {
    pub(crate) fn parse(file: &'m [u8]) -> Result<Self, Error> {
        let magic = file.get(..MAGIC.len()).ok_or(Error::Truncated)?;
        if magic != MAGIC {
            return Err(Error::BadMagic);
        }
        if file.len() < HEADER_BYTES {
            return Err(Error::Truncated);
        }
        let (major, minor) = (word(file, 2) as u16, (word(file, 2) >> 16) as u16);
        if major != MAJOR || minor > MINOR {
            return Err(Error::UnsupportedVersion { major, minor });
        }
        let stated = word(file, 3) as usize;
        if file.len() < stated {
            return Err(Error::Truncated);
        }
        if file.len() != stated || !stated.is_multiple_of(ALIGNMENT) {
            return Err(Error::SizeMismatch);
        }
        let sum = u64::from(word(file, 4)) | u64::from(word(file, 5)) << 32;
        if sum != checksum(file) {
            return Err(Error::ChecksumMismatch);
        }
        let arena_bytes = word(file, 6);
        let has_sizes = minor >= MINOR_OF_SIZES;
        let free = if has_sizes { 30 } else { 28 };
        if word(file, 7) != 0 || (free..32).any(|index| word(file, index) != 0) {
            return Err(Error::PaddingNotZero { section: 0 });
        }

        let mut sections: [&[u8]; Section::COUNT] = [&[]; Section::COUNT];
        let mut end = HEADER_BYTES;
        let count = if has_sizes { Section::COUNT } else { Section::COUNT - 1 };
        for kind in Section::ALL.into_iter().take(count) {
            let section = kind as u32;
            let at = SECTIONS_AT / 4 + 2 * kind as usize;
            let (offset, len) = (word(file, at) as usize, word(file, at + 1) as usize);
            if offset != end {
                return Err(Error::SectionMisplaced { section });
            }
            let stop = offset.checked_add(len).ok_or(Error::SectionMisplaced { section })?;
            sections[kind as usize] =
                file.get(offset..stop).ok_or(Error::SectionMisplaced { section })?;
            let (record, most) = kind.records();
            if len % record != 0 || len / record > most {
                return Err(Error::SectionSize { section });
            }
            // The file's length is a multiple of the alignment, so this stays inside.
            end = stop.next_multiple_of(ALIGNMENT);
            if file[stop..end].iter().any(|&byte| byte != 0) {
                return Err(Error::PaddingNotZero { section });
            }
        }
        if end != file.len() {
            return Err(Error::SectionMisplaced { section: count as u32 - 1 });
        }
        if minor == MINOR_OF_SIZES && sections[Section::Sizes as usize].is_empty() {
            return Err(Error::SectionSize { section: Section::Sizes as u32 });
        }
        Ok(Self { sections, arena_bytes, version: (major, minor) })
    }

    pub(crate) const fn section(&self, kind: Section) -> &'m [u8] {
        self.sections[kind as usize]
    }

    /// Number of records of a section.
    pub(crate) const fn count(&self, kind: Section) -> usize {
        self.section(kind).len() / kind.records().0
    }

    /// One record, `None` behind the last.
    pub(crate) fn record(&self, kind: Section, index: usize) -> Option<&'m [u8]> {
        let bytes = kind.records().0;
        let start = index.checked_mul(bytes)?;
        self.section(kind).get(start..start.checked_add(bytes)?)
    }
}

/// Puts sections together to a file. `silu` says whether a convolution among the operators has SiLU.
#[cfg(feature = "alloc")]
pub(super) fn assemble(
    sections: [&[u8]; Section::COUNT],
    arena_bytes: u32,
    silu: bool,
) -> Result<alloc::vec::Vec<u8>, Error> {
    let padded = |len: usize| len.next_multiple_of(ALIGNMENT);
    let has_sizes = !sections[Section::Sizes as usize].is_empty();
    let minor = match (silu, has_sizes) {
        (true, _) => MINOR_OF_SILU,
        (false, true) => MINOR_OF_SIZES,
        (false, false) => MINOR_OF_SIZES - 1,
    };
    let count = if minor < MINOR_OF_SIZES { Section::COUNT - 1 } else { Section::COUNT };
    let sections = &sections[..count];
    let total = HEADER_BYTES + sections.iter().map(|section| padded(section.len())).sum::<usize>();
    let stated = u32::try_from(total).map_err(|_| Error::TooLarge)?;

    let mut file = alloc::vec::Vec::with_capacity(total);
    file.extend_from_slice(&MAGIC);
    file.extend_from_slice(&MAJOR.to_le_bytes());
    file.extend_from_slice(&minor.to_le_bytes());
    file.extend_from_slice(&stated.to_le_bytes());
    file.extend_from_slice(&[0; 8]);
    file.extend_from_slice(&arena_bytes.to_le_bytes());
    file.extend_from_slice(&[0; 4]);
    let mut offset = HEADER_BYTES;
    for section in sections {
        file.extend_from_slice(&(offset as u32).to_le_bytes());
        file.extend_from_slice(&(section.len() as u32).to_le_bytes());
        offset += padded(section.len());
    }
    file.resize(HEADER_BYTES, 0);
    for section in sections {
        file.extend_from_slice(section);
        file.resize(padded(file.len()), 0);
    }
    seal(&mut file);
    Ok(file)
}
