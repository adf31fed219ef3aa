//! One residual block or one stage on its own, with or without a convolution in front that lifts the image to
//! its channels (`lift`).
//!
//! Nothing says which stride such a block has. Where it changes its width it takes that of its kind's documented
//! example: 2, but 1 for the grouped block and the pre-activation bottleneck.

use super::skeleton::{Skeleton, unit};
use super::survey::{Run, Survey};
use crate::arch::blocks::BlockKind;
use crate::arch::file::{ArchFile, Stage};
use crate::arch::modules::Modules;

fn lone_stride(block: BlockKind, wider: bool) -> usize {
    if wider { block.lone_stride() } else { 1 }
}

/// Stages without a stem.
pub(super) fn conventions(s: &Skeleton<'_>, arch: &mut ArchFile) {
    arch.family = "single-block".into();
    arch.stages =
        s.survey.describe(arch.input.channels, |_, block, wider| lone_stride(block, wider));
}

/// `lift` and a block, or the block alone.
pub(super) fn recognise(m: &Modules<'_>) -> Option<Result<ArchFile, String>> {
    let lift = m.conv("lift.conv").zip(m.norm("lift.bn")).map(|(shape, _)| shape);
    let rest: Vec<&str> =
        m.top_level().into_iter().filter(|t| lift.is_none() || *t != "lift").collect();
    let base = match rest.as_slice() {
        _ if lift.is_none() => "",
        [] => return lift.map(|shape| Ok(identity(m, shape))),
        [one] => one,
        _ => return None,
    };
    let run = Run::at(m, "block", base);
    let survey = match Survey::new(m, vec![run], |_| false) {
        Ok(survey) => survey,
        Err(e) if lift.is_some() => return Some(Err(e)),
        Err(_) => return None,
    };
    let own = survey.stages.first().and_then(|(_, f)| f.first()).and_then(|f| f.c_in)?;
    let mut arch = ArchFile::new("single-block", lift.map_or(own, |s| s[1]));
    arch.stem.extend(lift.map(|_| unit(m, "lift.conv", Some("lift.bn".into()))));
    arch.names.clone_from(&survey.names);
    arch.notes.clone_from(&survey.notes);
    arch.stages =
        survey.describe(lift.map_or(own, |s| s[0]), |_, block, wider| lone_stride(block, wider));
    if lift.is_none()
        && arch.stages.iter().any(|s| s.block == BlockKind::Grouped && s.projection.is_none())
    {
        arch.notes.push(
            "block: one convolution and its batch norm could also be a plain unit without a residual; for that, \
             describe it as [[stem]] and set input.channels."
                .into(),
        );
    }
    Some(Ok(arch))
}

/// A lift with nothing behind it: the residual without parameters.
fn identity(m: &Modules<'_>, [_, channels, ..]: [usize; 4]) -> ArchFile {
    let mut arch = ArchFile::new("single-block", channels);
    arch.stem.push(unit(m, "lift.conv", Some("lift.bn".into())));
    arch.stages.push(Stage {
        name: "block".into(),
        block: BlockKind::Identity,
        path: "block".into(),
        count: 1,
        stride: 1,
        residual: true,
        ..Stage::default()
    });
    arch.notes.push(
        "block: nothing but the lift has parameters; a residual x + x without any is assumed behind it. Delete the \
         stage if the network ends with the lift."
            .into(),
    );
    arch
}
