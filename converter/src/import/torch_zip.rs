//! The zip container of `torch.save` since PyTorch 1.6: `NAME/data.pkl` and one record per storage,
//! `NAME/data/KEY`.

use std::borrow::Cow;
use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};
use zip::result::ZipError;

use super::pickle::{self, Globals, Pickle};
use super::storage::Container;
use crate::error::{Error, Result};

/// How many times its own size an archive may unpack to (weights hardly compress; `torch.save` never does).
const MAX_RATIO: u64 = 100;
/// What any archive may unpack to, however small.
const MIN_UNPACKED: u64 = 16 << 20;

/// An open container.
pub(super) struct TorchZip<'a> {
    archive: ZipArchive<Cursor<&'a [u8]>>,
    /// Everything before `data.pkl`, with the slash.
    root: String,
}

fn zip_error(at: &str, error: ZipError) -> Error {
    Error::source(at, format!("damaged zip archive: {error}"))
}

impl<'a> TorchZip<'a> {
    /// Opens the archive and checks its directory.
    ///
    /// # Errors
    /// [`Error::Source`] for paths that leave the archive, repeated names, sizes that cannot be, TorchScript
    /// and big-endian archives.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self> {
        // Looking for the start of the archive misses it where PyTorch's zip64 trailer (76 bytes) is as long
        // as the first directory entry; the archive starts with the file.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let mut archive =
            ZipArchive::with_config(config, Cursor::new(bytes)).map_err(|e| zip_error("", e))?;
        if archive.has_duplicate_names() {
            return Err(Error::source("", "zip archive with repeated entry names"));
        }
        let limit = (bytes.len() as u64).saturating_mul(MAX_RATIO).max(MIN_UNPACKED);
        let mut unpacked = 0u64;
        let mut pickles = Vec::new();
        for i in 0..archive.len() {
            let entry = archive.by_index_raw(i).map_err(|e| zip_error("", e))?;
            let name = entry.name().map_err(|e| zip_error("", e))?.into_owned();
            if !is_plain(&name) {
                return Err(Error::source(name, "zip entry with a path that leaves the archive"));
            }
            if entry.compressed_size() > bytes.len() as u64 {
                let size = entry.compressed_size();
                return Err(Error::source(
                    name,
                    format!("zip entry of {size} bytes, more than the file"),
                ));
            }
            unpacked = unpacked.saturating_add(entry.size());
            if unpacked > limit {
                return Err(Error::source(
                    name,
                    format!(
                        "zip archive that unpacks to more than {limit} bytes, {MAX_RATIO} times its size"
                    ),
                ));
            }
            if name == "data.pkl" || name.ends_with("/data.pkl") {
                pickles.push(name);
            }
        }
        let [pickle] = pickles.as_slice() else {
            return Err(Error::source(
                "",
                format!("zip archive with {} data.pkl; torch.save writes one", pickles.len()),
            ));
        };
        let root = pickle.trim_end_matches("data.pkl").to_owned();
        let mut zip = Self { archive, root };
        if zip.has("constants.pkl") {
            return Err(Error::source(
                "",
                "a TorchScript archive; save the weights alone, torch.save(model.state_dict(), \
                 \"weights.pt\"), or export the model to ONNX",
            ));
        }
        if zip.has("byteorder") {
            let order = zip.entry("byteorder")?;
            if order.trim_ascii() != b"little" {
                let order = String::from_utf8_lossy(&order[..order.len().min(20)]).into_owned();
                return Err(Error::source("byteorder", format!("'{order}', expected 'little'")));
            }
        }
        Ok(zip)
    }

    /// The object that was saved.
    pub(super) fn pickle(&mut self, globals: Globals) -> Result<Pickle> {
        pickle::read(&self.entry("data.pkl")?, globals)
    }

    fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(&format!("{}{name}", self.root)).is_some()
    }

    fn entry(&mut self, name: &str) -> Result<Vec<u8>> {
        let name = format!("{}{name}", self.root);
        let entry = self.archive.by_name(&name).map_err(|e| match e {
            ZipError::FileNotFound => Error::source(&name, "missing from the zip archive"),
            e => zip_error(&name, e),
        })?;
        let size = entry.size();
        let mut bytes = Vec::new();
        // One byte more than announced, to notice an entry that is longer.
        entry
            .take(size.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|e| Error::source(&name, format!("damaged zip entry: {e}")))?;
        if bytes.len() as u64 != size {
            let read = bytes.len();
            return Err(Error::source(name, format!("zip entry of {size} bytes holds {read}")));
        }
        Ok(bytes)
    }
}

impl Container for TorchZip<'_> {
    fn storage(&mut self, key: &str) -> Result<Cow<'_, [u8]>> {
        self.entry(&format!("data/{key}")).map(Cow::Owned)
    }
}

