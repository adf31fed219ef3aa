//! The float executor against textbook loops on random and edge shapes.

use kenar_convert::exec;
use kenar_convert::graph::{Conv2d, Graph, Op, Pool, PoolKind, weights};
use kenar_tests::float_reference;
use kenar_tests::random::{Random, RandomArray};
use ndarray::ArrayD;

/// Runs one operator; `None` when its window does not fit the shape.
fn run(op: Op, x: &ArrayD<f32>) -> Option<ArrayD<f32>> {
    let mut shape = x.shape().to_vec();
    shape[0] = 1;
    let mut g = Graph::new("test", "input", shape);
    let y = g.push("op", op, &[g.input]).ok()?;
    g.mark_output("output", y);
    Some(exec::run(&g, x).unwrap().remove(0))
}

fn assert_close(got: &ArrayD<f32>, want: &ArrayD<f32>, what: &dyn std::fmt::Debug) {
    assert_eq!(got.shape(), want.shape(), "{what:?}");
    let largest = want.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    let error = got.iter().zip(want).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(error <= 1e-5 * largest, "{error} of {largest}: {what:?}");
}

#[test]
fn convolution() {
    let mut rng = Random::new(1);
    let mut fitting = 0;
    for case in 0..400 {
        let groups = [1, 1, 2, 4][rng.below(4)];
        let (group_in, group_out) = (1 + rng.below(5), 1 + rng.below(9));
        let window = [1 + rng.below(5), 1 + rng.below(4)];
        let (h, w) = (1 + rng.below(11), 1 + rng.below(19));
        let c = Conv2d {
            weight: weights(rng.array(&[groups * group_out, group_in, window[0], window[1]])),
            bias: (rng.below(2) == 0).then(|| weights(rng.array(&[groups * group_out]))),
            stride: [1 + rng.below(3), 1 + rng.below(3)],
            padding: [rng.below(4), rng.below(3), rng.below(4), rng.below(3)],
            dilation: [1 + rng.below(2), 1 + rng.below(2)],
            groups,
        };
        let n = 1 + rng.below(2);
        let x = rng.array(&[n, groups * group_in, h, w]);
        let Some(y) = run(Op::Conv2d(c.clone()), &x) else { continue };
        fitting += 1;
        assert_close(
            &y,
            &float_reference::conv2d(&c, &x, y.shape()),
            &(case, x.shape(), &c.stride, &c.padding),
        );
    }
    assert!(fitting > 300, "{fitting}");
}

#[test]
fn large_convolutions_in_several_blocks() {
    let mut rng = Random::new(2);
    for (c_in, c_out, size, window, stride) in
        [(48, 9, 40, 3, 1), (3, 17, 65, 7, 2), (300, 3, 20, 1, 2)]
    {
        let c = Conv2d {
            weight: weights(
                rng.array(&[c_out, c_in, window, window]) / (c_in * window * window) as f32,
            ),
            bias: None,
            stride: [stride; 2],
            padding: [window / 2; 4],
            dilation: [1; 2],
            groups: 1,
        };
        let x = rng.array(&[1, c_in, size, size]);
        let y = run(Op::Conv2d(c.clone()), &x).unwrap();
        assert_close(&y, &float_reference::conv2d(&c, &x, y.shape()), &(c_in, c_out, size));
    }
}

#[test]
fn pooling() {
    let mut rng = Random::new(3);
    let mut fitting = 0;
    for case in 0..400 {
        let kinds = [
            PoolKind::Max,
            PoolKind::Average { count_include_pad: true },
            PoolKind::Average { count_include_pad: false },
        ];
        let kind = kinds[case % 3];
        let window = [1 + rng.below(4), 1 + rng.below(4)];
        let dilation =
            if kind == PoolKind::Max { [1 + rng.below(2), 1 + rng.below(2)] } else { [1, 1] };
        // PyTorch allows padding up to half a window.
        let padding = [0, 1, 2, 3].map(|i| rng.below(window[i % 2] / 2 + 1));
        let stride = [1 + rng.below(3), 1 + rng.below(3)];
        let p = Pool { kind, window, stride, padding, dilation, ceil_mode: rng.below(2) == 0 };
        let shape = [1 + rng.below(2), 1 + rng.below(3), 1 + rng.below(9), 1 + rng.below(9)];
        let x = rng.array(&shape);
        let Some(y) = run(Op::Pool(p.clone()), &x) else { continue };
        fitting += 1;
        assert_close(&y, &float_reference::pool(&p, &x, y.shape()), &(case, x.shape(), &p));
    }
    assert!(fitting > 250, "{fitting}");
}

#[test]
fn linear() {
    let mut rng = Random::new(4);
    for (n, inner, out) in [(1, 1, 1), (3, 17, 5), (1, 512, 100), (2, 64, 1)] {
        let (weight, bias) = (rng.array(&[out, inner]), rng.array(&[out]));
        let x = rng.array(&[n, inner]);
        let op = Op::Linear { weight: weights(weight.clone()), bias: Some(weights(bias.clone())) };
        assert_close(
            &run(op, &x).unwrap(),
            &float_reference::linear(&weight, Some(&bias), &x),
            &(n, inner, out),
        );
    }
}
