//! A network at further input sizes: shapes and geometries beside those of the first.

use std::collections::HashMap;

use kenar::desc::Geometry;

use super::emit::Emitter;
use super::prepare::{Kind, Network};
use super::step::{Step, Work};
use crate::error::{Error, Result};

/// Adds a size to the model that was emitted from `steps`, one operator each.
///
/// # Errors
/// [`Error::Graph`] with the name of a step that has no counterpart at this size.
pub(crate) fn add(emitter: &mut Emitter<'_>, steps: &[Step], further: &Network<'_>) -> Result<()> {
    let shapes: Vec<[u32; 2]> = emitter
        .values()
        .into_iter()
        .map(|value| {
            let [_, height, width] = further.map(value);
            [height as u32, width as u32]
        })
        .collect();
    let nodes: HashMap<&str, &Kind> =
        further.nodes.iter().map(|node| (node.name.as_str(), &node.kind)).collect();
    let mut geometries = Vec::new();
    for (op, step) in steps.iter().enumerate() {
        let made_up = matches!(&step.work, Work::Conv(conv) if conv.source.is_none());
        let geometry = match (&step.work, nodes.get(step.name.as_str())) {
            _ if made_up => continue,
            (Work::Conv(_), Some(Kind::Conv(conv))) => Geometry::Window(conv.window.desc()),
            (Work::MaxPool(_), Some(Kind::MaxPool(window)))
            | (Work::AvgPool { .. }, Some(Kind::AvgPool { window, .. })) => {
                Geometry::Window(window.desc())
            }
            (Work::Copy(_), Some(Kind::Copy(copy))) => copy.geometry(),
            (Work::Conv(_) | Work::MaxPool(_) | Work::AvgPool { .. } | Work::Copy(_), _) => {
                let detail = "becomes another operator at another input size";
                return Err(Error::graph(&step.name, detail));
            }
            _ => continue,
        };
        geometries.push((op, geometry));
    }
    emitter.writer.add_size(&shapes, &geometries)?;
    Ok(())
}
