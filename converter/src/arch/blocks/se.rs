//! Squeeze-excitation: mean over the map, 1x1, activation, 1x1, gate, and a product per channel.

use super::Block;
use crate::arch::builder::{Builder, Geometry};
use crate::arch::file::{Act, Se};
use crate::error::Result;
use crate::graph::{Op, ValueId};

/// Appends the unit whose convolutions have the roles `se1` and `se2` (batch norms `se_bn1`, `se_bn2` if any).
pub(super) fn build(b: &mut Builder<'_>, block: &Block<'_>, x: ValueId) -> Result<ValueId> {
    let se = block.stage.se.unwrap_or(Se { activation: Act::Relu, gate: Act::Sigmoid });
    let owner = block.child("se");
    let mut y = b.graph.push(format!("{owner}.pool"), Op::GlobalAvgPool, &[x])?;
    for (conv, bn, act) in [("se1", "se_bn1", se.activation), ("se2", "se_bn2", se.gate)] {
        let path = block.module(conv)?;
        y = b.conv(&path, y, Geometry::stride(1))?;
        if let Some(norm) = block.present(b, bn) {
            y = b.batch_norm(&norm, y)?;
        }
        y = b.activation(&path, act, y)?;
    }
    b.graph.push(format!("{owner}.mul"), Op::Mul, &[x, y])
}
