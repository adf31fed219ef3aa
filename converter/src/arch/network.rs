//! Builds the graph that an arch file describes from a checkpoint's tensors.

use super::blocks::{self, Block};
use super::builder::{Builder, Geometry};
use super::detector;
use super::file::{ArchFile, Classifier, ConvUnit, Head, Stage};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::graph::{Graph, Op, ValueId};

/// What a stage leaves behind.
struct StageEnd {
    /// The last block's result.
    sum: ValueId,
    /// The first block's pre-activated input, which is the tap of the stage before.
    entry: Option<ValueId>,
    /// The map as others see it, once somebody asked for it.
    tap: Option<ValueId>,
}

/// The values that outputs and necks can name.
struct Known {
    /// Stem and tail units by convolution, levels of the neck, tensors of the head.
    named: Vec<(String, ValueId)>,
    /// Stages.
    ends: Vec<StageEnd>,
    /// Behind the final norm.
    normed: Option<ValueId>,
    /// The end of the network.
    end: ValueId,
}

/// Builds the network of `arch` from `ckpt`; `input` `[C, H, W]` in place of the file's size.
///
/// # Errors
/// A tensor is missing or has the wrong shape, two branches do not meet in the same shape, or tensors of the
/// checkpoint are left over. Messages name the key, what was expected and what was found.
pub fn build(ckpt: &Checkpoint, arch: &ArchFile, input: Option<[usize; 3]>) -> Result<Graph> {
    arch.validate()?;
    let [c, h, w] = input.unwrap_or([arch.input.channels, arch.input.size[0], arch.input.size[1]]);
    if c != arch.input.channels || h == 0 || w == 0 {
        return Err(Error::Input(format!(
            "input {c}x{h}x{w} does not fit a network of {} input channels",
            arch.input.channels
        )));
    }
    #[allow(clippy::cast_possible_truncation)] // an epsilon as short as it was written
    let mut b = Builder::new(ckpt, &arch.prefix, arch.bn_eps as f32, &arch.family, [c, h, w]);
    let mut x = b.graph.input;
    let mut named = Vec::new();
    for unit in &arch.stem {
        x = conv_unit(&mut b, unit, x)?;
        named.push((unit.conv.clone(), x));
    }
    let mut ends = Vec::new();
    for stage in &arch.stages {
        let end = run_stage(&mut b, arch, stage, x)?;
        x = end.sum;
        ends.push(end);
    }
    for unit in &arch.tail {
        x = conv_unit(&mut b, unit, x)?;
        named.push((unit.conv.clone(), x));
    }
    let mut normed = None;
    if let Some(norm) = &arch.final_norm {
        x = b.batch_norm(&norm.bn, x)?;
        x = b.activation(&norm.bn, norm.activation, x)?;
        normed = Some(x);
    }
    let mut known = Known { named, ends, normed, end: x };
    let levels = match &arch.neck {
        Some(neck) => {
            let inputs = known.all(&mut b, arch, &neck.inputs)?;
            let maps = detector::neck::build(&mut b, neck, &inputs)?;
            neck.levels.iter().cloned().zip(maps).collect()
        }
        None => Vec::new(),
    };
    known.named.extend(levels.iter().cloned());
    let mut results = levels;
    match &arch.head {
        Some(Head::Classifier(head)) => known.end = classifier(&mut b, head, x)?,
        Some(Head::Detector(head)) => {
            if !head.inputs.is_empty() {
                let maps = known.all(&mut b, arch, &head.inputs)?;
                results = head.inputs.iter().cloned().zip(maps).collect();
            }
            results = detector::head::build(&mut b, head, &results)?;
            known.named.extend(results.iter().cloned());
        }
        None => {}
    }
    mark_outputs(&mut b, arch, &mut known, &results)?;
    b.finish("; correct the arch file")
}

impl Known {
    /// The values of several names.
    fn all(
        &mut self,
        b: &mut Builder<'_>,
        arch: &ArchFile,
        names: &[String],
    ) -> Result<Vec<ValueId>> {
        names.iter().map(|name| self.value(b, arch, &arch.place(name)?)).collect()
    }

    /// The value that an output stands behind.
    fn value(&mut self, b: &mut Builder<'_>, arch: &ArchFile, after: &str) -> Result<ValueId> {
        if after == "end" {
            return Ok(self.end);
        }
        if let Some((_, value)) = self.named.iter().find(|(name, _)| name == after) {
            return Ok(*value);
        }
        let i = arch.stages.iter().position(|s| s.name == after).ok_or_else(|| {
            Error::Input(format!("'{after}' is no stage, level or tensor of this network"))
        })?;
        if let Some(known) = self.ends[i].tap {
            return Ok(known);
        }
        let next = self.ends.get(i + 1).map(|end| end.entry);
        let value = tap_value(b, &arch.stages[i], self.ends[i].sum, next, self.normed)?;
        self.ends[i].tap = Some(value);
        Ok(value)
    }
}

