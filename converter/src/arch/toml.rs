//! The arch file as TOML: written with comments on what is convention, read with checks.

use std::path::Path;

use super::file::{ArchFile, Head};
use super::{depth, names};
use crate::error::{Error, Result};

/// Table (without index), key, and what the reader of the file should know. A `*` stands for any value.
const COMMENTS: &[(&str, &str, &str)] = &[
    ("", "bn_eps", "convention"),
    ("", "depth", "6n+4"),
    ("input", "size", "convention: any size the strides allow; height, width"),
    ("input", "preset", "convention: a hint for preprocessing (imagenet, cifar10, unit, raw)"),
    ("input", "bgr", "convention: channel order blue, green, red"),
    ("input", "letterbox", "convention: grey beside images of another shape (114, 114:top-left)"),
    ("stem", "stride", "convention"),
    ("stem", "padding", "convention: half the window"),
    ("stem", "activation", "convention (none, relu, relu6, silu, hardswish)"),
    ("tail", "stride", "convention"),
    ("tail", "padding", "convention"),
    ("tail", "activation", "convention"),
    ("stem.max_pool", "window", "convention: poolings have no parameters"),
    ("stage", "stride", "convention: stride of the first block"),
    (
        "stage",
        "projection_stride",
        "convention: the documented grouped block projects with stride 1",
    ),
    ("stage", "activation", "convention (none, relu, relu6, silu, hardswish)"),
    ("stage", "projection", "convention: what the skip path reads (raw, activated), or pad"),
    ("stage", "residual", "convention"),
    ("stage", "groups", "recognised, checked against the shapes"),
    ("stage", "inner", "recognised, checked against the shapes"),
    ("stage", "channels", "recognised, checked against the shapes"),
    ("stage.se", "activation", "convention"),
    ("stage.se", "gate", "convention"),
    ("final_norm", "activation", "convention"),
    ("neck", "kind", "recognised (fpn, pan)"),
    ("neck", "inputs", "recognised: stages, or c3 for the last map of stride 8"),
    ("neck", "levels", "convention: names of the neck's maps"),
    ("neck", "merge", "recognised (concat, add), its order convention (concat-up-first)"),
    ("neck", "activation", "convention (none, relu, relu6, silu, hardswish)"),
    ("neck", "lateral_activation", "convention"),
    ("head", "kind", "convention (dfl, distance, exp-distance, exp-size, anchor)"),
    ("head", "classes", "recognised, checked against the shapes"),
    ("head", "labels", "class names, one string each: labels = [\"cat\", \"dog\"]"),
    ("head", "bins", "recognised, checked against the shapes"),
    ("head", "anchors_per_cell", "recognised, checked against the shapes"),
    ("head", "anchors", "[width, height] in pixels of the input, per level and box"),
    ("head", "centre", "convention: where distances start in a cell, 0.5 or 0"),
    ("head", "activation", "convention (none, relu, relu6, silu, hardswish)"),
    ("head", "pool", "convention: mean over the map"),
    ("head", "softmax", "convention"),
    ("output", "after", "convention: which stages are outputs (a stage's name, or end)"),
];

/// In place of anchors that nobody knows.
const NO_ANCHORS: &str = "\
# anchors = [[[w, h], [w, h], [w, h]], ...]  # needed for boxes: in pixels of the input, per level and box
";

const HEADER: &str = "\
# A network as read from the names and shapes of a checkpoint.
# Entries marked \"convention\" cannot be seen there: correct them where the network differs.
";

impl ArchFile {
    /// The file's text.
    pub fn to_toml(&self) -> String {
        let body = ::toml::to_string(self).unwrap_or_default();
        let mut text = String::from(HEADER);
        for note in &self.notes {
            text.push_str(&format!("# NOTE {note}\n"));
        }
        text.push('\n');
        let mut table = String::new();
        for line in body.lines() {
            if line.starts_with('[') {
                line.trim_matches(['[', ']']).clone_into(&mut table);
            }
            let key = line.split(' ').next().unwrap_or("");
            text.push_str(line);
            if let Some((.., comment)) = COMMENTS.iter().find(|(t, k, _)| *t == table && *k == key)
            {
                text.push_str("  # ");
                text.push_str(comment);
            }
            text.push('\n');
            let detector = match &self.head {
                Some(Head::Detector(head)) => head.lacks_anchors(),
                _ => false,
            };
            if detector && key == "anchors_per_cell" {
                text.push_str(NO_ANCHORS);
            }
        }
        text
    }

