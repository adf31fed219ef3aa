//! Passes on hand-built graphs; `random` compares executed outputs before and after on generated ones.

mod blocks;
mod patterns;
mod random;
mod residual;

use ndarray::{ArrayD, IxDyn};

use super::{Report, run};
use crate::exec;
use crate::graph::{Activation, Conv2d, Graph, Op, ValueId, Weights, weights};

/// Numbers in -1..1 from a fixed linear congruence.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }

    pub(super) fn unit(&mut self) -> f32 {
        self.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0
    }

    pub(super) fn array(&mut self, shape: &[usize]) -> ArrayD<f32> {
        ArrayD::from_shape_simple_fn(IxDyn(shape), || self.unit())
    }

    pub(super) fn weights(&mut self, shape: &[usize]) -> Weights {
        weights(self.array(shape))
    }

    pub(super) fn conv(
        &mut self,
        inputs: usize,
        outputs: usize,
        window: usize,
        stride: usize,
        groups: usize,
    ) -> Op {
        let fan_in = (inputs / groups * window * window) as f32;
        let weight = self.array(&[outputs, inputs / groups, window, window]) / fan_in.sqrt();
        Op::Conv2d(Conv2d {
            weight: weights(weight),
            bias: (self.below(2) == 0).then(|| self.weights(&[outputs])),
            stride: [stride; 2],
            padding: [window / 2; 4],
            dilation: [1; 2],
            groups,
        })
    }

    pub(super) fn batch_norm(&mut self, channels: usize) -> Op {
        Op::BatchNorm {
            gamma: self.weights(&[channels]),
            beta: self.weights(&[channels]),
            mean: self.weights(&[channels]),
            var: weights(self.array(&[channels]).mapv(|v| v.abs() + 0.1)),
            eps: 1e-5,
        }
    }
}

pub(super) const RELU: Op = Op::Activation(Activation::Relu);

/// Operator names in order.
fn operators(graph: &Graph) -> Vec<&'static str> {
    graph.nodes().iter().map(|n| n.op.name()).collect()
}

/// Folds and checks that the executed outputs stay; the largest difference allowed is 1e-5 of the largest output.
fn fold_checked(graph: &Graph, seed: u64) -> (Graph, Report) {
    let (folded, report) = run(graph).unwrap();
    let x = Random::new(seed).array(graph.shape(graph.input)) * 2.0;
    let before = exec::run(graph, &x).unwrap();
    let after = exec::run(&folded, &x).unwrap();
    for ((output, a), b) in graph.outputs.iter().zip(&before).zip(&after) {
        assert_eq!(a.shape(), b.shape());
        let largest = a.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
        let error = a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(
            error <= 1e-5 * largest,
            "{}: {error} of {largest}, seed {seed}\n{report:#}",
            output.name
        );
    }
    (folded, report)
}

/// A graph of one chain: the operators one after the other.
fn chain(shape: &[usize], ops: Vec<Op>) -> Graph {
    let mut g = Graph::new("test", "input", shape.to_vec());
    let mut x = g.input;
    for (i, op) in ops.into_iter().enumerate() {
        x = g.push(format!("n{i}"), op, &[x]).unwrap();
    }
    g.mark_output("output", x);
    g
}

fn constant(g: &mut Graph, name: &str, shape: &[usize], values: &[f32]) -> ValueId {
    let array = ArrayD::from_shape_vec(IxDyn(shape), values.to_vec()).unwrap();
    g.push(name, Op::Constant(weights(array)), &[]).unwrap()
}
