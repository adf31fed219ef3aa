//! Every [`Form`] of an epilogue, behind tiles of every height.

use super::conv::{Case, Tail, build, check_on, tile};
use super::{Kind, Rng};
use crate::desc::{DType, Residual};
use crate::isa::Platform;
use crate::kernels::{Form, PackedConv, Shelf};
use crate::quant::{MULTIPLIER_BITS, RESIDUAL_BITS, has_bits};

/// An epilogue of each form.
const TAILS: [(Form, Tail); 8] = {
    const I8: Option<DType> = Some(DType::I8);
    const I16: Option<DType> = Some(DType::I16);
    [
        (
            Form::Any,
            Tail { residual: None, store: Some(DType::I16), second: true, kind: Kind::Plain },
        ),
        (
            Form::Words,
            Tail { residual: None, store: Some(DType::I16), second: false, kind: Kind::Plain },
        ),
        (Form::Store, Tail { residual: None, store: I8, second: false, kind: Kind::Plain }),
        (Form::Relu, Tail { residual: None, store: I8, second: false, kind: Kind::Relu }),
        (Form::Sum, Tail { residual: I8, store: I8, second: false, kind: Kind::Plain }),
        (Form::ReluSum, Tail { residual: I8, store: I8, second: false, kind: Kind::Relu }),
        (Form::ReluSumSecond, Tail { residual: I8, store: None, second: true, kind: Kind::Relu }),
        (Form::PreActivation, Tail { residual: I16, store: I16, second: true, kind: Kind::Relu }),
    ]
};

#[test]
fn epilogues_have_the_form_that_they_are_written_for() {
    let mut rng = Rng::new(71);
    for platform in Platform::available() {
        for (form, tail) in TAILS {
            for _ in 0..8 {
                let (bench, conv, _) = build(&mut rng, Case::new([1, 9, 16], 64, 1), tail);
                let is_exact = |r: Residual| has_bits(r.multiplier, RESIDUAL_BITS);
                let is_served =
                    form == Form::PreActivation || conv.epilogue.residual.is_none_or(is_exact);
                let form = if is_served { form } else { Form::Any };
                assert_eq!(PackedConv::pack(platform, &conv, &bench).form(), form, "{tail:?}");
            }
        }
        assert_eq!(TAILS.map(|(form, _)| form), Form::ALL);
    }
}

#[test]
fn tiles_of_every_height_and_form() {
    let mut rng = Rng::new(72);
    for platform in Platform::available() {
        let (rows, wide, lanes) = tile(platform);
        for (_, tail) in TAILS {
            for pixels in 1..=2 * rows + 1 {
                // Panels of one, some and four vectors, several of a kind, and of a part of a vector.
                for channels in [lanes, wide, 3 * wide, 4 * lanes, 8 * lanes + wide + 3] {
                    let case = Case::new([1, pixels, 32], channels, 1);
                    check_on(Shelf::new(0), &mut rng, platform, case, tail, 1);
                }
            }
            // Windows of several runs, in groups and not.
            for groups in [1, 2] {
                let case = Case::new([7, 2 * rows, 32 * groups], 4 * lanes * groups, 3);
                check_on(Shelf::new(0), &mut rng, platform, case.groups(groups), tail, 2);
            }
        }
    }
}

/// Winograd's sums, which come from memory, of panels of all their vectors and of some.
#[test]
fn winograd_of_every_form() {
    let mut rng = Rng::new(74);
    for platform in Platform::available().filter(|p| *p != Platform::scalar()) {
        let (_, wide, lanes) = tile(platform);
        for (_, tail) in TAILS {
            for channels in [lanes, wide, 3 * wide, 2 * wide + 3] {
                for depth in [16, 80] {
                    let case = Case::new([9, 14, depth], channels, 3);
                    let shelf = Shelf::new(0).with_winograd(Some(true));
                    assert_eq!(check_on(shelf, &mut rng, platform, case, tail, 2), "winograd");
                }
            }
        }
    }
}

/// Sums are raised where multipliers have few bits and sums do not need more than 23.
#[test]
fn sums_are_raised_where_they_can_be() {
    let mut rng = Rng::new(73);
    let first = Case { size: [7; 2], padding: [3; 2], ..Case::new([19, 40, 3], 64, 7) }.stride(2);
    let cases = [
        (Case::new([1, 30, 64], 96, 1), true),
        (Case::new([9, 9, 32], 64, 3).groups(2), true),
        (Case::new([9, 30, 64], 64, 3).groups(8), true),
        (first, true),
        (Case::new([1, 30, 4096], 32, 1), false),
    ];
    for platform in Platform::available() {
        let fuses = !["scalar", "neon"].contains(&platform.name());
        for (case, fits) in cases {
            let mut seen = [false; 2];
            for _ in 0..40 {
                let (bench, conv, _) =
                    build(&mut rng, case, Tail { kind: Kind::Relu, ..Tail::PLAIN });
                let multipliers = bench.read_f32s(conv.multiplier);
                let few = multipliers.iter().filter(|m| has_bits(**m, MULTIPLIER_BITS)).count();
                let packed = PackedConv::pack(platform, &conv, &bench);
                // Sums of images go through memory on narrower vectors.
                let fits = fits && (packed.kernel() != "stem" || platform.name() == "avx512vnni");
                // A number of many bits may do by chance, but not all of them.
                if few == multipliers.len() {
                    assert_eq!(packed.is_raised(), fits && fuses, "{} {case:?}", platform.name());
                } else if few < multipliers.len() / 2 {
                    assert!(!packed.is_raised(), "{} {case:?}", platform.name());
                } else {
                    continue;
                }
                seen[usize::from(few == multipliers.len())] = true;
            }
            assert_eq!(seen, [true; 2]);
        }
    }
}
