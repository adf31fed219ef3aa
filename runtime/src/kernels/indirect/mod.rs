//! Indirect GEMM (Dukhan 2019, arXiv:1907.02129): convolution as a matrix product whose rows are found where they are,
//! without an im2col copy. With one tap it is the pointwise GEMM, with one pixel the linear layer.
//!
//! What the rows read is the business of [`super::finder`]. Groups are panels that start at another input channel.
//! [`pack`] makes the panels, [`run`] multiplies by them.

mod pack;
mod run;

use super::conv::Body;
use super::finder::{MAX_RUNS, Walk};
use super::pack::{Packed, within};
use super::paired::Paired;
use super::tuned::{Blocking, Problem};
use crate::isa::Isa;
use crate::pages::Pages;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

pub(super) use run::run;

/// Ranges of channels start at multiples of it: no panel of an ungrouped convolution straddles one.
pub(super) const CHANNEL_GRANULE: usize = 64;

/// A run of output channels whose weights are packed together.
pub(super) struct Panel {
    /// Start and length of its weights.
    pub weights: (usize, usize),
    /// Output channels.
    pub channels: (usize, usize),
    /// First input channel.
    pub depth_start: usize,
    /// Vectors of output channels.
    pub vectors: usize,
    /// If its products are those of pairs.
    pub paired: Option<Paired>,
    /// Whether its sums are raised where they are finished in registers.
    raised: bool,
    /// How many of the panels from it on are full, have as many vectors and are as raised, if it is full itself.
    alike: usize,
}

impl Panel {
    /// Whether all its vectors are full.
    #[inline(always)]
    fn is_whole<I: Isa>(&self) -> bool {
        self.channels.1 - self.channels.0 == self.vectors * I::LANES
    }
}

/// Packed panels.
pub(super) struct Weights {
    packed: Packed,
    panels: Vec<Panel>,
    /// What sums of products of pairs start from; empty if there are none.
    bias: Box<[i32]>,
    /// What sums start from that are finished in registers.
    starts: Box<[i32]>,
    /// Runs and bytes of a run, as the micro-kernel sees them.
    runs: usize,
    depth: usize,
    walk: Walk,
    /// How the panels are made and grouped.
    blocking: Blocking,
    /// A run of zero points, with what the micro-kernel reads behind it.
    padding: Box<[u8]>,
    /// Whether the work is divided by channels, though there are several pixels.
    in_columns: bool,
}

impl Weights {
    /// Whether all sums are raised that are finished in registers.
    #[cfg(test)]
    pub fn is_raised(&self) -> bool {
        self.panels.iter().all(|panel| panel.raised)
    }

    pub fn attach(&mut self, shelf: &[Arc<Pages>]) {
        self.packed.attach(shelf);
    }

    /// The weights that a run of the channels from `channel` on begins with.
    #[inline(always)]
    pub fn head<I: Isa>(&self, channel: usize) -> &[i8] {
        let panels = self.of_channels(&(channel..usize::MAX));
        self.blocks::<I>(panels).next().map_or(&[], |block| self.block(block))
    }

    /// The weights of a run of panels.
    #[inline(always)]
    fn block(&self, panels: &[Panel]) -> &[i8] {
        match (panels.first(), panels.last()) {
            (Some(first), Some(last)) => {
                &self.packed[first.weights.0..last.weights.0 + last.weights.1]
            }
            _ => &[],
        }
    }

    /// Whether there are orders.
    #[inline(always)]
    pub fn is_in_pairs(&self) -> bool {
        !self.bias.is_empty()
    }

    /// Whether the work is divided by channels: there is one pixel, and panels start at multiples of the granule.
    pub fn is_by_channels(&self, body: &Body) -> bool {
        body.geometry.pixels() == 1 && self.panels.iter().all(|p| p.depth_start == 0)
    }

    /// Whether the work is divided by channels, though there are several pixels.
    pub fn is_in_columns(&self) -> bool {
        self.in_columns
    }

    /// The panels of some channels, which begin at a multiple of the granule.
    #[inline(always)]
    fn of_channels(&self, channels: &Range<usize>) -> &[Panel] {
        within(&self.panels, channels, |p| p.channels)
    }

    /// The problem's size, and how it is divided.
    pub fn blocking(&self, isa: &'static str, body: &Body) -> (Problem, Blocking) {
        (problem(isa, body, (self.runs, self.depth)), self.blocking)
    }

    pub fn name(&self, body: &Body) -> &'static str {
        match self.walk {
            Walk::Windows => "gathered",
            Walk::Rows => "window_rows",
            Walk::Taps if body.geometry.is_pointwise() => "pointwise",
            Walk::Taps => "indirect",
        }
    }

    /// Panels in runs whose weights fit the second cache level, and whose tiles have the same number of rows. Sums that
    /// are collected in parts are those of one panel.
    fn blocks<'w, I: Isa>(&'w self, panels: &'w [Panel]) -> impl Iterator<Item = &'w [Panel]> {
        let mut rest = panels;
        let most = if self.runs > MAX_RUNS { 1 } else { usize::MAX };
        let bytes = usize::from(self.blocking.block_kib) << 10;
        core::iter::from_fn(move || {
            let first = rest.first()?;
            let fits = |p: &&Panel| {
                p.weights.0 + p.weights.1 - first.weights.0 <= bytes
                    && (p.vectors == first.vectors || p.vectors.max(first.vectors) <= I::NV)
            };
            let n = rest.iter().take(most).take_while(fits).count();
            let (block, after) = rest.split_at(n.max(1));
            rest = after;
            Some(block)
        })
    }
}

/// What a choice of blocking depends on.
fn problem(isa: &'static str, body: &Body, (runs, depth): (usize, usize)) -> Problem {
    Problem { isa, pixels: body.geometry.pixels(), channels: body.channels_out, runs, depth }
}
