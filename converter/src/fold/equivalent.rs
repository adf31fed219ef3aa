//! Whether two graphs are the same network: structure and weights, whatever the names and the order of the nodes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::graph::{Graph, Op, ValueId, Weights};

/// Compares two graphs from their outputs back to their inputs: same operators, parameters and shapes, weights that
/// differ by at most `tolerance` times the largest weight of the tensor. Names, the order of independent nodes and the
/// operand order of sums and products do not matter; the order of outputs does.
///
/// # Errors
/// The first difference found, with the names of both nodes.
pub fn equivalent(a: &Graph, b: &Graph, tolerance: f32) -> Result<(), String> {
    if a.outputs.len() != b.outputs.len() {
        return Err(format!("{} outputs and {} outputs", a.outputs.len(), b.outputs.len()));
    }
    let hashes = [structure_hashes(a), structure_hashes(b)];
    let mut matching = Matching {
        graphs: [a, b],
        hashes,
        tolerance,
        forward: HashMap::new(),
        backward: HashMap::new(),
        order: Vec::new(),
    };
    for (x, y) in a.outputs.iter().zip(&b.outputs) {
        matching.unify(x.value, y.value)?;
    }
    Ok(())
}

/// For each value, what was computed to get it, without weights.
fn structure_hashes(graph: &Graph) -> Vec<u64> {
    let mut hashes = vec![0; graph.values().len()];
    for node in graph.nodes() {
        let mut operands: Vec<u64> = node.inputs.iter().map(|v| hashes[v.0]).collect();
        if is_commutative(&node.op) {
            operands.sort_unstable();
        }
        let mut hasher = DefaultHasher::new();
        (node.op.attributes(), graph.shape(node.output), operands).hash(&mut hasher);
        hashes[node.output.0] = hasher.finish();
    }
    hashes
}

fn is_commutative(op: &Op) -> bool {
    matches!(op, Op::Add | Op::Mul)
}

/// Pairs of values found equal so far, one to one.
struct Matching<'a> {
    graphs: [&'a Graph; 2],
    hashes: [Vec<u64>; 2],
    tolerance: f32,
    forward: HashMap<ValueId, ValueId>,
    backward: HashMap<ValueId, ValueId>,
    /// Pairs in the order in which they were found, for going back.
    order: Vec<(ValueId, ValueId)>,
}

impl Matching<'_> {
    fn unify(&mut self, x: ValueId, y: ValueId) -> Result<(), String> {
        let [a, b] = self.graphs;
        let names = || format!("'{}' and '{}'", a.value(x).name, b.value(y).name);
        match (self.forward.get(&x), self.backward.get(&y)) {
            (Some(&other), _) if other == y => return Ok(()),
            (None, None) => {}
            _ => {
                return Err(format!(
                    "{} stand at the same place but are shared differently",
                    names()
                ));
            }
        }
        if a.shape(x) != b.shape(y) {
            return Err(format!("{} have shapes {:?} and {:?}", names(), a.shape(x), b.shape(y)));
        }
        match (a.producer_node(x), b.producer_node(y)) {
            (None, None) => {}
            (Some(m), Some(n)) => {
                let (p, q) = (m.op.attributes(), n.op.attributes());
                if p != q {
                    return Err(format!("{} differ: {p} | {q}", names()));
                }
                if m.inputs.len() != n.inputs.len() {
                    return Err(format!(
                        "{} have {} and {} operands",
                        names(),
                        m.inputs.len(),
                        n.inputs.len()
                    ));
                }
                self.compare_weights(&m.op, &n.op).map_err(|e| format!("{}: {e}", names()))?;
                self.unify_operands(&m.inputs, &n.inputs, is_commutative(&m.op))?;
            }
            _ => return Err(format!("{}: one is the input, the other is computed", names())),
        }
        self.forward.insert(x, y);
        self.backward.insert(y, x);
        self.order.push((x, y));
        Ok(())
    }

    fn unify_operands(
        &mut self,
        xs: &[ValueId],
        ys: &[ValueId],
        commutative: bool,
    ) -> Result<(), String> {
        let hash = |side: usize, v: &ValueId| self.hashes[side][v.0];
        let fits = |ys: &[ValueId]| xs.iter().zip(ys).all(|(x, y)| hash(0, x) == hash(1, y));
        let swapped: Vec<ValueId> = ys.iter().rev().copied().collect();
        if commutative && xs[0] != xs[1] && fits(&swapped) {
            if !fits(ys) {
                return self.unify_all(xs, &swapped);
            }
            // Both orders fit by structure: weights decide.
            let mark = self.order.len();
            return self.unify_all(xs, ys).or_else(|first| {
                self.go_back(mark);
                self.unify_all(xs, &swapped).map_err(|_| first)
            });
        }
        self.unify_all(xs, ys)
    }

    fn unify_all(&mut self, xs: &[ValueId], ys: &[ValueId]) -> Result<(), String> {
        xs.iter().zip(ys).try_for_each(|(&x, &y)| self.unify(x, y))
    }

    fn go_back(&mut self, mark: usize) {
        for (x, y) in self.order.drain(mark..) {
            self.forward.remove(&x);
            self.backward.remove(&y);
        }
    }

    fn compare_weights(&self, a: &Op, b: &Op) -> Result<(), String> {
        let list = |op: &Op| {
            let mut weights: Vec<(&'static str, Weights)> = Vec::new();
            op.for_each_weight(|role, w| weights.push((role, w.clone())));
            weights
        };
        for ((role, x), (_, y)) in list(a).iter().zip(&list(b)) {
            let largest = x.iter().chain(y.iter()).fold(0.0f32, |m, v| m.max(v.abs()));
            let difference = |(p, q): (&f32, &f32)| match (p - q).abs() {
                _ if p == q => 0.0,
                d if d.is_nan() => f32::INFINITY,
                d => d,
            };
            let error = x.iter().zip(y.iter()).map(difference).fold(0.0, f32::max);
            if error > self.tolerance * largest {
                return Err(format!("{role} differs by {error:e}, the largest is {largest:e}"));
            }
        }
        Ok(())
    }
}
