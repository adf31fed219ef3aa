//! Builds a block by its [`Layout`].

use std::collections::BTreeMap;

use super::{BlockKind, Layout, se};
use crate::arch::builder::{Builder, Geometry};
use crate::arch::file::{Projection, Stage};
use crate::arch::names;
use crate::error::{Error, Result};
use crate::graph::{Op, ValueId};

/// One block of a stage.
pub(in crate::arch) struct Block<'a> {
    /// The stage it belongs to.
    pub stage: &'a Stage,
    /// Path of each role, relative to the block.
    pub names: &'a BTreeMap<String, String>,
    /// The block's module path.
    pub path: String,
    /// Stride of this block.
    pub stride: usize,
    /// Stride of its projection.
    pub projection_stride: usize,
}

/// What a block gives.
pub(in crate::arch) struct Built {
    /// Its result.
    pub value: ValueId,
    /// Pre-activation: the block's input behind its first batch norm and activation.
    pub entry: Option<ValueId>,
}

impl Block<'_> {
    /// A path inside the block.
    pub fn child(&self, relative: &str) -> String {
        if self.path.is_empty() { relative.to_owned() } else { format!("{}.{relative}", self.path) }
    }

    /// Path of the module with a role.
    pub fn module(&self, role: &str) -> Result<String> {
        let relative = self.names.get(role).ok_or_else(|| {
            Error::source(
                &self.path,
                format!(
                    "a {:?} block needs a module for '{role}'; none is named in the arch file's [names] (usual: {})",
                    self.stage.block,
                    names::spellings(role).join(", ")
                ),
            )
        })?;
        Ok(self.child(relative))
    }

    /// Path of the module with a role, if this block has it.
    pub fn present(&self, b: &Builder<'_>, role: &str) -> Option<String> {
        let path = self.child(self.names.get(role)?);
        ["weight", "running_mean"]
            .iter()
            .any(|leaf| b.has(&format!("{path}.{leaf}")))
            .then_some(path)
    }

    fn act(&self, b: &mut Builder<'_>, n: usize, x: ValueId) -> Result<ValueId> {
        match self.present(b, &format!("act{n}")) {
            Some(prelu) => b.prelu(&prelu, x),
            None => b.activation(&self.child(&format!("relu{n}")), self.stage.activation, x),
        }
    }
}

/// Appends a block.
pub(in crate::arch) fn build(b: &mut Builder<'_>, block: &Block<'_>, x: ValueId) -> Result<Built> {
    let Some(layout) = block.stage.block.layout() else {
        let value = match block.stage.block {
            BlockKind::Se => se::build(b, block, x)?,
            _ => b.graph.push(block.child("add"), Op::Add, &[x, x])?,
        };
        return Ok(Built { value, entry: None });
    };
    let (mut value, entry) = branch(b, block, layout, x)?;
    if block.present(b, "se1").is_some() {
        value = se::build(b, block, value)?;
    }
    if block.stage.residual {
        let skip = skip(b, block, x, entry, value)?;
        value = add(b, block, value, skip)?;
    }
    if layout.act_on_sum {
        value = b.activation(&block.child("out"), block.stage.activation, value)?;
    }
    Ok(Built { value, entry })
}

/// The branch of convolutions, and the pre-activated input if the layout has one.
fn branch(
    b: &mut Builder<'_>,
    block: &Block<'_>,
    layout: &Layout,
    x: ValueId,
) -> Result<(ValueId, Option<ValueId>)> {
    let (mut y, mut entry) = (x, None);
    let stride_at = block.stage.stride_at.unwrap_or(layout.stride_at);
    if stride_at == 0 || stride_at > layout.convs {
        let detail =
            format!("stride_at = {stride_at}, but the block has {} convolutions", layout.convs);
        return Err(Error::graph(&block.path, detail));
    }
    for n in 1..=layout.convs {
        let conv = block.module(&format!("conv{n}"))?;
        let bn = format!("bn{n}");
        if layout.pre {
            y = b.batch_norm(&block.module(&bn)?, y)?;
            y = block.act(b, n, y)?;
            entry = entry.or(Some(y));
        }
        let geometry = Geometry {
            stride: if n == stride_at { block.stride } else { 1 },
            padding: None,
            groups: if n == layout.grouped_at { block.stage.groups } else { None },
        };
        y = b.conv(&conv, y, geometry)?;
        if n + 1 == layout.convs {
            expect_channels(b, block, y, block.stage.inner, "inner")?;
        }
        if !layout.pre {
            if let Some(norm) = block.present(b, &bn) {
                y = b.batch_norm(&norm, y)?;
            }
            if n < layout.convs || layout.act_on_branch {
                y = block.act(b, n, y)?;
            }
        }
    }
    Ok((y, entry))
}

