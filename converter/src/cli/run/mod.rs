//! `kenar run`: images through a model file or a float network.

mod classes;
mod results;

use std::path::{Path, PathBuf};

use clap::Args;
use kenar::Model;
use kenar::pages::Pages;
use serde_json::{Value, json};

use super::args::{IsaArgs, JsonArgs, LabelArgs, PreprocessArgs, SizeArgs, SourceArgs};
use super::console::Console;
use super::file::Output;
use super::table::{lines, shape, table};
use crate::data::{Dataset, DatasetKind, Preprocess, read_class_names};
use crate::error::{Error, Result};
use crate::exec::Executor;
use crate::integer::{self, Engine};
use crate::mapped::ModelFile;
use crate::pipeline::{self, SourceOptions};
use classes::top5;
use results::{Hash, Results};

/// Run images through a model file (int8) or through a checkpoint or ONNX file (float)
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kenar run wrn40_2.kenar cat.png -o scores.safetensors
  kenar run wrn40_2.pt batch.safetensors -o reference.safetensors
  kenar run backbone.kenar street.jpg --letterbox 114 --raw -o maps.safetensors

The output file holds every output as f32, [N, C, H, W] or [N, C]. With --raw it holds what the model
computed, [N, H, W, C] in i8 or i16, with NAME.scale (f32) and NAME.zero_point (i32) beside it:
real = scale * (q - zero_point). A neck and head of your own can start from there.
The hash is over the values as computed: the same on every machine and with any number of threads.")]
pub struct Run {
    /// Model file, checkpoint or ONNX file
    source: PathBuf,
    /// An image, a .safetensors batch (`input`, f32 [N, 3, H, W], or `image`, u8 [N, H, W, 3]), or any data set
    input_data: PathBuf,
    /// File to write
    #[arg(short, long, value_name = "OUT.safetensors")]
    output: PathBuf,
    /// Write quantised values with scale and zero point (model files only)
    #[arg(long)]
    raw: bool,
    /// Folder in which the images of a .txt list, a COCO file or a VOC folder are looked up
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Use the first N images
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    options: SourceArgs,
    #[command(flatten)]
    size: SizeArgs,
    #[command(flatten)]
    preprocess: PreprocessArgs,
    #[command(flatten)]
    labels: LabelArgs,
    #[command(flatten)]
    isa: IsaArgs,
    /// Threads of an int8 run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Execution")]
    threads: u16,
    #[command(flatten)]
    json: JsonArgs,
}

impl Run {
    pub fn run(self, console: &mut Console) -> Result<()> {
        let is_model = pipeline::is_model_file(&self.source)?;
        if is_model {
            if let Some(flag) = self.options.first_given().or(self.preprocess.first_fixed()) {
                return Err(Error::Input(format!(
                    "{flag}: {} is a model file, which states this itself",
                    self.source.display()
                )));
            }
        } else if self.raw {
            return Err(Error::Input(format!(
                "--raw: {} is a float network, which has no quantised values",
                self.source.display()
            )));
        }
        if !is_model {
            self.size.refuse(&self.source)?;
        }
        let output = Output::create(&self.output, &[&self.source, &self.input_data])?;
        let data = Dataset::open(&self.input_data, self.images.as_deref())?
            .take(self.limit.map_or(usize::MAX, |n| n as usize));
        let results =
            if is_model { self.int8(&data, console)? } else { self.float(&data, console)? };
        output.write(&results.encode()?)?;
        let labels = match &self.labels.labels {
            Some(path) => read_class_names(path)?,
            None => results.labels.clone(),
        };
        if self.json.json {
            console.json(&self.document(&data, &results, &labels))
        } else {
            console.print(&self.text(&data, &results, &labels))
        }
    }

