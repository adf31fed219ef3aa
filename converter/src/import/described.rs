//! What a TOML file for `--arch` says about an ONNX network: the entries of an architecture file that no graph holds.

use std::path::Path;

use serde::Deserialize;

use crate::arch::file::Input;
use crate::detect::{InputHint, RawHead};
use crate::error::{Error, Result};

/// The part of an architecture file that matters here; other entries describe networks of checkpoints.
#[derive(Deserialize)]
struct File {
    input: Option<InputTable>,
    head: Option<HeadTable>,
}

#[derive(Deserialize)]
struct InputTable {
    preset: Option<String>,
    #[serde(default)]
    bgr: bool,
    letterbox: Option<String>,
}

#[derive(Deserialize)]
struct HeadTable {
    anchors: Option<Vec<Vec<[f32; 2]>>>,
    #[serde(default)]
    labels: Vec<String>,
}

/// What the file says.
pub(super) struct Described {
    /// Width and height in pixels, per level (finest first) and box.
    anchors: Option<Vec<Vec<[f32; 2]>>>,
    /// Class names.
    pub labels: Vec<String>,
    input: Option<InputTable>,
}

impl Described {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is no TOML or says nothing of anchors, labels or preprocessing.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let wrong = |detail: String| Error::Input(detail).in_file(path);
        let file: File =
            toml::from_str(&text).map_err(|e| wrong(e.to_string().trim_end().to_owned()))?;
        let (anchors, labels) = file.head.map_or((None, Vec::new()), |h| (h.anchors, h.labels));
        let input = file.input.filter(|input| input.preset.is_some());
        if anchors.is_none() && labels.is_empty() && input.is_none() {
            return Err(wrong(
                "says nothing that an ONNX file leaves open; expected [head] with anchors = [[[width, height], ...], ...] \
                 or labels = [\"name\", ...], or [input] with preset = \"imagenet\""
                    .into(),
            ));
        }
        Ok(Self { anchors, labels, input })
    }

    /// Gives a head what it lacks, and says what that was.
    ///
    /// # Errors
    /// [`Error::Input`] for anchors or labels that do not fit the head.
    pub fn complete(&self, head: &mut RawHead) -> Result<Option<String>> {
        if !self.labels.is_empty() {
            if self.labels.len() != head.classes {
                return Err(Error::Input(format!(
                    "{} labels are given, the head has {} classes",
                    self.labels.len(),
                    head.classes
                )));
            }
            head.labels.clone_from(&self.labels);
        }
        let Some(anchors) = &self.anchors else { return Ok(None) };
        head.set_anchors(anchors)?;
        Ok(Some("the anchors are those of the --arch file".into()))
    }

    /// Whether there are anchors.
    pub fn has_anchors(&self) -> bool {
        self.anchors.is_some()
    }

    /// The preprocessing for an image of a size, placed as `usual` unless the file says how.
    ///
    /// # Errors
    /// The preset or letterbox is unknown.
    pub fn hint(&self, size: [usize; 2], usual: Option<InputHint>) -> Result<Option<InputHint>> {
        let Some(InputTable { preset, bgr, letterbox }) = &self.input else { return Ok(usual) };
        let (preset, letterbox) = (preset.clone(), letterbox.clone());
        let placed = letterbox.is_some();
        let input = Input { channels: 3, size, preset, bgr: *bgr, letterbox };
        let mut hint = input.hint()?;
        if let (Some(hint), Some(usual), false) = (&mut hint, usual, placed) {
            hint.fit = usual.fit;
        }
        Ok(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{ChannelOrder, Fit, Letterbox};

    fn read(text: &str) -> Result<Described> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head.toml");
        std::fs::write(&path, text).unwrap();
        Described::read(&path)
    }

    #[test]
    fn entries_of_an_architecture_file_are_taken() {
        let described = read(
            "family = \"x\"\n[input]\nchannels = 3\npreset = \"imagenet\"\nbgr = true\n[head]\nkind = \"anchor\"\n\
             anchors = [[[1, 2], [3, 4]], [[5, 6], [7, 8.5]]]\nlabels = [\"a\", \"b\"]\n",
        )
        .unwrap();
        assert_eq!(described.anchors.as_ref().unwrap()[1], [[5.0, 6.0], [7.0, 8.5]]);
        assert_eq!(described.labels, ["a", "b"]);
        let fit = Fit::Letterbox(Letterbox::centred(7));
        let usual = InputHint { mean: [0.0; 3], std: [1.0; 3], order: ChannelOrder::Rgb, fit };
        let hint = described.hint([320, 320], Some(usual)).unwrap().unwrap();
        assert_eq!((hint.mean[0], hint.order, hint.fit), (0.485, ChannelOrder::Bgr, fit));
        // A file that leaves the input alone changes nothing about it.
        let described = read("[head]\nlabels = [\"a\"]\n").unwrap();
        assert_eq!(described.hint([320, 320], Some(usual)).unwrap(), Some(usual));
        assert!(!described.has_anchors());
    }

    #[test]
    fn files_that_say_nothing_are_refused_by_name() {
        for text in ["[head]\n", "", "[head]\nanchors = 3", "[", "[input]\nsize = [1, 2]\n"] {
            assert!(read(text).err().unwrap().to_string().contains("head.toml"), "{text}");
        }
        let described = read("[input]\npreset = \"mnist\"\n").unwrap();
        assert!(described.hint([32, 32], None).unwrap_err().to_string().contains("mnist"));
    }
}
