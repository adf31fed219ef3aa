//! The blocks of the family, put together as their authors' papers and YAML files describe them.

use super::{layers, unknown};
use crate::arch::builder::Builder;
use crate::error::{Error, Result};
use crate::graph::{Op, ValueId};
use crate::import::module::ModuleRecord;

/// Appends a layer or block that reads `inputs`.
pub(super) fn build(
    b: &mut Builder<'_>,
    layer: &ModuleRecord,
    path: &str,
    inputs: &[ValueId],
) -> Result<ValueId> {
    if layer.kind() == "Concat" {
        if layer.int("d").unwrap_or(1) != 1 {
            return Err(Error::source(path, "a concatenation along another axis than channels"));
        }
        return concat(b, path, inputs);
    }
    let &[x] = inputs else {
        return Err(Error::source(
            path,
            format!("{} reads {} values, expected one", layer.class, inputs.len()),
        ));
    };
    one(b, layer, path, x)
}

/// Appends what reads a single value.
fn one(b: &mut Builder<'_>, layer: &ModuleRecord, path: &str, x: ValueId) -> Result<ValueId> {
    if layer.class.starts_with("torch.nn.") && layer.kind() != "Sequential" {
        return layers::build(b, layer, path, x);
    }
    match layer.kind() {
        "Sequential" => sequence(b, layer, path, x),
        "Conv" | "DWConv" => parts(b, layer, path, &["conv", "bn", "act"], x),
        "Bottleneck" => {
            let y = parts(b, layer, path, &["cv1", "cv2"], x)?;
            if layer.is("add") { add(b, path, x, y) } else { Ok(y) }
        }
        "C3" => {
            let y = part(b, layer, path, "cv1", x)?;
            let y = part(b, layer, path, "m", y)?;
            let z = part(b, layer, path, "cv2", x)?;
            let joined = concat(b, path, &[y, z])?;
            part(b, layer, path, "cv3", joined)
        }
        "C2f" => {
            let y = part(b, layer, path, "cv1", x)?;
            let channels = b.graph.shape(y)[1];
            if !channels.is_multiple_of(2) {
                return Err(Error::source(path, format!("{channels} channels do not halve")));
            }
            let mut all = Vec::new();
            for (i, start) in [0, channels / 2].into_iter().enumerate() {
                let op = Op::Slice { axis: 1, start, end: start + channels / 2, step: 1 };
                all.push(b.graph.push(format!("{path}.half{i}"), op, &[y])?);
            }
            for (name, block) in &child(layer, path, "m")?.children {
                let y = one(b, block, &format!("{path}.m.{name}"), all[all.len() - 1])?;
                all.push(y);
            }
            let joined = concat(b, path, &all)?;
            part(b, layer, path, "cv2", joined)
        }
        "SPPF" => {
            let mut all = vec![part(b, layer, path, "cv1", x)?];
            let pool = child(layer, path, "m")?;
            for i in 0..layer.int("n").unwrap_or(3).clamp(1, 16) {
                let y = layers::pool(b, pool, &format!("{path}.m.{i}"), all[all.len() - 1])?;
                all.push(y);
            }
            let joined = concat(b, path, &all)?;
            let y = part(b, layer, path, "cv2", joined)?;
            if layer.is("add") { add(b, path, x, y) } else { Ok(y) }
        }
        "SPP" => {
            let y = part(b, layer, path, "cv1", x)?;
            let mut all = vec![y];
            for (name, pool) in &child(layer, path, "m")?.children {
                all.push(layers::pool(b, pool, &format!("{path}.m.{name}"), y)?);
            }
            let joined = concat(b, path, &all)?;
            part(b, layer, path, "cv2", joined)
        }
        _ => Err(unknown(path, &layer.class)),
    }
}

/// Appends the children of a `Sequential`, in order.
pub(super) fn sequence(
    b: &mut Builder<'_>,
    layer: &ModuleRecord,
    path: &str,
    x: ValueId,
) -> Result<ValueId> {
    layer
        .children
        .iter()
        .try_fold(x, |y, (name, child)| one(b, child, &format!("{path}.{name}"), y))
}

fn child<'m>(layer: &'m ModuleRecord, path: &str, name: &str) -> Result<&'m ModuleRecord> {
    layer
        .children
        .get(name)
        .ok_or_else(|| Error::source(path, format!("{} has no part '{name}'", layer.class)))
}

fn part(
    b: &mut Builder<'_>,
    layer: &ModuleRecord,
    path: &str,
    name: &str,
    x: ValueId,
) -> Result<ValueId> {
    one(b, child(layer, path, name)?, &format!("{path}.{name}"), x)
}

/// The parts that are there, one behind the other: folded modules have no batch norm left.
fn parts(
    b: &mut Builder<'_>,
    layer: &ModuleRecord,
    path: &str,
    names: &[&str],
    x: ValueId,
) -> Result<ValueId> {
    let first = names.first().copied().unwrap_or_default();
    child(layer, path, first)?;
    let present = names.iter().filter(|n| layer.children.contains_key(**n));
    present.into_iter().try_fold(x, |y, name| part(b, layer, path, name, y))
}

fn concat(b: &mut Builder<'_>, path: &str, values: &[ValueId]) -> Result<ValueId> {
    b.graph.push(format!("{path}.concat"), Op::Concat { axis: 1 }, values)
}

fn add(b: &mut Builder<'_>, path: &str, x: ValueId, y: ValueId) -> Result<ValueId> {
    let (from, to) = (b.graph.shape(x).to_vec(), b.graph.shape(y).to_vec());
    if from != to {
        return Err(Error::source(path, format!("adds maps of {from:?} and {to:?}")));
    }
    b.graph.push(format!("{path}.add"), Op::Add, &[x, y])
}