    /// Reads a file's text: a whole description, or entries that replace those of `known`.
    ///
    /// # Errors
    /// As [`ArchFile::from_toml`].
    pub fn overlay(text: &str, known: impl FnOnce() -> Result<Self>) -> Result<Self> {
        let wrong =
            |e: ::toml::de::Error| Error::Input(format!("arch file: {}", e.to_string().trim_end()));
        let table: ::toml::Table = ::toml::from_str(text).map_err(wrong)?;
        if table.contains_key("family") {
            return Self::from_toml(text);
        }
        let known = known()?;
        let mut whole = ::toml::Table::try_from(&known).unwrap_or_default();
        replace(&mut whole, table);
        let arch: Self = whole.try_into().map_err(wrong)?;
        arch.validate()?;
        Ok(arch)
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// It is no TOML, has unknown entries, or describes no network; the message says where.
    pub fn from_toml(text: &str) -> Result<Self> {
        let arch: Self = ::toml::from_str(text)
            .map_err(|e| Error::Input(format!("arch file: {}", e.to_string().trim_end())))?;
        arch.validate()?;
        Ok(arch)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`ArchFile::from_toml`], or it cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        Self::from_toml(&text).map_err(|e| e.in_file(path))
    }

    /// Checks that the entries describe a network.
    ///
    /// # Errors
    /// The first entry that does not.
    pub fn validate(&self) -> Result<()> {
        self.problem().map_or(Ok(()), |p| Err(Error::Input(format!("arch file: {p}"))))
    }

    fn problem(&self) -> Option<String> {
        let Self { input, stem, stages, tail, .. } = self;
        if input.channels == 0 || input.size.contains(&0) || input.size.iter().any(|s| *s > 1 << 16)
        {
            return Some(format!("input.channels and input.size must be 1 or more, got {input:?}"));
        }
        if !(self.bn_eps.is_finite() && self.bn_eps >= 0.0) {
            return Some(format!("bn_eps = {} is no small positive number", self.bn_eps));
        }
        if stem.is_empty() && stages.is_empty() {
            return Some("there is neither a [[stem]] nor a [[stage]]".into());
        }
        for unit in stem.iter().chain(tail) {
            let pool = unit
                .max_pool
                .is_some_and(|p| p.window == 0 || p.stride == 0 || p.padding > p.window / 2);
            if unit.stride == 0 || pool {
                return Some(format!(
                    "'{}' has a stride or pooling of 0, or too much padding",
                    unit.conv
                ));
            }
        }
        for (i, stage) in stages.iter().enumerate() {
            let name = &stage.name;
            if name.is_empty() || name == "end" || stages[..i].iter().any(|s| s.name == *name) {
                return Some(format!("stage {} needs a name of its own, not '{name}'", i + 1));
            }
            if stage.stride == 0 || stage.projection_stride == Some(0) || stage.count == 0 {
                return Some(format!(
                    "stage '{name}': stride, projection_stride and count must be 1 or more"
                ));
            }
            if stage.count > 4096 {
                return Some(format!("stage '{name}': count = {} blocks", stage.count));
            }
            if stage.count > 1 && !stage.path.contains("{}") {
                return Some(format!(
                    "stage '{name}': path '{}' needs {{}} for the index of its {} blocks",
                    stage.path, stage.count
                ));
            }
        }
        let known = names::roles();
        if let Some(role) = self.names.keys().find(|r| !known.contains(r)) {
            return Some(format!("[names] has no role '{role}'; there are {}", known.join(", ")));
        }
        if let Some(problem) = self.preprocess().err() {
            return Some(problem.to_string());
        }
        if let Some(problem) = self.detector_problem() {
            return Some(problem);
        }
        let units = || stem.iter().chain(tail).map(|u| u.conv.clone());
        let maps = stages.iter().map(|s| s.name.clone()).chain(self.detector_maps());
        let have: Vec<String> = maps.collect();
        for tap in &self.outputs {
            let known = tap.after == "end" || have.contains(&tap.after);
            if !known && !units().any(|u| u == tap.after) {
                return Some(format!(
                    "output '{}' stands behind '{}', which is no stage; there are {}, end",
                    tap.name,
                    tap.after,
                    have.join(", ")
                ));
            }
        }
        self.depth.and_then(|d| self.depth_problem(d))
    }

