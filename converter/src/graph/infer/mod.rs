//! Shape inference: operand shapes to result shape, or what does not fit.

use super::op::{Op, Pool};

#[cfg(test)]
mod tests;

/// `floor((size + pads - dilation*(window-1) - 1) / stride) + 1`, or with `ceil` PyTorch's ceiling rule.
///
/// `None` when the window does not fit into the padded input.
pub fn conv_output_size(
    size: usize,
    pad: [usize; 2],
    window: usize,
    stride: usize,
    dilation: usize,
    ceil: bool,
) -> Option<usize> {
    let span = dilation.checked_mul(window.checked_sub(1)?)?.checked_add(1)?;
    let room = size.checked_add(pad[0])?.checked_add(pad[1])?.checked_sub(span)?;
    if stride == 0 || size == 0 {
        return None;
    }
    let mut n = if ceil { room.div_ceil(stride) } else { room / stride } + 1;
    // The last window must start inside the input or its leading padding.
    if ceil && (n - 1).saturating_mul(stride) >= size + pad[0] {
        n -= 1;
    }
    Some(n)
}

fn dims4(shape: &[usize]) -> Result<[usize; 4], String> {
    shape.try_into().map_err(|_| format!("expected a [N, C, H, W] operand, got shape {shape:?}"))
}

fn pool(p: &Pool, shape: &[usize]) -> Result<Vec<usize>, String> {
    let [n, c, h, w] = dims4(shape)?;
    let size = |i: usize, size: usize| {
        conv_output_size(
            size,
            [p.padding[i], p.padding[i + 2]],
            p.window[i],
            p.stride[i],
            p.dilation[i],
            p.ceil_mode,
        )
        .ok_or_else(|| format!("window {:?} does not fit the input {shape:?}", p.window))
    };
    Ok(vec![n, c, size(0, h)?, size(1, w)?])
}

/// Equal shapes, a single value on either side, or NumPy's broadcasting (sizes of 1 stretch, leading axes are added).
fn elementwise(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    if a == b || b.iter().product::<usize>() == 1 && b.len() <= a.len().max(1) {
        return Ok(a.to_vec());
    }
    if a.iter().product::<usize>() == 1 && a.len() <= b.len() {
        return Ok(b.to_vec());
    }
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or(1, |i| shape[i])
    };
    (0..rank)
        .map(|axis| match (size(a, axis), size(b, axis)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            _ => Err(format!(
                "the two operands have shapes {a:?} and {b:?}; expected equal shapes or one that stretches to the other"
            )),
        })
        .collect()
}

fn per_channel(len: usize, shape: &[usize]) -> Result<Vec<usize>, String> {
    match shape.get(1) {
        Some(&c) if c == len => Ok(shape.to_vec()),
        _ => Err(format!("has {len} channels, its operand has shape {shape:?}")),
    }
}

/// No value may have more elements: 1 GiB of f32, four times the largest map of the largest network meant to run.
const MAX_ELEMENTS: usize = 1 << 28;

/// The result shape of an operator.
pub(super) fn infer(op: &Op, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
    if let Some(shape) = inputs.iter().find(|s| s.contains(&0)) {
        return Err(format!("has an operand without values, shape {shape:?}"));
    }
    let shape = result(op, inputs)?;
    if shape.contains(&0) && !matches!(op, Op::Constant(_)) {
        return Err(format!("gives a result without values, shape {shape:?}"));
    }
    match shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size)) {
        Some(n) if n <= MAX_ELEMENTS => Ok(shape),
        _ => Err(format!("gives a result of shape {shape:?}, more than {MAX_ELEMENTS} values")),
    }
}

