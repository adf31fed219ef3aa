//! `kenar convert`: a float source to a model file.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use serde_json::{Value, json};

use super::args::{JsonArgs, LabelArgs, PreprocessArgs};
use super::console::Console;
use super::file::Output;
use super::inspect::sizes;
use super::table::{bytes, grouped, number, si};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::lower::Stream;
use crate::pipeline::{self, ConvertOptions, Converted, Loaded, SourceOptions};
use crate::quantize::Method;

/// The word that stands for synthetic images.
pub const NOISE: &str = "noise";

/// Convert a checkpoint or ONNX file into an int8 model file
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kenar convert wrn40_2.pt --calib calib.bin -o wrn40_2.kenar
  kenar convert resnet50.pth --calib val/ --preset imagenet --input 3x224x224 -o resnet50.kenar
  kenar convert detector.pt --calib images/ --input 640x640 --input 384x640 -o detector.kenar
  kenar convert backbone.onnx --calib images/ --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 \\
    --outputs c3,c4,c5 -o backbone.kenar")]
pub struct Convert {
    /// Checkpoint (.pt, .pth, .th, .safetensors) or ONNX file
    source: PathBuf,
    /// Model file to write
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    #[command(flatten)]
    options: ConvertSource,
    #[command(flatten)]
    calibration: CalibrationArgs,
    #[command(flatten)]
    preprocess: PreprocessArgs,
    #[command(flatten)]
    labels: LabelArgs,
    #[command(flatten)]
    json: JsonArgs,
}

/// [`SourceArgs`](super::args::SourceArgs) with several sizes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Source")]
struct ConvertSource {
    /// Architecture of a checkpoint: a family's name, or a file as `kenar inspect --arch` prints it
    #[arg(long, value_name = "NAME|FILE.toml")]
    arch: Option<String>,
    /// Input size, height first: 640x640 (3x640x640 with the channels in front); fixes sizes that the source leaves
    /// open. Given again, each size is planned in the same file, whose weights are stored once; the first is the default
    #[arg(long, value_name = "HxW", value_parser = super::args::parse_shape)]
    input: Vec<[usize; 3]>,
    /// Results to keep, by output or layer name, in this order [default: those of the source]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    outputs: Vec<String>,
}

impl From<&ConvertSource> for SourceOptions {
    fn from(args: &ConvertSource) -> Self {
        let (arch, outputs) = (args.arch.clone(), args.outputs.clone());
        let (input, further) = match args.input.split_first() {
            Some((first, further)) => (Some(*first), further.to_vec()),
            None => (None, Vec::new()),
        };
        Self { arch, input, further, outputs, keep_decode: false }
    }
}

/// Images to measure ranges on.
#[derive(Args, Debug)]
#[command(next_help_heading = "Calibration")]
struct CalibrationArgs {
    /// Images to measure ranges on: a folder, a CIFAR-10 .bin, a .safetensors batch, a .txt list, a COCO .json or a
    /// VOC folder; `noise` makes synthetic ones, which fit networks with random weights and give no trustworthy accuracy
    #[arg(long, value_name = "PATH")]
    calib: Option<PathBuf>,
    /// Use the first N images (of a folder by class: in turns over the classes)
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    calib_count: u32,
    /// Folder in which the images of a .txt list, a COCO file or a VOC folder are looked up
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// How ranges are chosen
    #[arg(long, default_value = Method::default().name(), value_parser = PossibleValuesParser::new(Method::ALL.map(Method::name)))]
    method: String,
    /// When sums along residual connections are kept in 16 bits
    #[arg(long, value_enum, default_value_t = StreamArg::Auto)]
    residual: StreamArg,
}

/// [`Stream`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum StreamArg {
    /// Where sums grow with depth (pre-activation networks) or are small
    Auto,
    /// Wherever a residual is added
    I16,
    /// Nowhere
    I8,
}

impl From<StreamArg> for Stream {
    fn from(arg: StreamArg) -> Self {
        match arg {
            StreamArg::Auto => Self::Auto,
            StreamArg::I16 => Self::On,
            StreamArg::I8 => Self::Off,
        }
    }
}