/// Relative, without `..`, drive letters or backslashes.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(['\\', '\0', ':'])
        && name.trim_end_matches('/').split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use zip::CompressionMethod;

    use crate::checkpoint::Checkpoint;
    use crate::import::checkpoint::from_bytes;
    use crate::import::testing::{View, archive, floats, one_tensor, torch_zip};

    const VIEW: View = View { offset: 0, sizes: &[2, 3], strides: &[3, 1] };

    fn refused(bytes: &[u8]) -> String {
        from_bytes(bytes).unwrap_err().to_string()
    }

    fn check(read: Checkpoint) {
        assert_eq!(read.shape("w"), Some(&[2, 3][..]));
        assert_eq!(read.get("w").unwrap().iter().sum::<f32>(), 21.0);
    }

    fn data() -> Vec<u8> {
        floats(&[1., 2., 3., 4., 5., 6.])
    }

    #[test]
    fn stored_and_deflated_archives_are_read() {
        let pickle = one_tensor(6, VIEW);
        check(from_bytes(&torch_zip(&pickle, &[&data()])).unwrap());
        let data = data();
        let entries: [(&str, &[u8]); 2] = [("a/b/data.pkl", &pickle), ("a/b/data/0", &data)];
        check(from_bytes(&archive(&entries, CompressionMethod::Deflated)).unwrap());
        let entries: [(&str, &[u8]); 2] = [("data.pkl", &pickle), ("data/0", &data)];
        check(from_bytes(&archive(&entries, CompressionMethod::Stored)).unwrap());
    }

    #[test]
    fn a_storage_shorter_than_its_tensor_is_refused() {
        let message = refused(&torch_zip(&one_tensor(6, VIEW), &[&data()[..20]]));
        assert!(message.contains("storage 0") && message.contains("20 bytes"), "{message}");
        let message = refused(&torch_zip(&one_tensor(5, VIEW), &[&data()[..20]]));
        assert!(message.contains("'w'") && message.contains("needs 6 elements"), "{message}");
    }

    #[test]
    fn a_missing_record_is_named() {
        let message = refused(&torch_zip(&one_tensor(6, VIEW), &[]));
        assert!(message.contains("archive/data/0") && message.contains("missing"), "{message}");
        let message = refused(&archive(&[("a/version", b"3")], CompressionMethod::Stored));
        assert!(message.contains("0 data.pkl"), "{message}");
        let two: [(&str, &[u8]); 2] = [("a/data.pkl", b"N."), ("b/data.pkl", b"N.")];
        assert!(refused(&archive(&two, CompressionMethod::Stored)).contains("2 data.pkl"));
    }

    #[test]
    fn paths_that_leave_the_archive_are_refused() {
        for path in ["../data.pkl", "/a/data.pkl", "a/../../x", "C:/data.pkl", "a\\..\\x", "a/./x"]
        {
            let message = refused(&archive(&[(path, b"N.")], CompressionMethod::Stored));
            assert!(message.contains("leaves the archive"), "{path}: {message}");
        }
    }

    #[test]
    fn repeated_names_are_refused() {
        let entries: [(&str, &[u8]); 3] =
            [("a/data.pkl", b"N."), ("a/data/0", b"good"), ("a/data/1", b"evil")];
        let mut bytes = archive(&entries, CompressionMethod::Stored);
        for at in 0..bytes.len() - 8 {
            if &bytes[at..at + 8] == b"a/data/1" {
                bytes[at + 7] = b'0';
            }
        }
        assert!(refused(&bytes).contains("repeated entry names"));
    }

    #[test]
    fn a_compressed_bomb_is_refused_before_it_is_unpacked() {
        let pickle = one_tensor(16 << 20, View { offset: 0, sizes: &[16 << 20], strides: &[1] });
        let zeros = vec![0; 64 << 20];
        let entries: [(&str, &[u8]); 2] = [("a/data.pkl", &pickle), ("a/data/0", &zeros)];
        let message = refused(&archive(&entries, CompressionMethod::Deflated));
        assert!(message.contains("unpacks to more than"), "{message}");
    }

    /// Overwrites a field of the central directory entry of `name`.
    fn patch(bytes: &mut [u8], name: &str, offset: usize, value: u32) {
        let entry = bytes
            .windows(46 + name.len())
            .rposition(|w| w.starts_with(b"PK\x01\x02") && w.ends_with(name.as_bytes()))
            .unwrap();
        bytes[entry + offset..entry + offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    #[test]
    fn absurd_sizes_are_refused() {
        let good = torch_zip(&one_tensor(6, VIEW), &[&data()]);
        for (offset, value) in
            [(20, u32::MAX - 1), (24, u32::MAX - 1), (20, 1 << 20), (24, 1 << 20)]
        {
            let mut bytes = good.clone();
            patch(&mut bytes, "archive/data/0", offset, value);
            let message = refused(&bytes);
            assert!(message.contains("archive/data/0"), "{offset} {value}: {message}");
        }
        // A header that lies beyond the file.
        let mut bytes = good.clone();
        patch(&mut bytes, "archive/data/0", 42, u32::MAX - 1);
        assert!(refused(&bytes).contains("zip archive"));
    }

    #[test]
    fn damaged_contents_are_noticed() {
        let mut bytes = torch_zip(&one_tensor(6, VIEW), &[&data()]);
        let at = bytes.windows(24).position(|w| w == data()).unwrap();
        bytes[at] ^= 1;
        assert!(refused(&bytes).contains("archive/data/0"));
    }

    #[test]
    fn truncation_is_an_error() {
        let bytes = torch_zip(&one_tensor(6, VIEW), &[&data()]);
        for end in 4..bytes.len() {
            assert!(from_bytes(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn big_endian_archives_are_refused() {
        let pickle = one_tensor(6, VIEW);
        let data = data();
        let entries: [(&str, &[u8]); 3] =
            [("a/data.pkl", &pickle), ("a/byteorder", b"big"), ("a/data/0", &data)];
        let message = refused(&archive(&entries, CompressionMethod::Stored));
        assert!(message.contains("byteorder") && message.contains("'big'"), "{message}");
    }
}
