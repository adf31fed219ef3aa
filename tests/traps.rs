//! The traps of the networks' source material, one test each, in their order.
//!
//! T16 (padding is the zero of the activated tensor) and T17 (dead channels, bias overflow) are covered where
//! integer operators are made (`converter/src/lower`, `converter/src/quantize`), T19 (pickles never run) and the
//! containers of T18 by the readers (`converter/src/import`); T20 is about notebook text, which nothing here reads.

mod arch_nets;

use arch_nets as nets;
use kenar_convert::arch::file::{Act, Projection};
use kenar_convert::arch::testing::Spec;
use kenar_convert::arch::{self, ArchFile, BlockKind, resnext};
use kenar_convert::graph::{Graph, Node, Op};
use kenar_convert::{exec, fold};
use ndarray::ArrayD;

fn spec(write: impl FnOnce(&mut Spec)) -> Spec {
    let mut s = Spec::default();
    write(&mut s);
    s
}

fn lifted(c: usize, write: impl FnOnce(&mut Spec)) -> Spec {
    spec(|s| {
        nets::lift(s, c);
        write(s);
    })
}

fn built(s: &Spec, input: Option<[usize; 3]>) -> (ArchFile, Graph) {
    let ckpt = s.checkpoint();
    let arch = arch::recognise(&ckpt).unwrap();
    let graph = arch::build(&ckpt, &arch, input).unwrap();
    (arch, graph)
}

fn node<'g>(g: &'g Graph, name: &str) -> &'g Node {
    g.nodes().iter().find(|n| n.name == name).unwrap_or_else(|| panic!("no node {name}"))
}

/// Names of the operators in execution order.
fn ops(g: &Graph) -> Vec<&'static str> {
    g.nodes().iter().map(|n| n.op.name()).collect()
}

fn image(c: usize, size: usize) -> ArrayD<f32> {
    ArrayD::from_shape_fn(vec![1, c, size, size], |i| {
        ((i[1] * 7 + i[2] * 13 + i[3] * 5) % 11) as f32 / 5.0 - 1.0
    })
}

#[test]
fn t01_depth_is_6n_plus_4() {
    let s = nets::wide(&nets::WIDE, 4, 2);
    let arch = arch::recognise(&s.checkpoint()).unwrap();
    assert!(arch.to_toml().contains("depth = 28"));
    let wrong = arch.to_toml().replace("depth = 28", "depth = 128");
    let e = ArchFile::from_toml(&wrong).unwrap_err().to_string();
    assert!(e.contains("128 is not 6n+4") && e.contains("124 and 130"), "{e}");
    let e = arch::by_name("wrn-128-2").unwrap_err().to_string();
    assert!(e.contains("124 and 130"), "{e}");
}

#[test]
fn t02_projection_with_another_stride_is_refused_even_where_broadcasting_would_hide_it() {
    let ckpt = lifted(64, |s| nets::grouped(s, "block", 64, 128, 4)).checkpoint();
    let mut arch = arch::recognise(&ckpt).unwrap();
    assert_eq!((arch.stages[0].stride, arch.stages[0].projection_stride), (1, Some(1)));
    arch::build(&ckpt, &arch, Some([3, 28, 28])).unwrap();
    arch.stages[0].stride = 2;
    for (size, branch, skip) in
        [(28, "[1, 128, 14, 14]", "[1, 128, 28, 28]"), (2, "[1, 128, 1, 1]", "[1, 128, 2, 2]")]
    {
        let e = arch::build(&ckpt, &arch, Some([3, size, size])).unwrap_err().to_string();
        assert!(e.contains("block.add") && e.contains(branch) && e.contains(skip), "{e}");
        assert!(e.contains("set projection_stride = 2"), "{e}");
    }
    arch.stages[0].projection_stride = Some(2);
    let fixed = arch::build(&ckpt, &arch, Some([3, 28, 28])).unwrap();
    assert_eq!(fixed.shape(fixed.outputs[0].value), [1, 128, 14, 14]);
}

#[test]
fn t03_blocks_whose_code_never_ran_are_read_from_their_tensors_alone() {
    let (arch, g) = built(&lifted(64, |s| nets::grouped(s, "block", 64, 64, 4)), None);
    assert_eq!(arch.stages[0].block, BlockKind::Grouped);
    assert!(matches!(&node(&g, "block.conv").op, Op::Conv2d(c) if c.groups == 4));
}

