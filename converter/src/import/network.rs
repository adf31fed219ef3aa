//! ONNX files as sources: the network without a detector's decode, and its head.

use std::path::Path;

use super::described::Described;
use super::onnx;
use super::source::{LoadOptions, Source};
use crate::data::{ChannelOrder, Fit};
use crate::detect::{self, Cut, InputHint};
use crate::error::{Error, Result};
use crate::graph::Graph;

/// How Ultralytics feeds its classifiers: pixels from 0 to 1, the middle of the image.
const CLASSIFIER: InputHint = InputHint {
    mean: [0.0; 3],
    std: [1.0; 3],
    order: ChannelOrder::Rgb,
    fit: Fit::CenterCrop(1.0),
};

/// Reads an ONNX file and takes a detector's decode off.
///
/// # Errors
/// With the file's name: what its importer or the cut refuses; [`Error::Input`] for options that do not fit it.
pub(super) fn load(path: &Path, options: &LoadOptions) -> Result<Source> {
    let described = match options.arch.as_deref().map(Path::new) {
        None => None,
        Some(file) if file.extension().is_some_and(|e| e == "toml") => Some(Described::read(file)?),
        Some(_) => {
            return Err(Error::Input(format!(
                "{}: --arch describes the network of a checkpoint; an ONNX file carries its own and takes a .toml file \
                 with the anchors of its head, class names and preprocessing at most",
                path.display()
            )));
        }
    };
    let imported = onnx::read_with_notes(path, options.input)?;
    let onnx::Imported { mut graph, mut notes, metadata } = imported;
    let mut head = None;
    if !options.keep_decode {
        match detect::cut(&graph) {
            Ok(Some(cut)) if has_outputs(&cut, &options.outputs) => {
                (graph, head) = (cut.graph, Some(cut.head));
                notes.extend(cut.notes);
            }
            Err(e) if options.outputs.is_empty() => {
                return Err(metadata.explain(e).in_file(path));
            }
            // Results that are layers of the network: the file's own graph has them.
            Ok(_) | Err(_) => {}
        }
    }
    let mut labels = metadata.labels;
    let mut hint = (metadata.task.as_deref() == Some("classify")).then_some(CLASSIFIER);
    if let Some(described) = &described {
        match &mut head {
            Some(head) => {
                notes.extend(described.complete(head).map_err(|e| e.in_file(path))?);
                head.input = described.hint(size(&graph), head.input)?;
            }
            None if described.has_anchors() && !options.keep_decode => {
                let detail = "anchors are given, but no head of a detector was recognised";
                return Err(Error::Input(detail.into()).in_file(path));
            }
            None => {
                hint = described.hint(size(&graph), hint)?;
                if !described.labels.is_empty() {
                    labels.clone_from(&described.labels);
                }
            }
        }
    }
    if head.as_ref().is_some_and(detect::RawHead::lacks_anchors) {
        notes.push(format!("there will be no boxes: {}", detect::ANCHORS_MISSING));
    }
    let (kind, arch, outputs_refused) = ("onnx", None, None);
    Ok(Source { graph, kind, arch, head, labels, hint, notes, outputs_refused })
}

/// Height and width of the image.
fn size(graph: &Graph) -> [usize; 2] {
    match *graph.shape(graph.input) {
        [_, _, h, w] => [h, w],
        _ => [0; 2],
    }
}

/// Whether all of these are results of the network without its decode.
fn has_outputs(cut: &Cut, names: &[String]) -> bool {
    names.iter().all(|name| cut.graph.outputs.iter().any(|o| o.name == *name))
}
