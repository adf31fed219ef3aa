//! Activations written as arithmetic, shapes, slices, padding, pooling, duplicates, dead nodes.

use super::*;
use crate::fold::equivalent;
use crate::graph::{Pool, PoolKind};

#[test]
fn silu_and_hard_swish_are_recognised_in_every_spelling() {
    for spelling in 0..6 {
        let mut g = Graph::new("test", "input", vec![1, 2, 3, 3]);
        let x = g.input;
        let three = constant(&mut g, "three", &[], &[3.0]);
        let six = constant(&mut g, "six", &[1], &[6.0]);
        let sixth = constant(&mut g, "sixth", &[1, 1, 1, 1], &[1.0 / 6.0]);
        let sum = g.push("sum", Op::Add, &[x, three]).unwrap();
        let clip = g
            .push("clip", Op::Activation(Activation::Clip { min: 0.0, max: 6.0 }), &[sum])
            .unwrap();
        let product = |g: &mut Graph, a, b| g.push("product", Op::Mul, &[a, b]).unwrap();
        let (y, want) = match spelling {
            0 => {
                let s = g.push("sigmoid", Op::Activation(Activation::Sigmoid), &[x]).unwrap();
                (product(&mut g, s, x), "SiLU")
            }
            1 => {
                let p = product(&mut g, x, clip);
                (g.push("div", Op::Div, &[p, six]).unwrap(), "HardSwish")
            }
            2 => {
                let d = g.push("div", Op::Div, &[clip, six]).unwrap();
                (product(&mut g, d, x), "HardSwish")
            }
            3 => {
                let d = g.push("mul", Op::Mul, &[sixth, clip]).unwrap();
                (product(&mut g, x, d), "HardSwish")
            }
            4 => {
                let h = Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 };
                let h = g.push("hard", Op::Activation(h), &[x]).unwrap();
                (product(&mut g, x, h), "HardSwish")
            }
            _ => (g.push("mul", Op::Mul, &[clip, sixth]).unwrap(), "HardSigmoid"),
        };
        g.mark_output("output", y);
        let (folded, _) = fold_checked(&g, spelling);
        assert_eq!(operators(&folded), [want], "spelling {spelling}");
    }
}

#[test]
fn limits_in_a_row_are_one() {
    let clip = |min, max| Op::Activation(Activation::Clip { min, max });
    for (ops, want) in [
        (vec![RELU, RELU], vec!["Relu"]),
        (vec![RELU, clip(-1.0, 1.0)], vec!["Clip"]),
        (vec![clip(-0.5, f32::INFINITY), RELU], vec!["Relu"]),
        (vec![clip(f32::NEG_INFINITY, f32::INFINITY)], vec![]),
        (vec![Op::Activation(Activation::LeakyRelu { slope: 0.0 })], vec!["Relu"]),
        (
            vec![Op::PRelu { slope: weights(ArrayD::from_elem(IxDyn(&[2]), 0.1)) }],
            vec!["LeakyRelu"],
        ),
    ] {
        let (folded, _) = fold_checked(&chain(&[1, 2, 3, 3], ops), 1);
        assert_eq!(operators(&folded), want);
    }
}

#[test]
fn constant_arithmetic_merges_into_convolutions() {
    let mut rng = Random::new(21);
    let mut g = Graph::new("test", "input", vec![1, 3, 4, 4]);
    let scale = constant(&mut g, "scale", &[3, 1, 1], &[0.5, 2.0, -1.0]);
    let mean = constant(&mut g, "mean", &[1, 3, 1, 1], &[0.1, 0.2, 0.3]);
    let two = constant(&mut g, "two", &[], &[2.0]);
    let doubled = g.push("doubled", Op::Mul, &[mean, two]).unwrap();
    let x = g.push("centred", Op::Sub, &[g.input, doubled]).unwrap();
    let x = g.push("scaled", Op::Div, &[x, scale]).unwrap();
    let y = g.push("conv", rng.conv(3, 4, 1, 1, 1), &[x]).unwrap();
    let y = g.push("twice", Op::Mul, &[two, y]).unwrap();
    let y = g.push("from two", Op::Sub, &[two, y]).unwrap();
    g.mark_output("output", y);
    let (folded, _) = fold_checked(&g, 2);
    assert_eq!(operators(&folded), ["Conv2d"]);
}

