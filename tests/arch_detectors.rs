//! Detectors from generated checkpoints: every backbone under necks and heads of several naming customs.

mod arch_nets;

use arch_nets as nets;
use kenar::detect::BoxCode;
use kenar_convert::arch::file::{Act, BoxKind, Head, Merge, NeckKind};
use kenar_convert::arch::testing::Spec;
use kenar_convert::arch::{self, ArchFile};
use kenar_convert::checkpoint::Checkpoint;
use kenar_convert::graph::Graph;

/// Channels of the last three stages.
const CHANNELS: [usize; 3] = [16, 24, 32];
/// Channels of the neck.
const WIDTH: usize = 8;

type Writer = fn(&mut Spec, &str, usize, usize);

/// Name, whether stages end in a batch norm, one block.
const BLOCKS: [(&str, bool, Writer); 6] = [
    ("basic", false, |s, path, i, o| nets::basic(s, path, i, o)),
    ("bottleneck", false, |s, path, i, o| {
        nets::bottleneck(s, path, i, (4, o), 1, ("proj.0", "proj.1"));
    }),
    ("resnext", false, |s, path, i, o| {
        nets::bottleneck(s, path, i, (8, o), 2, ("downsample.0", "downsample.1"));
    }),
    ("se", false, |s, path, i, o| nets::se_basic(s, path, i, o)),
    ("wide", true, |s, path, i, o| nets::pre_basic(s, path, i, o, "bn", "proj")),
    ("pre-bottleneck", true, |s, path, i, o| nets::pre_bottleneck(s, path, i, 4, o)),
];

/// A backbone of four stages under `prefix`.
fn backbone(s: &mut Spec, prefix: &str, normed: bool, block: Writer) {
    s.prefix(prefix);
    s.conv("stem.0", 8, 3, 3).bn("stem.1", 8);
    let mut incoming = 8;
    for (i, out) in [12].into_iter().chain(CHANNELS).enumerate() {
        block(s, &format!("stage{}.0", i + 1), incoming, out);
        if normed {
            s.bn(&format!("bn{}", i + 1), out);
        }
        incoming = out;
    }
    s.prefix("");
}

fn unit(s: &mut Spec, path: &str, out: usize, read: usize, window: usize) {
    s.conv(&format!("{path}.conv"), out, read, window).bn(&format!("{path}.bn"), out);
}

fn pan(s: &mut Spec) {
    for (level, c) in (3..).zip(CHANNELS) {
        unit(s, &format!("neck.lateral{level}"), WIDTH, c, 1);
    }
    for path in ["top_down3", "top_down4", "bottom_up4", "bottom_up5"] {
        unit(s, &format!("neck.{path}.reduce"), WIDTH, 2 * WIDTH, 1);
        unit(s, &format!("neck.{path}.conv"), WIDTH, WIDTH, 3);
    }
    for path in ["down3", "down4"] {
        unit(s, &format!("neck.{path}"), WIDTH, WIDTH, 3);
    }
}

/// Per level a branch for boxes and one for classes.
fn decoupled(s: &mut Spec, boxes: usize, objectness: bool, classes: usize) {
    for level in 0..3 {
        let at = |part: &str| format!("head.levels.{level}.{part}");
        for branch in ["reg_branch", "cls_branch"] {
            unit(s, &at(&format!("{branch}.0")), WIDTH, WIDTH, 3);
            unit(s, &at(&format!("{branch}.1")), WIDTH, WIDTH, 3);
        }
        s.conv_bias(&at("reg_pred"), boxes, WIDTH, 1).conv_bias(&at("cls_pred"), classes, WIDTH, 1);
        if objectness {
            s.conv_bias(&at("obj_pred"), 1, WIDTH, 1);
        }
    }
}

fn anchors(s: &mut Spec, channels: usize) {
    for level in 0..3 {
        s.conv_bias(&format!("head.levels.{level}"), channels, WIDTH, 1);
    }
}

