//! Detection backbones: stride-2 stem with max-pooling, four stages, maps at strides 8, 16 and 32.

use super::STEM_POOL;
use super::skeleton::{Skeleton, halve_per_stage};
use crate::arch::file::{ArchFile, Tap};

/// Four stages behind a module called `stem`.
pub(super) fn claims(s: &Skeleton<'_>) -> bool {
    s.survey.stages.len() == 4 && s.named_stem
}

/// Total stride 32; without a classifier the outputs are c3, c4, c5.
pub(super) fn conventions(s: &Skeleton<'_>, arch: &mut ArchFile) {
    arch.family = "four-stage".into();
    arch.input.size = if s.linear.is_some() { [224, 224] } else { [320, 320] };
    arch.input.preset = Some("imagenet".into());
    stride_32(arch);
}

/// Stem with stride 4 and stages 1, 2, 2, 2.
pub(super) fn stride_32(arch: &mut ArchFile) {
    if let Some(first) = arch.stem.first_mut() {
        first.stride = 2;
    }
    if let Some(last) = arch.stem.last_mut() {
        last.max_pool = Some(STEM_POOL);
    }
    halve_per_stage(arch);
    if arch.head.is_none() {
        let tap = |(i, stage): (usize, &crate::arch::file::Stage)| Tap {
            name: format!("c{}", i + 2),
            after: stage.name.clone(),
        };
        arch.outputs = arch.stages.iter().enumerate().skip(1).map(tap).collect();
    }
}
