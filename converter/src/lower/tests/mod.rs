//! Fusion, checked on the operators of the finished model.

mod channels;
mod joined;
mod numbers;

use kenar::Model;
use kenar::desc::{Conv2d, DType, OpKind, TensorId};
use kenar::detect::BoxCode;
use ndarray::{Array, ArrayD, IxDyn};

use super::*;
use crate::detect::LevelSpec;
use crate::graph::{self, Activation, Graph, Op, Pool, PoolKind, Resize, ValueId, weights};
use crate::quantize::{Calibration, Options, calibrate};

/// A small deterministic generator of roughly centred values.
pub(super) struct Values(u64);

impl Values {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> f32 {
        let mut sum = 0.0;
        for _ in 0..4 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            sum += (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
        }
        sum
    }

    pub fn array(&mut self, shape: &[usize], size: f32) -> ArrayD<f32> {
        Array::from_shape_simple_fn(IxDyn(shape), || self.next() * size)
    }
}

/// Builds graphs with random weights.
pub(super) struct Builder {
    pub g: Graph,
    values: Values,
}

impl Builder {
    pub fn new(shape: [usize; 3]) -> Self {
        let [c, h, w] = shape;
        Self { g: Graph::new("test", "image", vec![1, c, h, w]), values: Values::new(7) }
    }

    pub fn push(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        self.g.push(name, op, inputs).unwrap()
    }

    pub fn conv(
        &mut self,
        name: &str,
        x: ValueId,
        out: usize,
        k: usize,
        stride: usize,
        groups: usize,
    ) -> ValueId {
        let per_group = self.g.shape(x)[1] / groups;
        let size = 1.7 / ((per_group * k * k) as f32).sqrt();
        let op = Op::Conv2d(graph::Conv2d {
            weight: weights(self.values.array(&[out, per_group, k, k], size)),
            bias: Some(weights(self.values.array(&[out], 0.3))),
            stride: [stride; 2],
            padding: [k / 2; 4],
            dilation: [1; 2],
            groups,
        });
        self.push(name, op, &[x])
    }

    pub fn act(&mut self, name: &str, x: ValueId, a: Activation) -> ValueId {
        self.push(name, Op::Activation(a), &[x])
    }

    pub fn relu(&mut self, name: &str, x: ValueId) -> ValueId {
        self.act(name, x, Activation::Relu)
    }

    pub fn affine(&mut self, name: &str, x: ValueId) -> ValueId {
        let c = self.g.shape(x)[1];
        let scale = weights(self.values.array(&[c], 1.0).mapv(|v| v + 0.8));
        let shift = weights(self.values.array(&[c], 0.5));
        self.push(name, Op::Affine { scale, shift }, &[x])
    }

    pub fn add(&mut self, name: &str, a: ValueId, b: ValueId) -> ValueId {
        self.push(name, Op::Add, &[a, b])
    }

    pub fn linear(&mut self, name: &str, x: ValueId, out: usize) -> ValueId {
        let inner = self.g.shape(x)[1];
        let weight = weights(self.values.array(&[out, inner], 1.7 / (inner as f32).sqrt()));
        let bias = Some(weights(self.values.array(&[out], 0.3)));
        self.push(name, Op::Linear { weight, bias }, &[x])
    }

    pub fn done(mut self, outputs: &[(&str, ValueId)]) -> Graph {
        outputs.iter().for_each(|(name, v)| self.g.mark_output(*name, *v));
        self.g
    }
}

/// Images that look like nothing, but smoothly.
pub(super) fn images(graph: &Graph, count: usize) -> Vec<ArrayD<f32>> {
    let mut v = Values::new(99);
    (0..count)
        .map(|_| {
            let mut last = 0.0;
            graph_shape(graph).mapv(|_: f32| {
                last = 0.7 * last + v.next();
                last
            })
        })
        .collect()
}

fn graph_shape(graph: &Graph) -> ArrayD<f32> {
    ArrayD::zeros(IxDyn(graph.shape(graph.input)))
}

pub(super) fn calibrated_on(graph: &Graph, count: usize) -> Calibration {
    calibrate(graph, images(graph, count).into_iter().map(Ok), &Options::default(), |_| {}).unwrap()
}

pub(super) fn calibrated(graph: &Graph) -> Calibration {
    calibrated_on(graph, 8)
}

pub(super) fn lowered(graph: &Graph, options: &LowerOptions) -> (Vec<u8>, LowerReport) {
    lower(graph, &calibrated(graph), None, options).unwrap()
}

