//! Reports on model files.

use std::path::Path;

use kenar::desc::{DType, Op, OpKind, PoolKind, TensorDesc, TensorId};
use kenar::format::{ChannelOrder, Placement};
use kenar::{Model, Output};
use serde_json::{Value, json};

use super::copies::Copies;
use super::{arena, sizes};
use crate::cli::table::{bytes, grouped, lines, number, shape, si, table};
use crate::integer::{self, Origin};

/// What an operator is called in tables.
pub fn op_name(kind: &OpKind) -> &'static str {
    match kind {
        OpKind::Conv2d(c) if c.groups > 1 && c.groups == c.channels_out => "depthwise",
        OpKind::Conv2d(c) if c.groups > 1 => "grouped conv",
        OpKind::Conv2d(_) => "conv",
        OpKind::Add { .. } => "add",
        OpKind::Mul { .. } => "mul",
        OpKind::Affine { .. } => "affine",
        OpKind::Pool(p) if p.kind == PoolKind::Max => "max pool",
        OpKind::Pool(_) => "average pool",
        OpKind::Resize(_) => "resize",
        OpKind::Table(_) => "table",
        OpKind::Copy(_) => "copy",
        OpKind::Concat { .. } => "concat",
    }
}

/// What is special about an operator: window, stride, groups, and what its epilogue does.
fn details(op: &OpKind) -> String {
    let mut words = Vec::new();
    let window = match op {
        OpKind::Conv2d(c) => Some((c.window, c.groups)),
        OpKind::Pool(p) => Some((p.window, 1)),
        _ => None,
    };
    if let Some((w, groups)) = window {
        words.push(format!("{}x{}", w.size[0], w.size[1]));
        if w.stride != [1, 1] {
            words.push(format!("/{}", w.stride[0]));
        }
        if w.dilation != [1, 1] {
            words.push(format!("dilation {}", w.dilation[0]));
        }
        if groups > 1 {
            words.push(format!("groups {groups}"));
        }
    }
    if let OpKind::Conv2d(conv) = op {
        let given = [("+silu", conv.silu.is_some()), ("+slope", conv.slope.is_some())];
        words.extend(given.iter().filter(|(_, given)| *given).map(|(word, _)| (*word).to_owned()));
    }
    if let Some(epilogue) = op.epilogue() {
        if epilogue.residual.is_some() {
            words.push("+residual".into());
        }
        if epilogue.second.is_some() {
            words.push(if epilogue.store.is_some() { "+second store" } else { "+affine" }.into());
        }
        let stores = [epilogue.store, epilogue.second.map(|(_, store)| store)];
        if stores.iter().flatten().any(|store| store.table.is_some()) {
            words.push("+table".into());
        }
    }
    words.join(" ")
}

/// An element type in tables.
pub fn dtype(dtype: DType) -> &'static str {
    match dtype {
        DType::I8 => "i8",
        DType::I16 => "i16",
    }
}

fn input_shape(model: &Model) -> Vec<usize> {
    let [h, w, c] = model.input_shape().map(|n| n as usize);
    vec![1, c, h, w]
}

fn map_shape(t: &TensorDesc) -> Vec<usize> {
    vec![1, t.channels as usize, t.height as usize, t.width as usize]
}

fn order(order: ChannelOrder) -> &'static str {
    match order {
        ChannelOrder::Rgb => "rgb",
        ChannelOrder::Bgr => "bgr",
        ChannelOrder::Gray => "gray",
        ChannelOrder::Features => "features",
    }
}

/// The JSON document.
pub fn document(path: &Path, model: &Model, file_bytes: usize) -> Value {
    let (floor_op, floor_bytes) = arena::floor(model);
    let input = model.input();
    let [source, source_hash, converter, calibration] = model.provenance();
    let outputs: serde_json::Map<String, Value> = model
        .outputs()
        .map(|o| (o.name.to_owned(), json!(integer::output_shape(model, &o))))
        .collect();
    let origin = Origin::parse(source);
    json!({
        "kind": "model",
        "file": path.display().to_string(),
        "file_bytes": file_bytes,
        "version": format!("{}.{}", model.version().0, model.version().1),
        "family": origin.family,
        "parameters": origin.parameters,
        "macs": model.macs(),
        "inputs": { model.text(input.name): input_shape(model) },
        "outputs": outputs,
        "arena_bytes": model.arena_bytes(),
        "plan_bytes": model.plan_bytes(),
        "plan_floor_bytes": floor_bytes,
        "plan_floor_op": floor_op,
        "copies": Copies::of(model).document(),
        "sizes": sizes::document(model),
        "weight_bytes": model.data_bytes(),
        "preprocess": {
            "order": order(input.order),
            "mean": input.mean.map(number),
            "std": input.std.map(number),
            "letterbox": input.letterbox,
            "letterbox_centred": input.letterbox.is_some() && input.placement == Placement::Centred,
        },
        "labels": model.labels().collect::<Vec<_>>(),
        "provenance": {
            "source": origin.file,
            "source_hash": source_hash,
            "converter": converter,
            "calibration": calibration,
        },
        "layers": model.ops().enumerate().map(|(i, op)| op_json(model, i, &op)).collect::<Vec<_>>(),
        "tensors": (0..model.tensor_count())
            .map(|i| tensor_json(model, &model.tensor(TensorId(i as u32))))
            .collect::<Vec<_>>(),
    })
}

