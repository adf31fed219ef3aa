//! The layers of a run under the machine's roofs, as an SVG file.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::layers::Layer;
use super::machine::Machine;
use crate::cli::chart::{COLOURS, GRID, INK};
use crate::error::{Error, Result};

const SIZE: (u32, u32) = (1100, 700);
/// Right of the diagram, for the legend.
const LEGEND: u32 = 250;
/// Layers that are named: those with most time above their bound.
const NAMED: usize = 8;

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// Draws the layers that multiply; the others are told of in the legend.
///
/// # Errors
/// [`Error::File`] when the file cannot be written.
pub fn write(path: &Path, title: &str, machine: &Machine, layers: &[Layer]) -> Result<()> {
    let drawn = diagram(path, title, machine, layers);
    drawn.map_err(|e| Error::source("", format!("cannot be drawn: {e}")).in_file(path))
}

fn diagram(path: &Path, title: &str, machine: &Machine, layers: &[Layer]) -> Drawn {
    let shown: Vec<&Layer> = layers.iter().filter(|l| l.macs > 0).collect();
    let mut kernels: Vec<&str> = Vec::new();
    for layer in &shown {
        if !kernels.contains(&layer.kernel) {
            kernels.push(layer.kernel);
        }
    }
    let colour = |l: &Layer| {
        let place = kernels.iter().position(|k| *k == l.kernel).unwrap_or(0);
        COLOURS[place % COLOURS.len()]
    };
    let [left, right] = range(shown.iter().map(|l| l.intensity()), 1.0, 1000.0);
    let [low, _] = range(shown.iter().map(|l| l.gmacs()), machine.peak_gmacs / 50.0, 1.0);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (diagram, margin) = root.split_horizontally(SIZE.0 - LEGEND);
    let high = 1.6 * machine.peak_gmacs;
    let mut chart = ChartBuilder::on(&diagram)
        .caption(title, ("sans-serif", 20, &INK))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d((left..right).log_scale(), (low..high).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("multiply-accumulates per byte moved")
        .y_desc("GMAC/s")
        .x_label_formatter(&|v| round(*v))
        .y_label_formatter(&|v| round(*v))
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(("sans-serif", 15, &INK))
        .axis_desc_style(("sans-serif", 17, &INK))
        .draw()?;
    let text = TextStyle::from(("sans-serif", 14)).color(&INK);
    for (i, level) in machine.levels.iter().enumerate() {
        let rate = level.gbytes_per_s;
        // From the left or lower edge to the horizontal roof.
        let from = left.max(low / rate);
        let to = right.min(machine.peak_gmacs / rate);
        if from < to {
            let grey = INK.mix(0.35 + 0.6 * i as f64 / machine.levels.len() as f64);
            chart.draw_series(LineSeries::new(
                [(from, from * rate), (to, to * rate)],
                grey.stroke_width(2),
            ))?;
            let at = (from * 1.08, from * 1.08 * rate);
            let name = format!("{} {:.0} GB/s", level.name, rate);
            chart.draw_series([Text::new(
                name,
                at,
                text.pos(Pos::new(HPos::Left, VPos::Bottom)),
            )])?;
        }
    }
    let corner =
        machine.levels.iter().map(|l| machine.peak_gmacs / l.gbytes_per_s).fold(f64::MAX, f64::min);
    let roof = [(corner.clamp(left, right), machine.peak_gmacs), (right, machine.peak_gmacs)];
    chart.draw_series(LineSeries::new(roof, INK.stroke_width(2)))?;
    let name = format!("peak {:.0} GMAC/s", machine.peak_gmacs);
    let at = (right / 1.05, machine.peak_gmacs * 1.03);
    chart.draw_series([Text::new(name, at, text.pos(Pos::new(HPos::Right, VPos::Bottom)))])?;

    let total: f64 = layers.iter().map(|l| l.us).sum();
    // An area that grows with the layer's share.
    let radius = |l: &Layer| (3.0 + 60.0 * (l.us / total.max(1e-9)).sqrt()).min(30.0) as i32;
    let mut sorted = shown;
    sorted.sort_by(|a, b| b.us.total_cmp(&a.us));
    for &layer in &sorted {
        let at = (layer.intensity(), layer.gmacs().max(low));
        let c = colour(layer);
        chart.draw_series([Circle::new(at, radius(layer), c.mix(0.45).filled())])?;
        chart.draw_series([Circle::new(at, radius(layer), c.stroke_width(1))])?;
    }
    let centred = text.pos(Pos::new(HPos::Center, VPos::Center));
    sorted.sort_by(|a, b| (b.us - b.floor_us).total_cmp(&(a.us - a.floor_us)));
    let mut named: Vec<(f64, f64)> = Vec::new();
    for layer in sorted {
        let at = (layer.intensity(), layer.gmacs().max(low));
        // One name beside or over another would be read by nobody.
        let apart = |a: f64, b: f64, factor: f64| a > factor * b || b > factor * a;
        let free = named.iter().all(|n| apart(n.0, at.0, 6.0) || apart(n.1, at.1, 1.1));
        if free && named.len() < NAMED {
            chart.draw_series([Text::new(layer.name.clone(), at, centred.clone())])?;
            named.push(at);
        }
    }
    legend(&margin, layers, total, &kernels)?;
    root.present()?;
    Ok(())
}

/// The range of some values with room around it, at least `least..most` of them.
fn range(values: impl Iterator<Item = f64>, least: f64, most: f64) -> [f64; 2] {
    let (mut low, mut high) = (least, most);
    for value in values.filter(|v| v.is_finite() && *v > 0.0) {
        (low, high) = (low.min(value / 1.5), high.max(value * 1.5));
    }
    [low, high]
}

fn round(value: f64) -> String {
    if value >= 1.0 { format!("{value:.0}") } else { format!("{value}") }
}

fn legend(
    area: &DrawingArea<SVGBackend, plotters::coord::Shift>,
    layers: &[Layer],
    total: f64,
    kernels: &[&str],
) -> Drawn {
    let style = TextStyle::from(("sans-serif", 15)).color(&INK);
    let left = style.pos(Pos::new(HPos::Left, VPos::Center));
    let right = style.pos(Pos::new(HPos::Right, VPos::Center));
    let end = LEGEND as i32 - 16;
    let share = |of: &dyn Fn(&Layer) -> bool| {
        let us: f64 = layers.iter().filter(|l| of(l)).map(|l| l.us).sum();
        format!("{:.1} %", 100.0 * us / total.max(1e-9))
    };
    area.draw(&Text::new("time", (end, 56), right.clone()))?;
    let mut y = 84;
    for (i, kernel) in kernels.iter().enumerate() {
        let c = COLOURS[i % COLOURS.len()];
        area.draw(&Circle::new((16, y), 8, c.mix(0.45).filled()))?;
        area.draw(&Circle::new((16, y), 8, c.stroke_width(1)))?;
        area.draw(&Text::new((*kernel).to_owned(), (32, y), left.clone()))?;
        area.draw(&Text::new(
            share(&|l| l.macs > 0 && l.kernel == *kernel),
            (end, y),
            right.clone(),
        ))?;
        y += 26;
    }
    area.draw(&Text::new("no multiplications", (32, y), left.clone()))?;
    area.draw(&Text::new(share(&|l| l.macs == 0), (end, y), right))?;
    area.draw(&Text::new("area: share of the time", (8, y + 40), left))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::layers::tests::{layer, machine};
    use super::*;

    #[test]
    fn roofs_layers_and_legend_are_in_the_file() {
        let layers = [
            layer("conv", 1_000_000, [100_000, 0], 20.0),
            layer("conv", 2_000_000, [100_000, 100_000], 44.0),
            layer("add", 0, [100_000, 0], 16.0),
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("roofline.svg");
        write(&path, "net.kenar", &machine(), &layers).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        for text in [
            "net.kenar",
            "peak 100 GMAC/s",
            "L2 50 GB/s",
            "memory 5 GB/s",
            "conv 2000000",
            "pointwise",
        ] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
        // Two layers and a mark of the legend, each filled and outlined; the sum is in the legend alone.
        assert_eq!(svg.matches("<circle").count(), 6);
        assert!(svg.contains("80.0 %") && svg.contains("20.0 %"));
        assert!(write(&dir.path().join("no/such.svg"), "", &machine(), &layers).is_err());
    }
}
