//! Models that are written, read back, and damaged.

use super::*;
use crate::desc::{Conv2d, Epilogue, Geometry, Residual, Store, Window};
use std::vec;

/// Two convolutions of a 6x5x4 map, the second with the first as residual, then both joined.
fn writer() -> ModelWriter {
    let mut w = ModelWriter::new();
    let shape = [6, 5, 4];
    let x = w.add_activation("x", shape, DType::I8, 0.02, -3).unwrap();
    let a = w.add_activation("a", shape, DType::I8, 0.03, 5).unwrap();
    let b = w.add_activation("b", shape, DType::I8, 0.03, 5).unwrap();
    let y = w.add_activation("y", [6, 5, 8], DType::I8, 0.03, 5).unwrap();
    for (input, output, residual) in
        [(x, a, None), (a, b, Some(Residual { tensor: x, multiplier: 0.5 }))]
    {
        let store = Store { output, zero_point: 5, clamp_min: -128, clamp_max: 127, table: None };
        let conv = Conv2d {
            input,
            window: Window { size: [3, 3], stride: [1, 1], padding: [1; 4], dilation: [1, 1] },
            groups: 2,
            channels_out: 4,
            weights: w.add_i8(&[7; 4 * 9 * 2]).unwrap(),
            bias: w.add_i32(&[-100, 0, 1, 1000]).unwrap(),
            multiplier: w.add_f32(&[0.001, 0.002, 0.003, 0.004]).unwrap(),
            slope: None,
            silu: None,
            epilogue: Epilogue { residual, store: Some(store), second: None },
        };
        let name = w.add_string("conv").unwrap();
        w.add_op(Op { name, kind: OpKind::Conv2d(conv) });
    }
    let inputs = w.add_list(&[a, b]);
    let multipliers = w.add_f32(&[1.0, 1.0]).unwrap();
    let name = w.add_string("join").unwrap();
    w.add_op(Op { name, kind: OpKind::Concat { inputs, multipliers, output: y } });
    w.set_input("input", x, InputSpec::features()).unwrap();
    w.add_output("y", y).unwrap();
    w.set_labels(&["cat", "dog"]).unwrap();
    w.set_provenance("net.pt", "sha256:00", "kenar 0.1", "none").unwrap();
    w
}

#[test]
fn a_written_model_reads_back() {
    let mut w = writer();
    let plan = w.plan_memory().unwrap();
    assert_eq!(plan.offsets.len(), 4);
    let (ops, tensors) = (w.ops.clone(), w.tensors.clone());
    let file = w.finish().unwrap();
    let model = Model::parse(&file).unwrap();
    assert!(model.ops().eq(ops));
    assert!((0..4).map(|id| model.tensor(TensorId(id))).eq(tensors));
    assert_eq!(model.version(), (1, 1));
    assert_eq!(model.text(model.op(2).name), "join");
    assert!(model.labels().eq(["cat", "dog"]));
    assert_eq!(model.provenance(), ["net.pt", "sha256:00", "kenar 0.1", "none"]);
    assert_eq!(model.output(0).unwrap().name, "y");
    assert_eq!(model.macs(), 2 * 30 * 4 * 9 * 2);
}

/// The model of [`writer`] at 3x4 too.
fn two_sizes() -> ModelWriter {
    let mut w = writer();
    w.add_size(&[[3, 4]; 4], &[]).unwrap();
    w.plan_memory().unwrap();
    w
}

#[test]
fn sizes_share_all_but_shapes_and_places() {
    let mut one = writer();
    one.plan_memory().unwrap();
    let one = one.finish().unwrap();
    let file = two_sizes().finish().unwrap();
    assert_eq!((one[10], file[10]), (1, 2));
    assert!(file.len() - one.len() <= 192, "{} and {}", one.len(), file.len());
    let model = Model::parse(&file).unwrap();
    assert!(model.sizes().eq([[6, 5], [3, 4]]));
    let small = model.with_size([3, 4]).unwrap();
    assert_eq!((model.size(), small.size()), ([6, 5], [3, 4]));
    assert_eq!(model.with_size([4, 3]).unwrap_err(), Error::NoSuchSize);
    assert_eq!(small.with_size([6, 5]).unwrap().size(), [6, 5]);
    assert_eq!(small.macs(), 2 * 12 * 4 * 9 * 2);
    assert!(small.arena_bytes() < model.arena_bytes());
    let mut alone = writer();
    alone.tensors.iter_mut().for_each(|t| (t.height, t.width) = (3, 4));
    alone.plan_memory().unwrap();
    assert!((0..4).map(|id| small.tensor(TensorId(id))).eq(alone.tensors.iter().copied()));
    assert_eq!(small.plan_bytes(), alone.arena_bytes as usize);
    assert!(small.ops().eq(alone.ops.iter().copied()));
}

