//! Reports on checkpoints and ONNX files.

use serde_json::{Value, json};

use crate::cli::table::{bytes, grouped, lines, shape, si, table};
use crate::error::Result;
use crate::pipeline::{Converted, Loaded};

/// Named shapes.
fn shapes<'a>(values: impl Iterator<Item = (&'a str, &'a [usize])>) -> Value {
    Value::Object(values.map(|(name, shape)| (name.to_owned(), json!(shape))).collect())
}

/// Output names and shapes as the model file will have them.
fn outputs(loaded: &Loaded) -> Vec<(&str, &[usize])> {
    let graph = &loaded.folded;
    if loaded.outputs.is_empty() {
        return graph.outputs.iter().map(|o| (o.name.as_str(), graph.shape(o.value))).collect();
    }
    let value = |name: &String| graph.values().iter().find(|v| v.name == *name);
    let named = |name| value(name).map(|v| (v.name.as_str(), v.shape.as_slice()));
    loaded.outputs.iter().filter_map(named).collect()
}

/// Neck and head of a detector in words.
fn detector(loaded: &Loaded) -> Vec<(&'static str, String)> {
    let mut lines = loaded.arch.as_ref().map_or_else(Vec::new, |a| a.detector_lines());
    if let (true, Some(head)) = (lines.is_empty(), &loaded.head) {
        let strides: Vec<String> = head.levels.iter().map(|l| l.stride.to_string()).collect();
        let (kind, code, classes) = (&head.kind, head.code.name(), head.classes);
        lines.push((
            "head",
            format!("{kind}: {code} at strides {}, {classes} classes", strides.join(", ")),
        ));
    }
    lines
}

/// The JSON document. `needs` is the converted model, or why there is none; absent when nobody asked.
pub fn document(loaded: &Loaded, needs: Option<&Result<Converted>>) -> Value {
    let graph = &loaded.graph;
    let input = graph.value(graph.input);
    let converted = needs.and_then(|n| n.as_ref().ok());
    json!({
        "kind": if loaded.kind == "onnx" { "onnx" } else { "checkpoint" },
        "container": loaded.kind,
        "file": loaded.path.display().to_string(),
        "source_hash": loaded.hash,
        "family": graph.family,
        "model": loaded.arch.as_ref().and_then(|a| a.model.clone()),
        "detector": detector(loaded).into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "parameters": graph.parameter_count(),
        "macs": graph.macs(),
        "inputs": shapes([(input.name.as_str(), input.shape.as_slice())].into_iter()),
        "outputs": shapes(outputs(loaded).into_iter()),
        "arena_bytes": converted.map(|c| c.arena_bytes),
        "plan_bytes": converted.map(|c| c.report.arena_bytes),
        "plan_floor_bytes": converted.map(|c| c.report.floor_bytes),
        "weight_bytes": converted.map(|c| c.weight_bytes),
        "refused": needs.and_then(|n| n.as_ref().err()).map(ToString::to_string),
        "notes": loaded.notes,
        "layers": graph.layers().iter().map(|l| json!({
            "name": l.name,
            "op": l.op,
            "shape": l.shape,
            "parameters": l.parameters,
            "macs": l.macs,
            "activation_bytes": l.activation_bytes,
        })).collect::<Vec<_>>(),
        "stages": graph.stages().iter().map(|s| json!({
            "size": s.size,
            "stride": s.stride,
            "layers": s.layers,
            "parameters": s.parameters,
            "macs": s.macs,
            "activation_bytes": s.activation_bytes,
            "largest_activation_bytes": s.largest_activation_bytes,
        })).collect::<Vec<_>>(),
        "folding": loaded.fold_report.passes.iter().map(|p| json!({
            "pass": p.name,
            "changes": p.changes.len(),
        })).collect::<Vec<_>>(),
    })
}

/// The report for people.
pub fn text(loaded: &Loaded, needs: Option<&Result<Converted>>) -> String {
    let graph = &loaded.graph;
    let kind = match loaded.kind {
        "onnx" => "ONNX graph".to_owned(),
        kind => format!("checkpoint ({kind})"),
    };
    let mut out = format!("{}: {kind}\n\n", loaded.path.display());
    let mut line = |name: &str, value: String| out.push_str(&format!("  {name:<12} {value}\n"));
    let model = loaded.arch.as_ref().and_then(|a| a.model.as_ref());
    line(
        "family",
        model.map_or_else(|| graph.family.clone(), |m| format!("{} ({m})", graph.family)),
    );
    for (name, text) in detector(loaded) {
        line(name, text);
    }
    line("parameters", grouped(graph.parameter_count() as u64));
    line("MACs", format!("{} ({})", si(graph.macs() as f64), grouped(graph.macs())));
    let input = graph.value(graph.input);
    line("input", format!("{} {}", input.name, shape(&input.shape)));
    for (name, dims) in outputs(loaded) {
        line("output", format!("{name} {}", shape(dims)));
    }
    match needs {
        Some(Ok(converted)) => {
            line(
                "as int8",
                format!(
                    "{} operators, {} of constants, arena {} (floor {})",
                    converted.report.ops.len(),
                    bytes(converted.weight_bytes as u64),
                    bytes(converted.arena_bytes as u64),
                    bytes(u64::from(converted.report.floor_bytes))
                ),
            );
        }
        Some(Err(error)) => line("as int8", format!("not convertible: {error}")),
        None => {}
    }
    let folded: Vec<String> = loaded
        .fold_report
        .passes
        .iter()
        .filter(|p| !p.changes.is_empty())
        .map(|p| format!("{} {}", p.name, p.changes.len()))
        .collect();
    line(
        "folding",
        format!(
            "{} layers to {}{}",
            graph.nodes().len(),
            loaded.folded.nodes().len(),
            if folded.is_empty() { String::new() } else { format!(" ({})", folded.join(", ")) }
        ),
    );
    for note in &loaded.notes {
        line("note", note.clone());
    }

    let right = ["parameters", "MACs", "activations", "largest", "layers", "stride"];
    let mut layers =
        table(&["layer", "operator", "output", "parameters", "MACs", "activations"], &right);
    for l in graph.layers() {
        layers.add_row([
            l.name,
            l.op,
            shape(&l.shape[1..]),
            if l.parameters == 0 { String::new() } else { grouped(l.parameters as u64) },
            if l.macs == 0 { String::new() } else { si(l.macs as f64) },
            bytes(l.activation_bytes as u64),
        ]);
    }
    let mut stages =
        table(&["map", "stride", "layers", "parameters", "MACs", "activations", "largest"], &right);
    for s in graph.stages() {
        stages.add_row([
            s.size.map_or_else(|| "-".to_owned(), |[h, w]| format!("{h}x{w}")),
            if s.size.is_some() { s.stride.to_string() } else { String::new() },
            s.layers.to_string(),
            grouped(s.parameters as u64),
            si(s.macs as f64),
            bytes(s.activation_bytes as u64),
            bytes(s.largest_activation_bytes as u64),
        ]);
    }
    format!(
        "{out}\n{}\n  by map size, activations at one byte each\n\n{}",
        lines(&layers),
        lines(&stages)
    )
}
