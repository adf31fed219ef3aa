//! Every [`Form`] of an epilogue, behind tiles of every height.

use super::conv::{Case, Tail, build, check_on, tile};
use super::{Kind, Rng};
use crate::desc::DType;
use crate::isa::Platform;
use crate::kernels::{Form, PackedConv, Shelf};

/// An epilogue of each form.
const TAILS: [(Form, Tail); 7] = {
    const I8: Option<DType> = Some(DType::I8);
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
    ]
};

#[test]
fn epilogues_have_the_form_that_they_are_written_for() {
    let mut rng = Rng::new(71);
    for platform in Platform::available() {
        for (form, tail) in TAILS {
            let (bench, conv, _) = build(&mut rng, Case::new([1, 9, 16], 64, 1), tail);
            assert_eq!(PackedConv::pack(platform, &conv, &bench).form(), form, "{tail:?}");
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