#[test]
fn t04_one_name_for_two_classes_does_not_matter() {
    // The same class name with and without a projection, at two places of one network.
    for out in [64, 128] {
        let (arch, g) = built(&lifted(64, |s| nets::grouped(s, "block", 64, out, 4)), None);
        assert_eq!(arch.stages[0].block, BlockKind::Grouped);
        assert_eq!(g.shape(g.outputs[0].value)[1], out);
    }
    // Dropout leaves nothing in a checkpoint: both definitions of the wide block are one.
    let s = lifted(64, |s| nets::pre_basic(s, "block", 64, 128, "bn", "proj"));
    assert_eq!(built(&s, None).0.stages[0].block, BlockKind::PreBasic);
}

#[test]
fn t05_projections_read_the_raw_or_the_activated_tensor() {
    let source = |s: &Spec, conv: &str| {
        let (_, g) = built(s, None);
        let input = node(&g, conv).inputs[0];
        g.value(input).name.clone()
    };
    let seed = lifted(16, |s| nets::pre_basic(s, "block", 16, 32, "bn", "proj"));
    assert_eq!(source(&seed, "block.proj"), "lift.bn.act");
    let v2 = lifted(64, |s| nets::pre_bottleneck(s, "block", 64, 64, 256));
    assert_eq!(source(&v2, "block.proj"), "lift.bn.act");
    let original = lifted(16, |s| nets::pre_basic(s, "block", 16, 32, "bn", "convShortcut"));
    assert_eq!(source(&original, "block.convShortcut"), "block.relu1.act");
    // Post-activation projections have their batch norm.
    let (_, g) = built(&lifted(16, |s| nets::basic(s, "block", 16, 32)), None);
    assert_eq!(g.value(node(&g, "block.proj.1").inputs[0]).name, "block.proj.0");
    // And the arch file has the last word.
    let ckpt = seed.checkpoint();
    let text = arch::recognise(&ckpt).unwrap().to_toml();
    let text = text.replace("projection = \"raw\"", "projection = \"activated\"");
    let arch = ArchFile::from_toml(&text).unwrap();
    assert_eq!(arch.stages[0].projection, Some(Projection::Activated));
    let g = arch::build(&ckpt, &arch, None).unwrap();
    assert_eq!(g.value(node(&g, "block.proj").inputs[0]).name, "block.relu1.act");
}

#[test]
fn t06_pre_activation_ends_in_a_raw_sum_unless_a_final_norm_follows() {
    let tiny = spec(|s| {
        s.conv("stem.0", 64, 3, 3).bn("stem.1", 64);
        nets::pre_basic(s, "block1", 64, 128, "bn", "proj");
        nets::pre_basic(s, "block2", 128, 128, "bn", "proj");
    });
    let (arch, g) = built(&tiny, None);
    assert_eq!(arch.family, "tiny-wrn");
    assert_eq!(ops(&g)[ops(&g).len() - 2..], ["Add", "GlobalAvgPool"]);
    assert_eq!(g.shape(g.outputs[0].value), [1, 128, 1, 1]);
    let backbone = nets::wide(&nets::WideNames { linear: None, ..nets::WIDE }, 2, 4);
    let (_, g) = built(&backbone, None);
    assert_eq!(ops(&g)[ops(&g).len() - 3..], ["Add", "BatchNorm", "Relu"]);
}

#[test]
fn t07_the_two_28_2_networks_differ_by_their_stem() {
    let with = nets::wide(&nets::WIDE, 4, 2);
    let bare = nets::wide(&nets::WideNames { stem: ("stem", None), ..nets::WIDE }, 4, 2);
    let (a, ga) = built(&with, None);
    let (b, gb) = built(&bare, None);
    assert_eq!((a.model.as_deref(), b.model.as_deref()), (Some("wrn-28-2"), Some("wrn-28-2")));
    assert_eq!((ga.parameters, gb.parameters), (1_467_642, 1_467_610));
    assert_eq!(ops(&ga)[..3], ["Conv2d", "BatchNorm", "Relu"]);
    assert_eq!((b.stem[0].activation, ops(&gb)[1]), (Act::None, "BatchNorm"));
    assert_eq!(gb.nodes()[1].name, "stage1.0.bn1");
}

