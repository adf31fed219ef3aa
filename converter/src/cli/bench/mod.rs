//! `kenar bench`: latency of a model file on this machine.

mod measure;

pub use measure::quick;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kenar::Model;
use serde_json::{Value, json};

use super::args::{IsaArgs, JsonArgs, SizeArgs};
use super::console::Console;
use super::eval::read_model;
use super::inspect::op_name;
use super::table::{lines, percent, si, table};
use crate::error::{Error, Result};
use crate::integer::Engine;
use measure::{Limit, Measured, measure, quantile, test_image};

/// Measure the latency of a model file on this machine
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kenar bench wrn40_2.kenar
  kenar bench wrn40_2.kenar --threads 1,2 --per-layer
  kenar bench wrn40_2.kenar --isa scalar --seconds 5 --json

Every run computes the same image, and has to give the same bytes. Times are those of one inference without
image decoding. With several thread counts the JSON document is that of the first, and `results` holds all.")]
pub struct Bench {
    /// Model file
    model: PathBuf,
    /// Threads of one run; several values are measured one after the other
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Vec<u16>,
    /// Number of timed runs [default: as many as --seconds allow]
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Time to spend on timed runs, per thread count
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = parse_seconds)]
    seconds: f64,
    /// Show what each layer takes
    #[arg(long)]
    per_layer: bool,
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
        let file = read_model(&self.model)?;
        let model = Model::parse(&file).map_err(|e| Error::from(e).in_file(&self.model))?;
        let model = self.size.choose(model, &self.model)?;
        let sample = test_image(&model, &self.model)?;
        let mut results = Vec::new();
        for &threads in &self.threads {
            let engine = Engine::new(self.isa.isa.as_deref(), usize::from(threads))?;
            console.remark(&format!("{threads} threads, {}", engine.name()));
            let limit = match self.runs {
                Some(runs) => Limit::Runs(runs as usize),
                None => Limit::Time(Duration::from_secs_f64(self.seconds)),
            };
            let measured = measure(Some(&file), &model, &sample, &engine, limit, self.per_layer)?;
            let first: &Measured = results.first().unwrap_or(&measured);
            if first.hash != measured.hash {
                return Err(Error::Input(format!(
                    "{}: {threads} threads give output hash {:016x}, {} give {:016x}; this is a fault of the runtime, please report it",
                    self.model.display(),
                    measured.hash,
                    first.threads,
                    first.hash
                )));
            }
            results.push(measured);
        }
        let isa = Engine::new(self.isa.isa.as_deref(), 1)?.name();
        if self.json.json {
            console.json(&document(&model, isa, &results))
        } else {
            console.print(&self.text(&model, isa, &results))
        }
    }

    fn text(&self, model: &Model, isa: &str, results: &[Measured]) -> String {
        let mut out = format!(
            "{}: {} MACs, {isa}, output hash {:016x}\n\n",
            self.model.display(),
            si(model.macs() as f64),
            results.first().map_or(0, |r| r.hash)
        );
        let header = ["threads", "median", "90 %", "fastest", "runs", "GMAC/s", "of peak"];
        let mut rows = table(&header, &header);
        for r in results {
            rows.add_row([
                r.threads.to_string(),
                format!("{:.3} ms", r.median()),
                format!("{:.3} ms", quantile(&r.times_ms, 0.9)),
                format!("{:.3} ms", r.times_ms[0]),
                r.times_ms.len().to_string(),
                format!("{:.1}", r.gmacs(model.macs())),
                percent(r.gmacs(model.macs()) / r.peak_gmacs),
            ]);
        }
        out.push_str(&lines(&rows));
        for r in results.iter().filter(|r| !r.layers_us.is_empty()) {
            let total: f64 = r.layers_us.iter().sum();
            let right = ["µs", "share", "MACs", "GMAC/s"];
            let mut rows = table(&["layer", "operator", "µs", "share", "MACs", "GMAC/s"], &right);
            for (op, us) in model.ops().zip(&r.layers_us) {
                let macs = model.op_macs(&op);
                rows.add_row([
                    model.text(op.name).to_owned(),
                    op_name(&op.kind).to_owned(),
                    format!("{us:.1}"),
                    format!("{:.1} %", 100.0 * us / total),
                    if macs == 0 { String::new() } else { si(macs as f64) },
                    if macs == 0 {
                        String::new()
                    } else {
                        format!("{:.1}", macs as f64 / us / 1e3)
                    },
                ]);
            }
            let plural = if r.threads == 1 { "thread" } else { "threads" };
            out.push_str(&format!(
                "\n{} {plural}, median of each layer\n\n{}",
                r.threads,
                lines(&rows)
            ));
        }
        out
    }
}

fn document(model: &Model, isa: &str, results: &[Measured]) -> Value {
    let one = |r: &Measured| {
        let gmacs = r.gmacs(model.macs());
        json!({
            "isa": isa,
            "threads": r.threads,
            "runs": r.times_ms.len(),
            "median_ms": r.median(),
            "p90_ms": quantile(&r.times_ms, 0.9),
            "min_ms": r.times_ms[0],
            "macs": model.macs(),
            "gmacs_per_s": gmacs,
            "peak_gmacs_per_s": r.peak_gmacs,
            "peak_fraction": gmacs / r.peak_gmacs,
            "output_hash": format!("{:016x}", r.hash),
            "layers": model.ops().zip(&r.layers_us).map(|(op, us)| {
                let macs = model.op_macs(&op);
                json!({
                    "name": model.text(op.name),
                    "op": op_name(&op.kind),
                    "median_us": us,
                    "macs": macs,
                    "gmacs_per_s": macs as f64 / us / 1e3,
                })
            }).collect::<Vec<_>>(),
        })
    };
    let all: Vec<Value> = results.iter().map(one).collect();
    let mut document = all.first().cloned().unwrap_or_else(|| json!({}));
    if all.len() > 1 {
        document["results"] = json!(all);
    }
    document
}
