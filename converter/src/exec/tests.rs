//! Executor against hand-computed values; the random comparisons with naive loops are in the `tests` crate.

use ndarray::{ArrayD, IxDyn};

use super::*;
use crate::graph::{Activation, Conv2d, Pool, Resize, weights};

fn array(shape: &[usize], values: &[f32]) -> ArrayD<f32> {
    ArrayD::from_shape_vec(IxDyn(shape), values.to_vec()).unwrap()
}

fn counting(shape: &[usize]) -> ArrayD<f32> {
    let n: usize = shape.iter().product();
    array(shape, &(0..n).map(|i| i as f32).collect::<Vec<_>>())
}

/// Runs one operator on `x`.
fn single(op: Op, x: &ArrayD<f32>) -> ArrayD<f32> {
    let mut g = Graph::new("test", "input", x.shape().to_vec());
    let y = g.push("op", op, &[g.input]).unwrap();
    g.mark_output("output", y);
    run(&g, x).unwrap().remove(0)
}

fn pool(kind: PoolKind, window: usize, stride: usize, padding: usize, ceil_mode: bool) -> Op {
    Op::Pool(Pool {
        kind,
        window: [window; 2],
        stride: [stride; 2],
        padding: [padding; 4],
        dilation: [1; 2],
        ceil_mode,
    })
}

#[test]
fn batch_is_run_image_by_image_and_stacked() {
    let mut g = Graph::new("test", "input", vec![1, 2, 2, 2]);
    let w = weights(array(&[1, 2, 1, 1], &[1.0, 10.0]));
    let conv = Conv2d {
        weight: w,
        bias: None,
        stride: [1; 2],
        padding: [0; 4],
        dilation: [1; 2],
        groups: 1,
    };
    let y = g.push("conv", Op::Conv2d(conv), &[g.input]).unwrap();
    let z = g.push("relu", Op::Activation(Activation::Relu), &[y]).unwrap();
    g.mark_output("raw", y);
    g.mark_output("relu", z);
    g.mark_output("input", g.input);
    let x = counting(&[3, 2, 2, 2]) - 50.0;
    let out = run(&g, &x).unwrap();
    assert_eq!(out.len(), 3);
    assert_eq!(out[2], x);
    for n in 0..3 {
        for i in 0..2 {
            for j in 0..2 {
                let want = x[[n, 0, i, j]] + 10.0 * x[[n, 1, i, j]];
                assert_eq!(out[0][[n, 0, i, j]], want);
                assert_eq!(out[1][[n, 0, i, j]], want.max(0.0));
            }
        }
    }
}

#[test]
fn observer_sees_every_value_and_operands_survive_in_place_operators() {
    let mut g = Graph::new("test", "input", vec![1, 1, 1, 3]);
    let r = g.push("relu", Op::Activation(Activation::Relu), &[g.input]).unwrap();
    let y = g.push("add", Op::Add, &[r, g.input]).unwrap();
    let z = g.push("double", Op::Add, &[y, y]).unwrap();
    g.mark_output("output", z);
    let mut seen = Vec::new();
    let x = array(&[1, 1, 1, 3], &[-1.0, 2.0, -3.0]);
    let out = Executor::new(&g)
        .unwrap()
        .run_one(x.view(), &mut |v, a| seen.push((v, a.iter().copied().collect::<Vec<_>>())))
        .unwrap();
    assert_eq!(out[0], array(&[1, 1, 1, 3], &[-2.0, 8.0, -6.0]));
    assert_eq!(seen[0], (g.input, vec![-1.0, 2.0, -3.0]));
    assert_eq!(seen[1], (r, vec![0.0, 2.0, 0.0]));
    assert_eq!(seen[2], (y, vec![-1.0, 4.0, -3.0]));
    assert_eq!(seen.len(), 4);
}

#[test]
fn wrong_inputs_are_errors() {
    let mut g = Graph::new("test", "input", vec![1, 3, 4, 4]);
    assert!(run(&g, &counting(&[1, 3, 4, 4])).is_err(), "no output");
    g.mark_output("output", g.input);
    let message = run(&g, &counting(&[2, 3, 4, 5])).unwrap_err().to_string();
    assert!(message.contains("[1, 3, 4, 4]") && message.contains("[1, 3, 4, 5]"), "{message}");
    assert!(run(&g, &counting(&[0, 3, 4, 4])).is_err());
    assert!(run(&g, &array(&[], &[1.0])).is_err());
}

