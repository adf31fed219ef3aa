//! Two documents of `kenar bench --json` beside each other.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::table::{lines, percent, table};
use crate::error::{Error, Result};

/// A figure before and after.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair {
    old: f64,
    new: f64,
}

impl Pair {
    fn of(key: &str, [old, new]: [&Value; 2]) -> Option<Self> {
        Some(Self { old: old[key].as_f64()?, new: new[key].as_f64()? })
    }

    /// How many times as fast the new one is.
    fn speedup(self) -> f64 {
        self.old / self.new.max(f64::MIN_POSITIVE)
    }

    fn json(self) -> Value {
        json!({ "old": self.old, "new": self.new, "speedup": self.speedup() })
    }
}

/// Layers of both runs with one name.
#[derive(Clone, Debug, PartialEq)]
struct LayerPair {
    name: String,
    op: String,
    /// Both kernels, if they differ.
    kernel: String,
    us: Pair,
}

/// Two runs with one number of threads.
struct Run {
    threads: u64,
    what: String,
    median_ms: Pair,
    p90_ms: Option<Pair>,
    min_ms: Option<Pair>,
    peak: Option<Pair>,
    of_peak: Option<Pair>,
    layers: Vec<LayerPair>,
    /// What keeps the comparison from saying more.
    notes: Vec<String>,
}

/// Both documents.
pub struct Comparison {
    names: [String; 2],
    runs: Vec<Run>,
}

impl Comparison {
    /// Reads and pairs them.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is no such document, [`Error::Input`] when no thread count is in both.
    pub fn read(paths: [&Path; 2]) -> Result<Self> {
        let names = paths.map(|p| p.display().to_string());
        let [old, new] = [results(paths[0])?, results(paths[1])?];
        let threads = |r: &Value| r["threads"].as_u64();
        let pairs = old.iter().filter_map(|a| {
            let b = new.iter().find(|b| threads(b) == threads(a))?;
            Some([a, b])
        });
        let runs: Vec<Run> = pairs.filter_map(run).collect();
        if runs.is_empty() {
            let list = |of: &[Value]| {
                of.iter().filter_map(threads).map(|t| t.to_string()).collect::<Vec<_>>().join(", ")
            };
            let message = format!(
                "{} has {} threads, {} has {}: expected a thread count that both have",
                names[0],
                list(&old),
                names[1],
                list(&new)
            );
            return Err(Error::Input(message));
        }
        Ok(Self { names, runs })
    }

    /// The tables.
    pub fn text(&self) -> String {
        let [old, new] = &self.names;
        let mut out = format!("old: {old}\nnew: {new}\n");
        for run in &self.runs {
            let plural = if run.threads == 1 { "thread" } else { "threads" };
            out.push_str(&format!("\n{}, {} {plural}\n\n", run.what, run.threads));
            let mut rows = table(&["", "old", "new", "faster"], &["old", "new", "faster"]);
            let times =
                [("median", Some(run.median_ms)), ("90 %", run.p90_ms), ("fastest", run.min_ms)];
            for (name, pair) in times {
                if let Some(p) = pair {
                    rows.add_row([name.to_owned(), ms(p.old), ms(p.new), times_as(p.speedup())]);
                }
            }
            if let Some(p) = run.peak {
                let gmacs = |x: f64| format!("{x:.1} GMAC/s");
                let ratio = format!("({})", times_as(p.new / p.old));
                rows.add_row(["machine's peak".to_owned(), gmacs(p.old), gmacs(p.new), ratio]);
            }
            if let Some(p) = run.of_peak {
                let ratio = times_as(p.new / p.old);
                rows.add_row(["of peak".to_owned(), percent(p.old), percent(p.new), ratio]);
            }
            out.push_str(&lines(&rows));
            if !run.layers.is_empty() {
                out.push('\n');
                out.push_str(&lines(&layer_rows(&run.layers)));
            }
            for note in &run.notes {
                out.push_str(&format!("\nnote: {note}\n"));
            }
        }
        out
    }

    /// The JSON document.
    pub fn document(&self) -> Value {
        let runs = self.runs.iter().map(|run| {
            let layers = run.layers.iter().map(|l| {
                json!({ "name": l.name, "op": l.op, "kernel": l.kernel, "median_us": l.us.json() })
            });
            json!({
                "threads": run.threads,
                "median_ms": run.median_ms.json(),
                "p90_ms": run.p90_ms.map(Pair::json),
                "min_ms": run.min_ms.map(Pair::json),
                "peak_gmacs_per_s": run.peak.map(|p| json!({ "old": p.old, "new": p.new })),
                "peak_fraction": run.of_peak.map(|p| json!({ "old": p.old, "new": p.new })),
                "layers": layers.collect::<Vec<_>>(),
                "layers_us": total(&run.layers).map(Pair::json),
                "notes": run.notes,
            })
        });
        json!({ "old": self.names[0], "new": self.names[1], "results": runs.collect::<Vec<_>>() })
    }
}

