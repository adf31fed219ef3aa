//! Mean average precision of boxes, as pycocotools computes it.
//!
//! IoU thresholds 0.5 to 0.95 in steps of 0.05, precision at 101 recalls, areas all, small, medium and large, at most 1,
//! 10 or 100 boxes of a class in an image; crowds and annotations to be ignored neither help nor hurt. Sums, ties and
//! rounding follow the reference, so that figures agree to the last digits it prints; `tests/average_precision.rs`
//! holds them against its own numbers.

mod accumulate;
mod iou;
mod matching;
mod summary;

pub use iou::{Rect, iou};
pub use summary::{ClassPrecision, Curve, Precision};

use rayon::prelude::*;

/// IoU thresholds: 0.5, 0.55, ... 0.95.
pub const THRESHOLDS: usize = 10;
/// Recalls at which precision is read: 0, 0.01, ... 1.
pub const RECALLS: usize = 101;
/// Boxes of a class that count in an image, best first.
pub const MAX_DETECTIONS: [usize; 3] = [1, 10, 100];

/// Threshold `index`, by the arithmetic of `numpy.linspace`.
#[must_use]
pub fn threshold(index: usize) -> f64 {
    linspace(0.5, 0.95, THRESHOLDS, index)
}

/// Recall `index`, by the arithmetic of `numpy.linspace`.
#[must_use]
pub fn recall(index: usize) -> f64 {
    linspace(0.0, 1.0, RECALLS, index)
}

fn linspace(first: f64, last: f64, count: usize, index: usize) -> f64 {
    let step = (last - first) / (count - 1) as f64;
    if index + 1 == count { last } else { index as f64 * step + first }
}

/// Sizes of objects, by area in pixels of the photograph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Every size.
    All,
    /// Up to 32 x 32.
    Small,
    /// From 32 x 32 to 96 x 96.
    Medium,
    /// From 96 x 96.
    Large,
}

impl Area {
    /// All of them, in the order of the figures.
    pub const ALL: [Self; 4] = [Self::All, Self::Small, Self::Medium, Self::Large];

    /// Whether an area is left out; both bounds belong to the range.
    fn excludes(self, area: f64) -> bool {
        const LIMIT: f64 = 1e10;
        let [lo, hi] = match self {
            Self::All => [0.0, LIMIT],
            Self::Small => [0.0, 1024.0],
            Self::Medium => [1024.0, 9216.0],
            Self::Large => [9216.0, LIMIT],
        };
        area < lo || area > hi
    }
}

/// What is really there: one annotated object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// Class index.
    pub class: usize,
    /// Where.
    pub rect: Rect,
    /// Its area as annotated, which may be that of an outline and not of the box.
    pub area: f64,
    /// How boxes on it count.
    pub kind: Kind,
}

/// How an annotated object counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Has to be found, once.
    #[default]
    Object,
    /// A region of many objects (COCO's `iscrowd`): boxes inside are ignored, however many.
    Crowd,
    /// An object that need not be found (VOC's `difficult`): boxes on it are ignored, however many.
    Difficult,
}

/// One box that a network found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Class index.
    pub class: usize,
    /// Confidence.
    pub score: f64,
    /// Where, in pixels of the photograph.
    pub rect: Rect,
}

/// One image: what is there and what was found, both in any order; of equal scores the first counts as better.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    /// The annotations.
    pub truths: Vec<Truth>,
    /// The boxes.
    pub found: Vec<Found>,
}

/// Measures boxes over images; `classes` are the names, in the order of the class indices.
///
/// Truths and boxes of other classes are left out. The order of the images decides between equal scores: the reference
/// sorts by image id.
#[must_use]
pub fn measure(classes: &[String], scenes: &[Scene]) -> Precision {
    let of_class = |class: usize| -> ClassPrecision {
        let matched: Vec<_> =
            scenes.iter().filter_map(|scene| matching::matched(scene, class)).collect();
        accumulate::accumulate(&classes[class], &matched)
    };
    Precision::new((0..classes.len()).into_par_iter().map(of_class).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f64, side: f64) -> Rect {
        Rect { x, y: 0.0, w: side, h: side }
    }

    fn truth(x: f64, side: f64, kind: Kind) -> Truth {
        Truth { class: 0, rect: square(x, side), area: side * side, kind }
    }

    fn found(x: f64, side: f64, score: f64) -> Found {
        Found { class: 0, score, rect: square(x, side) }
    }

    /// One hit alone is 1 / (1 + 2^-52) in the reference's arithmetic.
    fn near(figure: Option<f64>, expected: f64) -> bool {
        figure.is_some_and(|figure| (figure - expected).abs() < 1e-12)
    }

    fn map(truths: Vec<Truth>, found: Vec<Found>) -> Precision {
        measure(&["thing".to_owned()], &[Scene { truths, found }])
    }

    #[test]
    fn thresholds_are_the_reference_s_doubles() {
        assert_eq!(threshold(0), 0.5);
        assert_eq!(threshold(1), 0.55);
        assert_eq!(threshold(9), 0.95);
        assert_eq!(recall(100), 1.0);
        assert_eq!(recall(50), 0.5);
    }

    #[test]
    fn perfect_boxes_score_one_and_none_scores_zero() {
        let truths = vec![truth(0.0, 50.0, Kind::Object), truth(200.0, 50.0, Kind::Object)];
        let perfect = map(truths.clone(), vec![found(0.0, 50.0, 0.9), found(200.0, 50.0, 0.8)]);
        assert_eq!((perfect.map(), perfect.map50()), (Some(1.0), Some(1.0)));
        assert_eq!(map(truths, Vec::new()).map(), Some(0.0));
        assert_eq!(map(Vec::new(), vec![found(0.0, 9.0, 0.5)]).map(), None);
    }

    #[test]
    fn the_overlap_decides_up_to_which_threshold_a_box_counts() {
        // 50 x 50 moved by 10: 40 / 60 = 0.667, enough for 0.5 to 0.65.
        let p = map(vec![truth(0.0, 50.0, Kind::Object)], vec![found(10.0, 50.0, 0.9)]);
        assert!(near(p.map(), 0.4) && near(p.map50(), 1.0));
        assert_eq!(p.map75(), Some(0.0));
    }

    #[test]
    fn a_second_box_on_an_object_is_wrong_but_not_on_a_crowd_or_a_difficult_one() {
        let twice = vec![found(0.0, 50.0, 0.9), found(0.0, 50.0, 0.8), found(300.0, 50.0, 0.1)];
        let objects = vec![truth(0.0, 50.0, Kind::Object), truth(300.0, 50.0, Kind::Object)];
        // Precision 1, 1/2, 2/3: read from the right, 2/3 above recall 0.5.
        let expected = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
        assert!(near(map(objects, twice.clone()).map50(), expected));
        for kind in [Kind::Crowd, Kind::Difficult] {
            let truths = vec![truth(0.0, 50.0, kind), truth(300.0, 50.0, Kind::Object)];
            assert!(near(map(truths, twice.clone()).map50(), 1.0), "{kind:?}");
        }
    }

    #[test]
    fn sizes_are_told_apart() {
        let p = map(
            vec![truth(0.0, 20.0, Kind::Object), truth(300.0, 200.0, Kind::Object)],
            vec![found(0.0, 20.0, 0.9)],
        );
        assert!(near(p.map_of(Area::Small), 1.0));
        assert_eq!(p.map_of(Area::Medium), None);
        assert_eq!(p.map_of(Area::Large), Some(0.0));
    }
}
