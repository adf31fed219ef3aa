//! The picture with the boxes: five streets and a legend.

use std::path::Path;

use super::detector::Streets;
use crate::average_precision::Rect;
use crate::data::{Pixels, read_image};
use crate::draw::{self, Mark};
use crate::error::Result;

/// The pictures, in the order of their annotations.
const PICTURES: [&str; 5] = ["city", "evening", "country", "night", "fog"];
const COLUMNS: usize = 2;
/// Pixels between pictures.
const GAP: usize = 8;

/// All pictures with their boxes.
pub fn draw(folder: &Path, streets: &Streets) -> Result<Pixels> {
    let mut tiles = Vec::new();
    for (name, found) in PICTURES.iter().zip(&streets.found) {
        let mut street = read_image(&folder.join(format!("{name}.jpg")))?;
        let marks: Vec<Mark> = found
            .iter()
            .map(|f| Mark {
                corners: corners(&f.rect),
                class: f.class as u32,
                caption: format!("{} {:.2}", streets.truth.classes[f.class], f.score),
                points: Vec::new(),
            })
            .collect();
        draw::draw(&mut street, &marks);
        tiles.push(street);
    }
    let (height, width) = (tiles[0].height, tiles[0].width);
    tiles.push(legend(height, width, streets));
    let rows = tiles.len().div_ceil(COLUMNS);
    let all = |n: usize, size: usize| n * size + (n + 1) * GAP;
    let mut sheet = Pixels::filled(all(rows, height), all(COLUMNS, width), 24);
    for (i, tile) in tiles.iter().enumerate() {
        let (row, column) = (i / COLUMNS, i % COLUMNS);
        sheet.paste(tile, all(row, height), all(column, width));
    }
    Ok(sheet)
}

fn corners(rect: &Rect) -> [f64; 4] {
    [rect.x, rect.y, rect.x + rect.w, rect.y + rect.h]
}

/// The classes in their colours, and how many signs of each there are.
fn legend(height: usize, width: usize, streets: &Streets) -> Pixels {
    let mut tile = Pixels::filled(height, width, 24);
    let classes = &streets.truth.classes;
    let step = height as f64 / (classes.len() as f64 + 1.0);
    let of_class = |class: usize| {
        let there = streets.truth.images.iter().flatten().filter(|t| t.class == class).count();
        let boxes = streets.found.iter().flatten().filter(|f| f.class == class).count();
        (there, boxes)
    };
    let marks: Vec<Mark> = classes
        .iter()
        .enumerate()
        .map(|(class, name)| {
            let ((there, boxes), top) = (of_class(class), (class as f64 + 0.9) * step);
            Mark {
                corners: [40.0, top, width as f64 - 40.0, top + 3.0],
                class: class as u32,
                caption: format!("{name}: {boxes} boxes, {there} signs"),
                points: Vec::new(),
            }
        })
        .collect();
    draw::draw(&mut tile, &marks);
    tile
}
