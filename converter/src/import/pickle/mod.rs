//! The restricted pickle machine: reads what `torch.save` writes and runs nothing.
//!
//! A pickle is a program for a stack machine that can call any importable function. This one has no call
//! instruction: it knows what the tensor rebuild functions and plain containers *mean* and builds the records
//! of [`Value`]; every other global is refused by name before anything is built from it. Memory and time are
//! linear in the bytes of the pickle, within [`Limits`].
//!
//! `opcode` decodes instructions, `machine` executes them, `globals` holds the list of known names, `rebuild`
//! what calling them means, `value` the result. Tensors stay references into storages; `crate::import::tensor`
//! reads them.

mod globals;
mod machine;
mod opcode;
mod rebuild;
mod text;
mod value;

use crate::error::{Error, Result};
pub use value::{Id, Object, StorageRef, TensorRef, Value, Values};

/// What happens to a global that the machine does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Globals {
    /// Refused by name.
    #[default]
    Refuse,
    /// Kept as an inert record of its name, arguments and state ([`Object`]), for pickled modules whose
    /// classes are read structurally. Modules of the standard library that reach the system stay refused.
    Inert,
}

/// Bounds on what one pickle may make the reader do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the pickle.
    pub bytes: usize,
    /// Values ever created.
    pub values: usize,
    /// Values on the stack.
    pub stack: usize,
    /// Open marks.
    pub marks: usize,
    /// Memo entries.
    pub memo: usize,
    /// Containers inside containers.
    pub depth: u32,
    /// Values in the tree that a walk without memory would see (a memo bomb is small but expands).
    pub expanded: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 256 << 20,
            values: 4 << 20,
            stack: 1 << 20,
            marks: 4 << 10,
            memo: 2 << 20,
            depth: 512,
            expanded: 1 << 24,
        }
    }
}

/// One pickle, read.
#[derive(Debug)]
pub struct Pickle {
    /// Every value it made.
    pub values: Values,
    /// The value it leaves behind.
    pub root: Id,
    /// Bytes up to and including the STOP instruction.
    pub length: usize,
}

/// Reads the pickle at the start of `bytes`.
///
/// # Errors
/// [`Error::Source`] with the byte position for anything malformed, unknown or over a limit, and with the name
/// of a refused global.
pub fn read(bytes: &[u8], globals: Globals) -> Result<Pickle> {
    read_with(bytes, globals, Limits::default())
}

/// [`read`] with limits of the caller's choice.
///
/// # Errors
/// As [`read`].
pub fn read_with(bytes: &[u8], globals: Globals, limits: Limits) -> Result<Pickle> {
    machine::Machine::new(bytes, globals, limits).run()
}

/// An error at a byte of the pickle.
fn error(at: usize, detail: impl Into<String>) -> Error {
    Error::source(format!("pickle, byte {at}"), detail)
}

#[cfg(test)]
mod tests;
