//! Model files made operator by operator, with contents from a fixed seed.

use kenar::desc::{
    Affine, Conv2d, Copy, DType, Epilogue, Op, OpKind, Pool, PoolKind, Residual, Resize, Span,
    Store, Table, TensorId, Window,
};
use kenar::format::write::{InputSpec, ModelWriter};
use kenar::quant::{MULTIPLIER_BITS, RESIDUAL_BITS, significant};

use crate::layer::{Beside, Kind, Layer};

const SCALE: f32 = 0.05;
const ZERO: i32 = -7;
const WIDE: f32 = 0.0005;

/// A model in the making. It panics where a layer does not fit: that is a mistake in this crate.
pub struct Builder {
    writer: ModelWriter,
    seed: u32,
}

impl Builder {
    /// A model with an input of height, width, channels.
    pub fn new(input: [u32; 3]) -> (Self, TensorId) {
        let mut builder = Self { writer: ModelWriter::new(), seed: 0x2545_f491 };
        let x = builder.tensor(input, DType::I8);
        builder.writer.set_input("x", x, InputSpec::features()).expect("an input");
        (builder, x)
    }

    /// The file.
    pub fn finish(mut self, outputs: &[TensorId]) -> Vec<u8> {
        for (i, &id) in outputs.iter().enumerate() {
            self.writer.add_output(&format!("y{i}"), id).expect("an output");
        }
        self.writer.plan_memory().expect("a plan");
        self.writer.finish().expect("a model")
    }

