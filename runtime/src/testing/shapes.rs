//! Operators that are no convolutions, on shapes around the sizes of vectors and tiles, with dense and strided operands:
//! every platform against the definitions in [`crate::ops`].

use super::Rng;
use crate::desc::{
    Affine, Copy, DType, Epilogue, Op, OpKind, Pool, PoolKind, Residual, Resize, Store, Table,
    TensorId, Window,
};
use crate::format::write::{InputSpec, ModelWriter};
use crate::isa::Platform;
use crate::kernels::KERNELS;
use crate::{Model, Options, Session};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Channels around the vectors of every platform, and around four of them.
const CHANNELS: [u32; 18] = [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65];
/// Heights and widths.
const MAPS: [[u32; 2]; 5] = [[1, 1], [1, 2], [2, 7], [3, 5], [1, 17]];
const I8: [(f32, i32); 3] = [(0.05, 3), (0.02, -128), (0.1, 127)];
const I16: f32 = 0.0005;

/// A model around one operator.
struct Net {
    rng: Rng,
    writer: ModelWriter,
    input: TensorId,
    /// What the operator under test reads.
    x: TensorId,
}

impl Net {
    /// An input; with `strided` the operator's operand lies among other channels.
    fn new(seed: u64, [h, w, c]: [u32; 3], dtype: DType, strided: bool) -> Self {
        let (mut rng, mut writer) = (Rng::new(seed), ModelWriter::new());
        let (scale, zero) = if dtype == DType::I8 { rng.pick(&I8) } else { (I16, 0) };
        let more = if strided { c + 5 } else { c };
        let input = writer.add_activation("input", [h, w, more], dtype, scale, zero).unwrap();
        writer.set_input("input", input, InputSpec::features()).unwrap();
        let mut net = Self { rng, writer, input, x: input };
        if strided {
            // Two slices joined again: both are views of the whole.
            let x = net.like(input, [h, w, c]);
            net.op(OpKind::Copy(Copy { input, output: x, start: [0, 0, 4], step: [1; 2] }));
            let rest = net.like(input, [h, w, 2]);
            net.op(OpKind::Copy(Copy { input, output: rest, start: [0, 0, 1], step: [1; 2] }));
            net.join(&[rest, x]);
            net.x = x;
        }
        net
    }

    fn op(&mut self, kind: OpKind) {
        let name = self.writer.add_string("op").unwrap();
        self.writer.add_op(Op { name, kind });
    }

    fn add(&mut self, [h, w, c]: [u32; 3], dtype: DType, scale: f32, zero: i32) -> TensorId {
        self.writer.add_activation("t", [h, w, c], dtype, scale, zero).unwrap()
    }

    fn tensor(&mut self, shape: [u32; 3], dtype: DType) -> TensorId {
        let (scale, zero) = if dtype == DType::I8 { self.rng.pick(&I8) } else { (I16, 0) };
        self.add(shape, dtype, scale, zero)
    }

    /// A tensor with the quantisation of another.
    fn like(&mut self, of: TensorId, shape: [u32; 3]) -> TensorId {
        let of = *self.writer.tensor(of);
        self.add(shape, of.dtype, of.scale, of.zero_point)
    }

    fn shape(&self, id: TensorId) -> [u32; 3] {
        let t = self.writer.tensor(id);
        [t.height, t.width, t.channels]
    }

    /// Joins tensors of one shape of map, with the quantisation of the first.
    fn join(&mut self, ids: &[TensorId]) -> TensorId {
        let [h, w, _] = self.shape(ids[0]);
        let channels = ids.iter().map(|&id| self.shape(id)[2]).sum();
        let output = self.like(ids[0], [h, w, channels]);
        let to = *self.writer.tensor(output);
        let multipliers: Vec<f32> = ids
            .iter()
            .map(|&id| {
                let from = self.writer.tensor(id);
                if from.has_values_of(&to) { 1.0 } else { from.scale / to.scale }
            })
            .collect();
        let inputs = self.writer.add_list(ids);
        let multipliers = self.writer.add_f32(&multipliers).unwrap();
        self.op(OpKind::Concat { inputs, multipliers, output });
        output
    }

    fn f32s(&mut self, count: u32, low: f32, high: f32) -> crate::desc::Span {
        let values: Vec<f32> = (0..count).map(|_| self.rng.float(low, high)).collect();
        self.writer.add_f32(&values).unwrap()
    }

