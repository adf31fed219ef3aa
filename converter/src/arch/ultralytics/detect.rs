//! The `Detect` layers: anchors and one convolution per level (YOLOv5), or separate boxes as distances and classes
//! (YOLOv8).

use kenar::detect::BoxCode;

use super::{blocks, layers, number, unknown};
use crate::arch::builder::Builder;
use crate::detect::{self, InputHint, Part, RawHead, RawLevel, level_name};
use crate::error::{Error, Result};
use crate::graph::ValueId;
use crate::import::module::{Attribute, ModuleRecord};

/// Whether a layer ends the network.
pub(super) fn is_head(layer: &ModuleRecord) -> bool {
    layer.kind() == "Detect"
}

/// Appends the convolutions of the head, marks their results as outputs and says what they mean.
pub(super) fn build(
    b: &mut Builder<'_>,
    network: &ModuleRecord,
    layer: &ModuleRecord,
    path: &str,
    inputs: &[ValueId],
) -> Result<RawHead> {
    let classes = number(layer, "nc").filter(|n| *n > 0);
    let classes =
        classes.ok_or_else(|| Error::source(path, "attribute 'nc' is no number of classes"))?;
    let strides = strides(b, path, inputs)?;
    let mut head = RawHead {
        kind: String::new(),
        code: BoxCode::Anchor,
        centre: 0.5,
        anchors_per_cell: 1,
        classes,
        points: 0,
        levels: Vec::new(),
        labels: labels(network, classes),
        input: Some(InputHint::YOLO),
    };
    if layer.children.contains_key("m") {
        anchored(b, layer, path, inputs, &strides, &mut head)?;
    } else {
        separate(b, layer, path, inputs, &strides, &mut head)?;
    }
    Ok(head)
}

/// Input pixels per cell of the maps the head reads.
fn strides(b: &Builder<'_>, path: &str, inputs: &[ValueId]) -> Result<Vec<u32>> {
    let input = b.graph.shape(b.graph.input);
    let stride = |&map: &ValueId| {
        let shape = b.graph.shape(map);
        detect::stride(input, shape).ok_or_else(|| {
            let detail = format!(
                "a map of {shape:?} has no whole stride in an input of {input:?}; use a multiple of 32"
            );
            Error::source(path, detail)
        })
    };
    inputs.iter().map(stride).collect()
}

/// Class names: a list, or a mapping from numbers.
fn labels(network: &ModuleRecord, classes: usize) -> Vec<String> {
    let name = |a: &Attribute| a.str().map(str::to_owned);
    let names: Option<Vec<String>> = match network.attributes.get("names") {
        Some(Attribute::List(list)) => list.iter().map(name).collect(),
        Some(Attribute::Map(items)) => {
            let mut items: Vec<_> = items.iter().filter_map(|(k, v)| Some((k.int()?, v))).collect();
            items.sort_by_key(|(k, _)| *k);
            let counted = items.iter().enumerate().all(|(i, (k, _))| *k == i as i64);
            if counted { items.into_iter().map(|(_, v)| name(v)).collect() } else { None }
        }
        _ => None,
    };
    names.filter(|n| n.len() == classes).unwrap_or_default()
}

fn prediction<'m>(
    layer: &'m ModuleRecord,
    path: &str,
    part: &str,
    i: usize,
) -> Result<(&'m ModuleRecord, String)> {
    let list = layer.children.get(part);
    let found = list.and_then(|list| list.children.get(&i.to_string()));
    let at = format!("{path}.{part}.{i}");
    found.map(|m| (m, at.clone())).ok_or_else(|| Error::source(at, "the head has no such part"))
}

fn expect_channels(b: &Builder<'_>, at: &str, value: ValueId, wanted: usize) -> Result<()> {
    let found = b.graph.shape(value)[1];
    if found == wanted {
        return Ok(());
    }
    Err(Error::source(at, format!("puts out {found} channels, the head needs {wanted}")))
}

/// YOLOv5: per anchor four numbers of the box, objectness, classes.
fn anchored(
    b: &mut Builder<'_>,
    layer: &ModuleRecord,
    path: &str,
    inputs: &[ValueId],
    strides: &[u32],
    head: &mut RawHead,
) -> Result<()> {
    head.kind = "YOLOv5".into();
    let key = format!("{path}.anchors");
    let anchors = b.ignore(&key).ok_or_else(|| Error::source(&key, "the head has no anchors"))?;
    b.ignore(&format!("{path}.anchor_grid"));
    let &[levels, cells, 2] = anchors.shape() else {
        return Err(Error::source(key, format!("anchors of shape {:?}", anchors.shape())));
    };
    if levels != inputs.len() || cells == 0 {
        return Err(Error::source(
            key,
            format!("anchors for {levels} levels, the head has {}", inputs.len()),
        ));
    }
    head.anchors_per_cell = cells;
    let per_anchor = 5 + head.classes;
    for (i, (&x, &stride)) in inputs.iter().zip(strides).enumerate() {
        let (module, at) = prediction(layer, path, "m", i)?;
        let value = layers::build(b, module, &at, x)?;
        expect_channels(b, &at, value, cells * per_anchor)?;
        let output = format!("{}_pred", level_name(stride));
        b.graph.mark_output(&output, value);
        #[allow(clippy::cast_precision_loss)] // a stride
        let side = |a: usize, k: usize| anchors[[i, a, k]] * stride as f32;
        let anchors = (0..cells).map(|a| [side(a, 0), side(a, 1)]).collect();
        head.levels.push(RawLevel::mixed(stride, &output, head.classes, anchors));
    }
    Ok(())
}

/// YOLOv8: distances as a softmax over bins, and classes.
fn separate(
    b: &mut Builder<'_>,
    layer: &ModuleRecord,
    path: &str,
    inputs: &[ValueId],
    strides: &[u32],
    head: &mut RawHead,
) -> Result<()> {
    if layer.children.keys().any(|k| k.starts_with("one2one")) {
        return Err(unknown(path, &format!("{} with a one-to-one head", layer.class)));
    }
    head.kind = "YOLOv8".into();
    let bins = number(layer, "reg_max").filter(|n| *n > 0);
    let bins =
        bins.ok_or_else(|| Error::source(path, "attribute 'reg_max' is no number of bins"))?;
    head.code = if bins == 1 { BoxCode::Distance } else { BoxCode::Dfl { bins: bins as u32 } };
    for (i, (&x, &stride)) in inputs.iter().zip(strides).enumerate() {
        let mut part = |part: &str, kind: &str, channels: usize| {
            let (module, at) = prediction(layer, path, part, i)?;
            let value = blocks::sequence(b, module, &at, x)?;
            expect_channels(b, &at, value, channels)?;
            let output = format!("{}_{kind}", level_name(stride));
            b.graph.mark_output(&output, value);
            Ok::<_, Error>(Part::whole(output, channels))
        };
        let boxes = part("cv2", "reg", 4 * bins)?;
        let scores = part("cv3", "cls", head.classes)?;
        let (objectness, points, anchors) = (None, None, Vec::new());
        head.levels.push(RawLevel { stride, boxes, objectness, scores, points, anchors });
    }
    let key = format!("{path}.dfl.conv.weight");
    if let Some(weights) = b.know(&key) {
        #[allow(clippy::cast_precision_loss)] // bins
        if !weights.iter().enumerate().all(|(i, w)| *w == i as f32) {
            return Err(Error::source(key, "the distances of the bins are not 0, 1, 2, ..."));
        }
    }
    Ok(())
}