    fn detector_problem(&self) -> Option<String> {
        if let Some(neck) = &self.neck {
            let missing = neck.inputs.iter().find_map(|name| self.place(name).err());
            if let Some(problem) =
                neck.problem().or_else(|| missing.map(|e| format!("[neck]: {e}")))
            {
                return Some(problem);
            }
            let maps = self.detector_maps();
            let stage = |name: &str| self.stages.iter().any(|s| s.name == name) || name == "end";
            let twice = |(i, name): &(usize, &String)| {
                name.is_empty() || maps[..*i].contains(name) || stage(name)
            };
            if let Some((_, name)) = maps.iter().enumerate().find(twice) {
                return Some(format!("[neck]: '{name}' is the name of something else already"));
            }
        }
        let Some(Head::Detector(head)) = &self.head else { return None };
        let inputs = self.head_inputs(head);
        if inputs.is_empty() {
            return Some("[head]: without a [neck], inputs must name the maps it reads".into());
        }
        let missing = head.inputs.iter().find_map(|name| self.place(name).err());
        missing.map(|e| format!("[head]: {e}")).or_else(|| head.problem(inputs.len()))
    }

    fn depth_problem(&self, depth: usize) -> Option<String> {
        let n = match depth::blocks(depth) {
            Ok(n) => n,
            Err(e) => return Some(e),
        };
        let counts: Vec<usize> = self.stages.iter().map(|s| s.count).collect();
        (counts != [n; 3]).then(|| {
            format!("depth = {depth} means three stages of {n} blocks, the stages have {counts:?}")
        })
    }
}

/// Puts entries in the place of others, tables entry by entry.
fn replace(whole: &mut ::toml::Table, entries: ::toml::Table) {
    for (key, entry) in entries {
        match (whole.get_mut(&key), entry) {
            (Some(::toml::Value::Table(old)), ::toml::Value::Table(new)) => replace(old, new),
            (_, entry) => {
                whole.insert(key, entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::by_name;

    #[test]
    fn text_round_trips_and_marks_conventions() {
        for name in crate::arch::known_names() {
            let arch = by_name(name).unwrap();
            let text = arch.to_toml();
            assert!(text.contains("# convention: stride of the first block"), "{text}");
            assert!(text.contains("bn_eps = 1e-5") || text.contains("bn_eps = 0.00001"), "{text}");
            assert_eq!(ArchFile::from_toml(&text).unwrap().to_toml(), text);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let good = by_name("wrn-28-2").unwrap().to_toml();
        let broken = |from: &str, to: &str| {
            assert!(good.contains(from), "{from} not in {good}");
            ArchFile::from_toml(&good.replacen(from, to, 1)).unwrap_err().to_string()
        };
        assert!(broken("bn_eps", "bn_epsilon").contains("bn_epsilon"));
        assert!(broken("depth = 28", "depth = 128").contains("124 and 130"));
        assert!(broken("depth = 28", "depth = 34").contains("[4, 4, 4]"));
        assert!(broken("block = \"pre-basic\"", "block = \"preact\"").contains("preact"));
        assert!(broken("stride = 2", "stride = 0").contains("must be 1 or more"));
        assert!(broken("stage1.{}", "stage1.0").contains("needs {}"));
        assert!(broken("conv1 = ", "konv1 = ").contains("konv1"));
        assert!(broken("channels = 3", "channels = 0").contains("input.channels"));
        assert!(ArchFile::from_toml("[[[").is_err());
    }
}
