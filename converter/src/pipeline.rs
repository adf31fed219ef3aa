//! From a source file to a model file: the steps in order, for the command line, the demo and tests.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use kenar::Model;
use sha2::{Digest, Sha256};

use crate::arch::ArchFile;
use crate::data::{ChannelOrder, Dataset, DatasetKind, Fit, Preprocess, Preset};
use crate::error::{Error, Result};
use crate::fold;
use crate::graph::Graph;
use crate::import::{self, LoadOptions};
use crate::integer::Origin;
use crate::lower::{self, LowerOptions, LowerReport, Provenance, Stream};
use crate::quantize::{self, Method};

/// First bytes of a model file.
const MAGIC: &[u8; 8] = b"KENAR\r\n\x1A";

/// How a float source is read.
#[derive(Clone, Debug, Default)]
pub struct SourceOptions {
    /// Architecture of a checkpoint: a network's name or a TOML file.
    pub arch: Option<String>,
    /// Input size, channels first.
    pub input: Option<[usize; 3]>,
    /// Results to keep, by output, stage or layer name; empty: those of the source.
    pub outputs: Vec<String>,
}

/// A float network, read and folded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of the file, `sha256:...`.
    pub hash: String,
    /// `pytorch-zip`, `pytorch-legacy`, `safetensors` or `onnx`.
    pub kind: &'static str,
    /// As the source has it.
    pub graph: Graph,
    /// The same network, folded: what runs, is calibrated and lowered.
    pub folded: Graph,
    /// What folding did.
    pub fold_report: fold::Report,
    /// The architecture of a checkpoint.
    pub arch: Option<ArchFile>,
    /// Outputs to be found among the folded graph's values; empty for the graph's own.
    pub outputs: Vec<String>,
    /// What the importer wants known.
    pub notes: Vec<String>,
}

/// Normalisation asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalize {
    /// A well-known one.
    Preset(Preset),
    /// Red, green, blue, in units of pixel / 255.
    Values {
        /// Subtracted.
        mean: [f32; 3],
        /// Divided by.
        std: [f32; 3],
    },
}

/// What the user says about preprocessing; the rest follows from the source and the images.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PreprocessRequest {
    /// Normalisation.
    pub normalize: Option<Normalize>,
    /// Blue first.
    pub bgr: bool,
    /// What happens to images of another size.
    pub fit: Option<Fit>,
}

/// What can be chosen when a source becomes a model.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// The input contract.
    pub preprocess: Preprocess,
    /// How ranges are chosen.
    pub method: Method,
    /// When residual streams are i16.
    pub stream: Stream,
    /// Class names.
    pub labels: Option<Vec<String>>,
}

/// A model file and what is known about it.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The file's bytes.
    pub file: Vec<u8>,
    /// What lowering did.
    pub report: LowerReport,
    /// Bytes that a session needs.
    pub arena_bytes: usize,
    /// Bytes of constants.
    pub weight_bytes: usize,
    /// What the user should know.
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
    let (arch, outputs) = (options.arch.clone(), options.outputs.clone());
    let source = import::load(path, &LoadOptions { arch, input: options.input, outputs })?;
    let (folded, fold_report) = fold::run(&source.graph).map_err(|e| e.in_file(path))?;
    let taken = source.arch.is_some() && source.outputs_refused.is_none();
    let outputs = if taken { Vec::new() } else { options.outputs.clone() };
    if !outputs.is_empty() {
        lower::resolve_outputs(&folded, &outputs)
            .map_err(|e| source.outputs_refused.unwrap_or(e).in_file(path))?;
    }
    Ok(Loaded {
        path: path.to_owned(),
        hash: hash(path)?,
        kind: source.kind,
        graph: source.graph,
        folded,
        fold_report,
        arch: source.arch,
        outputs,
        notes: source.notes,
    })
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

    /// The preprocessing for this network, and a remark where something had to be assumed: the architecture's
    /// convention, else what fits the data.
    ///
    /// # Errors
    /// [`Error::Input`] for values that cannot serve.
    pub fn preprocess(
        &self,
        request: &PreprocessRequest,
        data: Option<&Dataset>,
    ) -> Result<(Preprocess, Option<String>)> {
        let size = self.image_size()?;
        let hint = self.arch.as_ref().map(|a| &a.input);
        let mut remark = None;
        let mut preprocess = match request.normalize {
            Some(Normalize::Preset(preset)) => Preprocess::preset(preset, size),
            Some(Normalize::Values { mean, std }) => Preprocess {
                mean,
                std,
                fit: Fit::CenterCrop(1.0),
                ..Preprocess::preset(Preset::Unit, size)
            },
            None => {
                let hinted = hint.and_then(|i| i.preset.as_deref()).and_then(Preset::by_name);
                let preset = hinted.unwrap_or_else(|| preset_for(data));
                remark = Some(format!(
                    "normalisation '{}' was assumed ({}); --preset or --mean and --std say what the network was trained with",
                    preset.name(),
                    if hinted.is_some() {
                        "usual for this architecture"
                    } else {
                        "usual for these images"
                    }
                ));
                Preprocess::preset(preset, size)
            }
        };
        if request.bgr || (request.normalize.is_none() && hint.is_some_and(|i| i.bgr)) {
            preprocess.order = ChannelOrder::Bgr;
        }
        if let Some(fit) = request.fit {
            preprocess.fit = fit;
        }
        preprocess.check()?;
        Ok((preprocess, remark))
    }
}

