//! Every integer operator in textbook loops, on dense vectors, sharing no arithmetic with the runtime.
//!
//! Sums are i64, rounding is the standard library's. Only the descriptors come from the runtime.

use kenar::Model;
use kenar::desc::{
    Affine, DType, Epilogue, Op, OpKind, PoolKind, Store, TensorDesc, TensorId, Window,
};

/// A dense tensor, row by row with channels innermost.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    height: i64,
    width: i64,
    channels: i64,
    zero_point: i64,
    /// Quantised values.
    pub values: Vec<i64>,
}

impl Dense {
    fn new(desc: &TensorDesc) -> Self {
        let [height, width, channels] = [desc.height, desc.width, desc.channels].map(i64::from);
        let values = vec![i64::MIN; (height * width * channels) as usize];
        Self { height, width, channels, zero_point: i64::from(desc.zero_point), values }
    }

    fn index(&self, y: i64, x: i64, c: i64) -> usize {
        ((y * self.width + x) * self.channels + c) as usize
    }

    fn inside(&self, y: i64, x: i64) -> bool {
        (0..self.height).contains(&y) && (0..self.width).contains(&x)
    }

    fn q(&self, y: i64, x: i64, c: i64) -> i64 {
        self.values[self.index(y, x, c)]
    }

    fn centered(&self, y: i64, x: i64, c: i64) -> i64 {
        self.q(y, x, c) - self.zero_point
    }
}

/// Runs a model on quantised input values; gives every tensor, `None` where nothing was written.
pub fn run(model: &Model<'_>, input: &[i64]) -> Vec<Option<Dense>> {
    let mut tensors: Vec<Option<Dense>> = vec![None; model.tensor_count()];
    let id = model.input().tensor;
    let mut first = Dense::new(&model.tensor(id));
    first.values.copy_from_slice(input);
    tensors[id.0 as usize] = Some(first);
    for op in model.ops() {
        for (id, tensor) in compute(model, &tensors, &op) {
            assert!(tensor.values.iter().all(|&q| q != i64::MIN), "an element was not computed");
            tensors[id.0 as usize] = Some(tensor);
        }
    }
    tensors
}

fn compute(model: &Model<'_>, tensors: &[Option<Dense>], op: &Op) -> Vec<(TensorId, Dense)> {
    let get = |id: TensorId| tensors[id.0 as usize].as_ref().expect("operands are written first");
    match &op.kind {
        OpKind::Conv2d(conv) => {
            let x = get(conv.input);
            let weights: Vec<i64> =
                model.data(conv.weights).iter().map(|&w| i64::from(w as i8)).collect();
            let [kh, kw] = conv.window.size.map(i64::from);
            let (groups, out) = (i64::from(conv.groups), i64::from(conv.channels_out));
            let depth = x.channels / groups;
            finish(model, tensors, &conv.epilogue, |y, xx, o| {
                let mut acc = i64::from(model.i32s(conv.bias).get(o as usize));
                for i in 0..kh {
                    for j in 0..kw {
                        let (row, column) = tap(&conv.window, y, xx, i, j);
                        if x.inside(row, column) {
                            for c in 0..depth {
                                let w = weights[(((o * kh + i) * kw + j) * depth + c) as usize];
                                let group = o / (out / groups);
                                acc += x.centered(row, column, group * depth + c) * w;
                            }
                        }
                    }
                }
                let acc = i32::try_from(acc).expect("accumulators fit i32");
                let t = acc as f32 * model.f32s(conv.multiplier).get(o as usize);
                let t = match conv.slope {
                    Some(slope) if t < 0.0 => t * model.f32s(slope).get(o as usize),
                    _ => t,
                };
                match conv.silu {
                    Some(factor) => kenar::quant::silu(t) * model.f32s(factor).get(o as usize),
                    None => t,
                }
            })
        }
        OpKind::Add { input, multiplier, epilogue } => {
            let a = get(*input);
            finish(model, tensors, epilogue, |y, x, c| a.centered(y, x, c) as f32 * multiplier)
        }
        OpKind::Mul { input, gate, multiplier, epilogue } => {
            let (a, g) = (get(*input), get(*gate));
            finish(model, tensors, epilogue, |y, x, c| {
                let (gy, gx) = if g.inside(y, x) { (y, x) } else { (0, 0) };
                (a.centered(y, x, c) * g.centered(gy, gx, c)) as f32 * multiplier
            })
        }
        OpKind::Affine { input, affine: Affine { a, b }, store } => {
            let x = get(*input);
            let t = |y: i64, xx: i64, c: i64| {
                let scaled = x.centered(y, xx, c) as f32 * model.f32s(*a).get(c as usize);
                scaled + model.f32s(*b).get(c as usize)
            };
            vec![stored(model, store, t)]
        }
        OpKind::Pool(pool) => {
            let x = get(pool.input);
            let [kh, kw] = pool.window.size.map(i64::from);
            let taps = |y: i64, xx: i64, c: i64| -> Vec<i64> {
                let all = (0..kh).flat_map(|i| (0..kw).map(move |j| (i, j)));
                let places = all.map(|(i, j)| tap(&pool.window, y, xx, i, j));
                places.filter(|&(r, s)| x.inside(r, s)).map(|(r, s)| x.q(r, s, c)).collect()
            };
            match pool.kind {
                PoolKind::Max => {
                    let mut out = Dense::new(&model.tensor(pool.store.output));
                    fill(&mut out, |y, xx, c| {
                        *taps(y, xx, c).iter().max().expect("a window meets the map")
                    });
                    vec![(pool.store.output, out)]
                }
                PoolKind::Average => {
                    let t = |y: i64, xx: i64, c: i64| {
                        let values = taps(y, xx, c);
                        let sum: i64 = values.iter().map(|q| q - x.zero_point).sum();
                        let count =
                            if pool.count_padding { (kh * kw) as usize } else { values.len() };
                        sum as i32 as f32 * (pool.multiplier / count as f32)
                    };
                    vec![stored(model, &pool.store, t)]
                }
            }
        }
        OpKind::Resize(resize) => {
            let x = get(resize.input);
            let mut out = Dense::new(&model.tensor(resize.output));
            let (height, width) = (out.height, out.width);
            fill(&mut out, |y, xx, c| x.q(y * x.height / height, xx * x.width / width, c));
            vec![(resize.output, out)]
        }
        OpKind::Table(table) => {
            let x = get(table.input);
            let values = model.data(table.table);
            let mut out = Dense::new(&model.tensor(table.output));
            fill(&mut out, |y, xx, c| i64::from(values[(x.q(y, xx, c) + 128) as usize] as i8));
            vec![(table.output, out)]
        }
        OpKind::Copy(copy) => {
            let x = get(copy.input);
            let mut out = Dense::new(&model.tensor(copy.output));
            let [top, left, first] = copy.start.map(i64::from);
            let [down, right] = copy.step.map(i64::from);
            fill(&mut out, |y, xx, c| {
                let (row, column, channel) = (y * down + top, xx * right + left, c + first);
                if x.inside(row, column) && (0..x.channels).contains(&channel) {
                    x.q(row, column, channel)
                } else {
                    x.zero_point
                }
            });
            vec![(copy.output, out)]
        }
        OpKind::Concat { inputs, multipliers, output } => {
            let desc = model.tensor(*output);
            let limit = if desc.dtype == DType::I8 { (-128, 127) } else { (-32767, 32767) };
            let mut out = Dense::new(&desc);
            let mut values = Vec::new();
            for y in 0..out.height {
                for x in 0..out.width {
                    for (id, m) in model.list(*inputs).zip(model.f32s(*multipliers).iter()) {
                        let operand = get(id);
                        for c in 0..operand.channels {
                            let t = operand.centered(y, x, c) as f32 * m;
                            values.push(round_and_clamp(t, out.zero_point, limit.0, limit.1));
                        }
                    }
                }
            }
            out.values = values;
            vec![(*output, out)]
        }
    }
}

