//! What a model promises around its operators: inputs, outputs, labels, origin.

use crate::error::{Error, Result};
use crate::graph::{Graph, Op, ValueId};

use super::shape;

/// Where a model comes from, for its record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Name of the source file.
    pub source: String,
    /// Its hash, with the algorithm in front.
    pub source_hash: String,
    /// Data, number of images and method of the calibration.
    pub calibration: String,
}

/// The results of a model.
#[derive(Clone, Debug)]
pub(crate) struct Outputs {
    /// Name and value.
    pub named: Vec<(String, ValueId)>,
    /// What was left out behind them.
    pub notes: Vec<String>,
}

/// Looks the requested outputs up (all of the graph's when none is asked for) and leaves out what only reorders or
/// normalises a finished result: softmax, and reshapes and transposes at the very end.
///
/// # Errors
/// [`Error::Input`] for a name that is neither an output nor a value, with the outputs there are.
pub(crate) fn resolve(graph: &Graph, requested: &[String]) -> Result<Outputs> {
    let mut outputs = Outputs { named: Vec::new(), notes: Vec::new() };
    let all: Vec<(String, ValueId)> = if requested.is_empty() {
        graph.outputs.iter().map(|o| (o.name.clone(), o.value)).collect()
    } else {
        requested
            .iter()
            .map(|name| Ok((name.clone(), find(graph, name)?)))
            .collect::<Result<_>>()?
    };
    if all.is_empty() {
        return Err(Error::Input("the network has no output".into()));
    }
    for (name, value) in all {
        if outputs.named.iter().any(|(n, _)| *n == name) {
            return Err(Error::Input(format!("output '{name}' is asked for twice")));
        }
        let value = cut_tail(graph, &name, value, &mut outputs.notes);
        if graph.producer(value).is_none() {
            return Err(Error::Input(format!("output '{name}' is the network's input")));
        }
        outputs.named.push((name, value));
    }
    Ok(outputs)
}

fn find(graph: &Graph, name: &str) -> Result<ValueId> {
    if let Some(o) = graph.outputs.iter().find(|o| o.name == name) {
        return Ok(o.value);
    }
    let at = graph.values().iter().position(|v| v.name == name).ok_or_else(|| {
        let known: Vec<&str> = graph.outputs.iter().map(|o| o.name.as_str()).collect();
        Error::Input(format!(
            "no output or value is named '{name}'; the outputs are {}; every row of the layer table names a value",
            known.join(", ")
        ))
    })?;
    Ok(ValueId(at))
}

fn cut_tail(graph: &Graph, name: &str, mut value: ValueId, notes: &mut Vec<String>) -> ValueId {
    while let Some(producer) = graph.producer(value) {
        let node = &graph.nodes()[producer];
        let cut = match node.op {
            Op::Softmax { .. } | Op::Transpose { .. } => true,
            Op::Flatten | Op::Reshape { .. } => {
                let same =
                    shape::map(graph.shape(value)) == shape::map(graph.shape(node.inputs[0]));
                !same || shape::map(graph.shape(value)).is_none()
            }
            Op::Identity | Op::Dropout => {
                value = node.inputs[0];
                continue;
            }
            _ => false,
        };
        if !cut {
            break;
        }
        notes.push(format!("output '{name}' is taken before '{}' ({})", node.name, node.op.name()));
        value = node.inputs[0];
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Activation;

    fn graph() -> Graph {
        let mut g = Graph::new("test", "image", vec![1, 4, 1, 1]);
        let r = g.push("relu", Op::Activation(Activation::Relu), &[g.input]).unwrap();
        let f = g.push("flat", Op::Flatten, &[r]).unwrap();
        let s = g.push("soft", Op::Softmax { axis: 1 }, &[f]).unwrap();
        g.mark_output("scores", s);
        g
    }

    #[test]
    fn softmax_at_the_end_is_left_out_and_said() {
        let g = graph();
        let o = resolve(&g, &[]).unwrap();
        assert_eq!(g.value(o.named[0].1).name, "flat");
        assert_eq!(o.notes, ["output 'scores' is taken before 'soft' (Softmax)"]);
    }

    #[test]
    fn values_can_be_asked_for_by_name() {
        let g = graph();
        assert_eq!(g.value(resolve(&g, &["relu".into()]).unwrap().named[0].1).name, "relu");
        let message = resolve(&g, &["c3".into()]).unwrap_err().to_string();
        assert!(message.contains("'c3'") && message.contains("scores"), "{message}");
        assert!(resolve(&g, &["relu".into(), "relu".into()]).is_err());
        assert!(resolve(&g, &["image".into()]).is_err());
    }
}
