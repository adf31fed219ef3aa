//! From an element of a result back to the raw maps: what is computed, as a polynomial.

use std::rc::Rc;

use super::maps::Maps;
use super::poly::{Atom, Leaf, Poly};
use crate::error::{Error, Result};
use crate::graph::{Activation, Graph, Node, Op, PoolKind, ValueId};

/// Follows single elements backwards through the decode.
pub(super) struct Tracer<'a> {
    graph: &'a Graph,
    maps: &'a Maps,
    /// Steps that may still be taken, so that a small file cannot ask for unbounded work.
    steps: usize,
}

/// Enough for every element that recognition looks at in the largest heads (some 100,000 candidates).
const MAX_STEPS: usize = 1 << 26;
/// A decode is some 30 operators deep.
const MAX_DEPTH: usize = 256;

impl<'a> Tracer<'a> {
    /// A tracer over a graph whose raw maps are known.
    pub(super) fn new(graph: &'a Graph, maps: &'a Maps) -> Self {
        Self { graph, maps, steps: MAX_STEPS }
    }

    /// What element `flat` (row-major) of a value is.
    ///
    /// # Errors
    /// The node that stands in the way, with what was expected.
    pub(super) fn element(&mut self, value: ValueId, flat: usize) -> Result<Poly> {
        self.trace(value, flat, 0)
    }

    fn trace(&mut self, value: ValueId, flat: usize, depth: usize) -> Result<Poly> {
        let shape = self.graph.shape(value);
        if self.maps.is_map(value) {
            let at = position(shape, flat);
            let leaf = Leaf { map: value, channel: at[1], row: at[2], column: at[3] };
            return Ok(Poly::atom(Atom::Raw(leaf)));
        }
        let Some(node) = self.graph.producer_node(value) else {
            return Err(Error::source(
                &self.graph.value(value).name,
                "reaches the decode as it is; expected a head behind convolutions",
            ));
        };
        self.steps = match self.steps.checked_sub(1) {
            Some(left) if depth < MAX_DEPTH => left,
            _ => {
                return Err(Error::graph(
                    &node.name,
                    "is reached by more paths than a decode has; expected boxes and scores of single cells",
                ));
            }
        };
        self.through(node, flat, depth + 1)
    }

