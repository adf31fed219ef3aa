//! Factors per channel that several tensors share.
//!
//! Pooling, resizing, joining and slicing move bytes and leave a channel what it is, so the factor of a channel may run
//! through them from the convolutions that write it to those that read it. Tensors between which bytes move form a set;
//! within it, channels that hold the same bytes have one factor. A set is balanced as a whole or not at all.
//!
//! Only sets that a SiLU writes are: behind it the channels of a network differ most (a depthwise convolution makes up
//! for any size of its input), and none of their values may be lost, since no later layer averages over channels before
//! the next product. Here a channel gets the step that suits it, not a part of the way there as in [`super::balance`].

use std::collections::HashMap;

use kenar::desc::DType;

use super::balance::Balanced;
use super::prepare::Network;
use super::step::{Finish, Second, Step, Target, Work};
use crate::graph::ValueId;
use crate::quantize::{Calibration, QParams};

/// Zero points that are tried: shares of the 256 values that lie below zero.
const BELOW: [f64; 10] = [0.0, 0.02, 0.04, 0.07, 0.1, 0.14, 0.2, 0.28, 0.38, 0.5];
/// The least headroom above the step with the smallest squared error. What that step cuts off are the peaks that objects
/// are, and errors there add up from layer to layer. Boxes back at IoU 0.9, calibrated on the same 15 photographs:
/// YOLOX-Nano 29 of 45 without, 42 with 1.2, 39 with 1.4.
const HEADROOM: f64 = 1.2;
/// The part of the headroom that falls with the square root of the number of images: the fewer were seen, the further do
/// others go. On photographs that were not calibrated on, with 16 images to calibrate, of 44 (YOLOX-Nano) and 37 (YOLOv5n)
/// boxes: 40 and 31 with 1.2, 42 and 34 with 1.5, 38 and 36 with 2. With 60 images that are alike (wide-dfl) 1.2 serves
/// best.
const UNSEEN: f64 = 2.0;
/// The smallest factor.
const SMALLEST: f64 = 1.0 / 4096.0;

/// Balances what SiLUs write, where everything that reads it can live with it.
pub(super) fn assign(
    network: &Network<'_>,
    steps: &mut [Step],
    calibration: &Calibration,
) -> Balanced {
    let mut sets = Sets::new(network, steps);
    steps.iter().for_each(|step| sets.join(network, step));
    let mut pinned: Vec<ValueId> = network.outputs.iter().map(|(_, v)| *v).collect();
    pinned.push(network.graph.input);
    pinned.extend(steps.iter().flat_map(pins));
    let mut members: HashMap<ValueId, (Vec<ValueId>, bool)> = HashMap::new();
    for value in sets.values() {
        members.entry(sets.set(value)).or_default().0.push(value);
    }
    for value in pinned {
        members.remove(&sets.set(value));
    }
    for target in steps.iter().filter(|s| s.silu).flat_map(Step::targets) {
        if let Some((_, written)) = members.get_mut(&sets.set(target.value)) {
            *written |= target.dtype == DType::I8;
        }
    }
    let mut balanced = Balanced::new();
    for (values, written) in members.into_values() {
        if written && let Some(params) = choose(&mut sets, calibration, &values) {
            for &value in &values {
                let factors = sets.channels(value).map(|c| params.1[&c]).collect();
                balanced.insert(value, (params.0, factors));
            }
        }
    }
    make_room(network, steps, &balanced);
    balanced
}

/// Values that a step reads or writes in a way that leaves no room for factors.
fn pins(step: &Step) -> Vec<ValueId> {
    let mut pins = Vec::new();
    let narrow = |(value, dtype): (ValueId, DType)| (dtype == DType::I8).then_some(value);
    match step.work {
        Work::Mul { .. } | Work::Table(_) | Work::AvgPool { .. } => {
            pins.extend(step.reads().into_iter().filter_map(narrow));
            pins.extend(step.first.as_ref().map(|t| t.value));
        }
        Work::Add => {
            let operands = [Some((step.input, step.input_dtype)), step.residual];
            if !has_room(step) || operands.iter().flatten().any(|o| o.1 != DType::I8) {
                pins.extend(operands.into_iter().flatten().filter_map(narrow));
            }
        }
        _ => {}
    }
    if step.residual.is_some() && !has_room(step) {
        pins.extend(step.residual.and_then(narrow));
        pins.extend(step.first.as_ref().filter(|t| t.dtype == DType::I8).map(|t| t.value));
    }
    let unscaled = |t: &&Target| match t.finish {
        Finish::Plain => false,
        Finish::Clamp(min, max) => (min, max) != (0.0, f32::INFINITY),
        Finish::Table(_) => true,
    };
    pins.extend(step.targets().filter(unscaled).map(|t| t.value));
    pins
}

/// Whether the result of a sum can leave by the second store, which alone has a multiplier per channel.
fn has_room(step: &Step) -> bool {
    match &step.first {
        Some(first) => first.dtype == DType::I8 && step.second.is_none(),
        None => true,
    }
}

/// Moves results of sums to the second store where an operand or the result has factors.
fn make_room(network: &Network<'_>, steps: &mut [Step], balanced: &Balanced) {
    for step in steps.iter_mut().filter(|s| s.residual.is_some() && s.second.is_none()) {
        let has_factors =
            |(v, dtype): (ValueId, DType)| dtype == DType::I8 && balanced.contains_key(&v);
        let added = matches!(step.work, Work::Add) && has_factors((step.input, step.input_dtype));
        let operand = step.residual.is_some_and(has_factors);
        let result = step.first.as_ref().is_some_and(|t| has_factors((t.value, t.dtype)));
        if (added || operand || result)
            && has_room(step)
            && let Some(target) = step.first.take()
        {
            let channels = network.map(step.raw)[0];
            let (scale, shift) = (vec![1.0; channels], vec![0.0; channels]);
            step.second = Some(Second { scale, shift, target });
        }
    }
}

