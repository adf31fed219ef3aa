//! What a model needs at each of its input sizes.

use kenar::Model;
use serde_json::{Value, json};

use super::arena;
use crate::cli::table::{bytes, si};
use crate::integer;

/// The model at each size, the first one first.
fn each<'m>(model: &Model<'m>) -> Vec<Model<'m>> {
    model.sizes().filter_map(|size| model.with_size(size).ok()).collect()
}

/// An entry per size, for JSON documents.
pub fn document(model: &Model) -> Value {
    each(model).iter().map(entry).collect()
}

fn entry(model: &Model) -> Value {
    let outputs: serde_json::Map<String, Value> = model
        .outputs()
        .map(|o| (o.name.to_owned(), json!(integer::output_shape(model, &o))))
        .collect();
    let [height, width] = model.size();
    json!({
        "height": height,
        "width": width,
        "macs": model.macs(),
        "arena_bytes": model.arena_bytes(),
        "plan_bytes": model.plan_bytes(),
        "plan_floor_bytes": arena::floor(model).1,
        "outputs": outputs,
    })
}

/// A line per size, where there are several: `384x640: 1.2 G MACs; arena ...`.
pub fn lines(model: &Model) -> Vec<String> {
    let all = each(model);
    let line = |model: &Model| {
        let ([h, w], (_, floor)) = (model.size(), arena::floor(model));
        format!("{h}x{w}: {} MACs; arena {}", si(model.macs() as f64), needs(model, floor))
    };
    if all.len() > 1 { all.iter().map(line).collect() } else { Vec::new() }
}

/// `716.9 KiB to run; plan 716.8 KiB, 1.000 of the floor 716.8 KiB`.
pub fn needs(model: &Model, floor: usize) -> String {
    format!(
        "{} to run; plan {}, {:.3} of the floor {}",
        bytes(model.arena_bytes() as u64),
        bytes(model.plan_bytes() as u64),
        model.plan_bytes() as f64 / floor.max(1) as f64,
        bytes(floor as u64)
    )
}
