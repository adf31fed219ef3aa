//! Nodes that compute what another one has computed.

use std::collections::HashMap;

use crate::error::Result;
use crate::graph::{Graph, Node, Op, Rewrite, ValueId, Weights};

pub(super) fn run(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let mut r = Rewrite::new(graph);
    let mut seen: HashMap<(String, Vec<ValueId>), Vec<&Node>> = HashMap::new();
    for node in graph.nodes() {
        let mut operands: Vec<ValueId> = node.inputs.iter().map(|&v| r.value(v)).collect();
        if matches!(node.op, Op::Add | Op::Mul) {
            operands.sort_unstable();
        }
        let earlier = seen.entry((node.op.attributes(), operands)).or_default();
        if let Some(first) = earlier.iter().find(|n| same_weights(&n.op, &node.op)) {
            changes.push(format!("{} = {}", node.name, first.name));
            r.bypass(node, first.output);
        } else {
            earlier.push(node);
            r.keep(node)?;
        }
    }
    Ok(r.finish())
}

fn same_weights(a: &Op, b: &Op) -> bool {
    let list = |op: &Op| {
        let mut weights = Vec::new();
        op.for_each_weight(|_, w| weights.push(w.clone()));
        weights
    };
    list(a).iter().zip(&list(b)).all(|(a, b)| Weights::ptr_eq(a, b) || a == b)
}