#[test]
fn an_operator_can_have_another_window_at_another_size() {
    let mut w = writer();
    let window = Window { size: [3, 3], stride: [1, 1], padding: [1; 4], dilation: [1, 1] };
    let wider = Window { padding: [2; 4], dilation: [2, 2], ..window };
    let geometries = [(0, Geometry::Window(window)), (1, Geometry::Window(wider))];
    w.add_size(&[[8, 8]; 4], &geometries).unwrap();
    // What is as it was takes no room.
    assert_eq!(w.sizes[0].geometries.len(), 1);
    let none = Geometry::Crop { start: [0; 3], step: [1; 2] };
    for (op, geometry) in [(0, none), (2, geometries[0].1), (3, none)] {
        let refused = w.clone().add_size(&[[7, 7]; 4], &[(op, geometry)]);
        assert_eq!(refused, Err(Error::SizeGeometry { size: 2, op: op as u32 }));
    }
    assert_eq!(w.add_size(&[[7, 7]; 3], &[]), Err(Error::SizesSection));
    w.plan_memory().unwrap();
    let file = w.finish().unwrap();
    let model = Model::parse(&file).unwrap().with_size([8, 8]).unwrap();
    assert_eq!(model.op(0).kind.geometry(), Some(geometries[0].1));
    assert_eq!(model.op(1).kind.geometry(), Some(geometries[1].1));
}

#[test]
fn violations_of_a_further_size_are_named() {
    type Change = fn(&mut FurtherSize);
    let window = Window { size: [3, 3], stride: [1, 1], padding: [1; 4], dilation: [1, 1] };
    let shrunk = Geometry::Window(Window { padding: [0; 4], ..window });
    let cases: [(Change, Error); 8] = [
        (|s| s.tensors[1].height = 4, Error::OpShape { op: 0 }),
        (|s| s.tensors[1].height = 0, Error::TensorShape { tensor: 1 }),
        (|s| s.tensors[1].pixel_stride = 3, Error::TensorShape { tensor: 1 }),
        (|s| s.tensors[2].arena_offset += 1 << 20, Error::TensorOutsideArena { tensor: 2 }),
        (|s| s.tensors[2].arena_offset += 1, Error::TensorAlignment { tensor: 2 }),
        (|s| s.arena_bytes = u32::MAX, Error::TooLarge),
        (|s| s.tensors.truncate(3), Error::SizesSection),
        (
            |s| s.tensors.iter_mut().for_each(|t| t.arena_offset = 0),
            Error::OpOverlap { op: 0, tensor: 1 },
        ),
    ];
    for (change, error) in cases {
        let mut w = two_sizes();
        change(&mut w.sizes[0]);
        assert_eq!(w.finish().unwrap_err(), error);
    }
    let mut w = two_sizes();
    w.sizes[0].geometries = vec![(0, shrunk)];
    assert_eq!(w.finish().unwrap_err(), Error::OpShape { op: 0 });
    for op in [2, 3, u32::MAX] {
        let mut w = two_sizes();
        w.sizes[0].geometries = vec![(op, shrunk)];
        assert_eq!(w.finish().unwrap_err(), Error::SizeGeometry { size: 1, op });
    }
    let mut w = two_sizes();
    let same = Geometry::Window(window);
    w.sizes[0].geometries = vec![(1, same), (0, same)];
    assert_eq!(w.finish().unwrap_err(), Error::SizeGeometry { size: 1, op: 0 });
    let mut w = two_sizes();
    let again = w.sizes[0].clone();
    w.sizes.push(again);
    assert_eq!(w.finish().unwrap_err(), Error::SizeRepeated { size: 2 });
    let mut w = writer();
    (0..crate::format::MAX_SIZES as u32).for_each(|i| w.add_size(&[[7 + i, 5]; 4], &[]).unwrap());
    w.plan_memory().unwrap();
    assert_eq!(w.finish().unwrap_err(), Error::SizesSection);
}

