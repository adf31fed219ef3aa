//! Slices of slices and slices of concatenations.

use crate::error::Result;
use crate::graph::{Graph, Node, Op, Rewrite, ValueId};

/// One cut along an axis.
#[derive(Clone, Copy, PartialEq)]
struct Cut {
    axis: usize,
    start: usize,
    end: usize,
    step: usize,
}

impl Cut {
    fn of(node: &Node) -> Option<Self> {
        match node.op {
            Op::Slice { axis, start, end, step } => Some(Self { axis, start, end, step }),
            _ => None,
        }
    }

    /// With `end` right behind the last element taken.
    fn tight(self) -> Self {
        let last = (self.end - self.start - 1) / self.step * self.step;
        Self { end: self.start + last + 1, ..self }
    }

    fn op(self) -> Op {
        Op::Slice { axis: self.axis, start: self.start, end: self.end, step: self.step }
    }
}

pub(super) fn run(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let mut r = Rewrite::new(graph);
    for node in graph.nodes() {
        let Some(cut) = Cut::of(node) else {
            r.keep(node)?;
            continue;
        };
        let (merged, operand) = merge(graph, cut.tight(), node.inputs[0]);
        if operand != node.inputs[0] {
            let inner = graph.producer_node(node.inputs[0]).map_or("", |n| &n.name);
            changes.push(format!("{} with {inner}", node.name));
        } else if merged != cut {
            changes.push(format!("{} ends at {}", node.name, merged.end));
        }
        r.replace(node, merged.op(), &[operand])?;
    }
    Ok(r.finish())
}

/// The same elements taken from further back, one node at most.
fn merge(graph: &Graph, outer: Cut, operand: ValueId) -> (Cut, ValueId) {
    let unchanged = (outer, operand);
    let Some(producer) = graph.producer_node(operand) else { return unchanged };
    if let Some(inner) = Cut::of(producer).filter(|inner| inner.axis == outer.axis) {
        let position = |i: usize| inner.start + i * inner.step;
        let merged = Cut {
            axis: outer.axis,
            start: position(outer.start),
            end: position(outer.end - 1) + 1,
            step: outer.step * inner.step,
        };
        return (merged.tight(), producer.inputs[0]);
    }
    if matches!(producer.op, Op::Concat { axis } if axis == outer.axis) {
        let mut first = 0;
        for &part in &producer.inputs {
            let size = graph.shape(part)[outer.axis];
            if outer.start >= first && outer.end <= first + size {
                return (Cut { start: outer.start - first, end: outer.end - first, ..outer }, part);
            }
            first += size;
        }
    }
    unchanged
}
