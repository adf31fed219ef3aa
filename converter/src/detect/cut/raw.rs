//! Levels whose decode is not in the graph: raw maps, told apart by their channels and names.
//!
//! What the graph does not say, convention must: the exports of YOLOX, YOLOv8, SCRFD and of this project's own networks
//! (`p3_reg`, `p3_obj`, `p3_cls`, `p3_pred`) each have a shape of their own. Anything else stays a set of maps.

use kenar::detect::BoxCode;

use super::boxes::Scale;
use super::level::{Column, Level, Part, Role, Tensor, View};
use super::maps::Maps;
use super::poly::{Atom, Leaf, Poly};
use crate::error::Result;
use crate::graph::{Graph, ValueId};

/// Neighbouring columns that one convolution makes.
struct Segment {
    /// The view's table they are in.
    table: usize,
    first: usize,
    map: ValueId,
    sigmoid: bool,
    /// For every row of the cell.
    leaves: Vec<Vec<Leaf>>,
}

impl Segment {
    fn len(&self) -> usize {
        self.leaves[0].len()
    }

    fn tensor(&self) -> Result<Tensor, String> {
        Tensor::of(&self.leaves.concat())
    }

    /// Whether the result's name says that it holds one of these.
    fn named(&self, view: &View, words: &[&str]) -> bool {
        let name = view.group.tables[self.table].output.to_ascii_lowercase();
        words.iter().any(|w| name.contains(w))
    }
}

/// A plain number: its raw element, and whether the sigmoid was taken.
fn plain(poly: &Poly) -> Option<(Leaf, bool)> {
    match poly.single()? {
        ([Atom::Raw(leaf)], _) => Some((*leaf, false)),
        ([Atom::Sigmoid(leaf)], _) => Some((*leaf, true)),
        _ => None,
    }
}

fn segments(view: &View) -> Option<Vec<Segment>> {
    let rows = &view.samples[0].1;
    let mut tables = view.group.tables.iter().enumerate().flat_map(|(i, t)| vec![i; t.columns]);
    let mut segments: Vec<Segment> = Vec::new();
    for column in 0..rows.first()?.len() {
        let table = tables.next()?;
        let all: Vec<(Leaf, bool)> =
            rows.iter().map(|row| plain(&row[column])).collect::<Option<_>>()?;
        let (first, sigmoid) = all[0];
        if all.iter().any(|(l, s)| l.map != first.map || *s != sigmoid) {
            return None;
        }
        let open = segments.last_mut();
        match open.filter(|s| s.table == table && s.map == first.map && s.sigmoid == sigmoid) {
            Some(s) => s.leaves.iter_mut().zip(all).for_each(|(row, (leaf, _))| row.push(leaf)),
            None => segments.push(Segment {
                table,
                first: column,
                map: first.map,
                sigmoid,
                leaves: all.into_iter().map(|(leaf, _)| vec![leaf]).collect(),
            }),
        }
    }
    Some(segments)
}

/// Which segment is what, and by which code.
struct Reading {
    code: BoxCode,
    centre: f64,
    boxes: usize,
    objectness: Option<usize>,
    scores: usize,
    points: Option<usize>,
    assumed: String,
}

