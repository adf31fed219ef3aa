//! Post-activation ResNets for small images: 3x3 stem with stride 1, no pooling, three or four stages.
//!
//! With `projection = "pad"` they are those of the original paper ("option A"): the widening shortcut takes
//! every second row and column and pads the channels with zeros, so nothing of it is in the checkpoint.

use super::skeleton::{Skeleton, halve_per_stage};
use crate::arch::blocks::BlockKind;
use crate::arch::file::{ArchFile, Projection};

/// Strides 1, 2, 2, ... and 32x32 images.
pub(super) fn conventions(_: &Skeleton<'_>, arch: &mut ArchFile) {
    arch.family = "cifar-resnet".into();
    let mut padded = false;
    for i in 1..arch.stages.len() {
        let wider = arch.stages[i].channels > arch.stages[i - 1].channels;
        let stage = &mut arch.stages[i];
        if wider && stage.projection.is_none() && stage.block == BlockKind::Basic {
            stage.projection = Some(Projection::Pad);
            padded = true;
        }
    }
    // The trainer those checkpoints come from normalises with the ImageNet values.
    arch.input.preset = Some(if padded { "imagenet" } else { "cifar10" }.into());
    halve_per_stage(arch);
}
