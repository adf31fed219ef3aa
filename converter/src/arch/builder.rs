//! Puts tensors of a checkpoint into a graph, and keeps account of which were used.

use std::collections::HashSet;

use ndarray::{ArrayD, IxDyn};

use super::file::{Act, MaxPool};
use super::modules::is_counter;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::graph::{
    Activation, Conv2d, Graph, Op, Pool, PoolKind, ValueId, Weights, conv_output_size, weights,
};

/// Geometry of a convolution that no checkpoint shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// Step, both directions.
    pub stride: usize,
    /// Padding on every side; half the window when `None`.
    pub padding: Option<usize>,
    /// Groups the arch file expects.
    pub groups: Option<usize>,
}

impl Geometry {
    /// A stride with "same" padding.
    pub fn stride(stride: usize) -> Self {
        Self { stride, padding: None, groups: None }
    }
}

/// A graph in the making.
pub(super) struct Builder<'a> {
    ckpt: &'a Checkpoint,
    prefix: &'a str,
    eps: f32,
    used: HashSet<String>,
    /// The graph so far; node names are module paths.
    pub graph: Graph,
}

impl<'a> Builder<'a> {
    /// An empty graph over `[1, C, H, W]`.
    pub fn new(
        ckpt: &'a Checkpoint,
        prefix: &'a str,
        eps: f32,
        family: &str,
        shape: [usize; 3],
    ) -> Self {
        let [c, h, w] = shape;
        let graph = Graph::new(family, "input", vec![1, c, h, w]);
        Self { ckpt, prefix, eps, used: HashSet::new(), graph }
    }

    /// Whether the checkpoint holds a tensor.
    pub fn has(&self, key: &str) -> bool {
        self.ckpt.tensors.contains_key(&format!("{}{key}", self.prefix))
    }

