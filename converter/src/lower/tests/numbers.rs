//! Lowered graphs, run by the scalar runtime, against the float executor: errors in steps of the output.

use kenar::{Model, Session};
use ndarray::ArrayD;

use super::*;
use crate::evaluate::layer::LayerSums;
use crate::exec;
use crate::quantize::{Method, row_major};

/// Runs both; the largest and the mean error of each output, in steps of an i8 tensor of its range. Ranges hold all
/// that the images show, so that nothing is cut and errors are those of rounding.
fn errors(graph: &Graph, options: &LowerOptions) -> Vec<(f64, f64)> {
    let all = Options { method: Method::MinMax };
    let seen = calibrate(graph, images(graph, 12).into_iter().map(Ok), &all, |_| {}).unwrap();
    let (file, _) = lower(graph, &seen, None, options).unwrap();
    let model = Model::parse(&file).unwrap();
    let mut arena = vec![0; model.arena_bytes()];
    let mut session = Session::new(&model, &mut arena).unwrap();
    let mut result = vec![(0.0f64, 0.0f64); graph.outputs.len()];
    let tests = images(graph, 12).split_off(8);
    for image in &tests {
        let float = exec::run(graph, image).unwrap();
        session.input().set_f32_nchw(image.as_slice().unwrap()).unwrap();
        session.run().unwrap();
        for (i, exact) in float.iter().enumerate() {
            let tensor = session.output_at(i).unwrap();
            let mut values = vec![0.0; exact.len()];
            tensor.copy_f32_nchw(&mut values).unwrap();
            let (low, high) =
                exact.iter().fold((0.0f32, 0.0f32), |(l, h), &x| (l.min(x), h.max(x)));
            let step = f64::from(high - low) / 255.0;
            let errors = exact.iter().zip(&values).map(|(&x, &y)| f64::from((x - y).abs()) / step);
            let (largest, sum) = errors.fold((0.0f64, 0.0), |(m, s), e| (m.max(e), s + e));
            result[i].0 = result[i].0.max(largest);
            result[i].1 += sum / (values.len() * tests.len()) as f64;
        }
    }
    result
}

/// Signal to noise of every tensor that an operator writes, in dB, with the value's name.
fn sqnr(graph: &Graph, options: &LowerOptions) -> Vec<(String, f64)> {
    sqnr_on(graph, options, 8)
}

/// The same, calibrated on `count` images.
pub(super) fn sqnr_on(graph: &Graph, options: &LowerOptions, count: usize) -> Vec<(String, f64)> {
    let (file, report) = lower(graph, &calibrated_on(graph, count), None, options).unwrap();
    let model = Model::parse(&file).unwrap();
    let mut arena = vec![0; model.arena_bytes()];
    let mut session = Session::new(&model, &mut arena).unwrap();
    let executor = exec::Executor::new(graph).unwrap();
    let written: Vec<_> = report.ops.iter().flat_map(|o| &o.written).collect();
    let mut sums: Vec<LayerSums> = (written.iter())
        .map(|w| {
            let tensor = model.tensor(w.tensor);
            let balanced = model.text(tensor.name).ends_with(BALANCED);
            LayerSums::new(balanced, tensor.channels as usize)
        })
        .collect();
    for image in images(graph, count + 4).split_off(count) {
        let mut values: Vec<ArrayD<f32>> = vec![ArrayD::zeros(IxDyn(&[0])); graph.values().len()];
        executor.run_one(image.view(), &mut |v, a| values[v.0] = a.clone()).unwrap();
        session.input().set_f32_nchw(image.as_slice().unwrap()).unwrap();
        let mut seen = 0;
        let mut observe = |_: usize, tensor: &kenar::session::TensorView<'_>| {
            // What is written twice, once more where it is joined, is reported once.
            let Some(at) = written.iter().position(|w| w.tensor == tensor.id()) else { return };
            let exact = &values[written[at].value.0];
            let mut integer = vec![0.0; exact.len()];
            tensor.copy_f32_nchw(&mut integer).unwrap();
            sums[at].add(&row_major(exact), &integer);
            seen += 1;
        };
        session.run_with(&mut observe).unwrap();
        assert_eq!(seen, written.len());
    }
    written.iter().zip(sums).map(|(w, s)| (w.name.clone(), s.sqnr_db().unwrap())).collect()
}