fn layer_rows(layers: &[LayerPair]) -> comfy_table::Table {
    let right = ["old, µs", "new, µs", "faster", "saved, µs"];
    let header = [&["layer", "operator", "kernel"][..], &right].concat();
    let mut rows = table(&header, &right);
    let mut row = |name: &str, op: &str, kernel: &str, us: Pair| {
        rows.add_row([
            name.to_owned(),
            op.to_owned(),
            kernel.to_owned(),
            format!("{:.1}", us.old),
            format!("{:.1}", us.new),
            times_as(us.speedup()),
            format!("{:.1}", us.old - us.new),
        ]);
    };
    for l in layers {
        row(&l.name, &l.op, &l.kernel, l.us);
    }
    if let Some(us) = total(layers) {
        row("all of them", "", "", us);
    }
    rows
}

fn total(layers: &[LayerPair]) -> Option<Pair> {
    let sum = |of: fn(&LayerPair) -> f64| layers.iter().map(of).sum();
    (!layers.is_empty()).then(|| Pair { old: sum(|l| l.us.old), new: sum(|l| l.us.new) })
}

fn ms(x: f64) -> String {
    format!("{x:.3} ms")
}

fn times_as(ratio: f64) -> String {
    format!("{ratio:.3}x")
}

/// The documents of each thread count in a file.
fn results(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let wrong = |what: String| Error::source("", what).in_file(path);
    let document: Value = serde_json::from_str(&text).map_err(|e| {
        wrong(format!("is no JSON document ({e}); expected what `kenar bench --json` prints"))
    })?;
    if document["median_ms"].as_f64().is_none() || document["threads"].as_u64().is_none() {
        let what = "has no 'median_ms' and 'threads'; expected what `kenar bench --json` prints";
        return Err(wrong(what.to_owned()));
    }
    Ok(match document["results"].as_array() {
        Some(all) => all.clone(),
        None => vec![document],
    })
}

fn run(both: [&Value; 2]) -> Option<Run> {
    let [old, new] = both;
    let text = |v: &Value, key: &str| v[key].as_str().unwrap_or("?").to_owned();
    let either = |key: &str| {
        let [a, b] = both.map(|v| text(v, key));
        if a == b { a } else { format!("{a} -> {b}") }
    };
    let mut notes = Vec::new();
    if old["macs"] != new["macs"] {
        notes.push(format!("the networks differ: {} and {} MACs", old["macs"], new["macs"]));
    } else if old["output_hash"] != new["output_hash"] {
        let [a, b] = both.map(|v| text(v, "output_hash"));
        notes.push(format!("the outputs differ: hash {a} and {b}"));
    }
    let layers = pair_layers(both, &mut notes);
    Some(Run {
        threads: old["threads"].as_u64()?,
        what: format!("{}, {}", either("model"), either("isa")),
        median_ms: Pair::of("median_ms", both)?,
        p90_ms: Pair::of("p90_ms", both),
        min_ms: Pair::of("min_ms", both),
        peak: Pair::of("peak_gmacs_per_s", both),
        of_peak: Pair::of("peak_fraction", both),
        layers,
        notes,
    })
}

/// Layers of one name and, of those with several, one place among them.
fn pair_layers(both: [&Value; 2], notes: &mut Vec<String>) -> Vec<LayerPair> {
    let [old, new] = both.map(|v| v["layers"].as_array().map_or(&[][..], Vec::as_slice));
    if old.is_empty() != new.is_empty() {
        notes.push("only one of the runs has layers; measure both with --per-layer".to_owned());
    }
    let mut free: Vec<&Value> = new.iter().collect();
    let mut pairs = Vec::new();
    let mut lost = 0;
    for a in old {
        let found = free.iter().position(|b| b["name"] == a["name"] && b["op"] == a["op"]);
        let pair = found.map(|at| free.remove(at)).and_then(|b| {
            let text = |v: &Value, key: &str| v[key].as_str().unwrap_or_default().to_owned();
            let [ka, kb] = [text(a, "kernel"), text(b, "kernel")];
            let kernel = if ka == kb { ka } else { format!("{ka} -> {kb}") };
            let us = Pair::of("median_us", [a, b])?;
            Some(LayerPair { name: text(a, "name"), op: text(a, "op"), kernel, us })
        });
        match pair {
            Some(pair) => pairs.push(pair),
            None => lost += 1,
        }
    }
    if !old.is_empty() && !new.is_empty() && (lost > 0 || !free.is_empty()) {
        notes.push(format!(
            "{lost} layers of the old run and {} of the new have no counterpart",
            free.len()
        ));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, us: f64) -> Value {
        json!({ "name": name, "op": "conv", "kernel": "pointwise", "median_us": us })
    }

    #[test]
    fn layers_are_paired_by_name_then_by_place() {
        let old = json!({ "layers": [layer("a", 4.0), layer("b", 1.0), layer("a", 6.0), layer("c", 1.0)] });
        let new = json!({ "layers": [layer("a", 2.0), layer("a", 3.0), layer("b", 1.0), layer("d", 1.0)] });
        let mut notes = Vec::new();
        let pairs = pair_layers([&old, &new], &mut notes);
        let seen: Vec<_> = pairs.iter().map(|p| (p.name.as_str(), p.us.old, p.us.new)).collect();
        assert_eq!(seen, [("a", 4.0, 2.0), ("b", 1.0, 1.0), ("a", 6.0, 3.0)]);
        assert_eq!(notes, ["1 layers of the old run and 1 of the new have no counterpart"]);
        assert_eq!(total(&pairs).map(Pair::speedup), Some(11.0 / 6.0));
    }
}
