//! Further input sizes: the section itself, then each size like the first one.

use super::super::{MAX_SIZES, Section};
use crate::{Error, Model};

/// Checks the sizes behind the first, which was checked before.
pub(super) fn verify(model: &Model<'_>) -> Result<(), Error> {
    if model.layout().section(Section::Sizes).is_empty() {
        return Ok(());
    }
    let count = model.size_count();
    if !(2..=MAX_SIZES).contains(&count) || !model.sizes_are_whole() {
        return Err(Error::SizesSection);
    }
    for index in 1..count {
        let size = index as u32;
        let other = model.at(index).ok_or(Error::SizesSection)?;
        if let Some(op) = other.bad_geometry() {
            return Err(Error::SizeGeometry { size, op });
        }
        super::verify_size(&other)?;
        if (0..index).any(|before| model.at(before).is_some_and(|m| m.size() == other.size())) {
            return Err(Error::SizeRepeated { size });
        }
    }
    Ok(())
}
