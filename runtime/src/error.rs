//! The one error type of the runtime: flat, `Copy`, comparable, without strings.

/// What is wrong with a model file or with a caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The file is shorter than its header or than the size its header states.
    Truncated,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => f.write_str("the model file is truncated"),
        }
    }
}

impl core::error::Error for Error {}