/// By how much steps are larger than those that suit best what this many images showed.
fn headroom(images: usize) -> f64 {
    (1.0 + UNSEEN / (images.max(1) as f64).sqrt()).max(HEADROOM)
}

/// The quantisation of a set, and the factor of each of its channels.
fn choose(
    sets: &mut Sets,
    calibration: &Calibration,
    values: &[ValueId],
) -> Option<(QParams, HashMap<usize, f32>)> {
    let mut best: Option<(f64, i32, HashMap<usize, f64>)> = None;
    for below in BELOW {
        let zero_point = (255.0 * below - 128.0).round() as i32;
        let mut steps: HashMap<usize, f64> = HashMap::new();
        let mut cost = 0.0;
        for &value in values {
            let Some(seen) = calibration.channels(value) else { continue };
            for (channel, fit) in sets.channels(value).zip(seen.fits(zero_point)) {
                // What cannot be told from zero is lost.
                cost += fit.map_or(1.0, |fit| fit.error);
                let Some(fit) = fit else { continue };
                let step = steps.entry(channel).or_insert(0.0);
                *step = step.max(fit.step);
            }
        }
        if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
            best = Some((cost, zero_point, steps));
        }
    }
    let (_, zero_point, steps) = best?;
    let headroom = headroom(calibration.images);
    let largest = steps.values().copied().reduce(f64::max)? * headroom;
    let scale = largest as f32;
    if !scale.is_normal() {
        return None;
    }
    let factor = |channel: usize| {
        let step = steps.get(&channel).map_or(largest, |s| s * headroom);
        (step / largest).max(SMALLEST) as f32
    };
    let all: Vec<usize> =
        values.iter().flat_map(|&v| sets.channels(v).collect::<Vec<_>>()).collect();
    let factors = all.into_iter().map(|c| (c, factor(c))).collect();
    Some((QParams { scale, zero_point, dtype: DType::I8 }, factors))
}

/// Disjoint sets of values, and of their channels.
struct Sets {
    /// Per value that a step reads or writes: its first channel among all, how many, and its place in `values`.
    places: HashMap<ValueId, (usize, usize, usize)>,
    order: Vec<ValueId>,
    values: Vec<usize>,
    channels: Vec<usize>,
}

impl Sets {
    fn new(network: &Network<'_>, steps: &[Step]) -> Self {
        let mut sets =
            Self { places: HashMap::new(), order: vec![], values: vec![], channels: vec![] };
        let reads = steps.iter().flat_map(|s| s.reads().into_iter().map(|(v, _)| v));
        let writes = steps.iter().flat_map(|s| s.targets().map(|t| t.value).chain([s.raw]));
        for value in reads.chain(writes).chain(network.outputs.iter().map(|(_, v)| *v)) {
            if !sets.places.contains_key(&value) {
                let (first, count) = (sets.channels.len(), network.map(value)[0]);
                sets.places.insert(value, (first, count, sets.values.len()));
                sets.values.push(sets.values.len());
                sets.channels.extend(first..first + count);
                sets.order.push(value);
            }
        }
        sets
    }

    fn values(&self) -> Vec<ValueId> {
        self.order.clone()
    }

    /// What names the set of a value: its first member.
    fn set(&mut self, value: ValueId) -> ValueId {
        let Some(&(_, _, at)) = self.places.get(&value) else { return value };
        self.order[root(&mut self.values, at)]
    }

    /// What names the channels of a value.
    fn channels(&mut self, value: ValueId) -> impl Iterator<Item = usize> + use<> {
        let (first, count, _) = self.places[&value];
        let roots: Vec<usize> =
            (first..first + count).map(|c| root(&mut self.channels, c)).collect();
        roots.into_iter()
    }

    /// Joins what a step passes on.
    fn join(&mut self, network: &Network<'_>, step: &Step) {
        let narrow = step.input_dtype == DType::I8;
        match &step.work {
            Work::MaxPool(_) | Work::Resize if narrow => self.unite(step.input, step.raw, 0),
            Work::Copy(copy) if narrow => self.unite(step.input, step.raw, -copy.start[2]),
            Work::Add if narrow => {
                if let Some((other, DType::I8)) = step.residual {
                    self.unite(step.input, other, 0);
                }
            }
            Work::Concat { operands } => {
                let mut at = 0;
                for &operand in operands {
                    self.unite(operand, step.raw, at);
                    at += network.map(operand)[0] as i32;
                }
            }
            _ => {}
        }
    }

    /// Channel `c` of `from` holds the bytes of channel `c + offset` of `to`, where there is one.
    fn unite(&mut self, from: ValueId, to: ValueId, offset: i32) {
        let ((a, count, at_a), (b, most, at_b)) = (self.places[&from], self.places[&to]);
        merge(&mut self.values, at_a, at_b);
        for channel in 0..count {
            let Ok(other) = usize::try_from(channel as i64 + i64::from(offset)) else { continue };
            if other < most {
                merge(&mut self.channels, a + channel, b + other);
            }
        }
    }
}

fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

fn merge(parents: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parents, a), root(parents, b));
    parents[a.max(b)] = a.min(b);
}

#[cfg(test)]
mod tests {
    use super::headroom;

    #[test]
    fn few_images_leave_more_room() {
        assert_eq!(headroom(16), 1.5);
        assert_eq!(headroom(1), 3.0);
        assert_eq!(headroom(512), 1.2);
        assert!((headroom(60) - 1.258).abs() < 1e-3);
    }
}
