//! What all staged networks have in common: a stem, numbered stages, norms behind them, a linear layer.

use super::survey::{Run, Survey};
use crate::arch::file::{Act, ArchFile, Classifier, ConvUnit, FinalNorm, Head, LinearUnit};
use crate::arch::modules::{Module, Modules};

/// Words that number stages, as in `stage1`, `layer1`.
const WORDS: &[&str] = &["stage", "layer", "block", "group"];

/// Stem convolution and its batch norm, relative to the root.
const STEMS: &[(&str, &[&str])] = &[
    ("stem.conv", &["stem.bn"]),
    ("stem", &["stem_bn", "bn_stem"]),
    ("conv1", &["bn1", "norm1", "batch_norm1"]),
    ("conv1.conv", &["conv1.bn"]),
    ("conv1.0", &["conv1.1"]),
    ("conv0", &["bn0", "norm0"]),
    ("conv", &["bn"]),
    ("init_conv", &["init_bn"]),
    ("lift.conv", &["lift.bn"]),
];

/// Norms behind the last stage, relative to the root.
const FINAL_NORMS: &[&str] =
    &["bn", "batch_norm", "norm", "bn_final", "final_bn", "last_bn", "bn1", "bn2"];

/// Parts of a staged network, by module path.
pub(super) struct Skeleton<'a> {
    m: &'a Modules<'a>,
    /// Convolution, batch norm.
    pub stem: Vec<(String, Option<String>)>,
    /// Whether the stem is a module called `stem`.
    pub named_stem: bool,
    pub survey: Survey,
    /// Batch norms that belong to the output of each stage.
    pub tap_norms: Vec<Option<String>>,
    pub final_norm: Option<String>,
    pub linear: Option<String>,
}

impl<'a> Skeleton<'a> {
    /// The skeleton, if the modules have numbered stages.
    pub fn find(m: &'a Modules<'a>) -> Option<Result<Self, String>> {
        let (root, word) = root(m)?;
        Some(Self::read(m, &root, word))
    }

    fn read(m: &'a Modules<'a>, root: &str, word: &'static str) -> Result<Self, String> {
        let runs: Vec<Run> = (1..)
            .map_while(|i| {
                let name = format!("{word}{i}");
                m.has(&format!("{root}{name}")).then(|| Run::at(m, &name, &format!("{root}{name}")))
            })
            .collect();
        let bases: Vec<String> = runs.iter().map(|r| format!("{root}{}.", r.name)).collect();
        let stem = stem(m, root);
        let is_stem_norm = |p: &str| stem.iter().any(|(_, bn)| bn.as_deref() == Some(p));
        let end_norm = |c: usize| {
            FINAL_NORMS
                .iter()
                .map(|n| format!("{root}{n}"))
                .find(|p| m.norm(p) == Some(c) && !is_stem_norm(p))
        };
        let survey = Survey::new(m, runs, |c| end_norm(c).is_some())?;
        let channels: Vec<usize> = survey
            .stages
            .iter()
            .map(|(_, f)| f.last().and_then(|f| f.c_out).unwrap_or(0))
            .collect();
        let mut tap_norms: Vec<Option<String>> = channels
            .iter()
            .enumerate()
            .map(|(i, &c)| {
                let path = format!("{root}bn{}", i + 1);
                (m.norm(&path) == Some(c) && !is_stem_norm(&path)).then_some(path)
            })
            .collect();
        if tap_norms.iter().flatten().count() < 2 {
            tap_norms.fill(None);
        }
        let last = channels.last().copied().unwrap_or(0);
        let final_norm = end_norm(last).filter(|p| !tap_norms.iter().flatten().any(|t| t == p));
        let mut linears = m
            .iter()
            .filter(|(p, module)| {
                matches!(module, Module::Linear { .. })
                    && !bases.iter().any(|b| p.starts_with(b.as_str()))
            })
            .map(|(p, _)| p.to_owned());
        let linear = linears.next();
        if let (Some(a), Some(b)) = (&linear, linears.next()) {
            return Err(format!(
                "two linear layers behind the stages, '{a}' and '{b}': their order is not known"
            ));
        }
        let named_stem = m.has(&format!("{root}stem"));
        Ok(Self { m, stem, named_stem, survey, tap_norms, final_norm, linear })
    }

