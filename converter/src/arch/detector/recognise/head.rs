//! Recognises a detection head: predictions are bare convolutions, branches have batch norms; names tell boxes from
//! classes, numbers tell levels.

use super::units::{self, Unit};
use crate::arch::detector::file::{BoxKind, Chain, DetectionHead};

/// Words in names, the first that fits decides.
const WORDS: &[(Role, &[&str])] = &[
    (Role::Stem, &["stem"]),
    (Role::Objectness, &["obj", "centerness"]),
    (Role::Boxes, &["reg", "box", "cv2"]),
    (Role::Classes, &["cls", "class", "score", "cv3"]),
];

/// Distances per side from which a prediction of boxes is a softmax over them.
const LEAST_BINS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Stem,
    Boxes,
    Objectness,
    Classes,
    Combined,
}

/// A head and the number of its levels.
pub(super) struct Found {
    pub described: DetectionHead,
    pub levels: usize,
}

fn role(path: &str) -> Role {
    let fits = |words: &&(Role, &[&str])| words.1.iter().any(|w| path.contains(w));
    WORDS.iter().find(fits).map_or(Role::Combined, |(role, _)| *role)
}

/// The head made of all units below `group`, behind a neck of so many levels.
///
/// # Errors
/// What keeps the units from being a head.
pub(super) fn describe(
    all: &[Unit],
    base: &str,
    levels: Option<usize>,
    notes: &mut Vec<String>,
) -> Result<Found, String> {
    let group = |wanted: Role, norm: bool| -> Vec<&Unit> {
        let fits = |u: &&Unit| u.norm == norm && role(&u.path[base.len()..]) == wanted;
        all.iter().filter(fits).collect()
    };
    let predictions = [Role::Boxes, Role::Objectness, Role::Classes, Role::Combined]
        .map(|wanted| group(wanted, false));
    let [boxes, objectness, classes, combined] = &predictions;
    let most = predictions.iter().map(Vec::len).max().unwrap_or(0);
    let levels = levels.unwrap_or(most);
    if levels == 0 {
        return Err("the head has no convolution without batch norm, which would predict".into());
    }
    let mut described = DetectionHead { anchors_per_cell: 1, ..DetectionHead::default() };
    let pattern = |units: &[&Unit]| pattern(units, levels);
    // Predictions that all levels share have branches that all levels share.
    let numbered = if most == 1 { 0 } else { levels };
    let chain = |wanted: Role| branch(&group(wanted, true), numbered);
    let out = |units: &[&Unit]| units.first().map_or(0, |u| u.out);
    described.stem = chain(Role::Stem)?;
    if combined.is_empty() {
        if boxes.is_empty() || classes.is_empty() {
            return Err(format!(
                "the head predicts {}, but both are needed; describe it in an arch file",
                if boxes.is_empty() {
                    "no boxes (reg, box, bbox)"
                } else {
                    "no classes (cls, class)"
                }
            ));
        }
        described.box_branch = chain(Role::Boxes)?;
        described.class_branch = chain(Role::Classes)?;
        described.boxes = pattern(boxes)?;
        described.scores = pattern(classes)?;
        if !objectness.is_empty() {
            described.objectness = pattern(objectness)?;
        }
        separate(&mut described, out(boxes), out(objectness), out(classes), notes)?;
    } else {
        if !boxes.is_empty() || !classes.is_empty() {
            return Err(format!("'{}' is no known part of a head", combined[0].path));
        }
        described.box_branch = chain(Role::Combined)?;
        described.combined = pattern(combined)?;
        anchored(&mut described, out(combined), notes)?;
    }
    Ok(Found { described, levels })
}

