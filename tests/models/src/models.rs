//! Random model files: every operator, odd shapes, all kinds of epilogues, views.

use crate::random::Random;
use kenar::Error;
use kenar::desc::{
    Affine, Conv2d, Copy, DType, Epilogue, Op, OpKind, Pool, PoolKind, Residual, Resize, Span,
    Store, Table, TensorId, Window,
};
use kenar::format::write::{InputSpec, ModelWriter};
use kenar::format::{ChannelOrder, Placement};
use kenar::quant::{RESIDUAL_BITS, significant};

/// How large random models get.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Operators.
    pub ops: usize,
    /// Height and width of the input, at most.
    pub side: usize,
    /// Channels of any convolution, about.
    pub channels: usize,
}

impl Size {
    /// A few hundred bytes of weights.
    pub const TINY: Self = Self { ops: 5, side: 5, channels: 6 };
    /// Some kilobytes of weights; channels cross the vector lengths.
    pub const SMALL: Self = Self { ops: 12, side: 11, channels: 70 };
}

/// A random model file that loads.
///
/// # Panics
///
/// If it does not: that is a mistake in the writer, the planner or here.
pub fn random_model(seed: u64, size: Size) -> Vec<u8> {
    let mut builder =
        Builder { random: Random::new(seed), writer: ModelWriter::new(), known: Vec::new(), size };
    builder.build().unwrap_or_else(|error| panic!("seed {seed}: {error}"))
}

/// Quantised values for a model's input.
pub fn random_input(seed: u64, len: usize, dtype: DType) -> Vec<i64> {
    let mut random = Random::new(seed);
    (0..len)
        .map(|_| match dtype {
            DType::I8 => random.below(256) as i64 - 128,
            DType::I16 => random.below(65_535) as i64 - 32_767,
        })
        .collect()
}

/// What tensors are quantised with; few, so that equal ones meet.
const QUANTIZATIONS: [(f32, i32); 4] = [(0.05, 3), (0.02, -128), (0.1, -7), (0.05, 127)];
const WIDE: f32 = 0.0005;

struct Builder {
    random: Random,
    writer: ModelWriter,
    known: Vec<TensorId>,
    size: Size,
}

impl Builder {
    fn build(&mut self) -> Result<Vec<u8>, Error> {
        let order = self.pick(&[
            ChannelOrder::Rgb,
            ChannelOrder::Bgr,
            ChannelOrder::Gray,
            ChannelOrder::Features,
            ChannelOrder::Features,
        ]);
        let shape = [
            1 + self.random.below(self.size.side) as u32,
            1 + self.random.below(self.size.side) as u32,
            order.channels().unwrap_or(1 + self.random.below(self.size.channels) as u32),
        ];
        let dtype = if order == ChannelOrder::Features { self.dtype() } else { DType::I8 };
        let input = self.tensor(shape, dtype)?;
        let spec = InputSpec {
            order,
            letterbox: Some(114),
            placement: Placement::Centred,
            mean: [0.4, 0.5, 0.6],
            std: [0.2, 0.25, 0.3],
        };
        let spec = if order == ChannelOrder::Features { InputSpec::features() } else { spec };
        self.writer.set_input("input", input, spec)?;
        while self.writer.ops().len() < self.size.ops {
            self.op()?;
        }
        let last = *self.known.last().expect("there are tensors");
        self.writer.add_output("last", last)?;
        for _ in 0..self.random.below(3) {
            let id = self.known[1 + self.random.below(self.known.len() - 1)];
            self.writer.add_output("tap", id)?;
        }
        self.writer.set_labels(&["one", "two"])?;
        self.writer.set_provenance("random", "", "tests", "none")?;
        self.writer.plan_memory()?;
        core::mem::take(&mut self.writer).finish()
    }

    fn pick<T: core::marker::Copy>(&mut self, of: &[T]) -> T {
        of[self.random.below(of.len())]
    }

    fn chance(&mut self, of: usize) -> bool {
        self.random.below(of) == 0
    }

    fn dtype(&mut self) -> DType {
        if self.chance(4) { DType::I16 } else { DType::I8 }
    }

    fn tensor(&mut self, shape: [u32; 3], dtype: DType) -> Result<TensorId, Error> {
        let (scale, zero_point) = match dtype {
            DType::I8 => self.pick(&QUANTIZATIONS),
            DType::I16 => (WIDE, 0),
        };
        let name = format!("t{}", self.known.len());
        let id = self.writer.add_activation(&name, shape, dtype, scale, zero_point)?;
        self.known.push(id);
        Ok(id)
    }

    /// A tensor with the quantisation of another.
    fn tensor_like(&mut self, shape: [u32; 3], like: TensorId) -> Result<TensorId, Error> {
        let desc = *self.writer.tensor(like);
        let id = self.tensor(shape, desc.dtype)?;
        let tensor = self.writer.tensor_mut(id);
        (tensor.scale, tensor.zero_point) = (desc.scale, desc.zero_point);
        Ok(id)
    }

