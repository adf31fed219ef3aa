//! From a source file to a model file: the steps in order, for the command line, the demo and tests.

mod convert;
mod preprocess;

pub use convert::{ConvertOptions, Converted, convert, estimate};
pub use preprocess::{Normalize, PreprocessRequest};

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::arch::ArchFile;
use crate::detect::{self, HeadSpec, InputHint};
use crate::error::{Error, Result};
use crate::fold;
use crate::graph::Graph;
use crate::import::{self, LoadOptions};
use crate::lower;

/// First bytes of a model file.
const MAGIC: &[u8; 8] = b"KENAR\r\n\x1A";

/// How a float source is read.
#[derive(Clone, Debug, Default)]
pub struct SourceOptions {
    /// Architecture of a checkpoint: a network's name or a TOML file.
    pub arch: Option<String>,
    /// Input size, channels first.
    pub input: Option<[usize; 3]>,
    /// Further input sizes of the same network, planned in the same model file.
    pub further: Vec<[usize; 3]>,
    /// Results to keep, by output, stage or layer name; empty: those of the source.
    pub outputs: Vec<String>,
    /// Leaves the decode of a detector in an ONNX file's graph, so that its results are those of the file.
    pub keep_decode: bool,
}

/// A float network, read and folded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the file, `sha256:...`.
    pub hash: String,
    /// `pytorch-zip`, `pytorch-legacy`, `safetensors`, `pytorch-module` or `onnx`.
    pub kind: &'static str,
    /// As the source has it.
    pub graph: Graph,
    /// The same network, folded: what runs, is calibrated and lowered.
    pub folded: Graph,
    /// The folded network at further input sizes.
    pub further: Vec<Graph>,
    /// What folding did.
    pub fold_report: fold::Report,
    /// The architecture of a checkpoint.
    pub arch: Option<ArchFile>,
    /// What the outputs of a detector mean, if all of them are kept.
    pub head: Option<HeadSpec>,
    /// Why a head that was recognised cannot give boxes, and what would help.
    pub headless: Option<&'static str>,
    /// Class names, if the source has them; else empty.
    pub labels: Vec<String>,
    /// How this kind of detector wants its images.
    pub hint: Option<InputHint>,
    /// Outputs to be found among the folded graph's values; empty for the graph's own.
    pub outputs: Vec<String>,
    /// What the importer wants known.
    pub notes: Vec<String>,
}

/// Whether a file is a model file, by its first bytes.
///
/// # Errors
/// [`Error::Io`] when it cannot be read (a folder, for example).
pub fn is_model_file(path: &Path) -> Result<bool> {
    if path.is_dir() {
        return Err(Error::Input(format!("{}: is a folder, expected a file", path.display())));
    }
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut magic = [0; MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) => Ok(magic == *MAGIC),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(Error::io(path, e)),
    }
}

/// Reads a checkpoint or ONNX file and folds its graph.
///
/// # Errors
/// With the file's name: whatever its importer, its architecture or folding refuses.
pub fn load(path: &Path, options: &SourceOptions) -> Result<Loaded> {
    if is_model_file(path)? {
        let detail = "is a model file, expected a checkpoint or ONNX file";
        return Err(Error::source("", detail).in_file(path));
    }
    if std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len() == 0 {
        return Err(Error::source("", "is empty").in_file(path));
    }
    let mut loaded = read(path, options, options.input)?;
    let given: Vec<[usize; 3]> = options.input.iter().chain(&options.further).copied().collect();
    for (i, [c, h, w]) in given.iter().enumerate() {
        if given[..i].contains(&[*c, *h, *w]) {
            return Err(Error::Input(format!("{h}x{w} is given twice as an input size")));
        }
    }
    for &input in &options.further {
        let other = read(path, options, Some(input))?;
        let [_, h, w] = input;
        loaded.folded.check_resized(&other.folded).map_err(|e| e.in_file(path))?;
        if loaded.head != other.head {
            let detail = format!("its detection head is another one at {h}x{w}");
            return Err(Error::source("", detail).in_file(path));
        }
        loaded.further.push(other.folded);
    }
    loaded.hash = hash(path)?;
    Ok(loaded)
}

