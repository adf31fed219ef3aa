//! `kenar detect`: boxes on photographs.

mod inputs;
mod network;
pub(super) mod picture;
mod report;
mod size;
mod work;

use std::path::PathBuf;

use clap::Args;
use kenar::Model;
use kenar::detect::Options;
use kenar::pages::Pages;

use super::args::{
    IsaArgs, JsonArgs, LabelArgs, PreprocessArgs, SizeArgs, SourceArgs, parse_share,
};
use super::console::Console;
use super::file::Output;
use super::run::model_preprocess;
use crate::data::{Preprocess, read_class_names};
use crate::error::{Error, Result};
use crate::integer::Engine;
use crate::mapped::ModelFile;
use crate::pipeline::{self, SourceOptions};
use network::{Float, Int8, Network};
use report::Ids;
use work::{Job, Timing};

/// Find objects on images with a model file (int8) or with a checkpoint or ONNX file (float)
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kenar detect det.kenar street.jpg -o out.png
  kenar detect det.kenar photos/ 'more/*.webp' -o found/ --conf 0.4 --classes person,dog
  kenar detect det.kenar street.jpg --size 384x640
  kenar detect det.onnx street.jpg --letterbox 114 -o reference.png
  kenar detect det.kenar val2017/ --conf 0.001 --json --ids instances_val2017.json > results.json

Images are JPEG, PNG or WebP. With -o, annotated copies are written: one file, or one per image into a
folder. --json prints COCO's results format: image_id is the file's name without suffix (a number where
it is one) and category_id counts from 1, unless --ids names an annotation file that has them. With
--timing it is an object: `results` as before, `milliseconds` of every step for one image.

Of a model that is planned for several input sizes, each image gets the one that it fills best, and of
equal ones the largest; --size takes one for all images.")]
pub struct Detect {
    /// Model file, checkpoint or ONNX file
    source: PathBuf,
    /// Images, folders of images, or patterns such as 'photos/*.jpg'
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Write the images with boxes and captions: a file for one image, a folder for several
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Boxes must score higher than this
    #[arg(long, value_name = "0..1", default_value_t = 0.25, value_parser = parse_share::<f32>)]
    conf: f32,
    /// Of boxes that overlap by more than this share of their union, the best is kept
    #[arg(long, value_name = "0..1", default_value_t = 0.45, value_parser = parse_share::<f32>)]
    iou: f32,
    /// Keep the N best boxes of an image
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    max_det: u16,
    /// Look for these classes only, by name or number from 0
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    classes: Vec<String>,
    /// Boxes of different classes drop each other too
    #[arg(long)]
    agnostic: bool,
    /// One box for every class that scores high enough, not for the best class alone
    #[arg(long)]
    multi_label: bool,
    /// COCO annotation file whose image and category numbers --json uses
    #[arg(long, value_name = "FILE.json", requires = "json")]
    ids: Option<PathBuf>,
    /// Put the time of every step beside the results of --json
    #[arg(long, requires = "json")]
    timing: bool,
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

/// What images go through.
struct Detector<'n> {
    /// At every input size, and how images get there.
    networks: Vec<Box<dyn Network + 'n>>,
    preprocess: Vec<Preprocess>,
    labels: Vec<String>,
    classes: usize,
    remark: Option<String>,
}

impl Detect {
    pub fn run(self, console: &mut Console) -> Result<()> {
        let images = inputs::images(&self.inputs)?;
        let targets = match &self.output {
            Some(output) => {
                inputs::targets(output, &self.inputs, &images)?.into_iter().map(Some).collect()
            }
            None => vec![None; images.len()],
        };
        let ids = self.ids.as_deref().map(Ids::open).transpose()?.unwrap_or_default();
        let jobs = images
            .iter()
            .zip(targets)
            .map(|(image, target)| {
                let target = match target {
                    Some(path) => Some((Output::create(&path, &[&self.source])?, path)),
                    None => None,
                };
                Ok(Job { image: image.clone(), target })
            })
            .collect::<Result<Vec<_>>>()?;
        if pipeline::is_model_file(&self.source)? {
            self.int8(jobs, &ids, console)
        } else {
            self.float(jobs, &ids, console)
        }
    }

    fn int8(&self, jobs: Vec<Job>, ids: &Ids, console: &mut Console) -> Result<()> {
        let path = &self.source;
        if let Some(flag) = self.options.first_given().or(self.preprocess.first_fixed()) {
            return Err(Error::Input(format!(
                "{flag}: {} is a model file, which states this itself",
                path.display()
            )));
        }
        let file = ModelFile::open(path)?;
        let model = Model::parse(&file).map_err(|e| Error::from(e).in_file(path))?;
        let head = network::head(&model, path)?;
        let models = match self.size.size {
            Some(_) => vec![self.size.choose(model, path)?],
            None => model.sizes().map(|size| model.with_size(size)).collect::<Result<_, _>>()?,
        };
        let fit = self.preprocess.request()?.fit;
        let at_size = |model: &Model| {
            let preprocess = model_preprocess(model, path)?;
            Ok(Preprocess { fit: fit.unwrap_or(preprocess.fit), ..preprocess })
        };
        let preprocess = models.iter().map(at_size).collect::<Result<_>>()?;
        let engine = Engine::new(self.isa.isa.as_deref(), usize::from(self.threads))?;
        let mut arenas: Vec<Pages> =
            models.iter().map(|model| Pages::zeroed(model.arena_bytes())).collect();
        let networks = models.iter().zip(&mut arenas).map(|(model, arena)| {
            let network: Box<dyn Network + '_> =
                Box::new(Int8(engine.runner_of(&file, model, arena)?));
            Ok(network)
        });
        let detector = Detector {
            networks: networks.collect::<Result<_>>()?,
            preprocess,
            labels: self.labels(model.labels().map(str::to_owned).collect())?,
            classes: head.classes as usize,
            remark: None,
        };
        self.detect(detector, jobs, ids, console)
    }