fn op_json(model: &Model, index: usize, op: &Op) -> Value {
    json!({
        "index": index,
        "name": model.text(op.name),
        "op": op_name(&op.kind),
        "details": details(&op.kind),
        "macs": model.op_macs(op),
        "inputs": model.reads(op).map(|t| t.0).collect::<Vec<_>>(),
        "outputs": op.kind.writes().iter().flatten().map(|t| t.0).collect::<Vec<_>>(),
    })
}

fn tensor_json(model: &Model, t: &TensorDesc) -> Value {
    json!({
        "name": model.text(t.name),
        "shape": map_shape(t),
        "dtype": dtype(t.dtype),
        "scale": number(t.scale),
        "zero_point": t.zero_point,
        "arena_offset": t.arena_offset,
        "pixel_stride": t.pixel_stride,
        "first_op": t.first_op,
        "last_op": t.last_op,
    })
}

/// The report for people.
pub fn text(path: &Path, model: &Model, file_bytes: usize) -> String {
    let input = model.input();
    let [source, hash, converter, calibration] = model.provenance();
    let origin = Origin::parse(source);
    let mut out = format!(
        "{}: int8 model, format {}.{}, {}\n\n",
        path.display(),
        model.version().0,
        model.version().1,
        bytes(file_bytes as u64)
    );
    let mut line = |name: &str, value: String| out.push_str(&format!("  {name:<12} {value}\n"));
    if let Some(family) = origin.family {
        line("family", family.to_owned());
    }
    if let Some(parameters) = origin.parameters {
        line("parameters", grouped(parameters));
    }
    line("MACs", format!("{} ({})", si(model.macs() as f64), grouped(model.macs())));
    line(
        "input",
        format!(
            "{} {} i8, {}",
            model.text(input.name),
            shape(&input_shape(model)),
            integer::preprocess(model).map_or_else(|| "feature map".to_owned(), |p| p.describe())
        ),
    );
    for Output { name, tensor: id } in model.outputs() {
        let t = model.tensor(id);
        let shape = shape(&integer::output_shape(model, &Output { name, tensor: id }));
        line(
            "output",
            format!(
                "{name} {shape} {}, scale {:.4e}, zero point {}",
                dtype(t.dtype),
                t.scale,
                t.zero_point
            ),
        );
    }
    let labels: Vec<_> = model.labels().collect();
    if !labels.is_empty() {
        let shown = labels.iter().take(6).copied().collect::<Vec<_>>().join(", ");
        let more = if labels.len() > 6 { ", ..." } else { "" };
        line("labels", format!("{}: {shown}{more}", labels.len()));
    }
    line("constants", bytes(model.data_bytes() as u64));
    let (floor_op, floor) = arena::floor(model);
    line("arena", format!("{} (operator {floor_op})", sizes::needs(model, floor)));
    for (i, needs) in sizes::lines(model).into_iter().enumerate() {
        line(if i == 0 { "sizes" } else { "" }, needs);
    }
    line("copies", Copies::of(model).text());
    line("source", origin.file.to_owned());
    line("", hash.to_owned());
    line("converter", converter.to_owned());
    line("calibration", calibration.to_owned());

    let header = ["#", "layer", "operator", "", "output", "", "type", "scale", "MACs"];
    let mut ops = table(&header, &["#", "scale", "MACs"]);
    for (i, op) in model.ops().enumerate() {
        let written: Vec<_> =
            op.kind.writes().into_iter().flatten().map(|id| model.tensor(id)).collect();
        let each = |f: &dyn Fn(&TensorDesc) -> String| {
            let mut texts: Vec<_> = written.iter().map(f).collect();
            texts.dedup();
            texts.join(", ")
        };
        ops.add_row([
            i.to_string(),
            model.text(op.name).to_owned(),
            op_name(&op.kind).to_owned(),
            details(&op.kind),
            each(&|t| shape(&map_shape(t)[1..])),
            op.kind.writes().iter().flatten().map(|id| arena::letter(id.0 as usize)).collect(),
            each(&|t| dtype(t.dtype).to_owned()),
            each(&|t| format!("{:.3e}", t.scale)),
            si(model.op_macs(&op) as f64),
        ]);
    }
    format!(
        "{out}\n{}\n  memory plan: arena address upwards, operators to the right, one letter per tensor\n\n{}",
        lines(&ops),
        arena::drawing(model)
    )
}
