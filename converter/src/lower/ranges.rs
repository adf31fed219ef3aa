//! Scale and zero point of every tensor.
//!
//! Max pooling, resizing and copying keep the quantisation of their input, and a concatenation costs nothing when its
//! operands have that of its output: such values form groups that share one range.

use std::collections::HashMap;

use kenar::desc::DType;

use super::balance::Balanced;
use super::offset::Offsets;
use super::pixels::Pixels;
use super::prepare::Network;
use super::step::{Step, Work};
use crate::graph::ValueId;
use crate::quantize::{Calibration, Histogram, QParams, Range, range};

/// Operands whose range is more than this much narrower than the whole keep their own.
const NARROWER: f64 = 2.0;

/// Quantisation of every tensor that is read or written.
#[derive(Debug)]
pub(crate) struct Ranges {
    groups: Groups,
    params: HashMap<(ValueId, DType), QParams>,
    balanced: Balanced,
    offsets: Offsets,
}

impl Ranges {
    /// The quantisation of one rendition of a value.
    pub fn get(&self, value: ValueId, dtype: DType) -> QParams {
        if let (DType::I8, Some((params, _))) = (dtype, self.balanced.get(&value)) {
            return *params;
        }
        self.params[&(self.groups.root(value), dtype)]
    }

    /// The factors per channel of one rendition of a value, where it has them.
    pub fn factors(&self, value: ValueId, dtype: DType) -> Option<&[f32]> {
        match dtype {
            DType::I8 => self.balanced.get(&value).map(|(_, factors)| &factors[..]),
            DType::I16 => None,
        }
    }

    /// What is added to the channels of one rendition of a value before rounding, where there is something.
    pub fn offsets(&self, value: ValueId, dtype: DType) -> Option<&[f32]> {
        self.offsets.get(&value).filter(|_| dtype == DType::I8).map(Vec::as_slice)
    }
}

/// Chooses the quantisation of everything that the steps read and write.
pub(crate) fn assign(
    network: &Network<'_>,
    steps: &[Step],
    calibration: &Calibration,
    (balanced, offsets): (Balanced, Offsets),
    pixels: Option<&Pixels>,
) -> Ranges {
    let mut groups = Groups::new(network.graph.values().len());
    for step in steps {
        if matches!(step.work, Work::MaxPool(_) | Work::Resize | Work::Copy(_)) {
            groups.join(step.input, step.raw);
        }
    }
    for step in steps {
        if let Work::Concat { operands } = &step.work {
            join_operands(&mut groups, calibration, operands, step.raw);
        }
    }
    let mut merged: HashMap<ValueId, Histogram> = HashMap::new();
    for v in (0..network.graph.values().len()).map(ValueId) {
        merged.entry(groups.root(v)).or_default().merge(calibration.histogram(v));
    }
    let mut params = HashMap::new();
    if let Some(pixels) = pixels {
        params.insert((groups.root(network.graph.input), DType::I8), pixels.params);
    }
    let reads = steps.iter().flat_map(Step::reads);
    let writes = steps.iter().flat_map(Step::targets).map(|t| (t.value, t.dtype));
    for (value, dtype) in reads.chain(writes) {
        let root = groups.root(value);
        let histogram = &merged[&root];
        params.entry((root, dtype)).or_insert_with(|| match dtype {
            DType::I8 => QParams::i8(range::choose(histogram, calibration.method)),
            DType::I16 => QParams::i16(histogram.max().max(-histogram.min())),
        });
    }
    Ranges { groups, params, balanced, offsets }
}

/// Joins the operands whose values use enough of the common range.
fn join_operands(
    groups: &mut Groups,
    calibration: &Calibration,
    operands: &[ValueId],
    output: ValueId,
) {
    let width = |groups: &Groups, v: ValueId| -> f64 {
        let members = groups.members(v);
        let hull = members.iter().map(|&m| Range::of(calibration.histogram(m)));
        hull.reduce(|a, b| Range { lo: a.lo.min(b.lo), hi: a.hi.max(b.hi) })
            .map_or(0.0, |r| r.width())
    };
    let whole = width(groups, output);
    for &v in operands {
        let own = width(groups, v);
        if own * NARROWER >= whole && whole * NARROWER >= own {
            groups.join(v, output);
        }
    }
}

/// Disjoint sets of values; a set's root is its smallest member.
#[derive(Debug)]
struct Groups(Vec<ValueId>);

impl Groups {
    fn new(values: usize) -> Self {
        Self((0..values).map(ValueId).collect())
    }

    fn root(&self, mut v: ValueId) -> ValueId {
        while self.0[v.0] != v {
            v = self.0[v.0];
        }
        v
    }

    fn join(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b).0] = a.min(b);
    }

    fn members(&self, v: ValueId) -> Vec<ValueId> {
        let root = self.root(v);
        (0..self.0.len()).map(ValueId).filter(|&m| self.root(m) == root).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_join_transitively() {
        let mut g = Groups::new(6);
        g.join(ValueId(4), ValueId(2));
        g.join(ValueId(5), ValueId(4));
        assert_eq!(g.root(ValueId(5)), ValueId(2));
        assert_eq!(g.members(ValueId(4)), [2, 4, 5].map(ValueId));
        assert_eq!(g.root(ValueId(3)), ValueId(3));
    }
}
