//! Padding nodes that the operator behind them can do itself.

use crate::error::Result;
use crate::graph::{Activation, Conv2d, Graph, Node, Op, Pool, PoolKind, Rewrite, ValueId};

pub(super) fn run(graph: &Graph, changes: &mut Vec<String>) -> Result<Graph> {
    let mut r = Rewrite::new(graph);
    for node in graph.nodes() {
        let merged = node.inputs.first().and_then(|&v| graph.producer_node(v)).and_then(|pad| {
            let op = merge(graph, node, pad)?;
            Some((op, pad))
        });
        match merged {
            Some((op, pad)) => {
                changes.push(format!("{} into {}", pad.name, node.name));
                r.replace(node, op, &pad.inputs)?;
            }
            None => drop(r.keep(node)?),
        }
    }
    Ok(r.finish())
}

/// The operator with the padding of `pad` added to its own, if that computes the same.
fn merge(graph: &Graph, node: &Node, pad: &Node) -> Option<Op> {
    let Op::Pad { pads, value } = &pad.op else { return None };
    if let Op::Pad { pads: outer, value: outer_value } = &node.op {
        let sum = pads.iter().zip(outer).map(|(a, b)| (a.0 + b.0, a.1 + b.1)).collect();
        return (value == outer_value).then_some(Op::Pad { pads: sum, value: *value });
    }
    let &[(0, 0), (0, 0), (top, bottom), (left, right)] = &pads[..] else { return None };
    let add = |p: [usize; 4]| [p[0] + top, p[1] + left, p[2] + bottom, p[3] + right];
    match &node.op {
        Op::Conv2d(c) if *value == 0.0 => {
            Some(Op::Conv2d(Conv2d { padding: add(c.padding), ..c.clone() }))
        }
        Op::Pool(p) => {
            let padding = add(p.padding);
            let same = match p.kind {
                PoolKind::Max => {
                    *value == f32::NEG_INFINITY
                        || *value == 0.0
                            && is_not_negative(graph, pad.inputs[0])
                            && never_only_padding(p, padding)
                }
                // Zeros that counted keep counting; the operator's own padding must count as well.
                PoolKind::Average { count_include_pad } => {
                    *value == 0.0 && (count_include_pad || p.padding == [0; 4])
                }
            };
            let kind = match p.kind {
                PoolKind::Max => PoolKind::Max,
                PoolKind::Average { .. } => PoolKind::Average { count_include_pad: true },
            };
            let op = Op::Pool(Pool { padding, kind, ..p.clone() });
            // Rounding up drops windows by where the padding ends: the size must come out the same.
            let mut probe = Graph::new("", "", graph.shape(pad.inputs[0]).to_vec());
            let value = probe.push("", op.clone(), &[probe.input]).ok()?;
            (same && probe.shape(value) == graph.shape(node.output)).then_some(op)
        }
        _ => None,
    }
}

/// Whether zeros never lose against the values of this map.
fn is_not_negative(graph: &Graph, value: ValueId) -> bool {
    let Some(node) = graph.producer_node(value) else { return false };
    match &node.op {
        Op::Activation(Activation::Relu | Activation::Sigmoid | Activation::Exp) => true,
        Op::Activation(Activation::Clip { min, .. }) => *min >= 0.0,
        _ => false,
    }
}

/// Every window has an element inside the map, so that the maximum is a value of the map.
fn never_only_padding(p: &Pool, padding: [usize; 4]) -> bool {
    !p.ceil_mode && p.dilation == [1, 1] && (0..4).all(|i| padding[i] < p.window[i % 2])
}
