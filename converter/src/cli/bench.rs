//! `kenar bench`: latency of a model file on this machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use kenar::Model;
use serde_json::{Value, json};

use super::args::{IsaArgs, JsonArgs};
use super::console::Console;
use super::eval::read_model;
use super::inspect::op_name;
use super::table::{lines, percent, si, table};
use crate::data::{Dataset, Preprocess, Preset, Sample};
use crate::error::{Error, Result};
use crate::integer::{self, Engine, Runner};

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

/// Figures of one thread count.
struct Measured {
    threads: usize,
    /// Milliseconds of each run, sorted.
    times_ms: Vec<f64>,
    hash: u64,
    /// Median microseconds of each operator, with `--per-layer`.
    layers_us: Vec<f64>,
    /// What the kernel family can do with these threads.
    peak_gmacs: f64,
}

/// The value below which a share of the sorted values lies.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

impl Measured {
    fn median(&self) -> f64 {
        quantile(&self.times_ms, 0.5)
    }

    fn gmacs(&self, macs: u64) -> f64 {
        macs as f64 / self.median() / 1e6
    }
}

impl Bench {
    pub fn run(self, console: &mut Console) -> Result<()> {
        let file = read_model(&self.model)?;
        let model = Model::parse(&file).map_err(|e| Error::from(e).in_file(&self.model))?;
        let sample = test_image(&model, &self.model)?;
        let mut results = Vec::new();
        for &threads in &self.threads {
            let engine = Engine::new(self.isa.isa.as_deref(), usize::from(threads))?;
            console.remark(&format!("{threads} threads, {}", engine.name()));
            let limit = match self.runs {
                Some(runs) => Limit::Runs(runs as usize),
                None => Limit::Time(Duration::from_secs_f64(self.seconds)),
            };
            let measured = measure(&model, &sample, &engine, limit, self.per_layer)?;
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

/// Figures of a short measurement.
pub struct Quick {
    pub runs: usize,
    pub median_ms: f64,
    pub gmacs_per_s: f64,
    pub peak_fraction: f64,
}

/// Half a second of runs.
pub fn quick(model: &Model, path: &Path, engine: &Engine) -> Result<Quick> {
    let sample = test_image(model, path)?;
    let limit = Limit::Time(Duration::from_millis(500));
    let m = measure(model, &sample, engine, limit, false)?;
    let gmacs_per_s = m.gmacs(model.macs());
    Ok(Quick {
        runs: m.times_ms.len(),
        median_ms: m.median(),
        gmacs_per_s,
        peak_fraction: gmacs_per_s / m.peak_gmacs,
    })
}

/// When to stop.
#[derive(Clone, Copy)]
enum Limit {
    Runs(usize),
    Time(Duration),
}

/// A synthetic image, or synthetic values for a model that takes no images.
fn test_image(model: &Model, path: &Path) -> Result<Sample> {
    let t = model.tensor(model.input().tensor);
    let size = [t.height as usize, t.width as usize];
    if t.channels != 3 {
        return Err(Error::Input(format!(
            "{}: takes {} channels; only models of colour images are timed",
            path.display(),
            t.channels
        )));
    }
    let preprocess =
        integer::preprocess(model).unwrap_or_else(|| Preprocess::preset(Preset::Unit, size));
    let data = Dataset::noise(size, 0, 1);
    let mut sample = data.samples(&preprocess).next().expect("one image")?;
    if integer::preprocess(model).is_none() {
        sample.pixels = None;
    }
    Ok(sample)
}

fn once(runner: &mut Runner, sample: &Sample) -> Result<f64> {
    runner.set(sample)?;
    let start = Instant::now();
    runner.run()?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn measure(
    model: &Model,
    sample: &Sample,
    engine: &Engine,
    limit: Limit,
    per_layer: bool,
) -> Result<Measured> {
    let mut arena = vec![0; model.arena_bytes()];
    let mut runner = engine.runner(model, &mut arena)?;
    // Caches, clock and branch predictors settle within a few runs; long runs need fewer.
    let warm = Instant::now();
    for i in 0..20 {
        once(&mut runner, sample)?;
        if i >= 2 && warm.elapsed() > Duration::from_millis(300) {
            break;
        }
    }
    let hash = runner.hash()?;
    let mut times_ms = Vec::new();
    let start = Instant::now();
    loop {
        times_ms.push(once(&mut runner, sample)?);
        if runner.hash()? != hash {
            return Err(Error::Input(
                "two runs of the same image gave different bytes; this is a fault of the runtime, please report it".into(),
            ));
        }
        let done = match limit {
            Limit::Runs(n) => times_ms.len() >= n,
            Limit::Time(t) => start.elapsed() >= t && times_ms.len() >= 5,
        };
        if done {
            break;
        }
    }
    let layers_us =
        if per_layer { layers(model, &mut runner, sample, times_ms.len())? } else { Vec::new() };
    times_ms.sort_by(f64::total_cmp);
    let peak_gmacs = engine.peak_gmacs();
    Ok(Measured { threads: engine.threads, times_ms, hash, layers_us, peak_gmacs })
}

/// Median microseconds of each operator over some runs of their own, since looking at the clock costs time.
fn layers(model: &Model, runner: &mut Runner, sample: &Sample, runs: usize) -> Result<Vec<f64>> {
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); model.op_count()];
    for _ in 0..runs.clamp(5, 200) {
        let mut nanoseconds = vec![0; model.op_count()];
        runner.set(sample)?;
        runner.session().run_timed(&mut nanoseconds)?;
        for (times, ns) in times.iter_mut().zip(nanoseconds) {
            times.push(ns as f64 / 1e3);
        }
    }
    Ok(times
        .into_iter()
        .map(|mut t| {
            t.sort_by(f64::total_cmp);
            quantile(&t, 0.5)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_small_sets() {
        assert_eq!(quantile(&[1.0], 0.9), 1.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.5), 3.0);
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(quantile(&ten, 0.9), 9.0);
    }
}
