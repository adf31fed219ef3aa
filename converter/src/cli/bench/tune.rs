//! `kenar bench --tune`: which blocking each convolution runs fastest with.
//!
//! Every alternative is a session of the whole network, so that weights come from where they come from in use. They run
//! in turns; what is chosen has to be faster in both halves of the measurement.

use kenar::kernels::{Blocking, Problem};
use kenar::{Model, Options, Session};
use serde_json::{Value, json};

use super::measure::quantile;
use crate::cli::table::{lines, table};
use crate::data::Sample;
use crate::error::{Error, Result};
use crate::integer::{Engine, Runner};

/// KiB of weights that are tried.
const BLOCKS: [u16; 5] = [64, 128, 256, 512, 1024];
/// Rounds of all alternatives, at least.
const ROUNDS: usize = 10;
/// What has to be gained for a row: less is noise.
const GAIN: f64 = 0.03;

/// A problem that something else is faster for.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    problem: Problem,
    /// The first layer with it.
    layer: String,
    /// How many layers have it.
    layers: usize,
    now: (Blocking, f64),
    best: (Blocking, f64),
}

/// Times the alternatives for at least `rounds` rounds, and looks for what is faster than what is used now.
pub fn tune(model: &Model, sample: &Sample, engine: &Engine, rounds: usize) -> Result<Vec<Found>> {
    let alternatives: Vec<Option<Blocking>> = std::iter::once(None)
        .chain(
            [false, true]
                .into_iter()
                .flat_map(|wide| BLOCKS.map(|block_kib| Some(Blocking { wide, block_kib }))),
        )
        .collect();
    let mut arenas = vec![vec![0; model.arena_bytes()]; alternatives.len()];
    let mut runners = Vec::new();
    for (arena, &blocking) in arenas.iter_mut().zip(&alternatives) {
        let options = Options { threads: engine.threads, platform: engine.platform };
        runners.push(Runner::from(Session::with_blocking(model, arena, options, blocking)?));
    }
    if (0..model.op_count()).all(|index| runners[0].session().blocking(index).is_none()) {
        return Ok(Vec::new());
    }
    // Microseconds by alternative, operator, round.
    let mut times = vec![vec![Vec::new(); model.op_count()]; runners.len()];
    let mut hash = None;
    for round in 0..rounds.max(ROUNDS) + 1 {
        for (runner, times) in runners.iter_mut().zip(&mut times) {
            let mut nanoseconds = vec![0; model.op_count()];
            for ns in [None, Some(&mut nanoseconds)] {
                runner.set(sample)?;
                match ns {
                    None => runner.run()?,
                    Some(ns) => runner.session().run_timed(ns)?,
                }
            }
            if *hash.get_or_insert(runner.hash()?) != runner.hash()? {
                let what = "two blockings gave different bytes; this is a fault of the runtime, please report it";
                return Err(Error::Input(what.into()));
            }
            // The first round warms up.
            for (times, ns) in times.iter_mut().zip(nanoseconds).filter(|_| round > 0) {
                times.push(ns as f64 / 1e3);
            }
        }
    }
    let mut problems: Vec<(Problem, Vec<usize>)> = Vec::new();
    for index in 0..model.op_count() {
        let Some((problem, _)) = runners[0].session().blocking(index) else { continue };
        match problems.iter_mut().find(|(p, _)| *p == problem) {
            Some((_, ops)) => ops.push(index),
            None => problems.push((problem, vec![index])),
        }
    }
    let mut found = Vec::new();
    for (problem, ops) in problems {
        let sums: Vec<Vec<f64>> = times.iter().map(|times| together(times, &ops)).collect();
        let Some(best) = faster(&sums) else { continue };
        let used =
            |runner: &mut Runner| runner.session().blocking(ops[0]).map(|(_, blocking)| blocking);
        let (Some(now), Some(chosen)) = (used(&mut runners[0]), used(&mut runners[best])) else {
            continue;
        };
        if now != chosen {
            let layer = model.text(model.op(ops[0]).name).to_owned();
            let (layers, [a, b]) = (ops.len(), [0, best].map(|i| median(&sums[i])));
            found.push(Found { problem, layer, layers, now: (now, a), best: (chosen, b) });
        }
    }
    Ok(found)
}

