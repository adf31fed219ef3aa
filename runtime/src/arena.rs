//! The arena.

/// Alignment of the arena's first byte, in bytes.
pub const ALIGNMENT: usize = 64;
