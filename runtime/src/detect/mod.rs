//! From a detector's outputs to boxes.
//!
//! [`Head`] says what the outputs mean; a model file holds it ([`Model::head`](crate::Model::head)).

mod head;

pub use head::{BoxCode, Head, Level, MAX_ANCHORS, MAX_LEVELS};
