//! Wide pre-activation networks.

use crate::layer::{Kind, Layer, conv, linear, other};

/// WRN-28-2 at 32x32, pre-activation.
pub(super) const WRN28_2_C32: &[Layer] = &[
    conv(1, [32, 32, 4], 16, 3),
    conv(1, [32, 32, 16], 32, 1).wide(),
    conv(1, [32, 32, 16], 32, 3),
    conv(3, [32, 32, 32], 32, 3).add_wide().second().wide(),
    conv(3, [32, 32, 32], 32, 3),
    conv(1, [32, 32, 32], 32, 3).add_wide().affine(),
    conv(1, [32, 32, 32], 64, 1).stride(2).wide(),
    conv(1, [32, 32, 32], 64, 3).stride(2),
    conv(3, [16, 16, 64], 64, 3).add_wide().second().wide(),
    conv(3, [16, 16, 64], 64, 3),
    conv(1, [16, 16, 64], 64, 3).add_wide().affine(),
    conv(1, [16, 16, 64], 128, 1).stride(2).wide(),
    conv(1, [16, 16, 64], 128, 3).stride(2),
    conv(3, [8, 8, 128], 128, 3).add_wide().second().wide(),
    conv(3, [8, 8, 128], 128, 3),
    conv(1, [8, 8, 128], 128, 3).add_wide().affine(),
    other(1, [8, 8, 128], Kind::Average),
    linear(1, 128, 10).wide(),
];

/// WRN-16-4 at 320x320, pre-activation.
pub(super) const WRN16_4_320: &[Layer] = &[
    conv(1, [320, 320, 4], 16, 3).stride(2),
    conv(1, [160, 160, 16], 64, 1).wide(),
    conv(1, [160, 160, 16], 64, 3),
    conv(1, [160, 160, 64], 64, 3).add_wide().second().wide(),
    conv(1, [160, 160, 64], 64, 3),
    conv(1, [160, 160, 64], 64, 3).add_wide().affine(),
    conv(1, [160, 160, 64], 128, 1).stride(2).wide(),
    conv(1, [160, 160, 64], 128, 3).stride(2),
    conv(1, [80, 80, 128], 128, 3).add_wide().second().wide(),
    conv(1, [80, 80, 128], 128, 3),
    conv(1, [80, 80, 128], 128, 3).add_wide().affine(),
    conv(1, [80, 80, 128], 256, 1).stride(2).wide(),
    conv(1, [80, 80, 128], 256, 3).stride(2),
    conv(1, [40, 40, 256], 256, 3).add_wide().second().wide(),
    conv(1, [40, 40, 256], 256, 3),
    conv(1, [40, 40, 256], 256, 3).add_wide().affine(),
    other(1, [40, 40, 256], Kind::Average),
    linear(1, 256, 10).wide(),
];
