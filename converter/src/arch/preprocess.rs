//! The preprocessing an arch file hints at.

use super::file::{ArchFile, Input};
use crate::data::{ChannelOrder, Fit, Preprocess, Preset};
use crate::detect::InputHint;
use crate::error::{Error, Result};

impl Input {
    /// The input contract that the `preset`, `bgr` and `letterbox` entries describe, at the size given; `None` without a
    /// preset. `raw` is for networks that read 0 to 255.
    ///
    /// # Errors
    /// The preset or the letterbox is unknown.
    pub fn preprocess(&self) -> Result<Option<Preprocess>> {
        let Some(preset) = &self.preset else { return Ok(None) };
        let mut preprocess = match preset.as_str() {
            "imagenet" => Preprocess::preset(Preset::Imagenet, self.size),
            "cifar10" => Preprocess::preset(Preset::Cifar10, self.size),
            "unit" => Preprocess::preset(Preset::Unit, self.size),
            "raw" => {
                Preprocess { std: [1.0 / 255.0; 3], ..Preprocess::preset(Preset::Unit, self.size) }
            }
            other => {
                return Err(Error::Input(format!(
                    "arch file: input.preset = \"{other}\"; there are imagenet, cifar10, unit, raw"
                )));
            }
        };
        if self.size[0].max(self.size[1]) < 64 {
            // Small images come at the network's size: nothing to cut off.
            preprocess.fit = Preprocess::preset(Preset::Cifar10, self.size).fit;
        }
        if self.bgr {
            preprocess.order = ChannelOrder::Bgr;
        }
        if let Some(text) = &self.letterbox {
            let letterbox = text.parse();
            preprocess.fit = Fit::Letterbox(
                letterbox.map_err(|e| Error::Input(format!("arch file: input.letterbox: {e}")))?,
            );
        }
        Ok(Some(preprocess))
    }

    /// The same without a size.
    ///
    /// # Errors
    /// As [`Input::preprocess`].
    pub fn hint(&self) -> Result<Option<InputHint>> {
        let hint =
            |p: Preprocess| InputHint { mean: p.mean, std: p.std, order: p.order, fit: p.fit };
        Ok(self.preprocess()?.map(hint))
    }
}

impl ArchFile {
    /// The input contract of the file, see [`Input::preprocess`].
    ///
    /// # Errors
    /// As [`Input::preprocess`].
    pub fn preprocess(&self) -> Result<Option<Preprocess>> {
        self.input.preprocess()
    }
}

#[cfg(test)]
mod tests {
    use crate::arch::by_name;
    use crate::data::ChannelOrder;

    #[test]
    fn hints_become_contracts() {
        let mut arch = by_name("resnet20").unwrap();
        let p = arch.preprocess().unwrap().unwrap();
        assert_eq!((p.size, p.mean[0], p.order), ([32, 32], 0.485, ChannelOrder::Rgb));
        arch.input.preset = Some("raw".into());
        arch.input.bgr = true;
        let p = arch.preprocess().unwrap().unwrap();
        assert_eq!((p.mean, p.order), ([0.0; 3], ChannelOrder::Bgr));
        arch.input.preset = Some("mnist".into());
        assert!(arch.preprocess().unwrap_err().to_string().contains("mnist"));
        arch.input.preset = None;
        assert!(arch.preprocess().unwrap().is_none());
    }
}
