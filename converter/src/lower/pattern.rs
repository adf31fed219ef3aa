//! Fusion: from nodes to steps.
//!
//! ```text
//! conv [-> PReLU | leaky ReLU | SiLU | ReLU in front of a sum] [-> + other branch] [-> activation]     one step
//! ... sum -> {skip, batch norm -> ReLU}                                                        one step, two stores
//! ```
//!
//! Of a sum's two branches the one that executes last absorbs the addition and reads the other one as its residual.

use kenar::desc::DType;

use super::prepare::{Conv, Kind, Network};
use super::shape::Window;
use super::step::{Finish, Second, Step, Target, Work};
use crate::graph::{Activation, ValueId};

/// Turns the nodes of a network into steps, in execution order.
pub(crate) fn match_steps(network: &Network<'_>) -> Vec<Step> {
    let mut matcher = Matcher {
        network,
        absorbed: vec![false; network.nodes.len()],
        owner: owners(network),
        producer: producers(network),
    };
    let mut steps: Vec<(usize, Step)> = Vec::new();
    for i in 0..network.nodes.len() {
        if !matcher.absorbed[i] {
            steps.push(matcher.step(i));
        }
    }
    steps.sort_by_key(|(at, _)| *at);
    steps.into_iter().map(|(_, step)| step).collect()
}

fn producers(network: &Network<'_>) -> Vec<Option<usize>> {
    let mut producer = vec![None; network.graph.values().len()];
    network.nodes.iter().enumerate().for_each(|(i, n)| producer[n.output.0] = Some(i));
    producer
}

/// For every addition: the convolution or product that absorbs it.
fn owners(network: &Network<'_>) -> Vec<Option<usize>> {
    let producer = producers(network);
    let mut owner = vec![None; network.nodes.len()];
    for (at, node) in network.nodes.iter().enumerate() {
        if !matches!(node.kind, Kind::Add) || node.inputs[0] == node.inputs[1] {
            continue;
        }
        let candidate = |v: ValueId| -> Option<usize> {
            network.only_consumer(v)?;
            let p = producer[v.0]?;
            match &network.nodes[p].kind {
                Kind::Conv(_) | Kind::Mul => Some(p),
                // A slope per channel, SiLU or a ReLU: the convolution applies it before it adds.
                kind if slope(kind, 1).is_some()
                    || matches!(kind, Kind::Activation(Activation::Relu | Activation::Silu)) =>
                {
                    let before = network.nodes[p].inputs[0];
                    network.only_consumer(before)?;
                    producer[before.0].filter(|&c| matches!(network.nodes[c].kind, Kind::Conv(_)))
                }
                _ => None,
            }
        };
        owner[at] = node.inputs.iter().filter_map(|&v| candidate(v)).max();
    }
    owner
}

/// The factor below zero, for activations that are nothing else.
fn slope(kind: &Kind, channels: usize) -> Option<Vec<f32>> {
    match kind {
        Kind::PRelu(slope) => Some(slope.clone()),
        Kind::Activation(Activation::LeakyRelu { slope }) => Some(vec![*slope; channels]),
        _ => None,
    }
}

struct Matcher<'n, 'g> {
    network: &'n Network<'g>,
    absorbed: Vec<bool>,
    owner: Vec<Option<usize>>,
    producer: Vec<Option<usize>>,
}

impl Matcher<'_, '_> {
    fn step(&mut self, i: usize) -> (usize, Step) {
        let node = &self.network.nodes[i];
        let work = match &node.kind {
            Kind::Conv(c) => Work::Conv(c.clone()),
            Kind::PRelu(_) => return self.standalone_slope(i),
            Kind::Affine { scale, shift } => {
                Work::Affine { scale: scale.clone(), shift: shift.clone() }
            }
            Kind::Activation(a) => Work::Table(a.clone()),
            Kind::Add => Work::Add,
            Kind::Mul => Work::Mul { gate: node.inputs[1] },
            Kind::Concat => Work::Concat { operands: node.inputs.clone() },
            Kind::Copy(c) => Work::Copy(*c),
            Kind::MaxPool(w) => Work::MaxPool(*w),
            Kind::AvgPool { window, count_padding } => {
                Work::AvgPool { window: *window, count_padding: *count_padding }
            }
            Kind::Resize => Work::Resize,
        };
        let mut at = i;
        let mut current = node.output;
        let mut slope_of = None;
        let mut silu = false;
        let mut residual = None;
        if matches!(work, Work::Add) {
            residual = Some((node.inputs[1], DType::I8));
        }
        if matches!(work, Work::Conv(_)) {
            slope_of = self.absorb_slope(i, &mut current, &mut at);
            silu = slope_of.is_none() && self.absorb_silu(&mut current, &mut at);
        }
        if matches!(work, Work::Conv(_) | Work::Mul { .. }) {
            residual = self.absorb_sum(i, &mut current, &mut at);
        }
        let raw = current;
        let finish = match work {
            Work::Conv(_)
            | Work::Add
            | Work::Mul { .. }
            | Work::Affine { .. }
            | Work::AvgPool { .. } => self.absorb_activation(&mut current),
            _ => Finish::Plain,
        };
        let first = Target { value: current, before: raw, finish, dtype: DType::I8 };
        let mut step = Step {
            name: node.name.clone(),
            input: node.inputs[0],
            input_dtype: DType::I8,
            slope: slope_of,
            silu,
            residual,
            raw,
            first: Some(first),
            second: None,
            work,
        };
        if step.work.has_epilogue() && current == raw {
            self.absorb_second(&mut step);
        }
        (at, step)
    }

