//! Recognition and building of every network class under all of its names, from generated checkpoints.

mod arch_nets;

use arch_nets as nets;
use arch_nets::{BARE_PROJECTIONS, FORMS, Form, PROJECTIONS, Post};
use kenar_convert::arch::file::{Act, Projection};
use kenar_convert::arch::testing::Spec;
use kenar_convert::arch::{self, ArchFile, BlockKind};
use kenar_convert::graph::Graph;

/// Recognises and builds, through the TOML text; the first output's shape.
fn through(s: &Spec, input: Option<[usize; 3]>) -> (ArchFile, Graph, Vec<usize>) {
    let ckpt = s.checkpoint();
    let arch = arch::recognise(&ckpt).unwrap_or_else(|e| panic!("{e}"));
    let arch = ArchFile::from_toml(&arch.to_toml()).unwrap();
    let graph =
        arch::build(&ckpt, &arch, input).unwrap_or_else(|e| panic!("{e}\n{}", arch.to_toml()));
    let shape = graph.shape(graph.outputs[0].value).to_vec();
    (arch, graph, shape)
}

fn spec(write: impl FnOnce(&mut Spec)) -> Spec {
    let mut s = Spec::default();
    write(&mut s);
    s
}

#[test]
fn documented_parameter_counts() {
    type Write = fn(&mut Spec);
    let cases: [(&str, usize, Write); 14] = [
        ("ConvBNAct", 464, |s| {
            s.conv("conv", 16, 3, 3).bn("bn", 16);
        }),
        ("post-activation 16", 4_672, |s| nets::basic(s, "", 16, 16)),
        ("post-activation 16-32", 14_528, |s| nets::basic(s, "", 16, 32)),
        ("pre-activation 16", 4_672, |s| nets::pre_basic(s, "", 16, 16, "bn", "proj")),
        ("pre-activation 16-32", 14_432, |s| nets::pre_basic(s, "", 16, 32, "bn", "proj")),
        ("bottleneck", 75_008, |s| nets::bottleneck(s, "", 64, (64, 256), 1, ("proj.0", "proj.1"))),
        ("SE", 580, |s| nets::se(s, "", 64)),
        ("SE residual 32", 18_852, |s| nets::se_basic(s, "", 32, 32)),
        ("SE residual 32-64", 58_308, |s| nets::se_basic(s, "", 32, 64)),
        ("tiny WRN", 527_040, |s| {
            s.conv("stem.0", 64, 3, 3).bn("stem.1", 64);
            nets::pre_basic(s, "block1", 64, 128, "bn", "proj");
            nets::pre_basic(s, "block2", 128, 128, "bn", "proj");
        }),
        ("WRN-28-2", 1_467_642, |s| *s = nets::wide(&nets::WIDE, 4, 2)),
        ("WRN-28-2, bare stem", 1_467_610, |s| {
            *s = nets::wide(&nets::WideNames { stem: ("stem", None), ..nets::WIDE }, 4, 2);
        }),
        ("plain CNN", 104_042, |s| {
            for (i, o, c) in [(0, 32, 3), (1, 32, 32), (3, 64, 32), (5, 128, 64)] {
                s.conv(&format!("features.{i}.conv"), o, c, 3).bn(&format!("features.{i}.bn"), o);
            }
            s.linear("fc", 10, 128);
        }),
        ("identity residual behind a lift", 464, |s| nets::lift(s, 16)),
    ];
    for (name, parameters, write) in cases {
        assert_eq!(through(&spec(write), None).1.parameters, parameters, "{name}");
    }
}

#[test]
fn every_spelling_of_the_basic_block() {
    for first in FORMS {
        for second in FORMS {
            for proj in PROJECTIONS {
                for lifted in [false, true] {
                    let path = if lifted { "block" } else { "" };
                    let s = spec(|s| {
                        if lifted {
                            nets::lift(s, 16);
                        }
                        Post {
                            convs: &[(32, 16, 3), (32, 32, 3)],
                            forms: [first, second, first],
                            proj,
                        }
                        .write(s, path, 16);
                        s.sorted();
                    });
                    let (arch, graph, shape) = through(&s, None);
                    assert_eq!(arch.stages[0].block, BlockKind::Basic);
                    assert_eq!(shape, [1, 32, 16, 16]);
                    assert_eq!(graph.parameters, 14_528 + if lifted { 464 } else { 0 });
                    let last = graph.nodes().last().unwrap();
                    assert_eq!(last.op.name(), "Relu");
                }
            }
        }
    }
}

