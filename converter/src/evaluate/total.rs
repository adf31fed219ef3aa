//! Sums over images.

use super::Pair;
use super::boxes::FoundBoxes;
use super::layer::LayerSums;
use super::report::{Disagreement, Evaluation, LayerError, OutputError};
use super::worker::{Context, Watched};

/// What one image adds.
pub struct Judged {
    pub name: String,
    pub label: Option<usize>,
    /// Class by float and by int8, and the float scores of both.
    pub classes: Option<([usize; 2], [f64; 2])>,
    pub errors: Vec<Sums>,
    /// Per watched tensor; empty where layers are not measured.
    pub layers: Vec<LayerSums>,
    /// Of a detector.
    pub found: Option<FoundBoxes>,
}

/// Sums over elements.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    pub count: f64,
    pub signal: f64,
    pub noise: f64,
    pub absolute: f64,
    pub max: f64,
    pub largest: f64,
}

impl Sums {
    /// Compares element by element.
    pub fn of<'a>(
        float: impl IntoIterator<Item = &'a f32>,
        int8: impl IntoIterator<Item = &'a f32>,
    ) -> Self {
        let mut sums = Self::default();
        for (&f, &q) in float.into_iter().zip(int8) {
            sums.count += 1.0;
            let (f, error) = (f64::from(f), f64::from(q) - f64::from(f));
            sums.signal += f * f;
            sums.noise += error * error;
            sums.absolute += error.abs();
            sums.max = sums.max.max(error.abs());
            sums.largest = sums.largest.max(f.abs());
        }
        sums
    }

    /// Adds the sums of other elements.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.signal += other.signal;
        self.noise += other.noise;
        self.absolute += other.absolute;
        self.max = self.max.max(other.max);
        self.largest = self.largest.max(other.largest);
    }
}

/// Signal to noise in decibels; identical values give 200.
#[must_use]
pub fn sqnr_db(signal: f64, noise: f64) -> f64 {
    if noise <= 0.0 { 200.0 } else { (10.0 * (signal / noise).log10()).clamp(-200.0, 200.0) }
}

/// Position of the largest value, the first of equals.
#[must_use]
pub fn argmax<'a>(values: impl IntoIterator<Item = &'a f32>) -> usize {
    let best = |best: (usize, f32), (i, &v): (usize, &f32)| if v > best.1 { (i, v) } else { best };
    values.into_iter().enumerate().fold((0, f32::NEG_INFINITY), best).0
}

/// Everything counted so far.
pub struct Total {
    /// Images.
    pub n: usize,
    labelled: usize,
    /// Right by float, right by int8.
    right: [usize; 2],
    classified: usize,
    agreeing: usize,
    outputs: Vec<(String, Vec<usize>, Sums)>,
    disagreements: Vec<Disagreement>,
    layers: Vec<LayerSums>,
    boxes: Vec<FoundBoxes>,
}

impl Total {
    pub fn new(context: &Context) -> Self {
        let Pair { graph, model, .. } = context.pair;
        let shape = |i: usize| graph.shape(graph.outputs[i].value).to_vec();
        let outputs = model.outputs().enumerate();
        Self {
            n: 0,
            labelled: 0,
            right: [0; 2],
            classified: 0,
            agreeing: 0,
            outputs: outputs.map(|(i, o)| (o.name.to_owned(), shape(i), Sums::default())).collect(),
            disagreements: Vec::new(),
            layers: context.watched.iter().map(Watched::sums).collect(),
            boxes: Vec::new(),
        }
    }

    /// Counts one image; images come in order.
    pub fn add(&mut self, judged: Judged) {
        self.n += 1;
        for (output, sums) in self.outputs.iter_mut().zip(&judged.errors) {
            output.2.add(sums);
        }
        for (layer, sums) in self.layers.iter_mut().zip(&judged.layers) {
            layer.merge(sums);
        }
        self.boxes.extend(judged.found);
        let Some(([float, int8], scores)) = judged.classes else { return };
        self.classified += 1;
        if let Some(label) = judged.label {
            self.labelled += 1;
            self.right[0] += usize::from(float == label);
            self.right[1] += usize::from(int8 == label);
        }
        if float == int8 {
            self.agreeing += 1;
        } else {
            let margin = scores[0] - scores[1];
            let (name, label) = (judged.name, judged.label);
            self.disagreements.push(Disagreement { name, label, float, int8, margin });
        }
    }

    /// The sums as rates and ratios.
    pub fn finish(self, context: &Context) -> Evaluation {
        let share = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
        Evaluation {
            n: self.n,
            float_top1: share(self.right[0], self.labelled),
            int8_top1: share(self.right[1], self.labelled),
            agreement: share(self.agreeing, self.classified),
            outputs: self
                .outputs
                .into_iter()
                .map(|(name, shape, s)| OutputError {
                    name,
                    shape,
                    mean: s.absolute / s.count.max(1.0),
                    max: s.max,
                    largest: s.largest,
                    sqnr_db: sqnr_db(s.signal, s.noise),
                })
                .collect(),
            disagreements: self.disagreements,
            boxes: self.boxes,
            layers: context
                .watched
                .iter()
                .zip(&self.layers)
                .filter_map(|(w, sums)| {
                    Some(LayerError {
                        name: context.pair.graph.value(w.value).name.clone(),
                        op: w.op,
                        dtype: w.dtype,
                        sqnr_db: sums.sqnr_db()?,
                    })
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decibels_and_maxima() {
        assert_eq!(sqnr_db(100.0, 1.0), 20.0);
        assert_eq!(sqnr_db(1.0, 0.0), 200.0);
        assert_eq!(argmax(&[0.5, 2.0, 2.0, -1.0]), 1);
        assert_eq!(argmax(&[f32::NAN, 1.0]), 1);
    }
}
