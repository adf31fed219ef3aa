//! The float graph: the one representation between every importer and the quantiser.
//!
//! A graph is a list of nodes in execution order, each with one output value (static single assignment).
//! Weights live inside the operators. Shapes are `[N, C, H, W]` (or `[N, C]` behind a flatten) with N = 1;
//! they are inferred and checked when a node is added, so a graph that exists is consistent.
//! Importers build graphs, passes (`crate::fold`) rewrite them, `crate::exec` runs them, `crate::quantize`
//! measures them, `crate::lower` turns them into integer operators.

mod infer;
mod op;
mod resized;
mod rewrite;
mod summary;

pub use infer::conv_output_size;
pub use op::{Activation, Conv2d, Op, Pool, PoolKind, Resize, Weights, weights};
pub use rewrite::Rewrite;
pub use summary::{LayerRow, StageRow};

use std::collections::HashMap;

use crate::error::{Error, Result};

/// Index of a [`Value`] in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// A tensor that flows between nodes.
#[derive(Clone, Debug)]
pub struct Value {
    /// Unique within the graph; for a node's output this is the node's name.
    pub name: String,
    /// `[1, C, H, W]`, `[1, C]`, or any rank that Reshape and Transpose make.
    pub shape: Vec<usize>,
}

/// One operator application.
#[derive(Clone, Debug)]
pub struct Node {
    /// Unique within the graph. For a checkpoint: the module path (`stage1.0.conv1`); for ONNX: the node's name.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// Operands, in the order the operator documents.
    pub inputs: Vec<ValueId>,
    /// The result.
    pub output: ValueId,
}

/// A named result of the graph.
#[derive(Clone, Debug)]
pub struct Output {
    /// The name the user knows (`output`, `c3`).
    pub name: String,
    /// The value.
    pub value: ValueId,
}

/// A float network with one image input.
#[derive(Clone, Debug)]
pub struct Graph {
    /// What was recognised, for reports: `wide-resnet`, `resnext`, `onnx`.
    pub family: String,
    values: Vec<Value>,
    nodes: Vec<Node>,
    /// The image input, `[1, C, H, W]`.
    pub input: ValueId,
    /// Results, in the order the source names them.
    pub outputs: Vec<Output>,
    /// Learned parameters of the source (without running statistics and counters), as PyTorch counts them;
    /// 0 where the source does not tell them from constants.
    pub parameters: usize,
    /// Names in use, each with the suffix to try next when it is asked for again.
    names: HashMap<String, usize>,
}

impl Graph {
    /// A graph with nothing but its input, `shape = [1, C, H, W]`.
    pub fn new(
        family: impl Into<String>,
        input_name: impl Into<String>,
        shape: Vec<usize>,
    ) -> Self {
        let name = input_name.into();
        Self {
            family: family.into(),
            names: HashMap::from([(name.clone(), 2)]),
            values: vec![Value { name, shape }],
            nodes: Vec::new(),
            input: ValueId(0),
            outputs: Vec::new(),
            parameters: 0,
        }
    }

    /// Appends a node and returns its output value.
    ///
    /// # Errors
    /// [`Error::Graph`] with the node's name when the operand shapes do not fit the operator; the message
    /// holds the shapes.
    pub fn push(&mut self, name: impl Into<String>, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        let name = self.unique(name.into());
        let shapes: Vec<&[usize]> = inputs.iter().map(|&v| self.shape(v)).collect();
        let shape = infer::infer(&op, &shapes).map_err(|detail| Error::graph(&name, detail))?;
        let output = ValueId(self.values.len());
        self.values.push(Value { name: name.clone(), shape });
        self.nodes.push(Node { name, op, inputs: inputs.to_vec(), output });
        Ok(output)
    }

    /// Names a value as a result of the graph.
    pub fn mark_output(&mut self, name: impl Into<String>, value: ValueId) {
        self.outputs.push(Output { name: name.into(), value });
    }

    /// The name itself, or with the first free `#2`, `#3`, ... behind it.
    fn unique(&mut self, name: String) -> String {
        let Some(next) = self.names.get_mut(&name) else {
            self.names.insert(name.clone(), 2);
            return name;
        };
        let mut suffix = *next;
        let unique = loop {
            let candidate = format!("{name}#{suffix}");
            suffix += 1;
            if !self.names.contains_key(&candidate) {
                break candidate;
            }
        };
        self.names.insert(name, suffix);
        self.names.insert(unique.clone(), 2);
        unique
    }

    /// Nodes in execution order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Nodes, to change an operator in place; the caller keeps the output shape valid.
    pub fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// A value by id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// All values.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// A value's shape, N = 1.
    pub fn shape(&self, id: ValueId) -> &[usize] {
        &self.values[id.0].shape
    }

    /// Index of the node that makes a value; `None` for the input.
    pub fn producer(&self, id: ValueId) -> Option<usize> {
        // Every push makes one node and one value; the input is value 0.
        id.0.checked_sub(1)
    }

    /// Indices of the nodes that read a value (a node that reads it twice is listed once).
    pub fn consumers(&self, id: ValueId) -> Vec<usize> {
        // Readers come behind the producer, which is node `id - 1`.
        (id.0..self.nodes.len()).filter(|&i| self.nodes[i].inputs.contains(&id)).collect()
    }

    /// The node that makes a value; `None` for the input.
    pub fn producer_node(&self, id: ValueId) -> Option<&Node> {
        self.producer(id).map(|i| &self.nodes[i])
    }

    /// For every value, how often it is read: operands of nodes and results of the graph.
    pub fn use_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.values.len()];
        let operands = self.nodes.iter().flat_map(|n| &n.inputs);
        for v in operands.chain(self.outputs.iter().map(|o| &o.value)) {
            counts[v.0] += 1;
        }
        counts
    }

    /// The data of a value that a constant node makes.
    pub fn constant(&self, id: ValueId) -> Option<&Weights> {
        match &self.producer_node(id)?.op {
            Op::Constant(w) => Some(w),
            _ => None,
        }
    }

    /// Whether a value is one of the results.
    pub fn is_output(&self, id: ValueId) -> bool {
        self.outputs.iter().any(|o| o.value == id)
    }

    /// A new graph with the same input, for passes that rebuild: copy nodes with [`Graph::push`] through a map.
    pub fn like(&self) -> Self {
        let input = self.value(self.input);
        let mut g = Self::new(self.family.clone(), input.name.clone(), input.shape.clone());
        g.parameters = self.parameters;
        g
    }

    /// Multiply-accumulates of one inference: convolutions and linear layers.
    pub fn macs(&self) -> u64 {
        self.nodes.iter().map(|n| self.node_macs(n)).sum()
    }

    /// Multiply-accumulates of one node.
    pub fn node_macs(&self, node: &Node) -> u64 {
        match &node.op {
            Op::Conv2d(c) => {
                let per_output: usize = c.weight.shape()[1..].iter().product();
                (per_output * self.shape(node.output).iter().product::<usize>()) as u64
            }
            Op::Linear { weight, .. } => {
                let rows: usize = self.shape(node.output).iter().rev().skip(1).product();
                (rows * weight.len()) as u64
            }
            _ => 0,
        }
    }
}
