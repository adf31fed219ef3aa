//! Recognises a neck by the names of its parts.

use super::units::{self, Unit};
use crate::arch::detector::file::{Chain, Merge, Neck, NeckKind};
use crate::arch::file::{Act, ArchFile};
use crate::arch::modules::Modules;

/// Part and spellings; `#` is the number of the level or of the step between levels, finest first.
const SPELLINGS: &[(&str, &[&str])] = &[
    (
        "lateral",
        &[
            "lateral#",
            "lateral_convs.#",
            "laterals.#",
            "lateral_conv#",
            "inner_blocks.#",
            "fpn_lateral#",
            "reduce#",
        ],
    ),
    ("top_down", &["top_down#", "td#", "top_down_blocks.#", "fuse_down#"]),
    (
        "smooth",
        &[
            "smooth#",
            "smooths.#",
            "fpn_convs.#",
            "layer_blocks.#",
            "fpn_output#",
            "output_convs.#",
            "out#",
        ],
    ),
    ("down", &["down#", "downsample_convs.#", "downsamples.#", "downsample#"]),
    ("bottom_up", &["bottom_up#", "bu#", "bottom_up_blocks.#", "fuse_up#"]),
    ("output", &["pafpn_convs.#"]),
];

/// A neck's units by part, finest level first.
#[derive(Debug)]
pub(super) struct Parts {
    lists: Vec<(&'static str, Vec<Vec<Unit>>)>,
    /// Units that fit no part.
    rest: Vec<String>,
}

impl Parts {
    /// The parts below `group`, if laterals are among them.
    pub fn find(m: &Modules<'_>, group: &str) -> Option<Self> {
        let all = units::under(m, group)?;
        let mut found: Vec<(&str, usize, Unit)> = Vec::new();
        let mut rest = Vec::new();
        for unit in all {
            match unit.path.strip_prefix(group).and_then(part) {
                Some((part, number)) => found.push((part, number, unit)),
                None => rest.push(unit.path),
            }
        }
        let list = |name: &'static str| {
            let mut numbers: Vec<usize> =
                found.iter().filter(|(part, ..)| *part == name).map(|(_, n, _)| *n).collect();
            numbers.sort_unstable();
            numbers.dedup();
            let at = |n: &usize| {
                let here = found.iter().filter(|(part, m, _)| *part == name && m == n);
                here.map(|(.., unit)| unit.clone()).collect()
            };
            (name, numbers.iter().map(at).collect::<Vec<Vec<Unit>>>())
        };
        let lists: Vec<_> = SPELLINGS.iter().map(|(name, _)| list(name)).collect();
        (lists[0].1.len() > 1).then_some(Self { lists, rest })
    }

    fn of(&self, name: &str) -> &[Vec<Unit>] {
        self.lists.iter().find(|(part, _)| *part == name).map_or(&[], |(_, list)| list)
    }

    /// The neck behind the backbone's last stages.
    pub fn describe(self, arch: &ArchFile) -> Result<Neck, String> {
        if let Some(path) = self.rest.first() {
            return Err(format!(
                "'{path}' is no known part of a neck ({}); describe the neck in an arch file",
                SPELLINGS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
            ));
        }
        let n = self.of("lateral").len();
        let chains = |name: &str, read: Option<usize>| {
            let chain = |units: &Vec<Unit>| units::chain(units.clone(), read);
            self.of(name).iter().map(chain).collect::<Result<Vec<_>, String>>()
        };
        let laterals = chains("lateral", None)?;
        let inputs = inputs(arch, &laterals)?;
        let width = laterals[0].last().map_or(0, |u| u.out);
        let top_down = chains("top_down", None)?;
        let doubled = chains("bottom_up", None)?;
        let fused = top_down.iter().chain(&doubled).filter_map(|c| c.first());
        let merge = match fused.map(|u| u.read).next() {
            Some(read) if read != width => Merge::Concat,
            _ => Merge::Add,
        };
        let joined = if merge == Merge::Concat { None } else { Some(width) };
        let list = |name: &str| -> Result<Vec<Chain>, String> {
            let chain = |c: Vec<Unit>| Chain(c.into_iter().map(|u| u.path).collect());
            Ok(chains(name, joined.filter(|_| name == "bottom_up"))?
                .into_iter()
                .map(chain)
                .collect())
        };
        let mut output = list("output")?;
        if output.len() + 1 == n {
            output.insert(0, Chain::default());
        }
        let pan = !self.of("down").is_empty();
        let lateral_norm = laterals.iter().flatten().any(|u| u.norm);
        let first_level = first_level(arch, &inputs);
        let neck = Neck {
            kind: if pan { NeckKind::Pan } else { NeckKind::Fpn },
            inputs,
            levels: (0..n).map(|i| format!("p{}", first_level + i)).collect(),
            merge,
            activation: if lateral_norm { Act::Relu } else { Act::None },
            lateral_activation: None,
            lateral: list("lateral")?,
            top_down: list("top_down")?,
            smooth: list("smooth")?,
            down: list("down")?,
            bottom_up: list("bottom_up")?,
            output,
        };
        neck.problem().map_or(Ok(neck), Err)
    }
}

/// Part and number of a path inside the neck.
fn part(relative: &str) -> Option<(&'static str, usize)> {
    let parse = |spelling: &str| {
        let (before, _) = spelling.split_once('#')?;
        let rest = relative.strip_prefix(before)?;
        let number = rest.split('.').next()?;
        number.parse().ok()
    };
    SPELLINGS.iter().find_map(|(name, all)| Some((*name, all.iter().find_map(|s| parse(s))?)))
}

/// The last stages, if their channels are what the laterals read.
fn inputs(arch: &ArchFile, laterals: &[Vec<Unit>]) -> Result<Vec<String>, String> {
    let reads: Vec<usize> = laterals.iter().filter_map(|c| c.first()).map(|u| u.read).collect();
    let stages = &arch.stages[arch.stages.len().saturating_sub(reads.len())..];
    let have: Vec<usize> = stages.iter().filter_map(|s| s.channels).collect();
    if have == reads {
        return Ok(stages.iter().map(|s| s.name.clone()).collect());
    }
    Err(format!(
        "the neck reads maps of {reads:?} channels, but the last stages put out {have:?}: name its inputs in an arch file"
    ))
}

/// The level of the first input: 3 for stride 8.
fn first_level(arch: &ArchFile, inputs: &[String]) -> usize {
    let stride =
        arch.strides().into_iter().find(|(name, _)| inputs.first().is_some_and(|i| i == name));
    stride.map_or(3, |(_, s)| s.max(1).ilog2() as usize)
}
