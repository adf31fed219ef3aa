//! Widths of aggregated (ResNeXt) and wide bottlenecks; the block itself is [`super::bottleneck`] with groups.

use crate::error::{Error, Result};

/// Channels of the grouped convolution: `int(planes * base_width / 64) * groups`.
///
/// # Errors
/// The truncation leaves nothing (`planes * base_width < 64`), or `groups` is 0.
pub fn width(planes: usize, base_width: usize, groups: usize) -> Result<usize> {
    let width = planes.saturating_mul(base_width) / 64 * groups;
    if width == 0 {
        return Err(Error::Input(format!(
            "{planes} planes with base width {base_width} and {groups} groups give a block without channels: \
             int({planes} * {base_width} / 64) * {groups} = 0; planes * base_width must be at least 64"
        )));
    }
    Ok(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_truncate_as_documented() {
        assert_eq!(width(64, 4, 32).unwrap(), 128);
        assert_eq!(width(64, 8, 32).unwrap(), 256);
        assert_eq!(width(64, 4, 4).unwrap(), 16);
        assert_eq!(width(64, 128, 1).unwrap(), 128);
        assert_eq!(width(40, 4, 8).unwrap(), 16); // int(2.5) * 8
        assert!(width(8, 4, 32).unwrap_err().to_string().contains("without channels"));
    }
}