/// Without i16.
fn narrow() -> LowerOptions {
    LowerOptions { stream: Stream::Off, ..LowerOptions::default() }
}

fn kinds(graph: &Graph) -> Vec<String> {
    lowered(graph, &LowerOptions::default()).1.ops.into_iter().map(|o| o.kind).collect()
}

fn convs(model: &Model<'_>) -> Vec<Conv2d> {
    model
        .ops()
        .filter_map(|o| match o.kind {
            OpKind::Conv2d(c) => Some(c),
            _ => None,
        })
        .collect()
}

#[test]
fn post_activation_block_is_one_operator_per_convolution() {
    let mut b = Builder::new([4, 8, 8]);
    let x = b.conv("stem", b.g.input, 8, 3, 1, 1);
    let x = b.relu("stem.relu", x);
    let y = b.conv("conv1", x, 16, 3, 2, 1);
    let y = b.relu("relu1", y);
    let y = b.conv("conv2", y, 16, 3, 1, 1);
    let skip = b.conv("proj", x, 16, 1, 2, 1);
    let sum = b.add("sum", y, skip);
    let out = b.relu("relu2", sum);
    let g = b.done(&[("c2", out)]);
    let (file, report) = lowered(&g, &narrow());
    let kinds: Vec<_> = report.ops.iter().map(|o| o.kind.as_str()).collect();
    assert_eq!(kinds, ["Conv2d, clamp", "Conv2d, clamp", "Conv2d", "Conv2d + residual, clamp"]);
    // The projection runs last, so it takes the sum.
    assert_eq!(report.ops[3].name, "proj");
    let model = Model::parse(&file).unwrap();
    let y = model.tensor(model.output(0).unwrap().tensor);
    assert_eq!((y.dtype, y.zero_point), (DType::I8, -128));
    assert_eq!(report.wide_ops(), 0);
}

#[test]
fn small_sums_are_i16_in_any_family() {
    let mut b = Builder::new([4, 8, 8]);
    let x = b.conv("stem", b.g.input, 16, 3, 1, 1);
    let x = b.relu("stem.relu", x);
    let y = b.conv("conv1", x, 16, 3, 1, 1);
    let y = b.add("sum", y, x);
    let y = b.relu("relu", y);
    let y = b.conv("conv2", y, 4, 1, 1, 1);
    let g = b.done(&[("output", y)]);
    let (file, report) = lowered(&g, &LowerOptions::default());
    let kinds: Vec<_> = report.ops.iter().map(|o| o.kind.as_str()).collect();
    // The stream is i16; what convolutions read of it is i8, with a factor per channel.
    let second = "Conv2d + residual (not stored); affine, clamp";
    assert_eq!(kinds, ["Conv2d, clamp; affine, clamp", second, "Conv2d"]);
    assert_eq!(report.wide_ops(), 1);
    let model = Model::parse(&file).unwrap();
    let name = |w: &Written| model.text(model.tensor(w.tensor).name).to_owned();
    let names: Vec<_> = report.ops[0].written.iter().map(name).collect();
    assert_eq!(names, ["stem.relu", "stem.relu:balanced"]);
}

/// Two pre-activation blocks and the final batch norm.
fn pre_activation() -> Graph {
    let mut b = Builder::new([3, 8, 8]);
    let mut x = b.conv("stem", b.g.input, 8, 3, 1, 1);
    for i in 0..2 {
        let a = b.affine(&format!("{i}.bn1"), x);
        let a = b.relu(&format!("{i}.relu1"), a);
        let y = b.conv(&format!("{i}.conv1"), a, 8, 3, 1, 1);
        let y = b.relu(&format!("{i}.relu2"), y);
        let y = b.conv(&format!("{i}.conv2"), y, 8, 3, 1, 1);
        x = b.add(&format!("{i}.sum"), y, x);
    }
    let a = b.affine("bn", x);
    let a = b.relu("relu", a);
    let p = b.push("pool", Op::GlobalAvgPool, &[a]);
    let f = b.push("flat", Op::Flatten, &[p]);
    let l = b.linear("fc", f, 5);
    b.done(&[("logits", l)])
}

