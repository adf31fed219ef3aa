//! `kenar eval`: int8 against float, on real data.

use std::path::{Path, PathBuf};

use clap::Args;
use kenar::Model;
use serde_json::{Value, json};

use super::args::{IsaArgs, JsonArgs};
use super::console::Console;
use super::inspect::dtype;
use super::run::model_preprocess;
use super::table::{lines, percent, shape, table};
use crate::data::{Dataset, Fit, Letterbox};
use crate::error::{Error, Result};
use crate::evaluate::{Evaluation, Pair, evaluate};
use crate::integer::{Engine, Origin};
use crate::pipeline::{self, SourceOptions};

/// Compare a model file with the float network it was made from, on the same pixels
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kenar eval wrn40_2.kenar --float wrn40_2.pt --data test.bin
  kenar eval resnet50.kenar --float resnet50.pth --data val/ --limit 1000 --json

Rates in the JSON document are fractions, 0 to 1. SQNR is the signal to quantisation noise ratio of a layer
in decibels: 10 log10(sum float^2 / sum (int8 - float)^2).")]
pub struct Eval {
    /// Model file
    model: PathBuf,
    /// Checkpoint or ONNX file that the model was made from
    #[arg(long, value_name = "SOURCE")]
    float: PathBuf,
    /// Images: a CIFAR-10 .bin, a folder (by class or flat), a .safetensors batch, a .txt list or one image;
    /// `noise` makes synthetic ones
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Folder in which the names of a .txt list are looked up
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Use the first N images (64 of `noise`)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Measure each layer's noise on the first N images; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 32)]
    layer_images: u32,
    /// List the first N images that float and int8 put into different classes
    #[arg(long, value_name = "N", default_value_t = 0)]
    disagreements: u32,
    /// Architecture of the float checkpoint
    #[arg(long, value_name = "NAME|FILE.toml")]
    arch: Option<String>,
    /// Scale images until they fit, and fill the rest with this level of grey
    #[arg(long, value_name = "114", conflicts_with = "stretch")]
    letterbox: Option<Letterbox>,
    /// Scale both sides of an image on their own
    #[arg(long)]
    stretch: bool,
    #[command(flatten)]
    isa: IsaArgs,
    #[command(flatten)]
    json: JsonArgs,
}

/// What `eval` reports.
pub struct Report {
    /// Float against int8.
    pub evaluation: Evaluation,
    /// Class names, possibly none.
    pub labels: Vec<String>,
    /// One line about the images.
    pub data: String,
    /// What the reader should know.
    pub notes: Vec<String>,
}

impl Eval {
    pub fn run(self, console: &mut Console) -> Result<()> {
        let file = read_model(&self.model)?;
        let model = Model::parse(&file).map_err(|e| Error::from(e).in_file(&self.model))?;
        let mut preprocess = model_preprocess(&model, &self.model)?;
        if let Some(letterbox) = self.letterbox {
            preprocess.fit = Fit::Letterbox(letterbox);
        } else if self.stretch {
            preprocess.fit = Fit::Stretch;
        }
        let limit = self.limit.map(|n| n as usize);
        let data = if self.data.as_os_str() == super::convert::NOISE {
            // Not the ones that `convert --calib noise` takes.
            Dataset::noise(preprocess.size, 1 << 20, limit.unwrap_or(64))
        } else {
            Dataset::open(&self.data, self.images.as_deref())?.take(limit.unwrap_or(usize::MAX))
        };
        let names: Vec<String> = model.outputs().map(|o| o.name.to_owned()).collect();
        let options = SourceOptions {
            arch: self.arch.clone(),
            input: Some([3, preprocess.size[0], preprocess.size[1]]),
            outputs: names.clone(),
        };
        let loaded = pipeline::load(&self.float, &options)?;
        let graph = loaded.with_outputs(&names).map_err(|e| e.in_file(&self.float))?;
        let engine = Engine::new(self.isa.isa.as_deref(), 1)?;
        let pair = Pair {
            model: &model,
            graph: &graph,
            preprocess: &preprocess,
            engine,
            layer_images: self.layer_images as usize,
        };
        let mut report = compare(pair, &data, console)?;
        let [source, hash, ..] = model.provenance();
        if hash != loaded.hash {
            report.notes.push(format!(
                "the model was made from {} ({hash}), not from this file; the same network in another file is fine",
                Origin::parse(source).file
            ));
        }
        let shown = self.disagreements as usize;
        if self.json.json {
            console.json(&report.json(shown))
        } else {
            console.print(&report.text(shown))
        }
    }
}

/// Reads a file that has to be a model.
pub fn read_model(path: &Path) -> Result<Vec<u8>> {
    if !pipeline::is_model_file(path)? {
        return Err(Error::Input(format!(
            "{}: is no model file; `kenar convert` makes one from a checkpoint or ONNX file",
            path.display()
        )));
    }
    std::fs::read(path).map_err(|e| Error::io(path, e))
}