#[test]
fn every_spelling_of_the_bottleneck() {
    for form in FORMS {
        for proj in PROJECTIONS {
            for groups in [1, 4, 32] {
                let s = spec(|s| {
                    nets::lift(s, 256);
                    let convs = [(128, 256, 1), (128, 128 / groups, 3), (512, 128, 1)];
                    Post { convs: &convs, forms: [form, Form::Flat, form], proj }
                        .write(s, "block", 256);
                });
                let (arch, _, shape) = through(&s, Some([3, 28, 28]));
                assert_eq!(arch.stages[0].block, BlockKind::Bottleneck);
                assert_eq!(arch.stages[0].groups, (groups > 1).then_some(groups));
                assert_eq!(arch.stages[0].inner, Some(128));
                assert_eq!(shape, [1, 512, 14, 14]);
            }
        }
    }
}

#[test]
fn every_spelling_of_the_pre_activation_blocks() {
    for bn in ["bn", "norm", "batch_norm"] {
        for proj in BARE_PROJECTIONS {
            let s = spec(|s| {
                nets::lift(s, 16);
                nets::pre_basic(s, "block", 16, 32, bn, proj);
                s.sorted();
            });
            let (arch, graph, shape) = through(&s, None);
            assert_eq!(arch.stages[0].block, BlockKind::PreBasic);
            assert_eq!(shape, [1, 32, 16, 16]);
            let activated = matches!(proj, "shortcut.0" | "conv_inp" | "convShortcut");
            let expected = if activated { Projection::Activated } else { Projection::Raw };
            assert_eq!(arch.stages[0].projection, Some(expected), "{proj}");
            let reads =
                |name: &str| graph.nodes().iter().find(|n| n.name == name).unwrap().inputs[0];
            let shares = reads(&format!("block.{proj}")) == reads("block.conv1");
            assert_eq!(shares, activated, "{proj}");
            assert_eq!(graph.nodes().last().unwrap().op.name(), "Add");
        }
    }
    let s = spec(|s| {
        nets::lift(s, 64);
        nets::pre_bottleneck(s, "block", 64, 64, 256);
    });
    let (arch, _, shape) = through(&s, None);
    assert_eq!(arch.stages[0].block, BlockKind::PreBottleneck);
    assert_eq!(shape, [1, 256, 32, 32]);
}

#[test]
fn blocks_of_the_lone_kinds() {
    let lifted = |c: usize, write: &dyn Fn(&mut Spec)| {
        spec(|s| {
            nets::lift(s, c);
            write(s);
        })
    };
    let cases: [(Spec, BlockKind, Vec<usize>); 5] = [
        (
            lifted(64, &|s| nets::grouped(s, "block", 64, 64, 4)),
            BlockKind::Grouped,
            vec![1, 64, 32, 32],
        ),
        (
            lifted(64, &|s| nets::grouped(s, "block", 64, 128, 4)),
            BlockKind::Grouped,
            vec![1, 128, 32, 32],
        ),
        (lifted(64, &|s| nets::se(s, "block", 64)), BlockKind::Se, vec![1, 64, 32, 32]),
        (
            lifted(32, &|s| nets::se_basic(s, "block", 32, 64)),
            BlockKind::Basic,
            vec![1, 64, 16, 16],
        ),
        (lifted(16, &|_| ()), BlockKind::Identity, vec![1, 16, 32, 32]),
    ];
    for (s, kind, expected) in cases {
        let (arch, _, shape) = through(&s, None);
        assert_eq!((arch.stages[0].block, shape), (kind, expected));
    }
    let (arch, ..) = through(&lifted(32, &|s| nets::se_basic(s, "block", 32, 64)), None);
    assert_eq!(arch.stages[0].activation, Act::Silu);
    assert_eq!(arch.stem[0].activation, Act::Relu);
}

