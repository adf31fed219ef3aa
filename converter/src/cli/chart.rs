//! The colours of diagrams.

use plotters::style::RGBColor;

/// Text and axes.
pub(super) const INK: RGBColor = RGBColor(40, 40, 40);
/// Lines behind the data.
pub(super) const GRID: RGBColor = RGBColor(225, 225, 225);
/// Told apart by people with any colour vision (Okabe and Ito), dark enough on white.
pub(super) const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(190, 150, 0),
    RGBColor(110, 110, 110),
];