#[test]
fn max_pool_ignores_padding_and_rounds_up_as_pytorch() {
    let x = -counting(&[1, 1, 3, 3]) - 1.0;
    let padded = single(pool(PoolKind::Max, 3, 2, 1, false), &x);
    assert_eq!(padded, array(&[1, 1, 2, 2], &[-1.0, -2.0, -4.0, -5.0]));
    let ceil = single(pool(PoolKind::Max, 2, 2, 0, true), &x);
    assert_eq!(ceil, array(&[1, 1, 2, 2], &[-1.0, -3.0, -7.0, -9.0]));
    // With padding 1 the fourth window of a 5-wide input would start in the padding: it is dropped.
    let x = counting(&[1, 1, 5, 5]);
    assert_eq!(single(pool(PoolKind::Max, 2, 2, 1, true), &x).shape(), [1, 1, 3, 3]);
}

#[test]
fn average_pool_divisors() {
    let x = ArrayD::from_elem(IxDyn(&[1, 1, 3, 3]), 1.0);
    let include = PoolKind::Average { count_include_pad: true };
    let exclude = PoolKind::Average { count_include_pad: false };
    let y = single(pool(include, 2, 2, 1, false), &x);
    assert_eq!(y, array(&[1, 1, 2, 2], &[0.25, 0.5, 0.5, 1.0]));
    let y = single(pool(exclude, 2, 2, 1, false), &x);
    assert_eq!(y, array(&[1, 1, 2, 2], &[1.0; 4]));
    // ceil_mode: what lies beyond the padding never counts.
    let y = single(pool(include, 2, 2, 0, true), &x);
    assert_eq!(y, array(&[1, 1, 2, 2], &[1.0; 4]));
}

#[test]
fn moving_operators() {
    let x = counting(&[1, 2, 2, 3]);
    let y = single(Op::Resize(Resize { size: [4, 2] }), &x);
    assert_eq!(
        y.iter().copied().collect::<Vec<_>>()[..8],
        [0.0, 1.0, 0.0, 1.0, 3.0, 4.0, 3.0, 4.0]
    );
    let y = single(Op::Slice { axis: 3, start: 0, end: 3, step: 2 }, &x);
    assert_eq!(y.iter().copied().collect::<Vec<_>>()[..4], [0.0, 2.0, 3.0, 5.0]);
    let y = single(Op::Transpose { perm: vec![0, 2, 3, 1] }, &x);
    assert_eq!(y.shape(), [1, 2, 3, 2]);
    assert!(y.is_standard_layout());
    assert_eq!(y[[0, 1, 2, 1]], x[[0, 1, 1, 2]]);
    let y = single(Op::Pad { pads: vec![(0, 0), (1, 0), (0, 1), (0, 0)], value: 7.0 }, &x);
    assert_eq!((y[[0, 0, 0, 0]], y[[0, 1, 0, 0]], y[[0, 1, 2, 0]]), (7.0, 0.0, 7.0));
    let y = single(Op::Softmax { axis: 1 }, &x);
    assert!((y[[0, 0, 0, 0]] + y[[0, 1, 0, 0]] - 1.0).abs() < 1e-6);
    assert!((y[[0, 0, 0, 0]] - 1.0 / (1.0 + 6.0f32.exp())).abs() < 1e-6);
}

#[test]
fn broadcasting_on_either_side() {
    let mut g = Graph::new("test", "input", vec![1, 2, 2, 2]);
    let x = g.input;
    let channel =
        g.push("channel", Op::Constant(weights(array(&[1, 2, 1, 1], &[1.0, 2.0]))), &[]).unwrap();
    let one = g.push("one", Op::Constant(weights(array(&[], &[1.0]))), &[]).unwrap();
    let column = g.push("column", Op::Constant(weights(array(&[2, 1], &[0.0, 5.0]))), &[]).unwrap();
    for (name, a, b, want) in [
        ("a", channel, x, [1.0, 0.0, -1.0, -2.0, -2.0, -3.0, -4.0, -5.0]),
        ("b", one, x, [1.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0]),
        ("c", x, column, [0.0, 1.0, -3.0, -2.0, 4.0, 5.0, 1.0, 2.0]),
    ] {
        let y = g.push(name, Op::Sub, &[a, b]).unwrap();
        g.outputs.clear();
        g.mark_output(name, y);
        let y = run(&g, &counting(&[1, 2, 2, 2])).unwrap().remove(0);
        assert_eq!(y, array(&[1, 2, 2, 2], &want), "{name}");
    }
    let y = g.push("d", Op::Mul, &[channel, column]).unwrap();
    assert_eq!(g.shape(y), [1, 2, 2, 1]);
}