#[test]
fn squeeze_excitation_of_linear_layers_in_a_bottleneck() {
    let mut s = nets::imagenet([1, 1, 1, 1], Some(64), 1);
    for (i, c) in [256, 512, 1024, 2048].into_iter().enumerate() {
        let se = format!("layer{}.0.se", i + 1);
        s.tensor(&format!("{se}.fc.0.weight"), &[c / 16, c])
            .tensor(&format!("{se}.fc.2.weight"), &[c, c / 16]);
    }
    let (arch, graph, shape) = through(&s, None);
    assert_eq!((arch.family.as_str(), shape), ("resnet", vec![1, 1000]));
    assert_eq!(arch.stages[0].se.unwrap().activation, Act::Relu);
    assert_eq!(arch.stages[0].activation, Act::Relu);
    assert_eq!(graph.nodes().iter().filter(|n| n.op.name() == "Sigmoid").count(), 4);
}

#[test]
fn blocks_with_folded_batch_norms() {
    let s = spec(|s| {
        nets::lift(s, 16);
        s.conv_bias("block.conv1", 32, 16, 3).conv_bias("block.conv2", 32, 32, 3).conv_bias(
            "block.proj",
            32,
            16,
            1,
        );
    });
    let (arch, _, shape) = through(&s, None);
    assert_eq!((arch.stages[0].block, shape), (BlockKind::Basic, vec![1, 32, 16, 16]));
}

#[test]
fn the_identity_residual_says_that_it_is_assumed() {
    let s = spec(|s| nets::lift(s, 16));
    let arch = arch::recognise(&s.checkpoint()).unwrap();
    assert!(arch.to_toml().contains("# NOTE block: nothing but the lift has parameters"));
}

#[test]
fn identity_blocks_fit_both_orders_and_the_file_order_decides() {
    let write = |s: &mut Spec| {
        nets::lift(s, 16);
        nets::basic(s, "block", 16, 16);
    };
    assert_eq!(through(&spec(write), None).0.stages[0].block, BlockKind::Basic);
    let mut sorted = spec(write);
    let arch = arch::recognise(&sorted.sorted().checkpoint()).unwrap();
    assert_eq!(arch.stages[0].block, BlockKind::PreBasic);
    assert!(arch.to_toml().contains("pre-activation is assumed"));
    // The arch file overrides.
    let text = arch.to_toml().replace("block = \"pre-basic\"", "block = \"basic\"");
    let graph =
        arch::build(&sorted.checkpoint(), &ArchFile::from_toml(&text).unwrap(), None).unwrap();
    assert_eq!(graph.nodes().last().unwrap().op.name(), "Relu");
}

#[test]
fn a_stage_on_its_own() {
    for path in ["stageX", "", "stage1"] {
        let s = spec(|s| {
            for (i, c) in [16, 32, 32].into_iter().enumerate() {
                nets::pre_basic(s, &nets::join(path, &i.to_string()), c, 32, "bn", "proj");
            }
        });
        let (arch, _, shape) = through(&s, None);
        assert_eq!((arch.stages.len(), arch.stages[0].count), (1, 3), "{path}");
        assert_eq!(shape, [1, 32, 16, 16], "{path}");
    }
}

#[test]
fn wide_networks_of_several_repositories() {
    let repositories = [
        nets::WIDE,
        nets::WideNames { linear: None, ..nets::WIDE },
        nets::WideNames { stem: ("stem", None), ..nets::WIDE },
        nets::WideNames {
            stem: ("backbone.stem.0", Some("backbone.stem.1")),
            block: "backbone.stage{}.[]",
            final_norm: "backbone.bn",
            ..nets::WIDE
        },
        nets::WideNames {
            stem: ("conv1", None),
            block: "block{}.nblockLayer.[]",
            bn: "batch_norm",
            proj: "conv_inp",
            final_norm: "batch_norm",
            ..nets::WIDE
        },
        nets::WideNames {
            stem: ("conv1", None),
            block: "block{}.layer.[]",
            proj: "convShortcut",
            final_norm: "bn1",
            ..nets::WIDE
        },
        nets::WideNames {
            stem: ("conv1", None),
            block: "layer{}.[]",
            proj: "shortcut.0",
            final_norm: "bn1",
            linear: Some("linear"),
            ..nets::WIDE
        },
    ];
    for names in &repositories {
        for (n, k) in [(2, 1), (2, 4), (4, 2)] {
            let (arch, graph, shape) = through(&nets::wide(names, n, k), None);
            assert_eq!(arch.family, "wide-resnet");
            assert_eq!(arch.model, Some(format!("wrn-{}-{k}", 6 * n + 4)));
            assert_eq!(arch.depth, Some(6 * n + 4));
            let expected = if names.linear.is_some() { vec![1, 10] } else { vec![1, 64 * k, 8, 8] };
            assert_eq!(shape, expected);
            let adds = graph.nodes().iter().filter(|n| n.op.name() == "Add").count();
            assert_eq!(adds, 3 * n);
        }
    }
    let activated = through(&nets::wide(&repositories[4], 2, 2), None).0;
    assert!(activated.stages.iter().all(|s| s.projection == Some(Projection::Activated)));
}