#[test]
fn t08_taps_of_pre_activation_stages_are_normalised_and_missing_strides_are_told() {
    let s = nets::wide(&nets::WIDE, 2, 2);
    let ckpt = s.checkpoint();
    let mut arch = arch::recognise(&ckpt).unwrap();
    let e = arch.select_outputs(&["c3", "c4", "c5"]).unwrap_err().to_string();
    assert!(e.contains("no map has stride 8") && e.contains("stage3 (stride 4)"), "{e}");
    arch.select_outputs(&["stage1", "c1", "stage3"]).unwrap();
    let g = arch::build(&ckpt, &arch, None).unwrap();
    let taps: Vec<&str> = g.outputs.iter().map(|o| g.value(o.value).name.as_str()).collect();
    // relu(bn(sum)) of the next stage's first block, and of the final norm.
    assert_eq!(taps, ["stage2.0.relu1.act", "stage3.0.relu1.act", "bn.act"]);
    // A detection backbone brings norms for its taps; the one nobody taps still counts.
    let det = nets::four_stage([1, 2, 2, 1], [32, 64, 128, 256], true, |s, p, _, c, o| {
        nets::pre_basic(s, p, c, o, "bn", "proj");
    });
    let (_, g) = built(&det, Some([3, 64, 64]));
    let taps: Vec<&str> = g.outputs.iter().map(|o| g.value(o.value).name.as_str()).collect();
    assert_eq!(taps, ["bn2.act", "bn3.act", "bn4.act"]);
    // Without any norm behind it a raw sum is no tap.
    let mut tiny = arch.clone();
    tiny.final_norm = None;
    let e = arch::build(&ckpt, &tiny, None).unwrap_err().to_string();
    assert!(e.contains("raw sum") && e.contains("tap_bn"), "{e}");
}

#[test]
fn t09_folding_leaves_the_identity_skip_alone() {
    // Batch norm, ReLU and the skip all read the same tensor.
    let (_, g) = built(&lifted(16, |s| nets::pre_basic(s, "block", 16, 16, "bn", "proj")), None);
    let (folded, _) = fold::run(&g).unwrap();
    let x = image(3, 32);
    let (a, b) = (exec::run(&g, &x).unwrap(), exec::run(&folded, &x).unwrap());
    let peak = a[0].iter().fold(0f32, |m, v| m.max(v.abs()));
    let error = a[0].iter().zip(&b[0]).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(error <= 1e-5 * peak, "{error} of {peak}");
    assert!(folded.nodes().len() < g.nodes().len());
}

#[test]
fn t10_widths_truncate_and_never_vanish() {
    let e = resnext::width(8, 4, 32).unwrap_err().to_string();
    assert!(e.contains("without channels"), "{e}");
    assert_eq!(resnext::width(64, 4, 4).unwrap(), 16);
    let narrow = lifted(256, |s| {
        nets::bottleneck(s, "block", 256, (16, 256), 4, ("downsample.0", "downsample.1"))
    });
    let (arch, _) = built(&narrow, None);
    assert_eq!((arch.stages[0].inner, arch.stages[0].groups), (Some(16), Some(4)));
    let empty = lifted(256, |s| {
        nets::bottleneck(s, "block", 256, (0, 256), 1, ("downsample.0", "downsample.1"))
    });
    let ckpt = empty.checkpoint();
    let e =
        arch::recognise(&ckpt).and_then(|a| arch::build(&ckpt, &a, None)).unwrap_err().to_string();
    assert!(e.contains("block.conv1.weight") && e.contains("[0, 256, 1, 1]"), "{e}");
}

#[test]
fn t11_groups_divide_both_channel_counts() {
    let ckpt = spec(|s| nets::grouped(s, "block", 64, 64, 4)).checkpoint();
    let mut arch = arch::recognise(&ckpt).unwrap();
    arch.input.channels = 3;
    let e = arch::build(&ckpt, &arch, None).unwrap_err().to_string();
    assert!(e.contains("block.conv.weight") || e.contains("conv.weight"), "{e}");
    assert!(e.contains("4 groups cannot divide 3 channels"), "{e}");
    arch.stages[0].groups = None;
    let e = arch::build(&ckpt, &arch, None).unwrap_err().to_string();
    assert!(e.contains("does not fit 3 incoming channels"), "{e}");
}

#[test]
fn t12_the_grouped_residual_activates_its_branch_and_not_its_sum() {
    let (_, g) = built(&lifted(64, |s| nets::grouped(s, "block", 64, 64, 4)), None);
    assert_eq!(ops(&g), ["Conv2d", "BatchNorm", "Relu", "Conv2d", "BatchNorm", "Relu", "Add"]);
    let add = g.nodes().last().unwrap();
    assert_eq!(g.value(add.inputs[0]).name, "block.relu1.act");
    assert_eq!(add.output, g.outputs[0].value);
}

