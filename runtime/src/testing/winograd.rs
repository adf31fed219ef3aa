//! Exact Winograd convolution on every platform, where it is possible at all.

use super::Rng;
use super::conv::{Case, Tail, build, check_on};
use crate::isa::Platform;
use crate::kernels::{PackedConv, Shelf};

/// Platforms for which it is compiled.
fn platforms() -> impl Iterator<Item = Platform> {
    Platform::available().filter(|p| *p != Platform::scalar())
}

/// Runs a case by Winograd's method, in parts.
fn check(rng: &mut Rng, platform: Platform, case: Case, tail: Tail, parts: usize) {
    let shelf = Shelf::new(0).with_winograd(Some(true));
    assert_eq!(check_on(shelf, rng, platform, case, tail, parts), "winograd", "{case:?}");
}

#[test]
fn maps_of_every_size() {
    let mut rng = Rng::new(21);
    for platform in platforms() {
        for height in 1..10 {
            for width in 4..14 {
                // Few channels are multiplied column by column on some platforms.
                for depth in [5, 70] {
                    let case = Case::new([height, width, depth], 20, 3);
                    let tail = Tail::random(&mut rng);
                    check(&mut rng, platform, case, tail, 1 + width % 3);
                }
            }
        }
        check(&mut rng, platform, Case::new([29, 53, 16], 16, 3), Tail::PLAIN, 2);
    }
}

#[test]
fn channels_of_every_number() {
    let mut rng = Rng::new(22);
    for platform in platforms() {
        for depth in [1, 2, 15, 16, 17, 31, 32, 33, 64, 70] {
            for channels_out in [1, 8, 15, 16, 17, 32, 33, 48, 65] {
                let case = Case::new([7, 11, depth], channels_out, 3);
                let tail = Tail::random(&mut rng);
                check(&mut rng, platform, case, tail, 2);
            }
        }
    }
}

#[test]
fn padding_of_every_width() {
    let mut rng = Rng::new(23);
    for platform in platforms() {
        for padding in [[0, 0], [1, 1], [2, 2], [0, 3], [5, 1]] {
            for behind in [[0, 0], [1, 1], [2, 3], [4, 0]] {
                let case = Case::new([6, 9, 20], 18, 3);
                let case = Case { padding, behind: Some(behind), ..case };
                let tail = Tail::random(&mut rng);
                check(&mut rng, platform, case, tail, 3);
            }
        }
    }
}

#[test]
fn sums_that_could_be_too_large_are_left_to_others() {
    let mut rng = Rng::new(24);
    for platform in platforms() {
        let shelf = Shelf::new(0).with_winograd(Some(true));
        let case = Case::new([4, 4, 1300], 8, 3);
        assert_eq!(check_on(shelf, &mut rng, platform, case, Tail::PLAIN, 1), "indirect");
    }
}

/// Accumulators begin with the bias, and multipliers are divided by 64.
#[test]
fn biases_and_multipliers_that_would_lose_digits_are_left_to_others() {
    let mut rng = Rng::new(26);
    for platform in platforms() {
        let mut is_chosen = |bias: i32, multiplier: f32| {
            let (mut bench, mut conv, _) =
                build(&mut rng, Case::new([4, 4, 16], 8, 3), Tail::PLAIN);
            conv.bias = bench.constant([bias; 8].iter().flat_map(|bias| bias.to_le_bytes()));
            conv.multiplier = bench.f32s([multiplier; 8]);
            let mut shelf = Shelf::new(0).with_winograd(Some(true));
            PackedConv::pack_on(platform, &conv, &bench, &mut shelf).kernel() == "winograd"
        };
        assert!(is_chosen(20_000_000, 1e-3));
        assert!(!is_chosen(1 << 25, 1e-3));
        assert!(!is_chosen(i32::MIN, 1e-3));
        assert!(!is_chosen(0, f32::MIN_POSITIVE));
        assert!(is_chosen(0, 64.0 * f32::MIN_POSITIVE));
        assert!(is_chosen(0, 0.0));
    }
}

#[test]
fn it_is_chosen_where_it_pays() {
    let mut rng = Rng::new(25);
    for platform in platforms() {
        let mut chosen = |size: usize, channels: usize, threads: usize| {
            let case = Case::new([size, size, channels], channels, 3);
            let shelf = Shelf::new(0).threads(threads);
            check_on(shelf, &mut rng, platform, case, Tail::PLAIN, threads) == "winograd"
        };
        // On large maps always; where weights are transformed for few tiles, only if other products are slow.
        assert!(chosen(16, 32, 1) && chosen(32, 32, 4), "{}", platform.name());
        assert_eq!(chosen(8, 128, 1), !platform.name().ends_with("vnni"), "{}", platform.name());
        assert!(!chosen(1, 64, 1));
        // More threads than rows of tiles would be idle.
        assert!(!chosen(8, 128, 16), "{}", platform.name());
    }
}
