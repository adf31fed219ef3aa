//! `kenar run`: images through a model file or a float network.

use std::path::{Path, PathBuf};

use clap::Args;
use kenar::Model;
use kenar::desc::DType;
use ndarray::{ArrayD, Axis, concatenate};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

use super::args::{IsaArgs, JsonArgs, LabelArgs, PreprocessArgs, SourceArgs};
use super::console::Console;
use super::file::Output;
use super::table::{lines, table};
use crate::data::{Dataset, DatasetKind, Preprocess, read_class_names};
use crate::error::{Error, Result};
use crate::exec::Executor;
use crate::integer::{self, Engine, RawOutput};
use crate::pipeline::{self, SourceOptions};

/// Run images through a model file (int8) or through a checkpoint or ONNX file (float)
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kenar run wrn40_2.kenar cat.png -o scores.safetensors
  kenar run wrn40_2.pt batch.safetensors -o reference.safetensors
  kenar run backbone.kenar street.jpg --letterbox 114 --raw -o maps.safetensors

The output file holds every output as f32, [N, C, H, W] or [N, C]. With --raw it holds what the model
computed, [N, H, W, C] in i8 or i16, with NAME.scale (f32) and NAME.zero_point (i32) beside it.
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
    /// Use the first N images
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    #[command(flatten)]
    options: SourceArgs,
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

/// All outputs of all images.
#[derive(Default)]
struct Results {
    names: Vec<String>,
    /// Per output, `[N, ...]`.
    values: Vec<Vec<ArrayD<f32>>>,
    /// Per output, per image; only with `--raw`.
    raw: Vec<Vec<RawOutput>>,
    /// Per output, `[1, H, W, C]`; only with `--raw`.
    raw_shapes: Vec<[usize; 4]>,
    hash: u64,
    labels: Vec<String>,
    remark: Option<String>,
}

/// FNV-1a, as the runtime hashes outputs.
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Run {
    pub fn run(self, console: &mut Console) -> Result<()> {
        let is_model = pipeline::is_model_file(&self.source)?;
        if is_model {
            let given = [
                ("--arch", self.options.arch.is_some()),
                ("--input", self.options.input.is_some()),
                ("--outputs", !self.options.outputs.is_empty()),
                ("--preset", self.preprocess.preset.is_some()),
                ("--mean", self.preprocess.mean.is_some()),
                ("--bgr", self.preprocess.bgr),
            ];
            if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
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
        let output = Output::create(&self.output, &[&self.source, &self.input_data])?;
        let data = Dataset::open(&self.input_data, None)?
            .take(self.limit.map_or(usize::MAX, |n| n as usize));
        let results =
            if is_model { self.int8(&data, console)? } else { self.float(&data, console)? };
        output.write(&self.encode(&results)?)?;
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
        let file = std::fs::read(&self.source).map_err(|e| Error::io(&self.source, e))?;
        let model = Model::parse(&file).map_err(|e| Error::from(e).in_file(&self.source))?;
        let mut preprocess = model_preprocess(&model, &self.source)?;
        if let Some(fit) = self.preprocess.request()?.fit {
            preprocess.fit = fit;
        }
        let engine = Engine::new(self.isa.isa.as_deref(), usize::from(self.threads))?;
        let mut arena = vec![0; model.arena_bytes()];
        let mut runner = engine.runner(&model, &mut arena)?;
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
        let loaded = pipeline::load(&self.source, &SourceOptions::from(&self.options))?;
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

    /// The output file.
    fn encode(&self, results: &Results) -> Result<Vec<u8>> {
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        for (i, name) in results.names.iter().enumerate() {
            if self.raw {
                let images = &results.raw[i];
                let Some(first) = images.first() else { continue };
                let dtype = match first.dtype {
                    DType::I8 => Dtype::I8,
                    DType::I16 => Dtype::I16,
                };
                let mut shape = results.raw_shapes[i];
                shape[0] = images.len();
                let bytes = images.iter().flat_map(|raw| raw.bytes.iter().copied()).collect();
                tensors.push((name.clone(), dtype, shape.to_vec(), bytes));
                let scale = first.scale.to_le_bytes().to_vec();
                tensors.push((format!("{name}.scale"), Dtype::F32, vec![1], scale));
                let zero_point = first.zero_point.to_le_bytes().to_vec();
                tensors.push((format!("{name}.zero_point"), Dtype::I32, vec![1], zero_point));
            } else {
                let all = stacked(&results.values[i])?;
                let bytes = all.iter().flat_map(|v| v.to_le_bytes()).collect();
                tensors.push((name.clone(), Dtype::F32, all.shape().to_vec(), bytes));
            }
        }
        let bad = |e: safetensors::SafeTensorError| {
            Error::Input(format!("cannot encode the outputs: {e}"))
        };
        let views = tensors
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(bad)?))
            })
            .collect::<Result<Vec<_>>>()?;
        safetensors::serialize(views, None).map_err(bad)
    }

    fn document(&self, data: &Dataset, results: &Results, labels: &[String]) -> Value {
        let shapes: serde_json::Map<String, Value> = results
            .names
            .iter()
            .zip(&results.values)
            .map(|(name, v)| {
                (name.clone(), json!(v.first().map(|a| stacked_shape(a.shape(), v.len()))))
            })
            .collect();
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
        for (name, v) in results.names.iter().zip(&results.values) {
            if let Some(first) = v.first() {
                let shape = super::table::shape(&stacked_shape(first.shape(), v.len()));
                out.push_str(&format!("  output  {name} {shape}\n"));
            }
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

fn stacked_shape(shape: &[usize], n: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if let Some(first) = shape.first_mut() {
        *first = n;
    }
    shape
}

fn stacked(images: &[ArrayD<f32>]) -> Result<ArrayD<f32>> {
    let views: Vec<_> = images.iter().map(|image| image.view()).collect();
    concatenate(Axis(0), &views)
        .map(|a| a.as_standard_layout().into_owned())
        .map_err(|e| Error::Input(format!("outputs of different shapes: {e}")))
}

/// One line of the class table.
struct Class {
    class: usize,
    label: Option<String>,
    score: f32,
    probability: f32,
}

/// The five best classes of a single image, if an output holds class scores.
fn top5(results: &Results, labels: &[String]) -> Option<Vec<Class>> {
    let scores = results.values.iter().find_map(|v| match v.as_slice() {
        [one] if matches!(one.shape(), [1, k] if *k > 1) => {
            Some(one.iter().copied().collect::<Vec<f32>>())
        }
        _ => None,
    })?;
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = scores.iter().sum();
    let is_distribution = scores.iter().all(|s| *s >= 0.0) && (sum - 1.0).abs() < 1e-3;
    let total: f32 = scores.iter().map(|s| (s - largest).exp()).sum();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    Some(
        order
            .into_iter()
            .take(5)
            .map(|class| Class {
                class,
                label: if labels.len() == scores.len() {
                    Some(labels[class].clone())
                } else {
                    None
                },
                score: scores[class],
                probability: if is_distribution {
                    scores[class]
                } else {
                    (scores[class] - largest).exp() / total
                },
            })
            .collect(),
    )
}