#[test]
fn pre_activation_blocks_write_the_sum_and_the_next_activation() {
    let (file, report) = lowered(&pre_activation(), &LowerOptions::default());
    let kinds: Vec<_> = report.ops.iter().map(|o| o.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "Conv2d; affine, clamp",
            "Conv2d, clamp",
            "Conv2d + residual; affine, clamp",
            "Conv2d, clamp",
            "Conv2d + residual (not stored); affine, clamp",
            "AvgPool",
            "Conv2d",
        ]
    );
    // The stream is i16, and so are the class scores.
    assert_eq!(report.ops[0].written[0].dtype, DType::I16);
    assert_eq!(report.ops[2].written[0].dtype, DType::I16);
    let model = Model::parse(&file).unwrap();
    assert_eq!(model.tensor(model.output(0).unwrap().tensor).dtype, DType::I16);

    let off = LowerOptions { stream: Stream::Off, ..LowerOptions::default() };
    let (_, report) = lowered(&pre_activation(), &off);
    assert_eq!(report.wide_ops(), 1);
}

#[test]
fn a_convolution_of_the_raw_stream_reads_i8_beside_the_stream() {
    let mut b = Builder::new([3, 8, 8]);
    let x = b.conv("stem", b.g.input, 8, 3, 1, 1);
    let y = b.conv("conv", x, 8, 3, 1, 4);
    let y = b.relu("relu", y);
    let s = b.add("sum", y, x);
    let s2 = b.add("twice", s, s);
    let g = b.done(&[("output", s2)]);
    let (file, report) = lowered(&g, &LowerOptions::default());
    let kinds: Vec<_> = report.ops.iter().map(|o| o.kind.as_str()).collect();
    assert_eq!(kinds, ["Conv2d; affine", "Conv2d + slope + residual", "Add"]);
    let dtypes: Vec<_> = report.ops[0].written.iter().map(|w| w.dtype).collect();
    assert_eq!(dtypes, [DType::I16, DType::I8]);
    // The ReLU in front of the sum is a slope of zero.
    let model = Model::parse(&file).unwrap();
    let slope = convs(&model)[1].slope.unwrap();
    assert_eq!(slope.len, 8 * 4);
}

#[test]
fn squeeze_excitation_is_integer_operators() {
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
    assert_eq!(
        kinds(&g),
        [
            "Conv2d, SiLU; affine",
            "Conv2d",
            "AvgPool",
            "Conv2d, SiLU",
            "Conv2d, table",
            "Mul + residual, table"
        ]
    );
}

#[test]
fn prelu_and_leaky_relu_are_slopes() {
    let mut b = Builder::new([3, 6, 6]);
    let x = b.conv("conv", b.g.input, 4, 3, 1, 1);
    let slope = weights(ArrayD::from_shape_vec(IxDyn(&[4]), vec![0.1, 0.2, -0.3, 0.0]).unwrap());
    let x = b.push("prelu", Op::PRelu { slope: slope.clone() }, &[x]);
    let x = b.conv("conv2", x, 4, 3, 1, 4);
    let x = b.act("leaky", x, Activation::LeakyRelu { slope: 0.1 });
    let pool = Pool {
        kind: PoolKind::Max,
        window: [2, 2],
        stride: [2, 2],
        padding: [0; 4],
        dilation: [1, 1],
        ceil_mode: false,
    };
    let x = b.push("pool", Op::Pool(pool), &[x]);
    let x = b.push("prelu2", Op::PRelu { slope }, &[x]);
    let g = b.done(&[("output", x)]);
    assert_eq!(kinds(&g), ["Conv2d + slope", "Conv2d + slope", "MaxPool", "Conv2d + slope"]);
}

#[test]
fn neck_operators_share_ranges_and_concatenation_is_free() {
    let mut b = Builder::new([4, 8, 8]);
    let a = b.conv("a", b.g.input, 8, 3, 2, 1);
    let a = b.relu("a.relu", a);
    let c = b.conv("b", a, 8, 3, 2, 1);
    let c = b.relu("b.relu", c);
    let up = b.push("up", Op::Resize(Resize { size: [4, 4] }), &[c]);
    let joined = b.push("joined", Op::Concat { axis: 1 }, &[up, a]);
    let out = b.conv("out", joined, 4, 1, 1, 1);
    let g = b.done(&[("output", out)]);
    let (file, report) = lowered(&g, &LowerOptions::default());
    let kinds: Vec<_> = report.ops.iter().map(|o| o.kind.as_str()).collect();
    assert_eq!(kinds, ["Conv2d, clamp", "Conv2d, clamp", "Resize", "Concat", "Conv2d"]);
    let model = Model::parse(&file).unwrap();
    let of = |i: usize| model.tensor(report.ops[i].written[0].tensor);
    assert_eq!((of(1).scale, of(1).zero_point), (of(2).scale, of(2).zero_point));
    assert_eq!((of(2).scale, of(2).zero_point), (of(3).scale, of(3).zero_point));
    assert_eq!(of(2).arena_offset, of(3).arena_offset);
    assert_eq!(of(2).pixel_stride, 16);
}

