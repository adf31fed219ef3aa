//! Balancing: a scale per channel for tensors that nothing but convolutions read.
//!
//! A tensor of the model has one scale. But where a channel comes out of a multiplier of its own and goes into weights,
//! a factor per channel costs nothing: the multiplier is divided by it, the weights of that channel are multiplied. Each
//! channel then uses all 256 values, however small it is beside its neighbours. Rounding activations is most of the noise
//! of an int8 network, so this is worth more than the resolution that the weights give up for it.
//!
//! What SiLUs write is the business of [`super::shared`].

use std::collections::HashMap;

use kenar::desc::DType;

use super::prepare::Network;
use super::shared;
use super::step::{Finish, Second, Step, Target, Work};
use crate::graph::ValueId;
use crate::quantize::{Calibration, Method, QParams};

/// Behind the name of a balanced tensor: its values are those of the float network up to a factor per channel.
pub const SUFFIX: &str = ":balanced";
/// Of the ratio of the steps that suit the channels: all of it would leave no room for images that go further, and
/// take more from the weights than it gives to the activations. The square root is how Nagel et al. (2019,
/// arXiv:1906.04721) split a range between the two sides; 0.7 cut off more of images that are not like those of
/// calibration (wrn-16-2 on re-encoded images: 0.37 points lost, 0.12 with the root).
const POWER: f64 = 0.5;
/// The smallest factor: a channel that calibration hardly saw must not be cut off at what it saw.
const SMALLEST: f64 = 1.0 / 16.0;

/// The i8 renditions that have a factor per channel: `real = scale * factor[c] * (q - zero_point)`.
pub(crate) type Balanced = HashMap<ValueId, (QParams, Vec<f32>)>;

/// Finds what can be balanced, and makes room for the factors in the steps that write it.
pub(crate) fn assign(
    network: &Network<'_>,
    steps: &mut [Step],
    calibration: &Calibration,
) -> Balanced {
    if calibration.method != Method::Mse {
        return Balanced::new();
    }
    let mut balanced = shared::assign(network, steps, calibration);
    let read = read_by_convolutions(network, steps);
    for step in steps {
        let channels = network.map(step.raw)[0];
        let Some(target) = candidate(step).filter(|t| read[t.value.0]) else { continue };
        let value = target.value;
        if balanced.contains_key(&value) {
            continue;
        }
        let Some((params, factors)) = choose(calibration, value) else { continue };
        if step.residual.is_some() && step.second.is_none() {
            // A residual comes with one multiplier; behind the sum, the second store has one per channel.
            let Some(target) = step.first.take() else { continue };
            let (scale, shift) = (vec![1.0; channels], vec![0.0; channels]);
            step.second = Some(Second { scale, shift, target });
        }
        balanced.insert(value, (params, factors));
    }
    balanced
}

/// The store of a step that can take a factor per channel.
fn candidate(step: &Step) -> Option<&Target> {
    let target = match (&step.work, &step.first, &step.second) {
        (_, _, Some(second)) => &second.target,
        (Work::Conv(_) | Work::Affine { .. }, Some(first), None) => first,
        (Work::Add | Work::Mul { .. }, Some(first), None) if step.residual.is_some() => first,
        _ => return None,
    };
    let scales = match target.finish {
        Finish::Plain => true,
        Finish::Clamp(min, max) => min == 0.0 && max == f32::INFINITY,
        Finish::Table(_) => false,
    };
    (target.dtype == DType::I8 && scales).then_some(target)
}

/// Values whose i8 rendition is the input of convolutions and nothing else.
pub(super) fn read_by_convolutions(network: &Network<'_>, steps: &[Step]) -> Vec<bool> {
    let mut read = vec![false; network.graph.values().len()];
    let is_input = |step: &Step| matches!(step.work, Work::Conv(_));
    for step in steps.iter().filter(|s| is_input(s)) {
        read[step.input.0] = true;
    }
    for step in steps {
        let others = step.reads().into_iter().skip(usize::from(is_input(step)));
        others.filter(|(_, dtype)| *dtype == DType::I8).for_each(|(v, _)| read[v.0] = false);
    }
    network.outputs.iter().for_each(|(_, v)| read[v.0] = false);
    read
}

fn choose(calibration: &Calibration, value: ValueId) -> Option<(QParams, Vec<f32>)> {
    let plain = QParams::i8(calibration.range(value));
    let steps = calibration.channels(value)?.steps(plain.zero_point);
    let largest = steps.iter().flatten().copied().reduce(f64::max)?;
    let scale = largest as f32;
    if !scale.is_normal() {
        return None;
    }
    let factor =
        |step: &Option<f64>| (step.unwrap_or(0.0) / largest).powf(POWER).max(SMALLEST) as f32;
    Some((QParams { scale, ..plain }, steps.iter().map(factor).collect()))
}
