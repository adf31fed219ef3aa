//! Raw heads to outputs of their own: boxes, objectness, classes and landmarks each from a convolution of its own,
//! so that each gets a scale of its own.

use super::pick::{Pick, pick};
use super::spec::{HeadSpec, LevelSpec, Part, RawHead, RawLevel};
use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};

/// Splits the convolutions that mix parts of a head, by their output channels: weights and bias are cut, nothing is
/// computed twice. The graph keeps the head's outputs only, in the head's order; parts that are an output already keep
/// its name, others are `p3_reg`, `p3_obj`, `p3_cls`, `p3_kps` (`p3` for stride 8).
///
/// # Errors
/// [`Error::Graph`] or [`Error::Input`] for an output that is missing, no map, or without the channels that the head
/// reads.
pub fn separate(graph: &Graph, raw: &RawHead) -> Result<(Graph, HeadSpec)> {
    let mut picks = Vec::new();
    let mut levels = Vec::new();
    for level in &raw.levels {
        levels.push(split(graph, raw, level, &mut picks)?);
    }
    Ok((pick(graph, &picks)?, raw.with_levels(levels)))
}

fn split(
    graph: &Graph,
    raw: &RawHead,
    level: &RawLevel,
    picks: &mut Vec<Pick>,
) -> Result<LevelSpec> {
    let mut take = |part: &Part, components: usize, suffix: &str| -> Result<String> {
        let source = output(graph, part)?;
        let channels: Vec<usize> = (0..raw.anchors_per_cell)
            .flat_map(|a| (0..components).map(move |k| part.first + a * part.per_anchor + k))
            .collect();
        let whole =
            channels.iter().copied().eq(0..graph.shape(source).get(1).copied().unwrap_or(0));
        let name = if whole {
            part.output.clone()
        } else {
            format!("{}_{suffix}", level_name(level.stride))
        };
        picks.push(Pick { name: name.clone(), source, channels, factor: 1.0 });
        Ok(name)
    };
    let boxes = take(&level.boxes, raw.code.channels() as usize, "reg")?;
    let objectness = level.objectness.as_ref().map(|p| take(p, 1, "obj")).transpose()?;
    let scores = take(&level.scores, raw.classes, "cls")?;
    let points = level.points.as_ref().map(|p| take(p, 2 * raw.points, "pts")).transpose()?;
    let (stride, anchors) = (level.stride, level.anchors.clone());
    Ok(LevelSpec { stride, boxes, objectness, scores, points, anchors })
}

fn output(graph: &Graph, part: &Part) -> Result<ValueId> {
    let found = graph.outputs.iter().find(|o| o.name == part.output);
    found.map(|o| o.value).ok_or_else(|| {
        Error::Input(format!(
            "the head reads output '{}', which the network does not have",
            part.output
        ))
    })
}