#[test]
fn torchvision_networks_by_parameters_and_macs() {
    let bottleneck = |blocks, base_width: usize, groups| {
        nets::imagenet(blocks, Some(base_width * groups), groups)
    };
    let cases = [
        ("resnet18", nets::imagenet([2, 2, 2, 2], None, 1), 11_689_512, 1_814_073_344),
        ("resnet34", nets::imagenet([3, 4, 6, 3], None, 1), 21_797_672, 3_663_761_408),
        ("resnet50", bottleneck([3, 4, 6, 3], 64, 1), 25_557_032, 4_089_184_256),
        ("resnet101", bottleneck([3, 4, 23, 3], 64, 1), 44_549_160, 7_801_405_440),
        ("resnext50_32x4d", bottleneck([3, 4, 6, 3], 4, 32), 25_028_904, 4_230_479_872),
        ("resnext101_32x8d", bottleneck([3, 4, 23, 3], 8, 32), 88_791_336, 16_414_015_488),
        ("wide_resnet50_2", bottleneck([3, 4, 6, 3], 128, 1), 68_883_240, 11_398_021_120),
    ];
    for (name, s, parameters, macs) in cases {
        let (arch, graph, shape) = through(&s, None);
        assert_eq!(arch.model.as_deref(), Some(name));
        assert_eq!((graph.parameters, graph.macs()), (parameters, macs), "{name}");
        assert_eq!(shape, [1, 1000], "{name}");
        // The same by name, and under another wrapper.
        let by_name = arch::build(&s.checkpoint(), &arch::by_name(name).unwrap(), None).unwrap();
        assert_eq!(by_name.macs(), macs, "{name}");
    }
}

#[test]
fn a_named_architecture_takes_the_names_of_the_checkpoint() {
    let names = nets::WideNames {
        stem: ("conv1", None),
        block: "block{}.nblockLayer.[]",
        bn: "batch_norm",
        proj: "conv_inp",
        final_norm: "batch_norm",
        linear: Some("fc"),
    };
    let ckpt = nets::wide(&names, 2, 2).checkpoint();
    let arch = arch::resolve(&ckpt, Some("wrn-16-2")).unwrap();
    assert_eq!(arch.stages[1].projection, Some(Projection::Activated));
    arch::build(&ckpt, &arch, None).unwrap();
    let e = arch::resolve(&ckpt, Some("wrn-28-2")).unwrap_err().to_string();
    assert!(e.contains("is no wrn-28-2") && e.contains("wrn-16-2"), "{e}");
    let e =
        arch::resolve(&nets::imagenet([3, 4, 6, 3], Some(128), 1).checkpoint(), Some("resnet50"));
    let e = e.unwrap_err().to_string();
    assert!(e.contains("wide_resnet50_2") && e.contains("inner 128"), "{e}");
    assert!(arch::resolve(&ckpt, Some("resnet9000")).is_err());
}

#[test]
fn an_arch_file_is_loaded_by_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("net.toml");
    let ckpt = nets::option_a(3).checkpoint();
    std::fs::write(&path, arch::recognise(&ckpt).unwrap().to_toml()).unwrap();
    let arch = arch::resolve(&ckpt, path.to_str()).unwrap();
    assert_eq!(arch.model.as_deref(), Some("resnet20"));
    std::fs::write(&path, "family = 3").unwrap();
    let e = arch::resolve(&ckpt, path.to_str()).unwrap_err().to_string();
    assert!(e.contains("net.toml") && e.contains("family"), "{e}");
}

