//! The proof of a recognised head: the graph's own decode, run on random maps, gives what was read off it.

use std::collections::HashMap;

use kenar::detect::BoxCode;
use ndarray::{ArrayD, IxDyn};

use super::boxes::Form;
use super::level::{Group, Level, Part, Role, Tensor};
use super::maps::Maps;
use super::rows::{Cell, Table};
use crate::error::{Error, Result};
use crate::exec;
use crate::graph::{Graph, Op, Rewrite, ValueId, weights};

/// Random raw maps are uniform up to this magnitude: exp and sigmoid stay far from their ends.
const MAGNITUDE: f32 = 3.0;
/// Relative to the larger of the number and one pixel (or one).
const TOLERANCE: f64 = 2e-4;

/// Compares every number of every result that a level speaks of.
///
/// # Errors
/// The node that makes a result with another number, and where.
pub(super) fn check(
    graph: &Graph,
    maps: &Maps,
    groups: &[Group],
    levels: &[(usize, Level)],
) -> Result<()> {
    let (tail, data) = tail(graph, maps)?;
    let input = ArrayD::zeros(IxDyn(graph.shape(graph.input)));
    let results = exec::run(&tail, &input)?;
    let result = |table: &Table| {
        let output = graph.outputs.iter().position(|o| o.name == table.output);
        output.and_then(|i| results[i].as_slice()).unwrap_or_default()
    };
    for (g, group) in groups.iter().enumerate() {
        let values: Vec<&[f32]> = group.tables.iter().map(result).collect();
        // How often each cell was met; the order in which its rows come is the order of its anchors.
        let mut met: HashMap<Cell, usize> = HashMap::new();
        for (row, &cell) in group.tables[0].cells.iter().enumerate() {
            let count = met.entry(cell).or_insert(0);
            let first_anchor = *count;
            *count += 1;
            let level = levels.iter().find(|(i, l)| *i == g && l.size == cell.level);
            if let Some((_, level)) = level {
                let truth = Truth { level, data: &data, cell };
                compare(graph, group, &values, &truth, row, first_anchor)?;
            }
        }
        for (_, level) in levels.iter().filter(|(i, _)| *i == g) {
            complete(graph, group, level, &met)?;
        }
    }
    Ok(())
}

fn refuse(graph: &Graph, table: &Table, detail: String) -> Error {
    let node = graph.producer_node(table.value).map_or(&table.output, |n| &n.name);
    Error::graph(node, detail)
}

/// Compares one row of a group's tables.
fn compare(
    graph: &Graph,
    group: &Group,
    values: &[&[f32]],
    truth: &Truth,
    row: usize,
    first_anchor: usize,
) -> Result<()> {
    let level = truth.level;
    let cells = group.tables.iter().zip(values);
    let cells = cells.flat_map(|(t, v)| (0..t.columns).map(move |k| (t, k, v[t.flat(row, k)])));
    for ((table, k, found), column) in cells.zip(&level.columns) {
        let anchor = first_anchor + column.anchor;
        if anchor >= level.anchors_per_cell {
            let detail = format!("lists cell {:?} more often than the first", truth.cell.at);
            return Err(refuse(graph, table, detail));
        }
        let (expected, found) = (truth.number(anchor, column.role), f64::from(found));
        let unit = level.scale.unit[0].min(1.0);
        let near = (expected - found).abs() <= TOLERANCE * expected.abs().max(unit);
        if !near {
            let detail = format!(
                "was read as {} boxes, but gives {found} in row {row}, column {k} where they give {expected}",
                level.code.name()
            );
            return Err(refuse(graph, table, detail));
        }
    }
    Ok(())
}

/// Whether every cell of a level has all its boxes.
fn complete(graph: &Graph, group: &Group, level: &Level, met: &HashMap<Cell, usize>) -> Result<()> {
    let rows = level.anchors_per_cell / columns_per_row(level);
    let all = met.iter().filter(|(cell, count)| cell.level == level.size && **count == rows);
    let [h, w] = level.size;
    if all.count() == h * w {
        return Ok(());
    }
    let detail = format!("does not list {rows} rows for every cell of the {h}x{w} maps");
    Err(refuse(graph, &group.tables[0], detail))
}

/// Anchors that one row holds.
fn columns_per_row(level: &Level) -> usize {
    level.columns.iter().map(|c| c.anchor + 1).max().unwrap_or(1)
}