/// `p3` for stride 8, `s12` for strides that are no power of two.
pub(crate) fn level_name(stride: u32) -> String {
    if stride.is_power_of_two() {
        format!("p{}", stride.trailing_zeros())
    } else {
        format!("s{stride}")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kenar::detect::BoxCode;
    use ndarray::{ArrayD, Axis, IxDyn};

    use super::*;
    use crate::exec;
    use crate::graph::{Activation, Conv2d, Op, Weights, weights};

    fn ramp(shape: &[usize], step: f32) -> ArrayD<f32> {
        let n: usize = shape.iter().product();
        let values = (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) * step).collect();
        ArrayD::from_shape_vec(IxDyn(shape), values).unwrap()
    }

    fn conv(c_out: usize, c_in: usize) -> Op {
        Op::Conv2d(Conv2d {
            weight: weights(ramp(&[c_out, c_in, 1, 1], 0.01)),
            bias: Some(weights(ramp(&[c_out], 0.02))),
            stride: [1; 2],
            padding: [0; 4],
            dilation: [1; 2],
            groups: 1,
        })
    }

    fn vector(n: usize, step: f32) -> Weights {
        weights(ramp(&[n], step).mapv(|v| v.abs() + 0.5))
    }

    /// Two anchors of box, objectness and three classes from one convolution, with a norm or an activation behind it, or
    /// from two convolutions side by side.
    fn network(behind: &str) -> Graph {
        let mut g = Graph::new("test", "image", vec![1, 4, 3, 5]);
        let mut y = g.push("pred", conv(16, 4), &[g.input]).unwrap();
        y = match behind {
            "norm" => {
                let v = |step| vector(16, step);
                let op = Op::BatchNorm {
                    gamma: v(0.1),
                    beta: v(0.2),
                    mean: v(0.3),
                    var: v(0.4),
                    eps: 1e-5,
                };
                g.push("norm", op, &[y]).unwrap()
            }
            "act" => g.push("act", Op::Activation(Activation::Tanh), &[y]).unwrap(),
            "join" => {
                let a = g.push("first", conv(8, 4), &[g.input]).unwrap();
                let b = g.push("second", conv(8, 4), &[g.input]).unwrap();
                g.push("join", Op::Concat { axis: 1 }, &[a, b]).unwrap()
            }
            _ => y,
        };
        g.mark_output("p3_pred", y);
        g.mark_output("features", g.input);
        g
    }

    fn head() -> RawHead {
        let part = |first| Part { output: "p3_pred".into(), first, per_anchor: 8 };
        RawHead {
            kind: "test".into(),
            code: BoxCode::Anchor,
            centre: 0.0,
            anchors_per_cell: 2,
            classes: 3,
            points: 0,
            levels: vec![RawLevel {
                stride: 8,
                boxes: part(0),
                objectness: Some(part(4)),
                scores: part(5),
                points: None,
                anchors: vec![[1.0, 2.0], [3.0, 4.0]],
            }],
            labels: Vec::new(),
            input: None,
        }
    }

    #[test]
    fn parts_are_convolutions_of_their_own_with_the_same_values() {
        for behind in ["", "norm", "act", "join"] {
            let graph = network(behind);
            let (separate, spec) = separate(&graph, &head()).unwrap();
            let names: Vec<&str> = spec.outputs().collect();
            assert_eq!(names, ["p3_reg", "p3_obj", "p3_cls"]);
            assert_eq!(spec.levels[0].anchors, [[1.0, 2.0], [3.0, 4.0]]);
            let input = ramp(&[1, 4, 3, 5], 0.1);
            let whole = exec::run(&graph, &input).unwrap().remove(0);
            let parts = exec::run(&separate, &input).unwrap();
            let channels: [&[usize]; 3] =
                [&[0, 1, 2, 3, 8, 9, 10, 11], &[4, 12], &[5, 6, 7, 13, 14, 15]];
            for (found, channels) in parts.iter().zip(channels) {
                assert_eq!(*found, whole.select(Axis(1), channels), "{behind}");
            }
            if behind != "join" {
                // Nothing is computed twice, and nothing is computed for nobody.
                let macs = separate.macs();
                assert_eq!(macs, graph.macs(), "{behind}");
                assert!(separate.nodes().iter().all(|n| n.name != "pred"), "{behind}");
            }
        }
    }

    #[test]
    fn whole_outputs_keep_their_names_and_weights() {
        let mut g = Graph::new("test", "image", vec![1, 4, 3, 5]);
        for (name, channels) in [("reg", 8), ("obj", 2), ("cls", 6)] {
            let y = g.push(name, conv(channels, 4), &[g.input]).unwrap();
            g.mark_output(format!("out_{name}"), y);
        }
        let mut raw = head();
        raw.levels[0].boxes = Part::whole("out_reg", 4);
        raw.levels[0].objectness = Some(Part::whole("out_obj", 1));
        raw.levels[0].scores = Part::whole("out_cls", 3);
        let (separate, spec) = separate(&g, &raw).unwrap();
        assert_eq!(spec.outputs().collect::<Vec<_>>(), ["out_reg", "out_obj", "out_cls"]);
        let weight = |g: &Graph| match &g.nodes()[0].op {
            Op::Conv2d(c) => c.weight.clone(),
            _ => unreachable!(),
        };
        assert!(Arc::ptr_eq(&weight(&g), &weight(&separate)));
        assert_eq!(raw.separated(&g), Some(spec));
    }

    #[test]
    fn a_head_that_does_not_fit_is_refused() {
        let graph = network("");
        let mut raw = head();
        raw.levels[0].scores.first = 9;
        assert!(separate(&graph, &raw).unwrap_err().to_string().contains("16 channels"));
        raw.levels[0].scores.output = "absent".into();
        assert!(separate(&graph, &raw).unwrap_err().to_string().contains("'absent'"));
    }
}
