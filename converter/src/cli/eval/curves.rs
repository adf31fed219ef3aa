//! Precision over recall as SVG files.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::average_precision::{Area, ClassPrecision, Precision, RECALLS, recall, threshold};
use crate::cli::chart::{COLOURS, GRID, INK};
use crate::error::{Error, Result};

const SIZE: (u32, u32) = (960, 600);
/// Right of the diagram, for the legend.
const LEGEND: u32 = 290;
/// IoU thresholds drawn for a class: 0.5, 0.75, 0.9.
const DRAWN: [usize; 3] = [0, 5, 8];

/// One line of a diagram and its legend.
struct Line {
    name: String,
    average: Option<f64>,
    points: Vec<(f64, f64)>,
    colour: RGBColor,
    dashed: bool,
    width: u32,
}

/// Draws `all.svg` and a file per class with objects; returns how many.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be made, [`Error::File`] when a file cannot be written.
pub fn write(folder: &Path, [float, int8]: &[Precision; 2]) -> Result<usize> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let lines = overview(float, int8);
    draw(&folder.join("all.svg"), "Precision over recall at IoU 0.5", &lines)?;
    let mut written = 1;
    for (f, q) in float.classes.iter().zip(&int8.classes).filter(|(f, _)| f.objects > 0) {
        let mut lines = Vec::new();
        for (&t, colour) in DRAWN.iter().zip(COLOURS) {
            for (kind, class, dashed) in [("float", f, false), ("int8", q, true)] {
                // Two digits, without a zero behind.
                let iou = (threshold(t) * 100.0).round() / 100.0;
                let name = format!("IoU {iou} {kind}");
                lines.extend(line(name, class, t, colour, dashed));
            }
        }
        let title = format!("{}, {} objects: precision over recall", f.name, f.objects);
        draw(&folder.join(file_name(&f.name)), &title, &lines)?;
        written += 1;
    }
    Ok(written)
}

/// Every class at IoU 0.5, as long as they can be told apart, and their mean.
fn overview(float: &Precision, int8: &Precision) -> Vec<Line> {
    let mut lines = Vec::new();
    let shown = float.classes.iter().zip(&int8.classes).filter(|(f, _)| f.objects > 0);
    let shown: Vec<_> = shown.collect();
    if (2..=COLOURS.len()).contains(&shown.len()) {
        for ((f, q), colour) in shown.iter().zip(COLOURS) {
            lines.extend(line(format!("{} float", f.name), f, 0, colour, false));
            lines.extend(line(format!("{} int8", f.name), q, 0, colour, true));
        }
    }
    for (kind, precision, dashed) in [("float", float, false), ("int8", int8, true)] {
        let curves: Vec<_> =
            precision.classes.iter().filter_map(|c| c.curves(Area::All).first()).collect();
        let mean = |r: usize| {
            curves.iter().map(|c| c.precision[r]).sum::<f64>() / curves.len().max(1) as f64
        };
        lines.push(Line {
            name: format!("mean {kind}"),
            average: precision.map50(),
            points: (0..RECALLS).map(|r| (recall(r), mean(r))).collect(),
            colour: BLACK,
            dashed,
            width: 3,
        });
    }
    lines
}

fn line(
    name: String,
    class: &ClassPrecision,
    threshold: usize,
    colour: RGBColor,
    dashed: bool,
) -> Option<Line> {
    let curve = class.curves(Area::All).get(threshold)?;
    let points = curve.precision.iter().enumerate().map(|(r, p)| (recall(r), *p)).collect();
    Some(Line { name, average: Some(curve.average()), points, colour, dashed, width: 2 })
}

/// A class name as a file name.
fn file_name(class: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "-_ ".contains(c) { c } else { '_' };
    format!("class {}.svg", class.chars().map(safe).collect::<String>())
}

fn draw(path: &Path, title: &str, lines: &[Line]) -> Result<()> {
    let drawn = diagram(path, title, lines);
    drawn.map_err(|e| Error::source("", format!("cannot be drawn: {e}")).in_file(path))
}

fn diagram(path: &Path, title: &str, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(SIZE.0 - LEGEND);
    let mut chart = ChartBuilder::on(&left)
        .caption(title, ("sans-serif", 20, &INK))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..1.0f64, 0.0..1.02f64)?;
    chart
        .configure_mesh()
        .x_desc("recall")
        .y_desc("precision")
        .x_labels(11)
        .y_labels(11)
        .x_label_formatter(&|v| format!("{v:.1}"))
        .y_label_formatter(&|v| format!("{v:.1}"))
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(("sans-serif", 15, &INK))
        .axis_desc_style(("sans-serif", 17, &INK))
        .draw()?;
    for line in lines {
        let style = line.colour.stroke_width(line.width);
        let points = line.points.iter().copied();
        if line.dashed {
            chart.draw_series(DashedLineSeries::new(points, 7, 5, style))?;
        } else {
            chart.draw_series(LineSeries::new(points, style))?;
        }
    }
    legend(&right, lines)?;
    root.present()?;
    Ok(())
}

fn legend(
    area: &DrawingArea<SVGBackend, plotters::coord::Shift>,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error>> {
    let style = TextStyle::from(("sans-serif", 15)).color(&INK);
    let left = style.pos(Pos::new(HPos::Left, VPos::Center));
    let right = style.pos(Pos::new(HPos::Right, VPos::Center));
    let end = LEGEND as i32 - 24;
    area.draw(&Text::new("AP", (end, 56), right.clone()))?;
    for (line, y) in lines.iter().zip((84..).step_by(26)) {
        let stroke = line.colour.stroke_width(line.width);
        let ends = [(8, y), (46, y)];
        if line.dashed {
            for x in (8..46).step_by(12) {
                area.draw(&PathElement::new([(x, y), ((x + 7).min(46), y)], stroke))?;
            }
        } else {
            area.draw(&PathElement::new(ends, stroke))?;
        }
        area.draw(&Text::new(line.name.clone(), (56, y), left.clone()))?;
        let average = line.average.map_or_else(|| "-".to_owned(), |a| format!("{a:.3}"));
        area.draw(&Text::new(average, (end, y), right.clone()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::average_precision::{Found, Kind, Rect, Scene, Truth, measure};

    #[test]
    fn every_class_with_objects_has_a_file_with_axes_and_both_networks() {
        let rect = |x: f64| Rect { x, y: 0.0, w: 50.0, h: 50.0 };
        let truth = |class, x| Truth { class, rect: rect(x), area: 2500.0, kind: Kind::Object };
        let found = |class, score, x| Found { class, score, rect: rect(x) };
        let scene = Scene {
            truths: vec![truth(0, 0.0), truth(0, 200.0), truth(1, 400.0)],
            found: vec![found(0, 0.9, 3.0), found(1, 0.8, 400.0), found(0, 0.3, 700.0)],
        };
        let classes = ["red/cell", "b", "absent"].map(str::to_owned);
        let precision = measure(&classes, &[scene]);
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("curves");
        assert_eq!(write(&folder, &[precision.clone(), precision]).unwrap(), 3);
        let all = std::fs::read_to_string(folder.join("all.svg")).unwrap();
        for text in ["recall", "precision", "red/cell float", "red/cell int8", "mean int8"] {
            assert!(all.contains(text), "{text}");
        }
        assert!(
            folder.join("class red_cell.svg").is_file() && folder.join("class b.svg").is_file()
        );
        assert!(!folder.join("class absent.svg").exists());
    }
}