    fn float(&self, jobs: Vec<Job>, ids: &Ids, console: &mut Console) -> Result<()> {
        self.size.refuse(&self.source)?;
        let loaded = pipeline::load(&self.source, &SourceOptions::from(&self.options))?;
        let (preprocess, remark) = loaded.preprocess(&self.preprocess.request()?, None)?;
        let network = Float::new(&loaded, preprocess.clone())?;
        let detector = Detector {
            networks: vec![Box::new(network)],
            preprocess: vec![preprocess],
            labels: self.labels(loaded.labels.clone())?,
            classes: loaded.head.as_ref().map_or(0, |head| head.classes),
            remark,
        };
        self.detect(detector, jobs, ids, console)
    }

    fn labels(&self, own: Vec<String>) -> Result<Vec<String>> {
        self.labels.labels.as_deref().map_or(Ok(own), read_class_names)
    }

    fn detect(
        &self,
        detector: Detector<'_>,
        jobs: Vec<Job>,
        ids: &Ids,
        console: &mut Console,
    ) -> Result<()> {
        let Detector { mut networks, preprocess, labels, classes, remark } = detector;
        let wanted = wanted(&self.classes, &labels, classes)?;
        let options = Options {
            confidence: self.conf,
            iou: self.iou,
            max_boxes: usize::from(self.max_det),
            agnostic: self.agnostic,
            best_class: !self.multi_label,
            classes: &wanted,
        };
        let (count, single) = (jobs.len(), jobs.len() == 1);
        let bar = console.progress("detect", count);
        let done =
            work::run(jobs, &preprocess, &mut networks, &options, &labels, &mut || bar.inc(1));
        bar.finish_and_clear();
        let (images, timing, mut failures) = (done.images, done.timing, done.failures);
        if single && let Some(error) = failures.pop() {
            return Err(error);
        }
        if self.json.json {
            let results = report::coco(&images, &labels, ids);
            if self.timing {
                console.json(&report::timed(results, &timing, images.len()))?;
            } else {
                console.json(&results)?;
            }
        } else {
            console.print(&report::text(&images, &labels))?;
            console.print(&self.footer(&images, &timing, remark.as_deref()))?;
        }
        for failure in &failures {
            console.complain(&format!("error: {failure}\n"));
        }
        match failures.len() {
            0 => Ok(()),
            n => Err(Error::Input(format!("{n} of {count} images failed"))),
        }
    }

    fn footer(&self, images: &[report::Image], timing: &Timing, remark: Option<&str>) -> String {
        let mut out = String::new();
        if let Some(output) = self.output.as_ref().filter(|_| !images.is_empty()) {
            out.push_str(&format!("wrote {}\n", output.display()));
        }
        if !images.is_empty() {
            out.push_str(&report::times(timing, images.len()));
        }
        if let Some(remark) = remark {
            out.push_str(&format!("  note    {remark}\n"));
        }
        out
    }
}

/// Numbers of the classes that were asked for.
fn wanted(asked: &[String], labels: &[String], classes: usize) -> Result<Vec<u32>> {
    let number = |name: &String| {
        let named = labels.iter().position(|label| label.eq_ignore_ascii_case(name.trim()));
        let found = named.or_else(|| name.trim().parse().ok()).filter(|&class| class < classes);
        found.map(|class| class as u32).ok_or_else(|| {
            let known = match labels {
                [] => format!("numbers from 0 to {}", classes.saturating_sub(1)),
                labels => labels.join(", "),
            };
            Error::Input(format!("--classes {name}: the network's classes are {known}"))
        })
    };
    asked.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_found_by_name_and_number() {
        let labels = ["person", "traffic light"].map(String::from);
        let asked = ["Traffic Light", " 0"].map(String::from);
        assert_eq!(wanted(&asked, &labels, 2).unwrap(), [1, 0]);
        assert_eq!(wanted(&["79".into()], &[], 80).unwrap(), [79]);
        for bad in ["2", "cat", "-1", ""] {
            let message = wanted(&[bad.into()], &labels, 2).unwrap_err().to_string();
            assert!(message.contains("person, traffic light"), "{message}");
        }
        assert!(wanted(&["80".into()], &[], 80).unwrap_err().to_string().contains("0 to 79"));
    }
}
