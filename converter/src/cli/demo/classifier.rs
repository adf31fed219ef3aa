//! The first half: a classifier of single signs.

use std::path::Path;

use kenar::Model;
use serde_json::{Value, json};

use super::{Teller, files};
use crate::cli::bench;
use crate::cli::eval::compare;
use crate::cli::file::Output;
use crate::cli::table::{bytes, grouped, percent, si};
use crate::data::{Dataset, Preprocess, Preset, read_class_names};
use crate::error::Result;
use crate::evaluate::Pair;
use crate::integer::Engine;
use crate::lower::Stream;
use crate::pipeline::{self, ConvertOptions, SourceOptions};
use crate::quantize::Method;

/// Reads, converts, evaluates and times it; returns what there is to report.
pub fn show(folder: &Path, engine: &Engine, teller: &mut Teller) -> Result<Value> {
    files::unpack(folder, files::CLASSIFIER)?;
    teller.heading("A classifier: which road sign is it?")?;
    let source = folder.join("model.safetensors");
    let loaded = pipeline::load(&source, &SourceOptions::default())?;
    let folded = &loaded.folded;
    teller.step(
        "read",
        &format!(
            "{} with {} parameters, {} MACs: {} layers, {} after folding",
            loaded
                .arch
                .as_ref()
                .and_then(|a| a.model.clone())
                .unwrap_or(loaded.graph.family.clone()),
            grouped(loaded.graph.parameter_count() as u64),
            si(folded.macs() as f64),
            loaded.graph.nodes().len(),
            folded.nodes().len()
        ),
    )?;

    let calib = Dataset::open(&folder.join("calib.bin"), None)?;
    let options = ConvertOptions {
        preprocess: Preprocess::preset(Preset::Cifar10, loaded.image_size()?),
        method: Method::default(),
        stream: Stream::default(),
        labels: Some(read_class_names(&folder.join("labels.txt"))?),
    };
    let bar = teller.console.progress("calibrating", calib.len());
    let converted =
        pipeline::convert(&loaded, &calib, &options, &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let path = folder.join("model.kenar");
    Output::create(&path, &[&source])?.write(&converted.file)?;
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

    let model = Model::parse(&converted.file)?;
    let names: Vec<String> = model.outputs().map(|o| o.name.to_owned()).collect();
    let graph = loaded.with_outputs(&names)?;
    let pair = Pair {
        model: &model,
        graph: &graph,
        preprocess: &options.preprocess,
        engine: *engine,
        layer_images: 16,
    };
    let test = Dataset::open(&folder.join("test.bin"), None)?;
    let report = compare(pair, &test, teller.console)?;
    let e = &report.evaluation;
    let rate = |r: Option<f64>| r.map_or_else(|| "-".to_owned(), percent);
    teller.step(
        "evaluate",
        &format!(
            "{} unseen images: float {}, int8 {} right; they agree on {}",
            e.n,
            rate(e.float_top1),
            rate(e.int8_top1),
            rate(e.agreement)
        ),
    )?;

    let timing = bench::quick(&model, &path, engine)?;
    teller.step(
        "bench",
        &format!(
            "{:.3} ms an image on one thread with {} ({:.1} GMAC/s, {} of its peak)",
            timing.median_ms,
            engine.name(),
            timing.gmacs_per_s,
            percent(timing.peak_fraction)
        ),
    )?;
    Ok(json!({
        "family": loaded.graph.family,
        "parameters": loaded.graph.parameter_count(),
        "macs": folded.macs(),
        "arena_bytes": converted.arena_bytes,
        "weight_bytes": converted.weight_bytes,
        "eval": report.json(0),
        "bench": timing.json(engine),
    }))
}
