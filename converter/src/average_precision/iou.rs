//! Rectangles and their overlap.

/// A rectangle: corner and size, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

impl Rect {
    /// From left, top, right, bottom.
    #[must_use]
    pub fn from_corners([x1, y1, x2, y2]: [f64; 4]) -> Self {
        Self { x: x1, y: y1, w: x2 - x1, h: y2 - y1 }
    }

    /// Width times height.
    #[must_use]
    pub fn area(&self) -> f64 {
        self.w * self.h
    }

    /// Area that both share.
    fn shared(&self, other: &Self) -> f64 {
        let w = (self.w + self.x).min(other.w + other.x) - self.x.max(other.x);
        let h = (self.h + self.y).min(other.h + other.y) - self.y.max(other.y);
        if w <= 0.0 || h <= 0.0 { 0.0 } else { w * h }
    }

    /// Share of this rectangle that lies inside `region`.
    pub(super) fn inside(&self, region: &Self) -> f64 {
        ratio(self.shared(region), self.area())
    }
}

/// Intersection over union.
#[must_use]
pub fn iou(a: &Rect, b: &Rect) -> f64 {
    let shared = a.shared(b);
    ratio(shared, a.area() + b.area() - shared)
}

fn ratio(part: f64, whole: f64) -> f64 {
    if part > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_of_known_rectangles() {
        let a = Rect::from_corners([0.0, 0.0, 10.0, 10.0]);
        let b = Rect::from_corners([5.0, 5.0, 15.0, 15.0]);
        assert_eq!(iou(&a, &a), 1.0);
        assert_eq!(iou(&a, &b), 25.0 / 175.0);
        assert_eq!(a.inside(&b), 0.25);
        assert_eq!(iou(&a, &Rect::from_corners([10.0, 0.0, 20.0, 10.0])), 0.0);
        assert_eq!(iou(&a, &Rect { w: 0.0, ..a }), 0.0);
    }
}
