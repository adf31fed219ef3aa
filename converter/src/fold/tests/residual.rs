//! Batch norms around residual connections, and weights that are not usable.

use super::*;

/// `conv2(relu(bn2(conv1(relu(bn1(x)))))) + x` behind a stem, with dropout before `bn2`.
fn pre_activation_block() -> Graph {
    let mut rng = Random::new(7);
    let mut g = Graph::new("test", "input", vec![1, 3, 6, 6]);
    let x = g.push("stem", rng.conv(3, 8, 3, 1, 1), &[g.input]).unwrap();
    let y = g.push("bn1", rng.batch_norm(8), &[x]).unwrap();
    let y = g.push("relu1", RELU, &[y]).unwrap();
    let y = g.push("conv1", rng.conv(8, 8, 3, 1, 1), &[y]).unwrap();
    let y = g.push("dropout", Op::Dropout, &[y]).unwrap();
    let y = g.push("bn2", rng.batch_norm(8), &[y]).unwrap();
    let y = g.push("relu2", RELU, &[y]).unwrap();
    let y = g.push("conv2", rng.conv(8, 8, 3, 1, 1), &[y]).unwrap();
    let y = g.push("add", Op::Add, &[y, x]).unwrap();
    g.mark_output("output", y);
    g
}

#[test]
fn batch_norm_on_the_residual_stream_stays_and_the_skip_reads_the_raw_value() {
    let g = pre_activation_block();
    let (folded, report) = fold_checked(&g, 1);
    assert_eq!(operators(&folded), ["Conv2d", "Affine", "Relu", "Conv2d", "Relu", "Conv2d", "Add"]);
    let stem = folded.nodes()[0].output;
    assert_eq!(folded.nodes()[1].inputs, [stem]);
    assert_eq!(
        folded.nodes()[6].inputs[1],
        stem,
        "the skip reads the stem, not the activated value"
    );
    assert_eq!(report.changes("fold batch norm"), ["bn1 stays as Affine", "bn2 into conv1"]);
    assert_eq!(report.changes("remove identity"), ["dropout (Dropout)"]);
}

#[test]
fn identity_skip_keeps_the_value_that_an_in_place_relu_would_change() {
    // Every channel of bn1 gives values below zero for some pixel, so a skip that reads relu(bn1(x)), or x changed in
    // place, would show.
    let mut rng = Random::new(3);
    let mut g = Graph::new("test", "input", vec![1, 4, 5, 5]);
    let y = g.push("bn1", rng.batch_norm(4), &[g.input]).unwrap();
    let y = g.push("relu", RELU, &[y]).unwrap();
    let zero = Op::Conv2d(Conv2d {
        weight: weights(ArrayD::zeros(IxDyn(&[4, 4, 1, 1]))),
        bias: None,
        stride: [1; 2],
        padding: [0; 4],
        dilation: [1; 2],
        groups: 1,
    });
    let y = g.push("conv", zero, &[y]).unwrap();
    let y = g.push("add", Op::Add, &[y, g.input]).unwrap();
    g.mark_output("output", y);
    let (folded, _) = fold_checked(&g, 2);
    let x = rng.array(&[1, 4, 5, 5]);
    assert_eq!(exec::run(&folded, &x).unwrap()[0], x);
}

#[test]
fn batch_norm_folds_only_where_nobody_reads_the_raw_result() {
    let mut rng = Random::new(5);
    for tapped in [false, true] {
        let mut g = Graph::new("test", "input", vec![1, 3, 4, 4]);
        let c = g.push("conv", rng.conv(3, 4, 3, 2, 1), &[g.input]).unwrap();
        let y = g.push("bn", rng.batch_norm(4), &[c]).unwrap();
        g.mark_output("output", y);
        if tapped {
            g.mark_output("raw", c);
        }
        let (folded, _) = fold_checked(&g, 4);
        let want: &[_] = if tapped { &["Conv2d", "Affine"] } else { &["Conv2d"] };
        assert_eq!(operators(&folded), want);
    }
}