    /// A tensor, marked as used.
    fn take(&mut self, key: &str) -> Option<&'a ArrayD<f32>> {
        let key = format!("{}{key}", self.prefix);
        let array = self.ckpt.get(&key)?;
        let statistic = key.ends_with("running_mean") || key.ends_with("running_var");
        if self.used.insert(key) && !statistic {
            self.graph.parameters += array.len();
        }
        Some(array)
    }

    fn need(&mut self, key: &str) -> Result<&'a ArrayD<f32>> {
        let full = format!("{}{key}", self.prefix);
        self.take(key).ok_or_else(|| {
            Error::source(
                full,
                "the checkpoint has no such tensor, but the architecture asks for it",
            )
        })
    }

    /// A vector of `c` values.
    fn vector(&mut self, key: &str, c: usize) -> Result<Weights> {
        let array = self.need(key)?;
        if array.shape() != [c] {
            let found = array.shape();
            return Err(Error::source(key, format!("expected shape [{c}], found {found:?}")));
        }
        Ok(weights(array.clone()))
    }

    fn channels(&self, x: ValueId) -> usize {
        self.graph.shape(x).get(1).copied().unwrap_or(0)
    }

    /// Convolution; groups follow from the weight and the incoming channels. A weight of rank 2 counts as 1x1.
    pub fn conv(&mut self, path: &str, x: ValueId, geometry: Geometry) -> Result<ValueId> {
        let key = format!("{path}.weight");
        let array = self.need(&key)?;
        let incoming = self.channels(x);
        let (o, per_group, kh, kw) = match *array.shape() {
            [o, i, kh, kw] if o * i * kh * kw > 0 => (o, i, kh, kw),
            [o, i] if o * i > 0 => (o, i, 1, 1),
            ref other => {
                return Err(Error::source(
                    key,
                    format!(
                        "expected a convolution weight [C_out, C_in/groups, kh, kw], found shape {other:?}"
                    ),
                ));
            }
        };
        let groups = incoming / per_group;
        let fits = incoming.is_multiple_of(per_group) && groups > 0 && o.is_multiple_of(groups);
        if let Some(wanted) = geometry.groups
            && (!fits || wanted != groups)
        {
            return Err(Error::source(
                key,
                format!(
                    "has shape {:?}; {wanted} groups over {incoming} incoming channels need \
                     [C_out divisible by {wanted}, {}, {kh}, {kw}]{}",
                    array.shape(),
                    if incoming.is_multiple_of(wanted.max(1)) {
                        (incoming / wanted.max(1)).to_string()
                    } else {
                        format!("{incoming}/{wanted}")
                    },
                    if incoming.is_multiple_of(wanted.max(1)) {
                        String::new()
                    } else {
                        format!(": {wanted} groups cannot divide {incoming} channels")
                    },
                ),
            ));
        }
        if !fits {
            return Err(Error::source(
                key,
                format!(
                    "has shape {:?}, which does not fit {incoming} incoming channels: expected \
                     [C_out, {incoming}/groups, kh, kw] with groups dividing both channel counts",
                    array.shape()
                ),
            ));
        }
        let weight = match array.ndim() {
            2 => {
                let flat: Vec<f32> = array.iter().copied().collect();
                ArrayD::from_shape_vec(IxDyn(&[o, per_group, 1, 1]), flat)
                    .map_err(|e| Error::source(&key, e.to_string()))?
            }
            _ => array.clone(),
        };
        let bias_key = format!("{path}.bias");
        let bias = if self.has(&bias_key) { Some(self.vector(&bias_key, o)?) } else { None };
        let (ph, pw) = (geometry.padding.unwrap_or(kh / 2), geometry.padding.unwrap_or(kw / 2));
        self.graph.push(
            path,
            Op::Conv2d(Conv2d {
                weight: weights(weight),
                bias,
                stride: [geometry.stride; 2],
                padding: [ph, pw, ph, pw],
                dilation: [1, 1],
                groups,
            }),
            &[x],
        )
    }

    /// Batch norm over axis 1 (of a map or of a vector).
    pub fn batch_norm(&mut self, path: &str, x: ValueId) -> Result<ValueId> {
        let op = self.batch_norm_op(path, self.channels(x))?;
        self.graph.push(path, op, &[x])
    }

    /// The same with an epsilon of its own.
    pub fn batch_norm_with(&mut self, path: &str, x: ValueId, eps: f32) -> Result<ValueId> {
        self.eps = eps;
        self.batch_norm(path, x)
    }

    /// A parameter that no node reads, counted and marked as used.
    pub fn know(&mut self, key: &str) -> Option<&'a ArrayD<f32>> {
        self.take(key)
    }

    /// A buffer that no node reads: marked as used, no parameter.
    pub fn ignore(&mut self, key: &str) -> Option<&'a ArrayD<f32>> {
        let parameters = self.graph.parameters;
        let found = self.take(key);
        self.graph.parameters = parameters;
        found
    }

    fn batch_norm_op(&mut self, path: &str, c: usize) -> Result<Op> {
        let affine = |b: &mut Self, leaf: &str, default: f32| {
            let key = format!("{path}.{leaf}");
            // affine=False keeps only the statistics
            if b.has(&key) {
                b.vector(&key, c)
            } else {
                Ok(weights(ArrayD::from_elem(IxDyn(&[c]), default)))
            }
        };
        let (gamma, beta) = (affine(self, "weight", 1.0)?, affine(self, "bias", 0.0)?);
        let mean = self.vector(&format!("{path}.running_mean"), c)?;
        let var = self.vector(&format!("{path}.running_var"), c)?;
        Ok(Op::BatchNorm { gamma, beta, mean, var, eps: self.eps })
    }

    /// Marks a batch norm as known although nothing reads it (a tap that is not asked for).
    pub fn know_batch_norm(&mut self, path: &str, c: usize) -> Result<()> {
        self.batch_norm_op(path, c).map(drop)
    }

    /// Activation named `{owner}.act`.
    pub fn activation(&mut self, owner: &str, act: Act, x: ValueId) -> Result<ValueId> {
        let op = match act {
            Act::None => return Ok(x),
            Act::Relu => Activation::Relu,
            Act::Relu6 => Activation::Clip { min: 0.0, max: 6.0 },
            Act::Silu => Activation::Silu,
            Act::HardSwish => Activation::HardSwish,
            Act::Sigmoid => Activation::Sigmoid,
            Act::HardSigmoid => Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
        };
        self.graph.push(format!("{owner}.act"), Op::Activation(op), &[x])
    }

    /// PReLU with one slope, or one per channel.
    pub fn prelu(&mut self, path: &str, x: ValueId) -> Result<ValueId> {
        let key = format!("{path}.weight");
        let array = self.need(&key)?;
        let c = self.channels(x);
        if array.shape() != [c] && array.shape() != [1] {
            let found = array.shape();
            return Err(Error::source(
                key,
                format!("expected {c} slopes or one, found shape {found:?}"),
            ));
        }
        self.graph.push(path, Op::PRelu { slope: weights(array.clone()) }, &[x])
    }

    /// Linear layer.
    pub fn linear(&mut self, path: &str, x: ValueId) -> Result<ValueId> {
        let key = format!("{path}.weight");
        let array = self.need(&key)?;
        let inner = self.graph.shape(x).last().copied().unwrap_or(0);
        let &[out, found] = array.shape() else {
            let found = array.shape();
            return Err(Error::source(
                key,
                format!("expected a linear weight [out, {inner}], found shape {found:?}"),
            ));
        };
        if found != inner {
            return Err(Error::source(
                key,
                format!("expected shape [out, {inner}] for what comes in, found [{out}, {found}]"),
            ));
        }
        let bias_key = format!("{path}.bias");
        let bias = if self.has(&bias_key) { Some(self.vector(&bias_key, out)?) } else { None };
        self.graph.push(path, Op::Linear { weight: weights(array.clone()), bias }, &[x])
    }

    /// Max-pooling named `{owner}.max_pool`.
    pub fn max_pool(&mut self, owner: &str, pool: MaxPool, x: ValueId) -> Result<ValueId> {
        let [.., h, w] = *self.graph.shape(x) else {
            return Err(Error::graph(owner, "max-pooling of something that is no map"));
        };
        for size in [h, w] {
            if conv_output_size(size, [pool.padding; 2], pool.window, pool.stride, 1, false)
                .is_none()
            {
                let detail = format!("a {0}x{0} max-pool does not fit a {h}x{w} map", pool.window);
                return Err(Error::graph(format!("{owner}.max_pool"), detail));
            }
        }
        let op = Op::Pool(Pool {
            kind: PoolKind::Max,
            window: [pool.window; 2],
            stride: [pool.stride; 2],
            padding: [pool.padding; 4],
            dilation: [1, 1],
            ceil_mode: false,
        });
        self.graph.push(format!("{owner}.max_pool"), op, &[x])
    }

    /// The graph, if every tensor of the checkpoint has its place in it; else an error with this advice.
    pub fn finish(self, advice: &str) -> Result<Graph> {
        let unused: Vec<&str> = self
            .ckpt
            .tensors
            .keys()
            .map(String::as_str)
            .filter(|k| !is_counter(k) && !self.used.contains(*k))
            .collect();
        let Some(first) = unused.first() else { return Ok(self.graph) };
        let shown = unused.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        Err(Error::source(
            *first,
            format!(
                "{} of {} tensors have no place in the '{}' network: {shown}{}{advice}",
                unused.len(),
                self.ckpt.tensors.keys().filter(|k| !is_counter(k)).count(),
                self.graph.family,
                if unused.len() > 5 { ", ..." } else { "" },
            ),
        ))
    }
}
