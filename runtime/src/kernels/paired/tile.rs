//! Tiles whose sums go to memory: up to four rows by one or two vectors.

use super::Rows;
use crate::isa::{Isa, Kernel, PairPanel};
use crate::kernels::gemm::ToMemory;

/// Activations, weights, and what is asked for from memory meanwhile.
pub type Operands<'a> = (&'a Rows, PairPanel<'a>, &'a [i8]);

/// A tile whose sums go to memory.
struct Tile<'a, const MR: usize, const NV: usize> {
    operands: Operands<'a>,
    end: ToMemory<'a>,
}

impl<const MR: usize, const NV: usize> Kernel for Tile<'_, MR, NV> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Self { operands: (rows, panel, ahead), end } = self;
        let mut acc: [[I::I; NV]; MR] =
            core::array::from_fn(|r| core::array::from_fn(|n| end.start(isa, r, n, NV)));
        rows.add(isa, &mut acc, panel, ahead);
        end.take(isa, &acc);
    }
}

/// Every shape is a function of its own, as those of [`crate::kernels::gemm`].
macro_rules! shapes {
    ($isa:ident, $shape:ident, $operands:ident, $end:ident; $($mr:literal $nv:literal)*) => {
        match $shape {
            $(($mr, $nv) => $isa.enter(Tile::<$mr, $nv> { operands: $operands, end: $end }),)*
            _ => unreachable!("no such tile"),
        }
    };
}

/// Runs a tile of `shape` rows by vectors.
#[inline(always)]
pub fn tile<I: Isa>(isa: I, shape: (usize, usize), operands: Operands<'_>, end: ToMemory<'_>) {
    if const { I::PAIRS } {
        shapes!(isa, shape, operands, end; 1 1 2 1 3 1 4 1 1 2 2 2 3 2 4 2)
    }
}
