//! Convolutions whose products are those of pairs, on the platforms that have them.

use super::Rng;
use super::conv::{Case, Tail, build, check_on};
use crate::isa::{Isa, Kernel, Platform};
use crate::kernels::{PackedConv, Shelf};

fn has_pairs(platform: Platform) -> bool {
    struct Has;
    impl Kernel for Has {
        type Output = bool;
        #[inline(always)]
        fn eval<I: Isa>(self, _: I) -> bool {
            I::PAIRS
        }
    }
    platform.run(Has)
}

/// Dense windows, with most of the pairs read again and with few.
#[test]
fn products_of_pairs() {
    let mut rng = Rng::new(12);
    for platform in Platform::available().filter(|&platform| has_pairs(platform)) {
        for pairs in [None, Some(true), Some(false)] {
            for (height, width) in [(1, 3), (2, 2), (5, 1), (3, 7), (5, 9)] {
                for channels in [16, 48, 96, 256] {
                    for (channels_out, groups) in [(5, 1), (16, 1), (24, 1), (136, 1), (80, 2)] {
                        for (size, stride) in [(1, 1), (3, 1), (2, 2), (3, 2)] {
                            let case =
                                Case::new([height, width, groups * channels], channels_out, size);
                            let case = case.groups(groups).stride(stride);
                            let tail =
                                if rng.chance(50) { Tail::PLAIN } else { Tail::random(&mut rng) };
                            if channels * size * size <= 1000 && case.output().is_some() {
                                let shelf =
                                    Shelf::new(0).with_winograd(Some(false)).with_pairs(pairs);
                                check_on(shelf, &mut rng, platform, case, tail, 1 + width % 3);
                            }
                        }
                    }
                }
            }
            // Almost as long as a row of activations may be, and longer.
            for channels in [2048, 5120, 5136] {
                let shelf = Shelf::new(0).with_pairs(pairs);
                check_on(
                    shelf,
                    &mut rng,
                    platform,
                    Case::new([1, 5, channels], 17, 1),
                    Tail::PLAIN,
                    1,
                );
            }
        }
    }
}

/// Small groups that stay in their lanes, with steps for what is too much and without.
#[test]
fn products_of_pairs_in_small_groups() {
    let mut rng = Rng::new(15);
    for platform in Platform::available().filter(|&platform| has_pairs(platform)) {
        for pairs in [None, Some(true), Some(false)] {
            for per_group in [4, 8, 16] {
                for width in [1, 2, 3, 7, 14] {
                    for (height, stride, dilation) in [(1, 1, 1), (4, 1, 2), (5, 1, 1), (5, 2, 1)] {
                        for channels in [32, 96] {
                            let case = Case::new([height, width, channels], channels, 3);
                            let case = case.groups(channels / per_group).stride(stride);
                            // Rows far apart, columns are not.
                            let case = Case { dilation: [dilation, 1], ..case };
                            let padding = [rng.int(1, 3) as usize, rng.int(0, 2) as usize];
                            let rows = rng.int(1, 4) as usize;
                            let case = Case { padding, behind: Some([2, 2]), ..case };
                            let case = Case { size: [rows, 3], ..case };
                            let shelf = Shelf::new(0).with_pairs(pairs);
                            if case.output().is_some() {
                                let parts = 1 + width % 3;
                                check_on(shelf, &mut rng, platform, case, Tail::PLAIN, parts);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn pairs_are_chosen_where_they_pay() {
    for platform in Platform::available() {
        let chosen = |case, pairs| {
            let mut rng = Rng::new(13);
            // Weights in a bell have orders, extreme ones have none.
            let chosen = |_| {
                let (bench, conv, _) = build(&mut rng, case, Tail::PLAIN);
                let mut shelf = Shelf::new(0).with_pairs(pairs);
                PackedConv::pack_on(platform, &conv, &bench, &mut shelf).is_in_pairs()
            };
            (0..20).map(chosen).filter(|&chosen| chosen).count()
        };
        let small_groups = Case::new([2, 4, 64], 64, 3);
        for case in [
            Case::new([2, 4, 256], 32, 1),
            small_groups.groups(16),
            small_groups.groups(8),
            small_groups.groups(4),
        ] {
            let count = chosen(case, None);
            let forced = [Some(true), Some(false)].map(|pairs| chosen(case, pairs));
            if has_pairs(platform) {
                // Small groups need sums that are finished in registers, and larger ones of them find partners always.
                let most = if case.groups > 1 { forced[0] - case.groups / 16 } else { 15 };
                assert!((1..=most).contains(&count), "{count} of {forced:?} {case:?}");
                assert!(forced[0] == 20 || case.groups > 1, "{case:?}");
                assert_eq!(forced[1], 0);
            } else {
                assert_eq!((count, forced), (0, [0; 2]), "{}", platform.name());
            }
        }
    }
}