/// Recognised, written, read again and built for 64x96 images.
fn through(ckpt: &Checkpoint) -> (ArchFile, Graph) {
    let arch = arch::recognise(ckpt).unwrap_or_else(|e| panic!("{e}"));
    let text = arch.to_toml();
    let arch = ArchFile::from_toml(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let graph =
        arch::build(ckpt, &arch, Some([3, 64, 96])).unwrap_or_else(|e| panic!("{e}\n{text}"));
    (arch, graph)
}

fn head(arch: &ArchFile) -> &kenar_convert::arch::file::DetectionHead {
    match &arch.head {
        Some(Head::Detector(head)) => head,
        other => panic!("{other:?}"),
    }
}

fn listing(graph: &Graph) -> Vec<String> {
    let name = |v: &kenar_convert::graph::ValueId| graph.value(*v).name.clone();
    let line = |n: &kenar_convert::graph::Node| {
        let operands: Vec<String> = n.inputs.iter().map(name).collect();
        format!("{} = {}({})", n.name, n.op.name(), operands.join(", "))
    };
    graph.nodes().iter().map(line).collect()
}

fn expect_lines(graph: &Graph, wanted: &[&str]) {
    let lines = listing(graph);
    for line in wanted {
        assert!(lines.iter().any(|l| l == line), "{line} not in {lines:#?}");
    }
}

fn outputs(graph: &Graph) -> Vec<(String, Vec<usize>)> {
    graph.outputs.iter().map(|o| (o.name.clone(), graph.shape(o.value)[1..].to_vec())).collect()
}

#[test]
fn every_backbone_under_neck_and_head() {
    for (name, normed, block) in BLOCKS {
        for prefix in ["backbone.", "body.", ""] {
            let mut s = Spec::default();
            backbone(&mut s, prefix, normed, block);
            pan(&mut s);
            decoupled(&mut s, 4 * 16, false, 5);
            if prefix == "body." {
                s.sorted();
            }
            let ckpt = s.checkpoint();
            let (arch, graph) = through(&ckpt);
            let neck = arch.neck.as_ref().unwrap();
            assert_eq!((neck.kind, neck.merge), (NeckKind::Pan, Merge::Concat), "{name}");
            assert_eq!(neck.inputs, ["stage2", "stage3", "stage4"]);
            let head = head(&arch);
            assert_eq!((head.kind, head.bins, head.classes), (BoxKind::Dfl, Some(16), 5));
            let expected: Vec<(String, Vec<usize>)> = [("p3", 8, 12), ("p4", 4, 6), ("p5", 2, 3)]
                .into_iter()
                .flat_map(|(level, h, w)| {
                    [
                        (format!("{level}_reg"), vec![64, h, w]),
                        (format!("{level}_cls"), vec![5, h, w]),
                    ]
                })
                .collect();
            assert_eq!(outputs(&graph), expected, "{name} {prefix}");
            let raw = arch.raw_head(&graph).unwrap().unwrap();
            assert_eq!(raw.code, BoxCode::Dfl { bins: 16 });
            assert_eq!(raw.levels.iter().map(|l| l.stride).collect::<Vec<_>>(), [8, 16, 32]);
        }
    }
}

#[test]
fn every_map_can_be_an_output() {
    let mut s = Spec::default();
    backbone(&mut s, "backbone.", true, BLOCKS[4].2);
    pan(&mut s);
    anchors(&mut s, 24);
    let ckpt = s.checkpoint();
    let mut arch = arch::recognise(&ckpt).unwrap();
    let names = ["c2", "c5", "p4", "p3_pred", "backbone.stem.0"];
    arch.select_outputs(&names).unwrap();
    let graph = arch::build(&ckpt, &arch, Some([3, 64, 64])).unwrap();
    let found = outputs(&graph);
    assert_eq!(found.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), names);
    assert_eq!(found[1].1, [32, 2, 2]);
    assert_eq!(found[3].1, [24, 8, 8]);
    // Not all of the head is there.
    assert!(arch.raw_head(&graph).unwrap().is_none());
    let e = arch.select_outputs(&["p6"]).unwrap_err().to_string();
    assert!(e.contains("p5") && e.contains("p5_pred") && e.contains("stage4"), "{e}");
}

