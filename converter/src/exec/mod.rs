//! The float executor: the reference that importers are proven with, ranges are measured with and int8 is
//! compared with.
//!
//! One image runs single-threaded through the graph; a batch runs its images in parallel. Values are freed after
//! their last reader, elementwise operators reuse a dying operand's memory. One file per operator family; the naive
//! counterparts are in the `tests` crate (`reference.rs`).

mod conv;
mod elementwise;
mod im2col;
mod linear;
mod pool;
mod shape;
mod softmax;
#[cfg(test)]
mod tests;

use ndarray::{ArrayD, ArrayViewD, Axis, CowArray, IxDyn};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::graph::{Graph, Op, PoolKind, ValueId, Weights};

/// An operand: owned when this is its last use, so that its memory can become the result.
type Operand<'a> = CowArray<'a, f32, IxDyn>;

/// Runs every image of `input` `[N, C, H, W]`, in parallel, and stacks the results; outputs in graph order.
///
/// # Errors
/// As [`Executor::new`] and [`Executor::run`].
pub fn run(graph: &Graph, input: &ArrayD<f32>) -> Result<Vec<ArrayD<f32>>> {
    Executor::new(graph)?.run(input)
}

/// A graph prepared for running many images; shared freely between threads.
#[derive(Clone, Debug)]
pub struct Executor {
    /// The graph with every weight in row-major order.
    graph: Graph,
    /// For each node, which operands die with it.
    dying: Vec<Vec<bool>>,
    /// For each node, the values that nobody reads behind it, its own result included.
    freed: Vec<Vec<ValueId>>,
}

impl Executor {
    /// Prepares a graph: lifetimes of values, weights in row-major order.
    ///
    /// # Errors
    /// [`Error::Graph`] when the graph has no output.
    pub fn new(graph: &Graph) -> Result<Self> {
        if graph.outputs.is_empty() {
            return Err(Error::Input("the graph has no output to compute".into()));
        }
        let mut graph = graph.clone();
        for node in graph.nodes_mut() {
            node.op.for_each_weight_mut(make_row_major);
        }
        let mut last_use = vec![None; graph.values().len()];
        for (i, node) in graph.nodes().iter().enumerate() {
            for v in &node.inputs {
                last_use[v.0] = Some(i);
            }
        }
        let dies = |i: usize, inputs: &[ValueId], at: usize| {
            let v = inputs[at];
            last_use[v.0] == Some(i)
                && !graph.is_output(v)
                && inputs.iter().filter(|&&i| i == v).count() == 1
        };
        let dying = graph
            .nodes()
            .iter()
            .enumerate()
            .map(|(i, n)| (0..n.inputs.len()).map(|at| dies(i, &n.inputs, at)).collect())
            .collect();
        let mut freed = vec![Vec::new(); graph.nodes().len()];
        for (i, node) in graph.nodes().iter().enumerate() {
            if !graph.is_output(node.output) {
                freed[last_use[node.output.0].unwrap_or(i)].push(node.output);
            }
        }
        Ok(Self { graph, dying, freed })
    }

    /// The graph that runs.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Runs every image of `input` `[N, C, H, W]`, in parallel, and stacks the results; outputs in graph order.
    ///
    /// # Errors
    /// [`Error::Input`] when the input's shape is not the graph's (any N >= 1).
    pub fn run(&self, input: &ArrayD<f32>) -> Result<Vec<ArrayD<f32>>> {
        if input.ndim() == 0 || input.len_of(Axis(0)) == 0 {
            return Err(Error::Input(format!("no image in an input of shape {:?}", input.shape())));
        }
        let images: Vec<ArrayViewD<'_, f32>> = input.axis_chunks_iter(Axis(0), 1).collect();
        let results = images
            .into_par_iter()
            .map(|image| self.run_one(image, &mut |_, _| {}))
            .collect::<Result<Vec<_>>>()?;
        (0..self.graph.outputs.len())
            .map(|o| {
                let parts: Vec<_> = results.iter().map(|r| r[o].view()).collect();
                ndarray::concatenate(Axis(0), &parts).map_err(|e| {
                    Error::graph(
                        &self.graph.outputs[o].name,
                        format!("images cannot be stacked: {e}"),
                    )
                })
            })
            .collect()
    }

