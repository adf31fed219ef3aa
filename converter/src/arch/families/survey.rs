//! Runs of blocks: finds them, surveys every block, and agrees on names and style for the whole network.

use std::collections::BTreeMap;

use crate::arch::blocks::{self, BlockKind, Facts, Style};
use crate::arch::file::{Act, Stage};
use crate::arch::modules::Modules;

/// Consecutive blocks of one kind.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub name: String,
    /// `{}` stands for the block's index; without it the run is one block.
    pub path: String,
    pub count: usize,
}

impl Run {
    /// The run under a module path: numbered blocks in it, in a list inside it, or the module itself.
    pub fn at(m: &Modules<'_>, name: &str, base: &str) -> Self {
        for list in ["", "nblockLayer.", "layer.", "layers.", "blocks.", "model."] {
            let lead = if base.is_empty() { list.to_owned() } else { format!("{base}.{list}") };
            let count = (0..).take_while(|i| m.has(&format!("{lead}{i}"))).count();
            if count > 0 {
                return Self { name: name.to_owned(), path: format!("{lead}{{}}"), count };
            }
        }
        Self { name: name.to_owned(), path: base.to_owned(), count: 1 }
    }

    /// Whether the run is one unnumbered block.
    pub fn direct(&self) -> bool {
        !self.path.contains("{}")
    }
}

/// All runs of a network.
pub(super) struct Survey {
    pub names: BTreeMap<String, String>,
    pub stages: Vec<(Run, Vec<Facts>)>,
    /// Whether the blocks are pre-activated.
    pub pre: bool,
    pub notes: Vec<String>,
}

impl Survey {
    /// Surveys all blocks. `normed_end`: a norm of its own follows the last stage, as only pre-activation has.
    pub fn new(
        m: &Modules<'_>,
        runs: Vec<Run>,
        normed_end: impl Fn(usize) -> bool,
    ) -> Result<Self, String> {
        let mut names = BTreeMap::<String, String>::new();
        let mut stages = Vec::new();
        for run in runs {
            let mut all = Vec::new();
            for i in 0..run.count {
                let facts = blocks::survey(m, &run.path.replace("{}", &i.to_string()))?;
                for (role, relative) in &facts.names {
                    let known = names.entry(role.clone()).or_insert_with(|| relative.clone());
                    if known != relative {
                        return Err(format!(
                            "blocks name '{role}' differently: {known} and {relative}"
                        ));
                    }
                }
                all.push(facts);
            }
            stages.push((run, all));
        }
        let facts = || stages.iter().flat_map(|(_, f)| f);
        let style = |wanted| facts().any(|f| f.convs > 1 && f.style == wanted);
        let mut notes = Vec::new();
        let pre = match (style(Style::Post), style(Style::Pre)) {
            (true, true) => return Err("some blocks are pre-activated and some are not".into()),
            (true, false) => false,
            (false, true) => true,
            (false, false) if !style(Style::Either) => false,
            _ => {
                let last = facts().last().and_then(|f| f.c_out).unwrap_or(0);
                let order = facts().find_map(|f| f.norm_first);
                if !normed_end(last) && order.is_none() {
                    notes.push(
                        "block: names and shapes fit pre-activation and post-activation alike (identity blocks only); \
                         pre-activation is assumed. For the other write block = \"basic\" or \"bottleneck\"."
                            .into(),
                    );
                }
                normed_end(last) || order.unwrap_or(true)
            }
        };
        Ok(Self { names, stages, pre, notes })
    }

    /// The stages as the arch file has them, `strides[i]` for the first block of stage i.
    pub fn describe(
        &self,
        c_in: usize,
        stride: impl Fn(usize, BlockKind, bool) -> usize,
    ) -> Vec<Stage> {
        let mut incoming = c_in;
        let mut stages = Vec::new();
        for (i, (run, facts)) in self.stages.iter().enumerate() {
            let (Some(first), Some(last)) = (facts.first(), facts.last()) else { continue };
            let block = first.kind(self.pre);
            let out = last.c_out.unwrap_or(incoming);
            let same = |f: fn(&Facts) -> Option<usize>| {
                facts.iter().map(f).reduce(|a, b| if a == b { a } else { None }).flatten()
            };
            let groups =
                first.groups(incoming).filter(|&g| g > 1 && block != BlockKind::InvertedResidual);
            let se = facts.iter().find_map(|f| f.se);
            let wider = incoming != first.c_out.unwrap_or(incoming);
            let projection = facts.iter().find_map(|f| f.projection);
            stages.push(Stage {
                name: run.name.clone(),
                block,
                path: run.path.clone(),
                count: run.count,
                stride: stride(i, block, wider),
                projection_stride: (block == BlockKind::Grouped && projection.is_some())
                    .then_some(1),
                activation: se.map_or(Act::Relu, |se| se.activation),
                projection,
                residual: true,
                se,
                groups,
                inner: if first.convs == 3 { same(|f| f.inner) } else { None },
                channels: last.c_out,
                ..Stage::default()
            });
            incoming = out;
        }
        stages
    }
}