    /// The operand's element, for an operator that only moves elements.
    fn through(&mut self, node: &Node, flat: usize, depth: usize) -> Result<Poly> {
        let graph = self.graph;
        let refuse = |detail: String| Error::graph(&node.name, detail);
        let from = |i: usize| graph.shape(node.inputs[i]);
        let out = graph.shape(node.output);
        match &node.op {
            Op::Constant(data) => {
                let value = data.as_slice().map_or_else(
                    || data.iter().nth(flat).copied(),
                    |values| values.get(flat).copied(),
                );
                Ok(Poly::constant(f64::from(value.unwrap_or(f32::NAN))))
            }
            Op::Identity | Op::Dropout | Op::Reshape { .. } | Op::Flatten => {
                self.trace(node.inputs[0], flat, depth)
            }
            Op::Transpose { perm } => {
                let at = position(out, flat);
                let mut source = vec![0; perm.len()];
                perm.iter().zip(at).for_each(|(&axis, i)| source[axis] = i);
                self.trace(node.inputs[0], index(from(0), &source), depth)
            }
            Op::Slice { axis, start, step, .. } => {
                let mut at = position(out, flat);
                at[*axis] = start + at[*axis] * step;
                self.trace(node.inputs[0], index(from(0), &at), depth)
            }
            Op::Concat { axis } => {
                let mut at = position(out, flat);
                for &part in &node.inputs {
                    let shape = graph.shape(part);
                    if at[*axis] < shape[*axis] {
                        return self.trace(part, index(shape, &at), depth);
                    }
                    at[*axis] -= shape[*axis];
                }
                Err(refuse("joins fewer elements than it gives".into()))
            }
            Op::Affine { scale, shift } => {
                let channel = position(out, flat)[1];
                let at = |w: &ndarray::ArrayD<f32>| {
                    f64::from(w.iter().nth(channel).copied().unwrap_or(f32::NAN))
                };
                let (scale, shift) = (at(scale), at(shift));
                let x = self.trace(node.inputs[0], flat, depth)?.times(scale);
                x.plus(&Poly::constant(shift), 1.0).map_err(refuse)
            }
            Op::Add | Op::Sub | Op::Mul | Op::Div => {
                let operand = |i: usize| stretched(out, flat, from(i));
                let a = self.trace(node.inputs[0], operand(0), depth)?;
                let b = self.trace(node.inputs[1], operand(1), depth)?;
                match node.op {
                    Op::Add => a.plus(&b, 1.0),
                    Op::Sub => a.plus(&b, -1.0),
                    Op::Mul => a.product(&b),
                    _ => match b.number() {
                        Some(v) if v != 0.0 => Ok(a.times(v.recip())),
                        _ => Err("divides by an activation; expected a constant".into()),
                    },
                }
                .map_err(refuse)
            }
            Op::Activation(Activation::Sigmoid) => {
                let leaf = self.raw(node, flat, depth)?;
                Ok(Poly::atom(Atom::Sigmoid(leaf)))
            }
            Op::Activation(Activation::Exp) => {
                let leaf = self.raw(node, flat, depth)?;
                Ok(Poly::atom(Atom::Exp(leaf)))
            }
            Op::Softmax { axis } => {
                let mut at = position(out, flat);
                let index_in_group = at[*axis];
                let mut group = Vec::with_capacity(out[*axis]);
                for i in 0..out[*axis] {
                    at[*axis] = i;
                    group.push(self.raw(node, index(out, &at), depth)?);
                }
                Ok(Poly::atom(Atom::Share { group: Rc::from(group), index: index_in_group }))
            }
            Op::Linear { weight, bias } => {
                let (outputs, inner) = (weight.shape()[0], weight.shape()[1]);
                let (row, o) = (flat / outputs, flat % outputs);
                let terms = (0..inner).map(|i| (weight[[o, i].as_slice()], row * inner + i));
                self.sum(node, terms, bias.as_ref().map_or(0.0, |b| b[[o].as_slice()]), depth)
            }
            Op::Conv2d(c) if super::maps::is_pointwise(c) => {
                let at = position(out, flat);
                let shape = from(0);
                let terms = (0..shape[1]).map(|i| {
                    (c.weight[[at[1], i, 0, 0].as_slice()], index(shape, &[0, i, at[2], at[3]]))
                });
                let bias = c.bias.as_ref().map_or(0.0, |b| b[[at[1]].as_slice()]);
                self.sum(node, terms, bias, depth)
            }
            Op::Pool(p) if matches!(p.kind, PoolKind::Average { .. }) && p.padding == [0; 4] => {
                let at = position(out, flat);
                let shape = from(0);
                let [wh, ww] = p.window;
                if (at[2] * p.stride[0] + wh > shape[2]) || (at[3] * p.stride[1] + ww > shape[3]) {
                    return Err(refuse("pools beyond the edge in a decode".into()));
                }
                let share = 1.0 / (wh * ww) as f32;
                let terms = (0..wh * ww).map(|i| {
                    let (y, x) = (at[2] * p.stride[0] + i / ww, at[3] * p.stride[1] + i % ww);
                    (share, index(shape, &[0, at[1], y, x]))
                });
                self.sum(node, terms, 0.0, depth)
            }
            other => Err(refuse(format!(
                "is {} in a decode; expected slices, sums, products, sigmoid, exp or softmax",
                other.name()
            ))),
        }
    }

    /// A weighted sum of elements of the first operand.
    fn sum(
        &mut self,
        node: &Node,
        terms: impl Iterator<Item = (f32, usize)>,
        bias: f32,
        depth: usize,
    ) -> Result<Poly> {
        let mut sum = Poly::constant(f64::from(bias));
        for (weight, flat) in terms.filter(|(w, _)| *w != 0.0) {
            let x = self.trace(node.inputs[0], flat, depth)?;
            sum = sum.plus(&x, f64::from(weight)).map_err(|e| Error::graph(&node.name, e))?;
        }
        Ok(sum)
    }

    /// The raw element that a nonlinear operator reads.
    fn raw(&mut self, node: &Node, flat: usize, depth: usize) -> Result<Leaf> {
        self.trace(node.inputs[0], flat, depth)?.raw().ok_or_else(|| {
            Error::graph(
                &node.name,
                format!(
                    "is {} of something computed; expected {0} of a raw output of the head",
                    node.op.name()
                ),
            )
        })
    }
}

/// Indices along the axes of a row-major position.
pub(super) fn position(shape: &[usize], mut flat: usize) -> Vec<usize> {
    let mut at = vec![0; shape.len()];
    for (i, &size) in shape.iter().enumerate().rev() {
        at[i] = flat % size;
        flat /= size;
    }
    at
}

/// The row-major position of indices along the axes.
pub(super) fn index(shape: &[usize], at: &[usize]) -> usize {
    shape.iter().zip(at).fold(0, |flat, (&size, &i)| flat * size + i)
}

/// The position in an operand that is stretched to the result's shape.
fn stretched(out: &[usize], flat: usize, operand: &[usize]) -> usize {
    if operand == out {
        return flat;
    }
    let at = position(out, flat);
    let pad = out.len().saturating_sub(operand.len());
    operand.iter().enumerate().fold(0, |flat, (axis, &size)| {
        let i = at.get(axis + pad).copied().unwrap_or(0);
        flat * size + if size == 1 { 0 } else { i }
    })
}
