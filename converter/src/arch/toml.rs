//! The arch file as TOML: written with comments on what is convention, read with checks.

use std::path::Path;

use super::file::ArchFile;
use super::{depth, names};
use crate::error::{Error, Result};

/// Table (without index), key, and what the reader of the file should know. A `*` stands for any value.
const COMMENTS: &[(&str, &str, &str)] = &[
    ("", "bn_eps", "convention"),
    ("", "depth", "6n+4"),
    ("input", "size", "convention: any size the strides allow; height, width"),
    ("input", "preset", "convention: a hint for preprocessing (imagenet, cifar10, unit, raw)"),
    ("input", "bgr", "convention: channel order blue, green, red"),
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
    ("head", "pool", "convention: mean over the map"),
    ("head", "softmax", "convention"),
    ("output", "after", "convention: which stages are outputs (a stage's name, or end)"),
];

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
        }
        text
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
        for tap in &self.outputs {
            if tap.after != "end" && !stages.iter().any(|s| s.name == tap.after) {
                let have: Vec<&str> = stages.iter().map(|s| s.name.as_str()).collect();
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
