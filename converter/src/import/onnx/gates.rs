//! Recognises activations that ONNX spells out in several nodes, and drops what is no longer read.

use crate::error::Result;
use crate::graph::{Activation, Graph, Op, ValueId};

/// An operator with the values it reads.
struct Step {
    name: String,
    op: Op,
    inputs: Vec<ValueId>,
}

fn near(a: f32, b: f32) -> bool {
    (a - b).abs() <= 1e-6
}

fn is_affine(op: &Op, scale: f32, shift: f32) -> bool {
    match op {
        Op::Affine { scale: a, shift: b } => {
            a.iter().all(|&v| near(v, scale)) && b.iter().all(|&v| near(v, shift))
        }
        _ => false,
    }
}

fn is_relu6(op: &Op) -> bool {
    matches!(op, Op::Activation(Activation::Clip { min, max }) if *min == 0.0 && *max == 6.0)
}

/// The step that makes a value; `None` for the input.
fn maker(steps: &[Step], value: ValueId) -> Option<&Step> {
    // Value 0 is the input, value i + 1 the result of step i.
    steps.get(value.0.checked_sub(1)?)
}

/// The operand of `min(max(x + 3, 0), 6)`, if a value is that.
fn shifted_relu6(steps: &[Step], value: ValueId) -> Option<ValueId> {
    let clip = maker(steps, value).filter(|s| is_relu6(&s.op))?;
    let add = maker(steps, clip.inputs[0]).filter(|s| is_affine(&s.op, 1.0, 3.0))?;
    Some(add.inputs[0])
}

/// The activation that multiplying `x` by its gate `g` makes.
fn gated(steps: &[Step], x: ValueId, g: ValueId) -> Option<Activation> {
    let gate = maker(steps, g)?;
    match &gate.op {
        Op::Activation(Activation::Sigmoid) if gate.inputs[0] == x => Some(Activation::Silu),
        Op::Activation(Activation::HardSigmoid { alpha, beta })
            if gate.inputs[0] == x && near(*alpha, 1.0 / 6.0) && near(*beta, 0.5) =>
        {
            Some(Activation::HardSwish)
        }
        _ => None,
    }
}

/// What a step computes, if it is the end of a known pattern: an activation of one value.
fn pattern(steps: &[Step], step: &Step) -> Option<(Activation, ValueId)> {
    match (&step.op, step.inputs.as_slice()) {
        (Op::Mul, &[a, b]) => [(a, b), (b, a)]
            .into_iter()
            .find_map(|(x, g)| gated(steps, x, g).map(|activation| (activation, x))),
        // relu6(x + 3) / 6 and x * relu6(x + 3) / 6.
        (op @ Op::Affine { .. }, &[v]) if is_affine(op, 1.0 / 6.0, 0.0) => {
            if let Some(x) = shifted_relu6(steps, v) {
                return Some((Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, x));
            }
            let product = maker(steps, v).filter(|s| matches!(s.op, Op::Mul))?;
            let &[a, b] = product.inputs.as_slice() else { return None };
            [(a, b), (b, a)]
                .into_iter()
                .find(|&(x, g)| shifted_relu6(steps, g) == Some(x))
                .map(|(x, _)| (Activation::HardSwish, x))
        }
        _ => None,
    }
}

/// The same network with gates as activations, without nodes that no result needs.
pub(super) fn recognise(graph: &Graph) -> Result<Graph> {
    let mut steps: Vec<Step> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let mut step =
            Step { name: node.name.clone(), op: node.op.clone(), inputs: node.inputs.clone() };
        if let Some((activation, x)) = pattern(&steps, &step) {
            step.op = Op::Activation(activation);
            step.inputs = vec![x];
        }
        steps.push(step);
    }

    let mut live = vec![false; graph.values().len()];
    for output in &graph.outputs {
        live[output.value.0] = true;
    }
    for (i, step) in steps.iter().enumerate().rev() {
        if live[i + 1] {
            step.inputs.iter().for_each(|v| live[v.0] = true);
        }
    }

    let mut result = graph.like();
    let mut map = vec![result.input; graph.values().len()];
    for (i, step) in steps.into_iter().enumerate().filter(|(i, _)| live[i + 1]) {
        let inputs: Vec<ValueId> = step.inputs.iter().map(|v| map[v.0]).collect();
        map[i + 1] = result.push(step.name, step.op, &inputs)?;
    }
    for output in &graph.outputs {
        result.mark_output(output.name.clone(), map[output.value.0]);
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use ndarray::{ArrayD, IxDyn};

    use super::*;
    use crate::graph::weights;

    fn affine(scale: f32, shift: f32) -> Op {
        let vector = |v| weights(ArrayD::from_elem(IxDyn(&[4]), v));
        Op::Affine { scale: vector(scale), shift: vector(shift) }
    }

    fn names(graph: &Graph) -> Vec<&'static str> {
        graph.nodes().iter().map(|n| n.op.name()).collect()
    }

    #[test]
    fn a_sigmoid_gate_is_silu() {
        let mut g = Graph::new("onnx", "x", vec![1, 4, 2, 2]);
        let s = g.push("s", Op::Activation(Activation::Sigmoid), &[g.input]).unwrap();
        let y = g.push("y", Op::Mul, &[s, g.input]).unwrap();
        g.mark_output("out", y);
        let silu = recognise(&g).unwrap();
        assert_eq!(names(&silu), ["SiLU"]);
        assert_eq!(silu.nodes()[0].name, "y");
        // A sigmoid that is a result itself stays.
        g.mark_output("gate", s);
        assert_eq!(names(&recognise(&g).unwrap()), ["Sigmoid", "SiLU"]);
    }

    #[test]
    fn a_gate_of_another_value_stays() {
        let mut g = Graph::new("onnx", "x", vec![1, 4, 2, 2]);
        let r = g.push("r", Op::Activation(Activation::Relu), &[g.input]).unwrap();
        let s = g.push("s", Op::Activation(Activation::Sigmoid), &[r]).unwrap();
        let y = g.push("y", Op::Mul, &[s, g.input]).unwrap();
        g.mark_output("out", y);
        assert_eq!(names(&recognise(&g).unwrap()), ["Relu", "Sigmoid", "Mul"]);
    }

    #[test]
    fn hard_swish_in_four_nodes_is_one() {
        for divide_first in [false, true] {
            let mut g = Graph::new("onnx", "x", vec![1, 4, 2, 2]);
            let add = g.push("add", affine(1.0, 3.0), &[g.input]).unwrap();
            let clip = Op::Activation(Activation::Clip { min: 0.0, max: 6.0 });
            let clip = g.push("clip", clip, &[add]).unwrap();
            let y = if divide_first {
                let d = g.push("d", affine(1.0 / 6.0, 0.0), &[clip]).unwrap();
                g.push("m", Op::Mul, &[g.input, d]).unwrap()
            } else {
                let m = g.push("m", Op::Mul, &[g.input, clip]).unwrap();
                g.push("d", affine(1.0 / 6.0, 0.0), &[m]).unwrap()
            };
            g.mark_output("out", y);
            assert_eq!(
                names(&recognise(&g).unwrap()),
                ["HardSwish"],
                "divide first: {divide_first}"
            );
        }
    }
}