    fn int8(&self, data: &Dataset, console: &mut Console) -> Result<Results> {
        let file = ModelFile::open(&self.source)?;
        let model = Model::parse(&file).map_err(|e| Error::from(e).in_file(&self.source))?;
        let model = self.size.choose(model, &self.source)?;
        let mut preprocess = model_preprocess(&model, &self.source)?;
        if let Some(fit) = self.preprocess.request()?.fit {
            preprocess.fit = fit;
        }
        let engine = Engine::new(self.isa.isa.as_deref(), usize::from(self.threads))?;
        let mut arena = Pages::zeroed(model.arena_bytes());
        let mut runner = engine.runner_of(&file, &model, &mut arena)?;
        let outputs: Vec<_> = model.outputs().collect();
        let mut results = Results {
            names: outputs.iter().map(|o| o.name.to_owned()).collect(),
            values: vec![Vec::new(); outputs.len()],
            raw: vec![Vec::new(); outputs.len()],
            labels: model.labels().map(str::to_owned).collect(),
            ..Results::default()
        };
        results.raw_shapes = outputs
            .iter()
            .map(|o| model.tensor(o.tensor))
            .map(|t| [1, t.height as usize, t.width as usize, t.channels as usize])
            .collect();
        let mut hash = Hash::new();
        let bar = console.progress("int8", data.len());
        for sample in data.samples(&preprocess) {
            runner.set(&sample?)?;
            runner.run()?;
            for (i, o) in outputs.iter().enumerate() {
                results.values[i].push(runner.output_f32(i, &integer::output_shape(&model, o))?);
                let raw = runner.output_raw(i)?;
                hash.add(&raw.bytes);
                if self.raw {
                    results.raw[i].push(raw);
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        debug_assert!(data.len() != 1 || runner.hash().is_ok_and(|h| h == hash.0));
        results.hash = hash.0;
        Ok(results)
    }

    fn float(&self, data: &Dataset, console: &mut Console) -> Result<Results> {
        // The float graph gives what its file gives, decoded boxes included.
        let options = SourceOptions { keep_decode: true, ..SourceOptions::from(&self.options) };
        let loaded = pipeline::load(&self.source, &options)?;
        let graph = if loaded.outputs.is_empty() {
            loaded.folded.clone()
        } else {
            loaded.with_outputs(&loaded.outputs)?
        };
        let (preprocess, remark) = loaded.preprocess(&self.preprocess.request()?, Some(data))?;
        let executor = Executor::new(&graph)?;
        let mut results = Results {
            names: graph.outputs.iter().map(|o| o.name.clone()).collect(),
            values: vec![Vec::new(); graph.outputs.len()],
            labels: loaded.labels.clone(),
            // A batch is normalised already, so there was nothing to assume.
            remark: remark.filter(|_| data.kind() != DatasetKind::Batch),
            ..Results::default()
        };
        let mut hash = Hash::new();
        let bar = console.progress("float", data.len());
        for sample in data.samples(&preprocess) {
            for (i, value) in executor.run(&sample?.tensor)?.into_iter().enumerate() {
                value.iter().for_each(|v| hash.add(&v.to_le_bytes()));
                results.values[i].push(value);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        results.hash = hash.0;
        Ok(results)
    }

    fn document(&self, data: &Dataset, results: &Results, labels: &[String]) -> Value {
        let shapes: serde_json::Map<String, Value> =
            results.shapes().map(|(name, shape)| (name.to_owned(), json!(shape))).collect();
        json!({
            "source": self.source.display().to_string(),
            "n": data.len(),
            "hash": format!("{:016x}", results.hash),
            "outputs": shapes,
            "output": self.output.display().to_string(),
            "top5": top5(results, labels).map(|rows| rows.iter().map(|r| json!({
                "class": r.class,
                "label": r.label,
                "score": r.score,
                "probability": r.probability,
            })).collect::<Vec<_>>()),
            "notes": results.remark.iter().collect::<Vec<_>>(),
        })
    }

    fn text(&self, data: &Dataset, results: &Results, labels: &[String]) -> String {
        let mut out = String::new();
        if let Some(rows) = top5(results, labels) {
            let mut top =
                table(&["", "class", "probability", "score"], &["", "probability", "score"]);
            for (i, r) in rows.iter().enumerate() {
                top.add_row([
                    (i + 1).to_string(),
                    r.label
                        .clone()
                        .map_or_else(|| r.class.to_string(), |l| format!("{l} ({})", r.class)),
                    format!("{:.1} %", 100.0 * r.probability),
                    format!("{:.3}", r.score),
                ]);
            }
            out.push_str(&format!("{}\n", lines(&top)));
        }
        out.push_str(&format!("wrote {}\n", self.output.display()));
        out.push_str(&format!("  images  {}\n", data.describe()));
        for (name, dims) in results.shapes() {
            out.push_str(&format!("  output  {name} {}\n", shape(&dims)));
        }
        out.push_str(&format!("  hash    {:016x}\n", results.hash));
        if let Some(remark) = &results.remark {
            out.push_str(&format!("  note    {remark}\n"));
        }
        out
    }
}

/// The input contract as preprocessing.
///
/// # Errors
/// When the model does not take colour images.
pub fn model_preprocess(model: &Model, path: &Path) -> Result<Preprocess> {
    integer::preprocess(model).ok_or_else(|| {
        Error::Input(format!("{}: its input is no RGB or BGR image", path.display()))
    })
}
