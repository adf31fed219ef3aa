//! Inverted residual: 1x1 expansion, depthwise 3x3 with the stride, linear 1x1, (SE), sum, nothing behind it.

use super::Layout;

pub(in crate::arch) const LAYOUT: Layout = Layout {
    convs: 3,
    pre: false,
    act_on_branch: false,
    act_on_sum: false,
    stride_at: 2,
    grouped_at: 2,
};