#[test]
fn grouped_depthwise_and_linear_layers_absorb_batch_norm_and_affine() {
    let mut rng = Random::new(11);
    let g = chain(
        &[1, 4, 6, 6],
        vec![
            rng.conv(4, 8, 3, 2, 2),
            rng.batch_norm(8),
            RELU,
            rng.conv(8, 8, 3, 1, 8),
            rng.batch_norm(8),
            Op::Affine { scale: rng.weights(&[8]), shift: rng.weights(&[8]) },
            Op::GlobalAvgPool,
            Op::Flatten,
            Op::Linear { weight: rng.weights(&[5, 8]), bias: None },
            rng.batch_norm(5),
        ],
    );
    let (folded, _) = fold_checked(&g, 5);
    assert_eq!(
        operators(&folded),
        ["Conv2d", "Relu", "Conv2d", "GlobalAvgPool", "Flatten", "Linear"]
    );
    assert_eq!(folded.nodes()[5].name, "n8");
}

#[test]
fn affine_merges_forward_only_without_padding() {
    let mut rng = Random::new(13);
    for (window, groups, want) in
        [(1, 1, &["Conv2d"][..]), (1, 2, &["Conv2d"]), (3, 1, &["Affine", "Conv2d"])]
    {
        let g = chain(&[1, 4, 5, 5], vec![rng.batch_norm(4), rng.conv(4, 6, window, 1, groups)]);
        let (folded, _) = fold_checked(&g, 6);
        assert_eq!(operators(&folded), want, "window {window}");
    }
    let scale_only =
        Op::Affine { scale: rng.weights(&[4]), shift: weights(ArrayD::zeros(IxDyn(&[4]))) };
    let (folded, _) =
        fold_checked(&chain(&[1, 4, 5, 5], vec![scale_only, rng.conv(4, 6, 3, 1, 1)]), 7);
    assert_eq!(operators(&folded), ["Conv2d"]);
}

#[test]
fn dead_channels_fold_to_finite_weights() {
    let mut rng = Random::new(17);
    let vector =
        |v: &[f32]| weights(ArrayD::from_shape_vec(IxDyn(&[v.len()]), v.to_vec()).unwrap());
    let bn = Op::BatchNorm {
        gamma: vector(&[0.0, 1.0, -1e-20, 1.0]),
        beta: vector(&[0.5, 0.0, 0.0, -1.0]),
        mean: vector(&[3.0, 1e-3, 0.0, 0.0]),
        var: vector(&[0.0, 1e-30, 5e-45, -9e-6]),
        eps: 1e-5,
    };
    let (folded, _) = fold_checked(&chain(&[1, 3, 4, 4], vec![rng.conv(3, 4, 3, 1, 1), bn]), 8);
    folded.nodes()[0]
        .op
        .for_each_weight(|role, w| assert!(w.iter().all(|v| v.is_finite()), "{role}"));
}

#[test]
fn unusable_weights_are_errors_with_the_name_of_the_node() {
    let mut rng = Random::new(19);
    let vector =
        |v: &[f32]| weights(ArrayD::from_shape_vec(IxDyn(&[v.len()]), v.to_vec()).unwrap());
    let bn = |gamma: &[f32], var: &[f32], eps| Op::BatchNorm {
        gamma: vector(gamma),
        beta: vector(&[0.0, 0.0]),
        mean: vector(&[0.0, 0.0]),
        var: vector(var),
        eps,
    };
    let mut nan = rng.conv(2, 2, 1, 1, 1);
    nan.for_each_weight_mut(|w| *w = weights(w.mapv(|_| f32::NAN)));
    for (op, word) in [
        (bn(&[1.0, 1.0], &[1.0, -1e-5], 1e-5), "variance"),
        (bn(&[1.0, 1.0], &[1.0, 0.0], 0.0), "variance"),
        (bn(&[1.0, f32::INFINITY], &[1.0, 1.0], 1e-5), "gamma"),
        (bn(&[1.0, 1.0], &[1.0, f32::NAN], 1e-5), "variance"),
        (bn(&[1e38, 1.0], &[1e-20, 1.0], 1e-30), "finite"),
        (nan, "weight"),
    ] {
        let message = run(&chain(&[1, 2, 3, 3], vec![RELU, op])).unwrap_err().to_string();
        assert!(message.contains("n1") && message.contains(word), "{message}");
    }
}