#[test]
fn a_pan_joins_in_this_order() {
    let mut s = Spec::default();
    backbone(&mut s, "backbone.", false, BLOCKS[0].2);
    pan(&mut s);
    decoupled(&mut s, 4, true, 2);
    let (arch, graph) = through(&s.checkpoint());
    expect_lines(
        &graph,
        &[
            "neck.p4.top_down.up = Resize(neck.lateral5.act)",
            "neck.p4.top_down.concat = Concat(neck.lateral4.act, neck.p4.top_down.up)",
            "neck.top_down4.reduce.conv = Conv2d(neck.p4.top_down.concat)",
            "neck.top_down4.conv.conv = Conv2d(neck.top_down4.reduce.act)",
            "neck.p3.top_down.up = Resize(neck.top_down4.conv.act)",
            "neck.down3.conv = Conv2d(neck.top_down3.conv.act)",
            "neck.p4.bottom_up.concat = Concat(neck.down3.act, neck.top_down4.conv.act)",
            "neck.p5.bottom_up.concat = Concat(neck.down4.act, neck.lateral5.act)",
            "head.levels.1.reg_pred = Conv2d(head.levels.1.reg_branch.1.act)",
            "head.levels.1.obj_pred = Conv2d(head.levels.1.reg_branch.1.act)",
            "head.levels.1.cls_branch.0.conv = Conv2d(neck.bottom_up4.conv.act)",
        ],
    );
    assert_eq!(head(&arch).kind, BoxKind::ExpDistance);
    assert_eq!(graph.outputs[1].name, "p3_obj");
}

#[test]
fn a_pyramid_with_sums_and_a_head_that_levels_share() {
    for (lateral, smooth) in [
        ("neck.lateral_convs.{}.conv", "neck.fpn_convs.{}.conv"),
        ("fpn.inner_blocks.{}.0", "fpn.layer_blocks.{}.0"),
        ("backbone.fpn.inner_blocks.{}", "backbone.fpn.layer_blocks.{}"),
    ] {
        let mut s = Spec::default();
        backbone(&mut s, "backbone.body.", false, BLOCKS[0].2);
        for (i, c) in CHANNELS.into_iter().enumerate() {
            s.conv_bias(&lateral.replace("{}", &i.to_string()), WIDTH, c, 1);
            s.conv_bias(&smooth.replace("{}", &i.to_string()), WIDTH, WIDTH, 3);
        }
        for i in 0..3 {
            unit(&mut s, &format!("bbox_head.cls_convs.{i}"), WIDTH, WIDTH, 3);
            unit(&mut s, &format!("bbox_head.reg_convs.{i}"), WIDTH, WIDTH, 3);
        }
        s.conv_bias("bbox_head.out_cls", 7, WIDTH, 3).conv_bias("bbox_head.out_reg", 4, WIDTH, 3);
        let ckpt = s.checkpoint();
        let (arch, graph) = through(&ckpt);
        let neck = arch.neck.as_ref().unwrap();
        assert_eq!(
            (neck.kind, neck.merge, neck.activation),
            (NeckKind::Fpn, Merge::Add, Act::None)
        );
        let shared = head(&arch);
        assert_eq!((shared.kind, shared.classes), (BoxKind::Distance, 7));
        assert_eq!(shared.class_branch.0.len(), 3);
        assert!(!shared.boxes.contains("{}"));
        let conv = |pattern: &str, i: usize| {
            let path = pattern.replace("{}", &i.to_string());
            format!("{path} = Conv2d(neck.p{}.top_down.add)", i + 3)
        };
        expect_lines(&graph, &[&conv(smooth, 0), &conv(smooth, 1)]);
        // Weights that three levels share are counted once.
        let all: usize = ckpt
            .tensors
            .iter()
            .filter(|(k, _)| !k.contains("running") && !k.contains("num_batches"))
            .map(|(_, t)| t.array.len())
            .sum();
        assert_eq!(graph.parameters, all);
    }
}

