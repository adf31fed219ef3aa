//! Reads backbone, neck and head of a detector out of names and shapes.

mod evidence;
mod head;
mod neck;
mod units;

use super::file::{BoxKind, Chain};
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
    let head = heads.and_then(|g| Some((g, units::under(m, g)?)));
    if neck.is_none() && head.is_none() {
        return None;
    }
    let beside = |p: &str| !NECKS.iter().chain(HEADS).any(|g| p.starts_with(g));
    Some(backbone(m, beside).and_then(|arch| finish(m, arch, neck, head)))
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
    m: &Modules<'_>,
    mut arch: ArchFile,
    neck: Option<neck::Parts>,
    head: Option<(&str, Vec<units::Unit>)>,
) -> Result<ArchFile, String> {
    // A mean over the last map is a family's guess; linear layers are not.
    if matches!(arch.head.take(), Some(Head::Classifier(c)) if !c.layers.is_empty()) {
        return Err("there are both a classifier and a neck or head of convolutions".into());
    }
    arch.outputs.clear();
    arch.input.letterbox = Some(GREY.into());
    arch.input.size = [320, 320];
    let neck = neck.map(|parts| parts.describe(&arch)).transpose()?;
    if let Some((base, units)) = head {
        let levels = neck.as_ref().map(|n| n.levels.len());
        let mut head = head::describe(&units, base, levels, &mut arch.notes)?;
        if neck.is_none() {
            let stages = arch.stages.iter().rev().take(head.levels).map(|s| s.name.clone());
            head.described.inputs = stages.collect();
            head.described.inputs.reverse();
        }
        arch.head = Some(Head::Detector(Box::new(head.described)));
    }
    arch.neck = neck;
    conventions(m, &mut arch);
    Ok(arch)
}

/// What neither names nor shapes show: activations and normalisation, by what batch norms remember, else by convention.
fn conventions(m: &Modules<'_>, arch: &mut ArchFile) {
    let detector = match &arch.head {
        Some(Head::Detector(head)) => Some(head),
        _ => None,
    };
    // Heads without anchors come from networks with SiLU.
    let usual = match detector {
        Some(head) if head.kind != BoxKind::Anchor => Act::Silu,
        _ => arch.stages.first().map_or(Act::Relu, |s| s.activation),
    };
    let neck_chains = arch.neck.as_ref().map_or_else(Vec::new, |neck| {
        let lists = [&neck.top_down, &neck.smooth, &neck.bottom_up, &neck.output];
        lists.into_iter().flat_map(|list| evidence::chains(list, 1)).collect()
    });
    let head_chains = detector.map_or_else(Vec::new, |head| {
        let behind = |branch: &Chain| Chain(head.stem.0.iter().chain(&branch.0).cloned().collect());
        let branches = [behind(&head.box_branch), behind(&head.class_branch)];
        evidence::chains(&branches, arch.neck.as_ref().map_or(1, |n| n.levels.len()))
    });
    let in_neck = evidence::activation(m, &neck_chains);
    let in_head = evidence::activation(m, &head_chains);
    let act = |own: Option<(Act, f64)>| own.or(in_neck).or(in_head).map_or(usual, |(act, _)| act);
    if let Some(neck) = arch.neck.as_mut().filter(|n| n.activation != Act::None) {
        neck.activation = act(in_neck);
    }
    if let Some(Head::Detector(head)) = &mut arch.head {
        head.activation = act(in_head);
        if head.kind != BoxKind::Anchor {
            head.centre = Some(if head.kind == BoxKind::ExpSize { 0.0 } else { 0.5 });
        }
    }
    arch.notes.push(match in_neck.or(in_head) {
        Some((act, times)) => {
            let other = if act == Act::Silu { Act::Relu } else { Act::Silu };
            format!(
                "activation {} of the detector: the batch norms' statistics fit it {times:.0} times better than {}",
                act.name(),
                other.name()
            )
        }
        None => format!(
            "activation {} of the detector is assumed, weights do not show it: see `kenar inspect --arch`",
            usual.name()
        ),
    });
    let stem = arch.stem.first().and_then(|unit| Some((&unit.conv, unit.bn.as_ref()?)));
    let seen = stem.and_then(|(conv, bn)| evidence::normalisation(m, conv, bn));
    let usual = if usual == Act::Silu { "unit" } else { "imagenet" };
    arch.input.preset = Some(seen.map_or(usual, |(preset, ..)| preset).into());
    arch.notes.push(match seen {
        Some((preset, mean, deviation)) => format!(
            "normalisation '{preset}': the first batch norm saw pixels of mean {mean:.2} and deviation {deviation:.2}"
        ),
        None => format!("normalisation '{usual}' is assumed: see `kenar inspect --arch`"),
    });
}
