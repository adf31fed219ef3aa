//! Result shapes, and operand shapes that do not fit.

use ndarray::{ArrayD, IxDyn};

use super::*;
use crate::graph::{Conv2d, PoolKind, Resize, weights};

#[test]
fn window_sizes_follow_pytorch() {
    // size, pads, window, stride, dilation, ceil -> result of torch.nn.MaxPool2d / Conv2d.
    for (size, pad, window, stride, dilation, ceil, want) in [
        (112, [1, 1], 3, 2, 1, false, Some(56)),
        (7, [0, 0], 2, 2, 1, false, Some(3)),
        (7, [0, 0], 2, 2, 1, true, Some(4)),
        (5, [1, 1], 2, 2, 1, true, Some(3)),
        (6, [0, 0], 3, 2, 1, true, Some(3)),
        (224, [3, 3], 7, 2, 1, false, Some(112)),
        (9, [2, 2], 3, 1, 2, false, Some(9)),
        (32, [0, 0], 2, 1, 1, false, Some(31)),
        (2, [0, 0], 3, 1, 1, false, None),
        (2, [0, 0], 0, 1, 1, false, None),
        (2, [0, 0], 1, 0, 1, false, None),
        (1, [usize::MAX, 1], 1, 1, 1, false, None),
        (1, [0, 0], usize::MAX, 1, usize::MAX, true, None),
    ] {
        assert_eq!(
            conv_output_size(size, pad, window, stride, dilation, ceil),
            want,
            "{size} {window}"
        );
    }
}

fn conv(shape: &[usize], groups: usize) -> Op {
    Op::Conv2d(Conv2d {
        weight: weights(ArrayD::zeros(IxDyn(shape))),
        bias: None,
        stride: [1; 2],
        padding: [0; 4],
        dilation: [1; 2],
        groups,
    })
}

#[test]
fn what_does_not_fit_is_an_error() {
    let constant = |shape: &[usize]| Op::Constant(weights(ArrayD::zeros(IxDyn(shape))));
    let pool = Pool {
        kind: PoolKind::Max,
        window: [1; 2],
        stride: [1; 2],
        padding: [usize::MAX, 0, 0, 0],
        dilation: [1; 2],
        ceil_mode: true,
    };
    let image = &[1, 4, 5, 5][..];
    for (op, inputs) in [
        (conv(&[8, 4, 3, 3], 1), vec![]),
        (conv(&[8, 3, 3, 3], 1), vec![image]),
        (conv(&[8, 4, 3, 3], 0), vec![image]),
        (conv(&[6, 1, 3, 3], 4), vec![image]),
        (conv(&[8, 4, 6, 3], 1), vec![image]),
        (conv(&[0, 4, 3, 3], 1), vec![image]),
        (conv(&[8, 4, 3], 1), vec![image]),
        (conv(&[8, 4, 3, 3], 1), vec![&[1, 4, 5]]),
        (conv(&[8, 4, 1, 1], 1), vec![&[1, 4, 0, 5]]),
        (Op::Add, vec![image, &[1, 4, 5, 3]]),
        (Op::Add, vec![image]),
        (Op::Concat { axis: 1 }, vec![image, &[1, 4, 5, 4]]),
        (Op::Concat { axis: 4 }, vec![image]),
        (Op::Concat { axis: 0 }, vec![]),
        (Op::Slice { axis: 1, start: 2, end: 2, step: 1 }, vec![image]),
        (Op::Slice { axis: 1, start: 0, end: 5, step: 1 }, vec![image]),
        (Op::Slice { axis: 1, start: 0, end: 4, step: 0 }, vec![image]),
        (Op::Pad { pads: vec![(0, 0); 3], value: 0.0 }, vec![image]),
        (Op::Pad { pads: vec![(0, usize::MAX); 4], value: 0.0 }, vec![image]),
        (Op::Pad { pads: vec![(0, 1 << 30); 4], value: 0.0 }, vec![image]),
        (Op::Pool(pool), vec![image]),
        (Op::Resize(Resize { size: [0, 2] }), vec![image]),
        (Op::Resize(Resize { size: [1 << 20, 1 << 20] }), vec![image]),
        (Op::Reshape { shape: vec![1, usize::MAX, 3] }, vec![image]),
        (Op::Flatten, vec![&[]]),
        (Op::Transpose { perm: vec![0, 1, 1, 2] }, vec![image]),
        (Op::Softmax { axis: 4 }, vec![image]),
        (Op::PRelu { slope: weights(ArrayD::zeros(IxDyn(&[3]))) }, vec![image]),
        (constant(&[1 << 20, 0]), vec![image]),
    ] {
        assert!(infer(&op, &inputs).is_err(), "{op:?} {inputs:?}");
    }
}

#[test]
fn broadcasting() {
    let add = |a: &[usize], b: &[usize]| infer(&Op::Add, &[a, b]).ok();
    let image = vec![1, 4, 5, 5];
    for other in [&[1, 4, 1, 1][..], &[], &[1], &[4, 1, 1], &[5], &[1, 1, 5, 5], &[1, 4, 5, 5]] {
        assert_eq!(add(&image, other), Some(image.clone()), "{other:?}");
        assert_eq!(add(other, &image), Some(image.clone()), "{other:?}");
    }
    assert_eq!(add(&[1, 4, 1, 1], &[1, 1, 5, 5]), Some(image.clone()));
    assert_eq!(add(&image, &[4]), None);
    assert_eq!(add(&[1, 10], &[1, 1, 1, 1]), Some(vec![1, 1, 1, 10]));
}