    fn affine(&mut self, channels: u32, factor: f32) -> Affine {
        Affine { a: self.f32s(channels, -factor, factor), b: self.f32s(channels, -30.0, 30.0) }
    }

    fn table(&mut self) -> crate::desc::Span {
        let values: Vec<i8> = (0..256).map(|_| self.rng.next() as i8).collect();
        self.writer.add_i8(&values).unwrap()
    }

    /// A store to a new tensor, with random limits and sometimes a table.
    fn store(&mut self, shape: [u32; 3], dtype: DType) -> Store {
        let output = self.tensor(shape, dtype);
        let zero_point = self.writer.tensor(output).zero_point;
        let (low, high) = if dtype == DType::I8 { (-128, 127) } else { (-32767, 32767) };
        let table = (dtype == DType::I8 && self.rng.chance(30)).then(|| self.table());
        let clamp_min = if self.rng.chance(50) { zero_point.max(low) } else { low };
        let clamp_max = if self.rng.chance(30) { high.min(clamp_min + 60) } else { high };
        Store { output, zero_point, clamp_min, clamp_max, table }
    }

    /// An affine image of `x` with a map of the given type: a second operand.
    fn operand(&mut self, dtype: DType) -> TensorId {
        let shape = self.shape(self.x);
        let wide = self.writer.tensor(self.x).dtype == DType::I16;
        let factor = match (wide, dtype) {
            (false, DType::I8) => 1.0,
            (false, DType::I16) => 200.0,
            (true, DType::I8) => 0.004,
            (true, DType::I16) => 1.0,
        };
        let affine = self.affine(shape[2], factor);
        let store = self.store(shape, dtype);
        self.op(OpKind::Affine { input: self.x, affine, store });
        store.output
    }

    /// A store as behind a ReLU: 0.0 is the smallest value, and there are no other limits.
    fn relu(&mut self, shape: [u32; 3]) -> Store {
        let output = self.add(shape, DType::I8, 0.02, -128);
        Store { output, zero_point: -128, clamp_min: -128, clamp_max: 127, table: None }
    }

    /// The mean of an i8 map: a gate per channel.
    fn mean(&mut self, input: TensorId) -> TensorId {
        let [h, w, c] = self.shape(input);
        let window = Window { size: [h, w], stride: [1; 2], padding: [0; 4], dilation: [1; 2] };
        let mut store = self.store([1, 1, c], DType::I8);
        store.table = None;
        self.op(OpKind::Pool(Pool {
            kind: PoolKind::Average,
            input,
            window,
            multiplier: 1.3,
            count_padding: false,
            store,
        }));
        store.output
    }

    fn epilogue(&mut self, shape: [u32; 3], residual: Option<TensorId>) -> Epilogue {
        let residual = residual.map(|tensor| {
            let narrow = self.writer.tensor(tensor).dtype == DType::I8;
            let range = if narrow { (0.1, 2.0) } else { (0.001, 0.02) };
            Residual { tensor, multiplier: self.rng.float(range.0, range.1) }
        });
        let dtype = self.rng.pick(&[DType::I8, DType::I8, DType::I16]);
        let second = self.rng.chance(40);
        let store = (!second || self.rng.chance(50)).then(|| self.store(shape, dtype));
        let second = second.then(|| (self.affine(shape[2], 2.0), self.store(shape, DType::I8)));
        Epilogue { residual, store, second }
    }

    /// Ends the model; with `strided` the results lie among other channels. Compares all platforms and thread counts
    /// and gives the kernels that ran.
    fn check(mut self, results: &[TensorId], strided: bool, what: &str) -> BTreeSet<&'static str> {
        for &y in results {
            if strided {
                let shape = self.shape(y);
                let dtype = self.writer.tensor(y).dtype;
                let affine = self.affine(shape[2], 1.0);
                let other = self.like(y, shape);
                let to = *self.writer.tensor(other);
                let (low, high) = if dtype == DType::I8 { (-128, 127) } else { (-32767, 32767) };
                let store = Store {
                    output: other,
                    zero_point: to.zero_point,
                    clamp_min: low,
                    clamp_max: high,
                    table: None,
                };
                self.op(OpKind::Affine { input: y, affine, store });
                let joined = self.join(&[y, other]);
                self.writer.add_output("joined", joined).unwrap();
            } else {
                self.writer.add_output("y", y).unwrap();
            }
        }
        self.writer.plan_memory().unwrap();
        if strided {
            let t = self.writer.tensor(results[0]);
            assert!(t.pixel_stride > t.channels, "{what}: no view");
        }
        let input = *self.writer.tensor(self.input);
        let values: Vec<i16> = (0..input.elements())
            .map(|_| match input.dtype {
                DType::I8 => self.rng.int(-128, 127) as i16,
                DType::I16 => self.rng.int(-32767, 32767) as i16,
            })
            .collect();
        let file = self.writer.finish().unwrap_or_else(|error| panic!("{what}: {error}"));
        compare(&file, input.dtype, &values, what)
    }
}

