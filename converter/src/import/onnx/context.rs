//! What an import in progress knows: bound names, the graph so far, the remaining budget.

use std::collections::{HashMap, HashSet};

use super::constant::Constant;
use super::evaluate::Budget;
use super::node::Node;
use super::proto::TensorProto;
use super::shapes;
use super::sign;
use super::tensor;
use crate::error::{Error, Result};
use crate::graph::{Graph, Op, ValueId, Weights};

/// What a name of the file stands for.
#[derive(Clone, Debug)]
pub(super) enum Binding {
    /// Known at import.
    Constant(Constant),
    /// Made by a node of the graph.
    Value(ValueId),
    /// The integer side of a quantise/dequantise pair around a value or constant.
    Quantized(Box<Binding>),
}

/// The state of an import.
pub(super) struct Context {
    /// The graph so far.
    pub graph: Graph,
    /// What constants may still cost.
    pub budget: Budget,
    /// The batch size the file was exported with, if it fixes one above 1.
    pub file_batch: Option<usize>,
    /// Quantise/dequantise pairs taken off, and those replaced by the clamp they implied.
    pub pairs: (usize, usize),
    bindings: HashMap<String, Binding>,
    initializers: HashMap<String, TensorProto>,
    /// Names of results that a live node or the graph reads.
    used: HashSet<String>,
    names: HashMap<String, usize>,
    learned: HashSet<String>,
    /// Element types of the file's tensors, as far as they have been read.
    element_types: HashMap<String, i32>,
    /// For every value of the graph: whether it is known to be zero or more.
    non_negative: Vec<bool>,
}

impl Context {
    /// A context with the graph's input bound.
    pub(super) fn new(
        graph: Graph,
        initializers: HashMap<String, TensorProto>,
        used: HashSet<String>,
        budget: Budget,
    ) -> Self {
        let input = &graph.value(graph.input).name;
        let bindings = HashMap::from([(input.clone(), Binding::Value(graph.input))]);
        let names = HashMap::from([(input.clone(), 1)]);
        Self {
            graph,
            budget,
            file_batch: None,
            pairs: (0, 0),
            bindings,
            initializers,
            used,
            names,
            learned: HashSet::new(),
            element_types: HashMap::new(),
            non_negative: vec![false],
        }
    }

    /// Whether a later node or the graph's result list reads this name.
    pub(super) fn is_used(&self, name: &str) -> bool {
        self.used.contains(name)
    }

    /// Gives a name its meaning.
    pub(super) fn bind(&mut self, name: Option<&str>, binding: Binding) {
        if let Some(name) = name {
            self.bindings.insert(name.to_owned(), binding);
        }
    }

    /// The meaning of a name.
    pub(super) fn lookup(&mut self, name: &str) -> Result<Binding> {
        if let Some(tensor) = self.initializers.remove(name) {
            self.element_types.insert(name.to_owned(), tensor.data_type);
            self.bindings
                .insert(name.to_owned(), Binding::Constant(tensor::constant(&tensor, name)?));
        }
        self.bindings.get(name).cloned().ok_or_else(|| {
            Error::source(
                name,
                "is read before anything makes it; expected nodes in execution order",
            )
        })
    }

    /// Notes the element type of a tensor that a node holds.
    pub(super) fn note_type(&mut self, name: &str, data_type: i32) {
        self.element_types.insert(name.to_owned(), data_type);
    }

    /// The element type code of a constant of the file.
    pub(super) fn element_type(&self, name: &str) -> Option<i32> {
        self.element_types.get(name).copied()
    }

    /// Whether a value is known to be zero or more in every element.
    pub(super) fn is_non_negative(&self, value: ValueId) -> bool {
        self.non_negative[value.0]
    }

    /// The meaning of operand `i`, if given.
    pub(super) fn maybe_operand(&mut self, node: &Node, i: usize) -> Result<Option<Binding>> {
        node.input(i).map(|name| self.lookup(name)).transpose()
    }

    /// The meaning of operand `i`, which must be there.
    pub(super) fn operand(&mut self, node: &Node, i: usize) -> Result<Binding> {
        self.maybe_operand(node, i)?.ok_or_else(|| node.error(format!("operand {i} is missing")))
    }