#[test]
fn operands_of_very_different_range_keep_their_own() {
    let mut b = Builder::new([4, 8, 8]);
    let a = b.conv("a", b.g.input, 8, 3, 1, 1);
    let ones = weights(ArrayD::from_elem(IxDyn(&[8]), 0.01));
    let zeros = weights(ArrayD::zeros(IxDyn(&[8])));
    let small = b.push("small", Op::Affine { scale: ones, shift: zeros }, &[a]);
    let joined = b.push("joined", Op::Concat { axis: 1 }, &[a, small]);
    let out = b.conv("out", joined, 4, 1, 1, 1);
    let g = b.done(&[("output", out)]);
    let (_, report) = lowered(&g, &LowerOptions::default());
    let scale = |name: &str| {
        let written = report.ops.iter().flat_map(|o| &o.written);
        written.into_iter().find(|w| w.name == name).unwrap().scale
    };
    assert_eq!(scale("a"), scale("joined"));
    assert!(scale("small") < scale("joined") / 20.0);
}

#[test]
fn the_parameter_free_shortcut_is_one_copy() {
    let mut b = Builder::new([4, 8, 8]);
    let x = b.conv("stem", b.g.input, 8, 3, 1, 1);
    let x = b.relu("stem.relu", x);
    let s = b.push("rows", Op::Slice { axis: 2, start: 0, end: 8, step: 2 }, &[x]);
    let s = b.push("columns", Op::Slice { axis: 3, start: 0, end: 8, step: 2 }, &[s]);
    let pads = vec![(0, 0), (4, 4), (0, 0), (0, 0)];
    let s = b.push("channels", Op::Pad { pads, value: 0.0 }, &[s]);
    let y = b.conv("conv", x, 16, 3, 2, 1);
    let y = b.add("sum", y, s);
    let y = b.relu("relu", y);
    let g = b.done(&[("output", y)]);
    let (file, report) = lowered(&g, &narrow());
    let kinds: Vec<_> = report.ops.iter().map(|o| o.kind.as_str()).collect();
    assert_eq!(kinds, ["Conv2d, clamp", "Copy", "Conv2d + residual, clamp"]);
    let model = Model::parse(&file).unwrap();
    let OpKind::Copy(copy) = model.op(1).kind else { panic!("not a copy") };
    assert_eq!((copy.start, copy.step), ([0, 0, -4], [2, 2]));
}

#[test]
fn linear_over_a_flattened_map_is_a_convolution_with_the_map_as_window() {
    let mut b = Builder::new([3, 4, 5]);
    let f = b.push("flat", Op::Flatten, &[b.g.input]);
    let l = b.linear("fc", f, 7);
    let g = b.done(&[("logits", l)]);
    let (file, _) = lowered(&g, &LowerOptions::default());
    let model = Model::parse(&file).unwrap();
    let conv = convs(&model)[0];
    assert_eq!(conv.window.size, [4, 5]);
    let Op::Linear { weight, .. } = &g.nodes()[1].op else { unreachable!() };
    // Weight (o, y, x, c) of the model has the sign of weight (o, c, y, x) of the source.
    let q = model.data(conv.weights);
    for (o, y, x, c) in [(0, 0, 0, 0), (3, 2, 4, 1), (6, 3, 1, 2)] {
        let value = q[((o * 4 + y) * 5 + x) * 3 + c] as i8;
        let source = weight[[o, (c * 4 + y) * 5 + x]];
        assert!(f32::from(value) * source >= 0.0 && (value != 0 || source.abs() < 0.01));
    }
}

#[test]
fn what_boxes_are_made_from_is_i16() {
    let mut b = Builder::new([3, 8, 8]);
    let x = b.conv("stem", b.g.input, 8, 3, 2, 1);
    let x = b.act("silu", x, Activation::Silu);
    let boxes = b.conv("boxes", x, 4, 1, 1, 1);
    let scores = b.conv("scores", x, 2, 1, 1, 1);
    let features = b.conv("features", x, 5, 1, 1, 1);
    let g = b.done(&[("boxes", boxes), ("features", features), ("scores", scores)]);
    let level = LevelSpec {
        stride: 2,
        boxes: "boxes".into(),
        objectness: None,
        scores: "scores".into(),
        points: None,
        anchors: Vec::new(),
    };
    let head = HeadSpec {
        kind: "test".into(),
        code: BoxCode::Distance,
        centre: 0.5,
        anchors_per_cell: 1,
        classes: 2,
        points: 0,
        levels: vec![level],
    };
    let types = |head: Option<HeadSpec>| -> Vec<DType> {
        let (file, _) = lowered(&g, &LowerOptions { head, ..LowerOptions::default() });
        let model = Model::parse(&file).unwrap();
        model.outputs().map(|o| model.tensor(o.tensor).dtype).collect()
    };
    assert_eq!(types(Some(head)), [DType::I16, DType::I8, DType::I16]);
    assert_eq!(types(None), [DType::I8; 3]);
}

