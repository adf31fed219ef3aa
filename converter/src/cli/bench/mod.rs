//! `kenar bench`: latency of a model file on this machine.

mod compare;
mod layers;
mod machine;
mod measure;
mod memory;
mod report;
mod roofline;
mod traffic;
mod tune;

pub use measure::quick;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use kenar::Model;

use super::args::{IsaArgs, JsonArgs, SizeArgs};
use super::console::Console;
use super::eval::read_model;
use crate::data::Sample;
use crate::error::{Error, Result};
use crate::integer::Engine;
use compare::Comparison;
use measure::{Limit, Measured, measure, test_image};

/// Measure the latency of a model file on this machine
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kenar bench wrn40_2.kenar
  kenar bench wrn40_2.kenar --threads 1,2 --per-layer
  kenar bench wrn40_2.kenar --isa scalar --seconds 5 --json
  kenar bench wrn40_2.kenar --roofline roofline.svg
  kenar bench --compare before.json after.json
  kenar bench wrn40_2.kenar --tune --runs 50

Every run computes the same image, and has to give the same bytes. Times are those of one inference without
image decoding. `load` is from the file to a session that is ready: reading, checking, packing weights, starting
threads; `first` is the first inference; `memory` is the most that the program had resident. With several thread counts the JSON document is that of the first, and `results` holds all.

--per-layer measures the machine's limits in the same run: multiply-accumulates on registers, and bytes read from L1,
L2, L3 and memory. Each layer is told what bounds it: `compute` if its multiply-accumulates alone need longer than its
bytes, else the level of memory that most of that time goes to. Bytes are in the nearest level that holds what was
touched since they were; weights are touched once a run. `of bound` is the share of the measured time that the bound
alone needs.

--tune is for working on Kenar itself: it runs the network with other divisions of the convolutions' weights and prints
rows for a table in the runtime's source where one of them is faster.")]
pub struct Bench {
    /// Model file
    #[arg(required_unless_present = "compare")]
    model: Option<PathBuf>,
    /// Threads of one run; several values are measured one after the other
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Vec<u16>,
    /// Number of timed runs [default: as many as --seconds allow]
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Time to spend on timed runs, per thread count
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = parse_seconds)]
    seconds: f64,
    /// Show what each layer takes, moves and is bounded by
    #[arg(long)]
    per_layer: bool,
    /// Draw the layers under the machine's roofs, for the first thread count; implies --per-layer
    #[arg(long, value_name = "FILE.svg")]
    roofline: Option<PathBuf>,
    /// Find faster divisions of the weights, in place of the report; --runs gives the rounds
    #[arg(long, conflicts_with_all = ["seconds", "per_layer", "roofline"])]
    tune: bool,
    /// Compare what --json printed in two runs, in total and per layer, in place of measuring
    #[arg(long, num_args = 2, value_names = ["OLD.json", "NEW.json"], conflicts_with_all = ["model", "threads", "runs", "seconds", "per_layer", "roofline", "tune", "size", "isa"])]
    compare: Option<Vec<PathBuf>>,
    #[command(flatten)]
    size: SizeArgs,
    #[command(flatten)]
    isa: IsaArgs,
    #[command(flatten)]
    json: JsonArgs,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 =
        text.parse().map_err(|_| format!("'{text}': expected a number of seconds"))?;
    if seconds > 0.0 && seconds <= 3600.0 {
        Ok(seconds)
    } else {
        Err(format!("'{text}': expected more than 0 and at most 3600 seconds"))
    }
}

impl Bench {
    pub fn run(self, console: &mut Console) -> Result<()> {
        let path = match (&self.model, self.compare.as_deref()) {
            (_, Some([old, new])) => {
                let comparison = Comparison::read([old, new])?;
                return if self.json.json {
                    console.json(&comparison.document())
                } else {
                    console.print(&comparison.text())
                };
            }
            (Some(model), _) => model,
            (None, _) => return Err(Error::Input("expected a model file".into())),
        };
        let start = Instant::now();
        let file = read_model(path)?;
        let model = Model::parse(&file).map_err(|e| Error::from(e).in_file(path))?;
        let model = self.size.choose(model, path)?;
        let opening = start.elapsed();
        let sample = test_image(&model, path)?;
        let per_layer = self.per_layer || self.roofline.is_some();
        if self.tune {
            return self.find_blockings(&model, &sample, console);
        }
        let mut results = Vec::new();
        for &threads in &self.threads {
            let engine = Engine::new(self.isa.isa.as_deref(), usize::from(threads))?;
            console.remark(&format!("{threads} threads, {}", engine.name()));
            let limit = match self.runs {
                Some(runs) => Limit::Runs(runs as usize),
                None => Limit::Time(Duration::from_secs_f64(self.seconds)),
            };
            let opened = Some((&file, opening));
            let measured = measure(opened, &model, &sample, &engine, limit, per_layer)?;
            let first: &Measured = results.first().unwrap_or(&measured);
            if first.hash != measured.hash {
                return Err(Error::Input(format!(
                    "{}: {threads} threads give output hash {:016x}, {} give {:016x}; this is a fault of the runtime, please report it",
                    path.display(),
                    measured.hash,
                    first.threads,
                    first.hash
                )));
            }
            results.push(measured);
        }
        let isa = Engine::new(self.isa.isa.as_deref(), 1)?.name();
        let first = results.first().and_then(|r| Some((r, r.machine.as_ref()?)));
        if let (Some(file), Some((result, machine))) = (&self.roofline, first) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let plural = if result.threads == 1 { "thread" } else { "threads" };
            let ms = result.median();
            let title = format!("{name}, {isa}, {} {plural}: {ms:.3} ms", result.threads);
            roofline::write(file, &title, machine, &result.layers)?;
            console.remark(&format!("drew {}", file.display()));
        }
        if self.json.json {
            console.json(&report::document(path, &model, isa, &results))
        } else {
            console.print(&report::text(path, &model, isa, &results))
        }
    }

    /// `--tune`, with the first thread count.
    fn find_blockings(&self, model: &Model, sample: &Sample, console: &mut Console) -> Result<()> {
        let threads = self.threads.first().copied().unwrap_or(1);
        let engine = Engine::new(self.isa.isa.as_deref(), usize::from(threads))?;
        let found = tune::tune(model, sample, &engine, self.runs.unwrap_or(30) as usize)?;
        if self.json.json {
            console.json(&tune::document(&found))
        } else {
            console.print(&tune::text(&found))
        }
    }
}
