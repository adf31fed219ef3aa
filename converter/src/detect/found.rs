//! Boxes from the results of the float graph or of a model file.

use kenar::detect::{Decoder, Detection, Head, Options};
use ndarray::ArrayD;

use super::HeadSpec;
use crate::error::{Error, Result};
use crate::graph::Graph;

/// A box with its landmarks, in pixels of the network's input.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The box.
    pub detection: Detection,
    /// Landmarks, x and y; most networks have none.
    pub points: Vec<[f32; 2]>,
}

/// The boxes that pass, best first; the best `room` candidates compete.
#[must_use]
pub fn find(decoder: &Decoder<'_>, options: &Options<'_>, room: usize) -> Vec<Found> {
    let mut buffer = vec![Detection::default(); room];
    let found = decoder.detect(options, &mut buffer);
    let points = |candidate| {
        (0..decoder.head().points).filter_map(|point| decoder.point(candidate, point)).collect()
    };
    found.iter().map(|&d| Found { detection: d, points: points(d.candidate) }).collect()
}

/// A head over the outputs of a float graph.
#[derive(Clone, Debug)]
pub struct FloatHead {
    head: Head,
    /// Height and width of each level.
    sizes: Vec<[usize; 2]>,
}

impl FloatHead {
    /// Looks the head's outputs up in a graph.
    ///
    /// # Errors
    /// [`Error::Input`] for an output that the graph does not have, [`Error::Graph`] for one that is no map.
    pub fn new(spec: &HeadSpec, graph: &Graph) -> Result<Self> {
        let names: Vec<&str> = graph.outputs.iter().map(|o| o.name.as_str()).collect();
        let head = spec.record(&names)?;
        let size = |level: &kenar::detect::Level| {
            let output = &graph.outputs[level.boxes as usize];
            match *graph.shape(output.value) {
                [1, _, h, w] => Ok([h, w]),
                ref shape => Err(Error::graph(
                    &output.name,
                    format!("is {shape:?}, expected boxes as [1, C, H, W]"),
                )),
            }
        };
        let sizes = head.levels().iter().map(size).collect::<Result<_>>()?;
        Ok(Self { head, sizes })
    }

    /// The decoder for the graph's results on one image, in the order of its outputs.
    ///
    /// # Errors
    /// [`Error::Model`] when they do not have the graph's shapes.
    pub fn decoder<'s>(&self, outputs: &'s [ArrayD<f32>]) -> Result<Decoder<'s>> {
        let output =
            |index: u32| outputs.get(index as usize).and_then(|o| o.as_slice()).unwrap_or_default();
        Ok(Decoder::from_f32(self.head, &self.sizes, output)?)
    }
}