#[test]
fn shapes_take_their_simplest_form() {
    let reshape = |shape: &[usize]| Op::Reshape { shape: shape.to_vec() };
    for (shape, ops, want) in [
        (&[1, 6, 1, 1], vec![reshape(&[1, 3, 2]), reshape(&[1, 6])], vec!["Flatten"]),
        (&[1, 6, 1, 1], vec![Op::Flatten, reshape(&[1, 6, 1, 1])], vec![]),
        (
            &[1, 6, 1, 1],
            vec![Op::Transpose { perm: vec![0, 2, 3, 1] }, reshape(&[1, 6])],
            vec!["Flatten"],
        ),
        (
            &[1, 2, 3, 4],
            vec![
                Op::Transpose { perm: vec![0, 2, 3, 1] },
                Op::Transpose { perm: vec![0, 3, 1, 2] },
            ],
            vec![],
        ),
        (&[1, 6, 2, 2], vec![reshape(&[1, 24])], vec!["Flatten"]),
        (&[1, 6, 2, 2], vec![reshape(&[1, 2, 12])], vec!["Reshape"]),
    ] {
        let (folded, _) = fold_checked(&chain(shape, ops), 3);
        assert_eq!(operators(&folded), want);
    }
}

#[test]
fn slices_merge() {
    let slice = |axis, start, end, step| Op::Slice { axis, start, end, step };
    let g = chain(&[1, 2, 12, 12], vec![slice(2, 1, 12, 2), slice(2, 1, 6, 3), slice(3, 0, 12, 1)]);
    let (folded, _) = fold_checked(&g, 4);
    assert_eq!(operators(&folded), ["Slice"]);
    // 1, 3, 5, 7, 9, 11 -> its elements 1 and 4.
    assert!(matches!(folded.nodes()[0].op, Op::Slice { axis: 2, start: 3, end: 10, step: 6 }));

    let mut g = Graph::new("test", "input", vec![1, 2, 4, 4]);
    let r = g.push("relu", RELU, &[g.input]).unwrap();
    let joined = g.push("concat", Op::Concat { axis: 1 }, &[g.input, r]).unwrap();
    let y = g.push("second", slice(1, 2, 4, 1), &[joined]).unwrap();
    g.mark_output("output", y);
    let (folded, _) = fold_checked(&g, 5);
    assert_eq!(operators(&folded), ["Relu"]);
}

#[test]
fn padding_moves_into_its_reader_only_when_exact() {
    let mut rng = Random::new(23);
    let pad = |value| Op::Pad { pads: vec![(0, 0), (0, 0), (1, 2), (0, 1)], value };
    let pool = |kind| {
        let (padding, dilation) = ([0; 4], [1; 2]);
        Op::Pool(Pool { kind, window: [3; 2], stride: [2; 2], padding, dilation, ceil_mode: false })
    };
    let average = |count_include_pad| pool(PoolKind::Average { count_include_pad });
    let (folded, _) =
        fold_checked(&chain(&[1, 2, 7, 7], vec![pad(0.0), rng.conv(2, 3, 3, 2, 1)]), 1);
    assert_eq!(operators(&folded), ["Conv2d"]);
    assert!(matches!(&folded.nodes()[0].op, Op::Conv2d(c) if c.padding == [2, 1, 3, 2]));
    for (ops, want) in [
        (vec![pad(1.0), rng.conv(2, 3, 3, 2, 1)], &["Pad", "Conv2d"][..]),
        (vec![pad(0.0), average(false)], &["AvgPool"]),
        (vec![pad(0.0), average(true)], &["AvgPool"]),
        (vec![pad(0.0), pool(PoolKind::Max)], &["Pad", "MaxPool"]),
        (vec![pad(f32::NEG_INFINITY), pool(PoolKind::Max)], &["MaxPool"]),
        (vec![RELU, pad(0.0), pool(PoolKind::Max)], &["Relu", "MaxPool"]),
        (vec![pad(0.0), pad(0.0), average(true)], &["AvgPool"]),
        (
            vec![
                Op::Pad { pads: vec![(0, 0), (1, 1), (0, 0), (0, 0)], value: 0.0 },
                rng.conv(4, 3, 3, 1, 1),
            ],
            &["Pad", "Conv2d"],
        ),
    ] {
        let (folded, _) = fold_checked(&chain(&[1, 2, 7, 7], ops), 2);
        assert_eq!(operators(&folded), want);
    }
}

