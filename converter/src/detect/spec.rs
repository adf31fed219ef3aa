//! What a head's tensors mean: as a graph has them, and as a model file wants them.

use kenar::detect::{BoxCode, Head, Level, MAX_ANCHORS, MAX_LEVELS};
use kenar::format::Placement;

use crate::data::{ChannelOrder, Fit, Letterbox};
use crate::error::{Error, Result};
use crate::graph::Graph;

/// How a kind of detector wants its images, where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputHint {
    /// Red, green, blue, in units of pixel / 255.
    pub mean: [f32; 3],
    /// Red, green, blue, in units of pixel / 255.
    pub std: [f32; 3],
    /// Order of the tensor's channels.
    pub order: ChannelOrder,
    /// What happens to images of another size.
    pub fit: Fit,
}

impl InputHint {
    /// Pixels from 0 to 1 in the middle of a grey square, as YOLOv5 and YOLOv8 are fed.
    pub const YOLO: Self = Self {
        mean: [0.0; 3],
        std: [1.0; 3],
        order: ChannelOrder::Rgb,
        fit: Fit::Letterbox(Letterbox { level: 114, placement: Placement::Centred }),
    };
}

/// Input pixels per cell of a map of the network, both `[N, C, H, W]`; `None` when there is no whole number of them, the
/// same both ways.
#[must_use]
pub fn stride(input: &[usize], map: &[usize]) -> Option<u32> {
    let (&[_, _, input_h, input_w], &[_, _, h, w]) = (input, map) else { return None };
    let stride = input_h.checked_div(h)?;
    let whole = stride > 0 && stride * h == input_h && stride * w == input_w;
    whole.then(|| u32::try_from(stride).ok()).flatten()
}

/// Channels of a graph's output that hold one thing: those of anchor `a`, component `k` are
/// `first + a * per_anchor + k`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Name of the graph's output, `[1, C, H, W]`.
    pub output: String,
    /// First channel.
    pub first: usize,
    /// Channels from one anchor to the next.
    pub per_anchor: usize,
}

impl Part {
    /// An output that holds nothing else, `components` per anchor.
    pub fn whole(output: impl Into<String>, components: usize) -> Self {
        Self { output: output.into(), first: 0, per_anchor: components }
    }
}

/// One level of a [`RawHead`].
#[derive(Clone, Debug, PartialEq)]
pub struct RawLevel {
    /// Input pixels per cell.
    pub stride: u32,
    /// Boxes, [`BoxCode::channels`] components.
    pub boxes: Part,
    /// Objectness logits, one component.
    pub objectness: Option<Part>,
    /// Class logits, `classes` components.
    pub scores: Part,
    /// Landmarks, `2 * points` components.
    pub points: Option<Part>,
    /// Width and height of each anchor in input pixels; empty unless the code is [`BoxCode::Anchor`].
    pub anchors: Vec<[f32; 2]>,
}

impl RawLevel {
    /// The level of an anchor head whose one output holds box, objectness and classes of an anchor side by side.
    #[must_use]
    pub fn mixed(stride: u32, output: &str, classes: usize, anchors: Vec<[f32; 2]>) -> Self {
        let part = |first| Part { output: output.to_owned(), first, per_anchor: 5 + classes };
        let (boxes, objectness, scores) = (part(0), Some(part(4)), part(5));
        Self { stride, boxes, objectness, scores, points: None, anchors }
    }
}

/// A head as an importer finds it: what the channels of the graph's outputs mean. Scores are logits.
#[derive(Clone, Debug, PartialEq)]
pub struct RawHead {
    /// What was recognised, for reports: `YOLOv8`, `YOLOX`, `SCRFD`.
    pub kind: String,
    /// How boxes are coded.
    pub code: BoxCode,
    /// Reference point of a cell, see [`Head::centre`].
    pub centre: f32,
    /// Boxes per cell.
    pub anchors_per_cell: usize,
    /// Classes.
    pub classes: usize,
    /// Landmarks per box.
    pub points: usize,
    /// Levels, finest first.
    pub levels: Vec<RawLevel>,
    /// Class names, if the source has them; else empty.
    pub labels: Vec<String>,
    /// How this kind of detector wants its images, if that is known.
    pub input: Option<InputHint>,
}

/// One level of a [`HeadSpec`]: names of outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct LevelSpec {
    /// Input pixels per cell.
    pub stride: u32,
    /// Output with the boxes.
    pub boxes: String,
    /// Output with the objectness.
    pub objectness: Option<String>,
    /// Output with the class scores.
    pub scores: String,
    /// Output with the landmarks.
    pub points: Option<String>,
    /// Width and height of each anchor in input pixels; empty unless the code is [`BoxCode::Anchor`].
    pub anchors: Vec<[f32; 2]>,
}