#[test]
fn t13_sizes_follow_the_floor_rule() {
    // An even window with padding k/2 grows the map by one.
    let even = spec(|s| {
        s.conv("conv", 16, 3, 4).bn("bn", 16);
    });
    let (_, g) = built(&even, None);
    assert_eq!(g.shape(g.outputs[0].value), [1, 16, 33, 33]);
    // Odd sizes round up under stride 2 with padding 1, on both paths of the block.
    let s = lifted(16, |s| nets::basic(s, "block", 16, 32));
    for (size, out) in [(33, 17), (1, 1), (31, 16)] {
        let (_, g) = built(&s, Some([3, size, size]));
        assert_eq!(g.shape(g.outputs[0].value), [1, 32, out, out]);
    }
    // A parameter-free shortcut does, too.
    let (_, g) = built(&nets::option_a(1), Some([3, 35, 35]));
    assert_eq!(g.shape(node(&g, "layer3.0.add").output), [1, 64, 9, 9]);
}

#[test]
fn t14_squeeze_excitation_keeps_its_narrow_middle_and_its_gate() {
    let (arch, g) = built(&lifted(32, |s| nets::se_basic(s, "block", 32, 64)), None);
    let tail: Vec<&str> = ops(&g).into_iter().skip_while(|o| *o != "GlobalAvgPool").collect();
    assert_eq!(tail[..6], ["GlobalAvgPool", "Conv2d", "SiLU", "Conv2d", "Sigmoid", "Mul"]);
    assert_eq!(tail[tail.len() - 2..], ["Add", "SiLU"]);
    assert_eq!(g.shape(node(&g, "block.se.fc.0").output), [1, 4, 1, 1]);
    // The product is per channel, on the branch, in front of the sum.
    let mul = node(&g, "block.se.mul");
    assert_eq!(g.shape(mul.inputs[1]), [1, 64, 1, 1]);
    assert_eq!(node(&g, "block.add").inputs[0], mul.output);
    assert_eq!(arch.stages[0].se.unwrap().gate, Act::Sigmoid);
}

#[test]
fn t15_one_graph_under_many_names() {
    // arch.rs goes through every spelling; here two documents' names give the same operators and numbers of them.
    let pairs: [(Spec, Spec); 3] = [
        (
            lifted(16, |s| nets::basic(s, "block", 16, 32)),
            lifted(16, |s| {
                let forms = [nets::Form::Unit, nets::Form::Sequential, nets::Form::Flat];
                let proj = ("proj.0", "proj.1");
                nets::Post { convs: &[(32, 16, 3), (32, 32, 3)], forms, proj }
                    .write(s, "block", 16);
            }),
        ),
        (
            lifted(64, |s| nets::bottleneck(s, "block", 64, (64, 256), 1, ("proj.0", "proj.1"))),
            lifted(64, |s| {
                nets::bottleneck(s, "block", 64, (64, 256), 1, ("downsample.0", "downsample.1"))
            }),
        ),
        (
            lifted(16, |s| nets::pre_basic(s, "block", 16, 32, "bn", "proj")),
            lifted(16, |s| nets::pre_basic(s, "block", 16, 32, "batch_norm", "proj")),
        ),
    ];
    for (a, b) in &pairs {
        let ((_, a), (_, b)) = (built(a, None), built(b, None));
        assert_eq!(ops(&a), ops(&b));
        assert_eq!((a.parameters, a.macs()), (b.parameters, b.macs()));
    }
}

#[test]
fn t18_prefixes_counters_and_any_order_of_keys_are_tolerated() {
    let plain = nets::wide(&nets::WIDE, 2, 2);
    let (reference, g) = built(&plain, None);
    for edit in [
        |s: &mut Spec| {
            s.sorted();
        },
        |s: &mut Spec| {
            s.without(|k| k.ends_with("num_batches_tracked"));
        },
    ] {
        let mut s = plain.clone();
        edit(&mut s);
        let (arch, other) = built(&s, None);
        assert_eq!((arch.model, ops(&other)), (reference.model.clone(), ops(&g)));
    }
    let wrapped = spec(|s| {
        s.prefix("module.");
        nets::lift(s, 16);
        nets::basic(s, "block", 16, 32);
    });
    let (arch, g) = built(&wrapped, None);
    assert_eq!(arch.prefix, "module.");
    assert!(g.nodes().iter().all(|n| !n.name.starts_with("module")));
    // A second copy of the weights is not dropped in silence.
    let mut copies = plain.clone();
    copies.conv("ema.stem.0", 16, 3, 3);
    let ckpt = copies.checkpoint();
    let e = arch::build(&ckpt, &arch::recognise(&ckpt).unwrap(), None).unwrap_err().to_string();
    assert!(e.contains("ema.stem.0.weight"), "{e}");
}
