//! The layers of nine networks as `kenar convert` lowers them, each shape once with how often it occurs, and some more
//! shapes for kernels that these networks have no use for.

mod detectors;
mod resnet;
mod resnext;
mod wide;
mod yolo;

use crate::layer::{Kind, Layer, conv, linear, max_pool, other};

/// Networks by name.
pub const NETWORKS: &[(&str, &[Layer])] = &[
    ("resnet50", resnet::RESNET50),
    ("wide_resnet50_2", resnet::WIDE_RESNET50_2),
    ("resnext50_32x4d", resnext::RESNEXT50_32X4D),
    ("se_resnext50", resnext::SE_RESNEXT50),
    ("wrn28_2_c32", wide::WRN28_2_C32),
    ("wrn16_4_320", wide::WRN16_4_320),
    ("det_r50_320", detectors::DET_R50_320),
    ("det_rx50_640", detectors::DET_RX50_640),
    ("yolov8n_640", yolo::YOLOV8N_640),
    ("further", FURTHER),
];

/// Groups of all sizes, depthwise, sums, tables, windows of odd sizes.
const FURTHER: &[Layer] = &[
    conv(1, [28, 28, 256], 256, 3).groups(32),
    conv(1, [28, 28, 256], 256, 3).groups(16),
    conv(1, [28, 28, 256], 256, 3).groups(8).stride(2),
    conv(1, [28, 28, 128], 128, 3).groups(128),
    conv(1, [28, 28, 128], 128, 3).groups(128).stride(2),
    conv(1, [14, 14, 256], 256, 5).groups(256),
    conv(1, [40, 40, 64], 64, 3).groups(64).silu(),
    conv(1, [14, 14, 256], 256, 3).table(),
    conv(1, [13, 13, 100], 60, 3),
    linear(1, 512, 1000),
    other(1, [28, 28, 256], Kind::Add),
    other(1, [32, 32, 64], Kind::Add).add_wide().wide().second(),
    other(1, [28, 28, 256], Kind::Table),
    other(1, [32, 32, 64], Kind::Affine),
    other(1, [20, 20, 256], Kind::Average),
    max_pool(1, [40, 40, 128], 2, 2),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_their_multiply_accumulates() {
        let macs = |wanted: &str| {
            let layers = NETWORKS.iter().find(|(name, _)| *name == wanted).unwrap().1;
            layers.iter().map(|l| u64::from(l.count) * l.macs()).sum::<u64>() as f64 / 1e9
        };
        // Published figures; the mask channel of the first layer is counted here.
        for (name, gmacs) in [
            ("resnet50", 4.09),
            ("wide_resnet50_2", 11.40),
            ("resnext50_32x4d", 4.23),
            ("yolov8n_640", 4.37),
        ] {
            let found = macs(name);
            assert!((gmacs..gmacs * 1.02).contains(&found), "{name}: {found}");
        }
        for (name, layers) in NETWORKS {
            assert!(layers.iter().all(|l| l.count > 0), "{name}");
        }
    }
}
