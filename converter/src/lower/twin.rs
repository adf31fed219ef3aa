//! Operands of concatenations that are written twice: where they are joined, and apart for those who read them while they
//! write beside them.
//!
//! No operator reads and writes one buffer. A map that pools read, and that is joined with their results, would have to be
//! copied; but what makes it has a second store to spare, which costs a write and no read.

use std::collections::HashSet;

use kenar::desc::DType;

use super::prepare::Network;
use super::ranges::Ranges;
use super::step::{Second, Step, Work};
use crate::graph::ValueId;

/// Values with a second tensor for the concatenations that read them; their steps get a second store like the first.
pub(crate) fn assign(
    network: &Network<'_>,
    steps: &mut [Step],
    ranges: &Ranges,
) -> HashSet<ValueId> {
    let mut twins = HashSet::new();
    let joined: Vec<(ValueId, Vec<ValueId>)> = steps
        .iter()
        .filter_map(|step| match &step.work {
            Work::Concat { operands } => Some((step.raw, operands.clone())),
            _ => None,
        })
        .collect();
    for at in 0..steps.len() {
        let Some(value) = spare(&steps[at]) else { continue };
        let concats: Vec<_> =
            joined.iter().filter(|(_, operands)| operands.contains(&value)).collect();
        let [(whole, operands)] = concats[..] else { continue };
        let in_place = ranges.get(value, DType::I8) == ranges.get(*whole, DType::I8)
            && operands.iter().filter(|&&v| v == value).count() == 1;
        let read_beside = steps.iter().any(|step| {
            step.reads().iter().any(|(v, _)| *v == value)
                && step.targets().any(|t| t.value != value && operands.contains(&t.value))
        });
        if !in_place || !read_beside {
            continue;
        }
        let channels = network.map(value)[0];
        let step = &mut steps[at];
        let Some(target) = step.first.clone() else { continue };
        let (scale, shift) = (vec![1.0; channels], vec![0.0; channels]);
        step.second = Some(Second { scale, shift, target });
        twins.insert(value);
    }
    twins
}

/// What a step writes, if it could write it a second time.
fn spare(step: &Step) -> Option<ValueId> {
    let target = step.first.as_ref()?;
    let fits = step.work.has_epilogue() && step.second.is_none() && target.dtype == DType::I8;
    fits.then_some(target.value)
}
