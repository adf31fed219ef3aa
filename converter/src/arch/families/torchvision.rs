//! ImageNet ResNets as torchvision names them: 7x7 stem with stride 2, max-pooling, `layer1` to `layer4`, `fc`.
//! ResNeXt and wide ResNets of that library differ by widths and groups alone.

use super::four_stage::stride_32;
use super::skeleton::Skeleton;
use crate::arch::file::ArchFile;

/// Four stages behind a 7x7 convolution (or a deep stem in its place).
pub(super) fn claims(s: &Skeleton<'_>) -> bool {
    s.survey.stages.len() == 4 && (s.stem_window() == 7 || s.stem.len() == 3)
}

/// Total stride 32, 224x224.
pub(super) fn conventions(_: &Skeleton<'_>, arch: &mut ArchFile) {
    let grouped = arch.stages.iter().any(|s| s.groups.is_some());
    arch.family = if grouped { "resnext" } else { "resnet" }.into();
    arch.input.size = [224, 224];
    arch.input.preset = Some("imagenet".into());
    stride_32(arch);
}
