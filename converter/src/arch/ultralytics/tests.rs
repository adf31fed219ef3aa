//! Small networks, pickled as their classes would be.

use std::path::PathBuf;

use kenar::detect::BoxCode;

use crate::graph::Graph;
use crate::import::testing::{Pickler, View, torch_zip};
use crate::import::{LoadOptions, Source, load};

/// What is pickled.
#[derive(Clone)]
enum P {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<P>),
    Pair(i64),
    Dict(Vec<(P, P)>),
    Object(String, Vec<(&'static str, P)>),
    /// `callable(*args)`.
    Call(&'static str, &'static str, Vec<P>),
    Tensor(Vec<i64>),
}

/// The same storage serves every tensor.
const ELEMENTS: i64 = 4096;

fn write(p: Pickler, value: &P) -> Pickler {
    match value {
        P::None => p.op(b"N"),
        P::Bool(b) => p.op(if *b { b"\x88" } else { b"\x89" }),
        P::Int(i) => p.int(*i),
        P::Float(f) => p.op(b"G").op(&f.to_be_bytes()),
        P::Str(s) => p.str(s),
        P::List(all) => all.iter().fold(p.op(b"]("), write).op(b"e"),
        P::Pair(n) => p.ints(&[*n, *n]),
        P::Dict(items) => {
            items.iter().fold(p.op(b"}("), |p, (k, v)| write(write(p, k), v)).op(b"u")
        }
        P::Object(class, state) => {
            let (module, name) = class.rsplit_once('.').unwrap();
            let p = p.global(module, name).op(b")\x81}(");
            state.iter().fold(p, |p, (k, v)| write(p.str(k), v)).op(b"ub")
        }
        P::Call(module, name, args) => {
            args.iter().fold(p.global(module, name).op(b"("), write).op(b"tR")
        }
        P::Tensor(sizes) => {
            let mut strides = vec![1; sizes.len()];
            for i in (1..sizes.len()).rev() {
                strides[i - 1] = strides[i] * sizes[i];
            }
            let view = View { offset: 0, sizes, strides: &strides };
            p.tensor("HalfStorage", "0", ELEMENTS, view)
        }
    }
}

fn text(s: &str) -> P {
    P::Str(s.into())
}

fn names(items: Vec<(&str, P)>) -> P {
    P::Dict(items.into_iter().map(|(k, v)| (text(k), v)).collect())
}

/// A module with parameters, buffers, children and other attributes.
fn module(
    class: &str,
    parameters: Vec<(&str, P)>,
    children: Vec<(&str, P)>,
    attributes: Vec<(&'static str, P)>,
) -> P {
    let mut state = vec![
        ("training", P::Bool(false)),
        ("_parameters", names(parameters)),
        ("_buffers", names(Vec::new())),
        ("_forward_hooks", P::Call("collections", "OrderedDict", Vec::new())),
        ("_modules", names(children)),
    ];
    state.extend(attributes);
    P::Object(class.into(), state)
}

fn conv2d(o: i64, i: i64, window: i64, stride: i64, bias: bool) -> P {
    let bias = if bias { P::Tensor(vec![o]) } else { P::None };
    module(
        "torch.nn.modules.conv.Conv2d",
        vec![("weight", P::Tensor(vec![o, i, window, window])), ("bias", bias)],
        Vec::new(),
        vec![
            ("stride", P::Pair(stride)),
            ("padding", P::Pair(window / 2)),
            ("dilation", P::Pair(1)),
            ("groups", P::Int(1)),
            ("padding_mode", text("zeros")),
        ],
    )
}

fn conv(o: i64, i: i64, window: i64, stride: i64) -> P {
    let norm = ["weight", "bias", "running_mean", "running_var"].map(|n| (n, P::Tensor(vec![o])));
    let bn = module(
        "torch.nn.modules.batchnorm.BatchNorm2d",
        norm.to_vec(),
        Vec::new(),
        vec![("eps", P::Float(1e-3))],
    );
    let act = module("torch.nn.modules.activation.SiLU", Vec::new(), Vec::new(), Vec::new());
    let parts = vec![("conv", conv2d(o, i, window, stride, false)), ("bn", bn), ("act", act)];
    module("models.common.Conv", Vec::new(), parts, Vec::new())
}

fn sequence(class: &str, parts: Vec<P>) -> P {
    let names = ["0", "1", "2", "3", "4", "5", "6", "7"];
    module(class, Vec::new(), names.into_iter().zip(parts).collect(), Vec::new())
}

fn bottleneck(c: i64, add: bool) -> P {
    let parts = vec![("cv1", conv(c, c, 1, 1)), ("cv2", conv(c, c, 3, 1))];
    module("models.common.Bottleneck", Vec::new(), parts, vec![("add", P::Bool(add))])
}

fn pool() -> P {
    let numbers = [("kernel_size", 5), ("stride", 1), ("padding", 2)];
    let numbers = numbers.map(|(n, v)| (n, P::Int(v))).to_vec();
    module("torch.nn.modules.pooling.MaxPool2d", Vec::new(), Vec::new(), numbers)
}

const SEQUENTIAL: &str = "torch.nn.modules.container.Sequential";
const LIST: &str = "torch.nn.modules.container.ModuleList";

/// Adds what a layer of the network has beside its parts.
fn layer(part: P, from: P) -> P {
    let P::Object(class, mut state) = part else { unreachable!() };
    state.push(("f", from));
    P::Object(class, state)
}

/// YAML name and layer of a network like YOLOv5: strides 2 and 4, two levels, two anchors, two classes.
fn layers() -> Vec<(&'static str, P, P)> {
    let c3 = vec![
        ("cv1", conv(4, 8, 1, 1)),
        ("cv2", conv(4, 8, 1, 1)),
        ("m", sequence(SEQUENTIAL, vec![bottleneck(4, true)])),
        ("cv3", conv(8, 8, 1, 1)),
    ];
    let sppf = vec![("cv1", conv(4, 8, 1, 1)), ("cv2", conv(8, 16, 1, 1)), ("m", pool())];
    let upsample = vec![("scale_factor", P::Float(2.0)), ("mode", text("nearest"))];
    let back = |n: i64| P::Int(n);
    vec![
        ("Conv", conv(8, 3, 3, 2), back(-1)),
        ("C3", module("models.common.C3", Vec::new(), c3, Vec::new()), back(-1)),
        ("Conv", conv(8, 8, 3, 2), back(-1)),
        ("SPPF", module("models.common.SPPF", Vec::new(), sppf, Vec::new()), back(-1)),
        (
            "nn.Upsample",
            module("torch.nn.modules.upsampling.Upsample", Vec::new(), Vec::new(), upsample),
            back(-1),
        ),
        (
            "Concat",
            module("models.common.Concat", Vec::new(), Vec::new(), vec![("d", P::Int(1))]),
            P::List(vec![P::Int(-1), P::Int(1)]),
        ),
        ("Detect", anchored(), P::List(vec![P::Int(5), P::Int(3)])),
    ]
}

fn anchored() -> P {
    let predictions = vec![conv2d(14, 16, 1, 1, true), conv2d(14, 8, 1, 1, true)];
    module(
        "models.yolo.Detect",
        vec![("anchors", P::Tensor(vec![2, 2, 2]))],
        vec![("m", sequence(LIST, predictions))],
        vec![("nc", P::Int(2))],
    )
}

/// The network of these layers in a training checkpoint; the YAML names `rows`.
fn network(layers: &[(&str, P, P)], rows: &[(&str, P, P)], class: &str) -> P {
    let row = |(name, _, from): &(&str, P, P)| {
        P::List(vec![from.clone(), P::Int(1), text(name), P::List(Vec::new())])
    };
    let yaml = names(vec![
        ("nc", P::Int(2)),
        ("backbone", P::List(rows[..3].iter().map(row).collect())),
        ("head", P::List(rows[3..].iter().map(row).collect())),
    ]);
    let parts = layers.iter().map(|(_, part, from)| layer(part.clone(), from.clone())).collect();
    let labels = P::Dict(vec![(P::Int(0), text("cat")), (P::Int(1), text("dog"))]);
    let attributes = vec![("yaml", yaml), ("yaml_file", text("tiny.yaml")), ("names", labels)];
    let model = module(class, Vec::new(), vec![("model", sequence(SEQUENTIAL, parts))], attributes);
    names(vec![("epoch", P::Int(3)), ("model", model), ("ema", P::None)])
}

fn plain(layers: &[(&str, P, P)]) -> P {
    network(layers, layers, "models.yolo.Model")
}

fn read(root: &P) -> crate::Result<Source> {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("yolo.pt");
    // fp16 0.25 everywhere: products and sums of small weights stay exact.
    let storage = half::f16::from_f32(0.25).to_le_bytes().repeat(ELEMENTS as usize);
    std::fs::write(&path, torch_zip(&write(Pickler::new(), root).stop(), &[&storage])).unwrap();
    load(&path, &LoadOptions { input: Some([3, 16, 32]), ..LoadOptions::default() })
}

fn refused(root: &P) -> String {
    read(root).unwrap_err().to_string()
}

/// `name = Operator(operands)` for every node.
fn listing(graph: &Graph) -> Vec<String> {
    let name = |v: &crate::graph::ValueId| graph.value(*v).name.clone();
    let line = |n: &crate::graph::Node| {
        let operands: Vec<String> = n.inputs.iter().map(name).collect();
        format!("{} = {}({})", n.name, n.op.name(), operands.join(", "))
    };
    graph.nodes().iter().map(line).collect()
}

#[test]
fn a_network_is_read_from_its_records() {
    let source = read(&plain(&layers())).unwrap();
    let graph = &source.graph;
    assert_eq!((source.kind, graph.family.as_str()), ("pytorch-module", "tiny"));
    let lines = listing(graph);
    for line in [
        "model.0.conv = Conv2d(input)",
        "model.1.m.0.add = Add(model.1.cv1.act, model.1.m.0.cv2.act)",
        "model.1.concat = Concat(model.1.m.0.add, model.1.cv2.act)",
        "model.3.m.2 = MaxPool(model.3.m.1)",
        "model.3.concat = Concat(model.3.cv1.act, model.3.m.0, model.3.m.1, model.3.m.2)",
        "model.4 = Resize(model.3.cv2.act)",
        "model.5.concat = Concat(model.4, model.1.cv3.act)",
        "model.6.m.0 = Conv2d(model.5.concat)",
        "model.6.m.1 = Conv2d(model.3.cv2.act)",
    ] {
        assert!(lines.iter().any(|l| l == line), "{line} not in {lines:#?}");
    }
    let outputs: Vec<_> =
        graph.outputs.iter().map(|o| (o.name.as_str(), graph.shape(o.value))).collect();
    assert_eq!(outputs, [("p1_pred", &[1, 14, 8, 16][..]), ("p2_pred", &[1, 14, 4, 8][..])]);
    let head = source.head.unwrap();
    assert_eq!((head.code, head.classes, head.anchors_per_cell), (BoxCode::Anchor, 2, 2));
    assert_eq!(head.labels, ["cat", "dog"]);
    // 0.25 strides of 2 and of 4 pixels.
    assert_eq!(head.levels[0].anchors, [[0.5, 0.5]; 2]);
    assert_eq!((head.levels[1].stride, head.levels[1].anchors[1]), (4, [1.0, 1.0]));
}

#[test]
fn every_epsilon_and_weight_arrives() {
    let graph = read(&plain(&layers())).unwrap().graph;
    let norm = graph.nodes().iter().find(|n| n.name == "model.0.bn").unwrap();
    let crate::graph::Op::BatchNorm { eps, gamma, .. } = &norm.op else { panic!("{norm:?}") };
    assert_eq!((*eps, gamma[[7]]), (1e-3, 0.25));
    let convs = |o: usize, i: usize, k: usize| o * i * k * k + 2 * o;
    let c3 = 2 * convs(4, 8, 1) + convs(8, 8, 1) + convs(4, 4, 1) + convs(4, 4, 3);
    let sppf = convs(4, 8, 1) + convs(8, 16, 1);
    let detect = 14 * 16 + 14 + 14 * 8 + 14;
    assert_eq!(graph.parameters, convs(8, 3, 3) + c3 + convs(8, 8, 3) + sppf + detect);
}

#[test]
fn heads_of_distances_and_split_blocks() {
    let mut all = layers();
    let c2f = vec![
        ("cv1", conv(8, 8, 1, 1)),
        ("cv2", conv(8, 12, 1, 1)),
        ("m", sequence(LIST, vec![bottleneck(4, true)])),
    ];
    all[1] = (
        "C2f",
        module("ultralytics.nn.modules.block.C2f", Vec::new(), c2f, Vec::new()),
        P::Int(-1),
    );
    let branch = |read: i64, out: i64| {
        sequence(SEQUENTIAL, vec![conv(8, read, 3, 1), conv2d(out, 8, 1, 1, true)])
    };
    let two = |out: i64| sequence(LIST, vec![branch(16, out), branch(8, out)]);
    let detect = module(
        "ultralytics.nn.modules.head.Detect",
        Vec::new(),
        vec![("cv2", two(16)), ("cv3", two(2))],
        vec![("nc", P::Int(2)), ("reg_max", P::Int(4))],
    );
    all[6].1 = detect;
    let source = read(&network(&all, &all, "ultralytics.nn.tasks.DetectionModel")).unwrap();
    let lines = listing(&source.graph);
    for line in [
        "model.1.half1 = Slice(model.1.cv1.act)",
        "model.1.concat = Concat(model.1.half0, model.1.half1, model.1.m.0.add)",
        "model.6.cv2.0.1 = Conv2d(model.6.cv2.0.0.act)",
    ] {
        assert!(lines.iter().any(|l| l == line), "{line} not in {lines:#?}");
    }
    let head = source.head.unwrap();
    assert_eq!((head.code, head.centre), (BoxCode::Dfl { bins: 4 }, 0.5));
    assert!(head.separated(&source.graph).is_some());
}

#[test]
fn classes_without_importer_are_refused_by_name() {
    let way_out = |message: &str, class: &str| {
        for part in [class, "torch.save(model.state_dict()", "ONNX", "refused"] {
            assert!(message.contains(part), "{part} not in {message}");
        }
    };
    let all = layers();
    way_out(&refused(&network(&all, &all, "mine.nets.Model")), "mine.nets.Model");
    way_out(&refused(&network(&all, &all, "models.yolo.Segmenter")), "models.yolo.Segmenter");
    let mut odd = layers();
    odd[1] = ("Swin", module("models.common.Swin", Vec::new(), Vec::new(), Vec::new()), P::Int(-1));
    way_out(&refused(&plain(&odd)), "models.common.Swin");
    let alone = conv2d(8, 3, 3, 1, true);
    way_out(&refused(&alone), "torch.nn.modules.conv.Conv2d");
}

#[test]
fn nothing_is_ever_called() {
    let beside = |call: P| {
        let mut all = layers();
        let P::Object(_, state) = &mut all[0].1 else { unreachable!() };
        state.push(("callback", call));
        plain(&all)
    };
    // Unknown functions stay records; those that reach the system end the reading.
    assert!(read(&beside(P::Call("torch.hub", "load", vec![text("x")]))).is_ok());
    for (module, name) in [("os", "system"), ("builtins", "eval"), ("subprocess", "Popen")] {
        let message = refused(&beside(P::Call(module, name, vec![text("true")])));
        assert!(message.contains(&format!("'{module}.{name}'")), "{message}");
    }
}

#[test]
fn contradictions_are_named() {
    let all = layers();
    let mut rows = layers();
    rows[2].0 = "C3";
    let message = refused(&network(&all, &rows, "models.yolo.Model"));
    assert!(message.contains("model.2") && message.contains("YAML"), "{message}");
    let mut rows = layers();
    rows[5].2 = P::List(vec![P::Int(-1), P::Int(0)]);
    assert!(refused(&network(&all, &rows, "models.yolo.Model")).contains("model.5"));
    assert!(
        refused(&network(&all, &all[..6], "models.yolo.Model")).contains("its YAML describes 6")
    );
    let mut all = layers();
    all[5].2 = P::List(vec![P::Int(-1), P::Int(9)]);
    assert!(refused(&plain(&all)).contains("which layers it reads"));
    let mut all = layers();
    let P::Object(_, state) = &mut all[6].1 else { unreachable!() };
    state.iter_mut().filter(|(k, _)| *k == "nc").for_each(|(_, v)| *v = P::Int(3));
    let message = refused(&plain(&all));
    assert!(message.contains("model.6.m.0") && message.contains("needs 16"), "{message}");
    let all = layers();
    let message = refused(&plain(&all[..6]));
    assert!(message.contains("no layer is a detection head"), "{message}");
}