/// Runs a model on every platform, with one thread and sometimes three, and compares every tensor with the definitions.
fn compare(file: &[u8], dtype: DType, values: &[i16], what: &str) -> BTreeSet<&'static str> {
    let model = Model::parse(file).unwrap();
    let mut kernels = BTreeSet::new();
    let mut expected: Vec<Vec<i32>> = Vec::new();
    for platform in Platform::available() {
        // Sessions with threads take long to start; a quarter of the cases have them.
        let counts: &[usize] = if what.len().is_multiple_of(4) { &[1, 3] } else { &[1] };
        for &threads in counts {
            let mut arena = alloc::vec![0xA5; model.arena_bytes()];
            let options = Options { platform, threads };
            let mut session = Session::with_options(&model, &mut arena, options).unwrap();
            let narrow: Vec<i8> = values.iter().map(|&v| v as i8).collect();
            match dtype {
                DType::I8 => session.input().set_i8(&narrow).unwrap(),
                DType::I16 => session.input().set_i16(values).unwrap(),
            }
            let mut seen = Vec::new();
            if threads == 1 {
                session
                    .run_with(&mut |_, tensor| {
                        seen.push((0..tensor.len()).map(|i| tensor.q(i)).collect());
                    })
                    .unwrap();
            } else {
                session.run().unwrap();
                let outputs = (0..model.output_count()).map(|i| session.output_at(i).unwrap());
                seen.extend(outputs.map(|t| (0..t.len()).map(|i| t.q(i)).collect::<Vec<i32>>()));
            }
            if expected.is_empty() {
                assert_eq!(platform, Platform::scalar(), "{what}: no definitions");
                expected.clone_from(&seen);
            }
            let name = format!("{what}, {}, {threads} threads", platform.name());
            if threads == 1 {
                for (index, (got, want)) in seen.iter().zip(&expected).enumerate() {
                    let wrong = got.iter().zip(want).position(|(a, b)| a != b);
                    assert_eq!(wrong, None, "{name}: tensor {index} of {}", seen.len());
                }
            } else {
                for got in &seen {
                    assert!(expected.contains(got), "{name}: outputs differ");
                }
            }
            kernels.extend((0..model.op_count()).map(|op| session.kernel(op)));
        }
    }
    kernels
}

/// Calls `f(seed, shape, strided, what)` for all combinations of maps and channels, dense and strided in turns.
fn shapes(name: &str, mut f: impl FnMut(u64, [u32; 3], bool, &str)) {
    for (i, &c) in CHANNELS.iter().enumerate() {
        for (j, &[h, w]) in MAPS.iter().enumerate() {
            let strided = (i + j) % 2 == 1;
            let what: String = format!("{name} {h}x{w}x{c}, strided: {strided}");
            f((100 * i + j) as u64, [h, w, c], strided, &what);
        }
    }
}

fn stored(epilogue: &Epilogue) -> Vec<TensorId> {
    let second = epilogue.second.iter().map(|(_, store)| store.output);
    epilogue.store.iter().map(|store| store.output).chain(second).collect()
}

#[test]
fn sums() {
    shapes("add", |seed, shape, strided, what| {
        let mut net = Net::new(seed, shape, DType::I8, strided);
        let dtype = net.rng.pick(&[DType::I8, DType::I16]);
        let other = net.operand(dtype);
        let (input, multiplier) = (net.x, net.rng.float(0.2, 2.0));
        let epilogue = net.epilogue(shape, Some(other));
        net.op(OpKind::Add { input, multiplier, epilogue });
        let kernels = net.check(&stored(&epilogue), strided, what);
        assert!(kernels.contains("add") || Platform::available().count() == 1);
    });
}

