//! The figures: means over thresholds, recalls and classes.

use super::{Area, RECALLS, THRESHOLDS};

/// Precision over recall at one IoU threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// At recall 0, 0.01, ... 1: the best precision at this recall or above, 0 where it is not reached.
    pub precision: [f64; RECALLS],
    /// The score of the box that reaches it.
    pub score: [f64; RECALLS],
    /// The recall of all boxes together.
    pub recall: f64,
}

impl Curve {
    /// The area under the curve.
    #[must_use]
    pub fn average(&self) -> f64 {
        self.precision.iter().sum::<f64>() / RECALLS as f64
    }
}

/// The figures of one class. Those of a class without objects are `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassPrecision {
    /// Its name.
    pub name: String,
    /// Objects that have to be found.
    pub objects: usize,
    /// Boxes that were counted.
    pub found: usize,
    /// Per area ([`Area::ALL`]): a curve per threshold, or none where there are no objects.
    pub(super) curves: [Vec<Curve>; Area::ALL.len()],
    /// The same over all areas with the first 1, 10 and 100 boxes of each image.
    pub(super) first: [Vec<Curve>; 3],
}

impl ClassPrecision {
    /// Average precision over all thresholds.
    #[must_use]
    pub fn ap(&self) -> Option<f64> {
        mean(self.curves(Area::All).iter().map(Curve::average))
    }

    /// Average precision at IoU 0.5.
    #[must_use]
    pub fn ap50(&self) -> Option<f64> {
        self.curves(Area::All).first().map(Curve::average)
    }

    /// Average precision at IoU 0.75.
    #[must_use]
    pub fn ap75(&self) -> Option<f64> {
        self.curves(Area::All).get(THRESHOLDS / 2).map(Curve::average)
    }

    /// A curve per threshold for objects of an area; empty where there are none.
    #[must_use]
    pub fn curves(&self, area: Area) -> &[Curve] {
        &self.curves[area as usize]
    }
}

/// The figures of a network over a data set. `None` where there is nothing to find.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Precision {
    /// Per class, in the order of the class indices.
    pub classes: Vec<ClassPrecision>,
}

impl Precision {
    pub(super) fn new(classes: Vec<ClassPrecision>) -> Self {
        Self { classes }
    }

    /// Mean average precision at IoU 0.5 to 0.95.
    #[must_use]
    pub fn map(&self) -> Option<f64> {
        self.map_of(Area::All)
    }

    /// Mean average precision at IoU 0.5.
    #[must_use]
    pub fn map50(&self) -> Option<f64> {
        mean(self.classes.iter().filter_map(ClassPrecision::ap50))
    }

    /// Mean average precision at IoU 0.75.
    #[must_use]
    pub fn map75(&self) -> Option<f64> {
        mean(self.classes.iter().filter_map(ClassPrecision::ap75))
    }

    /// Mean average precision at IoU 0.5 to 0.95 over objects of an area.
    #[must_use]
    pub fn map_of(&self, area: Area) -> Option<f64> {
        mean(self.classes.iter().flat_map(|c| c.curves(area)).map(Curve::average))
    }

    /// Mean recall over thresholds and classes with the first 1, 10 and 100 boxes of each image.
    #[must_use]
    pub fn recall_first(&self) -> [Option<f64>; 3] {
        std::array::from_fn(|i| {
            mean(self.classes.iter().flat_map(|c| &c.first[i]).map(|curve| curve.recall))
        })
    }

    /// Mean recall over thresholds and classes for objects of an area, with the first 100 boxes of each image.
    #[must_use]
    pub fn recall_of(&self, area: Area) -> Option<f64> {
        mean(self.classes.iter().flat_map(|c| c.curves(area)).map(|curve| curve.recall))
    }

    /// The twelve figures that pycocotools prints, in its order; -1 where there is nothing to find.
    #[must_use]
    pub fn summary(&self) -> [f64; 12] {
        let [_, small, medium, large] = Area::ALL;
        let sizes = [small, medium, large];
        let [p_small, p_medium, p_large] = sizes.map(|area| self.map_of(area));
        let [r_small, r_medium, r_large] = sizes.map(|area| self.recall_of(area));
        let [r1, r10, r100] = self.recall_first();
        let (p, p50, p75) = (self.map(), self.map50(), self.map75());
        [p, p50, p75, p_small, p_medium, p_large, r1, r10, r100, r_small, r_medium, r_large]
            .map(|figure| figure.unwrap_or(-1.0))
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), value| (sum + value, n + 1));
    (n > 0).then(|| sum / n as f64)
}
