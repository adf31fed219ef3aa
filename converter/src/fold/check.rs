//! Weights that no arithmetic can use are refused before any pass hides where they came from.

use crate::error::{Error, Result};
use crate::graph::{Graph, Op};

pub(super) fn run(graph: &Graph) -> Result<()> {
    for node in graph.nodes() {
        let mut bad = None;
        // A constant may hold an infinity on purpose (a limit, a mask).
        let limit_allowed = matches!(node.op, Op::Constant(_));
        node.op.for_each_weight(|role, w| {
            let wrong = |v: &&f32| v.is_nan() || !limit_allowed && v.is_infinite();
            if bad.is_none()
                && let Some(v) = w.iter().find(wrong)
            {
                bad = Some(format!("{role} holds {v}, expected finite values"));
            }
        });
        if let Some(detail) = bad {
            return Err(Error::graph(&node.name, detail));
        }
        if let Op::BatchNorm { var, eps, .. } = &node.op {
            let wrong = |v: f32| f64::from(v) + f64::from(*eps) <= 0.0 || !eps.is_finite();
            if let Some((c, v)) = var.iter().enumerate().find(|&(_, &v)| wrong(v)) {
                let detail = format!(
                    "variance {v} of channel {c} with epsilon {eps}: expected a positive sum"
                );
                return Err(Error::graph(&node.name, detail));
            }
        }
    }
    Ok(())
}