    fn shape(&self, id: TensorId) -> [u32; 3] {
        let desc = self.writer.tensor(id);
        [desc.height, desc.width, desc.channels]
    }

    fn is_i8(&self, id: TensorId) -> bool {
        self.writer.tensor(id).dtype == DType::I8
    }

    /// A known tensor, more often a recent one, that satisfies a condition.
    fn known(&mut self, condition: impl Fn(&Self, TensorId) -> bool) -> Option<TensorId> {
        let fitting: Vec<TensorId> =
            self.known.iter().copied().filter(|&id| condition(self, id)).collect();
        if fitting.is_empty() {
            return None;
        }
        let skip = if self.chance(2) { fitting.len().saturating_sub(2) } else { 0 };
        Some(fitting[skip + self.random.below(fitting.len() - skip)])
    }

    fn op(&mut self) -> Result<(), Error> {
        let kind = match self.random.below(12) {
            0..=3 => self.conv2d()?,
            4 => self.add()?,
            5 => self.mul()?,
            6 => self.affine()?,
            7 => self.pool()?,
            8 => self.resize()?,
            9 => self.table()?,
            10 => self.copy()?,
            _ => self.concat()?,
        };
        if let Some(kind) = kind {
            let name = self.writer.add_string("op")?;
            self.writer.add_op(Op { name, kind });
        }
        Ok(())
    }

    /// A multiplier that takes sums of `spread` about to the range of a type.
    fn multiplier(&mut self, spread: f32, dtype: DType) -> f32 {
        let range = if dtype == DType::I8 { 80.0 } else { 20_000.0 };
        let multiplier = range / spread * (1.2 + self.random.unit());
        // As the converter writes them, or not.
        if self.chance(4) { multiplier } else { significant(multiplier, RESIDUAL_BITS) }
    }

    fn store(&mut self, output: TensorId) -> Result<Store, Error> {
        let desc = *self.writer.tensor(output);
        let (low, high) = if desc.dtype == DType::I8 { (-128, 127) } else { (-32_767, 32_767) };
        let table = if desc.dtype == DType::I8 && self.chance(4) {
            Some(self.random_table()?)
        } else {
            None
        };
        let zero_point =
            if table.is_some() { self.pick(&[-128, -5, 0, 127]) } else { desc.zero_point };
        let mut clamps = [low, high];
        if self.chance(2) {
            clamps[0] = zero_point;
        }
        if self.chance(4) {
            clamps[1] = (clamps[0] + 90).min(high);
        }
        Ok(Store { output, zero_point, clamp_min: clamps[0], clamp_max: clamps[1], table })
    }

    fn random_table(&mut self) -> Result<Span, Error> {
        let values: Vec<i8> = (0..256).map(|_| self.random.below(256) as u8 as i8).collect();
        self.writer.add_i8(&values)
    }

    fn affine_arrays(&mut self, channels: u32, factor: f32) -> Result<Affine, Error> {
        let a: Vec<f32> = (0..channels)
            .map(|_| if self.chance(9) { 0.0 } else { factor * self.random.unit() })
            .collect();
        let b: Vec<f32> = (0..channels).map(|_| 30.0 * self.random.unit()).collect();
        Ok(Affine { a: self.writer.add_f32(&a)?, b: self.writer.add_f32(&b)? })
    }

    /// Stores for a result of `shape`, whose `t` is in steps of `dtype`.
    fn epilogue(
        &mut self,
        shape: [u32; 3],
        dtype: DType,
        needs_residual: bool,
    ) -> Result<Option<Epilogue>, Error> {
        let other = self.known(|this, id| this.shape(id) == shape);
        let wants = needs_residual || self.chance(2);
        let residual = match other.filter(|_| wants) {
            Some(tensor) => {
                let spread = if self.is_i8(tensor) { 100.0 } else { 20_000.0 };
                Some(Residual { tensor, multiplier: self.multiplier(spread, dtype) })
            }
            None if needs_residual => return Ok(None),
            None => None,
        };
        let stores = self.random.below(6);
        let store = if stores < 5 {
            let output = self.tensor(shape, dtype)?;
            Some(self.store(output)?)
        } else {
            None
        };
        let second = if stores > 3 {
            let factor = if dtype == DType::I8 { 1.5 } else { 0.005 };
            let affine = self.affine_arrays(shape[2], factor)?;
            let output = self.tensor(shape, DType::I8)?;
            Some((affine, self.store(output)?))
        } else {
            None
        };
        Ok(Some(Epilogue { residual, store, second }))
    }

