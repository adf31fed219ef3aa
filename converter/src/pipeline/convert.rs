//! Calibrating and lowering.

use kenar::Model;

use super::Loaded;
use crate::data::{Dataset, Preprocess, Preset};
use crate::error::Result;
use crate::graph::Graph;
use crate::integer::Origin;
use crate::lower::{self, LowerOptions, LowerReport, Provenance, Stream};
use crate::quantize::{self, Method};

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
    /// Bytes that a session needs at the first input size.
    pub arena_bytes: usize,
    /// Bytes of constants.
    pub weight_bytes: usize,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Calibrates and lowers. `progress` hears the number of calibration images done, at every input size.
///
/// # Errors
/// The first unreadable image, a layer without integer form, and what the runtime's loader refuses.
pub fn convert(
    loaded: &Loaded,
    data: &Dataset,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<Converted> {
    let graphs = || [&loaded.folded].into_iter().chain(&loaded.further);
    let at_size = |graph: &Graph| {
        let shape = graph.shape(graph.input);
        let size = [2, 3].map(|axis| shape.get(axis).copied().unwrap_or(1));
        Preprocess { size, ..options.preprocess.clone() }
    };
    let preprocess: Vec<Preprocess> = graphs().map(at_size).collect();
    let sizes = graphs().zip(&preprocess).map(|(graph, preprocess)| {
        (graph, data.samples(preprocess).map(|sample| Ok(sample?.tensor)))
    });
    let calibration =
        quantize::calibrate_sizes(sizes, &quantize::Options { method: options.method }, progress)?;
    let file_name = loaded.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lower_options = LowerOptions {
        outputs: loaded.outputs.clone(),
        stream: options.stream,
        labels: options.labels.clone().unwrap_or_else(|| loaded.labels.clone()),
        head: loaded.head.clone(),
        provenance: Provenance {
            source: Origin::text(&loaded.graph.family, loaded.graph.parameter_count(), &file_name),
            source_hash: loaded.hash.clone(),
            calibration: format!("{}, {}", data.describe(), options.method.name()),
        },
        ..LowerOptions::default()
    };
    let (file, report) = lower::lower_sizes(
        &loaded.folded,
        &loaded.further,
        &calibration,
        Some(&options.preprocess),
        &lower_options,
    )
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
