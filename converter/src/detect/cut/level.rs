//! One level of a head as recognition finds it: which channels of which maps mean what.

use kenar::detect::BoxCode;

use super::boxes::{Form, Scale};
use super::poly::{Leaf, Poly};
use super::rows::{Cell, Table};
use super::trace::Tracer;
use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};

/// Channels of a map that hold one part of a head, anchor by anchor, component by component.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    /// The map.
    pub map: ValueId,
    /// Its channels.
    pub channels: Vec<usize>,
    /// What the decode multiplies them by before the box code begins.
    pub factor: f64,
}

impl Tensor {
    /// The channels that hold these elements of one cell.
    pub(super) fn of(leaves: &[Leaf]) -> Result<Self, String> {
        let map = leaves.first().ok_or("is empty")?.map;
        if leaves.iter().any(|l| l.map != map) {
            return Err(
                "takes one part of the head from several convolutions, expected one per level"
                    .into(),
            );
        }
        Ok(Self { map, channels: leaves.iter().map(|l| l.channel).collect(), factor: 1.0 })
    }

    /// Components per anchor.
    pub(super) fn components(&self, anchors: usize) -> usize {
        self.channels.len() / anchors.max(1)
    }
}

/// A part of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Box numbers.
    Boxes,
    /// Objectness.
    Objectness,
    /// Classes.
    Scores,
    /// Landmarks.
    Points,
}

/// What a column of a result holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Role {
    /// Number `i` of a decoded box.
    Box(usize, Form),
    /// A raw component.
    Raw(Part, usize),
    /// The sigmoid of a raw component.
    Sigmoid(Part, usize),
    /// `sigmoid(objectness) * sigmoid(score)`.
    Product(usize),
    /// A decoded landmark coordinate.
    Point(usize),
}

/// A column: its role, for the row's anchor or, where a row holds a whole cell, for anchor `anchor`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Column {
    /// Added to the row's anchor.
    pub anchor: usize,
    /// What it is.
    pub role: Role,
}

/// A level, recognised.
#[derive(Clone, Debug)]
pub(super) struct Level {
    /// Height and width of its maps.
    pub size: [usize; 2],
    /// Pixels per cell and units per pixel.
    pub scale: Scale,
    /// How boxes are coded.
    pub code: BoxCode,
    /// Reference point of a cell.
    pub centre: f64,
    /// Boxes per cell.
    pub anchors_per_cell: usize,
    /// Anchors in pixels, if the code has them and the file holds them.
    pub anchors: Vec<[f64; 2]>,
    /// Box numbers.
    pub boxes: Tensor,
    /// Objectness.
    pub objectness: Option<Tensor>,
    /// Classes.
    pub scores: Tensor,
    /// Landmarks.
    pub points: Option<Tensor>,
    /// The columns of each row of the results that speak of this level.
    pub columns: Vec<Column>,
    /// Whether the graph held the decode; else the code is a convention.
    pub decoded: bool,
    /// What had to be assumed.
    pub assumed: Option<String>,
}

/// Results with the same rows: together they are one table.
#[derive(Debug)]
pub(super) struct Group {
    /// In the file's order.
    pub tables: Vec<Table>,
}

/// A group's rows of one level.
pub(super) struct View<'a> {
    /// The group.
    pub group: &'a Group,
    /// Height and width of the level's maps.
    pub size: [usize; 2],
    /// Height and width of the image.
    pub image: [usize; 2],
    /// The rows of two cells, the first and one right below of it: one row per candidate.
    pub samples: [(Cell, Vec<Vec<Poly>>); 2],
}

impl<'a> View<'a> {
    /// Reads the sample rows.
    ///
    /// # Errors
    /// As [`Tracer::element`].
    pub(super) fn new(
        graph: &Graph,
        tracer: &mut Tracer,
        group: &'a Group,
        size: [usize; 2],
    ) -> Result<Self> {
        let mut sample = |at: [usize; 2]| -> Result<(Cell, Vec<Vec<Poly>>)> {
            let cell = Cell { level: size, at };
            let rows = group.tables[0].cells.iter().enumerate().filter(|(_, c)| **c == cell);
            let polys = rows.map(|(row, _)| {
                let parts = group.tables.iter().map(|t| t.row(tracer, row));
                Ok(parts.collect::<Result<Vec<_>>>()?.concat())
            });
            Ok((cell, polys.collect::<Result<Vec<_>>>()?))
        };
        let samples = [sample([0, 0])?, sample([size[0].min(2) - 1, size[1].min(2) - 1])?];
        let input = graph.shape(graph.input);
        Ok(Self { group, size, image: [input[2], input[3]], samples })
    }

    /// Rows per cell.
    pub(super) fn candidates(&self) -> usize {
        self.samples[0].1.len()
    }

    /// Pixels per cell.
    ///
    /// # Errors
    /// A map whose size does not divide the image's.
    pub(super) fn stride(&self, graph: &Graph) -> Result<f64> {
        let [h, w] = self.size;
        let [image_h, image_w] = self.image;
        let stride = crate::detect::stride(graph.shape(graph.input), &[1, 1, h, w]);
        stride.map(f64::from).ok_or_else(|| {
            let detail = format!(
                "reads maps of {h}x{w} for an image of {image_h}x{image_w}; expected sizes that divide it alike"
            );
            self.refuse(graph, 0, detail)
        })
    }

    /// An error at the node that makes a table.
    pub(super) fn refuse(&self, graph: &Graph, table: usize, detail: impl Into<String>) -> Error {
        let table = &self.group.tables[table];
        let name = graph.producer_node(table.value).map_or(&table.output, |n| &n.name);
        Error::graph(name, detail)
    }
}
