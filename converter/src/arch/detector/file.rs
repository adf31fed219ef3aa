//! Necks and detection heads in the arch file.

use serde::{Deserialize, Serialize};

use crate::arch::file::Act;

/// Module paths of convolution units, one behind the other: a string for one, a list for several, empty for none.
///
/// A unit is a convolution and its batch norm, found under the path as `conv` and `bn` (or `0` and `1`, `norm`), or the
/// convolution itself; `conv path + batch norm path` names both. In a head `{}` stands for the level's index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrMore", into = "OneOrMore")]
pub struct Chain(pub Vec<String>);

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a module path or a list of them")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl From<OneOrMore> for Chain {
    fn from(from: OneOrMore) -> Self {
        match from {
            OneOrMore::One(path) if path.is_empty() => Self::default(),
            OneOrMore::One(path) => Self(vec![path]),
            OneOrMore::More(paths) => Self(paths),
        }
    }
}

impl From<Chain> for OneOrMore {
    fn from(chain: Chain) -> Self {
        match <[String; 1]>::try_from(chain.0) {
            Ok([one]) => Self::One(one),
            Err(more) if more.is_empty() => Self::One(String::new()),
            Err(more) => Self::More(more),
        }
    }
}

impl Chain {
    /// Nothing at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths for a level.
    pub(super) fn at(&self, level: usize) -> Vec<String> {
        self.0.iter().map(|p| p.replace("{}", &level.to_string())).collect()
    }
}

/// Which way a neck passes maps on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NeckKind {
    /// From the coarsest map to the finest.
    #[default]
    Fpn,
    /// The same, then back to the coarsest.
    Pan,
}

impl NeckKind {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fpn => "FPN",
            Self::Pan => "PAN",
        }
    }
}

/// How a neck joins two maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Merge {
    /// Channels one behind the other: on the way down the level's own map first, on the way up the one from below.
    #[default]
    Concat,
    /// The same, but on the way down the map from above first.
    ConcatUpFirst,
    /// The sum.
    Add,
}

/// A neck. Lists have one entry per level (or per step between levels), finest first.
///
/// ```text
/// t[n] = lateral[n](c[n])        t[i] = top_down[i](merge(lateral[i](c[i]), up(t[i+1])))        s[i] = smooth[i](t[i])
/// FPN:  p[i] = s[i]
/// PAN:  b[0] = s[0]              b[i] = bottom_up[i](merge(down[i-1](b[i-1]), s[i]))            p[i] = output[i](b[i])
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neck {
    /// Which way maps are passed on.
    pub kind: NeckKind,
    /// The maps it reads, finest first: stages, convolutions of the stem, or `c3`, the last map of stride 8.
    pub inputs: Vec<String>,
    /// Names of the maps it puts out, finest first.
    pub levels: Vec<String>,
    /// How two maps are joined.
    #[serde(default)]
    pub merge: Merge,
    /// Activation of units with a batch norm.
    #[serde(default)]
    pub activation: Act,
    /// That of the lateral units, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateral_activation: Option<Act>,
    /// Units that bring the inputs to the neck's channels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lateral: Vec<Chain>,
    /// Units behind the joined maps on the way down, for all levels but the coarsest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top_down: Vec<Chain>,
    /// Units behind the way down, for all levels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub smooth: Vec<Chain>,
    /// Units of stride 2 on the way up, for all levels but the coarsest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub down: Vec<Chain>,
    /// Units behind the joined maps on the way up, for all levels but the finest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bottom_up: Vec<Chain>,
    /// Units behind the way up, for all levels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<Chain>,
}

/// How a head codes its boxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoxKind {
    /// Left, top, right, bottom as a softmax over distances (YOLOv8).
    Dfl,
    /// Left, top, right, bottom in strides (SCRFD).
    #[default]
    Distance,
    /// Their logarithms (FCOS).
    ExpDistance,
    /// Centre in strides from the cell's corner, logarithm of the size in strides (YOLOX).
    ExpSize,
    /// Sigmoids of centre and size against anchors (YOLOv5).
    Anchor,
}

impl BoxKind {
    /// The name in reports and in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dfl => "dfl",
            Self::Distance => "distance",
            Self::ExpDistance => "exp-distance",
            Self::ExpSize => "exp-size",
            Self::Anchor => "anchor",
        }
    }
}

