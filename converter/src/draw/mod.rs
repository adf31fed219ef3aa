//! Boxes with captions on images.
//!
//! Everything scales with the image: line width, caption size. Captions are set in the bitmap fonts of
//! `embedded-graphics`, enlarged by whole factors.

mod caption;
mod colour;

use crate::data::Pixels;
use caption::Font;

pub use colour::of_class;

/// What is drawn around an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Left, top, right, bottom in pixels of the image; may reach over its edges.
    pub corners: [f64; 4],
    /// Decides about the colour.
    pub class: u32,
    /// Text at the box.
    pub caption: String,
    /// Landmarks.
    pub points: Vec<[f64; 2]>,
}

/// A rectangle of pixels, ends excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    left: i64,
    top: i64,
    right: i64,
    bottom: i64,
}

impl Area {
    fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn grown(self, by: i64) -> Self {
        let Self { left, top, right, bottom } = self;
        Self { left: left - by, top: top - by, right: right + by, bottom: bottom + by }
    }
}

/// Draws marks, the first on top.
pub fn draw(image: &mut Pixels, marks: &[Mark]) {
    let side = image.width.min(image.height);
    let line = ((side + 160) / 320).clamp(1, 16) as i64;
    let areas: Vec<Area> = marks.iter().map(|mark| area(image, mark.corners)).collect();
    for (mark, &area) in marks.iter().zip(&areas).rev() {
        let colour = colour::of_class(mark.class);
        // A dark edge on both sides keeps the line visible on any ground.
        frame(image, area.grown(line / 2 + 1), line + 2, colour::dark(colour));
        frame(image, area.grown(line / 2), line, colour);
        for &[x, y] in &mark.points {
            let (x, y) = (x.round() as i64, y.round() as i64);
            let dot = Area { left: x, top: y, right: x + 1, bottom: y + 1 };
            // Landmarks of a small object stay apart.
            let reach = ((area.right - area.left) / 32).clamp(1, line);
            fill(image, dot.grown(reach), colour::dark(colour));
            fill(image, dot.grown(reach - 1), colour);
        }
    }
    let mut labels = Vec::new();
    for (mark, &area) in marks.iter().zip(&areas) {
        let font = Font::fitting(side, (area.right - area.left).max(0) as usize);
        label(image, area.grown(line / 2 + 1), mark, font, &mut labels);
    }
}

/// The pixels of a box, kept near the image so that numbers stay small.
fn area(image: &Pixels, corners: [f64; 4]) -> Area {
    let near = |value: f64, size: usize| value.round().clamp(-64.0, size as f64 + 64.0) as i64;
    let [left, top, right, bottom] = corners;
    let (left, right) = (near(left, image.width), near(right, image.width));
    let (top, bottom) = (near(top, image.height), near(bottom, image.height));
    Area { left, top, right: right.max(left + 1), bottom: bottom.max(top + 1) }
}

fn fill(image: &mut Pixels, area: Area, colour: [u8; 3]) {
    let inside = |value: i64, size: usize| value.clamp(0, size as i64) as usize;
    let (left, right) = (inside(area.left, image.width), inside(area.right, image.width));
    for y in inside(area.top, image.height)..inside(area.bottom, image.height) {
        let row = 3 * y * image.width;
        for pixel in image.data[row + 3 * left..row + 3 * right.max(left)].chunks_exact_mut(3) {
            pixel.copy_from_slice(&colour);
        }
    }
}

/// The rim of an area, inside it.
fn frame(image: &mut Pixels, area: Area, width: i64, colour: [u8; 3]) {
    let Area { left, top, right, bottom } = area;
    fill(image, Area { bottom: top + width, ..area }, colour);
    fill(image, Area { top: bottom - width, ..area }, colour);
    fill(image, Area { right: left + width, ..area }, colour);
    fill(image, Area { left: right - width, ..area }, colour);
}

/// The caption: above the box, inside it or below it, where it covers none of `labels`; always inside the image. Among
/// boxes that crowd each other the worse ones go without.
fn label(image: &mut Pixels, area: Area, mark: &Mark, font: Font, labels: &mut Vec<Area>) {
    if mark.caption.is_empty() {
        return;
    }
    let text = font.render(&mark.caption);
    let pad = font.scale() as i64;
    let (width, height) = (text.width as i64 + 4 * pad, text.height as i64 + 2 * pad);
    let left = area.left.min(image.width as i64 - width).max(0);
    let places = [area.top - height, area.top, area.bottom].map(|top| {
        let top = top.min(image.height as i64 - height).max(0);
        Area { left, top, right: left + width, bottom: top + height }
    });
    let free = |place: &&Area| !labels.iter().any(|label| label.meets(place));
    let Some(&place) = places.iter().find(free) else { return };
    labels.push(place);
    let colour = colour::of_class(mark.class);
    fill(image, place, colour);
    let ink = colour::ink(colour);
    for (x, y) in text.dots() {
        let (left, top) = (place.left + 2 * pad + x as i64, place.top + pad + y as i64);
        fill(image, Area { left, top, right: left + 1, bottom: top + 1 }, ink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(corners: [f64; 4]) -> Mark {
        Mark { corners, class: 3, caption: "person 0.93".into(), points: vec![[60.0, 50.0]] }
    }

    #[test]
    fn a_box_is_drawn_where_it_is() {
        let mut image = Pixels::filled(240, 320, 128);
        draw(&mut image, &[mark([40.0, 60.0, 200.0, 180.0])]);
        let colour = colour::of_class(3);
        let at = |x: usize, y: usize| &image.data[3 * (y * 320 + x)..][..3];
        for (x, y) in [(40, 100), (199, 100), (100, 60), (100, 179), (60, 50)] {
            assert_eq!(at(x, y), colour, "{x} {y}");
        }
        for (x, y) in [(100, 100), (45, 100), (210, 100), (100, 190)] {
            assert_eq!(at(x, y), [128; 3], "{x} {y}");
        }
        let inked = (45..60).flat_map(|y| (40..200).map(move |x| (x, y)));
        assert!(inked.filter(|&(x, y)| at(x, y) == colour::ink(colour)).count() > 50);
    }

    #[test]
    fn captions_do_not_cover_each_other() {
        let mut image = Pixels::filled(240, 320, 128);
        let mut labels = Vec::new();
        let area = Area { left: 50, top: 100, right: 150, bottom: 160 };
        for _ in 0..5 {
            label(&mut image, area, &mark([0.0; 4]), Font::fitting(240, 100), &mut labels);
        }
        let tops: Vec<i64> = labels.iter().map(|label| label.top).collect();
        assert_eq!(tops.len(), 3, "{tops:?}");
        assert!(tops[0] < 100 && tops[1] == 100 && tops[2] == 160, "{tops:?}");
    }

    #[test]
    fn anything_can_be_drawn_on_anything() {
        for (height, width) in [(1, 1), (2, 300), (300, 2), (48, 64), (2000, 3000)] {
            let mut image = Pixels::filled(height, width, 7);
            let marks = [
                mark([-1e9, -1e9, 1e9, 1e9]),
                mark([f64::NAN; 4]),
                mark([5.0, 5.0, 5.0, 5.0]),
                mark([30.0, 20.0, 10.0, 8.0]),
                Mark {
                    caption: "Ünïcode 文字 \u{1F600}\n".repeat(20),
                    ..mark([0.0, 0.0, 9.0, 9.0])
                },
                Mark { caption: String::new(), ..mark([1.0, 1.0, 9.0, 9.0]) },
            ];
            draw(&mut image, &marks);
            assert_eq!(image.data.len(), height * width * 3);
        }
    }
}
