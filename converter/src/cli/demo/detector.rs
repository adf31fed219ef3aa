//! The second half: a detector of signs in streets.

use std::path::Path;

use kenar::Model;
use serde_json::{Value, json};

use super::{Teller, files, picture};
use crate::average_precision::{Found, Truth, iou};
use crate::cli::bench;
use crate::cli::detect::picture::encode;
use crate::cli::file::Output;
use crate::cli::table::{bytes, grouped, si};
use crate::data::{Annotations, Dataset, Fit, Letterbox, Preset, read_class_names};
use crate::error::Result;
use crate::evaluate::{BoxOptions, DetectorEvaluation, Pair, evaluate_boxes};
use crate::integer::Engine;
use crate::lower::Stream;
use crate::pipeline::{
    self, ConvertOptions, Converted, Loaded, Normalize, PreprocessRequest, SourceOptions,
};
use crate::quantize::Method;

/// Height and width of the network's input: half of the pictures'.
const INPUT: [usize; 2] = [192, 320];
/// Boxes are drawn, counted as found and paired that score higher.
const CONFIDENCE: f64 = 0.5;

/// What the int8 model found in the pictures.
pub struct Streets {
    /// What there is to be found, picture by picture.
    pub truth: Annotations,
    /// The boxes above the confidence, best first.
    pub found: Vec<Vec<Found>>,
}

/// Reads, converts, evaluates and times it, and draws its boxes; returns what there is to report.
pub fn show(folder: &Path, output: &Path, engine: &Engine, teller: &mut Teller) -> Result<Value> {
    let drawing = Output::create(output, &[])?;
    files::unpack(folder, files::DETECTOR)?;
    let folder = folder.join("detector");
    teller.heading("A detector: where are road signs in a street?")?;
    let loaded = read(&folder, teller)?;
    let (converted, options) = convert(&loaded, &folder, teller)?;

    let model = Model::parse(&converted.file)?;
    let names: Vec<String> = model.outputs().map(|o| o.name.to_owned()).collect();
    let graph = loaded.with_outputs(&names)?;
    let pair = Pair {
        model: &model,
        graph: &graph,
        preprocess: &options.preprocess,
        engine: *engine,
        layer_images: 0,
    };
    let data = Dataset::open(&folder.join("boxes.json"), None)?;
    let bar = teller.console.progress("float and int8", data.len());
    let evaluation =
        evaluate_boxes(pair, BoxOptions::default(), &data, &mut |n| bar.set_position(n as u64))?;
    bar.finish_and_clear();
    let labels = options.labels.unwrap_or_default();
    let truth = data.annotations()?.in_classes_of(&labels, labels.len())?;
    let judged = DetectorEvaluation::new(&evaluation.boxes, Some(&truth), &labels, CONFIDENCE)?;
    let above = |found: &[Found]| found.iter().filter(|f| f.score > CONFIDENCE).cloned().collect();
    let found: Vec<Vec<Found>> = evaluation.boxes.iter().map(|b| above(&b.int8)).collect();
    let streets = Streets { truth, found };
    let (signs, hits, extra) = streets.count();
    let map = |which: usize, of: fn(&crate::average_precision::Precision) -> Option<f64>| {
        judged.precision.as_ref().and_then(|both| of(&both[which]))
    };
    let [float, int8] = [0, 1].map(|which| (map(which, |p| p.map()), map(which, |p| p.map50())));
    let figure = |v: Option<f64>| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
    teller.step(
        "evaluate",
        &format!(
            "{} streets with {signs} signs: {hits} found, {extra} boxes too many; mAP@0.5:0.95 float {}, int8 {}; of {} float boxes int8 has {} at IoU 0.9",
            streets.found.len(),
            figure(float.0),
            figure(int8.0),
            judged.paired.float,
            judged.paired.at90,
        ),
    )?;

    let timing = bench::quick(&model, &folder.join("model.kenar"), engine)?;
    teller.step(
        "bench",
        &format!(
            "{:.3} ms an image of {}x{} on one thread with {} ({:.1} GMAC/s)",
            timing.median_ms,
            INPUT[1],
            INPUT[0],
            engine.name(),
            timing.gmacs_per_s
        ),
    )?;
    drawing.write(&encode(&picture::draw(&folder, &streets)?, output)?)?;
    teller.step("draw", &format!("what int8 found: {}", output.display()))?;
    Ok(json!({
        "family": loaded.graph.family,
        "parameters": loaded.graph.parameter_count(),
        "macs": loaded.folded.macs(),
        "arena_bytes": converted.arena_bytes,
        "weight_bytes": converted.weight_bytes,
        "eval": {
            "n": streets.found.len(),
            "signs": signs,
            "found": hits,
            "extra": extra,
            "float": { "map": float.0, "map50": float.1 },
            "int8": { "map": int8.0, "map50": int8.1 },
            "paired": {
                "confidence": CONFIDENCE,
                "float_boxes": judged.paired.float,
                "matched_50": judged.paired.share50(),
                "matched_90": judged.paired.share90(),
            },
        },
        "bench": timing.json(engine),
        "picture": output,
    }))
}