#[track_caller]
fn assert_close(graph: &Graph, largest: f64, mean: f64) {
    for (i, (l, m)) in errors(graph, &LowerOptions::default()).into_iter().enumerate() {
        assert!(l <= largest && m <= mean, "output {i}: largest error {l:.2} steps, mean {m:.3}");
    }
}

#[test]
fn convolutions_of_every_kind() {
    for (channels, k, stride, groups) in
        [(8, 3, 1, 1), (8, 1, 2, 1), (8, 3, 2, 4), (8, 5, 1, 8), (8, 2, 1, 1), (8, 7, 3, 2)]
    {
        let mut b = Builder::new([8, 9, 7]);
        let x = b.conv("conv", b.g.input, channels, k, stride, groups);
        let g = b.done(&[("output", x)]);
        assert_close(&g, 6.0, 1.2);
    }
}

/// The border of a padded convolution meets the zero of the activated tensor: its zero point is -128.
#[test]
fn padding_is_the_zero_of_the_activated_tensor() {
    let mut b = Builder::new([4, 6, 6]);
    let a = b.affine("bn", b.g.input);
    let a = b.relu("relu", a);
    let y = b.conv("conv", a, 8, 3, 1, 1);
    let g = b.done(&[("output", y)]);
    let (file, report) = lowered(&g, &LowerOptions::default());
    assert_eq!(report.ops[0].written[0].zero_point, -128);
    assert!(Model::parse(&file).is_ok());
    assert_close(&g, 6.0, 1.2);
}

#[test]
fn residual_blocks_of_both_kinds() {
    assert_close(&pre_activation(), 8.0, 3.0);
    let mut b = Builder::new([3, 8, 8]);
    let x = b.conv("stem", b.g.input, 8, 3, 1, 1);
    let x = b.relu("stem.relu", x);
    let y = b.conv("conv1", x, 16, 3, 2, 1);
    let y = b.relu("relu1", y);
    let y = b.conv("conv2", y, 16, 3, 1, 1);
    let skip = b.conv("proj", x, 16, 1, 2, 1);
    let y = b.add("sum", skip, y);
    let out = b.relu("relu2", y);
    assert_close(&b.done(&[("output", out)]), 9.0, 1.6);
}

#[test]
fn squeeze_excitation_and_tables() {
    let mut b = Builder::new([3, 8, 8]);
    let x = b.conv("stem", b.g.input, 8, 3, 1, 1);
    let x = b.act("stem.silu", x, Activation::Silu);
    let y = b.conv("conv", x, 8, 3, 1, 1);
    let p = b.push("gap", Op::GlobalAvgPool, &[y]);
    let p = b.conv("squeeze", p, 4, 1, 1, 1);
    let p = b.act("squeeze.silu", p, Activation::Silu);
    let p = b.conv("excite", p, 8, 1, 1, 1);
    let gate = b.act("gate", p, Activation::Sigmoid);
    let y = b.push("scale", Op::Mul, &[y, gate]);
    let s = b.add("sum", y, x);
    let out = b.act("silu", s, Activation::Silu);
    let g = b.done(&[("output", out)]);
    let (_, report) = lowered(&g, &LowerOptions::default());
    let gate = report.ops.iter().flat_map(|o| &o.written).find(|w| w.name == "gate").unwrap();
    assert!(gate.scale <= 1.0 / 255.0 && gate.zero_point == -128, "{gate:?}");
    assert_close(&g, 9.0, 1.6);
}

#[test]
fn activations_alone_and_behind_convolutions() {
    let all = [
        Activation::Relu,
        Activation::Clip { min: 0.0, max: 0.6 },
        Activation::Clip { min: 0.1, max: 0.6 },
        Activation::Silu,
        Activation::Sigmoid,
        Activation::HardSwish,
        Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 },
        Activation::LeakyRelu { slope: 0.1 },
        Activation::Tanh,
    ];
    for a in all {
        let mut b = Builder::new([4, 6, 6]);
        let alone = b.act("alone", b.g.input, a.clone());
        let x = b.conv("conv", b.g.input, 6, 3, 1, 1);
        let behind = b.act("behind", x, a);
        assert_close(&b.done(&[("alone", alone), ("behind", behind)]), 10.0, 1.3);
    }
}