    /// A window over a map, and the size of the result.
    fn window(&mut self, shape: [u32; 3], dilated: bool) -> Option<(Window, [u32; 2])> {
        let kind = self.random.below(6);
        let (mut size, mut stride, mut padding, mut dilation) = ([1; 2], [1; 2], [0; 4], [1; 2]);
        match kind {
            0 => {}
            1 | 2 => {
                size = [3, 3];
                padding = [1; 4];
                stride = [1 + self.random.below(2) as u32; 2];
            }
            _ => {
                size = [(); 2].map(|()| 1 + self.random.below(5) as u32);
                stride = [(); 2].map(|()| 1 + self.random.below(3) as u32);
                padding =
                    [0, 1, 0, 1].map(|axis: usize| self.random.below(size[axis] as usize) as u32);
                if dilated && self.chance(3) {
                    dilation = [(); 2].map(|()| 1 + self.random.below(2) as u32);
                }
            }
        }
        let axis = |axis: usize| {
            let padded = shape[axis] + padding[axis] + padding[axis + 2];
            let covered = dilation[axis] * (size[axis] - 1) + 1;
            (padded >= covered).then(|| (padded - covered) / stride[axis] + 1)
        };
        Some((Window { size, stride, padding, dilation }, [axis(0)?, axis(1)?]))
    }

    fn conv2d(&mut self) -> Result<Option<OpKind>, Error> {
        let Some(input) = self.known(Self::is_i8) else { return Ok(None) };
        let shape = self.shape(input);
        let Some((window, [height, width])) = self.window(shape, true) else { return Ok(None) };
        let divisors: Vec<u32> = (1..=shape[2]).filter(|d| shape[2].is_multiple_of(*d)).collect();
        let groups = match self.random.below(3) {
            0 => 1,
            1 => shape[2],
            _ => self.pick(&divisors),
        };
        let most = (self.size.channels as u32 / groups).max(1) as usize;
        let channels_out = match self.random.below(3) {
            0 => shape[2],
            _ => groups * (1 + self.random.below(most) as u32),
        };
        let depth = (window.size[0] * window.size[1] * shape[2] / groups) as usize;
        let weights: Vec<i8> = (0..depth * channels_out as usize)
            .map(|_| (self.random.below(255) as i32 - 127) as i8)
            .collect();
        let bias: Vec<i32> =
            (0..channels_out).map(|_| (20_000.0 * self.random.unit()) as i32).collect();
        let dtype = self.dtype();
        let Some(epilogue) = self.epilogue([height, width, channels_out], dtype, false)? else {
            return Ok(None);
        };
        let spread = 7000.0 * (depth as f32).sqrt();
        let multiplier: Vec<f32> =
            (0..channels_out).map(|_| self.multiplier(spread, dtype)).collect();
        let slope = if self.chance(5) {
            let values: Vec<f32> = (0..channels_out)
                .map(|_| if self.chance(3) { 0.0 } else { self.random.unit() })
                .collect();
            Some(self.writer.add_f32(&values)?)
        } else {
            None
        };
        let silu = if slope.is_none() && self.chance(5) {
            let values: Vec<f32> =
                (0..channels_out).map(|_| 0.5 + self.random.unit().abs()).collect();
            Some(self.writer.add_f32(&values)?)
        } else {
            None
        };
        Ok(Some(OpKind::Conv2d(Conv2d {
            input,
            window,
            groups,
            channels_out,
            weights: self.writer.add_i8(&weights)?,
            bias: self.writer.add_i32(&bias)?,
            multiplier: self.writer.add_f32(&multiplier)?,
            slope,
            epilogue,
            silu,
        })))
    }

    fn add(&mut self) -> Result<Option<OpKind>, Error> {
        let Some(input) = self.known(|_, _| true) else { return Ok(None) };
        let dtype = self.dtype();
        let spread = if self.is_i8(input) { 100.0 } else { 20_000.0 };
        let multiplier = self.multiplier(spread, dtype);
        let shape = self.shape(input);
        let epilogue = self.epilogue(shape, dtype, true)?;
        Ok(epilogue.map(|epilogue| OpKind::Add { input, multiplier, epilogue }))
    }

    fn mul(&mut self) -> Result<Option<OpKind>, Error> {
        let Some(input) = self.known(Self::is_i8) else { return Ok(None) };
        let shape = self.shape(input);
        let is_gate = |this: &Self, id: TensorId| {
            this.is_i8(id) && (this.shape(id) == shape || this.shape(id) == [1, 1, shape[2]])
        };
        let Some(gate) = self.known(is_gate) else { return Ok(None) };
        let dtype = self.dtype();
        let multiplier = self.multiplier(10_000.0, dtype);
        let epilogue = self.epilogue(shape, dtype, false)?;
        Ok(epilogue.map(|epilogue| OpKind::Mul { input, gate, multiplier, epilogue }))
    }

