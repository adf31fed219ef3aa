//! Wide residual networks: pre-activation stages of one width each, 3x3 stem with stride 1.

use super::skeleton::{Skeleton, halve_per_stage};
use crate::arch::depth;
use crate::arch::file::{ArchFile, Classifier, Head};

/// Pre-activation behind a small stem.
pub(super) fn claims(s: &Skeleton<'_>) -> bool {
    s.survey.pre
}

/// Strides 1, 2, 2; without final norm and classifier, and with bare blocks, the two-block backbone of stride 1
/// that ends in a mean over its raw sum.
pub(super) fn conventions(s: &Skeleton<'_>, arch: &mut ArchFile) {
    arch.input.preset = Some("cifar10".into());
    let bare = s.survey.stages.iter().all(|(run, _)| run.direct());
    if bare && s.final_norm.is_none() && s.linear.is_none() {
        arch.family = "tiny-wrn".into();
        arch.input.size = [64, 64];
        arch.head = Some(Head::Classifier(Classifier { pool: true, ..Classifier::default() }));
        return;
    }
    arch.family = "wide-resnet".into();
    halve_per_stage(arch);
    arch.depth = depth::of(arch);
}
