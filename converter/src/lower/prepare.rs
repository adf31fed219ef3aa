//! The float graph as the matcher wants to see it: constants inside operators, reshapes as aliases, slices and pads as
//! strided copies, linear layers as convolutions, and nothing that no output needs.

use std::sync::Arc;

use super::contract::Outputs;
use super::shape::{self, Copy, Window};
use crate::error::{Error, Result};
use crate::graph::{Activation, Graph, Node, Op, PoolKind, ValueId};

/// A convolution in float, weights `[O, I/g, H_w, W_w]`.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    /// The value it makes in the float graph; `None` for one that is made up.
    pub source: Option<ValueId>,
    pub weight: Arc<Vec<f32>>,
    /// O, I/g, H_w, W_w.
    pub shape: [usize; 4],
    pub bias: Vec<f32>,
    pub window: Window,
    pub groups: usize,
}

/// What a node computes.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Conv(Conv),
    Affine { scale: Vec<f32>, shift: Vec<f32> },
    Activation(Activation),
    PRelu(Vec<f32>),
    Add,
    Mul,
    Concat,
    Copy(Copy),
    MaxPool(Window),
    AvgPool { window: Window, count_padding: bool },
    Resize,
}

/// One node; operands and result are alias roots.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub name: String,
    pub kind: Kind,
    pub inputs: Vec<ValueId>,
    pub output: ValueId,
}

/// A network ready for matching.
#[derive(Debug)]
pub(crate) struct Network<'g> {
    pub graph: &'g Graph,
    pub nodes: Vec<Prepared>,
    pub outputs: Vec<(String, ValueId)>,
    /// Outputs that are i16 where something can write them so.
    pub fine: Vec<ValueId>,
    consumers: Vec<Vec<usize>>,
}

impl Network<'_> {
    /// Nodes that read a value, each once.
    pub fn consumers(&self, value: ValueId) -> &[usize] {
        &self.consumers[value.0]
    }

    /// The one reader of a value that is no output.
    pub fn only_consumer(&self, value: ValueId) -> Option<usize> {
        match self.consumers(value) {
            &[one] if !self.is_output(value) => Some(one),
            _ => None,
        }
    }

    /// Whether a value is a result of the model.
    pub fn is_output(&self, value: ValueId) -> bool {
        self.outputs.iter().any(|o| o.1 == value)
    }

    /// Channels, height, width of a value.
    pub fn map(&self, value: ValueId) -> [usize; 3] {
        shape::map(self.graph.shape(value)).expect("checked when the network was prepared")
    }

    pub(super) fn index(&mut self) {
        self.consumers = vec![Vec::new(); self.graph.values().len()];
        for (i, node) in self.nodes.iter().enumerate() {
            for v in &node.inputs {
                if self.consumers[v.0].last() != Some(&i) {
                    self.consumers[v.0].push(i);
                }
            }
        }
    }
}

/// Prepares the part of a graph that the outputs need. `decoded` are the outputs from which boxes are made: in 256 steps
/// scores tie and corners jump.
///
/// # Errors
/// [`Error::Graph`] with the name of a node that has no integer form.
pub(crate) fn prepare<'g>(
    graph: &'g Graph,
    outputs: &Outputs,
    decoded: &[&str],
) -> Result<Network<'g>> {
    let needed = needed(graph, outputs);
    let mut alias: Vec<ValueId> = (0..graph.values().len()).map(ValueId).collect();
    let mut nodes = Vec::new();
    for node in graph.nodes().iter().filter(|n| needed[n.output.0]) {
        if matches!(node.op, Op::Constant(_)) {
            continue;
        }
        match kind(graph, node, &alias)? {
            None => alias[node.output.0] = alias[node.inputs[0].0],
            Some((kind, operands)) => {
                let inputs: Vec<ValueId> = operands.iter().map(|v| alias[v.0]).collect();
                if !matches!(node.op, Op::Linear { .. }) {
                    for (&v, &root) in operands.iter().zip(&inputs) {
                        same_map(graph, node, v, root)?;
                    }
                }
                if shape::map(graph.shape(node.output)).is_none() {
                    let shape = graph.shape(node.output);
                    return Err(Error::graph(
                        &node.name,
                        format!("its result {shape:?} is no [1, C, H, W] map"),
                    ));
                }
                nodes.push(Prepared { name: node.name.clone(), kind, inputs, output: node.output });
            }
        }
    }
    let fine = outputs.named.iter().filter(|(name, v)| {
        // Class scores are the outputs of one pixel.
        let pixels = shape::map(graph.shape(alias[v.0])).map_or(0, |[_, h, w]| h * w);
        pixels == 1 || decoded.contains(&name.as_str())
    });
    let fine = fine.map(|(_, v)| alias[v.0]).collect();
    let outputs = outputs.named.iter().map(|(n, v)| (n.clone(), alias[v.0])).collect();
    let mut network = Network { graph, nodes, outputs, fine, consumers: Vec::new() };
    network.index();
    join_copies(&mut network);
    super::pools::join(&mut network);
    Ok(network)
}

