//! The micro-kernel of arranged activations: up to four rows by one or two vectors.

use super::Arranged;
use crate::isa::{Isa, Kernel};
use crate::kernels::gemm::{End, ToEpilogue, ToMemory};

/// A tile and the end of its sums.
struct Tile<'a, I: Isa, E, const MR: usize, const NV: usize> {
    isa: I,
    x: &'a Arranged,
    weights: &'a [i8],
    ahead: &'a [i8],
    end: E,
}

impl<I0: Isa, E: End<I0>, const MR: usize, const NV: usize> Kernel for Tile<'_, I0, E, MR, NV> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, _: I) {
        let Self { isa, x, weights, ahead, end } = self;
        let mut acc: [[I0::I; NV]; MR] =
            core::array::from_fn(|r| core::array::from_fn(|n| end.start(isa, r, n, NV)));
        isa.pairs(&mut acc, &x.0, weights, ahead);
        end.take(isa, &acc);
    }
}

/// Every shape is a function of its own, as those of [`crate::kernels::gemm`].
macro_rules! shapes {
    ($isa:ident, $shape:ident, $operands:ident, $end:ident; $($mr:literal $nv:literal)*) => {
        match $shape {
            $(($mr, $nv) => {
                let (x, weights, ahead) = $operands;
                $isa.enter(Tile::<_, _, $mr, $nv> { isa: $isa, x, weights, ahead, end: $end });
            })*
            _ => unreachable!("no such tile"),
        }
    };
}

/// Runs a tile of `shape` rows by vectors. `operands`: activations, weights, and what is asked for from memory meanwhile.
#[inline(always)]
pub fn tile<I: Isa>(
    isa: I,
    shape: (usize, usize),
    operands: (&Arranged, &[i8], &[i8]),
    end: ToMemory<'_>,
) {
    if const { I::PAIRS } {
        shapes!(isa, shape, operands, end; 1 1 2 1 3 1 4 1 1 2 2 2 3 2 4 2)
    }
}

/// As [`tile`], of a shape whose sums are finished in registers.
#[inline(always)]
pub fn finished<I: Isa>(
    isa: I,
    shape: (usize, usize),
    operands: (&Arranged, &[i8], &[i8]),
    end: ToEpilogue<'_, '_, I>,
) {
    if const { I::PAIRS } {
        shapes!(isa, shape, operands, end; 4 1 2 2 3 2 4 2)
    }
}
