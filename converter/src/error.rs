//! The one error type of the converter.
//!
//! A message names three things where they exist: which file, which key or node inside it, and what was
//! expected there.

use std::path::{Path, PathBuf};

/// Everything that can go wrong between a source file and a model file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a read or write.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes of a source file, or what they describe, are not acceptable.
    #[error("{}{detail}", at_prefix(at))]
    Source {
        /// Key, node or entry inside the file; empty when it is the file as a whole.
        at: String,
        /// What is wrong and what was expected.
        detail: String,
    },
    /// The float graph is inconsistent or holds something that has no integer form.
    #[error("node '{node}': {detail}")]
    Graph {
        /// The node's name.
        node: String,
        /// What is wrong and what was expected.
        detail: String,
    },
    /// The runtime refused a model.
    #[error("{0}")]
    Model(#[from] kenar::Error),
    /// An error inside a named file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error.
        source: Box<Error>,
    },
    /// Arguments that contradict each other or the input.
    #[error("{0}")]
    Input(String),
}

/// Result with the converter's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn at_prefix(at: &str) -> String {
    if at.is_empty() { String::new() } else { format!("'{at}': ") }
}

impl Error {
    /// An [`Error::Source`] at a key, node or entry (`at` may be empty).
    pub fn source(at: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Source { at: at.into(), detail: detail.into() }
    }

    /// An [`Error::Graph`] at a node.
    pub fn graph(node: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Graph { node: node.into(), detail: detail.into() }
    }

    /// An [`Error::Io`] about a path.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_owned(), source }
    }

    /// The same error with the file it came from in front, unless it names a file already.
    #[must_use]
    pub fn in_file(self, path: impl AsRef<Path>) -> Self {
        match self {
            Self::Io { .. } | Self::File { .. } => self,
            other => Self::File { path: path.as_ref().to_owned(), source: Box::new(other) },
        }
    }
}
