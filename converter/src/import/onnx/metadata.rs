//! What exporters say about a network beside its graph. Ultralytics writes class names, image size and task as text.

use std::collections::BTreeMap;

use super::literal::{self, Literal};
use super::proto::ModelProto;
use crate::error::Error;

/// The statements that matter here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Class names in their order; empty where there are none, or only numbers.
    pub labels: Vec<String>,
    /// Height and width of the image.
    pub size: Option<[usize; 2]>,
    /// What the network is for: `detect`, `classify`, `segment`, `pose`, `obb`.
    pub task: Option<String>,
}

impl Metadata {
    pub(super) fn of(model: &ModelProto) -> Self {
        let find = |key: &str| model.metadata_props.iter().find(|p| p.key == key);
        let literal = |key: &str| literal::parse(&find(key)?.value);
        Self {
            labels: literal("names").and_then(labels).unwrap_or_default(),
            size: literal("imgsz").and_then(size),
            task: find("task").map(|p| p.value.clone()),
        }
    }

    /// The same error, with the reason in front when the network is for a task that has no head here.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let Some(task) = self.task.as_deref() else { return error };
        let parts = match task {
            "pose" => "keypoints beside boxes",
            "segment" => "masks beside boxes",
            "obb" => "rotated boxes",
            _ => return error,
        };
        Error::source(
            "",
            format!(
                "is a network for the task '{task}', as its metadata says: {parts} are not supported; expected one for \
                 'detect' or 'classify' (--outputs takes layers of its backbone). The first obstacle: {error}"
            ),
        )
    }
}

/// Numbers from 0 without a gap, each with a name.
fn labels(names: Literal) -> Option<Vec<String>> {
    let text = |literal| match literal {
        Literal::Text(text) => Some(text),
        _ => None,
    };
    let labels: Vec<String> = match names {
        Literal::List(names) => names.into_iter().map(text).collect::<Option<_>>()?,
        Literal::Table(entries) => {
            let count = entries.len();
            let entry = |(key, name)| {
                let key = match key {
                    Literal::Int(key) => usize::try_from(key).ok()?,
                    Literal::Text(key) => key.parse().ok()?,
                    _ => return None,
                };
                (key < count).then_some((key, text(name)?))
            };
            let sorted: BTreeMap<usize, String> =
                entries.into_iter().map(entry).collect::<Option<_>>()?;
            if sorted.len() != count {
                return None;
            }
            sorted.into_values().collect()
        }
        _ => return None,
    };
    let numbered = labels.iter().enumerate().all(|(i, name)| {
        let digits = name.strip_prefix("class").unwrap_or(name);
        digits.parse() == Ok(i)
    });
    (!numbered).then_some(labels)
}

/// `[height, width]`, or one side of a square.
fn size(literal: Literal) -> Option<[usize; 2]> {
    let side = |literal: &Literal| match literal {
        Literal::Int(side) => usize::try_from(*side).ok().filter(|&n| n > 0),
        _ => None,
    };
    match &literal {
        Literal::List(sides) => match sides.as_slice() {
            [height, width] => Some([side(height)?, side(width)?]),
            _ => None,
        },
        _ => side(&literal).map(|side| [side; 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::StringStringEntryProto;
    use super::*;

    fn metadata(entries: &[(&str, &str)]) -> Metadata {
        let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        };
        let metadata_props = entries.iter().map(entry).collect();
        Metadata::of(&ModelProto { metadata_props, ..ModelProto::default() })
    }

    fn labels(names: &str) -> Vec<String> {
        metadata(&[("names", names)]).labels
    }

    #[test]
    fn names_are_read_in_the_order_of_their_numbers() {
        assert_eq!(labels("{1: 'WBC', 0: 'RBC', 2: \"Platelet's\"}"), ["RBC", "WBC", "Platelet's"]);
        assert_eq!(labels("['cat', 'dog']"), ["cat", "dog"]);
        assert_eq!(labels("{\"0\": \"cat\", \"1\": \"dog\"}"), ["cat", "dog"]);
        // Gaps, twice the same, no names at all, and numbers that say nothing.
        for none in ["{0: 'a', 2: 'b'}", "{0: 'a', 0: 'b'}", "{0: 1}", "cat, dog", "", "7"] {
            assert!(labels(none).is_empty(), "{none}");
        }
        for none in ["{0: '0', 1: '1'}", "{0: 'class0', 1: 'class1'}", "[]"] {
            assert!(labels(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn sizes_are_of_one_image() {
        let size = |text: &str| metadata(&[("imgsz", text)]).size;
        assert_eq!(size("[480, 640]"), Some([480, 640]));
        assert_eq!(size("320"), Some([320, 320]));
        for none in ["[0, 640]", "[-1, 1]", "[640]", "large"] {
            assert_eq!(size(none), None, "{none}");
        }
    }

    #[test]
    fn tasks_without_a_head_are_named() {
        let error = || Error::graph("Cos", "is not supported");
        for (task, part) in [("pose", "keypoints"), ("segment", "masks"), ("obb", "rotated")] {
            let message = metadata(&[("task", task)]).explain(error()).to_string();
            for expected in [task, part, "'detect' or 'classify'", "'Cos'"] {
                assert!(message.contains(expected), "{message}");
            }
        }
        for other in [metadata(&[("task", "detect")]), metadata(&[])] {
            assert_eq!(other.explain(error()).to_string(), error().to_string());
        }
    }
}
