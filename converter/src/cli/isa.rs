//! Names of kernel families on the command line.

/// Every name that `--isa` takes, on any machine.
pub const NAMES: [&str; 7] = ["scalar", "avx2", "avxvnni", "avx512vnni", "neon", "dotprod", "i8mm"];