/// The owned twin of [`kenar::detect::Head`], with outputs by name: boxes, objectness, classes and landmarks are outputs
/// of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadSpec {
    /// What was recognised, for reports.
    pub kind: String,
    /// How boxes are coded.
    pub code: BoxCode,
    /// Reference point of a cell, see [`Head::centre`].
    pub centre: f32,
    /// Boxes per cell.
    pub anchors_per_cell: usize,
    /// Classes.
    pub classes: usize,
    /// Landmarks per box.
    pub points: usize,
    /// Levels, finest first.
    pub levels: Vec<LevelSpec>,
}

impl RawHead {
    /// The head of a graph whose outputs are separate already; `None` if an output mixes boxes, objectness or classes.
    #[must_use]
    pub fn separated(&self, graph: &Graph) -> Option<HeadSpec> {
        let name = |part: &Part, components: usize| {
            let output = graph.outputs.iter().find(|o| o.name == part.output)?;
            let channels = graph.shape(output.value).get(1).copied()?;
            let whole = part.first == 0
                && (part.per_anchor == components || self.anchors_per_cell == 1)
                && channels == self.anchors_per_cell * components;
            whole.then(|| part.output.clone())
        };
        let optional = |part: &Option<Part>, components: usize| match part {
            Some(part) => name(part, components).map(Some),
            None => Some(None),
        };
        let level = |level: &RawLevel| {
            Some(LevelSpec {
                stride: level.stride,
                boxes: name(&level.boxes, self.code.channels() as usize)?,
                objectness: optional(&level.objectness, 1)?,
                scores: name(&level.scores, self.classes)?,
                points: optional(&level.points, 2 * self.points)?,
                anchors: level.anchors.clone(),
            })
        };
        let levels = self.levels.iter().map(level).collect::<Option<_>>()?;
        Some(self.with_levels(levels))
    }

    /// This head with its outputs separated into `levels`.
    #[must_use]
    pub fn with_levels(&self, levels: Vec<LevelSpec>) -> HeadSpec {
        HeadSpec {
            kind: self.kind.clone(),
            code: self.code,
            centre: self.centre,
            anchors_per_cell: self.anchors_per_cell,
            classes: self.classes,
            points: self.points,
            levels,
        }
    }
}

impl HeadSpec {
    /// Whether everything is known that decoding needs: a source may hold no anchors.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.code != BoxCode::Anchor
            || self.levels.iter().all(|l| l.anchors.len() == self.anchors_per_cell)
    }

    /// Names of all outputs, level by level: boxes, objectness, scores, points.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().flat_map(|level| {
            let LevelSpec { boxes, objectness, scores, points, .. } = level;
            [Some(boxes), objectness.as_ref(), Some(scores), points.as_ref()]
                .into_iter()
                .flatten()
                .map(String::as_str)
        })
    }

    /// The record for outputs with these names, in this order.
    ///
    /// # Errors
    /// [`Error::Input`] for an output that is not among them, or for more levels or anchors than a record holds.
    pub fn record<S: AsRef<str>>(&self, outputs: &[S]) -> Result<Head> {
        if self.levels.is_empty() || self.levels.len() > MAX_LEVELS {
            return Err(Error::Input(format!(
                "the head has {} levels, expected 1 to {MAX_LEVELS}",
                self.levels.len()
            )));
        }
        let find = |name: &String| {
            outputs.iter().position(|o| o.as_ref() == name).map(|at| at as u32).ok_or_else(|| {
                Error::Input(format!("the head needs output '{name}', which is not kept"))
            })
        };
        let mut levels = [Level::EMPTY; MAX_LEVELS];
        for (record, level) in levels.iter_mut().zip(&self.levels) {
            let expected = if self.code == BoxCode::Anchor { self.anchors_per_cell } else { 0 };
            if level.anchors.len() != expected || self.anchors_per_cell > MAX_ANCHORS {
                return Err(Error::Input(format!(
                    "the head has {} anchors at stride {}, expected {expected} (at most {MAX_ANCHORS})",
                    level.anchors.len(),
                    level.stride
                )));
            }
            record.stride = level.stride;
            record.boxes = find(&level.boxes)?;
            record.objectness = level.objectness.as_ref().map(find).transpose()?;
            record.scores = find(&level.scores)?;
            record.points = level.points.as_ref().map(find).transpose()?;
            record.anchors[..expected].copy_from_slice(&level.anchors);
        }
        Ok(Head {
            code: self.code,
            centre: self.centre,
            anchors_per_cell: self.anchors_per_cell as u32,
            classes: self.classes as u32,
            points: self.points as u32,
            levels,
            level_count: self.levels.len() as u32,
        })
    }
}
