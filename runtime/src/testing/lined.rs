//! Groups of one and two vectors, over lines that are copied.

use super::conv::{Case, Tail, check_on, tile};
use super::{Kind, Rng};
use crate::desc::DType;
use crate::isa::Platform;
use crate::kernels::Shelf;

#[test]
fn groups_in_rows_of_every_width() {
    let mut rng = Rng::new(81);
    for platform in Platform::available() {
        let (_, _, lanes) = tile(platform);
        let mut taken = 0;
        for per_group in [16, 32] {
            for width in [6, 7, 10, 13, 14, 20, 27, 28, 41, 42, 84, 85] {
                for stride in [1, 2] {
                    let kind = rng.pick(&[Kind::Any, Kind::Plain, Kind::Relu, Kind::Relu]);
                    let tail = Tail { residual: None, store: Some(DType::I8), second: false, kind };
                    let channels = 64 * rng.int(1, 2) as usize;
                    let case = Case::new([rng.int(1, 8) as usize, width, channels], channels, 3);
                    let padding = rng.pick(&[1, 1, 1, 0, 2]);
                    let case = case.groups(channels / per_group).stride(stride).padding(padding);
                    if case.output().is_some() {
                        let parts = rng.int(1, 3) as usize;
                        let kernel = check_on(Shelf::new(0), &mut rng, platform, case, tail, parts);
                        // Other kernels of this name take smaller groups.
                        taken += usize::from(per_group == 32 && kernel == "grouped");
                    }
                }
            }
        }
        assert_eq!(taken >= 5, lanes == 16, "{} {taken}", platform.name());
    }
}

#[test]
fn groups_in_far_maps() {
    let mut rng = Rng::new(82);
    for platform in Platform::available() {
        for per_group in [16, 32] {
            let case = Case::new([15, 40, 1024], 1024, 3).groups(1024 / per_group);
            check_on(Shelf::new(0), &mut rng, platform, case, Tail::PLAIN, 2);
        }
    }
}
