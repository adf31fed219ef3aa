//! Rules of ONNX about axes and shapes that the evaluator and the operator importers share.

use super::tensor::MAX_RANK;

/// A value may not have more elements than this; nothing a board could run comes near.
const MAX_ELEMENTS: usize = 1 << 30;

/// The number of elements of a shape, if it is sane.
pub(super) fn element_count(shape: &[usize]) -> Result<usize, String> {
    if shape.len() > MAX_RANK {
        return Err(format!("shape {shape:?} has more than {MAX_RANK} axes"));
    }
    // Zeros may not hide sizes whose product overflows.
    let product = |skip_zero: bool| {
        shape.iter().filter(|&&d| !skip_zero || d != 0).try_fold(1usize, |n, &d| n.checked_mul(d))
    };
    match product(true) {
        Some(n) if n <= MAX_ELEMENTS => Ok(product(false).unwrap_or(0)),
        _ => Err(format!("shape {shape:?} has more than {MAX_ELEMENTS} elements")),
    }
}

/// An axis that may count from the end.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let fixed = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    usize::try_from(fixed)
        .ok()
        .filter(|&a| a < rank)
        .ok_or_else(|| format!("axis {axis} does not exist in rank {rank}"))
}

/// Several axes, each at most once.
pub(super) fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let fixed: Vec<usize> = list.iter().map(|&a| axis(a, rank)).collect::<Result<_, _>>()?;
    if (1..fixed.len()).any(|i| fixed[..i].contains(&fixed[i])) {
        return Err(format!("axes {list:?} repeat"));
    }
    Ok(fixed)
}

/// The permutation of a Transpose; reversed where the file gives none.
pub(super) fn permutation(perm: Option<&[i64]>, rank: usize) -> Result<Vec<usize>, String> {
    let Some(perm) = perm else { return Ok((0..rank).rev().collect()) };
    match axes(perm, rank) {
        Ok(p) if p.len() == rank && perm.iter().all(|&a| a >= 0) => Ok(p),
        _ => Err(format!("perm {perm:?} is no permutation of {rank} axes")),
    }
}

/// The shape that a Reshape's second operand asks for: 0 copies (unless `allow_zero`), one -1 is inferred.
pub(super) fn reshape(
    from: &[usize],
    target: &[i64],
    allow_zero: bool,
) -> Result<Vec<usize>, String> {
    let wrong = || format!("cannot reshape {from:?} to {target:?}");
    if target.len() > MAX_RANK {
        return Err(wrong());
    }
    let total = element_count(from)?;
    let mut shape = Vec::with_capacity(target.len());
    let mut inferred = None;
    for (i, &t) in target.iter().enumerate() {
        shape.push(match t {
            0 if !allow_zero => *from.get(i).ok_or_else(wrong)?,
            -1 if inferred.is_none() => {
                inferred = Some(i);
                1
            }
            _ => usize::try_from(t).map_err(|_| wrong())?,
        });
    }
    let known = element_count(&shape)?;
    if let Some(i) = inferred {
        if known == 0 || total % known != 0 {
            return Err(wrong());
        }
        shape[i] = total / known;
    }
    if element_count(&shape)? == total { Ok(shape) } else { Err(wrong()) }
}

/// The shape without axes of size 1: the named ones, or all.
pub(super) fn squeeze(from: &[usize], list: Option<&[i64]>) -> Result<Vec<usize>, String> {
    let gone = match list {
        Some(list) => axes(list, from.len())?,
        None => (0..from.len()).filter(|&i| from[i] == 1).collect(),
    };
    if let Some(&a) = gone.iter().find(|&&a| from[a] != 1) {
        return Err(format!("cannot squeeze axis {a} of {from:?}: its size is not 1"));
    }
    Ok((0..from.len()).filter(|i| !gone.contains(i)).map(|i| from[i]).collect())
}

/// The shape with axes of size 1 put in; axes count in the result.
pub(super) fn unsqueeze(from: &[usize], list: &[i64]) -> Result<Vec<usize>, String> {
    if from.len() + list.len() > MAX_RANK {
        return Err(format!("{} more axes for {from:?} are too many", list.len()));
    }
    let rank = from.len() + list.len();
    let new = axes(list, rank)?;
    let mut old = from.iter();
    Ok((0..rank).map(|i| if new.contains(&i) { 1 } else { *old.next().unwrap_or(&1) }).collect())
}

