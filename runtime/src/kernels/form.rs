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
    /// Adds a residual of i16 and stores i16, and a second result of i8 behind a ReLU: a block that begins with its
    /// activation (He et al. 2016, arXiv:1603.05027).
    PreActivation,
}

/// What a tensor of an epilogue holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    I8,
    /// I8 of which the smallest is 0.0, and stores have no other limits: what a ReLU leaves.
    Relu,
    /// I16, 0.0 as 0.
    I16,
}

impl Kind {
    pub const fn dtype(self) -> DType {
        match self {
            Self::I8 | Self::Relu => DType::I8,
            Self::I16 => DType::I16,
        }
    }
}

/// What there is of an epilogue without tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub residual: Option<Kind>,
    pub store: Option<Kind>,
    pub second: Option<Kind>,
}

impl Parts {
    /// Whether what is compiled for these does for others.
    fn serve(&self, other: &Self) -> bool {
        let serves = |own: Option<Kind>, other: Option<Kind>| {
            own == other || (own, other) == (Some(Kind::I8), Some(Kind::Relu))
        };
        serves(self.residual, other.residual)
            && serves(self.store, other.store)
            && serves(self.second, other.second)
    }
}

impl Form {
    /// All of them, each in its own place.
    pub const ALL: [Self; 8] = [
        Self::Any,
        Self::Words,
        Self::Store,
        Self::Relu,
        Self::Sum,
        Self::ReluSum,
        Self::ReluSumSecond,
        Self::PreActivation,
    ];

    /// That of an epilogue: the last, which are compiled for less, that does.
    pub(super) fn of(parts: Parts) -> Self {
        let does = |form: &Self| form.parts().is_some_and(|own| own.serve(&parts));
        Self::ALL.into_iter().rev().find(does).unwrap_or(Self::Any)
    }

    /// What there is.
    pub(super) const fn parts(self) -> Option<Parts> {
        use Kind::{I8, I16, Relu};
        let (residual, store, second) = match self {
            Self::Any => return None,
            Self::Words => (None, Some(I16), None),
            Self::Store => (None, Some(I8), None),
            Self::Relu => (None, Some(Relu), None),
            Self::Sum => (Some(I8), Some(I8), None),
            Self::ReluSum => (Some(Relu), Some(Relu), None),
            Self::ReluSumSecond => (Some(Relu), None, Some(Relu)),
            Self::PreActivation => (Some(I16), Some(I16), Some(Relu)),
        };
        Some(Parts { residual, store, second })
    }
}

#[cfg(test)]
mod tests {
    use super::{Form, Kind, Parts};

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
        assert_eq!(Form::of(Parts { store: Some(Kind::I8), ..parts }), Form::Sum);
        let parts = Form::ReluSumSecond.parts().expect("parts");
        assert_eq!(Form::of(Parts { second: Some(Kind::I8), ..parts }), Form::Any);
    }
}