fn conv_unit(b: &mut Builder<'_>, unit: &ConvUnit, x: ValueId) -> Result<ValueId> {
    let mut y = b.conv(
        &unit.conv,
        x,
        Geometry { stride: unit.stride, padding: unit.padding, groups: None },
    )?;
    let mut owner = &unit.conv;
    if let Some(bn) = &unit.bn {
        y = b.batch_norm(bn, y)?;
        owner = bn;
    }
    y = match &unit.prelu {
        Some(prelu) => b.prelu(prelu, y)?,
        None => b.activation(owner, unit.activation, y)?,
    };
    match unit.max_pool {
        Some(pool) => b.max_pool(owner, pool, y),
        None => Ok(y),
    }
}

fn run_stage(
    b: &mut Builder<'_>,
    arch: &ArchFile,
    stage: &Stage,
    mut x: ValueId,
) -> Result<StageEnd> {
    let mut entry = None;
    for i in 0..stage.count {
        let stride = if i == 0 { stage.stride } else { 1 };
        let block = Block {
            stage,
            names: &arch.names,
            path: stage.path.replace("{}", &i.to_string()),
            stride,
            projection_stride: if i == 0 { stage.projection_stride.unwrap_or(stride) } else { 1 },
        };
        let built = blocks::build(b, &block, x)?;
        x = built.value;
        if i == 0 {
            entry = built.entry;
        }
    }
    let found = b.graph.shape(x)[1];
    match stage.channels {
        Some(c) if c != found => Err(Error::source(
            &stage.name,
            format!(
                "the arch file expects channels = {c}, the checkpoint's stage puts out {found}"
            ),
        )),
        _ => Ok(StageEnd { sum: x, entry, tap: None }),
    }
}

fn classifier(b: &mut Builder<'_>, head: &Classifier, mut x: ValueId) -> Result<ValueId> {
    if head.pool {
        x = b.graph.push("pool", Op::GlobalAvgPool, &[x])?;
    }
    if !head.layers.is_empty() {
        x = b.graph.push("flatten", Op::Flatten, &[x])?;
    }
    for layer in &head.layers {
        x = b.linear(&layer.linear, x)?;
        if let Some(bn) = &layer.bn {
            x = b.batch_norm(bn, x)?;
        }
        x = b.activation(&layer.linear, layer.activation, x)?;
    }
    if head.softmax {
        x = b.graph.push("softmax", Op::Softmax { axis: 1 }, &[x])?;
    }
    Ok(x)
}

/// Marks what the file names as outputs, else the head's tensors or the neck's maps, else the end.
fn mark_outputs(
    b: &mut Builder<'_>,
    arch: &ArchFile,
    known: &mut Known,
    results: &[(String, ValueId)],
) -> Result<()> {
    if arch.outputs.is_empty() {
        for (name, value) in results {
            b.graph.mark_output(name, *value);
        }
        if results.is_empty() {
            b.graph.mark_output("output", known.end);
        }
    }
    for tap in &arch.outputs {
        let value = known.value(b, arch, &tap.after)?;
        b.graph.mark_output(&tap.name, value);
    }
    // Norms of taps nobody asked for are parameters of the network all the same.
    for (stage, end) in arch.stages.iter().zip(&known.ends) {
        if let Some(bn) = &stage.tap_bn {
            let c = b.graph.shape(end.sum)[1];
            b.know_batch_norm(bn, c)?;
        }
    }
    Ok(())
}

/// The tap of a stage: its result, or behind pre-activation blocks `relu(bn(sum))`. `next` is the pre-activated input
/// of the stage behind it, if there is one.
fn tap_value(
    b: &mut Builder<'_>,
    stage: &Stage,
    sum: ValueId,
    next: Option<Option<ValueId>>,
    normed: Option<ValueId>,
) -> Result<ValueId> {
    if let Some(bn) = &stage.tap_bn {
        let y = b.batch_norm(bn, sum)?;
        return b.activation(bn, stage.activation, y);
    }
    if !stage.block.is_pre() {
        return Ok(sum);
    }
    next.unwrap_or(normed).ok_or_else(|| {
        Error::graph(
            &stage.name,
            "the stage ends in a raw sum and no batch norm follows it: name one as tap_bn in the arch file",
        )
    })
}
