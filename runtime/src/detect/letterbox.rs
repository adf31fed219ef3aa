//! An image inside a network's input, and the way back for boxes.

use crate::format::Placement;

/// How an image of any size fits a network's input with its aspect kept. Sizes are width, height.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letterbox {
    /// Size of the image.
    pub image: [u32; 2],
    /// Size it is scaled to.
    pub scaled: [u32; 2],
    /// Column and row of the input where its first pixel goes.
    pub offset: [u32; 2],
}

impl Letterbox {
    /// The largest size with the image's aspect that fits the input, rounded to pixels, and its place.
    #[must_use]
    pub fn new(image: [u32; 2], input: [u32; 2], placement: Placement) -> Self {
        let [w, h] = image.map(|side| u64::from(side.max(1)));
        let [in_w, in_h] = input.map(u64::from);
        // side * to / from, rounded half up.
        let scale = |side: u64, to: u64, from: u64| ((2 * side * to + from) / (2 * from)).max(1);
        let scaled = if in_w * h <= in_h * w {
            [in_w, scale(h, in_w, w).min(in_h)]
        } else {
            [scale(w, in_h, h).min(in_w), in_h]
        };
        let scaled = scaled.map(|side| side as u32);
        let offset = match placement {
            Placement::TopLeft => [0, 0],
            Placement::Centred => [
                (input[0].max(scaled[0]) - scaled[0]) / 2,
                (input[1].max(scaled[1]) - scaled[1]) / 2,
            ],
        };
        Self { image, scaled, offset }
    }

    /// A point of the input as a point of the image.
    #[must_use]
    pub fn point_to_image(&self, point: [f32; 2]) -> [f32; 2] {
        let axis = |at: usize| {
            (point[at] - self.offset[at] as f32) * (self.image[at] as f32 / self.scaled[at] as f32)
        };
        [axis(0), axis(1)]
    }

    /// Left, top, right, bottom in the input as those in the image; nothing is clipped.
    #[must_use]
    pub fn to_image(&self, [left, top, right, bottom]: [f32; 4]) -> [f32; 4] {
        let [left, top] = self.point_to_image([left, top]);
        let [right, bottom] = self.point_to_image([right, bottom]);
        [left, top, right, bottom]
    }

    /// Left, top, right, bottom in the image as those in the input.
    #[must_use]
    pub fn to_input(&self, corners: [f32; 4]) -> [f32; 4] {
        let axis = |value: f32, at: usize| {
            value * (self.scaled[at] as f32 / self.image[at] as f32) + self.offset[at] as f32
        };
        let [left, top, right, bottom] = corners;
        [axis(left, 0), axis(top, 1), axis(right, 0), axis(bottom, 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photo_is_centred_or_at_the_top_left() {
        let letterbox = Letterbox::new([640, 480], [320, 320], Placement::Centred);
        assert_eq!((letterbox.scaled, letterbox.offset), ([320, 240], [0, 40]));
        assert_eq!(letterbox.to_image([10.0, 40.0, 20.5, 279.0]), [20.0, 0.0, 41.0, 478.0]);
        let letterbox = Letterbox::new([480, 640], [416, 416], Placement::TopLeft);
        assert_eq!((letterbox.scaled, letterbox.offset), ([312, 416], [0, 0]));
        let corners = [1.0, 2.0, 300.0, 400.0];
        let back = letterbox.to_input(letterbox.to_image(corners));
        assert!(back.iter().zip(corners).all(|(a, b)| (a - b).abs() < 1e-3), "{back:?}");
    }

    #[test]
    fn every_size_fits() {
        for image in [[1, 1], [1, 5000], [5000, 1], [37, 91], [u32::MAX, 1], [0, 3]] {
            for input in [[320, 320], [640, 384], [1, 7]] {
                for placement in [Placement::Centred, Placement::TopLeft] {
                    let Letterbox { scaled, offset, .. } = Letterbox::new(image, input, placement);
                    for axis in 0..2 {
                        assert!(scaled[axis] >= 1 && scaled[axis] + offset[axis] <= input[axis]);
                    }
                    assert!(scaled[0] == input[0] || scaled[1] == input[1]);
                }
            }
        }
    }
}
