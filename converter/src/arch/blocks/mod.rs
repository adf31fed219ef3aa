//! Residual blocks: one kind per file, each a [`Layout`]; [`survey`] recognises them, [`residual`] builds them.

pub(super) mod basic;
pub(super) mod bottleneck;
pub(super) mod grouped;
pub(super) mod inverted_residual;
pub(super) mod pre_basic;
pub(super) mod pre_bottleneck;
mod residual;
pub mod resnext;
mod se;
mod survey;

use serde::{Deserialize, Serialize};

pub(super) use residual::{Block, build};
pub(super) use survey::{Facts, Style, survey};

/// Kinds of block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockKind {
    /// Two 3x3 convolutions, activation behind the sum; with `se` roles the squeeze-excitation variant.
    #[default]
    Basic,
    /// The same with batch norm and activation in front of each convolution, nothing behind the sum.
    PreBasic,
    /// 1x1, 3x3 (grouped in ResNeXt), 1x1, activation behind the sum.
    Bottleneck,
    /// The same with batch norm and activation in front.
    PreBottleneck,
    /// One grouped 3x3 with batch norm and activation, then the sum, nothing behind it.
    Grouped,
    /// 1x1, depthwise, linear 1x1; nothing behind the sum.
    InvertedResidual,
    /// A squeeze-excitation unit alone.
    Se,
    /// `x + x`: the skeleton of a residual, without parameters.
    Identity,
}

/// How the parts of a residual block follow each other.
#[derive(Debug)]
pub(super) struct Layout {
    /// Number of convolutions of the branch.
    pub convs: usize,
    /// Batch norm and activation in front of the convolution instead of behind it.
    pub pre: bool,
    /// Activation behind the branch's last batch norm (post-activation only).
    pub act_on_branch: bool,
    /// Activation behind the sum.
    pub act_on_sum: bool,
    /// Which convolution carries the stride.
    pub stride_at: usize,
    /// Which convolution may be grouped.
    pub grouped_at: usize,
}

impl BlockKind {
    /// The layout; `None` for the kinds that have no branch of convolutions.
    pub(super) fn layout(self) -> Option<&'static Layout> {
        match self {
            Self::Basic => Some(&basic::LAYOUT),
            Self::PreBasic => Some(&pre_basic::LAYOUT),
            Self::Bottleneck => Some(&bottleneck::LAYOUT),
            Self::PreBottleneck => Some(&pre_bottleneck::LAYOUT),
            Self::Grouped => Some(&grouped::LAYOUT),
            Self::InvertedResidual => Some(&inverted_residual::LAYOUT),
            Self::Se | Self::Identity => None,
        }
    }

    /// Whether the block puts out a raw sum that its successor normalises.
    pub(super) fn is_pre(self) -> bool {
        self.layout().is_some_and(|l| l.pre)
    }

    /// Stride of the first block where the kind stands alone and changes its width, as its documented
    /// examples have it. Shapes cannot tell.
    pub(super) fn lone_stride(self) -> usize {
        match self {
            Self::Basic | Self::PreBasic | Self::Bottleneck => 2,
            _ => 1,
        }
    }
}
