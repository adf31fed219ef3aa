//! Boxes of both networks against annotations and against each other.

use super::{FoundBoxes, Paired};
use crate::average_precision::{Precision, Scene, measure};
use crate::data::Annotations;
use crate::error::{Error, Result};

/// One class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassBoxes {
    /// Its name.
    pub name: String,
    /// Float boxes against int8 boxes.
    pub paired: Paired,
}

/// What a detector loses.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorEvaluation {
    /// Precision of float and int8, where the images are annotated.
    pub precision: Option<[Precision; 2]>,
    /// The score above which boxes are paired.
    pub confidence: f64,
    /// Float boxes against int8 boxes.
    pub paired: Paired,
    /// Per class.
    pub classes: Vec<ClassBoxes>,
}

impl DetectorEvaluation {
    /// Judges the boxes of all images.
    ///
    /// # Errors
    /// [`Error::Input`] when the annotations are those of other images.
    pub fn new(
        boxes: &[FoundBoxes],
        annotations: Option<&Annotations>,
        classes: &[String],
        confidence: f64,
    ) -> Result<Self> {
        let precision = annotations.map(|annotations| {
            if annotations.images.len() != boxes.len() {
                return Err(Error::Input(format!(
                    "{} images are annotated, {} were evaluated",
                    annotations.images.len(),
                    boxes.len()
                )));
            }
            let of = |found: fn(&FoundBoxes) -> &Vec<_>| {
                let scenes: Vec<Scene> = annotations
                    .images
                    .iter()
                    .zip(boxes)
                    .map(|(truths, b)| Scene { truths: truths.clone(), found: found(b).clone() })
                    .collect();
                measure(&annotations.classes, &scenes)
            };
            Ok([of(|b| &b.float), of(|b| &b.int8)])
        });
        let class = |(class, name): (usize, &String)| ClassBoxes {
            name: name.clone(),
            paired: Paired::new(boxes, confidence, Some(class)),
        };
        Ok(Self {
            precision: precision.transpose()?,
            confidence,
            paired: Paired::new(boxes, confidence, None),
            classes: classes.iter().enumerate().map(class).collect(),
        })
    }
}
