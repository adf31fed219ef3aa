//! Convolutions that are divided by output channels, though they have several pixels.

use super::Rng;
use super::conv::{Case, Tail, build, check_on};
use crate::arena::{self, Arena, Outputs, Target};
use crate::desc::TensorDesc;
use crate::isa::Platform;
use crate::kernels::{Io, PackedConv, Shelf};
use crate::ops::Units;
use alloc::vec::Vec;

/// Runs a part of the channels of all pixels, in an arena that begins and ends as the outputs are.
pub(super) fn run_columns(
    packed: &PackedConv,
    io: Io<'_>,
    written: &mut [Option<(TensorDesc, &mut [u8])>; 2],
) {
    let mut all = Vec::new();
    let units = io.range.len();
    let targets = written.each_ref().map(|written| {
        let (desc, bytes) = written.as_ref()?;
        let at = all.len();
        all.extend_from_slice(bytes);
        let element = desc.dtype.bytes() as usize;
        let start = at + io.range.start * element;
        let row_bytes = desc.pixel_stride as usize * element;
        let rows = desc.pixels() as usize;
        Some(Target { start, step_bytes: element, unit_bytes: element, rows, row_bytes })
    });
    let mut buffer = alloc::vec![0; all.len() + arena::ALIGNMENT];
    let mut arena = Arena::new(&mut buffer, all.len()).unwrap();
    let whole = Target { start: 0, step_bytes: 1, unit_bytes: 1, rows: 1, row_bytes: 0 };
    let whole = Outputs { targets: [Some(whole), None], units: all.len(), granule: 1 };
    arena.lease(&whole).outputs[0].as_mut().unwrap().copy_from_slice(&all);
    let lease = arena.lease(&Outputs { targets, units, granule: 1 });
    packed.run_in_columns(io, lease.columns);
    let lease = arena.lease(&whole);
    let mut rest = &**lease.outputs[0].as_ref().unwrap();
    for (_, bytes) in written.iter_mut().flatten() {
        let (these, others) = rest.split_at(bytes.len());
        bytes.copy_from_slice(these);
        rest = others;
    }
}

/// Work divided by channels, though there are several pixels.
#[test]
fn columns_of_channels() {
    let mut rng = Rng::new(21);
    for platform in Platform::available() {
        for (height, width) in [(1, 2), (3, 3), (7, 7)] {
            for channels_out in [24, 64, 72, 200] {
                for (channels, size, parts) in [(16, 1, 1), (40, 1, 2), (64, 3, 3)] {
                    let case = Case::new([height, width, channels], channels_out, size);
                    let tail = if rng.chance(30) { Tail::PLAIN } else { Tail::random(&mut rng) };
                    let shelf = Shelf::new(0).with_winograd(Some(false)).with_columns(Some(true));
                    check_on(shelf, &mut rng, platform, case, tail, parts);
                }
            }
        }
        for (height, width) in [(4, 4), (5, 9), (9, 6)] {
            for (channels, channels_out, parts) in [(16, 24, 1), (40, 72, 2), (32, 200, 3)] {
                let case = Case::new([height, width, channels], channels_out, 3);
                let tail = if rng.chance(30) { Tail::PLAIN } else { Tail::random(&mut rng) };
                let shelf = Shelf::new(0).with_winograd(Some(true)).with_columns(Some(true));
                check_on(shelf.threads(parts), &mut rng, platform, case, tail, parts);
            }
        }
        // More than is computed before it is copied.
        let case = Case::new([16, 17, 16], 600, 1);
        let shelf = Shelf::new(0).with_columns(Some(true));
        check_on(shelf, &mut rng, platform, case, Tail::PLAIN, 2);
    }
}

#[test]
fn columns_are_chosen_where_each_thread_would_read_many_weights() {
    let mut rng = Rng::new(22);
    let mut units = |case, threads| {
        let (bench, conv, _) = build(&mut rng, case, Tail::PLAIN);
        let mut shelf = Shelf::new(0).threads(threads);
        PackedConv::pack_on(Platform::detect(), &conv, &bench, &mut shelf).units()
    };
    let case = |pixels: usize| Case::new([1, pixels, 1024], 288, 1);
    if Platform::detect() != Platform::scalar() {
        assert!(matches!(units(case(8), 2), Units::Columns(_)));
        assert_eq!(units(case(8), 1), Units::Pixels);
        assert_eq!(units(case(8), 4), Units::Pixels, "too few channels");
        assert_eq!(units(case(2 * 64), 2), Units::Pixels, "many pixels");
        assert_eq!(units(Case::new([1, 8, 256], 512, 1), 2), Units::Pixels, "few weights");
        assert_eq!(units(Case::new([1, 8, 2048], 288, 1).groups(2), 2), Units::Pixels);
    }
}

#[test]
fn few_bands_are_divided_by_channels() {
    let mut rng = Rng::new(23);
    let mut units = |side: usize, channels: usize, threads| {
        let case = Case::new([side, side, channels], channels, 3);
        let (bench, conv, _) = build(&mut rng, case, Tail::PLAIN);
        let mut shelf = Shelf::new(0).threads(threads).with_winograd(Some(true));
        PackedConv::pack_on(Platform::detect(), &conv, &bench, &mut shelf).units()
    };
    if Platform::detect() != Platform::scalar() {
        assert!(matches!(units(20, 128, 2), Units::Columns(_)), "five bands");
        assert!(matches!(units(20, 128, 1), Units::Bands(_)));
        assert!(matches!(units(20, 64, 2), Units::Bands(_)), "too few channels");
        assert!(matches!(units(64, 128, 2), Units::Bands(_)), "sixteen bands");
    }
}