impl Convert {
    pub fn run(self, console: &mut Console) -> Result<()> {
        let Some(calib) = &self.calibration.calib else {
            return Err(Error::Input(
                "--calib is missing: int8 ranges are measured on images like those the network will see. Give a folder of images, a CIFAR-10 .bin file, a .safetensors batch or a .txt list (a few hundred images are enough); `--calib noise` makes synthetic ones for networks with random weights".into(),
            ));
        };
        if pipeline::is_model_file(&self.source)? {
            return Err(Error::Input(format!(
                "{}: is a model file already; convert takes the checkpoint or ONNX file it came from",
                self.source.display()
            )));
        }
        let request = self.preprocess.request()?;
        let output = Output::create(&self.output, &[&self.source, calib])?;
        let labels =
            self.labels.labels.as_deref().map(crate::data::read_class_names).transpose()?;
        // Opened before the source: a wrong path should not cost the time of loading a large checkpoint.
        let count = self.calibration.calib_count as usize;
        let data = if calib.as_os_str() == NOISE {
            None
        } else {
            Some(Dataset::open(calib, self.calibration.images.as_deref())?.take(count))
        };
        let loaded = pipeline::load(&self.source, &SourceOptions::from(&self.options))?;
        let size = loaded.image_size()?;
        let data = data.unwrap_or_else(|| Dataset::noise(size, 0, count));
        let (preprocess, remark) = loaded.preprocess(&request, Some(&data))?;
        let method = self.calibration.method.parse().map_err(Error::Input)?;
        let labels = match labels {
            Some(labels) => Some(check_labels(labels, &loaded)?),
            None if !loaded.labels.is_empty() => None,
            None => data.classes().and_then(|names| check_labels(names.to_vec(), &loaded).ok()),
        };
        let options =
            ConvertOptions { preprocess, method, labels, stream: self.calibration.residual.into() };

        console.remark(&format!("calibrating on {}", data.describe()));
        let bar = console.progress("calibrating", data.len() * (1 + loaded.further.len()));
        let mut converted =
            pipeline::convert(&loaded, &data, &options, &mut |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        converted.notes.splice(0..0, remark);
        output.write(&converted.file)?;

        let report = Report {
            path: &self.output,
            loaded: &loaded,
            data: &data,
            options: &options,
            converted: &converted,
        };
        if self.json.json { console.json(&report.json()) } else { console.print(&report.text()) }
    }
}

/// Class names, if the network has an output with as many scores.
fn check_labels(labels: Vec<String>, loaded: &Loaded) -> Result<Vec<String>> {
    let graph = &loaded.folded;
    let outputs: Vec<usize> =
        graph.outputs.iter().filter_map(|o| graph.shape(o.value).get(1).copied()).collect();
    if let Some(head) = &loaded.head
        && head.classes != labels.len()
    {
        return Err(Error::Input(format!(
            "{} class names were given, the network detects {} classes",
            labels.len(),
            head.classes
        )));
    }
    if loaded.head.is_none() && loaded.outputs.is_empty() && !outputs.contains(&labels.len()) {
        return Err(Error::Input(format!(
            "{} class names were given, the network's outputs have {outputs:?} channels",
            labels.len()
        )));
    }
    Ok(labels)
}

/// What `convert` says when it is done.
struct Report<'a> {
    path: &'a Path,
    loaded: &'a Loaded,
    data: &'a Dataset,
    options: &'a ConvertOptions,
    converted: &'a Converted,
}

impl Report<'_> {
    fn json(&self) -> Value {
        let p = &self.options.preprocess;
        json!({
            "source": self.loaded.path.display().to_string(),
            "output": self.path.display().to_string(),
            "family": self.loaded.graph.family,
            "parameters": self.loaded.graph.parameters,
            "macs": self.loaded.folded.macs(),
            "operators": self.converted.report.ops.len(),
            "wide_operators": self.converted.report.wide_ops(),
            "arena_bytes": self.converted.arena_bytes,
            "weight_bytes": self.converted.weight_bytes,
            "file_bytes": self.converted.file.len(),
            "sizes": kenar::Model::parse(&self.converted.file).map(|model| sizes::document(&model)).ok(),
            "calibration": {
                "data": self.data.path().display().to_string(),
                "images": self.data.len(),
                "method": self.options.method.name(),
            },
            "preprocess": { "size": p.size, "mean": p.mean.map(number), "std": p.std.map(number), "bgr": p.order == crate::data::ChannelOrder::Bgr },
            "notes": self.converted.notes,
        })
    }

    fn text(&self) -> String {
        let graph = &self.loaded.graph;
        let mut out = format!(
            "wrote {} ({})\n\n",
            self.path.display(),
            bytes(self.converted.file.len() as u64)
        );
        let mut line = |name: &str, value: String| out.push_str(&format!("  {name:<12} {value}\n"));
        line("source", self.loaded.path.display().to_string());
        line(
            "network",
            format!(
                "{}, {} parameters, {} MACs",
                graph.family,
                grouped(graph.parameters as u64),
                si(self.loaded.folded.macs() as f64)
            ),
        );
        line("calibration", format!("{}, {}", self.data.describe(), self.options.method.name()));
        line("input", self.options.preprocess.describe());
        let report = &self.converted.report;
        line(
            "operators",
            format!("{}, {} of them with i16 results", report.ops.len(), report.wide_ops()),
        );
        line("constants", bytes(self.converted.weight_bytes as u64));
        line("arena", bytes(self.converted.arena_bytes as u64));
        let model = kenar::Model::parse(&self.converted.file);
        for (i, needs) in model.iter().flat_map(sizes::lines).enumerate() {
            line(if i == 0 { "sizes" } else { "" }, needs);
        }
        for note in &self.converted.notes {
            line("note", note.clone());
        }
        out.push_str(&format!(
            "\nnext: kenar eval {} --float {} --data IMAGES\n",
            self.path.display(),
            self.loaded.path.display()
        ));
        out
    }
}