#[test]
fn products_with_gates() {
    shapes("mul", |seed, shape, strided, what| {
        for per_channel in [false, true] {
            let mut net = Net::new(seed, shape, DType::I8, strided);
            let mut gate = net.operand(DType::I8);
            if per_channel {
                gate = net.mean(gate);
            }
            let residual = net.rng.chance(30).then_some(net.x);
            let (input, multiplier) = (net.x, net.rng.float(0.005, 0.05));
            let epilogue = net.epilogue(shape, residual);
            net.op(OpKind::Mul { input, gate, multiplier, epilogue });
            net.check(&stored(&epilogue), strided, what);
        }
    });
}

#[test]
fn averages_of_long_lines() {
    for (seed, width) in [3, 4, 127, 128, 129, 300].into_iter().enumerate() {
        let mut net = Net::new(seed as u64, [2, width, 130], DType::I8, false);
        let output = net.mean(net.x);
        net.check(&[output], false, &format!("average of 2x{width}"));
    }
}

#[test]
fn gates_behind_relus() {
    for (seed, shape) in [[3, 5, 64], [1, 17, 128], [2, 7, 200]].into_iter().enumerate() {
        for (adds, is_second) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut net = Net::new(seed as u64, shape, DType::I8, false);
            let gate = net.operand(DType::I8);
            let gate = net.mean(gate);
            let residual = adds.then(|| {
                let (affine, store) = (net.affine(shape[2], 1.0), net.relu(shape));
                net.op(OpKind::Affine { input: net.x, affine, store });
                Residual { tensor: store.output, multiplier: 0.7 }
            });
            let store = (!is_second).then(|| net.relu(shape));
            let second = is_second.then(|| (net.affine(shape[2], 2.0), net.relu(shape)));
            let epilogue = Epilogue { residual, store, second };
            net.op(OpKind::Mul { input: net.x, gate, multiplier: 0.02, epilogue });
            let what = format!("{shape:?}, residual: {adds}, only second: {is_second}");
            net.check(&stored(&epilogue), false, &what);
        }
    }
}

#[test]
fn affine_maps() {
    shapes("affine", |seed, shape, strided, what| {
        for (from, to, factor) in [
            (DType::I8, DType::I8, 1.5),
            (DType::I8, DType::I16, 200.0),
            (DType::I16, DType::I8, 0.005),
        ] {
            let mut net = Net::new(seed, shape, from, strided);
            let affine = net.affine(shape[2], factor);
            let store = net.store(shape, to);
            net.op(OpKind::Affine { input: net.x, affine, store });
            net.check(&[store.output], strided, what);
        }
    });
}

#[test]
fn tables() {
    shapes("table", |seed, shape, strided, what| {
        let mut net = Net::new(seed, shape, DType::I8, strided);
        let (table, output) = (net.table(), net.tensor(shape, DType::I8));
        net.op(OpKind::Table(Table { input: net.x, output, table }));
        net.check(&[output], strided, what);
    });
}

#[test]
fn pools() {
    let windows =
        [(2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 1, 2), (2, 1, 0), (1, 2, 0), (9, 1, 4), (13, 1, 6)];
    for (index, &c) in CHANNELS.iter().enumerate() {
        for (size, stride, padding) in windows {
            for [h, w] in [[size, size], [size + 1, 7], [9, 2 * size + 1]] {
                let strided = (index + h as usize) % 2 == 1;
                let window = Window {
                    size: [size; 2],
                    stride: [stride; 2],
                    padding: [padding; 4],
                    dilation: [1; 2],
                };
                let out = |x: u32| (x + 2 * padding - size) / stride + 1;
                let shape = [out(h), out(w), c];
                let what = format!("pool {size}/{stride} {h}x{w}x{c}, strided: {strided}");
                for kind in [PoolKind::Max, PoolKind::Average] {
                    let dtype = match kind {
                        PoolKind::Average if index % 3 == 0 => DType::I16,
                        _ => DType::I8,
                    };
                    let mut net = Net::new(u64::from(c), [h, w, c], dtype, strided);
                    let store = if kind == PoolKind::Max {
                        let output = net.like(net.x, shape);
                        let zero_point = net.writer.tensor(output).zero_point;
                        let table = None;
                        Store { output, zero_point, clamp_min: -128, clamp_max: 127, table }
                    } else {
                        net.store(shape, DType::I8)
                    };
                    let multiplier = if dtype == DType::I16 { 0.004 } else { 1.5 };
                    let count_padding = padding > 0 && index % 2 == 0;
                    let input = net.x;
                    let pool = Pool { kind, input, window, multiplier, count_padding, store };
                    net.op(OpKind::Pool(pool));
                    net.check(&[store.output], strided, &what);
                }
            }
        }
    }
}

