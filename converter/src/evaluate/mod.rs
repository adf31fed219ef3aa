//! Float and int8 side by side on the same pixels.

mod boxes;
mod detector;
pub(crate) mod layer;
mod paired;
mod report;
mod total;
mod worker;

pub use boxes::{BoxOptions, FoundBoxes};
pub use detector::{ClassBoxes, DetectorEvaluation};
pub use paired::Paired;
pub use report::{Disagreement, Evaluation, LayerError, OutputError};
pub use total::{argmax, sqnr_db};

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use kenar::Model;

use crate::data::{Dataset, Preprocess};
use crate::error::{Error, Result};
use crate::exec::Executor;
use crate::graph::Graph;
use crate::integer::Engine;
use boxes::Finder;
use total::{Judged, Total};
use worker::{Context, watched};

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
    run(pair, None, data, progress)
}

/// As [`evaluate`], for a model with a detection head: also the boxes that both find.
///
/// # Errors
/// As [`evaluate`], or when the model has no head.
pub fn evaluate_boxes(
    pair: Pair,
    options: BoxOptions,
    data: &Dataset,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation> {
    run(pair, Some(options), data, progress)
}

fn run(
    pair: Pair,
    boxes: Option<BoxOptions>,
    data: &Dataset,
    progress: &mut dyn FnMut(usize),
) -> Result<Evaluation> {
    let classifier = check_outputs(pair.graph, pair.model)?;
    let finder = boxes.map(|options| Finder::new(pair.graph, pair.model, pair.preprocess, options));
    let context = Context {
        executor: Executor::new(pair.graph)?,
        classifier: classifier.filter(|_| boxes.is_none()),
        finder: finder.transpose()?,
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