/// Runs the comparison with a progress bar.
pub fn compare(pair: Pair, data: &Dataset, console: &mut Console) -> Result<Report> {
    let bar = console.progress("float and int8", data.len());
    let evaluation = evaluate(pair, data, &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let mut labels: Vec<String> = pair.model.labels().map(str::to_owned).collect();
    if labels.is_empty() {
        labels = data.classes().map(<[String]>::to_vec).unwrap_or_default();
    }
    Ok(Report { evaluation, labels, data: data.describe(), notes: Vec::new() })
}

impl Report {
    /// The JSON document, with at most `shown` disagreements.
    pub fn json(&self, shown: usize) -> Value {
        let e = &self.evaluation;
        json!({
            "notes": self.notes,
            "n": e.n,
            "float": { "top1": e.float_top1 },
            "int8": { "top1": e.int8_top1 },
            "agreement": e.agreement,
            "outputs": e.outputs.iter().map(|o| json!({
                "name": o.name,
                "shape": o.shape,
                "mean_error": o.mean,
                "max_error": o.max,
                "max_value": o.largest,
                "sqnr_db": o.sqnr_db,
            })).collect::<Vec<_>>(),
            "layers": e.layers.iter().map(|l| json!({
                "name": l.name,
                "op": l.op,
                "dtype": dtype(l.dtype),
                "sqnr_db": l.sqnr_db,
            })).collect::<Vec<_>>(),
            "disagreements": e.disagreements.iter().take(shown).map(|d| json!({
                "name": d.name,
                "label": d.label,
                "float": d.float,
                "int8": d.int8,
                "margin": d.margin,
            })).collect::<Vec<_>>(),
        })
    }

    /// The report for people, with at most `shown` disagreements.
    pub fn text(&self, shown: usize) -> String {
        let e = &self.evaluation;
        let mut out = format!("{}\n\n", self.data);
        if let Some(agreement) = e.agreement {
            let count = |rate: f64| format!("{} of {}", (rate * e.n as f64).round(), e.n);
            let mut top = table(&["", "share", "images"], &["share"]);
            let rows = [
                ("float top-1", e.float_top1),
                ("int8 top-1", e.int8_top1),
                ("agreement", Some(agreement)),
            ];
            for (name, rate) in rows {
                if let Some(rate) = rate {
                    top.add_row([name.to_owned(), percent(rate), count(rate)]);
                }
            }
            out.push_str(&format!("{}\n", lines(&top)));
        }
        let right = ["mean error", "max error", "max value", "SQNR"];
        let mut outputs =
            table(&["output", "shape", "mean error", "max error", "max value", "SQNR"], &right);
        for o in &e.outputs {
            outputs.add_row([
                o.name.clone(),
                shape(&o.shape),
                format!("{:.4}", o.mean),
                format!("{:.4}", o.max),
                format!("{:.4}", o.largest),
                format!("{:.1} dB", o.sqnr_db),
            ]);
        }
        out.push_str(&lines(&outputs));
        if !e.layers.is_empty() {
            let mut layers = table(&["#", "layer", "type", "SQNR", ""], &["#", "SQNR"]);
            for l in &e.layers {
                let db = format!("{:.1} dB", l.sqnr_db);
                let (op, dtype) = (l.op.to_string(), dtype(l.dtype).to_owned());
                layers.add_row([op, l.name.clone(), dtype, db, bar(l.sqnr_db)]);
            }
            out.push_str(&format!("\n{}", lines(&layers)));
        }
        if shown > 0 && !e.disagreements.is_empty() {
            let mut rows =
                table(&["image", "label", "float", "int8", "float margin"], &["float margin"]);
            for d in e.disagreements.iter().take(shown) {
                rows.add_row([
                    d.name.clone(),
                    d.label.map_or_else(String::new, |l| self.class(l)),
                    self.class(d.float),
                    self.class(d.int8),
                    format!("{:.3}", d.margin),
                ]);
            }
            out.push_str(&format!(
                "\n{}{} of {} disagreements\n",
                lines(&rows),
                shown.min(e.disagreements.len()),
                e.disagreements.len()
            ));
        }
        for note in &self.notes {
            out.push_str(&format!("\nnote: {note}\n"));
        }
        out
    }

    fn class(&self, class: usize) -> String {
        self.labels.get(class).cloned().unwrap_or_else(|| class.to_string())
    }
}

/// One mark for 2 dB, up to 60.
fn bar(db: f64) -> String {
    let marks = (db / 2.0).round().clamp(0.0, 30.0) as usize;
    let low = if db < 20.0 { "  low" } else { "" };
    format!("{}{low}", "▪".repeat(marks))
}
