//! Windows to matrix columns, for convolution as a matrix product.

use std::ops::Range;

/// The window arithmetic of one spatial axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct AxisWindow {
    /// Input size.
    pub size: usize,
    /// Output size.
    pub out: usize,
    /// Window size.
    pub window: usize,
    /// Step between windows.
    pub stride: usize,
    /// Step inside a window.
    pub dilation: usize,
    /// Padding in front.
    pub pad: usize,
}

impl AxisWindow {
    /// Output positions whose window element `tap` lies inside the input.
    pub fn inside(&self, tap: usize) -> Range<usize> {
        let offset = tap * self.dilation;
        let first = self.pad.saturating_sub(offset).div_ceil(self.stride);
        let last = match (self.size + self.pad).checked_sub(offset) {
            Some(room) if room > 0 => ((room - 1) / self.stride + 1).min(self.out),
            _ => 0,
        };
        first.min(last)..last
    }

    /// Input position of window element `tap` at an output position inside.
    pub fn input(&self, out: usize, tap: usize) -> usize {
        out * self.stride + tap * self.dilation - self.pad
    }
}

/// Writes the columns of output rows `rows`: `columns[channel, tap_y, tap_x][row, x]`, zeros where the window leaves
/// the input. `input` holds whole channels `[C, H, W]`.
pub(super) fn im2col(
    input: &[f32],
    y: &AxisWindow,
    x: &AxisWindow,
    rows: Range<usize>,
    columns: &mut [f32],
) {
    let line = rows.len() * x.out;
    let taps = y.window * x.window;
    for (channel, planes) in
        input.chunks_exact(y.size * x.size).zip(columns.chunks_exact_mut(taps * line))
    {
        for (tap, plane) in planes.chunks_exact_mut(line).enumerate() {
            let (tap_y, tap_x) = (tap / x.window, tap % x.window);
            let (inside_y, inside_x) = (y.inside(tap_y), x.inside(tap_x));
            for (out_y, row) in rows.clone().zip(plane.chunks_exact_mut(x.out)) {
                if !inside_y.contains(&out_y) || inside_x.is_empty() {
                    row.fill(0.0);
                    continue;
                }
                let source = &channel[y.input(out_y, tap_y) * x.size..][..x.size];
                let source = &source[x.input(inside_x.start, tap_x)..];
                row[..inside_x.start].fill(0.0);
                row[inside_x.end..].fill(0.0);
                let middle = &mut row[inside_x.clone()];
                if x.stride == 1 {
                    middle.copy_from_slice(&source[..middle.len()]);
                } else {
                    for (to, from) in middle.iter_mut().zip(source.iter().step_by(x.stride)) {
                        *to = *from;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_matches_the_definition() {
        for size in 1..6usize {
            for (window, stride, dilation, pad) in
                [(1, 1, 1, 0), (3, 1, 1, 1), (3, 2, 1, 1), (3, 2, 2, 2), (2, 3, 1, 4), (5, 1, 3, 6)]
            {
                let span = dilation * (window - 1) + 1;
                let Some(room) = (size + 2 * pad).checked_sub(span) else { continue };
                let axis =
                    AxisWindow { size, out: room / stride + 1, window, stride, dilation, pad };
                for tap in 0..window {
                    let inside: Vec<usize> = (0..axis.out)
                        .filter(|o| (pad..size + pad).contains(&(o * stride + tap * dilation)))
                        .collect();
                    assert_eq!(axis.inside(tap).collect::<Vec<_>>(), inside, "{axis:?} tap {tap}");
                }
            }
        }
    }
}
