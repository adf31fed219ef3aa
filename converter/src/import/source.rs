//! One entry for every source file: a checkpoint or an ONNX file becomes a float graph.

use std::path::Path;

use super::checkpoint::{self, Container};
use super::module::{self, PickledModule};
use super::network;
use crate::arch::{self, ArchFile};
use crate::detect::{InputHint, RawHead};
use crate::error::{Error, Result};
use crate::graph::Graph;

/// What the user says about a source file.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// `--arch`: a known network's name or a TOML file; recognised from the weights without it. For an ONNX file, a
    /// TOML file with the anchors of its head.
    pub arch: Option<String>,
    /// `--input`: channels, height, width.
    pub input: Option<[usize; 3]>,
    /// `--outputs`: stages or levels of a checkpoint's architecture (`layer2`, `c3`).
    pub outputs: Vec<String>,
    /// Leaves the decode of a detector in an ONNX file's graph, so that its results are those of the file.
    pub keep_decode: bool,
}

/// A source file, read.
#[derive(Debug)]
pub struct Source {
    /// The float graph as the source describes it, nothing folded.
    pub graph: Graph,
    /// `pytorch-zip`, `pytorch-legacy`, `safetensors`, `pytorch-module` or `onnx`.
    pub kind: &'static str,
    /// The architecture of a checkpoint.
    pub arch: Option<ArchFile>,
    /// The head of a detector.
    pub head: Option<RawHead>,
    /// Class names, if the source has them; else empty.
    pub labels: Vec<String>,
    /// How the network wants its images, if that is known beside its head and architecture.
    pub hint: Option<InputHint>,
    /// What a user should know about the import, one sentence each.
    pub notes: Vec<String>,
    /// Why the architecture did not take the outputs that were asked for; they may be layers of the graph.
    pub outputs_refused: Option<Error>,
}

/// Reads a checkpoint or an ONNX file, told apart by its bytes.
///
/// # Errors
/// The file cannot be read, is refused, or its network is not recognised or not supported; the message names
/// the file and the key or node inside it. [`Error::Input`] for options that do not fit the kind of source.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Source> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let container = match Container::of(&bytes) {
        Ok(container) => container,
        Err(e) if !is_onnx(path, &bytes) => return Err(e.in_file(path)),
        Err(_) => {
            drop(bytes);
            return network::load(path, options);
        }
    };
    let weights = match checkpoint::from_bytes(&bytes) {
        Ok(weights) => weights,
        // What is refused as a state_dict may be a module.
        Err(refusal) => {
            return match module::from_bytes(&bytes).map_err(|e| e.in_file(path))? {
                Some(pickled) => from_module(path, &pickled, options),
                None => Err(refusal.in_file(path)),
            };
        }
    };
    drop(bytes);
    let mut arch = arch::resolve(&weights, options.arch.as_deref()).map_err(|e| e.in_file(path))?;
    let mut outputs_refused = None;
    if !options.outputs.is_empty() {
        let names: Vec<&str> = options.outputs.iter().map(String::as_str).collect();
        outputs_refused = arch.select_outputs(&names).err();
    }
    let graph = arch::build(&weights, &arch, options.input).map_err(|e| e.in_file(path))?;
    let mut notes = arch.notes.clone();
    if weights.wrapper.contains("ema") {
        notes.push(format!("the averaged weights under '{}' are used", weights.wrapper));
    }
    let head = arch.raw_head(&graph).map_err(|e| e.in_file(path))?;
    notes.extend(arch.undecodable());
    let (kind, arch) = (container.name(), Some(arch));
    let (labels, hint) = (Vec::new(), None);
    Ok(Source { graph, kind, arch, head, labels, hint, notes, outputs_refused })
}

