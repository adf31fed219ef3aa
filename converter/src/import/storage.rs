//! Storages: the flat byte arrays that tensors view, and their element types.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use half::{bf16, f16};

use super::pickle::StorageRef;
use crate::checkpoint::SourceDtype;
use crate::error::{Error, Result};

/// Element type of a PyTorch storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StorageType {
    /// f32.
    Float,
    /// f64.
    Double,
    /// f16.
    Half,
    /// bf16.
    BFloat16,
    /// i64.
    Long,
    /// i32.
    Int,
    /// i16.
    Short,
    /// i8.
    Char,
    /// u8.
    Byte,
    /// One byte, zero or not.
    Bool,
    /// u16.
    UInt16,
    /// u32.
    UInt32,
    /// u64.
    UInt64,
    /// Bytes; the tensor says what they are.
    Untyped,
}

impl StorageType {
    /// From a storage class: `torch.FloatStorage`, `torch.cuda.HalfStorage`, `torch.storage.UntypedStorage`.
    pub fn from_class(name: &str) -> Option<Self> {
        let class = name.strip_prefix("torch.")?;
        if matches!(class, "UntypedStorage" | "storage.UntypedStorage" | "storage._UntypedStorage")
        {
            return Some(Self::Untyped);
        }
        let class = class.strip_prefix("cuda.").unwrap_or(class);
        Some(match class.strip_suffix("Storage")? {
            "Float" => Self::Float,
            "Double" => Self::Double,
            "Half" => Self::Half,
            "BFloat16" => Self::BFloat16,
            "Long" => Self::Long,
            "Int" => Self::Int,
            "Short" => Self::Short,
            "Char" => Self::Char,
            "Byte" => Self::Byte,
            "Bool" => Self::Bool,
            _ => return None,
        })
    }

    /// From a dtype: `torch.float32`.
    pub fn from_dtype(name: &str) -> Option<Self> {
        Some(match name.strip_prefix("torch.")? {
            "float32" | "float" => Self::Float,
            "float64" | "double" => Self::Double,
            "float16" | "half" => Self::Half,
            "bfloat16" => Self::BFloat16,
            "int64" | "long" => Self::Long,
            "int32" | "int" => Self::Int,
            "int16" | "short" => Self::Short,
            "int8" => Self::Char,
            "uint8" => Self::Byte,
            "bool" => Self::Bool,
            "uint16" => Self::UInt16,
            "uint32" => Self::UInt32,
            "uint64" => Self::UInt64,
            _ => return None,
        })
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::Char | Self::Byte | Self::Bool | Self::Untyped => 1,
            Self::Half | Self::BFloat16 | Self::Short | Self::UInt16 => 2,
            Self::Float | Self::Int | Self::UInt32 => 4,
            Self::Double | Self::Long | Self::UInt64 => 8,
        }
    }

    /// The type as reports name it.
    pub fn dtype(self) -> SourceDtype {
        match self {
            Self::Float => SourceDtype::F32,
            Self::Double => SourceDtype::F64,
            Self::Half => SourceDtype::F16,
            Self::BFloat16 => SourceDtype::Bf16,
            _ => SourceDtype::Integer,
        }
    }

    /// Little-endian elements as f32; a trailing partial element is not read.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        macro_rules! each {
            ($t:ty, $f:expr) => {
                bytes.as_chunks().0.iter().map(|&b| $f(<$t>::from_le_bytes(b))).collect()
            };
        }
        match self {
            Self::Float => each!(f32, |x| x),
            Self::Double => each!(f64, |x| x as f32),
            Self::Half => each!(f16, f16::to_f32),
            Self::BFloat16 => each!(bf16, bf16::to_f32),
            Self::Long => each!(i64, |x| x as f32),
            Self::Int => each!(i32, |x| x as f32),
            Self::Short => each!(i16, f32::from),
            Self::Char => each!(i8, f32::from),
            Self::Byte | Self::Untyped => each!(u8, f32::from),
            Self::Bool => each!(u8, |x| f32::from(u8::from(x != 0))),
            Self::UInt16 => each!(u16, f32::from),
            Self::UInt32 => each!(u32, |x| x as f32),
            Self::UInt64 => each!(u64, |x| x as f32),
        }
    }
}

/// Where a container keeps its storages.
pub(super) trait Container {
    /// The bytes of a storage; their number is checked by the caller.
    fn storage(&mut self, key: &str) -> Result<Cow<'_, [u8]>>;
}

