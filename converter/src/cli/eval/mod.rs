//! `kenar eval`: int8 against float, on real data.

mod boxes;
mod curves;
mod report;

use std::path::{Path, PathBuf};

use clap::Args;
use kenar::Model;

use super::args::{IsaArgs, JsonArgs, LabelArgs, SizeArgs, parse_share};
use super::console::Console;
use super::run::model_preprocess;
use crate::data::{Annotations, Dataset, Fit, Letterbox, read_class_names};
use crate::error::{Error, Result};
use crate::evaluate::{BoxOptions, DetectorEvaluation, Pair, evaluate, evaluate_boxes};
use crate::integer::{Engine, Origin};
use crate::mapped::ModelFile;
use crate::pipeline::{self, SourceOptions};

pub use report::Report;

/// Compare a model file with the float network it was made from, on the same pixels
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kenar eval wrn40_2.kenar --float wrn40_2.pt --data test.bin
  kenar eval resnet50.kenar --float resnet50.pth --data val/ --limit 1000 --json
  kenar eval det.kenar --float det.pt --data instances_val2017.json --images val2017/ --curves curves/

A model with a detection head is measured by mean average precision, as pycocotools computes it, where the images are
annotated, and by its boxes against those of the float network.

Rates and mAP in the JSON document are fractions, 0 to 1. SQNR is the signal to quantisation noise ratio of a layer
in decibels: 10 log10(sum float^2 / sum (int8 - float)^2).")]
pub struct Eval {
    /// Model file
    model: PathBuf,
    /// Checkpoint or ONNX file that the model was made from
    #[arg(long, value_name = "SOURCE")]
    float: PathBuf,
    /// Images: a CIFAR-10 .bin, a folder (by class or flat), a .safetensors batch, a .txt list or one image;
    /// annotated ones: a COCO .json, a VOC folder, or a list or folder of images with VOC .xml files;
    /// `noise` makes synthetic ones
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Folder in which the images of a .txt list, a COCO file or a VOC folder are looked up
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
    size: SizeArgs,
    #[command(flatten)]
    boxes: BoxArgs,
    #[command(flatten)]
    labels: LabelArgs,
    #[command(flatten)]
    isa: IsaArgs,
    #[command(flatten)]
    json: JsonArgs,
}

/// What counts as a box.
#[derive(Args, Debug)]
#[command(next_help_heading = "Detectors")]
struct BoxArgs {
    /// Boxes must score higher than this
    #[arg(long, value_name = "SCORE", default_value_t = 0.01, value_parser = parse_share::<f32>)]
    conf: f32,
    /// A box is dropped if it overlaps a better one of its class by more than this share of their union
    #[arg(long, value_name = "IOU", default_value_t = 0.6, value_parser = parse_share::<f32>)]
    iou: f32,
    /// Boxes kept in an image, the best
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    max_det: u32,
    /// Float boxes that score higher than this look for an int8 box each
    #[arg(long, value_name = "SCORE", default_value_t = 0.25, value_parser = parse_share::<f64>)]
    paired_conf: f64,
    /// Draw precision over recall of every class into SVG files in this folder
    #[arg(long, value_name = "DIR")]
    curves: Option<PathBuf>,
}

impl Eval {
    pub fn run(self, console: &mut Console) -> Result<()> {
        let file = read_model(&self.model)?;
        let model = Model::parse(&file).map_err(|e| Error::from(e).in_file(&self.model))?;
        let model = self.size.choose(model, &self.model)?;
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
            ..SourceOptions::default()
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
        let mut report = match model.head() {
            Some(head) => {
                let mut labels: Vec<String> = match &self.labels.labels {
                    Some(file) => read_class_names(file)?,
                    None => model.labels().map(str::to_owned).collect(),
                };
                let count = head.classes as usize;
                if !labels.is_empty() && labels.len() != count {
                    return Err(Error::Input(format!(
                        "{} class names were given, the model has {count} classes",
                        labels.len()
                    )));
                }
                let annotations = match data.is_annotated() {
                    true => Some(data.annotations()?.in_classes_of(&labels, count)?),
                    false => None,
                };
                if annotations.is_none() && self.boxes.curves.is_some() {
                    return Err(Error::Input(format!(
                        "--curves needs annotated images, {} has no boxes",
                        data.path().display()
                    )));
                }
                if let Some(annotations) = &annotations {
                    labels.clone_from(&annotations.classes);
                }
                if labels.is_empty() {
                    labels = (0..count).map(|class| format!("class {class}")).collect();
                }
                self.boxes.compare(pair, &data, annotations.as_ref(), labels, console)?
            }
            None => {
                let mut report = compare(pair, &data, console)?;
                if data.is_annotated() {
                    let why =
                        loaded.headless.map(|reason| format!("; {reason}")).unwrap_or_default();
                    report.notes.push(format!("the images have annotated boxes, the model no detection head: only its outputs are compared{why}"));
                }
                report
            }
        };
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

/// Opens a file that has to be a model.
pub fn read_model(path: &Path) -> Result<ModelFile> {
    if !pipeline::is_model_file(path)? {
        return Err(Error::Input(format!(
            "{}: is no model file; `kenar convert` makes one from a checkpoint or ONNX file",
            path.display()
        )));
    }
    ModelFile::open(path)
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
    Ok(Report { evaluation, detector: None, labels, data: data.describe(), notes: Vec::new() })
}

impl BoxArgs {
    /// Runs a detector with a progress bar and judges its boxes.
    fn compare(
        &self,
        pair: Pair,
        data: &Dataset,
        annotations: Option<&Annotations>,
        labels: Vec<String>,
        console: &mut Console,
    ) -> Result<Report> {
        let options =
            BoxOptions { confidence: self.conf, iou: self.iou, max_boxes: self.max_det as usize };
        let bar = console.progress("float and int8", data.len());
        let progress = &mut |done| bar.set_position(done as u64);
        let evaluation = evaluate_boxes(pair, options, data, progress)?;
        bar.finish_and_clear();
        let detector =
            DetectorEvaluation::new(&evaluation.boxes, annotations, &labels, self.paired_conf)?;
        let mut notes = annotations.map(|a| a.notes.clone()).unwrap_or_default();
        match (&detector.precision, &self.curves) {
            (Some(precision), Some(folder)) => {
                let written = curves::write(folder, precision)?;
                notes.push(format!("{written} curves are in {}", folder.display()));
            }
            (None, _) => notes.push("the images have no annotated boxes: no mAP".into()),
            (Some(_), None) => {}
        }
        Ok(Report { evaluation, detector: Some(detector), labels, data: data.describe(), notes })
    }
}
