//! Builds a detection head.

use super::file::DetectionHead;
use super::unit;
use crate::arch::builder::Builder;
use crate::error::{Error, Result};
use crate::graph::ValueId;

/// The head's tensors with their names, per level `{level}_reg`, `{level}_obj`, `{level}_cls`, or `{level}_pred`.
pub(in crate::arch) fn build(
    b: &mut Builder<'_>,
    head: &DetectionHead,
    levels: &[(String, ValueId)],
) -> Result<Vec<(String, ValueId)>> {
    let mut tensors = Vec::new();
    let cell = head.anchors_per_cell;
    for (i, (level, map)) in levels.iter().enumerate() {
        let x = unit::chain(b, &head.stem.at(i), *map, 1, head.activation)?;
        let boxes = unit::chain(b, &head.box_branch.at(i), x, 1, head.activation)?;
        if !head.combined.is_empty() {
            let channels = cell * (head.box_channels() + 1 + head.classes);
            let value = predict(b, head, &head.combined, i, boxes, channels)?;
            tensors.push((format!("{level}_pred"), value));
            continue;
        }
        let value = predict(b, head, &head.boxes, i, boxes, cell * head.box_channels())?;
        tensors.push((format!("{level}_reg"), value));
        if !head.objectness.is_empty() {
            let value = predict(b, head, &head.objectness, i, boxes, cell)?;
            tensors.push((format!("{level}_obj"), value));
        }
        let classes = unit::chain(b, &head.class_branch.at(i), x, 1, head.activation)?;
        let value = predict(b, head, &head.scores, i, classes, cell * head.classes)?;
        tensors.push((format!("{level}_cls"), value));
    }
    Ok(tensors)
}

/// A predicting convolution and the number of channels it must have.
fn predict(
    b: &mut Builder<'_>,
    head: &DetectionHead,
    path: &str,
    level: usize,
    x: ValueId,
    channels: usize,
) -> Result<ValueId> {
    let path = path.replace("{}", &level.to_string());
    let value = unit::chain(b, std::slice::from_ref(&path), x, 1, head.activation)?;
    let found = b.graph.shape(value)[1];
    if found == channels {
        return Ok(value);
    }
    Err(Error::source(
        path,
        format!(
            "puts out {found} channels; a {} head of {} classes with {} boxes per cell needs {channels}: correct \
             kind, classes, bins or anchors_per_cell in [head]",
            head.kind.name(),
            head.classes,
            head.anchors_per_cell
        ),
    ))
}