fn expect_channels(
    b: &Builder<'_>,
    block: &Block<'_>,
    y: ValueId,
    wanted: Option<usize>,
    what: &str,
) -> Result<()> {
    let found = b.graph.shape(y)[1];
    match wanted {
        Some(c) if c != found => Err(Error::source(
            &block.path,
            format!("the arch file expects {what} = {c} channels, the checkpoint has {found}"),
        )),
        _ => Ok(()),
    }
}

/// The skip path: projection, parameter-free subsampling, or the input itself.
fn skip(
    b: &mut Builder<'_>,
    block: &Block<'_>,
    x: ValueId,
    entry: Option<ValueId>,
    branch: ValueId,
) -> Result<ValueId> {
    let projection = block.stage.projection;
    if let Some(proj) = block.present(b, "proj") {
        let source = match projection {
            Some(Projection::Activated) => entry.ok_or_else(|| {
                Error::graph(&proj, "projection = \"activated\" needs a pre-activation block")
            })?,
            Some(Projection::Pad) => {
                return Err(Error::graph(
                    &proj,
                    "projection = \"pad\", but the checkpoint has a projection",
                ));
            }
            Some(Projection::Raw) | None => x,
        };
        let geometry = Geometry { padding: Some(0), ..Geometry::stride(block.projection_stride) };
        let y = b.conv(&proj, source, geometry)?;
        return match block.present(b, "proj_bn") {
            Some(norm) => b.batch_norm(&norm, y),
            None => Ok(y),
        };
    }
    let (from, to) = (b.graph.shape(x).to_vec(), b.graph.shape(branch).to_vec());
    if from == to {
        return Ok(x);
    }
    if projection == Some(Projection::Pad) {
        return pad_shortcut(b, block, x, &to);
    }
    Err(Error::graph(
        if block.path.is_empty() { "block" } else { &block.path },
        format!(
            "the block turns {from:?} into {to:?} but has no projection for its skip path (looked for {}); \
             give it one, correct the stride, or set projection = \"pad\" for the parameter-free shortcut",
            names::spellings("proj").join(", ")
        ),
    ))
}

/// "Option A": every `stride`-th row and column, channels padded with zeros on both sides.
fn pad_shortcut(
    b: &mut Builder<'_>,
    block: &Block<'_>,
    x: ValueId,
    to: &[usize],
) -> Result<ValueId> {
    let mut y = x;
    if block.stride > 1 {
        for axis in [2, 3] {
            let op = Op::Slice { axis, start: 0, end: b.graph.shape(y)[axis], step: block.stride };
            y = b.graph.push(block.child(&format!("shortcut.slice{axis}")), op, &[y])?;
        }
    }
    let missing = to[1].checked_sub(b.graph.shape(y)[1]).ok_or_else(|| {
        Error::graph(&block.path, "a padded shortcut can add channels, not take them away")
    })?;
    let mut pads = vec![(0, 0); 4];
    pads[1] = (missing / 2, missing - missing / 2);
    b.graph.push(block.child("shortcut.pad"), Op::Pad { pads, value: 0.0 }, &[y])
}

/// The sum. Both operands must have the same shape: broadcasting would hide a wrong stride on small maps.
fn add(b: &mut Builder<'_>, block: &Block<'_>, branch: ValueId, skip: ValueId) -> Result<ValueId> {
    let (f, s) = (b.graph.shape(branch).to_vec(), b.graph.shape(skip).to_vec());
    if f == s {
        return b.graph.push(block.child("add"), Op::Add, &[branch, skip]);
    }
    let fix = if block.stride != block.projection_stride && f[1] == s[1] {
        format!(
            "; the convolution has stride {0} and the projection stride {1}: set projection_stride = {0} in the \
             arch file (or stride = {1})",
            block.stride, block.projection_stride
        )
    } else {
        String::new()
    };
    Err(Error::graph(
        block.child("add"),
        format!("the branch gives {f:?} and the skip path {s:?}{fix}"),
    ))
}
