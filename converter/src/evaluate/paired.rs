//! Boxes of float and int8 on the same images, matched one to one.
//!
//! Mean average precision of a small set moves with single boxes near a threshold; this says how far the boxes themselves
//! moved.

use super::FoundBoxes;
use crate::average_precision::{Found, iou};

/// How the float network's boxes come back from the integer model.
///
/// Float boxes above a confidence choose, best first, the free int8 box of their class that overlaps most, whatever its
/// score.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Paired {
    /// Float boxes above the confidence.
    pub float: usize,
    /// Int8 boxes above it.
    pub int8: usize,
    /// Float boxes with an int8 box at IoU >= 0.5.
    pub at50: usize,
    /// Float boxes with an int8 box at IoU >= 0.9.
    pub at90: usize,
    /// Int8 boxes above the confidence that no float box chose at IoU >= 0.5.
    pub alone: usize,
    /// Sum of the IoU of pairs at IoU >= 0.5.
    overlaps: f64,
    /// Sum of |score difference| of these pairs.
    differences: f64,
    /// The largest.
    pub largest_difference: f64,
}

impl Paired {
    /// Matches the boxes of every image; `class` restricts it to one.
    #[must_use]
    pub fn new(images: &[FoundBoxes], confidence: f64, class: Option<usize>) -> Self {
        let mut all = Self::default();
        images.iter().for_each(|image| all.add(image, confidence, class));
        all
    }

    fn add(&mut self, image: &FoundBoxes, confidence: f64, class: Option<usize>) {
        let wanted = |f: &&Found| class.is_none_or(|class| f.class == class);
        let int8: Vec<&Found> = image.int8.iter().filter(wanted).collect();
        let mut taken = vec![false; int8.len()];
        // Boxes come best first.
        for float in image.float.iter().filter(wanted).filter(|f| f.score > confidence) {
            self.float += 1;
            let free = int8.iter().enumerate();
            let best = free
                .filter(|(i, q)| !taken[*i] && q.class == float.class)
                .map(|(i, q)| (i, iou(&float.rect, &q.rect)))
                .fold(None, |best: Option<(usize, f64)>, one| match best {
                    Some(best) if best.1 >= one.1 => Some(best),
                    _ => Some(one),
                });
            let Some((i, overlap)) = best.filter(|(_, overlap)| *overlap >= 0.5) else { continue };
            taken[i] = true;
            self.at50 += 1;
            self.at90 += usize::from(overlap >= 0.9);
            self.overlaps += overlap;
            let difference = (float.score - int8[i].score).abs();
            self.differences += difference;
            self.largest_difference = self.largest_difference.max(difference);
        }
        for (q, taken) in int8.iter().zip(taken).filter(|(q, _)| q.score > confidence) {
            debug_assert!(class.is_none_or(|class| q.class == class));
            self.int8 += 1;
            self.alone += usize::from(!taken);
        }
    }

    /// Share of float boxes with an int8 box at IoU >= 0.5.
    #[must_use]
    pub fn share50(&self) -> Option<f64> {
        ratio(self.at50 as f64, self.float)
    }

    /// Share of float boxes with an int8 box at IoU >= 0.9.
    #[must_use]
    pub fn share90(&self) -> Option<f64> {
        ratio(self.at90 as f64, self.float)
    }

    /// Mean IoU of the pairs.
    #[must_use]
    pub fn mean_iou(&self) -> Option<f64> {
        ratio(self.overlaps, self.at50)
    }

    /// Mean |score difference| of the pairs.
    #[must_use]
    pub fn mean_difference(&self) -> Option<f64> {
        ratio(self.differences, self.at50)
    }
}

fn ratio(part: f64, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::average_precision::Rect;

    fn found(class: usize, score: f64, x: f64) -> Found {
        Found { class, score, rect: Rect { x, y: 0.0, w: 100.0, h: 100.0 } }
    }

    #[test]
    fn every_box_has_one_partner_of_its_class() {
        let image = FoundBoxes {
            float: vec![
                found(0, 0.9, 0.0),
                found(0, 0.8, 4.0),
                found(1, 0.7, 300.0),
                found(1, 0.1, 0.0),
            ],
            int8: vec![
                found(0, 0.85, 1.0),
                found(0, 0.2, 20.0),
                found(0, 0.6, 300.0),
                found(1, 0.5, 600.0),
            ],
        };
        let paired = Paired::new(std::slice::from_ref(&image), 0.25, None);
        assert_eq!((paired.float, paired.int8), (3, 3));
        // 1 apart: 99/101; 16 apart: 84/116; another class does not count.
        assert_eq!((paired.at50, paired.at90, paired.alone), (2, 1, 2));
        let mean = (99.0 / 101.0 + 84.0 / 116.0) / 2.0;
        assert!((paired.mean_iou().unwrap() - mean).abs() < 1e-12);
        assert!((paired.mean_difference().unwrap() - 0.325).abs() < 1e-12);
        assert!((paired.largest_difference - 0.6).abs() < 1e-12);
        let second = Paired::new(std::slice::from_ref(&image), 0.25, Some(1));
        assert_eq!((second.float, second.at50, second.share50()), (1, 0, Some(0.0)));
        assert_eq!(Paired::new(&[], 0.25, None).share90(), None);
    }
}
