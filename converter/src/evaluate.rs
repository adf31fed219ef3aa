//! Float and int8 side by side on the same pixels.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use kenar::Model;
use kenar::desc::{DType, TensorId};
use ndarray::ArrayD;

use crate::data::{Dataset, Preprocess, Sample};
use crate::error::{Error, Result};
use crate::exec::Executor;
use crate::graph::{Graph, ValueId};
use crate::integer::{Engine, Runner};

/// How an output of the integer model differs from the float one, over all images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputError {
    /// The output's name.
    pub name: String,
    /// Its shape, N = 1.
    pub shape: Vec<usize>,
    /// Mean of |int8 - float|.
    pub mean: f64,
    /// Maximum of |int8 - float|.
    pub max: f64,
    /// Largest |float|.
    pub largest: f64,
    /// Signal to noise: `10 log10(sum float^2 / sum (int8 - float)^2)`.
    pub sqnr_db: f64,
}

/// An image that float and int8 put into different classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Disagreement {
    /// Record or file.
    pub name: String,
    /// True class, where known.
    pub label: Option<usize>,
    /// Class by the float network.
    pub float: usize,
    /// Class by the integer model.
    pub int8: usize,
    /// How far the float network's first class lies before the int8 one, in float scores.
    pub margin: f64,
}

/// How one tensor of the integer model differs from the float value it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerError {
    /// Name of the value.
    pub name: String,
    /// Index of the operator that writes it.
    pub op: usize,
    /// Element type.
    pub dtype: DType,
    /// Signal to noise, see [`OutputError::sqnr_db`].
    pub sqnr_db: f64,
}

/// The comparison over a data set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Images.
    pub n: usize,
    /// Share of images whose class is right, where there are classes and labels.
    pub float_top1: Option<f64>,
    /// The same for the integer model.
    pub int8_top1: Option<f64>,
    /// Share of images that both put into the same class, where there are classes.
    pub agreement: Option<f64>,
    /// Per output.
    pub outputs: Vec<OutputError>,
    /// Where the two differ, in the order of the data.
    pub disagreements: Vec<Disagreement>,
    /// Per tensor, in the order of the operators, over the images asked for.
    pub layers: Vec<LayerError>,
}

/// What one image adds.
struct Judged {
    name: String,
    label: Option<usize>,
    /// Class by float and by int8, and the float scores of both.
    classes: Option<([usize; 2], [f64; 2])>,
    errors: Vec<Sums>,
    /// Per watched tensor; empty where layers are not measured.
    layers: Vec<Sums>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    count: f64,
    signal: f64,
    noise: f64,
    absolute: f64,
    max: f64,
    largest: f64,
}

impl Sums {
    fn of<'a>(
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

