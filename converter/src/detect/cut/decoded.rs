//! Levels whose decode is in the graph.

use kenar::detect::BoxCode;

use super::boxes::{self, BoxMatch, Scale};
use super::level::{Column, Level, Part, Role, Tensor, View};
use super::poly::{Atom, Leaf, Poly, close, is};
use super::rows::Cell;
use crate::error::{Error, Result};
use crate::graph::Graph;

/// Whether a number is a raw element or its sigmoid: nothing was decoded.
pub(super) fn is_plain(poly: &Poly) -> bool {
    matches!(poly.single(), Some(([Atom::Raw(_) | Atom::Sigmoid(_)], v)) if is(v, 1.0))
}

/// The columns of a view's tables where four numbers are a decoded box: table, first column.
fn box_columns(view: &View) -> Option<(usize, usize)> {
    let row = view.samples[0].1.first()?;
    let mut first = 0;
    for (i, table) in view.group.tables.iter().enumerate() {
        if table.columns >= 4 && row[first..first + 4].iter().any(|p| !is_plain(p) && !is_score(p))
        {
            return Some((i, first));
        }
        first += table.columns;
    }
    None
}

fn is_score(poly: &Poly) -> bool {
    matches!(poly.single(), Some(([Atom::Sigmoid(_), Atom::Sigmoid(_)], v)) if is(v, 1.0))
}

/// Whether a view's rows hold decoded boxes.
pub(super) fn is_decoded(view: &View) -> bool {
    box_columns(view).is_some()
}

/// Reads a level whose boxes are decoded.
///
/// # Errors
/// The node that makes the result, with what was not understood.
pub(super) fn level(graph: &Graph, view: &View) -> Result<Level> {
    let Some((table, first)) = box_columns(view) else {
        return Err(view.refuse(graph, 0, "holds no decoded boxes"));
    };
    let refuse = |detail: String| view.refuse(graph, table, detail);
    let scale = scale(graph, view, table, first)?;
    let mut matches = Vec::new();
    for (cell, rows) in &view.samples {
        for row in rows {
            matches.push(boxes::read(&row[first..first + 4], *cell, scale).map_err(&refuse)?);
        }
    }
    let anchors = view.candidates();
    let head = &matches[0];
    let same = |m: &BoxMatch| {
        m.code == head.code
            && m.form == head.form
            && close(m.centre, head.centre, 1.0)
            && is(m.factor, head.factor)
    };
    if !matches.iter().all(same) {
        return Err(refuse("decodes one candidate in another way than the next".into()));
    }
    let leaves: Vec<Leaf> = matches[..anchors].iter().flat_map(|m| m.leaves.clone()).collect();
    let mut boxes = Tensor::of(&leaves).map_err(&refuse)?;
    boxes.factor = head.factor;

    let rest: Vec<usize> =
        (0..view.samples[0].1[0].len()).filter(|c| !(first..first + 4).contains(c)).collect();
    let mut columns = vec![Column { anchor: 0, role: Role::Raw(Part::Boxes, 0) }; rest.len() + 4];
    for i in 0..4 {
        columns[first + i] = Column { anchor: 0, role: Role::Box(i, head.form) };
    }
    let (cell, rows) = &view.samples[0];
    let mut others = Others::default();
    for row in rows {
        let polys: Vec<&Poly> = rest.iter().map(|&c| &row[c]).collect();
        let roles = others.take(graph, &polys, head, *cell, scale).map_err(|e| match e {
            Detail::At(column, detail) => view.refuse(graph, table_of(view, rest[column]), detail),
            Detail::Nowhere(detail) => refuse(detail),
        })?;
        for (&column, role) in rest.iter().zip(roles) {
            columns[column] = Column { anchor: 0, role };
        }
    }
    let optional = |leaves: &[Leaf]| -> Result<Option<Tensor>> {
        if leaves.is_empty() { Ok(None) } else { Tensor::of(leaves).map(Some).map_err(&refuse) }
    };
    Ok(Level {
        size: view.size,
        scale,
        code: head.code,
        centre: if head.code == BoxCode::Anchor { 0.0 } else { head.centre },
        anchors_per_cell: anchors,
        anchors: match head.code {
            BoxCode::Anchor => matches[..anchors].iter().map(|m| m.anchor).collect(),
            _ => Vec::new(),
        },
        boxes,
        objectness: optional(&others.objectness)?,
        scores: Tensor::of(&others.scores).map_err(&refuse)?,
        points: optional(&others.points)?,
        columns,
        decoded: true,
        assumed: None,
    })
}

fn table_of(view: &View, column: usize) -> usize {
    let mut first = 0;
    for (i, table) in view.group.tables.iter().enumerate() {
        first += table.columns;
        if column < first {
            return i;
        }
    }
    0
}

/// Stride, and units of the result: pixels, or fractions of the image.
fn scale(graph: &Graph, view: &View, table: usize, first: usize) -> Result<Scale> {
    let stride = view.stride(graph)?;
    let [(a, rows_a), (b, rows_b)] = &view.samples;
    if rows_a.len() != rows_b.len() {
        return Err(view.refuse(graph, table, "lists one cell more often than the next"));
    }
    let mut unit = [1.0; 2];
    for (i, unit) in unit.iter_mut().enumerate() {
        let steps = (b.at[1 - i] - a.at[1 - i]) as f64;
        if steps == 0.0 {
            continue;
        }
        let moved =
            (rows_b[0][first + i].offset() - rows_a[0][first + i].offset()) / (steps * stride);
        let fraction = 1.0 / view.image[1 - i] as f64;
        *unit = match moved {
            m if close(m, 1.0, 1.0) => 1.0,
            m if close(m, fraction, fraction) => fraction,
            m => {
                return Err(view.refuse(
                    graph,
                    table,
                    format!(
                        "moves boxes by {:.4} from one cell to the next at stride {stride}; expected pixels ({stride}) \
                         or fractions of the image",
                        m * stride
                    ),
                ));
            }
        };
    }
    Ok(Scale { stride, unit })
}

