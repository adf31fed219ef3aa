//! A window as large as the map is global pooling.

use crate::error::Result;
use crate::graph::{Graph, Op, PoolKind, Rewrite};

pub(super) fn run(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let mut r = Rewrite::new(graph);
    for node in graph.nodes() {
        match &node.op {
            Op::Pool(p)
                if p.window[..] == graph.shape(node.inputs[0])[2..]
                    && p.padding == [0; 4]
                    && p.dilation == [1, 1]
                    && graph.shape(node.output)[2..] == [1, 1] =>
            {
                let op = match p.kind {
                    PoolKind::Max => Op::GlobalMaxPool,
                    PoolKind::Average { .. } => Op::GlobalAvgPool,
                };
                changes.push(format!("{} ({} is {})", node.name, node.op.name(), op.name()));
                r.replace(node, op, &node.inputs)?;
            }
            _ => drop(r.keep(node)?),
        }
    }
    Ok(r.finish())
}