#[test]
fn small_image_networks() {
    let (arch, graph, shape) = through(&nets::option_a(9), None);
    assert_eq!(
        (arch.model.as_deref(), graph.parameters, shape),
        (Some("resnet56"), 853_018, vec![1, 10])
    );
    assert_eq!(arch.stages[1].projection, Some(Projection::Pad));
    let pads = graph.nodes().iter().filter(|n| n.op.name() == "Pad").count();
    let slices = graph.nodes().iter().filter(|n| n.op.name() == "Slice").count();
    assert_eq!((pads, slices), (2, 4));
    // Four stages, projections with batch norm, `linear`.
    let four = |pre: bool| {
        spec(|s| {
            s.conv("conv1", 64, 3, 3);
            if !pre {
                s.bn("bn1", 64);
            }
            let mut c = 64;
            for i in 0..4 {
                for j in 0..2 {
                    let (path, out) = (format!("layer{}.{j}", i + 1), 64 << i);
                    if pre {
                        nets::pre_basic(s, &path, c, out, "bn", "shortcut.0");
                    } else {
                        let proj = ("shortcut.0", "shortcut.1");
                        Post { convs: &[(out, c, 3), (out, out, 3)], forms: [Form::Flat; 3], proj }
                            .write(s, &path, c);
                    }
                    c = out;
                }
            }
            s.linear("linear", 10, c);
        })
    };
    let (arch, graph, _) = through(&four(false), None);
    assert_eq!((arch.family.as_str(), graph.parameters), ("cifar-resnet", 11_173_962));
    let (arch, graph, _) = through(&four(true), None);
    assert_eq!((arch.family.as_str(), graph.parameters), ("wide-resnet", 11_171_146));
    assert_eq!(arch.stages[3].projection, Some(Projection::Activated));
}

#[test]
fn detection_backbones_put_out_c3_c4_c5() {
    let proj = ("downsample.0", "downsample.1");
    let cases = [
        (
            nets::four_stage([1, 2, 2, 1], [32, 64, 128, 256], true, |s, p, _, c, o| {
                nets::pre_basic(s, p, c, o, "bn", "proj")
            }),
            1_595_424,
        ),
        (
            nets::four_stage([1, 2, 2, 1], [64, 128, 256, 512], false, |s, p, i, c, o| {
                nets::bottleneck(s, p, c, (16 << i, o), 1, ("proj.0", "proj.1"));
            }),
            594_400,
        ),
        (
            nets::four_stage([1, 2, 2, 1], [64, 128, 256, 512], false, |s, p, i, c, o| {
                nets::bottleneck(s, p, c, (64 << i, o), 8, proj);
            }),
            1_354_912,
        ),
        (
            nets::four_stage([1, 1, 1, 1], [32, 64, 128, 192], false, |s, p, _, c, o| {
                nets::se_basic(s, p, c, o)
            }),
            893_916,
        ),
    ];
    for (s, parameters) in cases {
        let (arch, graph, _) = through(&s, Some([3, 160, 160]));
        assert_eq!((arch.family.as_str(), graph.parameters), ("four-stage", parameters));
        let outputs: Vec<(&str, &[usize])> =
            graph.outputs.iter().map(|o| (o.name.as_str(), &graph.shape(o.value)[2..])).collect();
        assert_eq!(outputs, [("c3", &[20, 20][..]), ("c4", &[10, 10]), ("c5", &[5, 5])]);
        // Other outputs on request.
        let mut arch = arch;
        arch.select_outputs(&["c2", "stage4"]).unwrap();
        let graph = arch::build(&s.checkpoint(), &arch, None).unwrap();
        assert_eq!(graph.shape(graph.outputs[0].value)[2..], [80, 80]);
        assert_eq!(graph.parameters, parameters);
    }
}

#[test]
fn face_network() {
    let (arch, graph, shape) = through(&nets::mini_fasnet(), None);
    assert_eq!((arch.family.as_str(), shape), ("mini-fasnet", vec![1, 3]));
    let count = |name: &str| graph.nodes().iter().filter(|n| n.op.name() == name).count();
    assert_eq!((count("Add"), count("Mul"), count("PRelu")), (7, 3, 23));
    // A batch norm over a vector.
    let bn = graph.nodes().iter().find(|n| n.name == "bn").unwrap();
    assert_eq!(graph.shape(bn.output), [1, 128]);
}

