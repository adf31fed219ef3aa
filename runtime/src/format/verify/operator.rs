//! Each operator's own rules: types, shapes, constants.

use super::values;
use crate::desc::{
    Conv2d, DType, Epilogue, OpKind, Pool, PoolKind, Store, TensorDesc, TensorId, Window,
};
use crate::{Error, Model};

/// Most products per accumulator: `66_000 * 127 * 255 < 2^31`.
const MAX_DEPTH: u64 = 66_000;
/// Most positions of a pooling window: sums of i16 fit an i32, and counts are exact in f32.
const MAX_POSITIONS: u64 = 65_536;
/// Largest window size, stride, dilation, padding.
const MAX_WINDOW: u32 = 65_536;

/// Checks operator `op`, whose operands were checked to exist.
pub(super) fn verify(model: &Model<'_>, op: u32) -> Result<(), Error> {
    let check = Check { model, op };
    match model.op(op as usize).kind {
        OpKind::Conv2d(conv) => check.conv2d(&conv),
        OpKind::Add { input, multiplier, epilogue } => {
            if epilogue.residual.is_none() {
                return Err(Error::OpOperands { op });
            }
            values::multiplier(op, multiplier)?;
            check.epilogue(&epilogue, shape(&model.tensor(input)))
        }
        OpKind::Mul { input, gate, multiplier, epilogue } => {
            let (x, g) = (model.tensor(input), model.tensor(gate));
            if x.dtype != DType::I8 || g.dtype != DType::I8 {
                return Err(Error::OpDType { op });
            }
            if !g.has_shape_of(&x) && shape(&g) != [1, 1, x.channels] {
                return Err(Error::OpShape { op });
            }
            values::multiplier(op, multiplier)?;
            check.epilogue(&epilogue, shape(&x))
        }
        OpKind::Affine { input, affine, store } => {
            let x = model.tensor(input);
            values::affine(model, op, affine.a, x.channels)?;
            values::affine(model, op, affine.b, x.channels)?;
            check.store(&store, shape(&x))
        }
        OpKind::Pool(pool) => check.pool(&pool),
        OpKind::Resize(resize) => {
            let (x, y) = (model.tensor(resize.input), model.tensor(resize.output));
            check.keeps_values(&x, &y)?;
            if x.channels == y.channels { Ok(()) } else { Err(Error::OpShape { op }) }
        }
        OpKind::Table(table) => {
            let (x, y) = (model.tensor(table.input), model.tensor(table.output));
            if x.dtype != DType::I8 || y.dtype != DType::I8 {
                return Err(Error::OpDType { op });
            }
            values::data(model, op, table.table, 256)?;
            if x.has_shape_of(&y) { Ok(()) } else { Err(Error::OpShape { op }) }
        }
        OpKind::Copy(copy) => {
            if copy.step.iter().any(|step| !(1..=MAX_WINDOW).contains(step)) {
                return Err(Error::OpWindow { op });
            }
            check.keeps_values(&model.tensor(copy.input), &model.tensor(copy.output))
        }
        OpKind::Concat { inputs, multipliers, output } => {
            let y = model.tensor(output);
            let multipliers = values::multipliers(model, op, multipliers, inputs.len)?;
            let mut channels = 0u64;
            for (input, multiplier) in model.list(inputs).zip(multipliers.iter()) {
                let x = model.tensor(input);
                if [x.height, x.width] != [y.height, y.width] {
                    return Err(Error::OpShape { op });
                }
                if x.has_values_of(&y) && multiplier != 1.0 {
                    return Err(Error::OpMultiplier { op });
                }
                channels += u64::from(x.channels);
            }
            if channels == u64::from(y.channels) { Ok(()) } else { Err(Error::OpShape { op }) }
        }
    }
}

fn shape(tensor: &TensorDesc) -> [u32; 3] {
    [tensor.height, tensor.width, tensor.channels]
}

struct Check<'a, 'm> {
    model: &'a Model<'m>,
    op: u32,
}

impl Check<'_, '_> {
    fn tensor(&self, id: TensorId) -> Result<TensorDesc, Error> {
        self.model.try_tensor(id).ok_or(Error::OpTensor { op: self.op })
    }

    fn conv2d(&self, conv: &Conv2d) -> Result<(), Error> {
        let Self { model, op } = *self;
        let x = self.tensor(conv.input)?;
        if x.dtype != DType::I8 {
            return Err(Error::OpDType { op });
        }
        let groups = conv.groups;
        if groups == 0
            || conv.channels_out == 0
            || !x.channels.is_multiple_of(groups)
            || !conv.channels_out.is_multiple_of(groups)
        {
            return Err(Error::OpGroups { op });
        }
        let [height, width] = self.window(&conv.window, &x)?;
        let [window_h, window_w] = conv.window.size;
        // Both factors are at most 2^32, so the product is exact.
        let depth = u64::from(window_h) * u64::from(window_w) * u64::from(x.channels / groups);
        if depth > MAX_DEPTH {
            return Err(Error::OpDepth { op });
        }
        values::weights(model, op, conv.weights, depth * u64::from(conv.channels_out))?;
        values::biases(model, op, conv.bias, conv.channels_out, depth)?;
        values::multipliers(model, op, conv.multiplier, conv.channels_out)?;
        if let Some(slope) = conv.slope {
            values::slopes(model, op, slope, conv.channels_out)?;
        }
        if let Some(factors) = conv.silu {
            if conv.slope.is_some() {
                return Err(Error::OpOperands { op });
            }
            values::factors(model, op, factors, conv.channels_out)?;
        }
        self.epilogue(&conv.epilogue, [height, width, conv.channels_out])
    }