/// What is not understood, at a column or in general.
enum Detail {
    At(usize, String),
    Nowhere(String),
}

/// What rows hold beside boxes, over the candidates of a cell.
#[derive(Default)]
struct Others {
    objectness: Vec<Leaf>,
    scores: Vec<Leaf>,
    points: Vec<Leaf>,
}

impl Others {
    /// Takes the numbers of one candidate and says what each is.
    fn take(
        &mut self,
        graph: &Graph,
        polys: &[&Poly],
        head: &BoxMatch,
        cell: Cell,
        scale: Scale,
    ) -> Result<Vec<Role>, Detail> {
        let mut plain: Vec<(usize, Leaf, bool)> = Vec::new();
        let mut products: Vec<(usize, [Leaf; 2])> = Vec::new();
        let mut roles = vec![Role::Raw(Part::Scores, 0); polys.len()];
        let mut points = 0;
        for (i, poly) in polys.iter().enumerate() {
            match poly.single() {
                Some(([Atom::Raw(leaf)], v)) if is(v, 1.0) => plain.push((i, *leaf, false)),
                Some(([Atom::Sigmoid(leaf)], v)) if is(v, 1.0) => plain.push((i, *leaf, true)),
                Some(([Atom::Sigmoid(a), Atom::Sigmoid(b)], v)) if is(v, 1.0) => {
                    products.push((i, [*a, *b]));
                }
                _ => match point(poly, points, head, cell, scale) {
                    Some(leaf) => {
                        roles[i] = Role::Point(points);
                        self.points.push(leaf);
                        points += 1;
                    }
                    None => {
                        return Err(Detail::At(
                            i,
                            "gives numbers beside the boxes that are no sigmoid of raw outputs; expected scores \
                             sigmoid(class) or sigmoid(objectness) * sigmoid(class); masks, angles and keypoints \
                             with a visibility are not supported"
                                .into(),
                        ));
                    }
                },
            }
        }
        match (plain.as_slice(), products.as_slice()) {
            ([], []) => Err(Detail::Nowhere("comes without scores; expected one per class".into())),
            ([], &[(i, [a, b])]) => {
                // Either factor may be called the objectness.
                self.objectness.push(a);
                self.scores.push(b);
                roles[i] = Role::Product(0);
                Ok(roles)
            }
            ([], all) => {
                let common = |leaf: Leaf| all.iter().all(|(_, pair)| pair.contains(&leaf));
                let [a, b] = all[0].1;
                let Some(objectness) = [a, b].into_iter().find(|&l| common(l)) else {
                    return Err(Detail::At(
                        all[0].0,
                        "multiplies different pairs of scores; expected one objectness for all classes".into(),
                    ));
                };
                self.objectness.push(objectness);
                for (class, (i, [a, b])) in all.iter().enumerate() {
                    self.scores.push(if *a == objectness { *b } else { *a });
                    roles[*i] = Role::Product(class);
                }
                Ok(roles)
            }
            (all, []) => {
                if all.iter().any(|p| p.2 != all[0].2) {
                    return Err(Detail::At(
                        all[0].0,
                        "mixes raw numbers and sigmoids beside the boxes; expected scores of one kind".into(),
                    ));
                }
                let sigmoid = all[0].2;
                let has_objectness = has_objectness(graph, all, head.code);
                let role =
                    |part, i| if sigmoid { Role::Sigmoid(part, i) } else { Role::Raw(part, i) };
                for (n, (i, leaf, _)) in all.iter().enumerate() {
                    if has_objectness && n == 0 {
                        self.objectness.push(*leaf);
                        roles[*i] = role(Part::Objectness, 0);
                    } else {
                        self.scores.push(*leaf);
                        roles[*i] = role(Part::Scores, n - usize::from(has_objectness));
                    }
                }
                Ok(roles)
            }
            (all, _) => Err(Detail::At(
                all[0].0,
                "mixes scores with and without objectness; expected scores of one kind".into(),
            )),
        }
    }
}

/// Whether the first score of a candidate is its objectness: the codes of YOLOv5 and YOLOX have one; others only
/// where it comes from a convolution of its own.
fn has_objectness(graph: &Graph, scores: &[(usize, Leaf, bool)], code: BoxCode) -> bool {
    let [(_, first, _), rest @ ..] = scores else { return false };
    let Some((_, second, _)) = rest.first() else { return false };
    let own_map = first.map != second.map
        && graph.shape(first.map)[1] * rest.len() == graph.shape(second.map)[1];
    matches!(code, BoxCode::Anchor | BoxCode::ExpSize) || own_map
}

/// The raw number of a landmark coordinate `stride * (t + cell + centre)`.
fn point(poly: &Poly, i: usize, head: &BoxMatch, cell: Cell, scale: Scale) -> Option<Leaf> {
    let [(Atom::Raw(leaf), k)] = poly.linear()?[..] else { return None };
    let step = scale.stride * scale.unit[i % 2];
    let offset = step * (cell.at[1 - i % 2] as f64 + head.centre);
    (is(k, step) && close(poly.offset(), offset, step)).then_some(*leaf)
}

/// An error that reads well where a group has nothing at all.
pub(super) fn nothing(output: &str) -> Error {
    Error::source(output, "is a result that no cell of a head makes; expected boxes and scores")
}