fn read(folder: &Path, teller: &mut Teller) -> Result<Loaded> {
    let options =
        SourceOptions { input: Some([3, INPUT[0], INPUT[1]]), ..SourceOptions::default() };
    let loaded = pipeline::load(&folder.join("model.safetensors"), &options)?;
    let kind = loaded.head.as_ref().map_or("no head", |head| head.kind.as_str());
    teller.step(
        "read",
        &format!(
            "{}, {kind}, {} parameters, {} MACs: {} layers, {} after folding",
            loaded.graph.family,
            grouped(loaded.graph.parameter_count() as u64),
            si(loaded.folded.macs() as f64),
            loaded.graph.nodes().len(),
            loaded.folded.nodes().len()
        ),
    )?;
    Ok(loaded)
}

fn convert(
    loaded: &Loaded,
    folder: &Path,
    teller: &mut Teller,
) -> Result<(Converted, ConvertOptions)> {
    let calib = Dataset::open(&folder.join("calib"), None)?;
    let request = PreprocessRequest {
        normalize: Some(Normalize::Preset(Preset::Unit)),
        fit: Some(Fit::Letterbox(Letterbox::centred(114))),
        ..PreprocessRequest::default()
    };
    let options = ConvertOptions {
        preprocess: loaded.preprocess(&request, Some(&calib))?.0,
        method: Method::default(),
        stream: Stream::default(),
        labels: Some(read_class_names(&folder.join("labels.txt"))?),
    };
    let bar = teller.console.progress("calibrating", calib.len());
    let converted =
        pipeline::convert(loaded, &calib, &options, &mut |n| bar.set_position(n as u64))?;
    bar.finish_and_clear();
    Output::create(&folder.join("model.kenar"), &[&loaded.path])?.write(&converted.file)?;
    teller.step(
        "convert",
        &format!(
            "calibrated on {} images: {} integer operators, {} of constants, {} of memory to run",
            calib.len(),
            converted.report.ops.len(),
            bytes(converted.weight_bytes as u64),
            bytes(converted.arena_bytes as u64)
        ),
    )?;
    Ok((converted, options))
}

impl Streets {
    /// Signs, how many of them are found (a box of their class at IoU > 0.5), and boxes that found none.
    pub fn count(&self) -> (usize, usize, usize) {
        let signs = self.truth.images.iter().map(Vec::len).sum();
        let boxes: usize = self.found.iter().map(Vec::len).sum();
        let hits = self.truth.images.iter().zip(&self.found).map(|(t, f)| hits(t, f)).sum();
        (signs, hits, boxes - hits)
    }
}

/// Boxes, best first, each take the free sign of their class that they overlap most.
fn hits(truth: &[Truth], found: &[Found]) -> usize {
    let mut free: Vec<&Truth> = truth.iter().collect();
    for box_ in found {
        let best = free
            .iter()
            .enumerate()
            .filter(|(_, sign)| sign.class == box_.class)
            .map(|(at, sign)| (at, iou(&box_.rect, &sign.rect)))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((at, overlap)) = best
            && overlap > 0.5
        {
            free.swap_remove(at);
        }
    }
    truth.len() - free.len()
}
