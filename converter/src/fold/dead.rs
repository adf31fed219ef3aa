//! Nodes that no output depends on.

use crate::error::Result;
use crate::graph::{Graph, Rewrite};

pub(super) fn run(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let mut live = vec![false; graph.values().len()];
    for output in &graph.outputs {
        live[output.value.0] = true;
    }
    for node in graph.nodes().iter().rev() {
        if live[node.output.0] {
            node.inputs.iter().for_each(|v| live[v.0] = true);
        }
    }
    let mut r = Rewrite::new(graph);
    for node in graph.nodes() {
        if live[node.output.0] {
            r.keep(node)?;
        } else {
            changes.push(format!("{} ({})", node.name, node.op.name()));
        }
    }
    Ok(r.finish())
}
