//! ONNX files to float graphs: operator sets 11 to 22, as both exporters of PyTorch write them.
//!
//! A file is decoded ([`proto`]), reduced to what its results need ([`live`]) and walked once. Names are bound
//! to constants or graph values ([`context`]); a node whose operands are all constants is evaluated
//! ([`evaluate`]), which leaves nothing of shape sub-graphs because every shape is known; every other node
//! becomes one or a few operators of the graph ([`ops`]). [`gates`] recognises activations that ONNX spells
//! out. Whatever is not supported is refused by node name, operator and what was expected.
//!
//! Graph nodes carry the names of the file's nodes (of their first result where a node has none), and results
//! keep their names. Tests over exported files are in `converter/tests/onnx.rs`.

mod constant;
mod context;
mod evaluate;
mod gates;
mod input;
mod literal;
mod live;
mod metadata;
mod node;
mod ops;
mod proto;
mod shapes;
mod sign;
mod tensor;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::Path;

use prost::Message;

use self::context::{Binding, Context};
use self::evaluate::Budget;
pub use self::metadata::Metadata;
use self::node::Node;
use self::proto::{GraphProto, ModelProto};
use crate::error::{Error, Result};
use crate::graph::Graph;

/// The operator sets that are read.
const OPSETS: std::ops::RangeInclusive<i64> = 11..=22;
/// No network of this kind comes near.
const MAX_NODES: usize = 20_000;
/// The limit of the container format.
const MAX_BYTES: u64 = 1 << 31;

/// A network read from an ONNX file.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The float graph.
    pub graph: Graph,
    /// What a user should know about the import, one sentence each.
    pub notes: Vec<String>,
    /// What the exporter says beside the graph.
    pub metadata: Metadata,
}

/// Reads an ONNX file; `input` = (C, H, W) fixes sizes that the file leaves open.
///
/// # Errors
/// The file cannot be read, or it holds something that is not supported; see [`from_bytes`].
pub fn read(path: &Path, input: Option<[usize; 3]>) -> Result<Graph> {
    read_with_notes(path, input).map(|imported| imported.graph)
}

/// As [`read`], with what a user should know about the import.
///
/// # Errors
/// As [`read`].
pub fn read_with_notes(path: &Path, input: Option<[usize; 3]>) -> Result<Imported> {
    let size = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if size > MAX_BYTES {
        return Err(Error::source("", format!("has {size} bytes, expected at most {MAX_BYTES}"))
            .in_file(path));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    import(&bytes, input).map_err(|e| e.in_file(path))
}

/// Reads an ONNX model from memory; `input` = (C, H, W) fixes sizes that the file leaves open.
///
/// # Errors
/// [`Error::Source`] for a damaged file, an operator set outside 11 to 22, external data, open sizes;
/// [`Error::Graph`] with the node's name for an operator, attribute or type that is not supported.
pub fn from_bytes(bytes: &[u8], input: Option<[usize; 3]>) -> Result<Graph> {
    import(bytes, input).map(|imported| imported.graph)
}

fn import(bytes: &[u8], size: Option<[usize; 3]>) -> Result<Imported> {
    let model = ModelProto::decode(bytes).map_err(|e| {
        Error::source("", format!("is no ONNX model, or is truncated: {e}; expected an .onnx file"))
    })?;
    let metadata = Metadata::of(&model);
    let imported = network(model, &metadata, bytes.len(), size);
    let (graph, notes) = imported.map_err(|e| metadata.explain(e))?;
    Ok(Imported { graph, notes, metadata })
}

/// The graph of a model, and notes.
fn network(
    model: ModelProto,
    metadata: &Metadata,
    bytes: usize,
    size: Option<[usize; 3]>,
) -> Result<(Graph, Vec<String>)> {
    let opset = opset(&model)?;
    let functions: HashSet<_> = model.functions.into_iter().map(|f| (f.domain, f.name)).collect();
    let graph =
        model.graph.ok_or_else(|| Error::source("", "holds no graph; expected an .onnx file"))?;
    check(&graph)?;

    let live = live::live(&graph)?;
    if live.nodes.len() > MAX_NODES {
        return Err(Error::source(
            "",
            format!("has {} nodes, expected at most {MAX_NODES}", live.nodes.len()),
        ));
    }
    let is_live = |name: &str| live.names.contains(name);
    let mut stated = None;
    let input = input::input(&graph, is_live, size).or_else(|e| {
        let [h, w] = metadata.size.filter(|_| size.is_none()).ok_or(e)?;
        stated = Some(format!(
            "the file leaves the size of its image open; {w}x{h} is taken, which it was exported for (--input gives another)"
        ));
        input::input(&graph, is_live, Some([3, h, w]))
    })?;
    if let Some(sparse) = graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref()).next() {
        return Err(Error::source(&sparse.name, "is a sparse tensor; expected dense weights"));
    }

    let mut context = {
        let float = Graph::new("onnx", input.name, input.shape);
        let initializers = graph.initializer.into_iter().map(|t| (t.name.clone(), t)).collect();
        Context::new(float, initializers, live.names, Budget::new(bytes))
    };
    context.file_batch = input.file_batch;
    for i in live.nodes {
        let node = Node::new(&graph.node[i], opset);
        if functions.contains(&(graph.node[i].domain.clone(), graph.node[i].op_type.clone())) {
            return Err(node.error(
                "is a function defined in the file; expected plain operators: inline it with onnx.inliner, or \
                 export with optimize=True",
            ));
        }
        step(&mut context, &node)?;
    }
    for output in &graph.output {
        let value = match result(&mut context, &output.name)? {
            Binding::Value(v) => v,
            other => {
                let proto = proto::NodeProto {
                    op_type: "result".into(),
                    name: output.name.clone(),
                    ..Default::default()
                };
                let Binding::Constant(c) = other else {
                    return Err(Error::source(
                        &output.name,
                        "is a quantised result; expected float results",
                    ));
                };
                context.push_constant(&Node::new(&proto, opset), &output.name, &c)?
            }
        };
        context.graph.mark_output(output.name.clone(), value);
    }
    let mut notes = notes(&context);
    notes.extend(stated);
    Ok((gates::recognise(&context.graph)?, notes))
}

