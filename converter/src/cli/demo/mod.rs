//! `kenar demo`: the whole way on a small network that the program carries.

use std::path::{Path, PathBuf};

use clap::Args;
use kenar::Model;
use serde_json::json;

use super::args::{IsaArgs, JsonArgs};
use super::bench;
use super::console::Console;
use super::eval::compare;
use super::file::Output;
use super::table::{bytes, grouped, percent, si};
use crate::data::{Dataset, Preprocess, Preset, read_class_names};
use crate::error::{Error, Result};
use crate::evaluate::Pair;
use crate::integer::Engine;
use crate::lower::Stream;
use crate::pipeline::{self, ConvertOptions, SourceOptions};
use crate::quantize::Method;

/// Convert, check and time a small network that comes with the program
#[derive(Args, Debug)]
#[command(after_help = "Example:
  kenar demo
  kenar demo --keep demo/           leaves the files there, to try the other commands on")]
pub struct Demo {
    /// Keep the checkpoint, the images and the model file in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    isa: IsaArgs,
    #[command(flatten)]
    json: JsonArgs,
}

/// The files under `tests/fixtures/demo`, made by the script beside them.
const FILES: [(&str, &[u8]); 4] = [
    ("model.safetensors", include_bytes!("../../../tests/fixtures/demo/model.safetensors")),
    ("calib.bin", include_bytes!("../../../tests/fixtures/demo/calib.bin")),
    ("test.bin", include_bytes!("../../../tests/fixtures/demo/test.bin")),
    ("labels.txt", include_bytes!("../../../tests/fixtures/demo/labels.txt")),
];

impl Demo {
    pub fn run(self, console: &mut Console) -> Result<()> {
        let temporary;
        let folder = match &self.keep {
            Some(folder) => {
                std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
                folder.as_path()
            }
            None => {
                temporary = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
                temporary.path()
            }
        };
        for (name, bytes) in FILES {
            Output::create(&folder.join(name), &[])?.write(bytes)?;
        }
        self.show(folder, console)
    }

    fn show(&self, folder: &Path, console: &mut Console) -> Result<()> {
        let text = !self.json.json;
        let say = |console: &mut Console, line: String| {
            if text { console.line(&line).and_then(|()| console.flush()) } else { Ok(()) }
        };
        let source = folder.join("model.safetensors");
        let loaded = pipeline::load(&source, &SourceOptions::default())?;
        let folded = &loaded.folded;
        say(
            console,
            format!(
                "1  read      {} with {} parameters, {} MACs: {} layers, {} after folding",
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
        let bar = console.progress("calibrating", calib.len());
        let converted = pipeline::convert(&loaded, &calib, &options, &mut |done| {
            bar.set_position(done as u64)
        })?;
        bar.finish_and_clear();
        let path = folder.join("model.kenar");
        Output::create(&path, &[&source])?.write(&converted.file)?;
        say(
            console,
            format!(
                "2  convert   calibrated on {} images: {} integer operators, {} of constants, {} of memory to run",
                calib.len(),
                converted.report.ops.len(),
                bytes(converted.weight_bytes as u64),
                bytes(converted.arena_bytes as u64)
            ),
        )?;

        let model = Model::parse(&converted.file)?;
        let engine = Engine::new(self.isa.isa.as_deref(), 1)?;
        let names: Vec<String> = model.outputs().map(|o| o.name.to_owned()).collect();
        let graph = loaded.with_outputs(&names)?;
        let pair = Pair {
            model: &model,
            graph: &graph,
            preprocess: &options.preprocess,
            engine,
            layer_images: 16,
        };
        let test = Dataset::open(&folder.join("test.bin"), None)?;
        let report = compare(pair, &test, console)?;
        let e = &report.evaluation;
        let rate = |r: Option<f64>| r.map_or_else(|| "-".to_owned(), percent);
        say(
            console,
            format!(
                "3  evaluate  {} unseen images: float {}, int8 {} right; they agree on {}",
                e.n,
                rate(e.float_top1),
                rate(e.int8_top1),
                rate(e.agreement)
            ),
        )?;

        let timing = bench::quick(&model, &path, &engine)?;
        say(
            console,
            format!(
                "4  bench     {:.3} ms an image on one thread with {} ({:.1} GMAC/s, {} of its peak)",
                timing.median_ms,
                engine.name(),
                timing.gmacs_per_s,
                percent(timing.peak_fraction)
            ),
        )?;
        if text {
            let mut next: Vec<(String, &str)> = Vec::new();
            let folder = match &self.keep {
                Some(folder) => folder.display().to_string(),
                None => {
                    next.push(("demo --keep demo".into(), "keep the files of this demo"));
                    "demo".to_owned()
                }
            };
            let model = format!("{folder}/model.kenar");
            next.extend([
                (format!("inspect {model}"), "operators, tensors, where memory goes"),
                (
                    format!(
                        "eval {model} --float {folder}/model.safetensors --data {folder}/test.bin"
                    ),
                    "int8 against float, layer by layer",
                ),
                (format!("bench {model} --threads 1,2 --per-layer"), "where the time goes"),
                ("inspect YOURS.pt".into(), "what is recognised in a network of your own"),
                ("convert YOURS.pt --calib IMAGES -o yours.kenar".into(), "make it a model file"),
            ]);
            let lines: String = next
                .iter()
                .map(|(command, what)| format!("  {what}:\n    kenar {command}\n"))
                .collect();
            return console.print(&format!("\nWhat to try next\n{lines}"));
        }
        console.json(&json!({
            "family": loaded.graph.family,
            "parameters": loaded.graph.parameter_count(),
            "macs": folded.macs(),
            "arena_bytes": converted.arena_bytes,
            "weight_bytes": converted.weight_bytes,
            "eval": report.json(0),
            "bench": {
                "isa": engine.name(),
                "threads": 1,
                "runs": timing.runs,
                "median_ms": timing.median_ms,
                "gmacs_per_s": timing.gmacs_per_s,
                "peak_fraction": timing.peak_fraction,
            },
        }))
    }
}