/// A pickled module whose classes are known.
fn from_module(path: &Path, pickled: &PickledModule, options: &LoadOptions) -> Result<Source> {
    if options.arch.is_some() {
        return Err(Error::Input(format!(
            "{}: --arch describes the network of a state_dict; a pickled module carries its own",
            path.display()
        )));
    }
    let built = arch::ultralytics::build(pickled, options.input).map_err(|e| e.in_file(path))?;
    let mut notes = built.notes;
    if pickled.weights.wrapper.contains("ema") {
        notes.push(format!("the averaged weights under '{}' are used", pickled.weights.wrapper));
    }
    let (graph, head) = (built.graph, built.head);
    let (kind, labels, hint) = ("pytorch-module", Vec::new(), None);
    Ok(Source { graph, kind, arch: None, head, labels, hint, notes, outputs_refused: None })
}

/// ONNX has no magic number: the name says it, or a protobuf message that starts with an IR version of one byte.
fn is_onnx(path: &Path, bytes: &[u8]) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
        || matches!(bytes, [0x08, 1..=0x7f, ..])
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::import::testing::{View, floats, one_tensor, torch_zip};

    fn write(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn refused(path: &Path, options: &LoadOptions) -> String {
        load(path, options).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_read_is_told_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let options = LoadOptions::default();
        let text = write(&folder, "notes.pt", b"not weights");
        assert!(refused(&text, &options).contains("notes.pt: not a known container"));
        assert!(refused(&folder.path().join("absent.pt"), &options).contains("absent.pt"));
        let view = View { offset: 0, sizes: &[1], strides: &[1] };
        let weights = torch_zip(&one_tensor(1, view), &[&floats(&[1.0])]);
        // The name does not decide: this is a checkpoint, of no known network.
        let message = refused(&write(&folder, "weights.onnx", &weights), &options);
        assert!(
            message.contains("weights.onnx") && message.contains("known families"),
            "{message}"
        );
        let message = refused(&write(&folder, "broken.onnx", b"\xff\xff"), &options);
        assert!(message.contains("broken.onnx") && message.contains("ONNX"), "{message}");
        let options = LoadOptions { arch: Some("resnet18".into()), ..LoadOptions::default() };
        let message = refused(&write(&folder, "model.bin", &[8, 8, 0x12, 0]), &options);
        assert!(message.contains("--arch"), "{message}");
    }

    #[test]
    fn the_zoo_loads_from_every_container() {
        let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/zoo");
        let zoo = std::env::var_os("KENAR_ZOO").map_or(default, PathBuf::from);
        let Ok(list) = std::fs::read(zoo.join("zoo.json")) else {
            println!("skipped: KENAR_ZOO is not set and {} has no zoo.json", zoo.display());
            return;
        };
        let list: Vec<serde_json::Value> = serde_json::from_slice(&list).unwrap();
        for model in list {
            let name = model["name"].as_str().unwrap();
            let size = |i: usize| model["input"][i].as_u64().unwrap() as usize;
            let input = Some([size(1), size(2), size(3)]);
            for (suffix, kind) in [
                ("pt", "pytorch-zip"),
                ("legacy.pth", "pytorch-legacy"),
                ("safetensors", "safetensors"),
                ("onnx", "onnx"),
            ] {
                let path = zoo.join(format!("{name}.{suffix}"));
                let source = load(&path, &LoadOptions { input, ..LoadOptions::default() }).unwrap();
                assert_eq!((source.kind, source.arch.is_some()), (kind, kind != "onnx"), "{name}");
                let outputs: Vec<Vec<usize>> = source
                    .graph
                    .outputs
                    .iter()
                    .map(|o| source.graph.shape(o.value)[1..].to_vec())
                    .collect();
                let expected: Vec<Vec<usize>> = model["outputs"]
                    .as_object()
                    .unwrap()
                    .values()
                    .map(|shape| {
                        let shape = shape.as_array().unwrap();
                        shape[1..].iter().map(|n| n.as_u64().unwrap() as usize).collect()
                    })
                    .collect();
                assert_eq!(outputs, expected, "{name}.{suffix}");
                if kind != "onnx" {
                    let parameters = model["parameters"].as_u64().unwrap() as usize;
                    assert_eq!(source.graph.parameters, parameters, "{name}.{suffix}");
                }
            }
        }
    }
}
