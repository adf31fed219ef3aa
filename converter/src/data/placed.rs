//! Where an image lies in a network's input.

use kenar::detect::Letterbox as Place;

use super::{Fit, Letterbox, Pixels, Preprocess};

/// An image of some size in a network's input: it is scaled to `scaled` and its first pixel goes to `offset`, which lies
/// outside where the image is cut. All pairs are height, width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Size of the image.
    pub image: [usize; 2],
    /// Size of the network's input.
    pub input: [usize; 2],
    /// Size the image is scaled to.
    pub scaled: [usize; 2],
    /// Row and column where it begins; negative where it is cut.
    pub offset: [isize; 2],
    /// In a letterbox: the grey level of what remains, and the runtime's own way back.
    letterbox: Option<(u8, Place)>,
}

impl Placed {
    /// Where an image of a size goes.
    #[must_use]
    pub fn new(preprocess: &Preprocess, image: [usize; 2]) -> Self {
        let input = preprocess.size;
        let whole = Self { image, input, scaled: input, offset: [0; 2], letterbox: None };
        if image == input {
            return whole;
        }
        match preprocess.fit {
            Fit::Stretch => whole,
            Fit::CenterCrop(share) => {
                let ratio = |at: usize| input[at] as f64 / image[at] as f64;
                let ratio = ratio(0).max(ratio(1)) / f64::from(share);
                let scaled = [0, 1]
                    .map(|at| ((image[at] as f64 * ratio).round() as usize).max(1).max(input[at]));
                let offset = [0, 1].map(|at| -(((scaled[at] - input[at]) / 2) as isize));
                Self { scaled, offset, ..whole }
            }
            Fit::Letterbox(Letterbox { level, placement }) => {
                let swapped = |[h, w]: [usize; 2]| [w as u32, h as u32];
                let place = Place::new(swapped(image), swapped(input), placement);
                let [w, h] = place.scaled.map(|n| n as usize);
                let [left, top] = place.offset.map(|n| n as isize);
                let letterbox = Some((level, place));
                Self { scaled: [h, w], offset: [top, left], letterbox, ..whole }
            }
        }
    }

    /// The network's input as RGB bytes.
    ///
    /// A letterboxed image of twice the size becomes the rounded mean of each square of 2 x 2; every other size is bilinear.
    #[must_use]
    pub fn picture(&self, image: &Pixels) -> Pixels {
        debug_assert_eq!(self.image, [image.height, image.width]);
        let [h, w] = self.scaled;
        let scaled = if self.letterbox.is_some() && self.image == [2 * h, 2 * w] {
            image.halved()
        } else {
            image.resized(h, w)
        };
        if self.scaled == self.input {
            return scaled;
        }
        let [top, left] = self.offset.map(isize::unsigned_abs);
        let [rows, columns] = self.input;
        let Some((level, _)) = self.letterbox else {
            return scaled.cropped(top, left, rows, columns);
        };
        let mut out = Pixels::filled(rows, columns, level);
        out.paste(&scaled, top, left);
        out
    }

    /// Left, top, right, bottom in the network's input as those in the image; nothing is clipped.
    #[must_use]
    pub fn to_image(&self, corners: [f32; 4]) -> [f64; 4] {
        if let Some((_, place)) = self.letterbox {
            return place.to_image(corners).map(f64::from);
        }
        let axis = |value: f32, at: usize| {
            let scale = self.image[at] as f64 / self.scaled[at] as f64;
            (f64::from(value) - self.offset[at] as f64) * scale
        };
        let [left, top, right, bottom] = corners;
        [axis(left, 1), axis(top, 0), axis(right, 1), axis(bottom, 0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Preset;

    fn placed(fit: Fit, input: [usize; 2], image: [usize; 2]) -> Placed {
        Placed::new(&Preprocess { fit, ..Preprocess::preset(Preset::Unit, input) }, image)
    }

    #[test]
    fn boxes_go_back_to_where_they_were() {
        let fit = Fit::Letterbox(Letterbox::centred(114));
        let place = placed(fit, [320, 320], [480, 640]);
        assert_eq!((place.scaled, place.offset), ([240, 320], [40, 0]));
        assert_eq!(place.to_image([10.0, 40.0, 400.0, 50.5]), [20.0, 0.0, 800.0, 21.0]);
        let place = placed(Fit::CenterCrop(1.0), [100, 100], [200, 400]);
        assert_eq!((place.scaled, place.offset), ([100, 200], [0, -50]));
        assert_eq!(place.to_image([0.0, 0.0, 50.0, 100.0]), [100.0, 0.0, 200.0, 200.0]);
        let place = placed(Fit::Stretch, [100, 100], [200, 400]);
        assert_eq!(place.to_image([0.0, 0.0, 50.0, 100.0]), [0.0, 0.0, 200.0, 200.0]);
    }

    #[test]
    fn a_letterbox_of_half_size_takes_means_of_squares() {
        let data = (0..4 * 8 * 3).map(|i| (i * 37 % 256) as u8).collect();
        let image = Pixels { height: 4, width: 8, data };
        let place = placed(Fit::Letterbox(Letterbox::centred(9)), [4, 4], [4, 8]);
        let picture = place.picture(&image);
        assert_eq!(picture.cropped(1, 0, 2, 4), image.halved());
        assert_eq!(picture.cropped(0, 0, 1, 4), Pixels::filled(1, 4, 9));
    }
}