/// Microseconds of some operators together, by round.
fn together(times: &[Vec<f64>], ops: &[usize]) -> Vec<f64> {
    let rounds = ops.first().map_or(0, |&op| times[op].len());
    (0..rounds).map(|round| ops.iter().map(|&op| times[op][round]).sum()).collect()
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// The alternative that is fastest, if it is faster than the first one in both halves of the rounds.
fn faster(times: &[Vec<f64>]) -> Option<usize> {
    let best = (0..times.len()).min_by(|&a, &b| median(&times[a]).total_cmp(&median(&times[b])))?;
    let half = times[0].len() / 2;
    let gains = |range: std::ops::Range<usize>| {
        median(&times[best][range.clone()]) < (1.0 - GAIN) * median(&times[0][range])
    };
    (gains(0..half) && gains(half..times[0].len())).then_some(best)
}

impl Found {
    /// A row of `runtime/src/kernels/tuned.rs`.
    fn row(&self) -> String {
        let Problem { isa, pixels, channels, runs, depth } = self.problem;
        let Blocking { wide, block_kib } = self.best.0;
        format!("(\"{isa}\", [{pixels}, {channels}, {runs}, {depth}], {wide}, {block_kib}),")
    }
}

fn words(blocking: Blocking) -> String {
    let panels = if blocking.wide { "wide panels" } else { "narrow panels" };
    format!("{panels}, {} KiB", blocking.block_kib)
}

/// What was found, and the rows to paste.
pub fn text(found: &[Found]) -> String {
    if found.is_empty() {
        return "Nothing is faster than what is used now.\n".into();
    }
    let right = ["layers", "now, µs", "best, µs", "faster"];
    let header = ["first layer", "layers", "now", "now, µs", "best", "best, µs", "faster"];
    let mut rows = table(&header, &right);
    for f in found {
        rows.add_row([
            f.layer.clone(),
            f.layers.to_string(),
            words(f.now.0),
            format!("{:.1}", f.now.1),
            words(f.best.0),
            format!("{:.1}", f.best.1),
            format!("{:.3}x", f.now.1 / f.best.1),
        ]);
    }
    let saved: f64 = found.iter().map(|f| f.now.1 - f.best.1).sum();
    let mut out = format!(
        "{}\n{saved:.1} µs less together. Rows of TABLE in runtime/src/kernels/tuned.rs:\n\n",
        lines(&rows)
    );
    for f in found {
        out.push_str(&format!("    {}\n", f.row()));
    }
    out
}

/// The JSON document.
pub fn document(found: &[Found]) -> Value {
    let rows = found.iter().map(|f| {
        json!({
            "layer": f.layer,
            "layers": f.layers,
            "now_us": f.now.1,
            "best_us": f.best.1,
            "wide": f.best.0.wide,
            "block_kib": f.best.0.block_kib,
            "row": f.row(),
        })
    });
    json!({ "found": rows.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_faster_throughout_is_chosen() {
        let times = |a: f64, b: f64| vec![a, a, a, b, b, b];
        assert_eq!(faster(&[times(10.0, 10.0), times(9.0, 9.0), times(8.0, 8.0)]), Some(2));
        assert_eq!(faster(&[times(10.0, 10.0), times(5.0, 11.0)]), None);
        assert_eq!(faster(&[times(10.0, 10.0), times(9.9, 9.9)]), None);
        assert_eq!(faster(&[times(10.0, 10.0), times(12.0, 12.0)]), None);
        assert_eq!(
            together(&[vec![1.0, 2.0], vec![5.0, 5.0], vec![3.0, 4.0]], &[0, 2]),
            [4.0, 6.0]
        );
    }

    #[test]
    fn rows_can_be_pasted() {
        let problem = Problem { isa: "avx2", pixels: 49, channels: 64, runs: 9, depth: 32 };
        let [now, best] =
            [(false, 256), (true, 128)].map(|(wide, block_kib)| Blocking { wide, block_kib });
        let found =
            Found { problem, layer: "a".into(), layers: 2, now: (now, 4.0), best: (best, 2.0) };
        assert_eq!(found.row(), r#"("avx2", [49, 64, 9, 32], true, 128),"#);
        let text = text(&[found]);
        assert!(text.contains("2.0 µs less together") && text.contains("2.000x"), "{text}");
    }
}
