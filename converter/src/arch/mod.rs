//! From names and shapes to a graph.
//!
//! A checkpoint has no graph. [`recognise`] reads a network out of its module names and tensor shapes into an
//! [`ArchFile`]; [`build`] turns both into a float [`Graph`](crate::graph::Graph), and refuses when a single
//! tensor of the checkpoint has no place in it. What shapes cannot tell (strides, poolings, which maps are
//! outputs) follows the family's convention and can be corrected in the arch file.
//!
//! To add a naming variant: one line in `names`. A block: a `Layout` in `blocks/`. A family: a file in
//! `families/`.

mod blocks;
mod builder;
mod depth;
mod detector;
mod families;
pub mod file;
mod head;
mod modules;
mod named;
mod names;
mod network;
mod outputs;
mod preprocess;
pub mod testing;
mod toml;
pub mod ultralytics;

use std::path::Path;

pub use blocks::{BlockKind, resnext};
pub use file::ArchFile;
pub use named::{by_name, known_names};
pub use network::build;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// Reads the architecture out of a checkpoint's names and shapes.
///
/// # Errors
/// No family claims the names, or one does and a module inside does not fit it; the message says which.
pub fn recognise(ckpt: &Checkpoint) -> Result<ArchFile> {
    let mut first_error = None;
    for prefix in modules::Modules::prefixes(ckpt) {
        let m = modules::Modules::scan(ckpt, &prefix);
        match detector::recognise(&m).or_else(|| families::recognise(&m)) {
            Some(Ok(mut arch)) => {
                arch.prefix = prefix;
                arch.model = named::identify(&arch);
                return Ok(arch);
            }
            Some(Err(e)) => first_error = first_error.or(Some(e)),
            None => {}
        }
    }
    let m = modules::Modules::scan(ckpt, "");
    let found = m.top_level();
    let shown = found.iter().take(12).copied().collect::<Vec<_>>().join(", ");
    Err(Error::source(
        "",
        format!(
            "{}; the modules are {}{}; known families: {}; describe another one with --arch FILE.toml",
            first_error.unwrap_or_else(|| "no known architecture has these module names".into()),
            if shown.is_empty() { "none" } else { &shown },
            if found.len() > 12 { ", ..." } else { "" },
            families::FAMILIES
        ),
    ))
}

/// The architecture for `--arch NAME|FILE.toml`, or the recognised one without it.
///
/// A file without a `family` changes single entries of the recognised architecture.
///
/// A name also takes module paths from the checkpoint, so that it works with every naming variant; a name that
/// contradicts the checkpoint's shapes is refused.
///
/// # Errors
/// The file does not parse, the name is unknown or does not fit the checkpoint, or nothing is recognised.
pub fn resolve(ckpt: &Checkpoint, option: Option<&str>) -> Result<ArchFile> {
    let Some(option) = option else { return recognise(ckpt) };
    let path = Path::new(option);
    if path.extension().is_some_and(|e| e == "toml") || path.is_file() {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        return ArchFile::overlay(&text, || recognise(ckpt)).map_err(|e| e.in_file(path));
    }
    let named = by_name(option)?;
    match recognise(ckpt) {
        Ok(found) => named::fit(option, named, found),
        Err(_) => Ok(named),
    }
}
