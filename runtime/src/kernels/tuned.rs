//! Choices of blocking that were measured: `kenar bench MODEL --tune` times the alternatives in whole runs of a network
//! and prints rows of [`TABLE`]. What no row names takes the usual choice of `super::indirect`. Results are the same
//! bytes either way.

/// How the weights of a convolution are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocking {
    /// Panels of four vectors of output channels, where the instruction set has tiles for them.
    pub wide: bool,
    /// KiB of weights that stay in the second cache level while all pixels pass.
    pub block_kib: u16,
}

/// What a choice depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Instruction set.
    pub isa: &'static str,
    /// Output pixels.
    pub pixels: usize,
    /// Output channels.
    pub channels: usize,
    /// Runs of bytes that an output pixel is computed from: taps, or rows of a window.
    pub runs: usize,
    /// Bytes of a run.
    pub depth: usize,
}

/// Instruction set, `[pixels, channels, runs, depth]`, wide, KiB of a block.
type Row = (&'static str, [usize; 4], bool, u16);

/// One row for each problem that something else than the usual choice is faster for, as `kenar bench --tune` prints it.
const TABLE: &[Row] = &[
    // ImageNet's linear layer: one pixel, so the weights pass once in any case.
    ("avx512vnni", [1, 1000, 1, 2048], false, 1024),
];

/// The measured choice.
pub(super) fn measured(problem: &Problem) -> Option<Blocking> {
    find(TABLE, problem)
}

fn find(table: &[Row], problem: &Problem) -> Option<Blocking> {
    let Problem { isa, pixels, channels, runs, depth } = *problem;
    let sizes = [pixels, channels, runs, depth];
    let row = table.iter().find(|row| row.0 == isa && row.1 == sizes)?;
    Some(Blocking { wide: row.2, block_kib: row.3 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_by_set_and_sizes() {
        let table: &[Row] =
            &[("avx2", [49, 64, 9, 32], true, 128), ("neon", [49, 64, 9, 32], false, 64)];
        let problem = |isa, depth| Problem { isa, pixels: 49, channels: 64, runs: 9, depth };
        let blocking = |wide, block_kib| Some(Blocking { wide, block_kib });
        assert_eq!(find(table, &problem("avx2", 32)), blocking(true, 128));
        assert_eq!(find(table, &problem("neon", 32)), blocking(false, 64));
        assert_eq!(find(table, &problem("scalar", 32)), None);
        assert_eq!(find(table, &problem("avx2", 31)), None);
    }

    #[test]
    fn no_problem_is_in_the_table_twice() {
        for (i, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..i].iter().all(|r| (r.0, r.1) != (row.0, row.1)), "{row:?}");
            assert!((16..=4096).contains(&row.3), "{row:?}");
        }
    }
}
