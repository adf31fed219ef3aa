//! Grids that meet the values which SiLUs repeat.
//!
//! A channel behind SiLU rests between -0.28 and 0 wherever what it looks for is absent, which is most of a map, and
//! rises to a hundred times that where it is found. With one step for both, the value at rest lies between two values of
//! the grid and is rounded the same way everywhere; the convolutions behind see a constant error over the background
//! and none on objects, which no bias takes off. A fraction of a step added before rounding puts a value of the grid
//! there; what reads the channel has it taken off in its bias. It costs the second store, which alone can add.
//!
//! Zeros around a map are then off by that fraction of a step, no more than rounding may do to a value.

use std::collections::HashMap;

use kenar::desc::DType;

use super::balance::{self, Balanced};
use super::prepare::Network;
use super::step::{Finish, Second, Step};
use crate::graph::ValueId;
use crate::quantize::Calibration;

/// What is added to each channel of a value before it is rounded to i8:
/// `real = scale * factor[c] * (q - zero_point) - offset[c]`.
pub(crate) type Offsets = HashMap<ValueId, Vec<f32>>;

/// Offsets for what SiLUs write and only convolutions read; the steps that write it add them.
pub(crate) fn assign(
    network: &Network<'_>,
    steps: &mut [Step],
    calibration: &Calibration,
    balanced: &Balanced,
) -> Offsets {
    let read = balance::read_by_convolutions(network, steps);
    let mut offsets = Offsets::new();
    for step in steps.iter_mut().filter(|step| step.silu) {
        let Some(value) = candidate(step).filter(|v| read[v.0]) else { continue };
        let Some((params, factors)) = balanced.get(&value) else { continue };
        let Some(channels) = calibration.channels(value) else { continue };
        let steps: Vec<f64> =
            factors.iter().map(|f| f64::from(params.scale) * f64::from(*f)).collect();
        let found = channels.offsets(params.zero_point, &steps);
        if found.iter().any(|o| *o != 0.0) {
            let found: Vec<f32> = found.into_iter().map(|o| o as f32).collect();
            add(step, &found);
            offsets.insert(value, found);
        }
    }
    offsets
}

/// The i8 value of a step that is, or can be, written by the second store, and as it is.
fn candidate(step: &Step) -> Option<ValueId> {
    let target = match (&step.first, &step.second) {
        (_, Some(second)) => &second.target,
        (Some(first), None) => first,
        (None, None) => return None,
    };
    (target.dtype == DType::I8 && target.finish == Finish::Plain).then_some(target.value)
}

fn add(step: &mut Step, offsets: &[f32]) {
    match &mut step.second {
        Some(second) => second.shift.iter_mut().zip(offsets).for_each(|(s, o)| *s += o),
        None => {
            step.second = step.first.take().map(|target| Second {
                scale: vec![1.0; offsets.len()],
                shift: offsets.to_vec(),
                target,
            });
        }
    }
}