#[test]
fn prelu_before_and_without_a_convolution() {
    let slope = weights(ArrayD::from_shape_vec(IxDyn(&[4]), vec![0.1, 0.9, -0.3, 0.0]).unwrap());
    let mut b = Builder::new([4, 6, 6]);
    let alone = b.push("alone", Op::PRelu { slope: slope.clone() }, &[b.g.input]);
    let x = b.conv("conv", b.g.input, 4, 3, 1, 1);
    let x = b.push("prelu", Op::PRelu { slope }, &[x]);
    let sum = b.add("sum", x, b.g.input);
    assert_close(&b.done(&[("alone", alone), ("sum", sum)]), 6.0, 1.2);
}

#[test]
fn necks_pools_and_shortcuts() {
    let mut b = Builder::new([4, 8, 8]);
    let a = b.conv("a", b.g.input, 8, 3, 2, 1);
    let c = b.conv("b", a, 8, 3, 2, 1);
    let up = b.push("up", Op::Resize(Resize { size: [4, 4] }), &[c]);
    let joined = b.push("joined", Op::Concat { axis: 1 }, &[up, a]);
    let part = b.push("part", Op::Slice { axis: 1, start: 4, end: 12, step: 1 }, &[joined]);
    let pool = |kind, padding, ceil_mode| {
        let (window, stride) = ([3, 3], [2, 2]);
        Op::Pool(Pool { kind, window, stride, padding, dilation: [1, 1], ceil_mode })
    };
    let max = b.push("max", pool(PoolKind::Max, [1; 4], true), &[joined]);
    let average = PoolKind::Average { count_include_pad: false };
    let mean = b.push("mean", pool(average, [1; 4], false), &[joined]);
    let padded = PoolKind::Average { count_include_pad: true };
    let counted = b.push("counted", pool(padded, [1; 4], false), &[joined]);
    let global = b.push("global", Op::GlobalAvgPool, &[joined]);
    let names = ["joined", "part", "max", "mean", "counted", "global"];
    let values = [joined, part, max, mean, counted, global];
    let outputs: Vec<_> = names.into_iter().zip(values).collect();
    assert_close(&b.done(&outputs), 9.0, 2.0);
}

#[test]
fn arithmetic_with_constants() {
    let mut b = Builder::new([3, 5, 5]);
    let c = b.push("c", Op::Constant(weights(ArrayD::from_elem(IxDyn(&[1]), 0.5))), &[]);
    let x = b.push("minus", Op::Sub, &[b.g.input, c]);
    let y = b.push("times", Op::Mul, &[x, c]);
    let z = b.push("over", Op::Div, &[y, c]);
    let s = b.add("sum", z, b.g.input);
    assert_close(&b.done(&[("output", s)]), 5.0, 1.5);
}

/// Branches behind a ReLU are never negative, so the sum of many of them grows: an i8 stream loses what i16 keeps.
#[test]
fn a_growing_stream_is_better_in_i16() {
    let mut b = Builder::new([3, 8, 8]);
    let mut x = b.conv("stem", b.g.input, 8, 3, 1, 1);
    for i in 0..6 {
        let y = b.conv(&format!("{i}.conv"), x, 8, 3, 1, 4);
        let y = b.relu(&format!("{i}.relu"), y);
        x = b.add(&format!("{i}.sum"), y, x);
    }
    let g = b.done(&[("output", x)]);
    let noise = |stream| {
        let layers = sqnr(&g, &LowerOptions { stream, ..LowerOptions::default() });
        layers.into_iter().find(|l| l.0 == "4.sum").unwrap().1
    };
    let (auto, off) = (noise(Stream::Auto), noise(Stream::Off));
    assert!(auto > off + 1.0, "i16 {auto:.1} dB, i8 {off:.1} dB");
    assert!(auto > 30.0, "{auto}");
}

#[test]
fn the_noise_of_a_small_network_is_low() {
    // Eight images say too little about the eight inputs of the last layer; 64 do.
    for (name, db) in sqnr_on(&pre_activation(), &LowerOptions::default(), 64) {
        assert!(db > 20.0, "{name} {db:.1} dB");
    }
}