fn tap(window: &Window, y: i64, x: i64, i: i64, j: i64) -> (i64, i64) {
    let [sy, sx] = window.stride.map(i64::from);
    let [dy, dx] = window.dilation.map(i64::from);
    let [top, left, ..] = window.padding.map(i64::from);
    (y * sy + i * dy - top, x * sx + j * dx - left)
}

fn fill(out: &mut Dense, value: impl Fn(i64, i64, i64) -> i64) {
    for y in 0..out.height {
        for x in 0..out.width {
            for c in 0..out.channels {
                let index = out.index(y, x, c);
                out.values[index] = value(y, x, c);
            }
        }
    }
}

/// `clamp(round(t) + zero_point)`: the order differs from the runtime's, the result must not.
fn round_and_clamp(t: f32, zero_point: i64, low: i64, high: i64) -> i64 {
    (t.round_ties_even() as i64 + zero_point).clamp(low, high)
}

fn stored(model: &Model<'_>, store: &Store, t: impl Fn(i64, i64, i64) -> f32) -> (TensorId, Dense) {
    let mut out = Dense::new(&model.tensor(store.output));
    fill(&mut out, |y, x, c| {
        let [zero_point, low, high] =
            [store.zero_point, store.clamp_min, store.clamp_max].map(i64::from);
        let q = round_and_clamp(t(y, x, c), zero_point, low, high);
        match store.table {
            Some(table) => i64::from(model.data(table)[(q + 128) as usize] as i8),
            None => q,
        }
    });
    (store.output, out)
}

fn finish(
    model: &Model<'_>,
    tensors: &[Option<Dense>],
    epilogue: &Epilogue,
    t: impl Fn(i64, i64, i64) -> f32,
) -> Vec<(TensorId, Dense)> {
    let sum = |y: i64, x: i64, c: i64| match epilogue.residual {
        Some(residual) => {
            let r =
                tensors[residual.tensor.0 as usize].as_ref().expect("operands are written first");
            t(y, x, c) + r.centered(y, x, c) as f32 * residual.multiplier
        }
        None => t(y, x, c),
    };
    let mut results = Vec::new();
    if let Some(store) = &epilogue.store {
        results.push(stored(model, store, sum));
    }
    if let Some((affine, store)) = &epilogue.second {
        let (a, b) = (model.f32s(affine.a), model.f32s(affine.b));
        results.push(stored(model, store, |y, x, c| {
            sum(y, x, c) * a.get(c as usize) + b.get(c as usize)
        }));
    }
    results
}
