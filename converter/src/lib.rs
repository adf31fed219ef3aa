//! Turns float checkpoints and ONNX files into verified int8 models for the [`kenar`] runtime.
//!
//! One direction, one representation per step:
//! [`import`] and [`arch`] → float [`graph`] → [`fold`] → [`exec`] (the float reference) and
//! [`quantize`] (ranges) → [`lower`] (integer operators, memory plan) → model file.
// Maintainers read these pages too, with `--document-private-items`.
#![allow(rustdoc::private_intra_doc_links)]
#![deny(unsafe_code)]

pub mod arch;
pub mod average_precision;
pub mod checkpoint;
pub mod cli;
pub mod data;
pub mod detect;
pub mod draw;
pub mod error;
pub mod evaluate;
pub mod exec;
pub mod fold;
pub mod graph;
pub mod import;
pub mod integer;
pub mod lower;
pub mod mapped;
pub mod pipeline;
pub mod quantize;

pub use error::{Error, Result};
