//! Grouped residual: one grouped 3x3 with batch norm and ReLU, *then* the sum, and nothing behind it.
//!
//! The branch is never negative, so the stream grows with depth. The documented class projects with stride 1
//! whatever the stride of its convolution, which only works for stride 1; the sum refuses the rest.

use super::Layout;

pub(in crate::arch) const LAYOUT: Layout = Layout {
    convs: 1,
    pre: false,
    act_on_branch: true,
    act_on_sum: false,
    stride_at: 1,
    grouped_at: 1,
};