#[test]
fn one_operand_of_a_chain_becomes_a_view() {
    let mut w = writer();
    w.plan_memory().unwrap();
    // The second convolution reads `a` and writes `b`: only one of them can lie in `y`.
    let y = *w.tensor(TensorId(3));
    assert!(w.tensor(TensorId(1)).is_view_of(&y, 0));
    assert!(!w.tensor(TensorId(2)).is_view_of(&y, 4));
}

#[test]
fn violations_are_named() {
    type Change = fn(&mut ModelWriter);
    fn edit(w: &mut ModelWriter, change: impl FnOnce(&mut Conv2d)) {
        let OpKind::Conv2d(conv) = &mut w.ops[0].kind else { unreachable!() };
        change(conv);
    }
    let cases: [(Change, Error); 16] = [
        (|w| w.data[0] = 0x80, Error::OpWeights { op: 0 }),
        (|w| edit(w, |c| c.groups = 3), Error::OpGroups { op: 0 }),
        (|w| edit(w, |c| c.window.stride = [0, 1]), Error::OpWindow { op: 0 }),
        (|w| edit(w, |c| c.window.padding = [0, 1, 1, 1]), Error::OpShape { op: 0 }),
        (|w| edit(w, |c| c.weights.len -= 1), Error::OpData { op: 0 }),
        (|w| edit(w, |c| c.bias = Span { offset: 4, len: 16 }), Error::OpData { op: 0 }),
        (|w| edit(w, |c| c.input = TensorId(9)), Error::OpTensor { op: 0 }),
        (|w| edit(w, |c| c.input = TensorId(2)), Error::OpReadsUnwritten { op: 0, tensor: 2 }),
        (|w| edit(w, |c| c.epilogue.store = None), Error::OpOperands { op: 0 }),
        (|w| w.tensors[0].scale = 0.0, Error::TensorScale { tensor: 0 }),
        (|w| w.tensors[1].zero_point = 200, Error::TensorZeroPoint { tensor: 1 }),
        (|w| w.tensors[1].zero_point = 6, Error::OpZeroPoint { op: 0 }),
        (|w| w.tensors[2].last_op = 1, Error::OpReadsUnwritten { op: 2, tensor: 2 }),
        (|w| w.tensors[3].arena_offset += 1 << 20, Error::TensorOutsideArena { tensor: 3 }),
        (|w| w.outputs.clear(), Error::OutputCount),
        (|w| w.input = None, Error::InputCount),
    ];
    for (change, error) in cases {
        let mut w = writer();
        w.plan_memory().unwrap();
        change(&mut w);
        assert_eq!(w.finish().unwrap_err(), error);
    }
}

#[test]
fn the_image_table_holds_every_pixel_value() {
    let mut w = ModelWriter::new();
    let x = w.add_activation("x", [1, 1, 3], DType::I8, 1.0 / 64.0, 4).unwrap();
    let spec = InputSpec {
        order: ChannelOrder::Bgr,
        letterbox: Some(114),
        placement: Placement::TopLeft,
        mean: [0.5, 0.25, 0.0],
        std: [0.25, 0.5, 1.0],
    };
    w.set_input("input", x, spec).unwrap();
    let table = &w.data[w.input.unwrap().table.offset as usize..];
    assert_eq!(table.len(), 768);
    for (c, (mean, std)) in [(0.5, 0.25), (0.25, 0.5), (0.0, 1.0)].into_iter().enumerate() {
        for p in 0..256 {
            let q = ((p as f64 / 255.0 - mean) / std * 64.0).round_ties_even() as i32 + 4;
            assert_eq!(i32::from(table[256 * c + p] as i8), q.clamp(-128, 127));
        }
    }
}