    /// Operand `i` as a value of the graph; a constant becomes a node of its own.
    pub(super) fn value(&mut self, node: &Node, i: usize) -> Result<ValueId> {
        match self.operand(node, i)? {
            Binding::Value(v) => Ok(v),
            Binding::Constant(c) => {
                let name = node.input(i).unwrap_or_default();
                self.push_constant(node, name, &c)
            }
            Binding::Quantized(_) => Err(node.error(format!(
                "operand '{}' is quantised; expected float operators between DequantizeLinear and QuantizeLinear",
                node.input(i).unwrap_or_default()
            ))),
        }
    }

    /// Operand `i` as a constant, if given.
    pub(super) fn maybe_constant(
        &mut self,
        node: &Node,
        i: usize,
        what: &str,
    ) -> Result<Option<Constant>> {
        match self.maybe_operand(node, i)? {
            None => Ok(None),
            Some(Binding::Constant(c)) => Ok(Some(c)),
            Some(_) => Err(node.error(format!(
                "{what} '{}' is computed while the network runs; expected a constant",
                node.input(i).unwrap_or_default()
            ))),
        }
    }

    /// Operand `i` as a constant, which must be there.
    pub(super) fn constant(&mut self, node: &Node, i: usize, what: &str) -> Result<Constant> {
        self.maybe_constant(node, i, what)?
            .ok_or_else(|| node.error(format!("has no {what} (operand {i})")))
    }

    /// Operand `i` as a list of integers, if given.
    pub(super) fn maybe_ints(
        &mut self,
        node: &Node,
        i: usize,
        what: &str,
    ) -> Result<Option<Vec<i64>>> {
        let Some(c) = self.maybe_constant(node, i, what)? else { return Ok(None) };
        c.ints().map(Some).ok_or_else(|| {
            node.error(format!("{what} is of type {}, expected integer", c.type_name()))
        })
    }

    /// A list of integers that older operator sets have as an attribute and newer ones as operand `i`.
    pub(super) fn ints(
        &mut self,
        node: &Node,
        i: usize,
        attribute: &str,
    ) -> Result<Option<Vec<i64>>> {
        match self.maybe_ints(node, i, attribute)? {
            Some(list) => Ok(Some(list)),
            None => Ok(node.ints(attribute)?.map(<[i64]>::to_vec)),
        }
    }

    /// Learned weights: operand `i` as finite floats, counted as parameters once per name.
    pub(super) fn maybe_weights(
        &mut self,
        node: &Node,
        i: usize,
        what: &str,
    ) -> Result<Option<Weights>> {
        let weights = self.maybe_statistics(node, i, what)?;
        if let (Some(w), Some(name)) = (&weights, node.input(i))
            && self.learned.insert(name.to_owned())
        {
            self.graph.parameters += w.len();
        }
        Ok(weights)
    }

    /// As [`Context::maybe_weights`], of an operand that must be there.
    pub(super) fn weights(&mut self, node: &Node, i: usize, what: &str) -> Result<Weights> {
        self.maybe_weights(node, i, what)?
            .ok_or_else(|| node.error(format!("has no {what} (operand {i})")))
    }

    /// Finite floats that are not counted as parameters.
    pub(super) fn maybe_statistics(
        &mut self,
        node: &Node,
        i: usize,
        what: &str,
    ) -> Result<Option<Weights>> {
        let Some(c) = self.maybe_constant(node, i, what)? else { return Ok(None) };
        let name = node.input(i).unwrap_or_default();
        let Some(w) = c.floats() else {
            return Err(
                node.error(format!("{what} '{name}' is of type {}, expected float", c.type_name()))
            );
        };
        self.spend(node, w.len() / 16)?;
        if w.iter().any(|v| !v.is_finite()) {
            return Err(node.error(format!("{what} '{name}' holds a value that is not finite")));
        }
        Ok(Some(w.clone()))
    }

    /// Takes elements from the budget.
    pub(super) fn spend(&mut self, node: &Node, elements: usize) -> Result<()> {
        self.budget.spend(elements).map_err(|detail| node.error(detail))
    }

    /// The shape of a value.
    pub(super) fn shape(&self, value: ValueId) -> Vec<usize> {
        self.graph.shape(value).to_vec()
    }

