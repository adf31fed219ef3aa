//! CIFAR-10 binary files: records of one label byte and 3072 pixel bytes (red, green, blue plane, 32x32).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{Content, Pixels, Record, Records};
use crate::error::{Error, Result};

const SIDE: usize = 32;
const RECORD_BYTES: usize = 1 + 3 * SIDE * SIDE;
const CLASSES: u8 = 10;

/// An open file; one record is in memory at a time.
pub(super) struct Cifar {
    path: PathBuf,
    file: Mutex<File>,
    len: usize,
}

impl Cifar {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let bytes = file.metadata().map_err(|e| Error::io(path, e))?.len() as usize;
        let (len, rest) = (bytes / RECORD_BYTES, bytes % RECORD_BYTES);
        if bytes == 0 {
            return Err(Error::source("", "is empty, expected CIFAR-10 records").in_file(path));
        }
        if rest != 0 {
            let hint = if bytes.is_multiple_of(RECORD_BYTES + 1) {
                "; 3074-byte records are CIFAR-100, which is not supported"
            } else {
                ""
            };
            let detail = format!(
                "{bytes} bytes are no multiple of {RECORD_BYTES} (one label byte and 3072 pixel bytes a record): record {len} has only {rest} bytes{hint}"
            );
            return Err(Error::source("", detail).in_file(path));
        }
        let cifar = Self { path: path.to_owned(), file: Mutex::new(file), len };
        cifar.read(0)?;
        Ok(cifar)
    }
}

impl Records for Cifar {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, index: usize) -> Result<Record> {
        let mut record = [0u8; RECORD_BYTES];
        {
            let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            file.seek(SeekFrom::Start((index * RECORD_BYTES) as u64))
                .and_then(|_| file.read_exact(&mut record))
                .map_err(|e| Error::io(&self.path, e))?;
        }
        let name = format!("record {index}");
        if record[0] >= CLASSES {
            let detail = format!("label {} is out of range, expected 0 to 9", record[0]);
            return Err(Error::source(name, detail).in_file(&self.path));
        }
        let pixels = Pixels::from_planes(&record[1..], SIDE, SIDE);
        Ok(Record { name, label: Some(record[0] as usize), content: Content::Pixels(pixels) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, bytes: &[u8]) -> PathBuf {
        let path = dir.join("x.bin");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn records_are_read_in_any_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = vec![0u8; 3 * RECORD_BYTES];
        for i in 0..3 {
            bytes[i * RECORD_BYTES] = 7 - i as u8;
            bytes[i * RECORD_BYTES + 1] = 100 + i as u8; // red of the first pixel
            bytes[i * RECORD_BYTES + 1 + 2048] = 200 + i as u8; // its blue
        }
        let cifar = Cifar::open(&write(dir.path(), &bytes)).unwrap();
        assert_eq!(cifar.len(), 3);
        for i in [2, 0, 1] {
            let record = cifar.read(i).unwrap();
            assert_eq!(record.label, Some(7 - i));
            let Content::Pixels(p) = record.content else { panic!("pixels expected") };
            assert_eq!(p.data[..3], [100 + i as u8, 0, 200 + i as u8]);
        }
    }

    #[test]
    fn sizes_and_labels_are_checked_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = |bytes: &[u8]| {
            Cifar::open(&write(dir.path(), bytes)).err().expect("must be refused").to_string()
        };
        let short = error(&vec![0; 2 * RECORD_BYTES - 1]);
        assert!(
            short.contains("x.bin") && short.contains("3073") && short.contains("record 1"),
            "{short}"
        );
        assert!(error(&[0; 3074]).contains("CIFAR-100"));
        assert!(error(&[]).contains("empty"));
        let mut bytes = vec![0; RECORD_BYTES];
        bytes[0] = 10;
        let label = error(&bytes);
        assert!(label.contains("record 0") && label.contains("label 10"), "{label}");
    }
}