/// The two sizes of a Flatten.
pub(super) fn flatten(from: &[usize], at: i64) -> Result<Vec<usize>, String> {
    let at = if at == from.len() as i64 { from.len() } else { axis(at, from.len())? };
    Ok(vec![from[..at].iter().product(), from[at..].iter().product()])
}

/// The common shape of two operands, sizes aligned at the last axis and 1 stretched.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let size = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    let one = |i: usize| match (size(a, i), size(b, i)) {
        (x, y) if x == y => Ok(x),
        (1, y) => Ok(y),
        (x, 1) => Ok(x),
        _ => Err(format!("shapes {a:?} and {b:?} do not broadcast")),
    };
    (0..rank).map(one).collect()
}

/// One axis of a Slice: the first index, the step and the number of indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// First index.
    pub start: usize,
    /// May be negative, never 0.
    pub step: i64,
    /// Number of indices.
    pub count: usize,
}

/// ONNX's clipping of a slice's limits: negative ones count from the end, all are clipped to the axis.
pub(super) fn slice(start: i64, end: i64, step: i64, size: usize) -> Result<Range, String> {
    let n = size as i64;
    let from_end = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
    let (start, end) = (from_end(start), from_end(end));
    let (start, span) = match step {
        0 => return Err("a slice has step 0".into()),
        1.. => {
            let start = start.clamp(0, n);
            (start, end.clamp(0, n) - start)
        }
        _ => {
            let start = start.clamp(0, (n - 1).max(0));
            (start, if n == 0 { 0 } else { start - end.clamp(-1, n - 1) })
        }
    };
    let count = if span <= 0 { 0 } else { (span as u64).div_ceil(step.unsigned_abs()) };
    Ok(Range { start: start as usize, step, count: count as usize })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_copies_and_infers() {
        assert_eq!(reshape(&[1, 6, 4], &[0, -1, 8], false).unwrap(), [1, 3, 8]);
        assert_eq!(reshape(&[1, 6], &[2, 3], true).unwrap(), [2, 3]);
        for target in [&[-1, -1][..], &[5], &[-2, -3], &[0, 0, 0], &[i64::MAX, 2], &[1; 20]] {
            assert!(reshape(&[1, 6], target, false).is_err(), "{target:?}");
        }
        assert!(reshape(&[1, 6], &[0, 6], true).is_err());
    }

    #[test]
    fn slices_clip_as_onnx_does() {
        let range = |s, e, st, n| slice(s, e, st, n).map(|r| (r.start, r.count)).unwrap();
        assert_eq!(range(0, i64::MAX, 2, 5), (0, 3));
        assert_eq!(range(-2, i64::MAX, 1, 5), (3, 2));
        assert_eq!(range(-1, i64::MIN, -1, 4), (3, 4));
        assert_eq!(range(3, 1, 1, 4), (3, 0));
        assert_eq!(range(i64::MIN, i64::MAX, i64::MAX, 4), (0, 1));
        assert_eq!(range(0, 4, -1, 4), (0, 0));
        assert_eq!(range(0, -5, i64::MIN, 0), (0, 0));
        assert!(slice(0, 1, 0, 4).is_err());
    }

    #[test]
    fn axes_count_from_both_ends() {
        assert_eq!(axis(-1, 4).unwrap(), 3);
        assert!(axis(4, 4).is_err() && axis(i64::MIN, 4).is_err());
        assert!(axes(&[1, -3], 4).is_err());
        assert_eq!(unsqueeze(&[3], &[0, -1]).unwrap(), [1, 3, 1]);
        assert_eq!(squeeze(&[1, 3, 1], None).unwrap(), [3]);
        assert!(squeeze(&[1, 3], Some(&[1])).is_err());
        assert_eq!(flatten(&[1, 2, 3], 2).unwrap(), [2, 3]);
        assert_eq!(permutation(None, 3).unwrap(), [2, 1, 0]);
        assert!(permutation(Some(&[0, 0, 1]), 3).is_err());
    }

    #[test]
    fn broadcasting_aligns_last_axes() {
        assert_eq!(broadcast(&[1, 3, 4, 4], &[3, 1, 1]).unwrap(), [1, 3, 4, 4]);
        assert_eq!(broadcast(&[], &[2]).unwrap(), [2]);
        assert!(broadcast(&[2], &[3]).is_err());
        assert!(element_count(&[0, 1 << 40, 1 << 40]).is_err());
    }
}
