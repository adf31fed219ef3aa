//! Post-activation basic block: conv-bn-act, conv-bn, (SE), sum, act.

use super::Layout;

pub(in crate::arch) const LAYOUT: Layout = Layout {
    convs: 2,
    pre: false,
    act_on_branch: false,
    act_on_sum: true,
    stride_at: 1,
    grouped_at: 1,
};