/// Reads and folds a source at one input size; leaves its hash out.
fn read(path: &Path, options: &SourceOptions, input: Option<[usize; 3]>) -> Result<Loaded> {
    let (arch, outputs) = (options.arch.clone(), options.outputs.clone());
    let keep_decode = options.keep_decode;
    let mut source = import::load(path, &LoadOptions { arch, input, outputs, keep_decode })?;
    let (mut head, mut headless) = (None, None);
    if let Some(raw) = &source.head {
        let (graph, spec) = detect::separate(&source.graph, raw).map_err(|e| e.in_file(path))?;
        let given = |name: &String| spec.outputs().any(|o| o == name);
        if options.outputs.iter().all(given) {
            source.graph = graph;
            let kept = |name: &str| {
                options.outputs.is_empty() || options.outputs.iter().any(|o| o == name)
            };
            let whole = spec.outputs().all(kept);
            match (spec.is_complete(), whole) {
                (true, true) => head = Some(spec),
                (false, _) => headless = Some(detect::ANCHORS_MISSING),
                (true, false) => headless = Some("--outputs leaves out a part of its head"),
            }
        }
    }
    let (folded, fold_report) = fold::run(&source.graph).map_err(|e| e.in_file(path))?;
    let taken = source.arch.is_some() && source.outputs_refused.is_none();
    let outputs = if taken { Vec::new() } else { options.outputs.clone() };
    if !outputs.is_empty() {
        lower::resolve_outputs(&folded, &outputs)
            .map_err(|e| source.outputs_refused.unwrap_or(e).in_file(path))?;
    }
    let (mut labels, mut hint) = (source.labels, source.hint);
    if let Some(raw) = source.head {
        hint = raw.input.or(hint);
        if !raw.labels.is_empty() {
            labels = raw.labels;
        }
    }
    if !labels.is_empty() && outputs.is_empty() && !fits(&folded, head.as_ref(), labels.len()) {
        source
            .notes
            .push(format!("the file names {} classes, but no output has as many", labels.len()));
        labels.clear();
    }
    Ok(Loaded {
        path: path.to_owned(),
        hash: String::new(),
        kind: source.kind,
        graph: source.graph,
        folded,
        further: Vec::new(),
        fold_report,
        arch: source.arch,
        head,
        headless,
        labels,
        hint,
        outputs,
        notes: source.notes,
    })
}

/// Whether there is a score for each of so many classes.
fn fits(graph: &Graph, head: Option<&HeadSpec>, classes: usize) -> bool {
    let channels = |o: &crate::graph::Output| graph.shape(o.value).get(1) == Some(&classes);
    head.map_or_else(|| graph.outputs.iter().any(channels), |head| head.classes == classes)
}

/// SHA-256 of a file.
fn hash(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut digest = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block).map_err(|e| Error::io(path, e))? {
            0 => return Ok(format!("sha256:{}", hex(&digest.finalize()))),
            n => digest.update(&block[..n]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Loaded {
    /// Height and width of the input image.
    ///
    /// # Errors
    /// [`Error::Input`] when the input is no image of three colours.
    pub fn image_size(&self) -> Result<[usize; 2]> {
        let shape = self.graph.shape(self.graph.input);
        match *shape {
            [1, 3, h, w] => Ok([h, w]),
            _ => Err(Error::Input(format!(
                "{}: its input is {shape:?}, expected [1, 3, H, W], an image",
                self.path.display()
            ))),
        }
    }

    /// The folded graph with just these outputs, in this order, cut where a model file is cut (before a softmax).
    ///
    /// # Errors
    /// [`Error::Input`] for a name that is neither an output nor a value.
    pub fn with_outputs(&self, names: &[String]) -> Result<Graph> {
        let outputs = lower::resolve_outputs(&self.folded, names)?;
        let mut graph = self.folded.clone();
        graph.outputs.clear();
        for (name, value) in outputs.named {
            graph.mark_output(name, value);
        }
        Ok(graph)
    }
}
