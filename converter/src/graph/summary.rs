//! What a graph consists of and costs: rows for the layer table, totals per stage, parameter counts.

use super::{Graph, Node, Op, Weights};

/// One operator of the layer table.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerRow {
    /// The node's name.
    pub name: String,
    /// Operator with its window, stride and groups: `Conv2d 3x3 /2 g32`.
    pub op: String,
    /// Result shape, N = 1.
    pub shape: Vec<usize>,
    /// Learned values it holds: weights and biases, scale and shift of batch norms and affine operators, slopes.
    pub parameters: usize,
    /// Multiply-accumulates of convolutions and linear layers.
    pub macs: u64,
    /// Size of the result at one byte per element, as the int8 model holds it.
    pub activation_bytes: usize,
}

/// All operators whose results are maps of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct StageRow {
    /// Map height and width; `None` for what has no map (behind a flatten).
    pub size: Option<[usize; 2]>,
    /// Input height over map height, rounded; 0 without a map.
    pub stride: usize,
    /// Number of operators.
    pub layers: usize,
    /// Sum over the operators.
    pub parameters: usize,
    /// Sum over the operators.
    pub macs: u64,
    /// Sum over the operators' results: bytes written in one inference at one byte per element.
    pub activation_bytes: usize,
    /// The largest result.
    pub largest_activation_bytes: usize,
}

impl Graph {
    /// The layer table, in execution order; constants are part of who reads them.
    pub fn layers(&self) -> Vec<LayerRow> {
        let operators = self.nodes().iter().filter(|n| !matches!(n.op, Op::Constant(_)));
        operators
            .map(|node| LayerRow {
                name: node.name.clone(),
                op: describe(&node.op),
                shape: self.shape(node.output).to_vec(),
                parameters: parameters(node),
                macs: self.node_macs(node),
                activation_bytes: self.shape(node.output).iter().product(),
            })
            .collect()
    }

    /// Totals per map size, in the order in which the sizes first occur.
    pub fn stages(&self) -> Vec<StageRow> {
        let input_height = self.shape(self.input).get(2).copied().unwrap_or(0);
        let mut stages: Vec<StageRow> = Vec::new();
        for layer in self.layers() {
            let size = match layer.shape[..] {
                [_, _, h, w] => Some([h, w]),
                _ => None,
            };
            let at = stages.iter().position(|s| s.size == size).unwrap_or_else(|| {
                let stride = size.map_or(0, |[h, _]| (input_height + h / 2) / h.max(1));
                stages.push(StageRow {
                    size,
                    stride,
                    layers: 0,
                    parameters: 0,
                    macs: 0,
                    activation_bytes: 0,
                    largest_activation_bytes: 0,
                });
                stages.len() - 1
            });
            let stage = &mut stages[at];
            stage.layers += 1;
            stage.parameters += layer.parameters;
            stage.macs += layer.macs;
            stage.activation_bytes += layer.activation_bytes;
            stage.largest_activation_bytes =
                stage.largest_activation_bytes.max(layer.activation_bytes);
        }
        stages
    }

    /// Learned parameters: what the source said, else the values the operators hold, shared ones once.
    pub fn parameter_count(&self) -> usize {
        if self.parameters > 0 {
            return self.parameters;
        }
        let mut seen: Vec<&Weights> = Vec::new();
        for node in self.nodes() {
            node.op.for_each_weight(|role, w| {
                if is_learned(role) && !seen.iter().any(|s| Weights::ptr_eq(s, w)) {
                    seen.push(w);
                }
            });
        }
        seen.iter().map(|w| w.len()).sum()
    }
}

/// Statistics and free constants are not learned.
fn is_learned(role: &str) -> bool {
    !matches!(role, "mean" | "variance" | "constant")
}

fn parameters(node: &Node) -> usize {
    let mut sum = 0;
    node.op.for_each_weight(|role, w| {
        if is_learned(role) {
            sum += w.len();
        }
    });
    sum
}

