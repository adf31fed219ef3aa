//! A measurement as tables for people and as a JSON document.

use std::path::Path;

use kenar::Model;
use serde_json::{Value, json};

use super::layers::{Layer, parts};
use super::measure::{Measured, quantile};
use crate::cli::table::{bytes, lines, percent, si, table};

/// The tables.
pub fn text(path: &Path, model: &Model, isa: &str, results: &[Measured]) -> String {
    let mut out = format!(
        "{}: {} MACs, {isa}, output hash {:016x}\n\n",
        path.display(),
        si(model.macs() as f64),
        results.first().map_or(0, |r| r.hash)
    );
    let header = ["threads", "load", "first", "median", "90 %", "fastest", "runs", "GMAC/s"];
    let header = [&header[..], &["of peak", "memory"]].concat();
    let mut rows = table(&header, &header);
    for r in results {
        rows.add_row([
            r.threads.to_string(),
            format!("{:.1} ms", r.load_ms),
            format!("{:.3} ms", r.first_ms),
            format!("{:.3} ms", r.median()),
            format!("{:.3} ms", quantile(&r.times_ms, 0.9)),
            format!("{:.3} ms", r.times_ms[0]),
            r.times_ms.len().to_string(),
            format!("{:.1}", r.gmacs(model.macs())),
            percent(r.gmacs(model.macs()) / r.peak_gmacs),
            r.peak_bytes.map_or_else(|| "?".into(), bytes),
        ]);
    }
    out.push_str(&lines(&rows));
    for r in results.iter().filter(|r| !r.layers.is_empty()) {
        out.push_str(&layers_text(r));
    }
    out
}

fn layers_text(r: &Measured) -> String {
    let total: f64 = r.layers.iter().map(|l| l.us).sum();
    let plural = if r.threads == 1 { "thread" } else { "threads" };
    let mut out = format!("\n{} {plural}, median of each layer\n\n", r.threads);
    let right = ["µs", "share", "MACs", "GMAC/s", "of peak", "bytes", "MAC/B", "of bound"];
    let header = ["layer", "operator", "kernel", "µs", "share", "MACs", "GMAC/s", "of peak"];
    let header = [&header[..], &["bytes", "MAC/B", "bound", "of bound"]].concat();
    let mut rows = table(&header, &right);
    for l in &r.layers {
        let rate = |text: String| if l.macs == 0 { String::new() } else { text };
        rows.add_row([
            l.name.clone(),
            l.op.to_owned(),
            l.kernel.to_owned(),
            format!("{:.1}", l.us),
            format!("{:.1} %", 100.0 * l.us / total),
            rate(si(l.macs as f64)),
            rate(format!("{:.1}", l.gmacs())),
            rate(format!("{:.0} %", 100.0 * l.gmacs() / r.peak_gmacs)),
            bytes(l.traffic.bytes()),
            rate(format!("{:.0}", l.intensity())),
            l.bound.to_owned(),
            format!("{:.0} %", 100.0 * l.floor_fraction()),
        ]);
    }
    out.push_str(&lines(&rows));
    for (what, parts) in
        [("bound", parts(&r.layers, |l| l.bound)), ("operator", parts(&r.layers, |l| l.op))]
    {
        let header = [what, "layers", "µs", "share", "bound alone, µs", "above it, µs"];
        let mut rows = table(&header, &header[1..]);
        for p in parts {
            rows.add_row([
                p.name.to_owned(),
                p.layers.to_string(),
                format!("{:.1}", p.us),
                format!("{:.1} %", 100.0 * p.us / total),
                format!("{:.1}", p.floor_us),
                format!("{:.1}", p.us - p.floor_us),
            ]);
        }
        out.push_str(&format!("\n{}", lines(&rows)));
    }
    if let Some(machine) = &r.machine {
        let level = |l: &super::machine::Level| format!("{} {:.1} GB/s", l.name, l.gbytes_per_s);
        let levels: Vec<String> = machine.levels.iter().map(level).collect();
        let floor: f64 = r.layers.iter().map(|l| l.floor_us).sum();
        out.push_str(&format!(
            "\nMeasured limits: {:.1} GMAC/s; {}. The bounds alone need {:.3} ms, {} of the layers' {:.3} ms.\n",
            r.peak_gmacs,
            levels.join(", "),
            floor / 1e3,
            percent(floor / total),
            total / 1e3,
        ));
        if r.layers.iter().any(|l| l.effort < 1.0) {
            out.push_str("MACs are those of the definition: kernels that need fewer products (winograd) can be above the peak.\n");
        }
    }
    out
}

/// The JSON document: that of the first thread count, with all of them as `results` if there are several.
pub fn document(path: &Path, model: &Model, isa: &str, results: &[Measured]) -> Value {
    let all: Vec<Value> = results.iter().map(|r| result(path, model, isa, r)).collect();
    let mut document = all.first().cloned().unwrap_or_else(|| json!({}));
    if all.len() > 1 {
        document["results"] = json!(all);
    }
    document
}

fn result(path: &Path, model: &Model, isa: &str, r: &Measured) -> Value {
    let gmacs = r.gmacs(model.macs());
    let mut document = json!({
        "model": path.file_name().unwrap_or_default().to_string_lossy(),
        "size": model.size(),
        "isa": isa,
        "threads": r.threads,
        "runs": r.times_ms.len(),
        "load_ms": r.load_ms,
        "first_ms": r.first_ms,
        "peak_rss_bytes": r.peak_bytes,
        "median_ms": r.median(),
        "p90_ms": quantile(&r.times_ms, 0.9),
        "min_ms": r.times_ms[0],
        "macs": model.macs(),
        "gmacs_per_s": gmacs,
        "peak_gmacs_per_s": r.peak_gmacs,
        "peak_fraction": gmacs / r.peak_gmacs,
        "output_hash": format!("{:016x}", r.hash),
        "layers": r.layers.iter().map(|l| layer(l, r)).collect::<Vec<_>>(),
    });
    if let Some(machine) = &r.machine {
        document["levels"] = machine.json();
        document["floor_ms"] = json!(r.layers.iter().map(|l| l.floor_us).sum::<f64>() / 1e3);
    }
    document
}

fn layer(l: &Layer, r: &Measured) -> Value {
    let levels = r.machine.iter().flat_map(|m| &m.levels).zip(&l.traffic.levels);
    json!({
        "name": l.name,
        "op": l.op,
        "kernel": l.kernel,
        "median_us": l.us,
        "macs": l.macs,
        "effort": l.effort,
        "gmacs_per_s": l.gmacs(),
        "peak_fraction": l.gmacs() / r.peak_gmacs,
        "bytes": l.traffic.bytes(),
        "bytes_read": l.traffic.read,
        "bytes_of_constants": l.traffic.constants,
        "bytes_written": l.traffic.written,
        "bytes_from": levels.map(|(l, b)| (l.name.to_owned(), json!(b))).collect::<serde_json::Map<_, _>>(),
        "macs_per_byte": l.intensity(),
        "bound": l.bound,
        "floor_us": l.floor_us,
        "floor_fraction": l.floor_fraction(),
    })
}
