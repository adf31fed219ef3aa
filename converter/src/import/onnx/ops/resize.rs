//! Resize, where it picks the same source pixels as the graph's nearest-neighbour operator.

use super::super::context::Context;
use super::super::node::Node;
use super::super::shapes;
use crate::error::Result;
use crate::graph::{Op, Resize};

/// The largest size of a resized axis.
const MAX_SIZE: usize = 1 << 16;

/// How ONNX maps one axis: its rule, sizes and scale.
struct Axis<'a> {
    coordinates: &'a str,
    rounding: &'a str,
    from: usize,
    to: usize,
    scale: f64,
    /// Whether the size was given and the scale follows from it.
    from_size: bool,
}

impl Axis<'_> {
    /// The source pixel of an output pixel; `None` for a coordinate rule that is not known.
    fn source(&self, out: usize) -> Option<usize> {
        let x = out as f64;
        let (from, to) = (self.from as f64, self.to as f64);
        let at = match self.coordinates {
            // Exact where the scale is the ratio of the sizes.
            "asymmetric" if self.from_size => x * from / to,
            "asymmetric" => x / self.scale,
            "half_pixel" => (x + 0.5) / self.scale - 0.5,
            "pytorch_half_pixel" if self.to == 1 => 0.0,
            "pytorch_half_pixel" => (x + 0.5) / self.scale - 0.5,
            "half_pixel_symmetric" => {
                let adjustment = to / (self.scale * from);
                from / 2.0 * (1.0 - adjustment) + (x + 0.5) / self.scale - 0.5
            }
            "align_corners" if self.to == 1 => 0.0,
            "align_corners" => x * (from - 1.0) / (to - 1.0),
            _ => return None,
        };
        let rounded = match self.rounding {
            "floor" => at.floor(),
            "ceil" => at.ceil(),
            "round_prefer_ceil" => (at + 0.5).floor(),
            "round_prefer_floor" => (at - 0.5).ceil(),
            _ => return None,
        };
        Some(rounded.clamp(0.0, from - 1.0) as usize)
    }

    /// Whether every output pixel has the source `floor(out * from / to)`.
    fn is_plain(&self) -> bool {
        (0..self.to).all(|out| self.source(out) == Some(out * self.from / self.to))
    }
}

/// The four scales or sizes of a Resize, filled up where the file names some axes only.
fn all_axes<T: Copy>(
    node: &Node,
    list: &[T],
    shape: &[usize; 4],
    fill: impl Fn(usize) -> T,
) -> Result<[T; 4]> {
    let mut all = shape.map(fill);
    let axes = match node.ints("axes")? {
        Some(axes) if !axes.is_empty() => shapes::axes(axes, 4).map_err(|e| node.error(e))?,
        _ => vec![0, 1, 2, 3],
    };
    if axes.len() != list.len() {
        return Err(node.error(format!(
            "has {} scales or sizes for {} axes",
            list.len(),
            axes.len()
        )));
    }
    for (&axis, &v) in axes.iter().zip(list) {
        all[axis] = v;
    }
    Ok(all)
}

/// Resize of an image.
pub(super) fn resize(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let shape = context.image(node, x)?;
    let scales = context.maybe_constant(node, 2, "scale list")?.filter(|c| c.len() > 0);
    let sizes = context.maybe_ints(node, 3, "size list")?.filter(|l| !l.is_empty());
    let (to, scales, from_size) = match (scales, sizes) {
        (_, Some(list)) => {
            let list = all_axes(node, &list, &shape, |d| d as i64)?;
            let mut to = list.map(|d| usize::try_from(d).unwrap_or(0));
            if context.file_batch == Some(to[0]) {
                to[0] = 1;
            }
            let mut scale = [1.0; 4];
            (0..4).for_each(|i| scale[i] = to[i] as f64 / shape[i] as f64);
            (to, scale, true)
        }
        (Some(c), None) => {
            let list: Vec<f64> = match c.floats() {
                Some(list) => list.iter().map(|&v| f64::from(v)).collect(),
                None => return Err(node.error("has scales that are no floats")),
            };
            let list = all_axes(node, &list, &shape, |_| 1.0)?;
            let mut to = [0; 4];
            // Whatever is no number or out of range becomes a size that is refused below.
            (0..4).for_each(|i| to[i] = (shape[i] as f64 * list[i]).floor() as usize);
            (to, list, false)
        }
        (None, None) => return Err(node.error("has neither scales nor sizes")),
    };
    if to[..2] != shape[..2] || to.iter().any(|&d| d == 0 || d > MAX_SIZE) {
        return Err(node.error(format!(
            "resizes {shape:?} to {to:?}; expected another height and width only"
        )));
    }
    if node.string("keep_aspect_ratio_policy", "stretch")? != "stretch" {
        return Err(node.error("keeps the aspect ratio; expected both sizes as they are given"));
    }
    if to == shape && !from_size && scales.iter().any(|&s| s != 1.0) {
        return Err(node.error("has scales near 1 that change nothing; expected 1"));
    }
    if to == shape {
        return context.finish(node, Op::Identity, &[x]);
    }
    let mode = node.string("mode", "nearest")?;
    if mode != "nearest" {
        return Err(node.error(format!(
            "has the mode '{mode}', expected 'nearest' (use nn.Upsample(mode='nearest'))"
        )));
    }
    context.spend(node, to[2] + to[3])?;
    let coordinates = node.string("coordinate_transformation_mode", "half_pixel")?;
    let rounding = node.string("nearest_mode", "round_prefer_floor")?;
    for i in [2, 3] {
        let axis =
            Axis { coordinates, rounding, from: shape[i], to: to[i], scale: scales[i], from_size };
        if !axis.is_plain() {
            return Err(node.error(format!(
                "resizes {} to {} pixels by '{coordinates}' coordinates and '{rounding}' rounding; expected what \
                 'asymmetric' and 'floor' give, the source pixel floor(out * in_size / out_size)",
                shape[i], to[i]
            )));
        }
    }
    context.finish(node, Op::Resize(Resize { size: [to[2], to[3]] }), &[x])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_plain(
        coordinates: &str,
        rounding: &str,
        from: usize,
        to: usize,
        scale: Option<f64>,
    ) -> bool {
        let from_size = scale.is_none();
        let scale = scale.unwrap_or(to as f64 / from as f64);
        Axis { coordinates, rounding, from, to, scale, from_size }.is_plain()
    }

    #[test]
    fn doubling_is_the_same_in_most_modes() {
        assert!(is_plain("asymmetric", "floor", 20, 40, Some(2.0)));
        assert!(is_plain("half_pixel", "round_prefer_floor", 20, 40, None));
        assert!(is_plain("pytorch_half_pixel", "round_prefer_ceil", 20, 40, None));
        assert!(is_plain("half_pixel_symmetric", "round_prefer_floor", 20, 40, None));
        assert!(!is_plain("asymmetric", "ceil", 20, 40, Some(2.0)));
        assert!(!is_plain("align_corners", "floor", 20, 40, None));
        assert!(!is_plain("tf_crop_and_resize", "floor", 20, 40, None));
    }

    #[test]
    fn uneven_sizes_are_compared_pixel_by_pixel() {
        for (from, to) in [(3, 7), (6, 14), (19, 40), (7, 3)] {
            assert!(is_plain("asymmetric", "floor", from, to, None), "{from} to {to}");
        }
        // 9 * 1.3 is cut to 11, but the scale stays 1.3.
        assert!(!is_plain("asymmetric", "floor", 9, 11, Some(1.3)));
        assert!(!is_plain("half_pixel", "round_prefer_floor", 3, 7, None));
    }
}
