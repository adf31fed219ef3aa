//! Operators whose operands are all constants are computed once.

use ndarray::CowArray;

use crate::error::Result;
use crate::exec;
use crate::graph::{Graph, Op, Rewrite, weights};

pub(super) fn run(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let mut r = Rewrite::new(graph);
    for node in graph.nodes() {
        // Read from the new graph, so that a chain is folded in one go.
        let constant = |&v| r.target().constant(r.value(v)).cloned();
        let operands: Option<Vec<_>> = node.inputs.iter().map(constant).collect();
        match operands {
            Some(operands) if !operands.is_empty() => {
                let rows =
                    operands.iter().map(|w| CowArray::from(w.as_standard_layout().into_owned()));
                let mut op = node.op.clone();
                op.for_each_weight_mut(exec::make_row_major);
                let value = exec::apply(&op, rows.collect(), graph.shape(node.output));
                changes.push(format!("{} ({})", node.name, node.op.name()));
                r.replace(node, Op::Constant(weights(value)), &[])?;
            }
            _ => drop(r.keep(node)?),
        }
    }
    Ok(r.finish())
}
