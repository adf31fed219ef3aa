//! Checkpoints of seeded random values, for tests: any names and shapes.

use indexmap::IndexMap;
use ndarray::{ArrayD, IxDyn};

use crate::checkpoint::{Checkpoint, NamedTensor, SourceDtype};

/// Tensors in the order in which they were declared, under a common prefix.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    tensors: Vec<(String, Vec<usize>)>,
    prefix: String,
}

impl Spec {
    /// Every key declared from here on starts with this.
    pub fn prefix(&mut self, prefix: &str) -> &mut Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// One tensor.
    pub fn tensor(&mut self, key: &str, shape: &[usize]) -> &mut Self {
        self.tensors.push((format!("{}{key}", self.prefix), shape.to_vec()));
        self
    }

    /// Square convolution without bias; `per_group` input channels in each group.
    pub fn conv(&mut self, path: &str, out: usize, per_group: usize, window: usize) -> &mut Self {
        self.tensor(&format!("{path}.weight"), &[out, per_group, window, window])
    }

    /// The same with bias.
    pub fn conv_bias(
        &mut self,
        path: &str,
        out: usize,
        per_group: usize,
        window: usize,
    ) -> &mut Self {
        self.conv(path, out, per_group, window).tensor(&format!("{path}.bias"), &[out])
    }

    /// Batch norm with its counter.
    pub fn bn(&mut self, path: &str, channels: usize) -> &mut Self {
        for leaf in ["weight", "bias", "running_mean", "running_var"] {
            self.tensor(&format!("{path}.{leaf}"), &[channels]);
        }
        self.tensor(&format!("{path}.num_batches_tracked"), &[])
    }

    /// Linear layer with bias.
    pub fn linear(&mut self, path: &str, out: usize, inner: usize) -> &mut Self {
        self.tensor(&format!("{path}.weight"), &[out, inner])
            .tensor(&format!("{path}.bias"), &[out])
    }

    /// `PReLU`.
    pub fn prelu(&mut self, path: &str, channels: usize) -> &mut Self {
        self.tensor(&format!("{path}.weight"), &[channels])
    }

    /// Keys in lexicographic order, as safetensors writers leave them.
    pub fn sorted(&mut self) -> &mut Self {
        self.tensors.sort();
        self
    }

    /// Without the tensors whose key fits.
    pub fn without(&mut self, drop: impl Fn(&str) -> bool) -> &mut Self {
        self.tensors.retain(|(k, _)| !drop(k));
        self
    }

    /// Values from the keys: small weights, statistics near 0 and 1.
    pub fn checkpoint(&self) -> Checkpoint {
        let mut tensors = IndexMap::new();
        for (key, shape) in &self.tensors {
            let counter = key.ends_with("num_batches_tracked");
            let dtype = if counter { SourceDtype::Integer } else { SourceDtype::F32 };
            tensors.insert(key.clone(), NamedTensor { dtype, array: values(key, shape) });
        }
        Checkpoint { tensors, wrapper: String::new() }
    }
}

fn values(key: &str, shape: &[usize]) -> ArrayD<f32> {
    let mut state = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let fan_in = shape.iter().skip(1).product::<usize>().max(1);
    #[allow(clippy::cast_precision_loss)] // statistics of random numbers
    let scale = 1.0 / (fan_in as f32).sqrt();
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        #[allow(clippy::cast_precision_loss)] // 24 random bits
        let uniform = (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0;
        match shape.len() {
            0 => 1.0,
            1 if key.ends_with("running_var") => 1.0 + 0.5 * uniform,
            1 if key.ends_with("weight") => 1.0 + 0.5 * uniform,
            1 => 0.2 * uniform,
            _ => scale * 1.7 * uniform,
        }
    })
}
