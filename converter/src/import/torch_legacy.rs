//! The container of `torch.save` before PyTorch 1.6 (and of `_use_new_zipfile_serialization=False`): five
//! pickles in a row (magic number, protocol, system, object, storage keys), then every storage as an i64
//! element count and its bytes.

use std::borrow::Cow;
use std::collections::HashMap;

use super::pickle::{self, Globals, Pickle, StorageRef, Value};
use super::storage::Container;
use crate::error::{Error, Result};

const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL: i64 = 1001;

/// Storages by key.
pub(super) struct TorchLegacy<'a> {
    storages: HashMap<String, &'a [u8]>,
}

/// Reads the object and finds the storages.
///
/// # Errors
/// [`Error::Source`] for a wrong magic number or protocol, a big-endian file, storages that the object does
/// not describe, and a file that ends early.
pub(super) fn open(bytes: &[u8], globals: Globals) -> Result<(Pickle, TorchLegacy<'_>)> {
    let mut at = 0;
    let mut next = |globals| {
        let pickle = pickle::read(&bytes[at..], globals)?;
        at += pickle.length;
        Ok::<_, Error>(pickle)
    };
    let magic = next(Globals::Refuse)?;
    if !matches!(magic.values.get(magic.root), Value::Long(MAGIC)) {
        return Err(Error::source(
            "",
            "a pickle that torch.save did not write (wrong magic number)",
        ));
    }
    let protocol = next(Globals::Refuse)?;
    if protocol.values.int(protocol.root) != Some(PROTOCOL) {
        return Err(Error::source("", format!("unknown torch.save protocol, expected {PROTOCOL}")));
    }
    check_system(&next(Globals::Refuse)?)?;
    let object = next(globals)?;
    let keys = next(Globals::Refuse)?;
    let storages = storages(bytes, at, &object, &keys)?;
    Ok((object, TorchLegacy { storages }))
}

fn check_system(system: &Pickle) -> Result<()> {
    let values = &system.values;
    let items = values.items(system.root).unwrap_or_default();
    let little = items.iter().find(|(k, _)| values.str(*k) == Some("little_endian"));
    match little.map(|&(_, v)| values.get(v)) {
        Some(Value::Bool(true)) => Ok(()),
        Some(Value::Bool(false)) => {
            Err(Error::source("", "a big-endian file, expected little-endian"))
        }
        _ => Err(Error::source("", "a torch.save header that does not tell its byte order")),
    }
}

fn storages<'a>(
    bytes: &'a [u8],
    mut at: usize,
    object: &Pickle,
    keys: &Pickle,
) -> Result<HashMap<String, &'a [u8]>> {
    let mut described: HashMap<&str, &StorageRef> = HashMap::new();
    for storage in object.values.storages() {
        let first = described.entry(&storage.key).or_insert(storage);
        if first.element != storage.element || first.count != storage.count {
            let key = format!("storage {}", storage.key);
            return Err(Error::source(key, "described twice, with different types or sizes"));
        }
    }
    let Some(keys_list) = keys.values.sequence(keys.root) else {
        return Err(Error::source("", "a torch.save file without list of storages"));
    };
    let mut found = HashMap::new();
    for &key in keys_list {
        let Some(key) = keys.values.str(key) else {
            return Err(Error::source(
                "",
                format!("a storage key that is {}", keys.values.kind(key)),
            ));
        };
        let name = || format!("storage {key}");
        let Some(storage) = described.get(key) else {
            return Err(Error::source(name(), "in the file, but nothing describes its type"));
        };
        let truncated = || Error::source(name(), "the file ends inside this storage");
        let head =
            bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()).ok_or_else(truncated)?;
        let count = i64::from_le_bytes(*head);
        if u64::try_from(count).ok() != Some(storage.count) {
            let expected = storage.count;
            return Err(Error::source(name(), format!("{count} elements, expected {expected}")));
        }
        at += 8;
        let length = usize::try_from(storage.count)
            .ok()
            .and_then(|n| n.checked_mul(storage.element.size()))
            .ok_or_else(truncated)?;
        let data = bytes.get(at..).and_then(|rest| rest.get(..length)).ok_or_else(truncated)?;
        at += length;
        if found.insert(key.to_owned(), data).is_some() {
            return Err(Error::source(name(), "in the file twice"));
        }
    }
    if at != bytes.len() {
        let left = bytes.len() - at;
        return Err(Error::source("", format!("{left} bytes left behind the last storage")));
    }
    Ok(found)
}