    /// PReLU behind something that is no convolution: a depthwise 1x1 convolution with weight 1 and a slope.
    fn standalone_slope(&mut self, i: usize) -> (usize, Step) {
        let node = &self.network.nodes[i];
        let Kind::PRelu(slope) = &node.kind else { unreachable!("called for PReLU") };
        let channels = slope.len();
        let conv = Conv {
            source: None,
            weight: std::sync::Arc::new(vec![1.0; channels]),
            shape: [channels, 1, 1, 1],
            bias: vec![0.0; channels],
            window: Window { size: [1, 1], stride: [1, 1], padding: [0; 4], dilation: [1, 1] },
            groups: channels,
        };
        let target = Target {
            value: node.output,
            before: node.output,
            finish: Finish::Plain,
            dtype: DType::I8,
        };
        let step = Step {
            name: node.name.clone(),
            input: node.inputs[0],
            input_dtype: DType::I8,
            slope: Some(slope.clone()),
            silu: false,
            residual: None,
            raw: node.output,
            first: Some(target),
            second: None,
            work: Work::Conv(conv),
        };
        (i, step)
    }

    fn absorb_slope(
        &mut self,
        conv: usize,
        current: &mut ValueId,
        at: &mut usize,
    ) -> Option<Vec<f32>> {
        let next = self.network.only_consumer(*current)?;
        let node = &self.network.nodes[next];
        let channels = self.network.map(*current)[0];
        let found = slope(&node.kind, channels).or_else(|| {
            // ReLU in front of the sum that this convolution absorbs.
            let relu = matches!(node.kind, Kind::Activation(Activation::Relu));
            let sum = self.network.only_consumer(node.output)?;
            (relu && self.owner[sum] == Some(conv)).then(|| vec![0.0; channels])
        })?;
        self.absorbed[next] = true;
        *current = node.output;
        *at = next;
        Some(found)
    }

    fn absorb_silu(&mut self, current: &mut ValueId, at: &mut usize) -> bool {
        let Some(next) = self.network.only_consumer(*current) else { return false };
        let node = &self.network.nodes[next];
        let found = matches!(node.kind, Kind::Activation(Activation::Silu));
        if found {
            self.absorbed[next] = true;
            *current = node.output;
            *at = next;
        }
        found
    }

    fn absorb_sum(
        &mut self,
        i: usize,
        current: &mut ValueId,
        at: &mut usize,
    ) -> Option<(ValueId, DType)> {
        let next = self.network.only_consumer(*current)?;
        if self.owner[next] != Some(i) {
            return None;
        }
        let sum = &self.network.nodes[next];
        let other = if sum.inputs[0] == *current { sum.inputs[1] } else { sum.inputs[0] };
        self.absorbed[next] = true;
        *current = sum.output;
        *at = next;
        Some((other, DType::I8))
    }

    fn absorb_activation(&mut self, current: &mut ValueId) -> Finish {
        let Some(next) = self.network.only_consumer(*current) else { return Finish::Plain };
        let node = &self.network.nodes[next];
        match &node.kind {
            Kind::Activation(a) => {
                self.absorbed[next] = true;
                *current = node.output;
                Finish::of(a)
            }
            _ => Finish::Plain,
        }
    }

    /// The affine (batch norm) or activation of a raw result that others read too, or that can be read no other way.
    fn absorb_second(&mut self, step: &mut Step) {
        let raw = step.raw;
        let consumers = self.network.consumers(raw);
        let is_affine = |&&c: &&usize| matches!(self.network.nodes[c].kind, Kind::Affine { .. });
        let is_activation =
            |&&c: &&usize| matches!(self.network.nodes[c].kind, Kind::Activation(_));
        let Some(&chosen) =
            consumers.iter().find(is_affine).or_else(|| consumers.iter().find(is_activation))
        else {
            return;
        };
        let node = &self.network.nodes[chosen];
        debug_assert!(!self.absorbed[chosen] && self.producer[raw.0].is_some());
        self.absorbed[chosen] = true;
        let channels = self.network.map(raw)[0];
        let (scale, shift, mut value, mut finish) = match &node.kind {
            Kind::Affine { scale, shift } => {
                (scale.clone(), shift.clone(), node.output, Finish::Plain)
            }
            Kind::Activation(a) => {
                (vec![1.0; channels], vec![0.0; channels], node.output, Finish::of(a))
            }
            _ => unreachable!("chosen among these two"),
        };
        let before = if matches!(node.kind, Kind::Affine { .. }) { value } else { raw };
        if finish == Finish::Plain {
            finish = self.absorb_activation(&mut value);
        }
        let target = Target { value, before, finish, dtype: DType::I8 };
        step.second = Some(Second { scale, shift, target });
        if consumers.len() == 1 && !self.network.is_output(raw) {
            step.first = None;
        }
    }
}
