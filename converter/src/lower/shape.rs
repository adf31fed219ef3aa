//! Shapes of maps, windows and strided copies.

use crate::graph::{Op, Pool};

/// A sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub size: [usize; 2],
    pub stride: [usize; 2],
    /// Top, left, bottom, right.
    pub padding: [usize; 4],
    pub dilation: [usize; 2],
}

impl Window {
    /// The record of the runtime.
    pub fn desc(&self) -> kenar::desc::Window {
        kenar::desc::Window {
            size: self.size.map(|x| x as u32),
            stride: self.stride.map(|x| x as u32),
            padding: self.padding.map(|x| x as u32),
            dilation: self.dilation.map(|x| x as u32),
        }
    }
}

/// Channels, height, width of `[1, C, H, W]` or `[1, C]`.
pub(crate) fn map(shape: &[usize]) -> Option<[usize; 3]> {
    match *shape {
        [1, c, h, w] => Some([c, h, w]),
        [1, c] => Some([c, 1, 1]),
        _ => None,
    }
}

/// A pooling window whose floor formula gives `output`: rounding up becomes padding behind.
pub(crate) fn pool_window(p: &Pool, input: &[usize], output: &[usize]) -> Window {
    let mut padding = p.padding;
    for i in 0..2 {
        let span = p.dilation[i] * (p.window[i] - 1) + 1;
        let reach = (output[i + 2] - 1) * p.stride[i] + span;
        let have = input[i + 2] + p.padding[i];
        padding[i + 2] = padding[i + 2].max(reach.saturating_sub(have));
    }
    Window { size: p.window, stride: p.stride, padding, dilation: p.dilation }
}

/// A strided crop with padding: output (y, x, c) is input (y * step + start, ...), zero outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Row, column, channel.
    pub start: [i32; 3],
    /// Vertical, horizontal.
    pub step: [usize; 2],
}

impl Copy {
    /// The record of the runtime.
    pub fn geometry(&self) -> kenar::desc::Geometry {
        kenar::desc::Geometry::Crop { start: self.start, step: self.step.map(|s| s as u32) }
    }
}

/// Index of an axis of `[N, C, H, W]` in row, column, channel order.
fn axis_index(axis: usize) -> Option<usize> {
    [None, Some(2), Some(0), Some(1)].get(axis).copied().flatten()
}

/// A slice or pad of an operand of `shape` as a copy.
pub(crate) fn copy(op: &Op, shape: &[usize]) -> Result<Copy, String> {
    let mut copy = Copy { start: [0; 3], step: [1; 2] };
    if map(shape).is_none() {
        return Err(format!(
            "{} of an operand of shape {shape:?}; expected [1, C, H, W]",
            op.name()
        ));
    }
    match op {
        Op::Slice { axis, start, step, .. } => {
            let at = axis_index(*axis).ok_or_else(|| format!("slice of axis {axis}"))?;
            copy.start[at] = *start as i32;
            match copy.step.get_mut(at) {
                Some(s) => *s = *step,
                None if *step == 1 => {}
                None => return Err(format!("slice of channels with step {step}; expected 1")),
            }
        }
        Op::Pad { pads, value } => {
            if *value != 0.0 {
                return Err(format!("pads with {value}; expected 0"));
            }
            for (axis, &(before, after)) in pads.iter().enumerate() {
                match axis_index(axis) {
                    Some(at) => copy.start[at] = -(before as i32),
                    None if before + after == 0 => {}
                    None => return Err("pads the batch axis".into()),
                }
            }
        }
        _ => return Err(format!("{} is no copy", op.name())),
    }
    Ok(copy)
}

/// One copy that does what `first` and then `second` do, if there is one.
///
/// `source`, `between` and `target` are the three shapes as channels, height, width. Every index of every axis is tried,
/// because a crop in `first` hides elements that a pad in `second` would bring back.
pub(crate) fn join(
    first: &Copy,
    second: &Copy,
    source: [usize; 3],
    between: [usize; 3],
    target: [usize; 3],
) -> Option<Copy> {
    let mut joined = Copy { start: [0; 3], step: [1; 2] };
    for at in 0..3 {
        let axis = (at + 1) % 3;
        let step = |c: &Copy| c.step.get(at).map_or(1, |&s| s as i64);
        let (start1, start2) = (i64::from(first.start[at]), i64::from(second.start[at]));
        let start = start2 * step(first) + start1;
        joined.start[at] = i32::try_from(start).ok()?;
        if let Some(s) = joined.step.get_mut(at) {
            *s = (step(first) * step(second)) as usize;
        }
        let inside = |x: i64, size: usize| (0..size as i64).contains(&x).then_some(x);
        for i in 0..target[axis] as i64 {
            let through = inside(i * step(second) + start2, between[axis])
                .and_then(|m| inside(m * step(first) + start1, source[axis]));
            let direct = inside(i * step(first) * step(second) + start, source[axis]);
            if through != direct {
                return None;
            }
        }
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::PoolKind;

    #[test]
    fn the_parameter_free_shortcut_is_one_copy() {
        let slice = |axis| Op::Slice { axis, start: 0, end: 32, step: 2 };
        let rows = copy(&slice(2), &[1, 16, 32, 32]).unwrap();
        let columns = copy(&slice(3), &[1, 16, 16, 32]).unwrap();
        let pad = Op::Pad { pads: vec![(0, 0), (8, 8), (0, 0), (0, 0)], value: 0.0 };
        let channels = copy(&pad, &[1, 16, 16, 16]).unwrap();
        let both = join(&rows, &columns, [16, 32, 32], [16, 16, 32], [16, 16, 16]).unwrap();
        let all = join(&both, &channels, [16, 32, 32], [16, 16, 16], [32, 16, 16]).unwrap();
        assert_eq!(all, Copy { start: [0, 0, -8], step: [2, 2] });
    }

    #[test]
    fn a_crop_that_a_pad_undoes_is_not_joined() {
        let crop = copy(&Op::Slice { axis: 2, start: 1, end: 3, step: 1 }, &[1, 1, 4, 4]).unwrap();
        let pad = copy(
            &Op::Pad { pads: vec![(0, 0), (0, 0), (1, 1), (0, 0)], value: 0.0 },
            &[1, 1, 2, 4],
        )
        .unwrap();
        assert_eq!(join(&crop, &pad, [1, 4, 4], [1, 2, 4], [1, 4, 4]), None);
    }

    #[test]
    fn rounding_up_becomes_padding() {
        let p = Pool {
            kind: PoolKind::Max,
            window: [2, 2],
            stride: [2, 2],
            padding: [0; 4],
            dilation: [1, 1],
            ceil_mode: true,
        };
        assert_eq!(pool_window(&p, &[1, 3, 5, 4], &[1, 3, 3, 2]).padding, [0, 0, 1, 0]);
    }

    #[test]
    fn what_is_no_copy_is_refused() {
        assert!(copy(&Op::Slice { axis: 1, start: 0, end: 4, step: 2 }, &[1, 4, 2, 2]).is_err());
        assert!(copy(&Op::Pad { pads: vec![(0, 0); 4], value: 1.0 }, &[1, 4, 2, 2]).is_err());
    }
}
