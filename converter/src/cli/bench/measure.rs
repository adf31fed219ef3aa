//! Timing a model on one image.

use std::path::Path;
use std::time::{Duration, Instant};

use kenar::Model;
use kenar::pages::Pages;
use serde_json::{Value, json};

use super::layers::Layer;
use super::machine::Machine;
use super::memory;
use crate::data::{Dataset, Preprocess, Preset, Sample};
use crate::error::{Error, Result};
use crate::integer::{self, Engine, Runner};
use crate::mapped::ModelFile;

/// Figures of one thread count.
pub struct Measured {
    /// Threads of one run.
    pub threads: usize,
    /// Milliseconds from the file to a session.
    pub load_ms: f64,
    /// Milliseconds of the first run.
    pub first_ms: f64,
    /// Most bytes resident while it was loaded and run; `None` where the system does not tell.
    pub peak_bytes: Option<u64>,
    /// Milliseconds of each run, sorted.
    pub times_ms: Vec<f64>,
    /// Of the outputs.
    pub hash: u64,
    /// Each operator, with `--per-layer`.
    pub layers: Vec<Layer>,
    /// The machine's limits, with `--per-layer`.
    pub machine: Option<Machine>,
    /// What the kernel family can do with these threads.
    pub peak_gmacs: f64,
}

/// The value below which a share of the sorted values lies.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

impl Measured {
    /// Milliseconds.
    pub fn median(&self) -> f64 {
        quantile(&self.times_ms, 0.5)
    }

    /// 10^9 multiply-accumulates per second at the median.
    pub fn gmacs(&self, macs: u64) -> f64 {
        macs as f64 / self.median() / 1e6
    }
}

/// Figures of a short measurement.
pub struct Quick {
    pub runs: usize,
    pub median_ms: f64,
    pub gmacs_per_s: f64,
    pub peak_fraction: f64,
}

impl Quick {
    /// The figures for a JSON document.
    pub fn json(&self, engine: &Engine) -> Value {
        json!({
            "isa": engine.name(),
            "threads": engine.threads,
            "runs": self.runs,
            "median_ms": self.median_ms,
            "gmacs_per_s": self.gmacs_per_s,
            "peak_fraction": self.peak_fraction,
        })
    }
}

/// Half a second of runs.
pub fn quick(model: &Model, path: &Path, engine: &Engine) -> Result<Quick> {
    let sample = test_image(model, path)?;
    let limit = Limit::Time(Duration::from_millis(500));
    let m = measure(None, model, &sample, engine, limit, false)?;
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
pub enum Limit {
    /// After so many.
    Runs(usize),
    /// After so long, but not before five.
    Time(Duration),
}

/// A synthetic image, or synthetic values for a model that takes no images.
pub fn test_image(model: &Model, path: &Path) -> Result<Sample> {
    let [height, width, channels] = model.input_shape().map(|n| n as usize);
    let size = [height, width];
    if channels != 3 {
        return Err(Error::Input(format!(
            "{}: takes {} channels; only models of colour images are timed",
            path.display(),
            channels
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

/// Loads, warms up, times, and checks that every run gives the same bytes. `opened` is what the model was parsed from, and
/// how long that took.
pub fn measure(
    opened: Option<(&ModelFile, Duration)>,
    model: &Model,
    sample: &Sample,
    engine: &Engine,
    limit: Limit,
    per_layer: bool,
) -> Result<Measured> {
    memory::forget_peak();
    let start = Instant::now();
    let mut arena = Pages::zeroed(model.arena_bytes());
    let mut runner = match opened {
        Some((file, _)) => engine.runner_of(file, model, &mut arena)?,
        None => engine.runner(model, &mut arena)?,
    };
    let load = start.elapsed() + opened.map_or(Duration::ZERO, |(_, opening)| opening);
    let first_ms = once(&mut runner, sample)?;
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
    let mut measured = Measured {
        threads: engine.threads,
        load_ms: load.as_secs_f64() * 1e3,
        first_ms,
        // Before the machine's limits are measured, with buffers of their own.
        peak_bytes: memory::peak_bytes(),
        times_ms,
        hash,
        layers: Vec::new(),
        machine: None,
        peak_gmacs: 0.0,
    };
    if per_layer {
        let us = layers(model, &mut runner, sample, measured.times_ms.len())?;
        let machine = Machine::measure(engine);
        measured.layers = Layer::all(model, runner.session(), &machine, &us);
        measured.peak_gmacs = machine.peak_gmacs;
        measured.machine = Some(machine);
    } else {
        measured.peak_gmacs = engine.peak_gmacs();
    }
    measured.times_ms.sort_by(f64::total_cmp);
    Ok(measured)
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
