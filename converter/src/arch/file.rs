//! The arch file: what a checkpoint's names and shapes say about its network, and what they cannot say.
//!
//! [`recognise`](super::recognise) fills one in, a user edits it, [`build`](super::build) turns it and the
//! checkpoint into a graph. Its TOML form (see [`super::toml`]) marks every entry that no checkpoint can show.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::blocks::BlockKind;
pub use super::detector::file::{BoxKind, Chain, DetectionHead, Merge, Neck, NeckKind};
pub use super::head::{Classifier, Head, LinearUnit};

/// A network: stem, stages of residual blocks, tail, final norm, neck, head, outputs.
///
/// Module paths are those of the `state_dict`, without [`ArchFile::prefix`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchFile {
    /// `wide-resnet`, `resnet`, `resnext`, `cifar-resnet`, `four-stage`, `plain-cnn`, `single-block`,
    /// `mini-fasnet`, ...
    pub family: String,
    /// The well-known network with these blocks and widths, where there is one (`resnet50`, `wrn-28-2`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Depth of a wide residual network, `6n+4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// In front of every key of the checkpoint (`module.`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Added to the variance in every batch norm.
    #[serde(default = "default_eps")]
    pub bn_eps: f64,
    /// The image input.
    pub input: Input,
    /// Path of each role (`conv1`, `bn1`, `proj`, `se1`, ...) inside a block.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
    /// Plain convolutions in front of the stages; a plain CNN is nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stem: Vec<ConvUnit>,
    /// Residual stages.
    #[serde(default, rename = "stage", skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// Plain convolutions behind the stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tail: Vec<ConvUnit>,
    /// Batch norm and activation behind the last stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_norm: Option<FinalNorm>,
    /// What joins the maps of several stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neck: Option<Neck>,
    /// Pooling and linear layers, or the convolutions of a detector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// Results; empty means the tensors of a detector's head, else the neck's maps, else the end of the network under
    /// the name `output`.
    #[serde(default, rename = "output", skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Tap>,
    /// What was decided by convention although the checkpoint would fit something else too; comments in TOML.
    #[serde(skip)]
    pub notes: Vec<String>,
}

impl ArchFile {
    /// An empty network over 32x32 images.
    pub fn new(family: &str, channels: usize) -> Self {
        Self {
            family: family.into(),
            model: None,
            depth: None,
            prefix: String::new(),
            bn_eps: default_eps(),
            input: Input { channels, size: [32, 32], preset: None, bgr: false, letterbox: None },
            names: BTreeMap::new(),
            stem: Vec::new(),
            stages: Vec::new(),
            tail: Vec::new(),
            final_norm: None,
            neck: None,
            head: None,
            outputs: Vec::new(),
            notes: Vec::new(),
        }
    }
}

fn default_eps() -> f64 {
    1e-5
}

/// The image input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Channels of the first convolution.
    pub channels: usize,
    /// Default height, width.
    pub size: [usize; 2],
    /// Preprocessing the network was most likely trained with: `imagenet`, `cifar10`, `unit`, `raw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Channel order blue, green, red.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bgr: bool,
    /// Grey beside an image of another shape, which is scaled until it fits: `114`, `114:top-left`. Without it the
    /// centre is cut out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letterbox: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature serde asks for
fn is_false(b: &bool) -> bool {
    !*b
}

/// Activations an arch file can name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// Nothing.
    None,
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `clamp(x, 0, 6)`.
    Relu6,
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * clamp(x + 3, 0, 6) / 6`.
    HardSwish,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `clamp(x / 6 + 1/2, 0, 1)`.
    HardSigmoid,
}

impl Act {
    /// The name in reports and in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Silu => "silu",
            Self::HardSwish => "hardswish",
            Self::Sigmoid => "sigmoid",
            Self::HardSigmoid => "hardsigmoid",
        }
    }
}

/// Convolution, batch norm, activation, pooling.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvUnit {
    /// The convolution's module.
    pub conv: String,
    /// The batch norm's module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bn: Option<String>,
    /// A PReLU's module; it takes the place of `activation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prelu: Option<String>,
    /// Activation behind the batch norm.
    #[serde(default)]
    pub activation: Act,
    /// Stride of the convolution.
    #[serde(default = "one")]
    pub stride: usize,
    /// Zero padding of the convolution on every side; half the window when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub padding: Option<usize>,
    /// Max-pooling behind the activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pool: Option<MaxPool>,
}

fn one() -> usize {
    1
}

/// Max-pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxPool {
    /// Side of the window.
    pub window: usize,
    /// Step of the window.
    pub stride: usize,
    /// Padding on every side.
    #[serde(default)]
    pub padding: usize,
}

/// Consecutive blocks of one kind; the first carries the stride and the change of width.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Name for outputs and reports.
    pub name: String,
    /// Kind of block.
    pub block: BlockKind,
    /// Module of a block, `{}` standing for its index.
    pub path: String,
    /// Number of blocks.
    #[serde(default = "one")]
    pub count: usize,
    /// Stride of the first block.
    #[serde(default = "one")]
    pub stride: usize,
    /// Stride of the first block's projection where it differs from `stride`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection_stride: Option<usize>,
    /// Which convolution of a block carries the stride; the block kind's own when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride_at: Option<usize>,
    /// Activation inside the blocks.
    #[serde(default)]
    pub activation: Act,
    /// What the skip path does where the block changes the shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<Projection>,
    /// Whether the block adds its input to its result.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub residual: bool,
    /// Activations of the squeeze-excitation units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub se: Option<Se>,
    /// Groups of the spatial convolution; checked against the shapes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<usize>,
    /// Channels inside a block; checked against the shapes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<usize>,
    /// Channels the stage puts out; checked against the shapes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Batch norm that belongs to this stage's output when it is tapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tap_bn: Option<String>,
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature serde asks for
fn is_true(b: &bool) -> bool {
    *b
}

/// The skip path of a block that changes stride or width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Projection {
    /// 1x1 convolution (and batch norm, if there is one) of the block's input.
    Raw,
    /// 1x1 convolution of the input behind the block's first batch norm and activation.
    Activated,
    /// No parameters: every second row and column, channels padded with zeros on both sides.
    Pad,
}

/// Activations of a squeeze-excitation unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Se {
    /// Between the two 1x1 convolutions.
    pub activation: Act,
    /// Behind the second.
    pub gate: Act,
}

/// Batch norm and activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalNorm {
    /// The batch norm's module.
    pub bn: String,
    /// Activation behind it.
    #[serde(default)]
    pub activation: Act,
}

/// A result of the network.
///
/// Behind a pre-activation stage the sum itself is unnormalised, so the tap is `relu(bn(sum))`: with the
/// stage's own `tap_bn`, else the first batch norm of the next block, else the final norm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tap {
    /// Name of the output.
    pub name: String,
    /// A stage's name, the convolution of a stem or tail unit, a neck's level, a tensor of the head, or `end` for the
    /// end of the network.
    pub after: String,
}
