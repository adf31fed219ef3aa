//! Pre-activation bottleneck: bn-act-1x1, bn-act-3x3 with the stride, bn-act-1x1, sum.

use super::Layout;

pub(in crate::arch) const LAYOUT: Layout = Layout {
    convs: 3,
    pre: true,
    act_on_branch: false,
    act_on_sum: false,
    stride_at: 2,
    grouped_at: 2,
};