#[test]
fn pooling_of_the_whole_map_is_global() {
    for (kind, want) in [
        (PoolKind::Max, "GlobalMaxPool"),
        (PoolKind::Average { count_include_pad: true }, "GlobalAvgPool"),
    ] {
        let p = Pool {
            kind,
            window: [4, 6],
            stride: [4, 6],
            padding: [0; 4],
            dilation: [1; 2],
            ceil_mode: false,
        };
        let (folded, _) = fold_checked(&chain(&[1, 2, 4, 6], vec![Op::Pool(p)]), 1);
        assert_eq!(operators(&folded), [want]);
    }
}

#[test]
fn duplicates_and_dead_nodes_go() {
    let mut rng = Random::new(29);
    let bn = rng.batch_norm(3);
    let mut g = Graph::new("test", "input", vec![1, 3, 4, 4]);
    let a = g.push("bn a", bn.clone(), &[g.input]).unwrap();
    let b = g.push("bn b", bn, &[g.input]).unwrap();
    let a = g.push("relu a", RELU, &[a]).unwrap();
    let b = g.push("relu b", RELU, &[b]).unwrap();
    g.push("unread", rng.conv(3, 4, 3, 1, 1), &[b]).unwrap();
    let y = g.push("add", Op::Add, &[a, b]).unwrap();
    g.mark_output("output", y);
    let (folded, report) = fold_checked(&g, 1);
    assert_eq!(operators(&folded), ["Affine", "Relu", "Add"]);
    assert_eq!(report.changes("merge duplicate"), ["bn b = bn a", "relu b = relu a"]);
    assert_eq!(report.changes("remove dead"), ["unread (Conv2d)"]);
    assert!(report.to_string().contains("remove dead 1"));
}

#[test]
fn equivalence_ignores_names_and_order_and_sees_weights() {
    let build = |swapped: bool, seed: u64| {
        let mut rng = Random::new(seed);
        let (left, right) = (rng.conv(2, 4, 3, 1, 1), rng.conv(2, 4, 3, 1, 1));
        let mut g = Graph::new("test", "input", vec![1, 2, 5, 5]);
        let (l, r) = if swapped {
            let r = g.push("first", right, &[g.input]).unwrap();
            (g.push("second", left, &[g.input]).unwrap(), r)
        } else {
            let l = g.push("a", left, &[g.input]).unwrap();
            (l, g.push("b", right, &[g.input]).unwrap())
        };
        let sum = g.push("sum", Op::Add, &if swapped { [r, l] } else { [l, r] }).unwrap();
        let y = g.push("relu", RELU, &[sum]).unwrap();
        let y = g.push("product", Op::Mul, &if swapped { [sum, y] } else { [y, sum] }).unwrap();
        g.mark_output("output", y);
        g
    };
    let g = build(false, 31);
    equivalent(&g, &build(true, 31), 0.0).unwrap();
    let message = equivalent(&g, &build(false, 32), 1e-5).unwrap_err();
    assert!(message.contains("differ"), "{message}");

    let mut close = g.clone();
    close.nodes_mut()[0].op.for_each_weight_mut(|w| *w = weights(w.mapv(|v| v * (1.0 + 1e-6))));
    equivalent(&g, &close, 1e-5).unwrap();
    equivalent(&g, &close, 1e-8).unwrap_err();
    let mut subtracted = g.clone();
    subtracted.nodes_mut()[2].op = Op::Sub;
    equivalent(&g, &subtracted, 1.0).unwrap_err();
    // x + x is not x + y, although every operator is the same.
    let mut shared = g.clone();
    shared.nodes_mut()[2].inputs = vec![g.nodes()[0].output; 2];
    equivalent(&g, &shared, 10.0).unwrap_err();
}