fn preset_for(data: Option<&Dataset>) -> Preset {
    match data.map(Dataset::kind) {
        Some(DatasetKind::Cifar10) => Preset::Cifar10,
        Some(DatasetKind::Batch) => Preset::Unit,
        _ => Preset::Imagenet,
    }
}

/// Calibrates and lowers. `progress` hears the number of calibration images done.
///
/// # Errors
/// The first unreadable image, a layer without integer form, and what the runtime's loader refuses.
pub fn convert(
    loaded: &Loaded,
    data: &Dataset,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<Converted> {
    let images = data.samples(&options.preprocess).map(|sample| Ok(sample?.tensor));
    let calibration = quantize::calibrate(
        &loaded.folded,
        images,
        &quantize::Options { method: options.method },
        progress,
    )?;
    let file_name = loaded.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lower_options = LowerOptions {
        outputs: loaded.outputs.clone(),
        stream: options.stream,
        labels: options.labels.clone().unwrap_or_default(),
        provenance: Provenance {
            source: Origin::text(&loaded.graph.family, loaded.graph.parameter_count(), &file_name),
            source_hash: loaded.hash.clone(),
            calibration: format!("{}, {}", data.describe(), options.method.name()),
        },
        ..LowerOptions::default()
    };
    let (file, report) =
        lower::lower(&loaded.folded, &calibration, Some(&options.preprocess), &lower_options)
            .map_err(|e| e.in_file(&loaded.path))?;
    let model = Model::parse(&file)?;
    let mut notes = loaded.notes.clone();
    notes.extend(report.notes.iter().cloned());
    for op in report.ops.iter().filter(|op| !op.guards.is_empty()) {
        let channels: Vec<String> =
            op.guards.iter().take(8).map(|g| g.channel.to_string()).collect();
        let more = if op.guards.len() > 8 { ", ..." } else { "" };
        notes.push(format!(
            "'{}': {} channels with next to no weights got a larger scale so that their biases fit: {}{more}",
            op.name,
            op.guards.len(),
            channels.join(", ")
        ));
    }
    let (arena_bytes, weight_bytes) = (model.arena_bytes(), model.data_bytes());
    Ok(Converted { arena_bytes, weight_bytes, file, report, notes })
}

/// What the int8 model of a source will need, measured by converting it with one synthetic image.
///
/// # Errors
/// As [`convert`]: in particular the first layer that has no integer form.
pub fn estimate(loaded: &Loaded) -> Result<Converted> {
    let size = loaded.image_size()?;
    let options = ConvertOptions {
        preprocess: Preprocess::preset(Preset::Unit, size),
        method: Method::MinMax,
        stream: Stream::default(),
        labels: None,
    };
    convert(loaded, &Dataset::noise(size, 0, 1), &options, &mut |_| ())
}
