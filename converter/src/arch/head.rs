//! The `[head]` table: a classifier, or with a `kind` the head of a detector.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::detector::file::DetectionHead;
use super::file::Act;

/// What follows the last feature map, or the maps of a neck.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Head {
    /// Pooling and linear layers.
    Classifier(Classifier),
    /// Convolutions whose results are boxes and scores.
    Detector(Box<DetectionHead>),
}

impl<'de> Deserialize<'de> for Head {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let table = ::toml::Table::deserialize(from)?;
        let detector = table.contains_key("kind");
        let value = ::toml::Value::Table(table);
        if detector {
            DetectionHead::deserialize(value).map(|h| Self::Detector(Box::new(h)))
        } else {
            Classifier::deserialize(value).map(Self::Classifier)
        }
        .map_err(|e| D::Error::custom(format!("[head]: {}", e.message())))
    }
}

/// Pooling and linear layers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Classifier {
    /// Mean over the whole map first.
    pub pool: bool,
    /// Softmax over the classes at the end.
    #[serde(default)]
    pub softmax: bool,
    /// Linear layers in order; with none of them the pooled map stays `[N, C, 1, 1]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LinearUnit>,
}

/// Linear layer, batch norm, activation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearUnit {
    /// The linear layer's module.
    pub linear: String,
    /// The batch norm's module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bn: Option<String>,
    /// Activation behind it.
    #[serde(default = "no_act")]
    pub activation: Act,
}

fn no_act() -> Act {
    Act::None
}