/// Storages of one container, each read once.
pub(super) struct Storages<C> {
    container: C,
    read: HashMap<String, Rc<Vec<u8>>>,
    /// Bytes of f32 that tensors may still take.
    budget: usize,
}

impl<C: Container> Storages<C> {
    /// `file_bytes` bounds what tensors that share storages may expand to.
    pub(super) fn new(container: C, file_bytes: usize) -> Self {
        let budget = file_bytes.saturating_mul(16).saturating_add(64 << 20);
        Self { container, read: HashMap::new(), budget }
    }

    /// The storage's bytes, and which of them a reference names: all, or the view into it.
    pub(super) fn get(&mut self, storage: &StorageRef) -> Result<(Rc<Vec<u8>>, Range<usize>)> {
        let bytes = match self.read.get(&*storage.key) {
            Some(bytes) => bytes.clone(),
            None => {
                let bytes = Rc::new(self.container.storage(&storage.key)?.into_owned());
                self.read.insert(storage.key.to_string(), bytes.clone());
                bytes
            }
        };
        let refuse = |detail| Err(Error::source(format!("storage {}", storage.key), detail));
        let StorageRef { count, view, .. } = *storage;
        let size = storage.element.size() as u64;
        if count.checked_mul(size) != Some(bytes.len() as u64) {
            return refuse(format!("{} bytes, expected {count} elements of {size}", bytes.len()));
        }
        let (first, length) = view.unwrap_or((0, count));
        let Some(end) = first.checked_add(length).filter(|&end| end <= count) else {
            return refuse(format!("a view of {length} elements at {first} into {count}"));
        };
        Ok((bytes, (first * size) as usize..(end * size) as usize))
    }

    /// Takes `elements` f32 from what the file may expand to.
    pub(super) fn spend(&mut self, elements: usize) -> Result<()> {
        let left = elements.checked_mul(4).and_then(|bytes| self.budget.checked_sub(bytes));
        self.budget = left.ok_or_else(|| {
            Error::source(
                "",
                "tensors that share storages expand to many times the size of the file",
            )
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_type_decodes_to_its_value() {
        let cases: [(StorageType, &[u8], f32); 13] = [
            (StorageType::Float, &(-1.5f32).to_le_bytes(), -1.5),
            (StorageType::Double, &2.25f64.to_le_bytes(), 2.25),
            (StorageType::Half, &f16::from_f32(0.1).to_le_bytes(), f16::from_f32(0.1).to_f32()),
            (StorageType::BFloat16, &bf16::from_f32(3.0).to_le_bytes(), 3.0),
            (StorageType::Long, &(-7i64).to_le_bytes(), -7.0),
            (StorageType::Int, &70000i32.to_le_bytes(), 70000.0),
            (StorageType::Short, &(-300i16).to_le_bytes(), -300.0),
            (StorageType::Char, &[0x80], -128.0),
            (StorageType::Byte, &[0x80], 128.0),
            (StorageType::Bool, &[2], 1.0),
            (StorageType::UInt16, &60000u16.to_le_bytes(), 60000.0),
            (StorageType::UInt32, &4_000_000_000u32.to_le_bytes(), 4e9),
            (StorageType::UInt64, &(1u64 << 63).to_le_bytes(), 2f32.powi(63)),
        ];
        for (element, bytes, value) in cases {
            assert_eq!(bytes.len(), element.size(), "{element:?}");
            assert_eq!(element.decode(bytes), [value], "{element:?}");
        }
    }

    #[test]
    fn not_a_number_and_infinity_are_kept() {
        assert!(StorageType::Half.decode(&f16::NAN.to_le_bytes())[0].is_nan());
        assert_eq!(
            StorageType::BFloat16.decode(&bf16::NEG_INFINITY.to_le_bytes()),
            [f32::NEG_INFINITY]
        );
    }

    #[test]
    fn classes_and_dtypes_are_recognised() {
        assert_eq!(StorageType::from_class("torch.cuda.HalfStorage"), Some(StorageType::Half));
        assert_eq!(
            StorageType::from_class("torch.storage.UntypedStorage"),
            Some(StorageType::Untyped)
        );
        assert_eq!(StorageType::from_class("torch.QInt8Storage"), None);
        assert_eq!(StorageType::from_class("evil.FloatStorage"), None);
        assert_eq!(StorageType::from_dtype("torch.bfloat16"), Some(StorageType::BFloat16));
        assert_eq!(StorageType::from_dtype("torch.complex64"), None);
    }
}
