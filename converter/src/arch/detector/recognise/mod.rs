//! Reads backbone, neck and head of a detector out of names and shapes.

mod head;
mod neck;
mod units;

use super::file::{BoxKind, Chain, Neck};
use crate::arch::families;
use crate::arch::file::{Act, ArchFile, ConvUnit, Head, Stage};
use crate::arch::modules::Modules;

/// Modules that hold a neck, and those that hold a head; inside a backbone too, as torchvision has it.
const NECKS: &[&str] = &["neck.", "fpn.", "pan.", "backbone.fpn."];
const HEADS: &[&str] = &["head.", "heads.", "bbox_head.", "detect.", "det_head."];

/// Grey beside images, unless the file says otherwise.
const GREY: &str = "114";

/// The detector, if modules beside the backbone are a neck or a head of convolutions; an error when they are but cannot
/// be read.
pub(in crate::arch) fn recognise(m: &Modules<'_>) -> Option<Result<ArchFile, String>> {
    let group =
        |names: &[&'static str]| names.iter().copied().find(|g| m.has(g.trim_end_matches('.')));
    let (necks, heads) = (group(NECKS), group(HEADS));
    let neck = necks.and_then(|g| neck::Parts::find(m, g));
    let head = heads.and_then(|g| units::under(m, g));
    if neck.is_none() && head.is_none() {
        return None;
    }
    let beside = |p: &str| !NECKS.iter().chain(HEADS).any(|g| p.starts_with(g));
    Some(backbone(m, beside).and_then(|arch| finish(arch, neck, head)))
}

/// The network that remains without neck and head, its paths made full again.
fn backbone(m: &Modules<'_>, keep: impl Fn(&str) -> bool) -> Result<ArchFile, String> {
    let mut first_error = None;
    for shared in m.prefixes_of(&keep) {
        match families::recognise(&m.part(&shared, &keep)) {
            Some(Ok(mut arch)) => {
                reroot(&mut arch, &shared);
                return Ok(arch);
            }
            Some(Err(e)) => first_error = first_error.or(Some(e)),
            None => {}
        }
    }
    Err(first_error.unwrap_or_else(|| {
        format!(
            "a neck or head was found, but no known backbone beside it (families: {})",
            families::FAMILIES
        )
    }))
}

fn reroot(arch: &mut ArchFile, root: &str) {
    let add = |path: &mut String| *path = format!("{root}{path}").trim_end_matches('.').to_owned();
    for ConvUnit { conv, bn, prelu, .. } in arch.stem.iter_mut().chain(&mut arch.tail) {
        [Some(conv), bn.as_mut(), prelu.as_mut()].into_iter().flatten().for_each(add);
    }
    for Stage { path, tap_bn, .. } in &mut arch.stages {
        [Some(path), tap_bn.as_mut()].into_iter().flatten().for_each(add);
    }
    if let Some(norm) = &mut arch.final_norm {
        add(&mut norm.bn);
    }
}

fn finish(
    mut arch: ArchFile,
    neck: Option<neck::Parts>,
    head: Option<Vec<units::Unit>>,
) -> Result<ArchFile, String> {
    if arch.head.is_some() {
        return Err("there are both a classifier and a neck or head of convolutions".into());
    }
    arch.outputs.clear();
    arch.input.letterbox = Some(GREY.into());
    arch.input.size = [320, 320];
    let neck = neck.map(|parts| parts.describe(&arch)).transpose()?;
    if let Some(head) = head {
        let levels = neck.as_ref().map(|n| n.levels.len());
        let mut head = head::describe(&head, levels, &mut arch.notes)?;
        if neck.is_none() {
            let stages = arch.stages.iter().rev().take(head.levels).map(|s| s.name.clone());
            head.described.inputs = stages.collect();
            head.described.inputs.reverse();
        }
        arch.head = Some(Head::Detector(Box::new(head.described)));
    }
    arch.neck = neck;
    conventions(&mut arch);
    Ok(arch)
}

/// What neither names nor shapes show: activations and normalisation.
fn conventions(arch: &mut ArchFile) {
    let anchors = matches!(&arch.head, Some(Head::Detector(h)) if h.kind == BoxKind::Anchor);
    let act = match (&arch.head, anchors) {
        // Heads without anchors come from networks with SiLU.
        (Some(Head::Detector(_)), false) => Act::Silu,
        _ => arch.stages.first().map_or(Act::Relu, |s| s.activation),
    };
    let plain = |neck: &Neck| neck.lateral.iter().all(Chain::is_empty);
    if let Some(neck) = arch.neck.as_mut().filter(|n| !plain(n)) {
        neck.activation = act;
    }
    if let Some(Head::Detector(head)) = &mut arch.head {
        head.activation = act;
        if head.kind != BoxKind::Anchor {
            head.centre = Some(if head.kind == BoxKind::ExpSize { 0.0 } else { 0.5 });
        }
    }
    arch.input.preset = Some(if act == Act::Silu { "unit" } else { "imagenet" }.into());
    arch.notes.push(format!(
        "activations ({}) and normalisation ('{}') of the detector are assumed: weights do not show them; `kenar inspect \
         --arch` prints the file to correct them in",
        act.name(),
        arch.input.preset.as_deref().unwrap_or_default()
    ));
}