/// The decode with random constants for maps, and these.
fn tail(graph: &Graph, maps: &Maps) -> Result<(Graph, HashMap<ValueId, ArrayD<f32>>)> {
    let mut live = vec![false; graph.values().len()];
    graph.outputs.iter().for_each(|o| live[o.value.0] = true);
    for node in graph.nodes().iter().rev() {
        if live[node.output.0] && !maps.is_map(node.output) {
            node.inputs.iter().for_each(|v| live[v.0] = true);
        }
    }
    let mut noise = Noise(1);
    let mut data = HashMap::new();
    let mut r = Rewrite::new(graph);
    for node in graph.nodes().iter().filter(|n| live[n.output.0]) {
        if maps.is_map(node.output) {
            let shape = IxDyn(graph.shape(node.output));
            let array = ArrayD::from_shape_simple_fn(shape, || noise.next());
            r.replace(node, Op::Constant(weights(array.clone())), &[])?;
            data.insert(node.output, array);
        } else {
            r.keep(node)?;
        }
    }
    Ok((r.finish(), data))
}

/// Fixed noise (SplitMix64), uniform between `-MAGNITUDE` and `MAGNITUDE`.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 24) as f32;
        (2.0 * unit - 1.0) * MAGNITUDE
    }
}

/// What the head gives at a cell.
struct Truth<'a> {
    level: &'a Level,
    data: &'a HashMap<ValueId, ArrayD<f32>>,
    cell: Cell,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Truth<'_> {
    fn raw(&self, tensor: &Tensor, anchor: usize, component: usize) -> f64 {
        let channel =
            tensor.channels[anchor * tensor.components(self.level.anchors_per_cell) + component];
        let [row, column] = self.cell.at;
        f64::from(self.data[&tensor.map][[0, channel, row, column].as_slice()]) * tensor.factor
    }

    fn part(&self, part: Part, anchor: usize, i: usize) -> f64 {
        let level = self.level;
        match (part, &level.objectness, &level.points) {
            (Part::Boxes, ..) => self.raw(&level.boxes, anchor, i),
            (Part::Objectness, Some(tensor), _) | (Part::Points, _, Some(tensor)) => {
                self.raw(tensor, anchor, i)
            }
            _ => self.raw(&level.scores, anchor, i),
        }
    }

    fn number(&self, anchor: usize, role: Role) -> f64 {
        match role {
            Role::Raw(part, i) => self.part(part, anchor, i),
            Role::Sigmoid(part, i) => sigmoid(self.part(part, anchor, i)),
            Role::Product(i) => {
                sigmoid(self.part(Part::Objectness, anchor, 0))
                    * sigmoid(self.part(Part::Scores, anchor, i))
            }
            Role::Point(i) => {
                let step = self.level.scale.stride * self.level.scale.unit[i % 2];
                let at = self.cell.at[1 - i % 2] as f64 + self.level.centre;
                step * (self.part(Part::Points, anchor, i) + at)
            }
            Role::Box(i, form) => {
                let (centre, size) = self.side(anchor, i % 2);
                let pixels = match (form, i / 2) {
                    (Form::Centre, 0) => centre,
                    (Form::Centre, _) => size,
                    (Form::Corners, 0) => centre - size / 2.0,
                    (Form::Corners, _) => centre + size / 2.0,
                };
                pixels * self.level.scale.unit[i % 2]
            }
        }
    }

    /// Centre and size in pixels along x (0) or y (1).
    fn side(&self, anchor: usize, axis: usize) -> (f64, f64) {
        let s = self.level.scale.stride;
        let cell = self.cell.at[1 - axis] as f64;
        let t = |i: usize| self.raw(&self.level.boxes, anchor, i);
        let between = |a: f64, b: f64| {
            let reference = cell + self.level.centre;
            (s * (reference + (b - a) / 2.0), s * (a + b))
        };
        match self.level.code {
            BoxCode::Distance => between(t(axis), t(axis + 2)),
            BoxCode::ExpDistance => between(t(axis).exp(), t(axis + 2).exp()),
            BoxCode::Dfl { bins } => {
                let bins = bins as usize;
                let expected = |side: usize| {
                    let shares: Vec<f64> = (0..bins).map(|b| t(side * bins + b).exp()).collect();
                    let sum: f64 = shares.iter().sum();
                    shares.iter().enumerate().map(|(i, v)| i as f64 * v).sum::<f64>() / sum
                };
                between(expected(axis), expected(axis + 2))
            }
            BoxCode::ExpSize => (s * (t(axis) + cell), s * t(axis + 2).exp()),
            BoxCode::Anchor => {
                let size = 2.0 * sigmoid(t(axis + 2));
                (
                    s * (2.0 * sigmoid(t(axis)) - 0.5 + cell),
                    size * size * self.level.anchors[anchor][axis],
                )
            }
        }
    }
}