#[test]
fn names_of_yolox_mean_sizes() {
    let mut s = Spec::default();
    backbone(&mut s, "backbone.", false, BLOCKS[0].2);
    pan(&mut s);
    for level in 0..3 {
        unit(&mut s, &format!("head.stems.{level}"), WIDTH, WIDTH, 1);
        for branch in ["cls", "reg"] {
            for i in 0..2 {
                unit(&mut s, &format!("head.{branch}_convs.{level}.{i}"), WIDTH, WIDTH, 3);
            }
        }
        for (branch, channels) in [("cls", 80), ("reg", 4), ("obj", 1)] {
            s.conv_bias(&format!("head.{branch}_preds.{level}"), channels, WIDTH, 1);
        }
    }
    let (arch, graph) = through(&s.checkpoint());
    let head = head(&arch);
    assert_eq!((head.kind, head.classes, head.centre), (BoxKind::ExpSize, 80, Some(0.0)));
    assert_eq!(head.box_branch.0, ["head.reg_convs.{}.0", "head.reg_convs.{}.1"]);
    expect_lines(&graph, &["head.obj_preds.2 = Conv2d(head.reg_convs.2.1.act)"]);
}

#[test]
fn anchors_come_from_the_file() {
    let mut s = Spec::default();
    backbone(&mut s, "backbone.", false, BLOCKS[0].2);
    pan(&mut s);
    anchors(&mut s, 2 * (5 + 4));
    let ckpt = s.checkpoint();
    let recognised = arch::recognise(&ckpt).unwrap();
    assert_eq!((head(&recognised).anchors_per_cell, head(&recognised).classes), (3, 1));
    assert!(recognised.undecodable().unwrap().contains("anchors = [[[w, h], ...], ...]"));
    assert!(recognised.to_toml().contains("# anchors = [[[w, h], [w, h], [w, h]], ...]"));
    let known = || arch::recognise(&ckpt);
    let text = "[head]\nclasses = 4\nanchors_per_cell = 2\nlabels = [\"a\", \"b\", \"c\", \"d\"]\n\
                anchors = [[[4, 4], [6, 8]], [[9, 9], [12, 16.5]], [[20, 20], [30, 31]]]\n";
    let arch = ArchFile::overlay(text, known).unwrap();
    let graph = arch::build(&ckpt, &arch, Some([3, 64, 64])).unwrap();
    let raw = arch.raw_head(&graph).unwrap().unwrap();
    assert_eq!((raw.classes, raw.levels[1].anchors[1]), (4, [12.0, 16.5]));
    assert_eq!(
        (raw.levels[0].objectness.as_ref().unwrap().first, raw.levels[0].scores.per_anchor),
        (4, 9)
    );
    assert_eq!(raw.labels, ["a", "b", "c", "d"]);
    assert!(raw.separated(&graph).is_none());
    // What does not fit is told.
    let refused = |text: &str| ArchFile::overlay(text, known).unwrap_err().to_string();
    assert!(refused("[head]\nanchors = [[[4, 4]]]").contains("3 for each of 3 levels"));
    assert!(refused("[head]\nlabels = [\"x\", \"y\"]").contains("2 labels for 1 classes"));
    assert!(refused("[head]\nkin = 1").contains("kin"));
    assert!(refused("[neck]\ninputs = [\"stage1\", \"c9\", \"c5\"]").contains("c9"));
    let arch = ArchFile::overlay("[head]\nclasses = 2", known).unwrap();
    let e = arch::build(&ckpt, &arch, None).unwrap_err().to_string();
    assert!(
        e.contains("head.levels.0") && e.contains("18 channels") && e.contains("needs 21"),
        "{e}"
    );
}

