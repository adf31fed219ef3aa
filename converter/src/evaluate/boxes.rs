//! The boxes that float and int8 find in one image.

use kenar::Model;
use kenar::detect::{Decoder, Detection, Head, Options};
use ndarray::ArrayD;

use crate::average_precision::{Found, Rect};
use crate::data::{Placed, Preprocess, Sample};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::integer::Runner;

/// Candidates of an image that compete: the best.
const CANDIDATES: usize = 1000;

/// What counts as a box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoxOptions {
    /// Boxes must score higher than this.
    pub confidence: f32,
    /// A box is dropped if it overlaps a better one of its class by more than this share of their union.
    pub iou: f32,
    /// Boxes kept in an image, the best.
    pub max_boxes: usize,
}

impl Default for BoxOptions {
    /// Confidence 0.01, overlap 0.6, 100 boxes: what precision is measured with.
    fn default() -> Self {
        Self { confidence: 0.01, iou: 0.6, max_boxes: 100 }
    }
}

/// The boxes of one image, best first, in pixels of the image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoundBoxes {
    /// By the float network.
    pub float: Vec<Found>,
    /// By the integer model.
    pub int8: Vec<Found>,
}

/// Decodes the outputs of both.
pub struct Finder {
    head: Head,
    /// Height and width of each level.
    sizes: Vec<[usize; 2]>,
    options: BoxOptions,
    preprocess: Preprocess,
}

impl Finder {
    /// For a model with a head and the float network with the same outputs.
    pub fn new(
        graph: &Graph,
        model: &Model,
        preprocess: &Preprocess,
        options: BoxOptions,
    ) -> Result<Self> {
        let head = model.head().ok_or_else(|| {
            Error::Input("the model has no detection head, so there are no boxes to compare".into())
        })?;
        let size = |output: u32| {
            let shape = graph.outputs.get(output as usize).map(|o| graph.shape(o.value));
            match shape {
                Some(&[_, _, h, w]) => Ok([h, w]),
                other => Err(Error::Input(format!(
                    "output {output} of the head has shape {other:?}, expected [1, C, H, W]"
                ))),
            }
        };
        let sizes = head.levels().iter().map(|l| size(l.boxes)).collect::<Result<_>>()?;
        Ok(Self { head, sizes, options, preprocess: preprocess.clone() })
    }

    /// Boxes from the float outputs and from those of the last run.
    pub fn find(
        &self,
        float: &[ArrayD<f32>],
        runner: &mut Runner,
        sample: &Sample,
    ) -> Result<FoundBoxes> {
        let BoxOptions { confidence, iou, max_boxes } = self.options;
        let options =
            Options { confidence, iou, max_boxes, best_class: false, ..Options::default() };
        let placed = Placed::new(&self.preprocess, sample.original);
        let mut buffer = vec![Detection::default(); CANDIDATES];
        let maps: Vec<_> = float.iter().map(|map| map.as_standard_layout()).collect();
        let values = |output: u32| maps[output as usize].as_slice().unwrap_or(&[]);
        let decoder = Decoder::from_f32(self.head, &self.sizes, values)?;
        let float = in_image(decoder.detect(&options, &mut buffer), &placed);
        let int8 = in_image(runner.session().detect(&options, &mut buffer)?, &placed);
        Ok(FoundBoxes { float, int8 })
    }
}

fn in_image(found: &[Detection], placed: &Placed) -> Vec<Found> {
    let found = found.iter().map(|d| Found {
        class: d.class as usize,
        score: f64::from(d.score),
        rect: Rect::from_corners(placed.to_image(d.corners)),
    });
    found.collect()
}
