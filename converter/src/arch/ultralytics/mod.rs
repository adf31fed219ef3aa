//! Networks of pickled `ultralytics` modules: YOLOv5 and YOLOv8 and what is put together of the same classes.
//!
//! The pickle says which layers there are, what each reads (`f`), and every stride, padding and epsilon; the YAML it
//! carries must agree. `layers` knows the classes of PyTorch, `blocks` those of the family, `detect` the heads.

mod blocks;
mod detect;
mod layers;
#[cfg(test)]
mod tests;

use super::builder::Builder;
use crate::detect::RawHead;
use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};
use crate::import::module::{Attribute, ModuleRecord, PickledModule};

/// A network read from a pickled module.
#[derive(Debug)]
pub struct Built {
    /// The float graph; its outputs are the head's raw tensors.
    pub graph: Graph,
    /// What they mean.
    pub head: Option<RawHead>,
    /// What a user should know, one sentence each.
    pub notes: Vec<String>,
}

/// Classes of whole networks.
const NETWORKS: &[&str] = &["Model", "DetectionModel"];
/// Packages they come from.
const PACKAGES: &[&str] = &["models.", "ultralytics.", "yolov5."];
/// Side of the images where the module does not say what it was trained on.
const SIZE: usize = 640;

/// Builds the network of a pickled module; `input` `[C, H, W]` in place of its own size.
///
/// # Errors
/// No importer knows the module's class, or one of those inside it; the message names it and the way out.
pub fn build(pickled: &PickledModule, input: Option<[usize; 3]>) -> Result<Built> {
    let network = &pickled.module;
    let known =
        NETWORKS.contains(&network.kind()) && PACKAGES.iter().any(|p| network.class.starts_with(p));
    let layers = network.children.get("model").filter(|_| known);
    let Some(layers) =
        layers.filter(|l| l.children.values().all(|c| c.attributes.contains_key("f")))
    else {
        return Err(unknown("", &network.class));
    };
    check_yaml(network, layers)?;
    let shape = input.unwrap_or_else(|| {
        let channels = number(network, "ch").unwrap_or(3);
        let side = network.attributes.get("args").and_then(|a| a.get("imgsz")?.int());
        let side =
            side.and_then(|s| usize::try_from(s).ok()).filter(|s| (32..=1 << 13).contains(s));
        [channels, side.unwrap_or(SIZE), side.unwrap_or(SIZE)]
    });
    let mut b = Builder::new(&pickled.weights, "", 1e-3, &family(network), shape);
    let mut results: Vec<ValueId> = Vec::new();
    let mut found = None;
    for (name, layer) in &layers.children {
        let path = format!("model.{name}");
        let inputs = sources(layer, &path, &results, b.graph.input)?;
        if detect::is_head(layer) {
            found = Some(detect::build(&mut b, network, layer, &path, &inputs)?);
            break;
        }
        results.push(blocks::build(&mut b, layer, &path, &inputs)?);
    }
    let head = found.ok_or_else(|| {
        Error::source(
            "model",
            "no layer is a detection head; classification and other tasks: export to ONNX",
        )
    })?;
    let size = format!("{}x{}", shape[1], shape[2]);
    let notes = vec![format!(
        "a pickled module of {}: read as inert records, nothing was run; input {size} unless --input says otherwise",
        network.class
    )];
    Ok(Built { graph: b.finish("; export the model to ONNX")?, head: Some(head), notes })
}

/// The refusal of a class.
fn unknown(path: &str, class: &str) -> Error {
    Error::source(
        path,
        format!(
            "the file is a pickled module: it holds an object of the class '{class}', which has no importer and whose \
             code would have to be run; refused. Save the weights alone, torch.save(model.state_dict(), \
             \"weights.pt\"), or export the model to ONNX"
        ),
    )
}

/// `yolov5n` from `yolov5n.yaml`.
fn family(network: &ModuleRecord) -> String {
    let yaml = network.attributes.get("yaml").and_then(|y| y.get("yaml_file"));
    let file = network.attributes.get("yaml_file").or(yaml).and_then(Attribute::str);
    let name = file.and_then(|f| f.rsplit(['/', '\\']).next()).and_then(|f| f.split('.').next());
    name.filter(|n| !n.is_empty()).unwrap_or("yolo").to_owned()
}

fn number(record: &ModuleRecord, name: &str) -> Option<usize> {
    record.int(name).and_then(|n| usize::try_from(n).ok())
}

/// What a layer reads: `f` counts from the start, or from the layer itself where it is negative.
fn sources(
    layer: &ModuleRecord,
    path: &str,
    results: &[ValueId],
    input: ValueId,
) -> Result<Vec<ValueId>> {
    let wrong = || Error::source(path, "attribute 'f' does not say which layers it reads");
    let one = |from: &Attribute| {
        let from = from.int().ok_or_else(wrong)?;
        let index = if from < 0 { results.len() as i64 + from } else { from };
        if index == -1 {
            return Ok(input);
        }
        let index = usize::try_from(index).map_err(|_| wrong())?;
        results.get(index).copied().ok_or_else(wrong)
    };
    match layer.attributes.get("f") {
        Some(Attribute::List(list)) => list.iter().map(one).collect(),
        Some(from) => Ok(vec![one(from)?]),
        None => Err(wrong()),
    }
}

/// The YAML that a network carries lists the same layers.
fn check_yaml(network: &ModuleRecord, layers: &ModuleRecord) -> Result<()> {
    let Some(yaml) = network.attributes.get("yaml") else { return Ok(()) };
    let part = |name: &str| yaml.get(name).and_then(Attribute::list).unwrap_or_default();
    let rows: Vec<&Attribute> = part("backbone").iter().chain(part("head")).collect();
    if rows.len() != layers.children.len() {
        return Err(Error::source(
            "model",
            format!("{} layers, but its YAML describes {}", layers.children.len(), rows.len()),
        ));
    }
    for (row, (name, layer)) in rows.iter().zip(&layers.children) {
        let row = row.list().unwrap_or_default();
        let class = row.get(2).and_then(Attribute::str).unwrap_or_default();
        let class = class.rsplit('.').next().unwrap_or(class);
        // Several of one kind are wrapped: Sequential(Conv, Conv).
        let kind = match layer.children.first() {
            Some((_, first)) if layer.kind() == "Sequential" => first.kind(),
            _ => layer.kind(),
        };
        let same = format!("{:?}", row.first()) == format!("{:?}", layer.attributes.get("f"));
        if class != kind || !same {
            return Err(Error::source(
                format!("model.{name}"),
                format!(
                    "is {} reading {:?}, but the network's YAML has {class} reading {:?}",
                    layer.class,
                    layer.attributes.get("f"),
                    row.first()
                ),
            ));
        }
    }
    Ok(())
}