    fn pool(&self, pool: &Pool) -> Result<(), Error> {
        let op = self.op;
        let x = self.tensor(pool.input)?;
        let y = self.tensor(pool.store.output)?;
        let size = self.window(&pool.window, &x)?;
        let Window { size: [window_h, window_w], padding: [top, left, ..], stride, dilation } =
            pool.window;
        if u64::from(window_h) * u64::from(window_w) > MAX_POSITIONS {
            return Err(Error::OpDepth { op });
        }
        // Every window holds a position of the map: the first one ends inside, the last one begins inside.
        let last = |axis: usize, before: u32| {
            i64::from(size[axis] - 1) * i64::from(stride[axis]) - i64::from(before)
        };
        let inside = top < window_h
            && left < window_w
            && last(0, top) < i64::from(x.height)
            && last(1, left) < i64::from(x.width);
        if dilation != [1, 1] || !inside {
            return Err(Error::OpWindow { op });
        }
        match pool.kind {
            PoolKind::Max => {
                if x.dtype != DType::I8 || y.dtype != DType::I8 {
                    return Err(Error::OpDType { op });
                }
                if pool.store.table.is_some() {
                    return Err(Error::OpTable { op });
                }
                self.keeps_values(&x, &y)?;
            }
            PoolKind::Average => values::multiplier(op, pool.multiplier)?,
        }
        self.store(&pool.store, [size[0], size[1], x.channels])
    }

    /// Checks a window over a map and gives the output's height and width:
    /// `floor((size + padding - (dilation * (window - 1) + 1)) / stride) + 1`.
    fn window(&self, window: &Window, x: &TensorDesc) -> Result<[u32; 2], Error> {
        let wrong = Error::OpWindow { op: self.op };
        let Window { size, stride, padding: [top, left, bottom, right], dilation } = *window;
        let positive = [size, stride, dilation];
        if positive.as_flattened().iter().any(|value| !(1..=MAX_WINDOW).contains(value))
            || window.padding.iter().any(|&padding| padding > MAX_WINDOW)
        {
            return Err(wrong);
        }
        let axis = |map: u32, padding: u32, axis: usize| {
            let covered = u64::from(dilation[axis]) * u64::from(size[axis] - 1) + 1;
            let rest = (u64::from(map) + u64::from(padding)).checked_sub(covered)?;
            u32::try_from(rest / u64::from(stride[axis]) + 1).ok()
        };
        let height = axis(x.height, top + bottom, 0).ok_or(wrong)?;
        let width = axis(x.width, left + right, 1).ok_or(wrong)?;
        Ok([height, width])
    }

    fn epilogue(&self, epilogue: &Epilogue, result: [u32; 3]) -> Result<(), Error> {
        let op = self.op;
        if let Some(residual) = epilogue.residual {
            values::multiplier(op, residual.multiplier)?;
            if shape(&self.tensor(residual.tensor)?) != result {
                return Err(Error::OpShape { op });
            }
        }
        if let Some(store) = &epilogue.store {
            self.store(store, result)?;
        }
        if let Some((affine, store)) = &epilogue.second {
            if self.tensor(store.output)?.dtype != DType::I8 {
                return Err(Error::OpDType { op });
            }
            values::affine(self.model, op, affine.a, result[2])?;
            values::affine(self.model, op, affine.b, result[2])?;
            self.store(store, result)?;
        }
        Ok(())
    }

    fn store(&self, store: &Store, result: [u32; 3]) -> Result<(), Error> {
        let op = self.op;
        let y = self.tensor(store.output)?;
        if shape(&y) != result {
            return Err(Error::OpShape { op });
        }
        let (low, high) = match y.dtype {
            DType::I8 => (-128, 127),
            DType::I16 => (-32767, 32767),
        };
        if store.clamp_min > store.clamp_max || store.clamp_min < low || store.clamp_max > high {
            return Err(Error::OpClamp { op });
        }
        match store.table {
            Some(table) => {
                if y.dtype != DType::I8 {
                    return Err(Error::OpTable { op });
                }
                if !(low..=high).contains(&store.zero_point) {
                    return Err(Error::OpZeroPoint { op });
                }
                values::data(self.model, op, table, 256).map(|_| ())
            }
            None if store.zero_point != y.zero_point => Err(Error::OpZeroPoint { op }),
            None => Ok(()),
        }
    }

    fn keeps_values(&self, x: &TensorDesc, y: &TensorDesc) -> Result<(), Error> {
        if x.dtype != y.dtype {
            return Err(Error::OpDType { op: self.op });
        }
        if x.has_values_of(y) { Ok(()) } else { Err(Error::OpScale { op: self.op }) }
    }
}