#[test]
fn taps_become_outputs_with_their_own_scale() {
    let g = pre_activation();
    let taps = vec!["0.sum".to_owned(), "logits".to_owned(), "1.relu1".to_owned()];
    let (file, report) = lowered(&g, &LowerOptions { outputs: taps, ..LowerOptions::default() });
    let model = Model::parse(&file).unwrap();
    let named: Vec<_> = model.outputs().map(|o| (o.name, model.tensor(o.tensor).dtype)).collect();
    assert_eq!(named, [("0.sum", DType::I8), ("logits", DType::I16), ("1.relu1", DType::I8)]);
    // The sum is a stream and an output: its i8 rendition is made by an operator of its own.
    assert!(report.ops.iter().any(|o| o.name == "0.sum:i8"));
    let without: Vec<String> = vec!["0.sum".into()];
    let (_, report) = lowered(&g, &LowerOptions { outputs: without, ..LowerOptions::default() });
    assert_eq!(report.ops.len(), 3, "what no output needs is left out");
}

#[test]
fn what_has_no_integer_form_is_refused_by_name() {
    let mut b = Builder::new([4, 4, 4]);
    let t = b.push("turn", Op::Transpose { perm: vec![0, 2, 3, 1] }, &[b.g.input]);
    let c = b.conv("conv", t, 4, 1, 1, 1);
    let g = b.done(&[("output", c)]);
    let error = lower(&g, &calibrated(&g), None, &LowerOptions::default()).unwrap_err().to_string();
    assert!(error.contains("'turn'") && error.contains("Transpose"), "{error}");

    let mut b = Builder::new([4, 4, 4]);
    let r = b.push("fold", Op::Reshape { shape: vec![1, 16, 2, 2] }, &[b.g.input]);
    let c = b.conv("conv", r, 4, 1, 1, 1);
    let g = b.done(&[("output", c)]);
    let error = lower(&g, &calibrated(&g), None, &LowerOptions::default()).unwrap_err().to_string();
    assert!(error.contains("'conv'") && error.contains("[1, 16, 2, 2]"), "{error}");
}

#[test]
fn dead_channels_are_reported_and_load() {
    let mut b = Builder::new([3, 6, 6]);
    let x = b.conv("conv", b.g.input, 4, 3, 1, 1);
    let x = b.relu("relu", x);
    let out = b.conv("last", x, 2, 1, 1, 1);
    let mut g = b.done(&[("output", out)]);
    if let Op::Conv2d(c) = &mut g.nodes_mut()[0].op {
        let mut w = ArrayD::clone(&c.weight);
        w.index_axis_mut(ndarray::Axis(0), 1).fill(0.0);
        w.index_axis_mut(ndarray::Axis(0), 2).mapv_inplace(|v| v * 1e-20);
        c.weight = weights(w);
    }
    let (file, report) = lowered(&g, &LowerOptions::default());
    assert!(Model::parse(&file).is_ok());
    let guarded: Vec<_> = report.ops[0].guards.iter().map(|g| (g.channel, g.dead)).collect();
    assert_eq!(guarded, [(1, true), (2, false)]);
    assert!(report.to_string().contains("channel 1 has no weights"));
}

#[test]
fn the_report_names_values_and_tensors() {
    let (file, report) = lowered(&pre_activation(), &LowerOptions::default());
    let model = Model::parse(&file).unwrap();
    for (i, op) in report.ops.iter().enumerate() {
        for w in &op.written {
            let tensor = model.tensor(w.tensor);
            let name = model.text(tensor.name);
            assert_eq!(name.strip_suffix(BALANCED).unwrap_or(name), w.name);
            assert!(model.op(i).kind.writes().contains(&Some(w.tensor)));
        }
    }
    assert_ne!(report.ops[0].written[0].tensor, TensorId(u32::MAX));
    assert!(report.arena_bytes >= report.floor_bytes && report.floor_bytes > 0);
}
