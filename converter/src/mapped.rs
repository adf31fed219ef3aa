//! Model files, mapped into memory: nothing is copied, and weights that a session has packed need not stay.
//!
//! The one file of this crate with `unsafe`. The contents of a mapping are whatever the file holds, so a program that
//! writes into a model file while it is used changes it under the reader. `kenar` itself never does: it writes a new file
//! and gives it the name. If another program does, results are wrong or an operator panics, because the runtime checks
//! every access again and its `unsafe` code relies on no contents; if a file is cut short, the system ends the program.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use crate::error::{Error, Result};

/// Smaller files are read: nothing is gained.
const SMALLEST: u64 = 64 << 10;

/// The bytes of a model file.
#[derive(Debug)]
pub struct ModelFile(Bytes);

#[derive(Debug)]
enum Bytes {
    Mapped(memmap2::Mmap),
    Read(Vec<u8>),
}

impl ModelFile {
    /// Maps a file; reads it where it cannot be mapped.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |e| Error::io(path, e);
        let file = File::open(path).map_err(io)?;
        let about = file.metadata().map_err(io)?;
        if about.is_file() && about.len() >= SMALLEST {
            // SAFETY: for what another program may do to the file, see the module's documentation.
            if let Ok(map) = unsafe { memmap2::MmapOptions::new().populate().map(&file) } {
                return Ok(Self(Bytes::Mapped(map)));
            }
        }
        Ok(Self(Bytes::Read(std::fs::read(path).map_err(io)?)))
    }

    /// Gives the pages of some of the bytes back to the system, which brings them again when they are read.
    pub fn release(&self, bytes: &[u8]) {
        let (all, part) = (self.as_ptr_range(), bytes.as_ptr_range());
        if part.start < all.start || part.end > all.end {
            return;
        }
        #[cfg(target_os = "linux")]
        if let Bytes::Mapped(map) = &self.0 {
            let offset = part.start as usize - all.start as usize;
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: the pages are those of a file and were never written to, so they come back as they were.
            let _ = unsafe { map.unchecked_advise_range(advice, offset, bytes.len()) };
        }
    }
}

impl Deref for ModelFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Read(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_bytes_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.kenar");
        for len in [0, 10, 300_000] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            let file = ModelFile::open(&path).unwrap();
            assert_eq!(matches!(file.0, Bytes::Mapped(_)), len >= SMALLEST as usize);
            file.release(&file[len / 3..len / 2]);
            file.release(&bytes);
            assert!(*file == bytes);
        }
        assert!(ModelFile::open(&dir.path().join("none")).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_file_is_read() {
        assert!(ModelFile::open(Path::new("/dev/null")).unwrap().is_empty());
    }
}
