//! What epilogues do, as far as functions are compiled for it.

use crate::desc::DType;

/// What an epilogue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Form {
    /// More than any of the others.
    Any,
    /// Stores i16.
    Words,
    /// Stores i8.
    Store,
    /// Stores i8 behind a ReLU.
    Relu,
    /// Adds a residual of i8 and stores i8.
    Sum,
    /// Adds a residual of i8 that was stored behind a ReLU, and stores i8 behind another one.
    ReluSum,
    /// The same, but stores only the second result.
    ReluSumSecond,
}

/// What there is of an epilogue without tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub residual: Option<DType>,
    pub store: Option<DType>,
    pub second: Option<DType>,
    /// Whether 0.0 is the smallest i8 in all of these tensors, and stores have no other limits: what a ReLU leaves.
    pub whole: bool,
}

impl Form {
    /// All of them, each in its own place.
    pub const ALL: [Self; 7] = [
        Self::Any,
        Self::Words,
        Self::Store,
        Self::Relu,
        Self::Sum,
        Self::ReluSum,
        Self::ReluSumSecond,
    ];

    /// That of an epilogue.
    pub(super) fn of(parts: Parts) -> Self {
        let form = |parts| Self::ALL.into_iter().find(|form| form.parts() == Some(parts));
        form(parts).or_else(|| form(Parts { whole: false, ..parts })).unwrap_or(Self::Any)
    }

    /// What there is.
    pub(super) const fn parts(self) -> Option<Parts> {
        const I8: Option<DType> = Some(DType::I8);
        let (residual, store, second) = match self {
            Self::Any => return None,
            Self::Words => (None, Some(DType::I16), None),
            Self::Store | Self::Relu => (None, I8, None),
            Self::Sum | Self::ReluSum => (I8, I8, None),
            Self::ReluSumSecond => (I8, None, I8),
        };
        let whole = matches!(self, Self::Relu | Self::ReluSum | Self::ReluSumSecond);
        Some(Parts { residual, store, second, whole })
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, Parts};

    #[test]
    fn forms_are_in_their_places() {
        for (place, form) in Form::ALL.into_iter().enumerate() {
            assert_eq!(form as usize, place);
        }
    }

    #[test]
    fn forms_are_found_by_their_parts() {
        for form in Form::ALL {
            let Some(parts) = form.parts() else { continue };
            assert_eq!(Form::of(parts), form);
        }
        let parts = Form::ReluSum.parts().expect("parts");
        assert_eq!(Form::of(Parts { whole: false, ..parts }), Form::Sum);
        let parts = Form::ReluSumSecond.parts().expect("parts");
        assert_eq!(Form::of(Parts { whole: false, ..parts }), Form::Any);
    }
}