/// Reads a level by convention; `None` if no convention fits.
///
/// # Errors
/// The node of a result whose maps do not divide the image.
pub(super) fn level(graph: &Graph, view: &View) -> Result<Option<Level>> {
    let Some(segments) = segments(view) else { return Ok(None) };
    if segments.iter().any(|s| Maps::window(graph, s.map).is_none()) {
        return Ok(None);
    }
    if let [one] = segments.as_slice() {
        return mixed(graph, view, one);
    }
    let Some(reading) = read(view, &segments) else { return Ok(None) };
    let stride = view.stride(graph)?;
    let refuse = |detail: String| view.refuse(graph, 0, detail);
    let tensor = |i: usize| segments[i].tensor().map_err(&refuse);
    let maybe = |i: Option<usize>| i.map(tensor).transpose();
    let total = segments.iter().map(Segment::len).sum();
    let mut columns = vec![Column { anchor: 0, role: Role::Raw(Part::Boxes, 0) }; total];
    for (i, segment) in segments.iter().enumerate() {
        let part = match i {
            _ if i == reading.boxes => Part::Boxes,
            _ if Some(i) == reading.objectness => Part::Objectness,
            _ if Some(i) == reading.points => Part::Points,
            _ => Part::Scores,
        };
        for k in 0..segment.len() {
            let role = if segment.sigmoid { Role::Sigmoid(part, k) } else { Role::Raw(part, k) };
            columns[segment.first + k] = Column { anchor: 0, role };
        }
    }
    Ok(Some(Level {
        size: view.size,
        scale: Scale { stride, unit: [1.0; 2] },
        code: reading.code,
        centre: reading.centre,
        anchors_per_cell: view.candidates(),
        anchors: Vec::new(),
        boxes: tensor(reading.boxes)?,
        objectness: maybe(reading.objectness)?,
        scores: tensor(reading.scores)?,
        points: maybe(reading.points)?,
        columns,
        decoded: false,
        assumed: Some(reading.assumed),
    }))
}

const BOX_WORDS: [&str; 3] = ["reg", "box", "dist"];
const SCORE_WORDS: [&str; 3] = ["cls", "class", "score"];

fn read(view: &View, segments: &[Segment]) -> Option<Reading> {
    let lens: Vec<usize> = segments.iter().map(Segment::len).collect();
    let one_table = segments.iter().all(|s| s.table == segments[0].table);
    let is_box = |i: usize| !segments[i].sigmoid && segments[i].named(view, &BOX_WORDS);
    let is_score = |i: usize| segments[i].sigmoid || segments[i].named(view, &SCORE_WORDS);
    let plain = |code, centre, boxes, scores, assumed: String| Reading {
        code,
        centre,
        boxes,
        objectness: None,
        scores,
        points: None,
        assumed,
    };
    match *segments {
        // Distances over bins and classes: which is which follows from names, sigmoids, or YOLOv8's order.
        [_, _] if view.candidates() == 1 => {
            let order = [(0, 1), (1, 0)];
            let bins = |i: usize| lens[i] > 4 && lens[i].is_multiple_of(4) && !segments[i].sigmoid;
            let named = order
                .into_iter()
                .find(|&(b, s)| bins(b) && (is_box(b) || is_score(s)) && !is_score(b));
            let found = named.or_else(|| (one_table && bins(0)).then_some((0, 1)));
            let (boxes, scores) = found?;
            let bins = lens[boxes] / 4;
            let code = BoxCode::Dfl { bins: u32::try_from(bins).ok()? };
            let assumed = format!("{} channels are distances over {bins} bins a side", lens[boxes]);
            Some(plain(code, 0.5, boxes, scores, assumed))
        }
        // Scores and distances of several boxes a cell, as SCRFD lists them.
        [_, _] if lens.contains(&4) => {
            let (boxes, scores) = if lens[0] == 4 && !is_score(0) { (0, 1) } else { (1, 0) };
            (is_score(scores) && lens[boxes] == 4)
                .then(|| plain(BoxCode::Distance, 0.0, boxes, scores, scrfd()))
        }
        [_, _, _] => {
            let boxes = (0..3).find(|&i| lens[i] == 4 && (is_box(i) || !is_score(i)))?;
            let others: Vec<usize> = (0..3).filter(|&i| i != boxes).collect();
            let [a, b] = others[..] else { return None };
            // Landmarks: an even number of raw values beside scores.
            let points = [(a, b), (b, a)].into_iter().find(|&(s, p)| {
                segments[s].sigmoid && !segments[p].sigmoid && lens[p].is_multiple_of(2)
            });
            if let Some((scores, points)) = points {
                let mut reading = plain(BoxCode::Distance, 0.0, boxes, scores, scrfd());
                reading.points = Some(points);
                return Some(reading);
            }
            if view.candidates() != 1 || segments[a].sigmoid != segments[b].sigmoid {
                return None;
            }
            let objectness = [(a, b), (b, a)].into_iter().find(|&(o, s)| {
                lens[o] == 1 && (segments[o].named(view, &["obj"]) || lens[s] > 1 || one_table)
            });
            let (objectness, scores) = objectness?;
            let own = segments[boxes].named(view, &["_reg"])
                && segments[objectness].named(view, &["_obj"]);
            let mut reading = if own && !one_table {
                let assumed = "boxes are exponential distances, as in 'pN_reg'".into();
                plain(BoxCode::ExpDistance, 0.5, boxes, scores, assumed)
            } else if one_table {
                let assumed = "boxes are centre and exp(size), as YOLOX lists them".into();
                plain(BoxCode::ExpSize, 0.0, boxes, scores, assumed)
            } else {
                return None;
            };
            reading.objectness = Some(objectness);
            Some(reading)
        }
        _ => None,
    }
}

