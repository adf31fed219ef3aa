//! One image through both networks.

use kenar::Model;
use kenar::desc::{DType, TensorId};
use ndarray::ArrayD;

use super::Pair;
use super::boxes::Finder;
use super::layer::LayerSums;
use super::total::{Judged, Sums, argmax};
use crate::data::Sample;
use crate::error::{Error, Result};
use crate::exec::Executor;
use crate::graph::{Graph, ValueId};
use crate::integer::Runner;
use crate::lower::BALANCED;
use crate::quantize::row_major;

/// What every worker needs.
pub struct Context<'a> {
    pub pair: Pair<'a>,
    pub executor: Executor,
    pub classifier: Option<usize>,
    pub finder: Option<Finder>,
    pub watched: Vec<Watched>,
}

impl Context<'_> {
    /// Both networks on one image; layers too on the first images.
    pub fn judge(&self, runner: &mut Runner, sample: &Sample, index: usize) -> Result<Judged> {
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
        let found = self.finder.as_ref().map(|finder| finder.find(&float, runner, sample));
        Ok(Judged {
            name: sample.name.clone(),
            label: sample.label,
            classes,
            errors,
            layers,
            found: found.transpose()?,
        })
    }

    /// Both networks on one image, with every watched tensor compared.
    fn run_watched(
        &self,
        runner: &mut Runner,
        sample: &Sample,
    ) -> Result<(Vec<ArrayD<f32>>, Vec<LayerSums>)> {
        let mut values: Vec<Option<ArrayD<f32>>> = vec![None; self.pair.graph.values().len()];
        let float = self.executor.run_one(sample.tensor.view(), &mut |value, array| {
            if self.watched.iter().any(|w| w.value == value) {
                values[value.0] = Some(array.clone());
            }
        })?;
        runner.set(sample)?;
        let mut layers: Vec<_> = self.watched.iter().map(Watched::sums).collect();
        let mut reals = Vec::new();
        runner.session().run_with(&mut |op, tensor| {
            let at = self.watched.iter().position(|w| w.op == op && w.tensor == tensor.id());
            let Some(at) = at else { return };
            let Some(value) = &values[self.watched[at].value.0] else { return };
            reals.resize(tensor.len(), 0.0);
            if tensor.copy_f32_nchw(&mut reals).is_ok() {
                layers[at].add(&row_major(value), &reals);
            }
        })?;
        Ok((float, layers))
    }
}

/// A tensor of the model that has a counterpart in the float graph.
pub struct Watched {
    pub op: usize,
    pub tensor: TensorId,
    pub value: ValueId,
    pub dtype: DType,
    channels: usize,
    balanced: bool,
}

impl Watched {
    /// Nothing seen yet.
    pub fn sums(&self) -> LayerSums {
        LayerSums::new(self.balanced, self.channels)
    }
}

/// What the operators write that the float graph computes too, by name.
pub fn watched(graph: &Graph, model: &Model) -> Vec<Watched> {
    let mut all = Vec::new();
    for (op, record) in model.ops().enumerate() {
        for tensor in record.kind.writes().into_iter().flatten() {
            let desc = model.tensor(tensor);
            let name = model.text(desc.name);
            let balanced = name.strip_suffix(BALANCED);
            let name = balanced.unwrap_or(name);
            let value = graph.values().iter().position(|v| {
                v.name == name && v.shape.iter().product::<usize>() == desc.elements() as usize
            });
            if let Some(value) = value {
                all.push(Watched {
                    op,
                    tensor,
                    value: ValueId(value),
                    dtype: desc.dtype,
                    channels: desc.channels as usize,
                    balanced: balanced.is_some(),
                });
            }
        }
    }
    all
}
