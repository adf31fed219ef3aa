//! `.safetensors`: a JSON header and one flat buffer. The `safetensors` crate reads it; checked here is what
//! it leaves open.

use indexmap::IndexMap;
use ndarray::{ArrayD, IxDyn};
use safetensors::{Dtype, SafeTensors};

use super::state_dict::strip_prefixes;
use super::storage::StorageType;
use crate::checkpoint::{Checkpoint, NamedTensor};
use crate::error::{Error, Result};

/// Most dimensions of a tensor, as in the pickle reader.
const MAX_RANK: usize = 16;

/// Whether the bytes look like safetensors: a header length that fits, then a JSON object.
pub(super) fn is_safetensors(bytes: &[u8]) -> bool {
    header(bytes).is_some_and(|json| json.starts_with(b"{"))
}

fn header(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

/// Reads every tensor.
///
/// # Errors
/// [`Error::Source`] for a malformed header, repeated names, offsets outside the file and element types that
/// no float network has.
pub(super) fn read(bytes: &[u8]) -> Result<Checkpoint> {
    check_header(bytes)?;
    let file =
        SafeTensors::deserialize(bytes).map_err(|e| Error::source("", format!("header: {e}")))?;
    let mut views: Vec<_> = file.iter().collect();
    // In the order of the buffer, which for files written tensor by tensor is the order of the state_dict.
    views.sort_by_key(|(name, view)| (view.data().as_ptr().addr(), *name));
    let mut tensors = IndexMap::with_capacity(views.len());
    for (name, view) in views {
        let element = element(view.dtype()).ok_or_else(|| {
            Error::source(name, format!("element type {:?} is not supported", view.dtype()))
        })?;
        let shape = view.shape();
        if shape.len() > MAX_RANK {
            return Err(Error::source(name, format!("a tensor of {} dimensions", shape.len())));
        }
        let array = ArrayD::from_shape_vec(IxDyn(shape), element.decode(view.data()))
            .map_err(|e| Error::source(name, format!("shape {shape:?}: {e}")))?;
        tensors.insert(name.to_owned(), NamedTensor { dtype: element.dtype(), array });
    }
    Ok(Checkpoint { tensors: strip_prefixes(tensors), wrapper: String::new() })
}

fn element(dtype: Dtype) -> Option<StorageType> {
    Some(match dtype {
        Dtype::F32 => StorageType::Float,
        Dtype::F64 => StorageType::Double,
        Dtype::F16 => StorageType::Half,
        Dtype::BF16 => StorageType::BFloat16,
        Dtype::I64 => StorageType::Long,
        Dtype::I32 => StorageType::Int,
        Dtype::I16 => StorageType::Short,
        Dtype::I8 => StorageType::Char,
        Dtype::U8 => StorageType::Byte,
        Dtype::BOOL => StorageType::Bool,
        Dtype::U16 => StorageType::UInt16,
        Dtype::U32 => StorageType::UInt32,
        Dtype::U64 => StorageType::UInt64,
        _ => return None,
    })
}

/// Repeated names, which a JSON map would merge, and offsets behind the end, whose sums the crate does not
/// guard.
fn check_header(bytes: &[u8]) -> Result<()> {
    let json = header(bytes).ok_or_else(|| Error::source("", "header: longer than the file"))?;
    let Entries(entries) =
        serde_json::from_slice(json).map_err(|e| Error::source("", format!("header: {e}")))?;
    let mut names = std::collections::HashSet::new();
    for (name, end) in &entries {
        if !names.insert(name) {
            return Err(Error::source(name, "this name is there twice"));
        }
        if *end > bytes.len() as u64 {
            return Err(Error::source(name, format!("ends at byte {end}, behind the file")));
        }
    }
    Ok(())
}

/// Names in the order of the header, each with its end offset; repeated names stay.
struct Entries(Vec<(String, u64)>);

#[derive(serde::Deserialize)]
struct Info {
    #[serde(default)]
    data_offsets: Option<(u64, u64)>,
}

impl<'de> serde::Deserialize<'de> for Entries {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a map of tensors")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<serde::de::IgnoredAny>()?;
                        entries.push((name, 0));
                    } else {
                        let info: Info = map.next_value()?;
                        entries.push((name, info.data_offsets.map_or(0, |(_, end)| end)));
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use crate::import::checkpoint::from_bytes;
    use crate::import::testing::{floats, safetensors};

    fn refused(header: &str, buffer: &[u8]) -> String {
        from_bytes(&safetensors(header, buffer)).unwrap_err().to_string()
    }

    #[test]
    fn tensors_come_in_the_order_of_the_buffer() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "module.b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},
            "module.a":{"dtype":"F16","shape":[1,2],"data_offsets":[0,4]}}"#;
        let buffer = [&[0, 0x3c, 0, 0xc0][..], &floats(&[f32::NAN, 2.0])].concat();
        let read = from_bytes(&safetensors(header, &buffer)).unwrap();
        assert_eq!(read.tensors.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(read.shape("a"), Some(&[1, 2][..]));
        assert_eq!(read.get("a").unwrap().as_slice().unwrap(), [1.0, -2.0]);
        assert!(read.get("b").unwrap()[[0]].is_nan());
    }

    #[test]
    fn malformed_files_are_errors() {
        let one = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let data = floats(&[1.0, 2.0]);
        assert!(from_bytes(&safetensors(&one("F32", "[2]", "[0,8]"), &data)).is_ok());
        for (dtype, shape, offsets) in [
            ("F32", "[3]", "[0,8]"),
            ("F32", "[2]", "[0,7]"),
            ("F32", "[2]", "[8,0]"),
            ("F32", "[2]", "[0,16]"),
            ("F32", "[1]", "[4,8]"),
            ("F32", "[-2]", "[0,8]"),
            ("F32", "[4611686018427387904,4,2]", "[0,8]"),
            ("F32", "[18446744073709551615,0]", "[0,8]"),
            ("F32", "[2]", "[0,18446744073709551615]"),
            ("F31", "[2]", "[0,8]"),
            ("F8_E4M3", "[8]", "[0,8]"),
            ("C64", "[1]", "[0,8]"),
            ("F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]", "[0,8]"),
        ] {
            let message = refused(&one(dtype, shape, offsets), &data);
            assert!(!message.is_empty());
        }
        assert!(refused(&one("F8_E4M3", "[8]", "[0,8]"), &data).contains("'w'"));
        assert!(refused("{", &[]).contains("header"));
        assert!(refused(&"{\"a\":".repeat(1000), &[]).contains("header"));
    }

    #[test]
    fn a_repeated_name_is_refused() {
        let header = r#"{"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},
            "w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        assert!(refused(header, &floats(&[1.0])).contains("twice"));
    }

    #[test]
    fn truncation_is_an_error() {
        let header = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let file = safetensors(header, &floats(&[1.0, 2.0]));
        for end in 0..file.len() {
            assert!(from_bytes(&file[..end]).is_err(), "{end}");
        }
    }
}
