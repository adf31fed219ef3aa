//! The depth rule of wide residual networks: `6n + 4`, n blocks in each of three stages.

use super::file::ArchFile;

/// Blocks per stage, or what is wrong with the depth and the nearest valid ones.
pub(super) fn blocks(depth: usize) -> Result<usize, String> {
    if depth >= 10 && (depth - 4).is_multiple_of(6) {
        return Ok((depth - 4) / 6);
    }
    let below = if depth > 10 { Some((depth - 4) / 6 * 6 + 4) } else { None };
    let above = if depth < 10 { 10 } else { (depth - 4) / 6 * 6 + 10 };
    let nearest = below.map_or_else(|| above.to_string(), |b| format!("{b} and {above}"));
    Err(format!(
        "depth {depth} is not 6n+4 (n blocks in each of three stages); the nearest valid depths are {nearest}"
    ))
}

/// The depth of three stages of equal length.
pub(super) fn of(arch: &ArchFile) -> Option<usize> {
    match arch.stages.as_slice() {
        [a, b, c] if a.count == b.count && b.count == c.count => Some(6 * a.count + 4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths() {
        assert_eq!(blocks(28), Ok(4));
        assert_eq!(blocks(16), Ok(2));
        assert_eq!(blocks(10), Ok(1));
        assert!(blocks(128).unwrap_err().contains("124 and 130"));
        assert!(blocks(29).unwrap_err().contains("28 and 34"));
        assert!(blocks(3).unwrap_err().contains("are 10"));
        assert!(blocks(0).is_err());
    }
}
