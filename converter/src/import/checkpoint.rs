//! Reads a weight container, told by its first bytes and not by its name, into a [`Checkpoint`].

use std::path::Path;

use super::pickle::Globals;
use super::storage::Storages;
use super::torch_zip::TorchZip;
use super::{safetensors, state_dict, torch_legacy};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// The weight containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// `torch.save` since PyTorch 1.6.
    TorchZip,
    /// `torch.save` before PyTorch 1.6.
    TorchLegacy,
    /// `.safetensors`.
    Safetensors,
}

impl Container {
    /// The name in reports: `pytorch-zip`, `pytorch-legacy`, `safetensors`.
    pub fn name(self) -> &'static str {
        match self {
            Self::TorchZip => "pytorch-zip",
            Self::TorchLegacy => "pytorch-legacy",
            Self::Safetensors => "safetensors",
        }
    }

    /// Tells the container from the first bytes.
    ///
    /// # Errors
    /// [`Error::Source`] that says what the bytes are instead, where that can be told.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        if safetensors::is_safetensors(bytes) {
            return Ok(Self::Safetensors);
        }
        let what = match bytes {
            [b'P', b'K', 3 | 5, 4 | 6, ..] => return Ok(Self::TorchZip),
            // A pickle; protocols 0 and 1 have no header, and the magic number is a long integer.
            [0x80, ..] | [b'L', b'0'..=b'9', ..] => return Ok(Self::TorchLegacy),
            [] => "an empty file",
            _ if bytes.starts_with(b"version https://git-lfs") => {
                "a Git LFS pointer, not the file itself (git lfs pull fetches it)"
            }
            _ if bytes.starts_with(b"\x89HDF") => "an HDF5 file",
            _ if bytes.starts_with(b"<") => "a web page or XML file (a failed download?)",
            _ if bytes.get(257..262) == Some(b"ustar") => {
                "a tar archive, as torch.save wrote before 0.1.10; load and save it again with PyTorch"
            }
            _ => "not a known container",
        };
        Err(Error::source(
            "",
            format!("{what}; expected a torch.save file (.pt, .pth, .th) or .safetensors"),
        ))
    }
}

/// Reads the state_dict of a file.
///
/// # Errors
/// [`Error`] with the file, and the key or position inside it, for anything that cannot be read or is refused.
pub fn read(path: &Path) -> Result<Checkpoint> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    from_bytes(&bytes).map_err(|e| e.in_file(path))
}

/// Reads the state_dict in the bytes of a file.
///
/// # Errors
/// As [`read`], without the file.
pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint> {
    match Container::of(bytes)? {
        Container::TorchZip => {
            let mut zip = TorchZip::open(bytes)?;
            let pickle = zip.pickle(Globals::Refuse)?;
            state_dict::read(&pickle, &mut Storages::new(zip, bytes.len()))
        }
        Container::TorchLegacy => {
            let (pickle, storages) = torch_legacy::open(bytes, Globals::Refuse)?;
            state_dict::read(&pickle, &mut Storages::new(storages, bytes.len()))
        }
        Container::Safetensors => safetensors::read(bytes),
    }
}

#[cfg(test)]
mod tests;