    fn affine(&mut self) -> Result<Option<OpKind>, Error> {
        let Some(input) = self.known(|_, _| true) else { return Ok(None) };
        let shape = self.shape(input);
        let dtype = self.dtype();
        let factor = match (self.is_i8(input), dtype) {
            (true, DType::I8) | (false, DType::I16) => 1.5,
            (true, DType::I16) => 200.0,
            (false, DType::I8) => 0.005,
        };
        let affine = self.affine_arrays(shape[2], factor)?;
        let output = self.tensor(shape, dtype)?;
        Ok(Some(OpKind::Affine { input, affine, store: self.store(output)? }))
    }

    fn pool(&mut self) -> Result<Option<OpKind>, Error> {
        let kind = self.pick(&[PoolKind::Max, PoolKind::Average]);
        let Some(input) = self.known(|this, id| kind == PoolKind::Average || this.is_i8(id)) else {
            return Ok(None);
        };
        let shape = self.shape(input);
        let (window, [height, width]) = if self.chance(3) {
            let size = [shape[0], shape[1]];
            (Window { size, stride: [1; 2], padding: [0; 4], dilation: [1; 2] }, [1, 1])
        } else {
            let Some(window) = self.window(shape, false) else { return Ok(None) };
            window
        };
        // A last window that begins in the padding is refused by the loader.
        let begins = |axis: usize, size: u32| {
            (size - 1) * window.stride[axis] < shape[axis] + window.padding[axis]
        };
        if !begins(0, height) || !begins(1, width) {
            return Ok(None);
        }
        let shape = [height, width, shape[2]];
        let (multiplier, store) = match kind {
            PoolKind::Max => {
                let output = self.tensor_like(shape, input)?;
                let zero_point = self.writer.tensor(output).zero_point;
                (0.0, Store { output, zero_point, clamp_min: -128, clamp_max: 127, table: None })
            }
            PoolKind::Average => {
                let dtype = self.dtype();
                let spread = if self.is_i8(input) { 100.0 } else { 20_000.0 };
                let output = self.tensor(shape, dtype)?;
                (self.multiplier(spread, dtype), self.store(output)?)
            }
        };
        let count_padding = kind == PoolKind::Average && self.chance(2);
        Ok(Some(OpKind::Pool(Pool { kind, input, window, multiplier, count_padding, store })))
    }

    fn resize(&mut self) -> Result<Option<OpKind>, Error> {
        let Some(input) = self.known(|_, _| true) else { return Ok(None) };
        let [height, width, channels] = self.shape(input);
        let size = match self.random.below(3) {
            0 => [2 * height, 2 * width],
            _ => [(); 2].map(|()| 1 + self.random.below(2 * self.size.side) as u32),
        };
        let output = self.tensor_like([size[0], size[1], channels], input)?;
        Ok(Some(OpKind::Resize(Resize { input, output })))
    }

    fn table(&mut self) -> Result<Option<OpKind>, Error> {
        let Some(input) = self.known(Self::is_i8) else { return Ok(None) };
        let shape = self.shape(input);
        let output = self.tensor(shape, DType::I8)?;
        Ok(Some(OpKind::Table(Table { input, output, table: self.random_table()? })))
    }

    fn copy(&mut self) -> Result<Option<OpKind>, Error> {
        let Some(input) = self.known(|_, _| true) else { return Ok(None) };
        let [height, width, channels] = self.shape(input);
        let start =
            [height, width, channels].map(|size| self.random.below(size as usize + 2) as i32 - 2);
        let step = [(); 2].map(|()| 1 + self.random.below(2) as u32);
        let shape = [height / step[0], width / step[1], channels]
            .map(|size| (size + self.random.below(4) as u32).saturating_sub(1).max(1));
        let output = self.tensor_like(shape, input)?;
        Ok(Some(OpKind::Copy(Copy { input, output, start, step })))
    }

    fn concat(&mut self) -> Result<Option<OpKind>, Error> {
        let Some(first) = self.known(|_, _| true) else { return Ok(None) };
        let [height, width, _] = self.shape(first);
        let mut inputs = vec![first];
        for _ in 0..self.random.below(4) {
            inputs.extend(self.known(|this, id| this.shape(id)[..2] == [height, width]));
        }
        let channels: u32 = inputs.iter().map(|&id| self.shape(id)[2]).sum();
        let output = self.tensor_like([height, width, channels], first)?;
        let target = *self.writer.tensor(output);
        let multipliers: Vec<f32> = inputs
            .iter()
            .map(|&id| {
                let desc = self.writer.tensor(id);
                if desc.has_values_of(&target) { 1.0 } else { desc.scale / target.scale }
            })
            .collect();
        let multipliers = self.writer.add_f32(&multipliers)?;
        let inputs = self.writer.add_list(&inputs);
        Ok(Some(OpKind::Concat { inputs, multipliers, output }))
    }
}