    /// Side of the first convolution's window.
    pub fn stem_window(&self) -> usize {
        self.stem.first().and_then(|(conv, _)| self.m.conv(conv)).map_or(0, |s| s[2])
    }

    /// The arch file without the conventions of a family: all strides 1, no pooling.
    pub fn describe(&self) -> Result<ArchFile, String> {
        let first = self.survey.stages.first().and_then(|(_, f)| f.first()).and_then(|f| f.c_in);
        let (channels, stem_out) = match (self.stem.first(), self.stem.last()) {
            (Some((a, _)), Some((z, _))) => {
                let [a, z] = [a, z].map(|p| self.m.conv(p).unwrap_or_default());
                (a[1], z[0])
            }
            _ => (first.unwrap_or(0), first.unwrap_or(0)),
        };
        let mut stages = self.survey.describe(stem_out, |_, _, _| 1);
        for (stage, bn) in stages.iter_mut().zip(&self.tap_norms) {
            stage.tap_bn.clone_from(bn);
        }
        let mut arch = ArchFile::new("", channels);
        arch.names.clone_from(&self.survey.names);
        arch.stem = self.stem.iter().map(|(conv, bn)| unit(self.m, conv, bn.clone())).collect();
        arch.stages = stages;
        arch.final_norm = self.final_norm.clone().map(|bn| FinalNorm { bn, activation: Act::Relu });
        arch.head = self.linear.clone().map(|linear| {
            let layers = vec![LinearUnit { linear, bn: None, activation: Act::None }];
            Head::Classifier(Classifier { pool: true, softmax: false, layers })
        });
        arch.notes.clone_from(&self.survey.notes);
        Ok(arch)
    }
}

/// A convolution with "same" padding; without a batch norm it has no activation either.
pub(super) fn unit(m: &Modules<'_>, conv: &str, bn: Option<String>) -> ConvUnit {
    let window = m.conv(conv).map_or(1, |s| s[2]);
    let activation = if bn.is_some() { Act::Relu } else { Act::None };
    ConvUnit {
        conv: conv.to_owned(),
        bn,
        activation,
        stride: 1,
        padding: Some(window / 2),
        ..ConvUnit::default()
    }
}

/// Strides 1, 2, 2, ... of the stages' first blocks.
pub(super) fn halve_per_stage(arch: &mut ArchFile) {
    for (i, stage) in arch.stages.iter_mut().enumerate() {
        stage.stride = if i == 0 { 1 } else { 2 };
    }
}

/// Where `stage1` (or another of the words) is, nearest to the top.
fn root(m: &Modules<'_>) -> Option<(String, &'static str)> {
    let mut best: Option<(String, &'static str)> = None;
    for (path, _) in m.iter() {
        let mut start = 0;
        for part in path.split('.') {
            let word = WORDS.iter().find(|w| part.strip_prefix(**w) == Some("1"));
            if let Some(&word) = word
                && best.as_ref().is_none_or(|(b, _)| start < b.len())
            {
                best = Some((path[..start].to_owned(), word));
            }
            start += part.len() + 1;
        }
    }
    best
}

fn stem(m: &Modules<'_>, root: &str) -> Vec<(String, Option<String>)> {
    let mut sequence: Vec<(usize, String, Module)> = Vec::new();
    let base = format!("{root}stem");
    for (relative, module) in m.under(&base) {
        if let Ok(index) = relative.parse() {
            sequence.push((index, format!("{base}.{relative}"), module));
        }
    }
    sequence.sort_by_key(|(i, ..)| *i);
    let mut units: Vec<(String, Option<String>)> = Vec::new();
    for (_, path, module) in sequence {
        match module {
            Module::Conv { .. } => units.push((path, None)),
            Module::Norm(_) => {
                if let Some(last) = units.last_mut() {
                    last.1 = Some(path);
                }
            }
            _ => {}
        }
    }
    if !units.is_empty() {
        return units;
    }
    for (conv, norms) in STEMS {
        let conv = format!("{root}{conv}");
        if let Some([out, ..]) = m.conv(&conv) {
            let bn = norms.iter().map(|n| format!("{root}{n}")).find(|p| m.norm(p) == Some(out));
            return vec![(conv, bn)];
        }
    }
    Vec::new()
}