/// Boxes, objectness and classes apart: what the numbers of channels say.
fn separate(
    head: &mut DetectionHead,
    boxes: usize,
    objectness: usize,
    classes: usize,
    notes: &mut Vec<String>,
) -> Result<(), String> {
    if !boxes.is_multiple_of(4) || boxes == 0 {
        return Err(format!("'{}' predicts {boxes} channels, no multiple of 4", head.boxes));
    }
    if boxes / 4 >= LEAST_BINS {
        (head.kind, head.bins) = (BoxKind::Dfl, Some(boxes / 4));
    } else {
        head.anchors_per_cell = boxes / 4;
        head.kind = match (objectness > 0, head.boxes.contains("preds.")) {
            (false, _) => BoxKind::Distance,
            (true, false) => BoxKind::ExpDistance,
            (true, true) => BoxKind::ExpSize,
        };
        notes.push(format!(
            "head: boxes of kind '{}' are assumed by the names; weights do not show whether it is distance, exp-distance \
             or exp-size",
            head.kind.name()
        ));
    }
    let cell = head.anchors_per_cell;
    if !classes.is_multiple_of(cell) || (objectness > 0 && objectness != cell) {
        return Err(format!(
            "{cell} boxes per cell do not fit {classes} channels of classes and {objectness} of objectness"
        ));
    }
    head.classes = classes / cell;
    Ok(())
}

/// One convolution for everything: three anchors, as nearly everybody has.
fn anchored(head: &mut DetectionHead, out: usize, notes: &mut Vec<String>) -> Result<(), String> {
    head.kind = BoxKind::Anchor;
    let cells =
        [3, 1, 2, 4, 5, 6, 9].into_iter().find(|a: &usize| out.is_multiple_of(*a) && out / a > 5);
    head.anchors_per_cell = cells.ok_or_else(|| {
        format!(
            "'{}' predicts {out} channels, too few for boxes, objectness and classes",
            head.combined
        )
    })?;
    head.classes = out / head.anchors_per_cell - 5;
    notes.push(format!(
        "head: {} anchors per cell and so {} classes are assumed",
        head.anchors_per_cell, head.classes
    ));
    Ok(())
}

/// The path of one prediction per level (or of one for all), `{}` standing for the level.
fn pattern(units: &[&Unit], levels: usize) -> Result<String, String> {
    if let [one] = units {
        return Ok(one.path.clone());
    }
    let patterns = by_level(units, levels);
    match patterns.as_deref() {
        Some([(pattern, _)]) => Ok(pattern.clone()),
        _ => {
            Err(format!("'{}' and its like are not one for each of {levels} levels", units[0].path))
        }
    }
}

/// The units of a branch in their order.
fn branch(units: &[&Unit], levels: usize) -> Result<Chain, String> {
    let Some(first) = units.first() else { return Ok(Chain::default()) };
    let shared = || units.iter().map(|u| (*u).clone()).collect();
    let one = match by_level(units, levels) {
        Some(patterns) => patterns.into_iter().map(|(path, u)| Unit { path, ..u }).collect(),
        None if !units.len().is_multiple_of(levels) || !first.path.contains(".levels.") => shared(),
        None => {
            return Err(format!("'{}' and its like are not the same on every level", first.path));
        }
    };
    units::chain(one, None).map(|c| Chain(c.into_iter().map(|u| u.path).collect()))
}

/// Paths with the level's number replaced, each with its unit on level 0; `None` when the first numbers in the paths
/// are not the levels.
fn by_level(units: &[&Unit], levels: usize) -> Option<Vec<(String, Unit)>> {
    let mut patterns: Vec<(String, Unit, usize)> = Vec::new();
    for unit in units {
        let mut parts: Vec<&str> = unit.path.split('.').collect();
        let at = parts.iter().position(|p| p.parse::<usize>().is_ok())?;
        let level: usize = parts[at].parse().ok()?;
        parts[at] = "{}";
        let pattern = parts.join(".");
        if level >= levels {
            return None;
        }
        match patterns.iter_mut().find(|(p, ..)| *p == pattern) {
            Some((_, first, count)) => {
                *count += 1;
                if level == 0 {
                    *first = (*unit).clone();
                }
            }
            None => patterns.push((pattern, (*unit).clone(), 1)),
        }
    }
    let complete = patterns.iter().all(|(.., count)| *count == levels);
    complete.then(|| patterns.into_iter().map(|(pattern, unit, _)| (pattern, unit)).collect())
}
