//! The head: what decoding relies on.

use super::super::{Section, decode_head};
use crate::desc::TensorDesc;
use crate::detect::{BoxCode, Head, Level, MAX_ANCHORS};
use crate::{Error, Model};

const LARGEST_ANCHOR: f32 = 1_048_576.0;

/// Checks the head section; the outputs were checked before.
pub(super) fn verify(model: &Model<'_>) -> Result<(), Error> {
    let section = model.layout().section(Section::Head);
    if section.is_empty() {
        return Ok(());
    }
    let head = decode_head(section).ok_or(Error::HeadSection)?;
    let bins = match head.code {
        BoxCode::Dfl { bins } => (2..=256).contains(&bins),
        _ => true,
    };
    let sane = bins
        && (0.0..=1.0).contains(&head.centre)
        && (1..=MAX_ANCHORS as u32).contains(&head.anchors_per_cell)
        && (1..=1 << 16).contains(&head.classes)
        && head.points <= 256
        && model.layout().version >= (1, 1);
    if !sane {
        return Err(Error::HeadSection);
    }
    let mut candidates = 0;
    for (index, level) in head.levels().iter().enumerate() {
        candidates += verify_level(model, &head, level, index as u32)?;
    }
    // Candidates and classes are counted in 32 bits.
    let scores = candidates * u64::from(head.classes);
    if scores > u64::from(u32::MAX) { Err(Error::HeadSection) } else { Ok(()) }
}

/// Returns the number of boxes.
fn verify_level(model: &Model<'_>, head: &Head, level: &Level, index: u32) -> Result<u64, Error> {
    let anchors = head.anchors_per_cell;
    let wrong = Error::HeadLevel { level: index };
    for (at, &side) in level.anchors.as_flattened().iter().enumerate() {
        let used = head.code == BoxCode::Anchor && at < 2 * anchors as usize;
        let sane = if used {
            side.is_normal() && (0.0..=LARGEST_ANCHOR).contains(&side)
        } else {
            side.to_bits() == 0
        };
        if !sane {
            return Err(wrong);
        }
    }
    let input = model.tensor(model.input().tensor);
    let boxes = output(model, level.boxes).ok_or(wrong)?;
    let covers = |cells: u32, pixels: u32| {
        let (covered, stride) =
            (u64::from(cells) * u64::from(level.stride), u64::from(level.stride));
        covered.abs_diff(u64::from(pixels)) < stride
    };
    if !covers(boxes.height, input.height) || !covers(boxes.width, input.width) {
        return Err(wrong);
    }
    let fits = |map: &TensorDesc, components: u32| {
        map.height == boxes.height
            && map.width == boxes.width
            && u64::from(map.channels) == u64::from(anchors) * u64::from(components)
    };
    let fits_output =
        |at: u32, components| output(model, at).is_some_and(|map| fits(&map, components));
    let sane = fits(&boxes, head.code.channels())
        && fits_output(level.scores, head.classes)
        && level.objectness.is_none_or(|at| fits_output(at, 1))
        && level.points.is_some() == (head.points > 0)
        && level.points.is_none_or(|at| fits_output(at, 2 * head.points));
    if sane { Ok(u64::from(boxes.pixels()) * u64::from(anchors)) } else { Err(wrong) }
}

fn output(model: &Model<'_>, index: u32) -> Option<TensorDesc> {
    Some(model.tensor(model.output(index as usize)?.tensor))
}