/// A result of the file; integers behind the last QuantizeLinear stand for the floats before it.
fn result(context: &mut Context, name: &str) -> Result<Binding> {
    match context.lookup(name)? {
        Binding::Quantized(inner) => Ok(*inner),
        other => Ok(other),
    }
}

fn opset(model: &ModelProto) -> Result<i64> {
    let version = model.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx");
    let Some(version) = version.map(|o| o.version) else {
        return Err(Error::source(
            "",
            "names no ONNX operator set; expected an .onnx file of operator set 11 to 22",
        ));
    };
    if !OPSETS.contains(&version) {
        let from =
            if model.producer_name.is_empty() { "its exporter" } else { &model.producer_name };
        return Err(Error::source(
            "",
            format!(
                "uses operator set {version} (written by {from}), expected 11 to 22; export with opset_version=17, or \
                 convert with onnx.version_converter"
            ),
        ));
    }
    Ok(version)
}

fn check(graph: &GraphProto) -> Result<()> {
    if graph.output.is_empty() {
        return Err(Error::source("", "the graph has no results; expected at least one output"));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = graph.initializer.iter().find(|t| !seen.insert(t.name.as_str())) {
        return Err(Error::source(&twice.name, "is stored twice; expected each initializer once"));
    }
    seen.clear();
    if let Some(twice) = graph.output.iter().find(|o| !seen.insert(o.name.as_str())) {
        return Err(Error::source(
            &twice.name,
            "is listed as a result twice; expected each result once",
        ));
    }
    Ok(())
}

/// Evaluates a node over constants, or adds it to the graph.
fn step(context: &mut Context, node: &Node) -> Result<()> {
    ops::admit(node)?;
    let mut operands = Vec::with_capacity(node.input_count());
    for i in 0..node.input_count() {
        operands.push(context.maybe_operand(node, i)?);
    }
    let constants: Option<Vec<_>> = operands
        .into_iter()
        .map(|binding| match binding {
            None => Some(None),
            Some(Binding::Constant(c)) => Some(Some(c)),
            Some(_) => None,
        })
        .collect();
    if let Some(constants) = constants
        && let Some(results) = evaluate::evaluate(node, &constants, &mut context.budget)?
    {
        note_type(context, node)?;
        for (i, c) in results.into_iter().enumerate() {
            context.bind(node.output(i), Binding::Constant(c));
        }
        return Ok(());
    }
    ops::import(context, node)
}

/// Constants keep no integer width, which quantisers speak of; it is noted beside them.
fn note_type(context: &mut Context, node: &Node) -> Result<()> {
    let code = match node.op_type() {
        "Constant" => node.tensor("value")?.map(|t| t.data_type),
        "Cast" => node.maybe_int("to")?.and_then(|code| i32::try_from(code).ok()),
        "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" => {
            node.input(0).and_then(|name| context.element_type(name))
        }
        _ => None,
    };
    if let (Some(code), Some(name)) = (code, node.output(0)) {
        context.note_type(name, code);
    }
    Ok(())
}

fn notes(context: &Context) -> Vec<String> {
    let mut notes = Vec::new();
    let (removed, clamped) = context.pairs;
    if removed + clamped > 0 {
        notes.push(format!(
            "{} quantise/dequantise pairs were taken off and the float network is quantised anew; {clamped} of them \
             implied a clamp, which was kept",
            removed + clamped
        ));
    }
    if let Some(n) = context.file_batch {
        notes.push(format!(
            "the file is exported for batches of {n}; the network is read for a batch of 1"
        ));
    }
    notes
}