#[test]
fn a_file_describes_what_names_do_not_tell() {
    let mut s = Spec::default();
    backbone(&mut s, "", false, BLOCKS[0].2);
    for (i, c) in CHANNELS.into_iter().enumerate() {
        s.conv(&format!("mix{i}"), WIDTH, c, 1).bn(&format!("mix{i}_bn"), WIDTH);
        s.conv_bias(&format!("boxes_at_{i}"), 8, WIDTH, 3).conv_bias(
            &format!("kinds_at_{i}"),
            6,
            WIDTH,
            3,
        );
    }
    let ckpt = s.checkpoint();
    assert!(
        arch::recognise(&ckpt).is_err()
            || arch::build(&ckpt, &arch::recognise(&ckpt).unwrap(), None).is_err()
    );
    let mut plain = Spec::default();
    backbone(&mut plain, "", false, BLOCKS[0].2);
    let stages = arch::recognise(&plain.checkpoint()).unwrap();
    let mut text = stages.to_toml();
    text.truncate(text.find("[[output]]").unwrap());
    text.push_str(
        "[neck]\nkind = \"fpn\"\ninputs = [\"c3\", \"stage3\", \"c5\"]\nlevels = [\"fine\", \"middle\", \"coarse\"]\n\
         merge = \"add\"\nactivation = \"hardswish\"\n\
         lateral = [\"mix0 + mix0_bn\", \"mix1 + mix1_bn\", \"mix2 + mix2_bn\"]\n\
         [head]\nkind = \"distance\"\nclasses = 3\nanchors_per_cell = 2\ncentre = 0.0\n\
         boxes = \"boxes_at_{}\"\nscores = \"kinds_at_{}\"\n",
    );
    let arch = ArchFile::from_toml(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let graph = arch::build(&ckpt, &arch, Some([3, 64, 64])).unwrap();
    assert_eq!(graph.outputs[2].name, "middle_reg");
    expect_lines(&graph, &["kinds_at_1 = Conv2d(neck.middle.top_down.add)"]);
    let raw = arch.raw_head(&graph).unwrap().unwrap();
    assert_eq!((raw.code, raw.centre, raw.anchors_per_cell), (BoxCode::Distance, 0.0, 2));
    // The input must be divisible by the coarsest stride.
    let e = arch::build(&ckpt, &arch, Some([3, 72, 72])).unwrap_err().to_string();
    assert!(e.contains("the coarsest stride divides"), "{e}");
}

#[test]
fn what_is_no_detector_is_told() {
    let mut s = Spec::default();
    backbone(&mut s, "backbone.", false, BLOCKS[0].2);
    pan(&mut s);
    decoupled(&mut s, 64, false, 3);
    let refused = |change: fn(&mut Spec)| {
        let mut broken = s.clone();
        change(&mut broken);
        arch::recognise(&broken.checkpoint()).unwrap_err().to_string()
    };
    let e = refused(|s| {
        s.conv("neck.attention.conv", 8, 8, 1);
    });
    assert!(e.contains("neck.attention") && e.contains("known part of a neck"), "{e}");
    let e = refused(|s| {
        s.without(|k| k.contains("cls_"));
    });
    assert!(e.contains("no classes"), "{e}");
    let e = refused(|s| {
        s.without(|k| k.starts_with("backbone.stage4"));
    });
    assert!(e.contains("[16, 24, 32]"), "{e}");
    let e = refused(|s| {
        s.without(|k| k.starts_with("head.levels.1.reg_pred"));
    });
    assert!(e.contains("not one for each of 3 levels"), "{e}");
}
