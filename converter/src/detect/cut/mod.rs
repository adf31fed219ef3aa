//! Finds the cut between a network and the decode of its boxes, and says in a [`RawHead`] what was decoded.
//!
//! Exporters write decodes in many ways, so none is matched operator by operator. [`maps`] tells where the network
//! ends; [`rows`] finds which cell of which map every row of a result speaks of; [`trace`] follows single numbers
//! from the results back to the raw maps and gives each one form, a polynomial ([`poly`]); [`boxes`], [`decoded`] and
//! [`raw`] read codes, strides, anchors and classes off these; [`proof`] runs the graph's own decode on random maps and
//! compares every number of every result with what was read. Only then is the decode removed.

mod boxes;
mod decoded;
mod level;
mod maps;
mod poly;
mod proof;
mod raw;
mod report;
mod rows;
mod trace;

use std::collections::BTreeMap;

use self::level::{Group, Level, Part as What, View};
use self::maps::Maps;
use self::rows::Table;
use self::trace::Tracer;
use super::pick::{Pick, pick};
use super::separate::level_name;
use super::spec::{Part, RawHead, RawLevel};
use crate::error::{Error, Result};
use crate::graph::{Graph, Output};

/// A network without its decode.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The network up to boxes, objectness, classes and landmarks of each level, each an output of its own.
    pub graph: Graph,
    /// What they mean.
    pub head: RawHead,
    /// What was recognised, one sentence each.
    pub notes: Vec<String>,
}

/// Finds the head of a detector and removes its decode; `None` for a graph that does not end in a head.
///
/// # Errors
/// [`Error::Graph`] with the node that stands in the way and what was expected, for a graph that decodes boxes (its
/// results join the cells of maps into rows) in a way that is not understood.
pub fn cut(graph: &Graph) -> Result<Option<Cut>> {
    let maps = Maps::new(graph);
    // Raw results are maps, or those of one level side by side.
    let is_raw = |o: &Output| maps.is_image(o.value);
    let lists = graph.outputs.iter().map(|o| listed_levels(graph, &maps, o)).max().unwrap_or(0);
    if lists == 0 && !graph.outputs.iter().all(is_raw) {
        return Ok(None);
    }
    // A list of the cells of several maps is a detector's; one of a single map may be anything.
    let decodes = lists > 1;
    match recognise(graph, &maps) {
        Ok(levels) if levels.is_empty() && decodes => Err(not_a_head(graph)),
        Ok(levels) if levels.is_empty() => Ok(None),
        Ok(levels) => finish(graph, &levels).map(Some),
        Err(_) if !decodes => Ok(None),
        Err(e) => Err(e),
    }
}

/// How many sizes of maps a result lists the cells of, one after another; 0 for maps and everything else.
fn listed_levels(graph: &Graph, maps: &Maps, output: &Output) -> usize {
    let shape = graph.shape(output.value);
    let reached = maps.reached(graph, output.value);
    let mut sizes: Vec<&[usize]> = reached.iter().map(|&m| &graph.shape(m)[2..]).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let cells: usize = sizes.iter().map(|s| s[0] * s[1]).sum();
    let lists = shape.len() != 4 && cells > 1 && shape.iter().any(|&axis| axis % cells == 0)
        || shape.len() == 5 && sizes.iter().any(|s| shape[2..4] == **s);
    if lists { sizes.len() } else { 0 }
}

fn not_a_head(graph: &Graph) -> Error {
    let output = &graph.outputs[0];
    let node = graph.producer_node(output.value).map_or(&output.name, |n| &n.name);
    Error::graph(
        node,
        "ends in a list of the cells of several maps that is no known head; expected boxes and scores as YOLOv5, \
         YOLOv8, YOLOX or SCRFD have them (--outputs takes the maps themselves)",
    )
}

/// Every level of the head, finest first, proven; none if the results are no head.
fn recognise(graph: &Graph, maps: &Maps) -> Result<Vec<Level>> {
    let mut tracer = Tracer::new(graph, maps);
    let groups = groups(graph, maps, &mut tracer)?;
    let mut levels: Vec<(usize, Level)> = Vec::new();
    for (g, group) in groups.iter().enumerate() {
        let mut sizes: Vec<[usize; 2]> = Vec::new();
        for cell in &group.tables[0].cells {
            if !sizes.contains(&cell.level) {
                sizes.push(cell.level);
            }
        }
        for size in sizes {
            let view = View::new(graph, &mut tracer, group, size)?;
            if view.candidates() == 0 {
                return Err(view.refuse(graph, 0, "leaves out the first cell of a map"));
            }
            let found = if decoded::is_decoded(&view) {
                decoded::level(graph, &view)?
            } else {
                match raw::level(graph, &view)? {
                    Some(level) => level,
                    None => return Ok(Vec::new()),
                }
            };
            levels.push((g, found));
        }
    }
    // A convention needs more than one level to be trusted.
    if levels.len() < 2 && levels.iter().all(|(_, l)| !l.decoded) {
        return Ok(Vec::new());
    }
    // Some exports list the raw maps beside their decode.
    let decoded: Vec<[usize; 2]> =
        levels.iter().filter(|(_, l)| l.decoded).map(|(_, l)| l.size).collect();
    levels.retain(|(_, l)| l.decoded || !decoded.contains(&l.size));
    levels.sort_by(|(_, a), (_, b)| a.scale.stride.total_cmp(&b.scale.stride));
    consistent(graph, &levels)?;
    proof::check(graph, maps, &groups, &levels)?;
    Ok(levels.into_iter().map(|(_, level)| level).collect())
}

