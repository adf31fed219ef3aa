//! Rebuilding a graph: nodes are copied, replaced or left out in order, operands follow.

use super::{Graph, Node, Op, ValueId};
use crate::error::Result;

/// A new graph made from an old one, node by node in execution order.
#[derive(Debug)]
pub struct Rewrite<'a> {
    source: &'a Graph,
    target: Graph,
    /// Old value to new value; `None` until its node is placed.
    map: Vec<Option<ValueId>>,
}

impl<'a> Rewrite<'a> {
    /// Starts with the source's input and nothing else.
    pub fn new(source: &'a Graph) -> Self {
        let target = source.like();
        let mut map = vec![None; source.values().len()];
        map[source.input.0] = Some(target.input);
        Self { source, target, map }
    }

    /// The new value that stands for an old one.
    ///
    /// # Panics
    /// When the old value's node was not placed yet or was left out.
    pub fn value(&self, old: ValueId) -> ValueId {
        self.map[old.0].expect("nodes are placed in execution order")
    }

    /// The graph built so far.
    pub fn target(&self) -> &Graph {
        &self.target
    }

    /// The node of the new graph that makes the new value of `old`.
    pub fn producer(&self, old: ValueId) -> Option<&Node> {
        self.target.producer(self.value(old)).map(|i| &self.target.nodes()[i])
    }

    /// The operator that makes the new value of `old`, to be changed in place.
    pub fn producer_op_mut(&mut self, old: ValueId) -> Option<&mut Op> {
        let index = self.target.producer(self.value(old))?;
        Some(&mut self.target.nodes_mut()[index].op)
    }

    /// Copies a node.
    ///
    /// # Errors
    /// As [`Graph::push`], when a changed operand does not fit.
    pub fn keep(&mut self, node: &Node) -> Result<ValueId> {
        self.replace(node, node.op.clone(), &node.inputs)
    }

    /// Puts another operator in a node's place, reading the new values of the old ids `inputs`.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn replace(&mut self, node: &Node, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        let inputs: Vec<ValueId> = inputs.iter().map(|&v| self.value(v)).collect();
        let value = self.target.push(node.name.clone(), op, &inputs)?;
        self.map[node.output.0] = Some(value);
        Ok(value)
    }

    /// Leaves a node out: whoever reads it reads `old` instead.
    pub fn bypass(&mut self, node: &Node, old: ValueId) {
        self.map[node.output.0] = Some(self.value(old));
    }

    /// The new graph, its outputs those of the source.
    pub fn finish(mut self) -> Graph {
        for output in &self.source.outputs {
            let value = self.value(output.value);
            self.target.mark_output(output.name.clone(), value);
        }
        self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Activation;

    #[test]
    fn bypassed_nodes_vanish_and_names_stay() {
        let mut g = Graph::new("test", "input", vec![1, 2]);
        let a = g.push("drop", Op::Dropout, &[g.input]).unwrap();
        let b = g.push("relu", Op::Activation(Activation::Relu), &[a]).unwrap();
        let c = g.push("add", Op::Add, &[a, b]).unwrap();
        g.mark_output("output", c);
        g.mark_output("same as input", a);
        let mut r = Rewrite::new(&g);
        for node in g.nodes() {
            match node.op {
                Op::Dropout => r.bypass(node, node.inputs[0]),
                _ => drop(r.keep(node).unwrap()),
            }
        }
        assert!(matches!(r.producer(c).unwrap().op, Op::Add));
        let h = r.finish();
        assert_eq!(h.nodes().iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["relu", "add"]);
        assert_eq!(h.nodes()[1].inputs, [h.input, h.nodes()[0].output]);
        assert_eq!(h.outputs[1].value, h.input);
    }
}
