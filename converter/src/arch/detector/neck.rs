//! Builds a neck.

use super::file::{Chain, Merge, Neck, NeckKind};
use super::unit;
use crate::arch::builder::Builder;
use crate::error::{Error, Result};
use crate::graph::{Op, Resize, ValueId};

impl Neck {
    /// What the entries contradict.
    pub(in crate::arch) fn problem(&self) -> Option<String> {
        let n = self.inputs.len();
        let text = |what: String| Some(format!("[neck]: {what}"));
        if n < 2 || self.levels.len() != n {
            return text(format!(
                "{n} inputs and {} levels; expected two or more, as many of each",
                self.levels.len()
            ));
        }
        let lists = [
            ("lateral", &self.lateral, n, 0),
            ("top_down", &self.top_down, n - 1, 0),
            ("smooth", &self.smooth, n, 0),
            ("down", &self.down, n - 1, if self.kind == NeckKind::Pan { n - 1 } else { 0 }),
            ("bottom_up", &self.bottom_up, n - 1, 0),
            ("output", &self.output, n, 0),
        ];
        for (name, list, full, least) in lists {
            if list.len() != full && list.len() != least {
                return text(format!(
                    "{name} has {} entries, expected {full} for {n} levels",
                    list.len()
                ));
            }
        }
        let upward = [&self.down, &self.bottom_up, &self.output].iter().any(|l| !l.is_empty());
        if self.kind == NeckKind::Fpn && upward {
            return text("kind = \"fpn\" has no down, bottom_up and output; pan has".into());
        }
        None
    }
}

/// The neck's maps, finest first, from its inputs.
pub(in crate::arch) fn build(
    b: &mut Builder<'_>,
    neck: &Neck,
    inputs: &[ValueId],
) -> Result<Vec<ValueId>> {
    let act = neck.activation;
    let lateral_act = neck.lateral_activation.unwrap_or(act);
    let none = Chain::default();
    let of = |list: &[Chain], i: usize| list.get(i).unwrap_or(&none).0.clone();
    let n = inputs.len();
    let mut maps = Vec::with_capacity(n);
    for (i, &c) in inputs.iter().enumerate() {
        maps.push(unit::chain(b, &of(&neck.lateral, i), c, 1, lateral_act)?);
    }
    for i in (0..n - 1).rev() {
        let at = format!("neck.{}.top_down", neck.levels[i]);
        let up = upsample(b, &at, maps[i + 1], maps[i])?;
        let (first, second) = match neck.merge {
            Merge::ConcatUpFirst => (up, maps[i]),
            Merge::Concat | Merge::Add => (maps[i], up),
        };
        let joined = join(b, neck.merge, &at, first, second)?;
        maps[i] = unit::chain(b, &of(&neck.top_down, i), joined, 1, act)?;
    }
    for (i, map) in maps.iter_mut().enumerate() {
        *map = unit::chain(b, &of(&neck.smooth, i), *map, 1, act)?;
    }
    if neck.kind == NeckKind::Pan {
        for i in 1..n {
            let at = format!("neck.{}.bottom_up", neck.levels[i]);
            let down = unit::chain(b, &of(&neck.down, i - 1), maps[i - 1], 2, act)?;
            let joined = join(b, neck.merge, &at, down, maps[i])?;
            maps[i] = unit::chain(b, &of(&neck.bottom_up, i - 1), joined, 1, act)?;
        }
        for (i, map) in maps.iter_mut().enumerate() {
            *map = unit::chain(b, &of(&neck.output, i), *map, 1, act)?;
        }
    }
    Ok(maps)
}

/// The coarser map at twice its size.
fn upsample(b: &mut Builder<'_>, at: &str, coarse: ValueId, fine: ValueId) -> Result<ValueId> {
    let size = |v: ValueId| match *b.graph.shape(v) {
        [_, _, h, w] => Ok([h, w]),
        ref other => Err(Error::graph(at, format!("a neck joins maps, not {other:?}"))),
    };
    let ([h, w], fine) = (size(coarse)?, size(fine)?);
    if [2 * h, 2 * w] != fine {
        return Err(Error::graph(
            at,
            format!(
                "twice the {h}x{w} map is not the next finer one, {}x{}: the neck needs maps of strides that double, \
                 and an input size that the coarsest stride divides",
                fine[0], fine[1]
            ),
        ));
    }
    b.graph.push(format!("{at}.up"), Op::Resize(Resize { size: fine }), &[coarse])
}

fn join(b: &mut Builder<'_>, merge: Merge, at: &str, a: ValueId, z: ValueId) -> Result<ValueId> {
    let (one, other) = (b.graph.shape(a).to_vec(), b.graph.shape(z).to_vec());
    let same = match merge {
        Merge::Add => one == other,
        Merge::Concat | Merge::ConcatUpFirst => one[2..] == other[2..],
    };
    if !same {
        return Err(Error::graph(
            format!("{at}.join"),
            format!(
                "maps of {one:?} and {other:?} do not meet: correct the inputs, strides or merge of the neck"
            ),
        ));
    }
    match merge {
        Merge::Add => b.graph.push(format!("{at}.add"), Op::Add, &[a, z]),
        Merge::Concat | Merge::ConcatUpFirst => {
            b.graph.push(format!("{at}.concat"), Op::Concat { axis: 1 }, &[a, z])
        }
    }
}