    /// Runs one image `[1, C, H, W]`; `observer` sees every value, the input included, as soon as it exists.
    ///
    /// # Errors
    /// [`Error::Input`] when the image's shape is not the graph's.
    pub fn run_one(
        &self,
        image: ArrayViewD<'_, f32>,
        observer: &mut dyn FnMut(ValueId, &ArrayD<f32>),
    ) -> Result<Vec<ArrayD<f32>>> {
        let graph = &self.graph;
        if image.shape() != graph.shape(graph.input) {
            return Err(Error::Input(format!(
                "the network takes an image of shape {:?}, got {:?}",
                graph.shape(graph.input),
                image.shape()
            )));
        }
        let mut values: Vec<Option<ArrayD<f32>>> = vec![None; graph.values().len()];
        let image = image.as_standard_layout().into_owned();
        observer(graph.input, &image);
        values[graph.input.0] = Some(image);
        for ((node, dying), freed) in graph.nodes().iter().zip(&self.dying).zip(&self.freed) {
            let mut owned: Vec<Option<ArrayD<f32>>> = node
                .inputs
                .iter()
                .zip(dying)
                .map(|(v, &dies)| if dies { values[v.0].take() } else { None })
                .collect();
            let operands: Vec<Operand<'_>> = node
                .inputs
                .iter()
                .zip(&mut owned)
                .map(|(v, own)| match own.take() {
                    Some(array) => CowArray::from(array),
                    None => CowArray::from(
                        values[v.0].as_ref().expect("operands live until their last use").view(),
                    ),
                })
                .collect();
            let result = apply(&node.op, operands, graph.shape(node.output));
            debug_assert_eq!(result.shape(), graph.shape(node.output), "{}", node.name);
            observer(node.output, &result);
            values[node.output.0] = Some(result);
            for v in freed {
                values[v.0] = None;
            }
        }
        Ok(graph
            .outputs
            .iter()
            .map(|o| values[o.value.0].clone().expect("outputs stay alive"))
            .collect())
    }
}

pub(crate) fn make_row_major(weight: &mut Weights) {
    if !weight.is_standard_layout() {
        *weight = Weights::new(weight.as_standard_layout().into_owned());
    }
}

/// Computes one operator on row-major operands; `shape` is the result's, as inferred by the graph.
pub(crate) fn apply(op: &Op, operands: Vec<Operand<'_>>, shape: &[usize]) -> ArrayD<f32> {
    if let Op::Constant(w) = op {
        return ArrayD::clone(w);
    }
    if let Op::Concat { axis } = op {
        return shape::concat(&operands, *axis);
    }
    let mut operands = operands.into_iter();
    let x = operands.next().expect("every other operator has an operand");
    let binary = |x, mut rest: std::vec::IntoIter<Operand<'_>>, f: fn(f32, f32) -> f32| {
        elementwise::binary(x, rest.next().expect("binary operators have two operands"), shape, f)
    };
    match op {
        Op::Conv2d(c) => conv::conv2d(c, &x.view(), shape),
        Op::Linear { weight, bias } => linear::linear(weight, bias.as_deref(), &x.view(), shape),
        Op::BatchNorm { gamma, beta, mean, var, eps } => {
            elementwise::batch_norm(x, [gamma, beta, mean, var].map(|w| &**w), *eps)
        }
        Op::Affine { scale, shift } => elementwise::affine(x, scale, shift),
        Op::Activation(a) => elementwise::activation(x, a),
        Op::PRelu { slope } => elementwise::prelu(x, slope),
        Op::Add => binary(x, operands, |a, b| a + b),
        Op::Mul => binary(x, operands, |a, b| a * b),
        Op::Sub => binary(x, operands, |a, b| a - b),
        Op::Div => binary(x, operands, |a, b| a / b),
        Op::Slice { axis, start, end, step } => shape::slice(&x.view(), *axis, *start, *end, *step),
        Op::Pad { pads, value } => shape::pad(&x.view(), pads, *value, shape),
        Op::Pool(p) => match p.kind {
            PoolKind::Max => pool::max(p, &x.view(), shape),
            PoolKind::Average { count_include_pad } => {
                pool::average(p, count_include_pad, &x.view(), shape)
            }
        },
        Op::GlobalAvgPool => pool::global_average(&x.view(), shape),
        Op::GlobalMaxPool => pool::global_max(&x.view(), shape),
        Op::Resize(_) => shape::resize_nearest(&x.view(), shape),
        Op::Flatten | Op::Reshape { .. } => shape::reshape(x, shape),
        Op::Transpose { perm } => shape::transpose(&x.view(), perm),
        Op::Softmax { axis } => softmax::softmax(x, *axis),
        Op::Dropout | Op::Identity => x.into_owned(),
        Op::Concat { .. } | Op::Constant(_) => unreachable!("handled above"),
    }
}