fn needed(graph: &Graph, outputs: &Outputs) -> Vec<bool> {
    let mut needed = vec![false; graph.values().len()];
    outputs.named.iter().for_each(|(_, v)| needed[v.0] = true);
    for node in graph.nodes().iter().rev() {
        if needed[node.output.0] {
            node.inputs.iter().for_each(|v| needed[v.0] = true);
        }
    }
    needed
}

/// Refuses a reader of a value that is a reshaped map: in memory it is still the map, channels last.
fn same_map(graph: &Graph, node: &Node, value: ValueId, root: ValueId) -> Result<()> {
    let (seen, stored) = (graph.shape(value), graph.shape(root));
    if shape::map(seen).is_none() || shape::map(seen) != shape::map(stored) {
        return Err(Error::graph(
            &node.name,
            format!(
                "reads {stored:?} reshaped to {seen:?}; only a linear layer can read a flattened map"
            ),
        ));
    }
    Ok(())
}

/// What a node computes on which operands; `None` for an alias of its first operand.
fn kind(graph: &Graph, node: &Node, alias: &[ValueId]) -> Result<Option<(Kind, Vec<ValueId>)>> {
    let refuse = |detail: String| Err(Error::graph(&node.name, detail));
    let all = || node.inputs.clone();
    let channels = || graph.shape(node.output).get(1).copied().unwrap_or(1);
    let kind = match &node.op {
        Op::Conv2d(c) => {
            let &[o, i, h, w] = c.weight.shape() else {
                return refuse("weight is not of rank 4".into());
            };
            Kind::Conv(Conv {
                source: Some(node.output),
                weight: Arc::new(c.weight.iter().copied().collect()),
                shape: [o, i, h, w],
                bias: c.bias.as_ref().map_or(vec![0.0; o], |b| b.iter().copied().collect()),
                window: Window {
                    size: [h, w],
                    stride: c.stride,
                    padding: c.padding,
                    dilation: c.dilation,
                },
                groups: c.groups,
            })
        }
        Op::Linear { weight, bias } => {
            let root = graph.shape(alias[node.inputs[0].0]);
            let Some([c, h, w]) =
                shape::map(root).filter(|_| graph.shape(node.inputs[0]).len() == 2)
            else {
                let shape = graph.shape(node.inputs[0]);
                return refuse(format!(
                    "linear layer over an operand of shape {shape:?}; expected [1, C]"
                ));
            };
            let out = weight.shape()[0];
            Kind::Conv(Conv {
                source: Some(node.output),
                weight: Arc::new(weight.iter().copied().collect()),
                shape: [out, c, h, w],
                bias: bias.as_ref().map_or(vec![0.0; out], |b| b.iter().copied().collect()),
                window: Window { size: [h, w], stride: [1, 1], padding: [0; 4], dilation: [1, 1] },
                groups: 1,
            })
        }
        Op::BatchNorm { gamma, beta, mean, var, eps } => {
            let scale: Vec<f32> =
                gamma.iter().zip(var.iter()).map(|(g, v)| g / (v + eps).sqrt()).collect();
            let shift =
                beta.iter().zip(mean.iter()).zip(&scale).map(|((b, m), s)| b - m * s).collect();
            Kind::Affine { scale, shift }
        }
        Op::Affine { scale, shift } => Kind::Affine {
            scale: scale.iter().copied().collect(),
            shift: shift.iter().copied().collect(),
        },
        Op::Activation(a) => Kind::Activation(a.clone()),
        Op::PRelu { slope } => {
            let slope: Vec<f32> = slope.iter().copied().collect();
            Kind::PRelu(if slope.len() == 1 { vec![slope[0]; channels()] } else { slope })
        }
        Op::Add | Op::Mul | Op::Sub | Op::Div => return binary(graph, node),
        Op::Concat { axis: 1 } => Kind::Concat,
        Op::Concat { axis } => {
            return refuse(format!("concatenation along axis {axis}; expected 1, the channels"));
        }
        Op::Slice { .. } | Op::Pad { .. } => {
            let copy = shape::copy(&node.op, graph.shape(node.inputs[0]))
                .map_err(|d| Error::graph(&node.name, d))?;
            Kind::Copy(copy)
        }
        Op::Pool(p) => {
            let input = graph.shape(node.inputs[0]);
            let window = shape::pool_window(p, input, graph.shape(node.output));
            match p.kind {
                PoolKind::Max => Kind::MaxPool(window),
                PoolKind::Average { count_include_pad } => {
                    let padded = p.padding != [0; 4];
                    if count_include_pad && padded && window.padding != p.padding {
                        return refuse(
                            "average pooling that counts padding cannot also round its size up"
                                .into(),
                        );
                    }
                    Kind::AvgPool { window, count_padding: count_include_pad && padded }
                }
            }
        }
        Op::GlobalAvgPool | Op::GlobalMaxPool => {
            let Some([_, h, w]) = shape::map(graph.shape(node.inputs[0])) else {
                return refuse("global pooling of something that is no map".into());
            };
            let window = Window { size: [h, w], stride: [1, 1], padding: [0; 4], dilation: [1, 1] };
            match node.op {
                Op::GlobalMaxPool => Kind::MaxPool(window),
                _ => Kind::AvgPool { window, count_padding: false },
            }
        }
        Op::Resize(_) => Kind::Resize,
        Op::Flatten | Op::Reshape { .. } | Op::Dropout | Op::Identity => return Ok(None),
        Op::Transpose { .. } | Op::Softmax { .. } => {
            return refuse(format!(
                "{} has no integer form inside a network, only behind its outputs",
                node.op.name()
            ));
        }
        Op::Constant(_) => return refuse("a constant is no map".into()),
    };
    Ok(Some((kind, all())))
}