fn describe(op: &Op) -> String {
    let mut text = op.name().to_owned();
    let mut windowed = |window: [usize; 2], stride: [usize; 2], dilation: [usize; 2]| {
        let pair = |[a, b]: [usize; 2]| if a == b { a.to_string() } else { format!("{a}x{b}") };
        text += &format!(" {}x{}", window[0], window[1]);
        if stride != [1, 1] {
            text += &format!(" /{}", pair(stride));
        }
        if dilation != [1, 1] {
            text += &format!(" dilated {}", pair(dilation));
        }
    };
    match op {
        Op::Conv2d(c) => {
            windowed([c.weight.shape()[2], c.weight.shape()[3]], c.stride, c.dilation);
            if c.groups > 1 {
                text += &format!(" g{}", c.groups);
            }
        }
        Op::Pool(p) => windowed(p.window, p.stride, p.dilation),
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, IxDyn};

    use super::*;
    use crate::graph::{Activation, Conv2d, weights};

    fn zeros(shape: &[usize]) -> Weights {
        weights(ArrayD::zeros(IxDyn(shape)))
    }

    /// Convolution, batch norm, ReLU of 3 -> 16 channels, a strided grouped convolution, pooling, 10 classes.
    fn network() -> Graph {
        let conv = |shape: &[usize], stride, groups| {
            Op::Conv2d(Conv2d {
                weight: zeros(shape),
                bias: None,
                stride: [stride; 2],
                padding: [1; 4],
                dilation: [1; 2],
                groups,
            })
        };
        let c = || zeros(&[16]);
        let mut g = Graph::new("test", "input", vec![1, 3, 8, 8]);
        let x = g.push("conv1", conv(&[16, 3, 3, 3], 1, 1), &[g.input]).unwrap();
        let bn = Op::BatchNorm { gamma: c(), beta: c(), mean: c(), var: c(), eps: 1e-5 };
        let x = g.push("bn1", bn, &[x]).unwrap();
        let x = g.push("relu", Op::Activation(Activation::Relu), &[x]).unwrap();
        let x = g.push("conv2", conv(&[32, 4, 3, 3], 2, 4), &[x]).unwrap();
        let x = g.push("pool", Op::GlobalAvgPool, &[x]).unwrap();
        let x = g.push("flat", Op::Flatten, &[x]).unwrap();
        let fc = Op::Linear { weight: zeros(&[10, 32]), bias: Some(zeros(&[10])) };
        let x = g.push("fc", fc, &[x]).unwrap();
        g.mark_output("output", x);
        g
    }

    #[test]
    fn parameters_are_counted_as_pytorch_counts_them() {
        let mut g = network();
        // ConvBNAct(3, 16) has 464; conv2 32*4*9; fc 330.
        let layers = g.layers();
        assert_eq!(layers[0].parameters + layers[1].parameters, 464);
        assert_eq!(g.parameter_count(), 464 + 1152 + 330);
        g.parameters = 5;
        assert_eq!(g.parameter_count(), 5);
    }

    #[test]
    fn rows_and_stages() {
        let g = network();
        let layers = g.layers();
        assert_eq!(layers[3].op, "Conv2d 3x3 /2 g4");
        assert_eq!(
            (layers[3].shape.as_slice(), layers[3].macs),
            (&[1, 32, 4, 4][..], 32 * 36 * 16)
        );
        let stages = g.stages();
        let sizes: Vec<_> = stages.iter().map(|s| (s.size, s.stride, s.layers)).collect();
        assert_eq!(
            sizes,
            [(Some([8, 8]), 1, 3), (Some([4, 4]), 2, 1), (Some([1, 1]), 8, 1), (None, 0, 2)]
        );
        assert_eq!(stages[0].activation_bytes, 3 * 16 * 64);
        assert_eq!(stages[0].largest_activation_bytes, 16 * 64);
        assert_eq!(stages.iter().map(|s| s.macs).sum::<u64>(), g.macs());
    }
}
