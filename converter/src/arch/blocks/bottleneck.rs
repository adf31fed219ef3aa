//! Post-activation bottleneck: 1x1, 3x3 with the stride (grouped in ResNeXt), 1x1, sum, act.
//!
//! `stride_at = 1` in the arch file gives the older form with the stride on the first 1x1.

use super::Layout;

pub(in crate::arch) const LAYOUT: Layout = Layout {
    convs: 3,
    pre: false,
    act_on_branch: false,
    act_on_sum: true,
    stride_at: 2,
    grouped_at: 2,
};