/// Results with equal rows belong together.
fn groups(graph: &Graph, maps: &Maps, tracer: &mut Tracer) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    for output in &graph.outputs {
        let Some(table) = Table::new(graph, maps, tracer, output)? else {
            return Err(decoded::nothing(&output.name));
        };
        match groups.iter_mut().find(|g| g.tables[0].cells == table.cells) {
            Some(group) => group.tables.push(table),
            None => groups.push(Group { tables: vec![table] }),
        }
    }
    Ok(groups)
}

/// One head has one code.
fn consistent(graph: &Graph, levels: &[(usize, Level)]) -> Result<()> {
    let Some((_, first)) = levels.first() else { return Ok(()) };
    let classes = |l: &Level| l.scores.components(l.anchors_per_cell);
    let mut sizes = BTreeMap::new();
    for (_, level) in levels {
        let same = level.code == first.code
            && level.centre == first.centre
            && level.anchors_per_cell == first.anchors_per_cell
            && level.objectness.is_some() == first.objectness.is_some()
            && classes(level) == classes(first)
            && level.points.as_ref().map(|p| p.channels.len())
                == first.points.as_ref().map(|p| p.channels.len());
        let twice = sizes.insert(level.size, ()).is_some();
        if !same || twice {
            let map = graph.value(level.scores.map);
            return Err(Error::graph(
                &map.name,
                if twice {
                    "makes a second level of the same size; expected one level per stride"
                } else {
                    "makes a level whose boxes or classes differ from those of the other levels; expected one kind"
                },
            ));
        }
    }
    Ok(())
}

/// The network with the head's parts as outputs, and the head's description.
fn finish(graph: &Graph, levels: &[Level]) -> Result<Cut> {
    let mut picks: Vec<Pick> = Vec::new();
    let mut raw = Vec::new();
    let first = &levels[0];
    for level in levels {
        let stride = level.scale.stride as u32;
        let mut part = |what: What, tensor: &level::Tensor| {
            let suffix = match what {
                What::Boxes => "reg",
                What::Objectness => "obj",
                What::Scores => "cls",
                What::Points => "kps",
            };
            let name = existing(graph, tensor)
                .unwrap_or_else(|| format!("{}_{suffix}", level_name(stride)));
            picks.push(Pick {
                name: name.clone(),
                source: tensor.map,
                channels: tensor.channels.clone(),
                factor: tensor.factor as f32,
            });
            Part::whole(name, tensor.components(level.anchors_per_cell))
        };
        raw.push(RawLevel {
            stride,
            boxes: part(What::Boxes, &level.boxes),
            objectness: level.objectness.as_ref().map(|t| part(What::Objectness, t)),
            scores: part(What::Scores, &level.scores),
            points: level.points.as_ref().map(|t| part(What::Points, t)),
            anchors: level.anchors.iter().map(|a| a.map(|v| v as f32)).collect(),
        });
    }
    let head = RawHead {
        kind: report::kind(first),
        code: first.code,
        centre: first.centre as f32,
        anchors_per_cell: first.anchors_per_cell,
        classes: first.scores.components(first.anchors_per_cell),
        points: first.points.as_ref().map_or(0, |p| p.components(first.anchors_per_cell) / 2),
        levels: raw,
        labels: Vec::new(),
        input: report::input(first),
    };
    let cut = pick(graph, &picks)?;
    let notes = report::notes(
        graph,
        levels,
        &head,
        graph.nodes().len() - cut.nodes().len().min(graph.nodes().len()),
    );
    Ok(Cut { graph: cut, head, notes })
}

/// The result that is exactly this tensor already.
fn existing(graph: &Graph, tensor: &level::Tensor) -> Option<String> {
    let whole =
        tensor.factor == 1.0 && tensor.channels.iter().copied().eq(0..graph.shape(tensor.map)[1]);
    let same = |o: &&Output| o.value == tensor.map;
    graph.outputs.iter().find(same).filter(|_| whole).map(|o| o.name.clone())
}