fn result(op: &Op, inputs: &[&[usize]]) -> Result<Vec<usize>, String> {
    let expected = match op {
        Op::Add | Op::Mul | Op::Sub | Op::Div => 2,
        Op::Concat { .. } => inputs.len().max(1),
        Op::Constant(_) => 0,
        _ => 1,
    };
    if inputs.len() != expected {
        return Err(format!("{} takes {expected} operands, got {}", op.name(), inputs.len()));
    }
    match op {
        Op::Conv2d(c) => {
            let [n, c_in, h, w] = dims4(inputs[0])?;
            let &[c_out, per_group, kh, kw] = c.weight.shape() else {
                return Err(format!("weight has shape {:?}, expected rank 4", c.weight.shape()));
            };
            if c.groups == 0
                || c_out % c.groups != 0
                || per_group.checked_mul(c.groups) != Some(c_in)
            {
                return Err(format!(
                    "weight {:?} with groups {} does not fit an input of {c_in} channels",
                    c.weight.shape(),
                    c.groups
                ));
            }
            if let Some(b) = &c.bias
                && b.len() != c_out
            {
                return Err(format!("bias has {} values, expected {c_out}", b.len()));
            }
            let size = |i: usize, size: usize, k: usize| {
                let pad = [c.padding[i], c.padding[i + 2]];
                conv_output_size(size, pad, k, c.stride[i], c.dilation[i], false).ok_or_else(|| {
                    format!("window {kh}x{kw} does not fit the input {:?}", inputs[0])
                })
            };
            Ok(vec![n, c_out, size(0, h, kh)?, size(1, w, kw)?])
        }
        Op::Linear { weight, bias } => {
            let &[out, inner] = weight.shape() else {
                return Err(format!("weight has shape {:?}, expected rank 2", weight.shape()));
            };
            if inputs[0].last() != Some(&inner) {
                return Err(format!(
                    "weight {:?} does not fit the input {:?}",
                    weight.shape(),
                    inputs[0]
                ));
            }
            if bias.as_ref().is_some_and(|b| b.len() != out) {
                return Err(format!("bias does not have {out} values"));
            }
            let mut shape = inputs[0].to_vec();
            *shape.last_mut().unwrap() = out;
            Ok(shape)
        }
        Op::BatchNorm { gamma, beta, mean, var, .. } => {
            if [beta, mean, var].iter().any(|t| t.len() != gamma.len()) {
                return Err("batch-norm vectors have different lengths".into());
            }
            per_channel(gamma.len(), inputs[0])
        }
        Op::Affine { scale, shift } => {
            if scale.len() != shift.len() {
                return Err("scale and shift have different lengths".into());
            }
            per_channel(scale.len(), inputs[0])
        }
        Op::PRelu { slope } if slope.len() != 1 => per_channel(slope.len(), inputs[0]),
        Op::PRelu { .. } | Op::Activation(_) | Op::Dropout | Op::Identity => Ok(inputs[0].to_vec()),
        Op::Softmax { axis } if *axis >= inputs[0].len() => Err(format!("no axis {axis}")),
        Op::Softmax { .. } => Ok(inputs[0].to_vec()),
        Op::Add | Op::Mul | Op::Sub | Op::Div => elementwise(inputs[0], inputs[1]),
        Op::Concat { axis } => {
            let mut shape = inputs.first().ok_or("nothing to concatenate")?.to_vec();
            if *axis >= shape.len() {
                return Err(format!("no axis {axis} in shape {shape:?}"));
            }
            for other in &inputs[1..] {
                let fits = other.len() == shape.len()
                    && (0..shape.len()).all(|i| i == *axis || other[i] == shape[i]);
                if !fits {
                    return Err(format!("shapes {inputs:?} cannot be joined along axis {axis}"));
                }
                shape[*axis] += other[*axis];
            }
            Ok(shape)
        }
        Op::Slice { axis, start, end, step } => {
            let mut shape = inputs[0].to_vec();
            let size = *shape.get(*axis).ok_or_else(|| format!("no axis {axis}"))?;
            if *step == 0 || start >= end || *end > size {
                return Err(format!(
                    "slice {start}..{end} step {step} of axis {axis} in {shape:?} is empty or out of range"
                ));
            }
            shape[*axis] = (end - start).div_ceil(*step);
            Ok(shape)
        }
        Op::Pad { pads, .. } => {
            if pads.len() != inputs[0].len() {
                return Err(format!("{} pads for shape {:?}", pads.len(), inputs[0]));
            }
            let padded =
                |(s, (a, b)): (&usize, &(usize, usize))| s.checked_add(*a)?.checked_add(*b);
            let shape: Option<Vec<usize>> = inputs[0].iter().zip(pads).map(padded).collect();
            shape.ok_or_else(|| format!("pads {pads:?} are out of range"))
        }
        Op::Pool(p) => pool(p, inputs[0]),
        Op::GlobalAvgPool | Op::GlobalMaxPool => {
            let [n, c, ..] = dims4(inputs[0])?;
            Ok(vec![n, c, 1, 1])
        }
        Op::Resize(r) => {
            let [n, c, ..] = dims4(inputs[0])?;
            if r.size.contains(&0) {
                return Err("resize to nothing".into());
            }
            Ok(vec![n, c, r.size[0], r.size[1]])
        }
        Op::Flatten => match inputs[0] {
            [first, rest @ ..] => Ok(vec![*first, rest.iter().product()]),
            [] => Err("cannot flatten a single value without axes".into()),
        },
        Op::Reshape { shape } => {
            let elements = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
            if elements != Some(inputs[0].iter().product()) {
                return Err(format!("cannot reshape {:?} to {shape:?}", inputs[0]));
            }
            Ok(shape.clone())
        }
        Op::Transpose { perm } => {
            let mut seen = perm.clone();
            seen.sort_unstable();
            if seen != (0..inputs[0].len()).collect::<Vec<_>>() {
                return Err(format!("{perm:?} is no permutation of the axes of {:?}", inputs[0]));
            }
            Ok(perm.iter().map(|&p| inputs[0][p]).collect())
        }
        Op::Constant(w) => Ok(w.shape().to_vec()),
    }
}
