//! First layers on every platform with a kernel for them.

use super::conv::{Case, Tail, check_on, tile};
use super::{Kind, Rng};
use crate::isa::Platform;
use crate::kernels::Shelf;

/// Runs a case in parts; whether it was the kernel for first layers that ran it.
fn is_stem(rng: &mut Rng, platform: Platform, case: Case, parts: usize) -> bool {
    let tail = if rng.chance(50) { Tail::PLAIN } else { Tail::random(rng) };
    let shelf = Shelf::new(0).with_winograd(Some(false));
    check_on(shelf, rng, platform, case, tail, parts) == "stem"
}

#[test]
fn images_of_every_width() {
    let mut rng = Rng::new(31);
    for platform in Platform::available() {
        let (_, channels, lanes) = tile(platform);
        for depth in [3, 4] {
            for size in 1..=7 {
                for stride in [1, 2] {
                    let mut stems = 0;
                    for width in (1..24).chain([64, 65, 131]) {
                        let channels_out = rng.int(1, channels as i32) as usize;
                        let case = Case::new([7, width, depth], channels_out, size).stride(stride);
                        let case = case.padding(rng.int(0, size as i32) as usize);
                        if case.output().is_some() {
                            // Not where the pixels of the map are apart.
                            stems += usize::from(is_stem(&mut rng, platform, case, 1 + width % 3));
                        }
                    }
                    assert_eq!(stems >= 5, lanes >= 8, "{} {size} {stems}", platform.name());
                }
            }
        }
    }
}

#[test]
fn images_to_whole_lines() {
    let mut rng = Rng::new(33);
    for platform in Platform::available() {
        let (.., lanes) = tile(platform);
        for kind in [Kind::Plain, Kind::Relu] {
            let tail = Tail { kind, ..Tail::PLAIN };
            for (depth, size, stride) in [(3, 7, 2), (3, 3, 1), (4, 7, 2), (4, 5, 1)] {
                let mut stems = 0;
                for width in [12, 13, 24, 65, 131] {
                    let case = Case::new([9, width, depth], 4 * lanes, size).stride(stride);
                    let shelf = Shelf::new(0).with_winograd(Some(false));
                    let kernel = check_on(shelf, &mut rng, platform, case, tail, 1 + width % 3);
                    stems += usize::from(kernel == "stem");
                }
                // Where there are tiles of four vectors, and the pixels of the map are not apart.
                assert_eq!(stems >= 1, lanes == 16, "{} {size} {stems}", platform.name());
            }
        }
    }
}

#[test]
fn windows_of_every_shape() {
    let mut rng = Rng::new(32);
    for platform in Platform::available() {
        for height in [1, 2, 5] {
            for width in 1..=7 {
                for padding in [[0, 0], [0, 3], [4, 1]] {
                    let case = Case::new([5, 21, 3], 7, 1);
                    let case =
                        Case { size: [height, width], padding, behind: Some([2, 0]), ..case };
                    for stride in [[1, 1], [3, 2], [2, 1]] {
                        is_stem(&mut rng, platform, Case { stride, ..case }, 2);
                    }
                }
            }
        }
    }
}
