//! Detectors: the neck and the head behind a backbone.
//!
//! `file` describes them, `recognise` reads them out of names and shapes, `neck` and `head` build them of the units that
//! `unit` finds, `raw` says what the head's tensors mean.

mod describe;
pub(super) mod file;
pub(super) mod head;
pub(super) mod neck;
pub(super) mod raw;
mod recognise;
pub(super) mod unit;

pub(super) use recognise::recognise;
