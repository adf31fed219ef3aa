//! What a run gives, and the file it goes into.

use kenar::desc::DType;
use ndarray::{ArrayD, Axis, concatenate};
use safetensors::{Dtype, tensor::TensorView};

use crate::error::{Error, Result};
use crate::integer::RawOutput;

/// All outputs of all images.
#[derive(Default)]
pub struct Results {
    /// Of the outputs.
    pub names: Vec<String>,
    /// Per output, `[N, ...]`.
    pub values: Vec<Vec<ArrayD<f32>>>,
    /// Per output, per image; only with `--raw`.
    pub raw: Vec<Vec<RawOutput>>,
    /// Per output, `[1, H, W, C]`; only with `--raw`.
    pub raw_shapes: Vec<[usize; 4]>,
    /// Over the values as computed, image by image.
    pub hash: u64,
    /// Class names that the model carries.
    pub labels: Vec<String>,
    /// What had to be assumed.
    pub remark: Option<String>,
}

impl Results {
    fn is_raw(&self) -> bool {
        self.raw.iter().any(|images| !images.is_empty())
    }

    /// Names and shapes of the outputs of all images together.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, Vec<usize>)> {
        self.names.iter().zip(&self.values).filter_map(|(name, images)| {
            let mut shape = images.first()?.shape().to_vec();
            *shape.first_mut()? = images.len();
            Some((name.as_str(), shape))
        })
    }

    /// The output file: f32, or quantised values where they were kept.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        for (i, name) in self.names.iter().enumerate() {
            if self.is_raw() {
                let images = &self.raw[i];
                let Some(first) = images.first() else { continue };
                let dtype = match first.dtype {
                    DType::I8 => Dtype::I8,
                    DType::I16 => Dtype::I16,
                };
                let mut shape = self.raw_shapes[i];
                shape[0] = images.len();
                let bytes = images.iter().flat_map(|raw| raw.bytes.iter().copied()).collect();
                tensors.push((name.clone(), dtype, shape.to_vec(), bytes));
                let scale = first.scale.to_le_bytes().to_vec();
                tensors.push((format!("{name}.scale"), Dtype::F32, vec![1], scale));
                let zero_point = first.zero_point.to_le_bytes().to_vec();
                tensors.push((format!("{name}.zero_point"), Dtype::I32, vec![1], zero_point));
            } else {
                let all = stacked(&self.values[i])?;
                let bytes = all.iter().flat_map(|v| v.to_le_bytes()).collect();
                tensors.push((name.clone(), Dtype::F32, all.shape().to_vec(), bytes));
            }
        }
        let bad = |e: safetensors::SafeTensorError| {
            Error::Input(format!("cannot encode the outputs: {e}"))
        };
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(bad)?))
            })
            .collect::<Result<Vec<_>>>()?;
        safetensors::serialize(views, None).map_err(bad)
    }
}

fn stacked(images: &[ArrayD<f32>]) -> Result<ArrayD<f32>> {
    let views: Vec<_> = images.iter().map(|image| image.view()).collect();
    concatenate(Axis(0), &views)
        .map(|a| a.as_standard_layout().into_owned())
        .map_err(|e| Error::Input(format!("outputs of different shapes: {e}")))
}

/// FNV-1a, as the runtime hashes outputs.
pub struct Hash(pub u64);

impl Hash {
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
