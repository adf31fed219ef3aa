//! Preprocessing: what the user says, the architecture's convention, what fits the data.

use super::Loaded;
use crate::data::{ChannelOrder, Dataset, DatasetKind, Fit, Preprocess, Preset};
use crate::error::Result;

/// Normalisation asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalize {
    /// A well-known one.
    Preset(Preset),
    /// Red, green, blue, in units of pixel / 255.
    Values {
        /// Subtracted.
        mean: [f32; 3],
        /// Divided by.
        std: [f32; 3],
    },
}

/// What the user says about preprocessing; the rest follows from the source and the images.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PreprocessRequest {
    /// Normalisation.
    pub normalize: Option<Normalize>,
    /// Blue first.
    pub bgr: bool,
    /// What happens to images of another size.
    pub fit: Option<Fit>,
}

impl Loaded {
    /// The preprocessing for this network, and a remark where something had to be assumed: the architecture's
    /// convention, else what fits the data.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for values that cannot serve.
    pub fn preprocess(
        &self,
        request: &PreprocessRequest,
        data: Option<&Dataset>,
    ) -> Result<(Preprocess, Option<String>)> {
        let size = self.image_size()?;
        let hint = self.arch.as_ref().map(|a| &a.input);
        let mut remark = None;
        let mut preprocess = match request.normalize {
            Some(Normalize::Preset(preset)) => Preprocess::preset(preset, size),
            Some(Normalize::Values { mean, std }) => Preprocess {
                mean,
                std,
                fit: Fit::CenterCrop(1.0),
                ..Preprocess::preset(Preset::Unit, size)
            },
            None if self.hint.is_some() => {
                let hint = self.hint.expect("was just seen");
                Preprocess {
                    size,
                    mean: hint.mean,
                    std: hint.std,
                    order: hint.order,
                    fit: hint.fit,
                }
            }
            None => {
                let hinted = hint.and_then(|i| i.preset.as_deref()).and_then(Preset::by_name);
                let preset = hinted.unwrap_or_else(|| preset_for(data));
                remark = Some(format!(
                    "normalisation '{}' was assumed ({}); --preset or --mean and --std say what the network was trained with",
                    preset.name(),
                    if hinted.is_some() {
                        "usual for this architecture"
                    } else {
                        "usual for these images"
                    }
                ));
                Preprocess::preset(preset, size)
            }
        };
        if request.bgr || (request.normalize.is_none() && hint.is_some_and(|i| i.bgr)) {
            preprocess.order = ChannelOrder::Bgr;
        }
        if let Some(fit) = request.fit.or(self.hint.map(|hint| hint.fit)) {
            preprocess.fit = fit;
        }
        preprocess.check()?;
        Ok((preprocess, remark))
    }
}

fn preset_for(data: Option<&Dataset>) -> Preset {
    match data.map(Dataset::kind) {
        Some(DatasetKind::Cifar10) => Preset::Cifar10,
        Some(DatasetKind::Batch) => Preset::Unit,
        _ => Preset::Imagenet,
    }
}