/// Rows and windows with more columns than a kernel keeps.
#[test]
fn wide_pools() {
    for (c, columns, stride) in [(3, 3, 1), (70, 5, 2), (64, 140, 1), (5, 300, 7), (5, 128, 3)] {
        let (h, w) = (5, 300);
        let window = Window {
            size: [2, columns],
            stride: [1, stride],
            padding: [1, columns / 3, 0, columns / 4],
            dilation: [1; 2],
        };
        let width = (w + columns / 3 + columns / 4 - columns) / stride + 1;
        let mut net = Net::new(9, [h, w, c], DType::I8, c == 70);
        let output = net.like(net.x, [h, width, c]);
        let zero_point = net.writer.tensor(output).zero_point;
        let store = Store { output, zero_point, clamp_min: -128, clamp_max: 127, table: None };
        let (input, kind, multiplier) = (net.x, PoolKind::Max, 1.0);
        let pool = Pool { kind, input, window, multiplier, count_padding: false, store };
        net.op(OpKind::Pool(pool));
        net.check(&[output], c == 70, &format!("pool of {columns} columns by {stride}"));
    }
}

#[test]
fn resizes() {
    let scale: [fn(u32) -> u32; 4] = [|x| 2 * x, |x| 3 * x + 1, |x| x.div_ceil(2), |x| x];
    shapes("resize", |seed, [h, w, c], strided, what| {
        for (i, to) in scale.iter().enumerate() {
            let dtype = if (seed as usize + i).is_multiple_of(3) { DType::I16 } else { DType::I8 };
            let mut net = Net::new(seed, [h, w, c], dtype, strided);
            let output = net.like(net.x, [to(h), to(w), c]);
            net.op(OpKind::Resize(Resize { input: net.x, output }));
            net.check(&[output], strided, what);
        }
    });
}

#[test]
fn copies() {
    shapes("copy", |seed, [h, w, c], strided, what| {
        // Crop, subsample, pad, slice of channels, all at once.
        let (half, more) = (c.div_ceil(2), c + 3);
        let cases = [
            ([h, w, c], [0, 0, 0], [1, 1]),
            ([h.div_ceil(2), w.div_ceil(2), c], [0, 0, 0], [2, 2]),
            ([h + 2, w + 3, more], [-1, -2, -1], [1, 1]),
            ([h, w, half], [0, 0, (c - half) as i32], [1, 1]),
            ([h, w, half], [-1, 1, 0], [1, 2]),
        ];
        for (i, (shape, start, step)) in cases.into_iter().enumerate() {
            let dtype = if (seed as usize + i).is_multiple_of(3) { DType::I16 } else { DType::I8 };
            let mut net = Net::new(seed, [h, w, c], dtype, strided);
            let output = net.like(net.x, shape);
            net.op(OpKind::Copy(Copy { input: net.x, output, start, step }));
            net.check(&[output], strided, what);
        }
    });
}

#[test]
fn joins() {
    shapes("concat", |seed, [h, w, c], strided, what| {
        let dtype = if seed.is_multiple_of(4) { DType::I16 } else { DType::I8 };
        let mut net = Net::new(seed, [h, w, c], dtype, strided);
        // The whole, a part with the same values, and what has to be requantised.
        let part = net.like(net.x, [h, w, c.div_ceil(3)]);
        let start = [0, 0, (c - c.div_ceil(3)) as i32];
        net.op(OpKind::Copy(Copy { input: net.x, output: part, start, step: [1; 2] }));
        let other = net.operand(dtype);
        let mut ids = [net.x, other, part, net.x];
        let turn = net.rng.next() as usize % ids.len();
        ids.rotate_left(turn);
        let count = 1 + net.rng.next() as usize % ids.len();
        let joined = net.join(&ids[..count]);
        net.writer.add_output("joined", joined).unwrap();
        net.check(&[other], false, what);
    });
}

/// What this file exercises; convolutions have a file of their own.
#[test]
fn every_kernel_has_a_test() {
    let here =
        ["add", "mul", "affine", "max_pool", "average_pool", "concat", "copy", "resize", "table"];
    for kernel in KERNELS {
        assert!(here.contains(kernel) || super::conv::CONV.contains(kernel), "{kernel}");
    }
}
