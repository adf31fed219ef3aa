//! Network families, one per file. A family claims a checkpoint by its module names and adds the conventions
//! that shapes cannot tell: strides, pooling, input size, outputs.

mod cifar_resnet;
mod four_stage;
mod mini_fasnet;
mod plain_cnn;
mod single_block;
mod skeleton;
mod survey;
mod torchvision;
mod wide_resnet;

use super::file::{ArchFile, MaxPool};
use super::modules::Modules;
use skeleton::Skeleton;

/// The pooling behind every stem with stride 2.
const STEM_POOL: MaxPool = MaxPool { window: 3, stride: 2, padding: 1 };

/// A family of networks that are a stem, numbered stages and a head.
struct Staged {
    claims: fn(&Skeleton<'_>) -> bool,
    finish: fn(&Skeleton<'_>, &mut ArchFile),
}

/// In the order in which they are asked.
const STAGED: &[Staged] = &[
    Staged { claims: |s| s.stem.is_empty(), finish: single_block::conventions },
    Staged { claims: four_stage::claims, finish: four_stage::conventions },
    Staged { claims: torchvision::claims, finish: torchvision::conventions },
    Staged { claims: wide_resnet::claims, finish: wide_resnet::conventions },
    Staged { claims: |_| true, finish: cifar_resnet::conventions },
];

/// The first family that claims the modules; `None` when none does, an error when one does but cannot read it.
pub(super) fn recognise(m: &Modules<'_>) -> Option<Result<ArchFile, String>> {
    if let Some(found) = mini_fasnet::recognise(m) {
        return Some(found);
    }
    if let Some(skeleton) = Skeleton::find(m) {
        return Some(skeleton.and_then(|s| {
            let mut arch = s.describe()?;
            if let Some(family) = STAGED.iter().find(|f| (f.claims)(&s)) {
                (family.finish)(&s, &mut arch);
            }
            Ok(arch)
        }));
    }
    plain_cnn::recognise(m).map(Ok).or_else(|| single_block::recognise(m))
}

/// The names that [`recognise`] gives, for messages.
pub(super) const FAMILIES: &str = "wide-resnet, tiny-wrn, resnet, resnext, cifar-resnet, four-stage, mini-fasnet, \
                                   plain-cnn, single-block";
