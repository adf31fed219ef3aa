//! Named tensors: what every weight container (`.pt`, `.pth`, `.th`, `.safetensors`) is read into.

use indexmap::IndexMap;
use ndarray::ArrayD;

/// Element type in the file; values are held as f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceDtype {
    /// IEEE binary32.
    F32,
    /// IEEE binary64, rounded to f32.
    F64,
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// Any integer or boolean type (counters such as `num_batches_tracked`), converted to f32.
    Integer,
}

/// One tensor of a checkpoint.
#[derive(Clone, Debug)]
pub struct NamedTensor {
    /// Element type in the file.
    pub dtype: SourceDtype,
    /// Values in row-major order.
    pub array: ArrayD<f32>,
}

/// A `state_dict`: names in the order of the file.
///
/// Readers deliver names as the file has them, but for the wrapper around the state_dict (`state_dict`,
/// `model`, `net`, `ema`) and a `module.` prefix that all of them share, which are taken off.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// Tensors by name.
    pub tensors: IndexMap<String, NamedTensor>,
    /// Where the state_dict was found, for reports: `` (root), `state_dict`, `ema`, ...
    pub wrapper: String,
}

impl Checkpoint {
    /// A tensor by name.
    pub fn get(&self, name: &str) -> Option<&ArrayD<f32>> {
        self.tensors.get(name).map(|t| &t.array)
    }

    /// A tensor's shape by name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.get(name).map(ArrayD::shape)
    }
}