    fn byte(&mut self) -> i8 {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.seed >> 24) as i8
    }

    /// A number between 0.5 and 1.5.
    fn near_one(&mut self) -> f32 {
        1.0 + f32::from(self.byte()) / 256.0
    }

    fn tensor(&mut self, shape: [u32; 3], dtype: DType) -> TensorId {
        let (scale, zero) = if dtype == DType::I8 { (SCALE, ZERO) } else { (WIDE, 0) };
        self.writer.add_activation("t", shape, dtype, scale, zero).expect("a tensor")
    }

    fn op(&mut self, name: &str, kind: OpKind) {
        let name = self.writer.add_string(name).expect("a name");
        self.writer.add_op(Op { name, kind });
    }

    fn shape(&self, id: TensorId) -> [u32; 3] {
        let t = self.writer.tensor(id);
        [t.height, t.width, t.channels]
    }

    fn floats(&mut self, n: u32, around: f32) -> Span {
        let values: Vec<f32> = (0..n).map(|_| around * self.near_one()).collect();
        self.writer.add_f32(&values).expect("constants")
    }

    fn table(&mut self) -> Span {
        let values: Vec<i8> = (0..256).map(|_| self.byte()).collect();
        self.writer.add_i8(&values).expect("a table")
    }

    /// Some other tensor of that shape: what a second operand would be.
    pub fn derived(&mut self, x: TensorId, shape: [u32; 3], dtype: DType) -> TensorId {
        let output = self.tensor(shape, DType::I8);
        let copy = Copy { input: x, output, start: [0; 3], step: [1; 2] };
        self.op("derived", OpKind::Copy(copy));
        if dtype == DType::I8 { output } else { self.widened(output) }
    }

    /// A map as i16.
    fn widened(&mut self, x: TensorId) -> TensorId {
        let shape = self.shape(x);
        let output = self.tensor(shape, DType::I16);
        let affine = Affine { a: self.floats(shape[2], 100.0), b: self.floats(shape[2], 3.0) };
        let store = self.store(output, false);
        self.op("widened", OpKind::Affine { input: x, affine, store });
        output
    }

    fn store(&mut self, output: TensorId, table: bool) -> Store {
        let desc = *self.writer.tensor(output);
        let (low, high) = if desc.dtype == DType::I8 { (-128, 127) } else { (-32_767, 32_767) };
        let table = table.then(|| self.table());
        let zero_point = if table.is_some() { 5 } else { desc.zero_point };
        Store { output, zero_point, clamp_min: low, clamp_max: high, table }
    }

    /// The epilogue of a layer, and its outputs: the plain one first.
    fn epilogue(
        &mut self,
        layer: &Layer,
        shape: [u32; 3],
        residual: Option<TensorId>,
    ) -> (Epilogue, Vec<TensorId>) {
        let mut outputs = Vec::new();
        let residual = residual.map(|tensor| {
            let wide = self.writer.tensor(tensor).dtype == DType::I16;
            // As the converter writes it.
            let multiplier = if wide { 0.009 } else { significant(0.9, RESIDUAL_BITS) };
            Residual { tensor, multiplier }
        });
        let store = (layer.affine != Some(Beside::Nothing)).then(|| {
            let dtype = if layer.wide { DType::I16 } else { DType::I8 };
            let output = self.tensor(shape, dtype);
            outputs.push(output);
            self.store(output, layer.table)
        });
        let second = layer.affine.map(|_| {
            let output = self.tensor(shape, DType::I8);
            outputs.push(output);
            // What is i16 is a hundred times finer.
            let factor = if layer.wide { 0.01 } else { 1.1 };
            let affine = Affine { a: self.floats(shape[2], factor), b: self.floats(shape[2], 2.0) };
            (affine, self.store(output, false))
        });
        (Epilogue { residual, store, second }, outputs)
    }

    /// Adds a layer over `x` and gives its outputs. `residual` or the gate may be given; else something derived from
    /// `x` takes the place.
    pub fn layer(&mut self, x: TensorId, layer: &Layer, other: Option<TensorId>) -> Vec<TensorId> {
        let (input, name) = (layer.input, layer.name());
        assert_eq!(self.shape(x), input, "{name}");
        let x = if layer.wide_input { self.widened(x) } else { x };
        let shape = layer.output();
        let residual = layer.residual.map(|dtype| match (layer.kind, other) {
            (Kind::Gate, _) | (_, None) => self.derived(x, shape, dtype),
            (_, Some(id)) => id,
        });
        let wide = if layer.wide { 100.0 } else { 1.0 };
        match layer.kind {
            Kind::Conv { out, size, stride, groups } => {
                let (epilogue, outputs) = self.epilogue(layer, shape, residual);
                let conv = self.conv(x, layer, [out, size, stride, groups], epilogue);
                self.op(&name, OpKind::Conv2d(conv));
                outputs
            }
            Kind::MaxPool { size, stride } => {
                let output = self.tensor(shape, DType::I8);
                let (window, store) = (window(size, stride), self.store(output, false));
                let (kind, multiplier) = (PoolKind::Max, 1.0);
                let pool = Pool { kind, input: x, window, multiplier, count_padding: false, store };
                self.op(&name, OpKind::Pool(pool));
                vec![output]
            }
            Kind::Average => {
                let output = self.tensor(shape, DType::I8);
                let whole = Window { size: [input[0], input[1]], ..window(1, 1) };
                let multiplier = if layer.wide_input { 0.01 } else { 1.0 };
                let (kind, store) = (PoolKind::Average, self.store(output, false));
                let (window, count_padding) = (whole, false);
                let pool = Pool { kind, input: x, window, multiplier, count_padding, store };
                self.op(&name, OpKind::Pool(pool));
                vec![output]
            }
            Kind::Resize => {
                let output = self.tensor(shape, DType::I8);
                self.op(&name, OpKind::Resize(Resize { input: x, output }));
                vec![output]
            }
            Kind::Add => {
                let dtype = layer.residual.unwrap_or(DType::I8);
                let residual = residual.or(other);
                let residual = residual.unwrap_or_else(|| self.derived(x, shape, dtype));
                let (epilogue, outputs) = self.epilogue(layer, shape, Some(residual));
                self.op(&name, OpKind::Add { input: x, multiplier: wide * 0.7, epilogue });
                outputs
            }
            Kind::Gate => {
                let gate = other.unwrap_or_else(|| self.derived(x, [1, 1, input[2]], DType::I8));
                let (epilogue, outputs) = self.epilogue(layer, shape, residual);
                self.op(&name, OpKind::Mul { input: x, gate, multiplier: wide * 0.01, epilogue });
                outputs
            }
            Kind::Table => {
                let (output, table) = (self.tensor(shape, DType::I8), self.table());
                self.op(&name, OpKind::Table(Table { input: x, output, table }));
                vec![output]
            }
            Kind::Affine => {
                let output = self.tensor(shape, if layer.wide { DType::I16 } else { DType::I8 });
                let factor = if layer.wide_input { 0.01 * wide } else { wide };
                let (a, b) = (self.floats(input[2], factor), self.floats(input[2], 2.0));
                let store = self.store(output, false);
                self.op(&name, OpKind::Affine { input: x, affine: Affine { a, b }, store });
                vec![output]
            }
            Kind::Concat(n) => vec![self.concat(&name, &vec![x; n as usize])],
            Kind::Slice(_) => {
                let output = self.tensor(shape, DType::I8);
                let copy = Copy { input: x, output, start: [0; 3], step: [1; 2] };
                self.op(&name, OpKind::Copy(copy));
                vec![output]
            }
        }
    }

    /// Joins maps along the channels.
    pub fn concat(&mut self, name: &str, parts: &[TensorId]) -> TensorId {
        let [h, w, _] = self.shape(parts[0]);
        let channels = parts.iter().map(|&id| self.shape(id)[2]).sum();
        let output = self.tensor([h, w, channels], DType::I8);
        let inputs = self.writer.add_list(parts);
        let multipliers = self.writer.add_f32(&vec![1.0; parts.len()]).expect("constants");
        self.op(name, OpKind::Concat { inputs, multipliers, output });
        output
    }

    fn conv(
        &mut self,
        input: TensorId,
        layer: &Layer,
        [out, size, stride, groups]: [u32; 4],
        epilogue: Epilogue,
    ) -> Conv2d {
        let depth = size * size * layer.input[2] / groups;
        let weights: Vec<i8> = (0..out * depth).map(|_| self.byte().max(-127)).collect();
        // Sums of about 5000 times the root of their length fill a third of the range.
        let mut multiplier = 60.0 / (5000.0 * (depth as f32).sqrt());
        let mut silu = None;
        let wide = if layer.wide { 100.0 } else { 1.0 };
        if layer.silu {
            multiplier *= 0.05;
            silu = Some(self.floats(out, 20.0 * wide));
        } else {
            multiplier *= wide;
        }
        let multipliers: Vec<f32> =
            (0..out).map(|_| significant(multiplier * self.near_one(), MULTIPLIER_BITS)).collect();
        Conv2d {
            input,
            window: window(size, stride),
            groups,
            channels_out: out,
            weights: self.writer.add_i8(&weights).expect("weights"),
            bias: self.writer.add_i32(&vec![100; out as usize]).expect("biases"),
            multiplier: self.writer.add_f32(&multipliers).expect("multipliers"),
            slope: None,
            silu,
            epilogue,
        }
    }
}

/// Padded by half of its size.
fn window(size: u32, stride: u32) -> Window {
    Window { size: [size; 2], stride: [stride; 2], padding: [size / 2; 4], dilation: [1; 2] }
}