/// The head of a detector: per level, branches of convolution units and the convolutions that predict. A path with
/// `{}` is one module per level, one without is shared by all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectionHead {
    /// How boxes are coded.
    pub kind: BoxKind,
    /// The maps it reads, finest first; the neck's levels when not given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// Number of classes; checked against the shapes.
    pub classes: usize,
    /// Class names.
    #[serde(default)]
    pub labels: Vec<String>,
    /// Distances per side of a `dfl` head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bins: Option<usize>,
    /// Boxes per cell.
    #[serde(default = "one")]
    pub anchors_per_cell: usize,
    /// Per level and box: width and height in pixels of the input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<Vec<[f32; 2]>>,
    /// Where distances are measured from, in cells from a cell's top left corner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub centre: Option<f32>,
    /// Activation of units with a batch norm.
    #[serde(default)]
    pub activation: Act,
    /// Units in front of both branches.
    #[serde(default, skip_serializing_if = "Chain::is_empty")]
    pub stem: Chain,
    /// Units in front of `boxes` and `objectness`.
    #[serde(default, skip_serializing_if = "Chain::is_empty")]
    pub box_branch: Chain,
    /// Units in front of `scores`.
    #[serde(default, skip_serializing_if = "Chain::is_empty")]
    pub class_branch: Chain,
    /// Convolution that predicts boxes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub boxes: String,
    /// Convolution that predicts whether there is an object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub objectness: String,
    /// Convolution that predicts classes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scores: String,
    /// One convolution for all of it, in place of the three: per anchor box, objectness, classes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub combined: String,
}

fn one() -> usize {
    1
}

impl DetectionHead {
    /// Channels of one box.
    pub fn box_channels(&self) -> usize {
        4 * self.bins.filter(|_| self.kind == BoxKind::Dfl).unwrap_or(1)
    }

    /// Names of the head's tensors, level by level: boxes, objectness, scores, or all in one.
    pub(in crate::arch) fn tensors(&self, levels: &[String]) -> Vec<Vec<String>> {
        let kinds: &[&str] = match (self.combined.is_empty(), self.objectness.is_empty()) {
            (false, _) => &["pred"],
            (true, true) => &["reg", "cls"],
            (true, false) => &["reg", "obj", "cls"],
        };
        levels.iter().map(|l| kinds.iter().map(|k| format!("{l}_{k}")).collect()).collect()
    }

    /// Reference point of a cell.
    pub fn centre(&self) -> f32 {
        self.centre.unwrap_or(0.5)
    }

    /// What the entries contradict, for a head of so many levels.
    pub(in crate::arch) fn problem(&self, levels: usize) -> Option<String> {
        let text = |what: String| Some(format!("[head]: {what}"));
        if self.classes == 0 || self.anchors_per_cell == 0 {
            return text("classes and anchors_per_cell must be 1 or more".into());
        }
        if (self.kind == BoxKind::Dfl) != self.bins.is_some_and(|b| b > 1) {
            return text("a dfl head, and no other, needs bins, 2 or more".into());
        }
        let separate = !self.boxes.is_empty() && !self.scores.is_empty();
        if separate != self.combined.is_empty() {
            return text("needs boxes and scores, or combined".into());
        }
        if !self.combined.is_empty() && !self.class_branch.is_empty() {
            return text("a combined prediction has no class_branch; use box_branch".into());
        }
        if !self.labels.is_empty() && self.labels.len() != self.classes {
            return text(format!("{} labels for {} classes", self.labels.len(), self.classes));
        }
        if self.anchors.is_empty() {
            return None;
        }
        let sides = self.anchors.iter().flatten().flatten();
        if self.anchors.len() != levels
            || self.anchors.iter().any(|l| l.len() != self.anchors_per_cell)
            || sides.clone().any(|s| !(s.is_finite() && *s > 0.0))
        {
            return text(format!(
                "anchors must be [width, height] in pixels, {} for each of {levels} levels",
                self.anchors_per_cell
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_strings_or_lists() {
        #[derive(Debug, Serialize, Deserialize)]
        struct Holder {
            chains: Vec<Chain>,
        }
        let text = "chains = [\"a\", \"\", [\"b\", \"c.{}\"]]\n";
        let holder: Holder = ::toml::from_str(text).unwrap();
        assert_eq!(holder.chains[2].at(1), ["b", "c.1"]);
        assert!(holder.chains[1].is_empty());
        assert_eq!(::toml::to_string(&holder).unwrap(), text);
        let error = ::toml::from_str::<Holder>("chains = [1]").unwrap_err().to_string();
        assert!(error.contains("expected a module path"), "{error}");
    }

    #[test]
    fn contradictions_are_named() {
        let good = DetectionHead {
            kind: BoxKind::Anchor,
            classes: 3,
            anchors_per_cell: 1,
            anchors: vec![vec![[8.0, 8.0]]; 2],
            combined: "head.{}".into(),
            ..DetectionHead::default()
        };
        assert_eq!(good.problem(2), None);
        let broken = |change: fn(&mut DetectionHead)| {
            let mut head = good.clone();
            change(&mut head);
            head.problem(2).unwrap()
        };
        assert!(broken(|h| h.classes = 0).contains("classes"));
        assert!(broken(|h| h.kind = BoxKind::Dfl).contains("bins"));
        assert!(broken(|h| h.combined.clear()).contains("combined"));
        assert!(broken(|h| h.labels = vec!["a".into()]).contains("1 labels for 3"));
        assert!(broken(|h| h.anchors[1][0][0] = 0.0).contains("anchors"));
        assert!(broken(|h| h.anchors.truncate(1)).contains("each of 2 levels"));
    }
}
