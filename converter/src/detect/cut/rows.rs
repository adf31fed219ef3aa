//! Results as rows: which cell of which map every row of a result speaks of.

use super::maps::Maps;
use super::poly::Poly;
use super::trace::{Tracer, index};
use crate::error::{Error, Result};
use crate::graph::{Graph, Output, ValueId};

/// A cell of a level; the size of its maps names the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cell {
    /// Height and width of the level's maps.
    pub level: [usize; 2],
    /// Row and column.
    pub at: [usize; 2],
}

/// Images of 8 million pixels have half as many.
const MAX_ROWS: usize = 1 << 20;

/// A result, its axes divided into those that walk over cells and those that stay in one.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The result's name.
    pub output: String,
    /// The result.
    pub value: ValueId,
    /// The cell of every row.
    pub cells: Vec<Cell>,
    /// Numbers in a row.
    pub columns: usize,
    shape: Vec<usize>,
    row_axes: Vec<usize>,
    column_axes: Vec<usize>,
}

impl Table {
    /// Finds the axes of a result; `None` if nothing of it depends on a map.
    ///
    /// # Errors
    /// As [`Tracer::element`]; a number that depends on several cells.
    pub(super) fn new(
        graph: &Graph,
        maps: &Maps,
        tracer: &mut Tracer,
        output: &Output,
    ) -> Result<Option<Self>> {
        let shape = graph.shape(output.value).to_vec();
        if let &[1, columns, h, w] = shape.as_slice()
            && maps.is_image(output.value)
        {
            let at = |i: usize| Cell { level: [h, w], at: [i / w, i % w] };
            let (row_axes, column_axes) = (vec![2, 3], vec![0, 1]);
            let cells = (0..h * w).map(at).collect();
            let (output, value) = (output.name.clone(), output.value);
            return Ok(Some(Self { output, value, cells, columns, shape, row_axes, column_axes }));
        }
        Self::traced(graph, tracer, output, shape)
    }

    /// Finds the axes by following numbers along each of them.
    fn traced(
        graph: &Graph,
        tracer: &mut Tracer,
        output: &Output,
        shape: Vec<usize>,
    ) -> Result<Option<Self>> {
        let mut cell = |at: &[usize]| -> Result<Option<Cell>> {
            let poly = tracer.element(output.value, index(&shape, at))?;
            cell_of(graph, &poly, &output.name)
        };
        let mut at = vec![0; shape.len()];
        let Some(origin) = cell(&at)? else { return Ok(None) };
        let (mut row_axes, mut column_axes) = (Vec::new(), Vec::new());
        for axis in 0..shape.len() {
            let mut moves = false;
            for i in 1..shape[axis] {
                at[axis] = i;
                if cell(&at)? != Some(origin) {
                    moves = true;
                    break;
                }
            }
            at[axis] = 0;
            if moves { row_axes.push(axis) } else { column_axes.push(axis) }
        }
        let count = |axes: &[usize]| axes.iter().map(|&a| shape[a]).product::<usize>();
        let (rows, columns) = (count(&row_axes), count(&column_axes));
        if rows > MAX_ROWS {
            let detail = format!("lists {rows} boxes, expected at most {MAX_ROWS}");
            return Err(Error::source(&output.name, detail));
        }
        let mut table = Self {
            output: output.name.clone(),
            value: output.value,
            cells: Vec::with_capacity(rows),
            columns,
            shape: shape.clone(),
            row_axes,
            column_axes,
        };
        for row in 0..rows {
            let poly = tracer.element(output.value, table.flat(row, 0))?;
            let Some(cell) = cell_of(graph, &poly, &output.name)? else { return Ok(None) };
            table.cells.push(cell);
        }
        Ok(Some(table))
    }

    /// The row-major position of a number.
    pub(super) fn flat(&self, mut row: usize, mut column: usize) -> usize {
        let mut at = vec![0; self.shape.len()];
        for &axis in self.row_axes.iter().rev() {
            at[axis] = row % self.shape[axis];
            row /= self.shape[axis];
        }
        for &axis in self.column_axes.iter().rev() {
            at[axis] = column % self.shape[axis];
            column /= self.shape[axis];
        }
        index(&self.shape, &at)
    }

    /// The result's shape.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Every number of a row.
    ///
    /// # Errors
    /// As [`Tracer::element`].
    pub(super) fn row(&self, tracer: &mut Tracer, row: usize) -> Result<Vec<Poly>> {
        (0..self.columns)
            .map(|column| {
                let poly = tracer.element(self.value, self.flat(row, column))?;
                Ok(poly.with_expectations())
            })
            .collect()
    }
}

/// The one cell that a number depends on; `None` for a constant.
fn cell_of(graph: &Graph, poly: &Poly, output: &str) -> Result<Option<Cell>> {
    let mut cell = None;
    for leaf in poly.leaves() {
        let shape = graph.shape(leaf.map);
        let here = Cell { level: [shape[2], shape[3]], at: [leaf.row, leaf.column] };
        if *cell.get_or_insert(here) != here {
            return Err(Error::source(
                output,
                "has numbers that depend on several cells of the head; expected one cell a box",
            ));
        }
    }
    Ok(cell)
}
