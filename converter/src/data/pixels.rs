//! 8-bit RGB images in memory.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

/// An RGB image, `[height, width, 3]` bytes, rows from the top: what a session's `set_rgb8` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width * 3` bytes.
    pub data: Vec<u8>,
}

impl Pixels {
    /// An image of one grey level.
    #[must_use]
    pub fn filled(height: usize, width: usize, level: u8) -> Self {
        Self { height, width, data: vec![level; height * width * 3] }
    }

    /// From colour planes (all red, all green, all blue), as CIFAR files store them.
    ///
    /// # Panics
    /// If `planes` is not `3 * height * width` long.
    #[must_use]
    pub fn from_planes(planes: &[u8], height: usize, width: usize) -> Self {
        let area = height * width;
        assert_eq!(planes.len(), 3 * area);
        let data = (0..area).flat_map(|i| (0..3).map(move |c| planes[c * area + i])).collect();
        Self { height, width, data }
    }

    /// Scales to a size; bilinear, with a filter that widens when shrinking (Pillow's `BILINEAR`).
    #[must_use]
    pub fn resized(&self, height: usize, width: usize) -> Self {
        if (height, width) == (self.height, self.width) {
            return self.clone();
        }
        let (from, to) = ([self.width, self.height], [width, height]);
        let [[from_width, from_height], [to_width, to_height]] =
            [from, to].map(|size| size.map(|n| n as u32));
        // Views of one pixel type: with `Image` the code for all types would be compiled, nearly half of this crate's.
        let source = TypedImageRef::<U8x3>::from_buffer(from_width, from_height, &self.data)
            .expect("data has height * width * 3 bytes");
        let mut data = vec![0; height * width * 3];
        let mut scaled = TypedImage::<U8x3>::from_buffer(to_width, to_height, &mut data)
            .expect("data has height * width * 3 bytes");
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .use_alpha(false);
        Resizer::new()
            .resize_typed(&source, &mut scaled, &options)
            .expect("the window is the image");
        Self { height, width, data }
    }

    /// Half the size: the rounded mean of each square of 2 x 2. Both sides must be even.
    #[must_use]
    pub fn halved(&self) -> Self {
        let (height, width) = (self.height / 2, self.width / 2);
        let mut data = Vec::with_capacity(height * width * 3);
        for rows in self.data.chunks_exact(2 * 3 * self.width).take(height) {
            let (upper, lower) = rows.split_at(3 * self.width);
            for (u, l) in upper.chunks_exact(6).zip(lower.chunks_exact(6)) {
                let mean = |c: usize| {
                    let sum: u16 = [u[c], u[c + 3], l[c], l[c + 3]].map(u16::from).iter().sum();
                    ((sum + 2) >> 2) as u8
                };
                data.extend([0, 1, 2].map(mean));
            }
        }
        Self { height, width, data }
    }

    /// The window of `height x width` whose first pixel is (`top`, `left`); it must lie inside.
    #[must_use]
    pub fn cropped(&self, top: usize, left: usize, height: usize, width: usize) -> Self {
        let mut data = Vec::with_capacity(height * width * 3);
        for y in top..top + height {
            let row = (y * self.width + left) * 3;
            data.extend_from_slice(&self.data[row..row + width * 3]);
        }
        Self { height, width, data }
    }

    /// Upright, when an EXIF orientation (1 to 8) says how the image is stored; other numbers leave it alone.
    #[must_use]
    pub fn turned(self, orientation: u8) -> Self {
        if !(2..=8).contains(&orientation) {
            return self;
        }
        let (h, w) = (self.height, self.width);
        let (height, width) = if orientation > 4 { (w, h) } else { (h, w) };
        let mut data = Vec::with_capacity(self.data.len());
        for y in 0..height {
            for x in 0..width {
                let (row, column) = match orientation {
                    2 => (y, w - 1 - x),
                    3 => (h - 1 - y, w - 1 - x),
                    4 => (h - 1 - y, x),
                    5 => (x, y),
                    6 => (h - 1 - x, y),
                    7 => (h - 1 - x, w - 1 - y),
                    _ => (x, w - 1 - y),
                };
                let at = (row * w + column) * 3;
                data.extend_from_slice(&self.data[at..at + 3]);
            }
        }
        Self { height, width, data }
    }

    /// Copies `other` into this image with its first pixel at (`top`, `left`); it must fit.
    pub fn paste(&mut self, other: &Self, top: usize, left: usize) {
        for y in 0..other.height {
            let from = y * other.width * 3;
            let to = ((top + y) * self.width + left) * 3;
            self.data[to..to + other.width * 3]
                .copy_from_slice(&other.data[from..from + other.width * 3]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_become_interleaved() {
        let p = Pixels::from_planes(&[1, 2, 10, 20, 100, 200], 1, 2);
        assert_eq!(p.data, [1, 10, 100, 2, 20, 200]);
    }

    #[test]
    fn crop_and_paste_are_inverse() {
        let image = Pixels { height: 3, width: 4, data: (0..36).collect() };
        let window = image.cropped(1, 2, 2, 2);
        assert_eq!(window.data, [18, 19, 20, 21, 22, 23, 30, 31, 32, 33, 34, 35]);
        let mut copy = image.clone();
        copy.paste(&Pixels::filled(2, 2, 0), 1, 2);
        assert_ne!(copy, image);
        copy.paste(&window, 1, 2);
        assert_eq!(copy, image);
    }

    #[test]
    fn half_of_an_image_is_the_rounded_mean_of_squares() {
        let image = Pixels { height: 2, width: 4, data: (0..24).map(|i| i * 10).collect() };
        // Red of the first square: 0, 30, 120, 150.
        assert_eq!(image.halved().data, [75, 85, 95, 135, 145, 155]);
        let image = Pixels { height: 2, width: 2, data: [[1; 3], [1; 3], [2; 3], [2; 3]].concat() };
        assert_eq!(image.halved().data, [2; 3]);
    }

    #[test]
    fn orientations_turn_and_mirror() {
        let grey = |levels: &[u8]| levels.iter().flat_map(|&v| [v; 3]).collect::<Vec<u8>>();
        let image = Pixels { height: 2, width: 3, data: grey(&[1, 2, 3, 4, 5, 6]) };
        for (orientation, height, levels) in [
            (1, 2, [1, 2, 3, 4, 5, 6]),
            (2, 2, [3, 2, 1, 6, 5, 4]),
            (3, 2, [6, 5, 4, 3, 2, 1]),
            (4, 2, [4, 5, 6, 1, 2, 3]),
            (5, 3, [1, 4, 2, 5, 3, 6]),
            (6, 3, [4, 1, 5, 2, 6, 3]),
            (7, 3, [6, 3, 5, 2, 4, 1]),
            (8, 3, [3, 6, 2, 5, 1, 4]),
            (9, 2, [1, 2, 3, 4, 5, 6]),
        ] {
            let turned = image.clone().turned(orientation);
            assert_eq!((turned.height, turned.data), (height, grey(&levels)), "{orientation}");
        }
    }

    #[test]
    fn constant_images_stay_constant_when_scaled() {
        assert_eq!(Pixels::filled(7, 5, 93).resized(16, 3), Pixels::filled(16, 3, 93));
    }
}
