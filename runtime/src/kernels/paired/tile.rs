//! Tiles whose sums go to memory.

use super::{Rows, VECTORS};
use crate::isa::{Isa, Kernel, PairPanel};
use crate::kernels::gemm::ToMemory;

/// Activations, weights, and what is asked for from memory meanwhile.
pub type Operands<'a, 'r> = (&'a mut Rows<'r>, PairPanel<'a>, &'a [i8]);

/// A tile whose sums go to memory.
struct Tile<'a, 'r, const MR: usize> {
    operands: Operands<'a, 'r>,
    end: ToMemory<'a>,
}

impl<const MR: usize> Kernel for Tile<'_, '_, MR> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Self { operands: (rows, panel, ahead), end } = self;
        let mut acc: [[I::I; VECTORS]; MR] =
            core::array::from_fn(|r| [end.start(isa, r, 0, VECTORS)]);
        rows.add(isa, &mut acc, &panel, ahead);
        end.take(isa, &acc);
    }
}

/// Every shape is a function of its own, as those of [`crate::kernels::gemm`].
macro_rules! shapes {
    ($isa:ident, $rows:ident, $operands:ident, $end:ident; $($mr:literal)*) => {
        match $rows {
            $($mr => $isa.enter(Tile::<$mr> { operands: $operands, end: $end }),)*
            _ => unreachable!("no such tile"),
        }
    };
}

/// Runs a tile of so many rows.
#[inline(always)]
pub fn tile<I: Isa>(isa: I, rows: usize, operands: Operands<'_, '_>, end: ToMemory<'_>) {
    if const { I::PAIRS } {
        shapes!(isa, rows, operands, end; 1 2 3 4 5 6 7 8)
    }
}