fn scrfd() -> String {
    "boxes are distances in strides from a cell's corner, as SCRFD lists them".into()
}

/// Box, objectness and the 80 classes of COCO.
const COCO_CHANNELS: usize = 85;
/// Anchors that YOLOv5 and YOLOv7 publish for their 80 classes, by stride.
const COCO_ANCHORS: [(f64, [[f64; 2]; 3]); 3] = [
    (8.0, [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]]),
    (16.0, [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]]),
    (32.0, [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]]),
];

/// Everything from one convolution: an anchor head, `anchor * (5 + classes) + component`.
fn mixed(graph: &Graph, view: &View, segment: &Segment) -> Result<Option<Level>> {
    let table = &view.group.tables[segment.table];
    let (rows, len) = (view.candidates(), segment.len());
    // [1, anchors, H, W, 5 + classes] shows how many anchors there are; YOLOv5 has three.
    let inside = match table.shape() {
        [1, anchors, _, _, last] if anchors * last == len => *anchors,
        [1, channels, _, _]
            if channels % 3 == 0
                && (*channels == 3 * COCO_CHANNELS || segment.named(view, &["pred", "out"])) =>
        {
            3
        }
        _ if rows > 1 => 1,
        _ => return Ok(None),
    };
    let each = len / inside;
    if segment.sigmoid || each < 6 || Maps::window(graph, segment.map) != Some([1, 1]) {
        return Ok(None);
    }
    let all: Vec<Vec<Leaf>> =
        segment.leaves.iter().flat_map(|row| row.chunks(each).map(<[Leaf]>::to_vec)).collect();
    let part = |range: std::ops::Range<usize>| {
        let leaves: Vec<Leaf> = all.iter().flat_map(|a| a[range.clone()].to_vec()).collect();
        Tensor::of(&leaves).map_err(|e| view.refuse(graph, segment.table, e))
    };
    let columns = (0..len).map(|i| {
        let role = match i % each {
            k @ 0..4 => Role::Raw(Part::Boxes, k),
            4 => Role::Raw(Part::Objectness, 0),
            k => Role::Raw(Part::Scores, k - 5),
        };
        Column { anchor: i / each, role }
    });
    let stride = view.stride(graph)?;
    let published =
        COCO_ANCHORS.iter().find(|(s, _)| *s == stride && each == COCO_CHANNELS && all.len() == 3);
    let assumed = match published {
        Some(_) => {
            "the file holds no anchors; those that YOLOv5 publishes for 80 classes are taken"
        }
        None => "the file holds no anchors",
    };
    Ok(Some(Level {
        size: view.size,
        scale: Scale { stride, unit: [1.0; 2] },
        code: BoxCode::Anchor,
        centre: 0.0,
        anchors_per_cell: all.len(),
        anchors: published.map_or_else(Vec::new, |(_, anchors)| anchors.to_vec()),
        boxes: part(0..4)?,
        objectness: Some(part(4..5)?),
        scores: part(5..each)?,
        points: None,
        columns: columns.collect(),
        decoded: false,
        assumed: Some(assumed.into()),
    }))
}
