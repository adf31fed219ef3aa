//! Graph passes: an ordered list, one per file, repeated until nothing changes.
//!
//! Every pass rebuilds the graph and computes merged weights in f64, so executed float outputs stay within 1e-5 of
//! what they were. Passes never change a module in place: a skip that reads the same value as a folded branch keeps
//! reading what it read.

mod activation;
mod affine;
mod batch_norm;
mod check;
mod constant;
mod dead;
mod duplicate;
mod equivalent;
mod focus;
mod identity;
mod pad;
mod pool;
mod report;
mod scale;
mod shape;
mod slice;
#[cfg(test)]
mod tests;

pub use equivalent::equivalent;
pub use report::{PassReport, Report};

use crate::error::Result;
use crate::graph::Graph;

/// One pass: the rebuilt graph, and one line per change.
type Pass = fn(&Graph, &mut Vec<String>) -> Result<Graph>;

/// The passes in the order in which they run. Patterns come before the passes that would take them apart.
const PASSES: [(&str, Pass); 12] = [
    ("remove identity", identity::run),
    ("fold constant", constant::run),
    ("recognise activation", activation::run),
    ("merge slice", slice::run),
    ("merge blocks", focus::run),
    ("simplify shape", shape::run),
    ("merge padding", pad::run),
    ("simplify pooling", pool::run),
    ("fold batch norm", batch_norm::run),
    ("merge affine", affine::run),
    ("merge duplicate", duplicate::run),
    ("remove dead", dead::run),
];

/// Passes repeat at most this often; each round that counts makes the graph smaller or more canonical.
const MAX_ROUNDS: usize = 16;

/// Checks the weights, then runs every pass until none changes anything.
///
/// # Errors
/// [`crate::Error::Graph`] with the node's name for a weight that is not finite, a variance that is not positive with
/// its epsilon, or a merge whose result is not finite.
pub fn run(graph: &Graph) -> Result<(Graph, Report)> {
    check::run(graph)?;
    let mut report = Report::new(PASSES.iter().map(|p| p.0));
    let mut graph = graph.clone();
    for _ in 0..MAX_ROUNDS {
        let mut changed = false;
        for (i, (_, pass)) in PASSES.iter().enumerate() {
            let changes = &mut report.passes[i].changes;
            let before = changes.len();
            graph = pass(&graph, changes)?;
            changed |= changes.len() > before;
        }
        if !changed {
            break;
        }
    }
    Ok((graph, report))
}
