//! Detection heads between an importer and the model file.
//!
//! An importer says with a [`RawHead`] where boxes, objectness and classes lie in the graph's outputs. Separated into
//! outputs of their own they become a [`HeadSpec`], which the model file holds as [`kenar::detect::Head`].

mod found;
mod spec;

pub use found::{FloatHead, Found, find};
pub use spec::{HeadSpec, InputHint, LevelSpec, Part, RawHead, RawLevel};
