//! One network at two input sizes.

use std::mem::discriminant;

use super::{Graph, Node, Op};
use crate::error::{Error, Result};

impl Graph {
    /// Checks that `other` is this network at another input size: the same nodes, operators and weights; sizes of maps,
    /// and paddings and windows that follow from them, may differ.
    ///
    /// # Errors
    /// [`Error::Graph`] with the first node that is another one, [`Error::Input`] when the inputs differ in more than
    /// height and width.
    pub fn check_resized(&self, other: &Self) -> Result<()> {
        let size = |g: &Self| match *g.shape(g.input) {
            [_, _, h, w] => format!("{h}x{w}"),
            ref shape => format!("{shape:?}"),
        };
        let channels = |g: &Self| g.shape(g.input).get(1).copied();
        let refuse = |node: &str, what: &str| {
            let detail = format!("is not the same at {} as at {}: {what}", size(other), size(self));
            Err(Error::graph(node, detail))
        };
        if channels(self) != channels(other) {
            return refuse(&self.value(self.input).name, "another number of channels");
        }
        for (a, b) in self.nodes().iter().zip(other.nodes()) {
            if a.name != b.name
                || a.inputs != b.inputs
                || discriminant(&a.op) != discriminant(&b.op)
            {
                return refuse(&a.name, "another network comes out of the source");
            }
            if self.shape(a.output).get(1) != other.shape(b.output).get(1) {
                return refuse(&a.name, "another number of channels");
            }
            if !same_weights(a, b) {
                return refuse(&a.name, "its constants depend on the size");
            }
            if !same_parameters(&a.op, &b.op) {
                return refuse(&a.name, "its parameters depend on the size");
            }
        }
        let outputs =
            |g: &Self| -> Vec<_> { g.outputs.iter().map(|o| (o.name.clone(), o.value)).collect() };
        if self.nodes().len() != other.nodes().len() || outputs(self) != outputs(other) {
            let message = format!(
                "the source gives another network at {} than at {}",
                size(other),
                size(self)
            );
            return Err(Error::Input(message));
        }
        Ok(())
    }
}

fn same_weights(a: &Node, b: &Node) -> bool {
    let mut ours = Vec::new();
    a.op.for_each_weight(|role, weights| ours.push((role, weights)));
    let mut ours = ours.into_iter();
    let mut same = true;
    b.op.for_each_weight(|role, weights| same &= ours.next() == Some((role, weights)));
    same && ours.next().is_none()
}

/// Whether all is equal that does not follow from the size of a map.
fn same_parameters(a: &Op, b: &Op) -> bool {
    match (a, b) {
        (Op::Conv2d(a), Op::Conv2d(b)) => {
            (a.stride, a.dilation, a.groups) == (b.stride, b.dilation, b.groups)
        }
        (Op::BatchNorm { eps: a, .. }, Op::BatchNorm { eps: b, .. }) => a == b,
        (Op::Activation(a), Op::Activation(b)) => a == b,
        (Op::Concat { axis: a }, Op::Concat { axis: b })
        | (Op::Softmax { axis: a }, Op::Softmax { axis: b }) => a == b,
        (
            Op::Slice { axis, start, end, step },
            Op::Slice { axis: b_axis, start: b_start, end: b_end, step: b_step },
        ) => (axis, step) == (b_axis, b_step) && (*axis > 1 || (start, end) == (b_start, b_end)),
        (Op::Pad { pads: a, value: x }, Op::Pad { pads: b, value: y }) => {
            x == y && a.len() == b.len() && a.get(1) == b.get(1)
        }
        (Op::Pool(a), Op::Pool(b)) => a.kind == b.kind,
        (Op::Transpose { perm: a }, Op::Transpose { perm: b }) => a == b,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Conv2d, weights};
    use super::*;
    use ndarray::{ArrayD, IxDyn};

    fn graph(size: usize, weight: f32, padding: usize) -> Graph {
        let mut g = Graph::new("test", "image", vec![1, 2, size, size]);
        let weight = weights(ArrayD::from_elem(IxDyn(&[3, 2, 3, 3]), weight));
        let conv = Conv2d {
            weight,
            bias: None,
            stride: [2, 2],
            padding: [1, 1, padding, padding],
            dilation: [1, 1],
            groups: 1,
        };
        let y = g.push("conv", Op::Conv2d(conv), &[g.input]).unwrap();
        g.mark_output("y", y);
        g
    }

    #[test]
    fn only_sizes_may_differ() {
        let base = graph(8, 0.5, 1);
        base.check_resized(&graph(13, 0.5, 0)).unwrap();
        let message = |other: &Graph| base.check_resized(other).unwrap_err().to_string();
        let text = message(&graph(16, 0.25, 1));
        assert!(text.contains("'conv'") && text.contains("16x16"), "{text}");
        let mut longer = graph(16, 0.5, 1);
        longer.push("more", Op::Flatten, &[longer.outputs[0].value]).unwrap();
        assert!(message(&longer).contains("8x8"));
        let mut renamed = graph(16, 0.5, 1);
        renamed.outputs[0].name = "z".into();
        assert!(base.check_resized(&renamed).is_err());
        let gray = Graph::new("test", "image", vec![1, 1, 8, 8]);
        assert!(message(&gray).contains("channels"));
    }
}