#[test]
fn wrappers_in_front_of_all_keys() {
    for prefix in ["module.", "model.", "module.net."] {
        for write in [
            |s: &mut Spec| {
                nets::lift(s, 16);
                nets::basic(s, "block", 16, 32);
            },
            |s: &mut Spec| {
                s.conv("features.0.conv", 8, 3, 3).bn("features.0.bn", 8).linear("fc", 10, 8);
            },
        ] {
            let s = spec(|s| {
                s.prefix(prefix);
                write(s);
            });
            through(&s, None);
        }
    }
}

#[test]
fn the_stride_of_a_bottleneck_can_stand_on_its_first_convolution() {
    let s = nets::imagenet([1, 1, 1, 1], Some(64), 1);
    let mut arch = arch::recognise(&s.checkpoint()).unwrap();
    for stage in &mut arch.stages {
        stage.stride_at = Some(1);
    }
    let graph = arch::build(&s.checkpoint(), &arch, None).unwrap();
    let size =
        |name: &str| graph.shape(graph.nodes().iter().find(|n| n.name == name).unwrap().output)[2];
    assert_eq!((size("layer2.0.conv1"), size("layer2.0.conv2")), (28, 28));
    arch.stages[0].stride_at = Some(4);
    assert!(
        arch::build(&s.checkpoint(), &arch, None)
            .unwrap_err()
            .to_string()
            .contains("stride_at = 4")
    );
}

#[test]
fn tensors_without_a_place_are_named() {
    let mut s = nets::option_a(3);
    s.conv("aux.extra", 8, 3, 1);
    let ckpt = s.checkpoint();
    let arch = arch::recognise(&ckpt).unwrap();
    let e = arch::build(&ckpt, &arch, None).unwrap_err().to_string();
    assert!(e.contains("aux.extra.weight") && e.contains("no place"), "{e}");
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    let ckpt = |edit: &dyn Fn(&mut Spec)| {
        let mut s = nets::option_a(3);
        edit(&mut s);
        s.checkpoint()
    };
    let arch = arch::by_name("resnet20").unwrap();
    let e =
        |edit: &dyn Fn(&mut Spec)| arch::build(&ckpt(edit), &arch, None).unwrap_err().to_string();
    let missing = e(&|s| {
        s.without(|k| k == "layer2.1.conv2.weight");
    });
    assert!(
        missing.contains("layer2.1.conv2.weight") && missing.contains("no such tensor"),
        "{missing}"
    );
    let shape = e(&|s| {
        s.without(|k| k == "layer2.1.conv2.weight").conv("layer2.1.conv2", 32, 24, 3);
    });
    assert!(shape.contains("[32, 24, 3, 3]") && shape.contains("32 incoming"), "{shape}");
    let bn = e(&|s| {
        s.without(|k| k == "bn1.running_mean").tensor("bn1.running_mean", &[17]);
    });
    assert!(bn.contains("bn1.running_mean") && bn.contains("[16]") && bn.contains("[17]"), "{bn}");
    let head = e(&|s| {
        s.without(|k| k == "linear.weight").tensor("linear.weight", &[10, 32]);
    });
    assert!(head.contains("[out, 64]") && head.contains("[10, 32]"), "{head}");
}

#[test]
fn unknown_networks_are_refused_with_what_was_seen() {
    let transformer = spec(|s| {
        s.tensor("encoder.layer1.0.attention.q.weight", &[64, 64]).tensor("head.weight", &[10, 64]);
    });
    let e = arch::recognise(&transformer.checkpoint()).unwrap_err().to_string();
    assert!(e.contains("attention.q") && e.contains("--arch"), "{e}");
    let e = arch::recognise(&Spec::default().checkpoint()).unwrap_err().to_string();
    assert!(e.contains("modules are none"), "{e}");
    let norms = spec(|s| {
        nets::lift(s, 8);
        s.conv("block.conv1", 8, 8, 3)
            .tensor("block.bn1.weight", &[8])
            .tensor("block.bn1.bias", &[8]);
    });
    let e = arch::recognise(&norms.checkpoint()).unwrap_err().to_string();
    assert!(e.contains("no running statistics"), "{e}");
}
