//! Detection heads between an importer and the model file.
//!
//! An importer says with a [`RawHead`] where boxes, objectness and classes lie in the graph's outputs; [`cut`] finds
//! that out for graphs that say it with operators. [`separate`] makes each part an output of its own, described by a
//! [`HeadSpec`], which the model file holds as [`kenar::detect::Head`].

mod anchors;
mod cut;
mod found;
mod pick;
mod separate;
mod spec;

pub use anchors::ANCHORS_MISSING;
pub use cut::{Cut, cut};
pub use found::{FloatHead, Found, find};
pub(crate) use separate::level_name;
pub use separate::separate;
pub use spec::{HeadSpec, InputHint, LevelSpec, Part, RawHead, RawLevel, stride};
