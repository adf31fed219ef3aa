//! Pre-activation basic block, the wide residual block: bn-act-conv, bn-act-conv, sum.
//!
//! The projection is a bare 1x1 convolution. In some repositories it reads the block's raw input, in others
//! the tensor behind the first batch norm and activation: [`crate::arch::file::Projection`].

use super::Layout;

pub(in crate::arch) const LAYOUT: Layout = Layout {
    convs: 2,
    pre: true,
    act_on_branch: false,
    act_on_sum: false,
    stride_at: 1,
    grouped_at: 1,
};
