//! Operators in plain loops over [`crate::quant`]'s functions: what the kernels must give.

use super::Bench;
use crate::desc::{Conv2d, DType, Epilogue, Store};
use crate::kernels::Lookup;
use crate::quant::{requantize, scale_accumulator, silu};
use alloc::vec::Vec;

/// The sums of a convolution, `[pixels, channels_out]`.
pub fn conv_sums(bench: &Bench, conv: &Conv2d, [out_h, out_w]: [usize; 2]) -> Vec<i32> {
    let input = bench.tensor(conv.input);
    let x = bench.values(conv.input);
    let [h, w, c] = [input.height, input.width, input.channels].map(|x| x as usize);
    let [kh, kw] = conv.window.size.map(|x| x as usize);
    let (groups, channels_out) = (conv.groups as usize, conv.channels_out as usize);
    let depth = c / groups;
    let weights = bench.bytes(conv.weights);
    let bias = bench.bytes(conv.bias).as_chunks::<4>().0;
    let at = |axis: usize, out: usize, tap: usize| {
        (out * conv.window.stride[axis] as usize + tap * conv.window.dilation[axis] as usize) as i64
            - i64::from(conv.window.padding[axis])
    };
    let mut sums = Vec::new();
    for y in 0..out_h {
        for x_out in 0..out_w {
            for o in 0..channels_out {
                let group = o / (channels_out / groups);
                let mut acc = i64::from(i32::from_le_bytes(bias[o]));
                for i in 0..kh {
                    for j in 0..kw {
                        let (iy, ix) = (at(0, y, i), at(1, x_out, j));
                        if iy < 0 || ix < 0 || iy >= h as i64 || ix >= w as i64 {
                            continue;
                        }
                        for k in 0..depth {
                            let v = x[(iy as usize * w + ix as usize) * c + group * depth + k];
                            let weight = weights[((o * kh + i) * kw + j) * depth + k] as i8;
                            acc += i64::from(v - input.zero_point) * i64::from(weight);
                        }
                    }
                }
                sums.push(i32::try_from(acc).expect("accumulators fit i32"));
            }
        }
    }
    sums
}

/// Values of both stores, `[pixels, channels]`, from `t` before the residual.
pub fn epilogue(
    bench: &Bench,
    epilogue: &Epilogue,
    channels: usize,
    t: &[f32],
) -> [Option<Vec<i32>>; 2] {
    let mut t = t.to_vec();
    if let Some(residual) = &epilogue.residual {
        let zero_point = bench.tensor(residual.tensor).zero_point;
        for (t, r) in t.iter_mut().zip(bench.values(residual.tensor)) {
            *t += (r - zero_point) as f32 * residual.multiplier;
        }
    }
    let first = epilogue.store.as_ref().map(|s| t.iter().map(|t| stored(bench, s, *t)).collect());
    let second = epilogue.second.as_ref().map(|(affine, s)| {
        let (a, b) = (bench.read_f32s(affine.a), bench.read_f32s(affine.b));
        let image = t.iter().enumerate().map(|(i, t)| {
            let u = t * a[i % channels];
            stored(bench, s, u + b[i % channels])
        });
        image.collect()
    });
    [first, second]
}

/// The value that a store writes.
pub fn stored(bench: &Bench, store: &Store, t: f32) -> i32 {
    let q = requantize(t, store.zero_point, store.clamp_min, store.clamp_max);
    match store.table {
        Some(table) => i32::from(bench.bytes(table)[(q + 128) as usize] as i8),
        None => {
            let (low, high) = match bench.tensor(store.output).dtype {
                DType::I8 => (-128, 127),
                DType::I16 => (-32767, 32767),
            };
            assert!((low..=high).contains(&q));
            q
        }
    }
}

/// `t = f32(acc) * m[o]; t = t < 0 ? t * slope[o] : t; t = silu(t) * factor[o]`.
pub fn scaled(bench: &Bench, conv: &Conv2d, sums: &[i32]) -> Vec<f32> {
    let multiplier = bench.read_f32s(conv.multiplier);
    let slope = conv.slope.map(|s| bench.read_f32s(s));
    let factor = conv.silu.map(|f| bench.read_f32s(f));
    let scale = |(i, sum): (usize, &i32)| {
        let channel = i % multiplier.len();
        let t = scale_accumulator(*sum, multiplier[channel]);
        let t = match &slope {
            Some(slope) if t < 0.0 => t * slope[channel],
            _ => t,
        };
        factor.as_ref().map_or(t, |factor| silu(t) * factor[channel])
    };
    sums.iter().enumerate().map(scale).collect()
}