impl Container for TorchLegacy<'_> {
    fn storage(&mut self, key: &str) -> Result<Cow<'_, [u8]>> {
        let bytes = self.storages.get(key).copied().ok_or_else(|| {
            Error::source(format!("storage {key}"), "used by a tensor, but not in the file")
        })?;
        Ok(Cow::Borrowed(bytes))
    }
}

#[cfg(test)]
mod tests {
    use crate::import::checkpoint::from_bytes;
    use crate::import::testing::{Pickler, View, floats, legacy_head, one_tensor, torch_legacy};

    const VIEW: View = View { offset: 0, sizes: &[2, 3], strides: &[3, 1] };

    fn data() -> Vec<u8> {
        floats(&[1., 2., 3., 4., 5., 6.])
    }

    fn refused(bytes: &[u8]) -> String {
        from_bytes(bytes).unwrap_err().to_string()
    }

    #[test]
    fn the_oldest_form_is_read() {
        // `_rebuild_tensor` without gradients and hooks; a storage reference with a view.
        let pickle = Pickler::new()
            .op(b"}")
            .str("w")
            .global("torch._utils", "_rebuild_tensor")
            .op(b"((")
            .str("storage")
            .global("torch", "FloatStorage")
            .str("94020255495056")
            .str("cuda:0")
            .int(6)
            .op(b"(")
            .str("94020255495057")
            .int(2)
            .int(4)
            .op(b"ttQ")
            .int(1)
            .ints(&[3])
            .ints(&[1])
            .op(b"tRs")
            .stop();
        let file = torch_legacy(&pickle, &[("94020255495056", 6, &data())]);
        let read = from_bytes(&file).unwrap();
        assert_eq!(read.get("w").unwrap().as_slice().unwrap(), [4., 5., 6.]);
        // The view ends where it says, though its storage goes on.
        let outside = Pickler(pickle).0;
        let at = outside.windows(8).rposition(|w| w == 3i64.to_le_bytes()).unwrap();
        let mut outside = outside;
        outside[at] = 4;
        let message = refused(&torch_legacy(&outside, &[("94020255495056", 6, &data())]));
        assert!(message.contains("needs 5 elements, its storage has 4"), "{message}");
    }

    #[test]
    fn header_errors_are_told() {
        let pickle = one_tensor(6, VIEW);
        let file = torch_legacy(&pickle, &[("0", 6, &data())]);
        assert!(from_bytes(&file).is_ok());
        assert!(refused(&one_tensor(6, VIEW)).contains("magic"));
        assert!(refused(&Pickler::new().int(5).stop()).contains("magic"));
        let old = [legacy_head(1000, true), pickle.clone()].concat();
        assert!(refused(&old).contains("expected 1001"));
        let big = [legacy_head(1001, false), pickle].concat();
        assert!(refused(&big).contains("big-endian"));
    }

    #[test]
    fn storages_must_match_their_description() {
        let pickle = one_tensor(6, VIEW);
        let data = data();
        for (storages, expected) in [
            (vec![("0", 5, &data[..20])], "5 elements, expected 6"),
            (vec![("0", -1, &data[..])], "-1 elements"),
            (vec![("0", i64::MAX, &data[..])], "expected 6"),
            (vec![("0", 6, &data[..20])], "ends inside"),
            (vec![("1", 6, &data[..])], "nothing describes"),
            (vec![("0", 6, &data[..]), ("0", 6, &data[..])], "twice"),
            (vec![], "not in the file"),
        ] {
            let message = refused(&torch_legacy(&pickle, &storages));
            assert!(message.contains(expected), "{message}");
        }
        let mut long = torch_legacy(&pickle, &[("0", 6, &data)]);
        long.push(0);
        assert!(refused(&long).contains("1 bytes left"));
    }

    #[test]
    fn a_storage_described_twice_is_refused() {
        let pickle = Pickler::new()
            .op(b"}")
            .str("a")
            .tensor("FloatStorage", "0", 6, VIEW)
            .op(b"s")
            .str("b")
            .tensor("DoubleStorage", "0", 6, VIEW)
            .op(b"s")
            .stop();
        assert!(refused(&torch_legacy(&pickle, &[("0", 6, &data())])).contains("described twice"));
    }

    #[test]
    fn absurd_counts_are_refused() {
        let view = View { offset: 0, sizes: &[1], strides: &[1] };
        let file = torch_legacy(&one_tensor(i64::MAX, view), &[("0", i64::MAX, &data())]);
        assert!(refused(&file).contains("ends inside"));
    }

    #[test]
    fn truncation_is_an_error() {
        let file = torch_legacy(&one_tensor(6, VIEW), &[("0", 6, &data())]);
        for end in 0..file.len() {
            assert!(from_bytes(&file[..end]).is_err(), "{end}");
        }
    }
}