    /// The shape of a value that must be an image, `[1, C, H, W]`.
    pub(super) fn image(&self, node: &Node, value: ValueId) -> Result<[usize; 4]> {
        let shape = self.graph.shape(value);
        let image = shape.try_into();
        image.map_err(|_| {
            node.error(format!("its operand has the shape {shape:?}, expected [1, C, H, W]"))
        })
    }

    fn unique(&mut self, name: &str) -> String {
        let mut candidate = name.to_owned();
        let mut n = *self.names.get(name).unwrap_or(&0);
        while self.names.contains_key(&candidate) {
            n += 1;
            candidate = format!("{name}#{n}");
        }
        *self.names.entry(name.to_owned()).or_insert(1) = n.max(1);
        self.names.entry(candidate.clone()).or_insert(1);
        candidate
    }

    /// Appends a graph node under a name of its own.
    pub(super) fn push_as(
        &mut self,
        node: &Node,
        name: &str,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId> {
        let unique = self.unique(name);
        let operands: Vec<bool> = inputs.iter().map(|v| self.non_negative[v.0]).collect();
        self.non_negative.push(sign::is_non_negative(&op, &operands));
        let value = self.graph.push(unique, op, inputs).map_err(|e| match e {
            Error::Graph { detail, .. } => node.error(detail),
            other => other,
        })?;
        match shapes::element_count(self.graph.shape(value)) {
            Ok(0) => {
                Err(node
                    .error(format!("its result has the empty shape {:?}", self.graph.shape(value))))
            }
            Ok(_) => Ok(value),
            Err(detail) => Err(node.error(detail)),
        }
    }

    /// Appends a helper node, named after the node it helps.
    pub(super) fn push_part(
        &mut self,
        node: &Node,
        part: &str,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId> {
        self.push_as(node, &format!("{}/{part}", node.name), op, inputs)
    }

    /// Appends the node itself and binds its first result.
    pub(super) fn finish(&mut self, node: &Node, op: Op, inputs: &[ValueId]) -> Result<()> {
        let value = self.push_as(node, &node.name, op, inputs)?;
        self.bind(node.output(0), Binding::Value(value));
        Ok(())
    }

    /// Appends operators that each read the one before; the last carries the node's name and is its result.
    pub(super) fn finish_chain(
        &mut self,
        node: &Node,
        x: ValueId,
        mut chain: Vec<(&str, Op)>,
    ) -> Result<()> {
        let last = chain.pop().map_or(Op::Identity, |(_, op)| op);
        let mut value = x;
        for (part, op) in chain {
            value = self.push_part(node, part, op, &[value])?;
        }
        self.finish(node, last, &[value])
    }

    /// Appends a constant as a node.
    pub(super) fn push_constant(
        &mut self,
        node: &Node,
        name: &str,
        c: &Constant,
    ) -> Result<ValueId> {
        let Some(w) = c.floats() else {
            return Err(node
                .error(format!("operand '{name}' is of type {}, expected float", c.type_name())));
        };
        self.push_as(node, name, Op::Constant(w.clone()), &[])
    }
}

#[cfg(test)]
mod tests {
    use super::super::evaluate::tests::proto;
    use super::*;

    #[test]
    fn repeated_names_stay_unique() {
        let graph = Graph::new("onnx", "x", vec![1, 1, 2, 2]);
        let mut context = Context::new(graph, HashMap::new(), HashSet::new(), Budget::new(0));
        let mut proto = proto("Relu", &[], 1);
        proto.name = "x".into();
        let node = Node::new(&proto, 17);
        let input = context.graph.input;
        for _ in 0..3 {
            context.finish(&node, Op::Identity, &[input]).unwrap();
        }
        let names: Vec<_> = context.graph.nodes().iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["x#2", "x#3", "x#4"]);
    }

    #[test]
    fn an_unknown_name_is_reported() {
        let graph = Graph::new("onnx", "x", vec![1, 1, 2, 2]);
        let mut context = Context::new(graph, HashMap::new(), HashSet::new(), Budget::new(0));
        let message = context.lookup("z").unwrap_err().to_string();
        assert!(message.contains("'z': is read before"), "{message}");
    }
}