/// Elementwise operators: of two maps, or of a map and a constant (then per-channel affine).
fn binary(graph: &Graph, node: &Node) -> Result<Option<(Kind, Vec<ValueId>)>> {
    let constant = |v: ValueId| {
        graph.producer(v).and_then(|p| match &graph.nodes()[p].op {
            Op::Constant(w) => Some(w.iter().copied().collect::<Vec<f32>>()),
            _ => None,
        })
    };
    let [a, b] = [node.inputs[0], node.inputs[1]];
    let channels = graph.shape(node.output).get(1).copied().unwrap_or(1);
    if let Some((map, values, swapped)) =
        constant(b).map(|c| (a, c, false)).or_else(|| constant(a).map(|c| (b, c, true)))
    {
        let values = match values.len() {
            1 => vec![values[0]; channels],
            n if n == channels => values,
            n => {
                let detail = format!(
                    "constant operand with {n} values; expected 1 or {channels}, one per channel"
                );
                return Err(Error::graph(&node.name, detail));
            }
        };
        let (ones, zeros) = (vec![1.0; channels], vec![0.0; channels]);
        let (scale, shift) = match (&node.op, swapped) {
            (Op::Add, _) => (ones, values),
            (Op::Mul, _) => (values, zeros),
            (Op::Sub, false) => (ones, values.iter().map(|v| -v).collect()),
            (Op::Sub, true) => (vec![-1.0; channels], values),
            (Op::Div, false) => (values.iter().map(|v| 1.0 / v).collect(), zeros),
            _ => return Err(Error::graph(&node.name, "division by a map has no integer form")),
        };
        return Ok(Some((Kind::Affine { scale, shift }, vec![map])));
    }
    let (sa, sb) = (graph.shape(a), graph.shape(b));
    match node.op {
        Op::Add if sa == sb => Ok(Some((Kind::Add, vec![a, b]))),
        Op::Add => {
            Err(Error::graph(&node.name, format!("adds {sa:?} and {sb:?}; expected equal shapes")))
        }
        Op::Mul => Ok(Some((Kind::Mul, vec![a, b]))),
        _ => Err(Error::graph(
            &node.name,
            format!("{} of two maps has no integer form", node.op.name()),
        )),
    }
}

/// Joins chains of strided copies (slice rows, slice columns, pad channels) where one copy does the same.
fn join_copies(network: &mut Network<'_>) {
    let mut i = 0;
    while i < network.nodes.len() {
        let node = &network.nodes[i];
        let next = match (&node.kind, network.only_consumer(node.output)) {
            (Kind::Copy(first), Some(next)) => match &network.nodes[next].kind {
                Kind::Copy(second) => {
                    let source = network.map(node.inputs[0]);
                    let target = network.map(network.nodes[next].output);
                    shape::join(first, second, source, network.map(node.output), target)
                        .map(|c| (next, c))
                }
                _ => None,
            },
            _ => None,
        };
        if let Some((next, joined)) = next {
            let inputs = network.nodes[i].inputs.clone();
            network.nodes[next].kind = Kind::Copy(joined);
            network.nodes[next].inputs = inputs;
            network.nodes.remove(i);
            network.index();
        } else {
            i += 1;
        }
    }
}
