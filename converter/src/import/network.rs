//! ONNX files as sources: the network without a detector's decode, and its head.

use std::path::Path;

use super::onnx;
use super::source::{LoadOptions, Source};
use crate::detect::{self, Cut};
use crate::error::{Error, Result};

/// Reads an ONNX file and takes a detector's decode off.
///
/// # Errors
/// With the file's name: what its importer or the cut refuses; [`Error::Input`] for options that do not fit it.
pub(super) fn load(path: &Path, options: &LoadOptions) -> Result<Source> {
    let anchors = match options.arch.as_deref().map(Path::new) {
        None => None,
        Some(file) if file.extension().is_some_and(|e| e == "toml") => {
            Some(detect::read_anchors(file)?)
        }
        Some(_) => {
            return Err(Error::Input(format!(
                "{}: --arch describes the network of a checkpoint; an ONNX file carries its own and takes a .toml file \
                 with the anchors of its head at most",
                path.display()
            )));
        }
    };
    let imported = onnx::read_with_notes(path, options.input)?;
    let onnx::Imported { mut graph, mut notes } = imported;
    let mut head = None;
    if !options.keep_decode {
        match detect::cut(&graph) {
            Ok(Some(cut)) if has_outputs(&cut, &options.outputs) => {
                (graph, head) = (cut.graph, Some(cut.head));
                notes.extend(cut.notes);
            }
            Err(e) if options.outputs.is_empty() => return Err(e.in_file(path)),
            // Results that are layers of the network: the file's own graph has them.
            Ok(_) | Err(_) => {}
        }
    }
    match (&mut head, anchors) {
        (Some(head), Some(anchors)) => {
            head.set_anchors(&anchors).map_err(|e| e.in_file(path))?;
            notes.push("the anchors are those of the --arch file".into());
        }
        (None, Some(_)) if !options.keep_decode => {
            let detail = "anchors are given, but no head of a detector was recognised";
            return Err(Error::Input(detail.into()).in_file(path));
        }
        (Some(head), None) if head.lacks_anchors() => notes.push(
            "boxes need the anchors: give them with --arch FILE.toml, [head] anchors = [[[width, height], ...], ...]"
                .into(),
        ),
        _ => {}
    }
    let (kind, arch, outputs_refused) = ("onnx", None, None);
    Ok(Source { graph, kind, arch, head, notes, outputs_refused })
}

/// Whether all of these are results of the network without its decode.
fn has_outputs(cut: &Cut, names: &[String]) -> bool {
    names.iter().all(|name| cut.graph.outputs.iter().any(|o| o.name == *name))
}