    fn add(&mut self, other: &Self) {
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

/// What is compared with what.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// Folded, with the model's outputs in its order (see [`crate::pipeline::Loaded::with_outputs`]).
    pub graph: &'a Graph,
    /// The integer model.
    pub model: &'a Model<'a>,
    /// How images are prepared, for both.
    pub preprocess: &'a Preprocess,
    /// How the integer model runs; one thread an image.
    pub engine: Engine,
    /// On how many images every layer is compared.
    pub layer_images: usize,
}

/// Runs every image through both networks.
///
/// Images run in parallel and count in order, so that the result does not depend on the number of threads. `progress`
/// hears the number of images done.
///
/// # Errors
/// The first unreadable image, or a label that is no class of the network.
pub fn evaluate(pair: Pair, data: &Dataset, progress: &mut dyn FnMut(usize)) -> Result<Evaluation> {
    let context = Context {
        executor: Executor::new(pair.graph)?,
        classifier: check_outputs(pair.graph, pair.model)?,
        watched: watched(pair.graph, pair.model),
        pair,
    };
    let samples = Mutex::new(data.samples(pair.preprocess).enumerate());
    let stop = AtomicBool::new(false);
    let workers = thread::available_parallelism().map_or(1, usize::from).min(data.len().max(1));
    let mut total = Total::new(&context);
    thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel::<(usize, Result<Judged>)>(4 * workers);
        for _ in 0..workers {
            let send = send.clone();
            let (samples, stop, context) = (&samples, &stop, &context);
            scope.spawn(move || {
                let mut arena = vec![0; pair.model.arena_bytes()];
                let mut runner = match pair.engine.runner(pair.model, &mut arena) {
                    Ok(runner) => runner,
                    // Any worker's failure ends the run; the index does not matter.
                    Err(e) => return drop(send.send((0, Err(e)))),
                };
                while !stop.load(Ordering::Relaxed) {
                    let next =
                        samples.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
                    let Some((index, sample)) = next else { break };
                    let judged = sample.and_then(|s| context.judge(&mut runner, &s, index));
                    if send.send((index, judged)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        // Images come back in any order; sums of floats are made in one.
        let mut waiting = BTreeMap::new();
        for (index, judged) in receive {
            match judged {
                Ok(judged) => waiting.insert(index, judged),
                Err(e) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(e);
                }
            };
            while let Some(judged) = waiting.remove(&total.n) {
                total.add(judged);
                progress(total.n);
            }
        }
        Ok(())
    })?;
    if total.n == 0 {
        return Err(Error::Input("there is no image to evaluate on".into()));
    }
    Ok(total.finish(&context))
}

/// A tensor of the model that has a counterpart in the float graph.
struct Watched {
    op: usize,
    tensor: TensorId,
    value: ValueId,
    dtype: DType,
}

/// What the operators write that the float graph computes too, by name.
fn watched(graph: &Graph, model: &Model) -> Vec<Watched> {
    let mut all = Vec::new();
    for (op, record) in model.ops().enumerate() {
        for tensor in record.kind.writes().into_iter().flatten() {
            let desc = model.tensor(tensor);
            let name = model.text(desc.name);
            let value = graph.values().iter().position(|v| {
                v.name == name && v.shape.iter().product::<usize>() == desc.elements() as usize
            });
            if let Some(value) = value {
                all.push(Watched { op, tensor, value: ValueId(value), dtype: desc.dtype });
            }
        }
    }
    all
}

/// Index of the output that holds class scores, if any; refuses outputs that do not correspond.
fn check_outputs(graph: &Graph, model: &Model) -> Result<Option<usize>> {
    let of_model: Vec<&str> = model.outputs().map(|o| o.name).collect();
    for (i, output) in model.outputs().enumerate() {
        let t = model.tensor(output.tensor);
        let elements = t.elements() as usize;
        let float = graph.outputs.get(i).map(|o| graph.shape(o.value));
        if float.is_none_or(|s| s.iter().product::<usize>() != elements) {
            return Err(Error::Input(format!(
                "the model's output '{}' has {elements} values, the float network's {}; is it the network the model was made from?",
                output.name,
                float.map_or("is missing".to_owned(), |s| format!("has shape {s:?}")),
            )));
        }
    }
    if graph.outputs.len() != of_model.len() {
        return Err(Error::Input(format!(
            "the model has {} outputs, the float network {}",
            of_model.len(),
            graph.outputs.len()
        )));
    }
    Ok(graph.outputs.iter().position(|o| matches!(graph.shape(o.value), [1, k] if *k > 1)))
}

/// What every worker needs.
struct Context<'a> {
    pair: Pair<'a>,
    executor: Executor,
    classifier: Option<usize>,
    watched: Vec<Watched>,
}

impl Context<'_> {
    fn judge(&self, runner: &mut Runner, sample: &Sample, index: usize) -> Result<Judged> {
        let (float, layers) = if index < self.pair.layer_images {
            self.run_watched(runner, sample)?
        } else {
            runner.set(sample)?;
            runner.run()?;
            (self.executor.run(&sample.tensor)?, Vec::new())
        };
        let int8: Vec<ArrayD<f32>> = float
            .iter()
            .enumerate()
            .map(|(i, f)| runner.output_f32(i, f.shape()))
            .collect::<Result<_>>()?;
        if let (Some(i), Some(label)) = (self.classifier, sample.label)
            && label >= float[i].len()
        {
            return Err(Error::Input(format!(
                "{}: label {label}, but the network has {} classes",
                sample.name,
                float[i].len()
            )));
        }
        let classes = self.classifier.map(|i| {
            let classes = [argmax(&float[i]), argmax(&int8[i])];
            let score = |class: usize| float[i].iter().nth(class).map_or(0.0, |s| f64::from(*s));
            (classes, classes.map(score))
        });
        let errors = float.iter().zip(&int8).map(|(f, q)| Sums::of(f, q)).collect();
        Ok(Judged { name: sample.name.clone(), label: sample.label, classes, errors, layers })
    }

    /// Both networks on one image, with every watched tensor compared.
    fn run_watched(
        &self,
        runner: &mut Runner,
        sample: &Sample,
    ) -> Result<(Vec<ArrayD<f32>>, Vec<Sums>)> {
        let mut values: Vec<Option<ArrayD<f32>>> = vec![None; self.pair.graph.values().len()];
        let float = self.executor.run_one(sample.tensor.view(), &mut |value, array| {
            if self.watched.iter().any(|w| w.value == value) {
                values[value.0] = Some(array.clone());
            }
        })?;
        runner.set(sample)?;
        let mut layers = vec![Sums::default(); self.watched.len()];
        let mut reals = Vec::new();
        runner.session().run_with(&mut |op, tensor| {
            let at = self.watched.iter().position(|w| w.op == op && w.tensor == tensor.id());
            let Some(at) = at else { return };
            let Some(value) = &values[self.watched[at].value.0] else { return };
            reals.resize(tensor.len(), 0.0);
            if tensor.copy_f32_nchw(&mut reals).is_ok() {
                layers[at] = Sums::of(value, &reals);
            }
        })?;
        Ok((float, layers))
    }
}

/// Everything counted so far.
struct Total {
    n: usize,
    labelled: usize,
    /// Right by float, right by int8.
    right: [usize; 2],
    classified: usize,
    agreeing: usize,
    outputs: Vec<(String, Vec<usize>, Sums)>,
    disagreements: Vec<Disagreement>,
    layers: Vec<Sums>,
}

impl Total {
    fn new(context: &Context) -> Self {
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
            layers: vec![Sums::default(); context.watched.len()],
        }
    }

    fn add(&mut self, judged: Judged) {
        self.n += 1;
        for (output, sums) in self.outputs.iter_mut().zip(&judged.errors) {
            output.2.add(sums);
        }
        for (layer, sums) in self.layers.iter_mut().zip(&judged.layers) {
            layer.add(sums);
        }
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

    fn finish(self, context: &Context) -> Evaluation {
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
            layers: context
                .watched
                .iter()
                .zip(&self.layers)
                .filter(|(_, sums)| sums.count > 0.0)
                .map(|(w, sums)| LayerError {
                    name: context.pair.graph.value(w.value).name.clone(),
                    op: w.op,
                    dtype: w.dtype,
                    sqnr_db: sqnr_db(sums.signal, sums.noise),
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
