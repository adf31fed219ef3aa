//! Weights in panels, and how they are divided.

use super::super::conv::{Body, Source};
use super::super::finder::{MAX_RUNS, SPARE, Walk};
use super::super::pack::{Shelf, panel, panel_bytes};
use super::super::paired::{self, Order};
use super::super::tuned::{self, Blocking};
use super::{CHANNEL_GRANULE, Panel, Weights, problem};
use crate::isa::Isa;
use alloc::vec::Vec;

/// KiB of weights that stay in the second cache level while all pixels pass.
const BLOCK_KIB: u16 = 256;

/// Pixels of a thread below which a convolution with more weights than the second cache level takes at a time is divided by
/// channels: every thread would read all weights, for so few products that they do not come in time.
const COLUMN_PIXELS: usize = 64;

/// Largest panel of four vectors, so that it stays in the first cache level. Narrow vectors need their weights less
/// often: those come from the second level in time.
const fn widest<I: Isa>() -> usize {
    if I::LANES >= 16 { 40 << 10 } else { (BLOCK_KIB as usize) << 10 }
}

impl Weights {
    #[inline(always)]
    pub fn pack<I: Isa>(
        _: I,
        body: &Body,
        groups: usize,
        source: Source<'_>,
        shelf: &mut Shelf,
    ) -> Self {
        let g = &body.geometry;
        let row = g.size[1] * body.depth;
        let walk = Walk::choose(body, groups);
        let (runs, depth) = match walk {
            Walk::Taps => (g.taps(), body.depth),
            Walk::Rows => (g.size[0], row),
            // Whole steps: no lanes.
            Walk::Windows => (1, (g.size[0] * row).next_multiple_of(16)),
        };

        let problem = problem(I::NAME, body, (runs, depth));
        let usual = || Blocking {
            wide: panel_bytes::<I>(runs, depth, 4) <= widest::<I>(),
            block_kib: BLOCK_KIB,
        };
        let chosen = shelf.blocking.or_else(|| tuned::measured(&problem));
        let mut blocking = chosen.unwrap_or_else(usual);
        blocking.wide &= I::WIDE > 0 && depth.div_ceil(4).is_multiple_of(4) && g.pixels() > 1;
        let orders = if const { I::PAIRS } {
            orders::<I>(body, groups, source, (runs, depth), shelf.pairs)
        } else {
            Vec::new()
        };
        blocking.wide &= orders.is_empty();
        let per_group = body.channels_out / groups;
        let mut panels = Vec::new();
        let mut len = 0;
        for group in 0..groups {
            let end = (group + 1) * per_group;
            let mut start = group * per_group;
            while start < end {
                let vectors = if !orders.is_empty() {
                    paired::VECTORS
                } else if blocking.wide && end - start >= 4 * I::LANES {
                    4
                } else if end - start > I::NV / 2 * I::LANES {
                    I::NV
                } else {
                    1
                };
                let next = end.min(start + vectors * I::LANES);
                let order = orders.get(panels.len());
                let bytes = match order {
                    Some(order) => order.bytes::<I>(),
                    None => panel_bytes::<I>(runs, depth, vectors),
                };
                panels.push(Panel {
                    weights: (len, bytes),
                    channels: (start, next),
                    depth_start: group * body.depth,
                    vectors,
                    paired: None,
                    raised: body.raised.serves::<I>(start..next),
                    alike: 0,
                });
                len += bytes;
                start = next;
            }
        }
        let (mut last, mut alike) = (None, 0);
        for p in panels.iter_mut().rev() {
            let kind = Some((p.vectors, p.raised));
            alike = match (p.is_whole::<I>(), kind == last) {
                (true, true) => alike + 1,
                (whole, _) => usize::from(whole),
            };
            (p.alike, last) = (alike, kind);
        }
        let (packed, out) = shelf.take(len);
        for (index, p) in panels.iter_mut().enumerate() {
            let out = &mut out[p.weights.0..][..p.weights.1];
            let (first, channels) = (p.channels.0, p.channels.1 - p.channels.0);
            let channel = |n: usize| source.channel(first + n);
            if let Some(order) = orders.get(index) {
                p.paired = Some(order.pack::<I>(out, channels, channel));
            } else if depth.is_multiple_of(4) {
                // Runs without lanes behind them are one.
                panel::<I>(out, p.vectors, channels, 1, runs * depth, |n, _| channel(n));
            } else {
                let run = |n: usize, run: usize| &channel(n)[run * depth..][..depth];
                panel::<I>(out, p.vectors, channels, runs, depth, run);
            }
        }
        let padding = alloc::vec![body.zero; groups * depth + SPARE].into();
        let mut bias = Vec::new();
        if !orders.is_empty() {
            bias.extend_from_slice(&body.bias);
            for (p, order) in panels.iter().zip(&orders) {
                let bias = &mut bias[p.channels.0..p.channels.1];
                order.take_offsets(bias, |n| source.channel(p.channels.0 + n));
            }
        }
        let mut starts = if bias.is_empty() { body.bias.to_vec() } else { bias.clone() };
        for p in panels.iter().filter(|p| p.raised) {
            body.raised.raise(&mut starts[p.channels.0..p.channels.1], |n| p.channels.0 + n);
        }
        let can = groups == 1 && runs <= MAX_RUNS && g.pixels() > 1;
        let in_columns = can
            && shelf.columns.unwrap_or_else(|| {
                let few = g.pixels() < COLUMN_PIXELS * shelf.threads;
                let wide = body.channels_out >= 2 * CHANNEL_GRANULE * shelf.threads;
                shelf.threads > 1 && few && wide && len > usize::from(BLOCK_KIB) << 10
            });
        let (bias, starts) = (bias.into(), starts.into());
        Self { packed, panels, bias, starts, runs, depth, walk, blocking, padding, in_columns }
    }
}

/// An order for every panel, or none.
#[inline(always)]
fn orders<I: Isa>(
    body: &Body,
    groups: usize,
    source: Source<'_>,
    (runs, depth): (usize, usize),
    wanted: Option<bool>,
) -> Vec<Order> {
    let k = runs * depth;
    let can = runs <= MAX_RUNS && paired::can::<I>(depth, k) && body.geometry.pixels() >= I::MR;
    if !can || wanted == Some(false) {
        return Vec::new();
    }
    let per_group = body.channels_out / groups;
    let mut orders = Vec::new();
    for group in 0..groups {
        for first in (0..per_group).step_by(paired::VECTORS * I::LANES) {
            let channels = (paired::VECTORS * I::LANES).min(per_group - first);
            let first = group * per_group + first;
            orders.push(Order::find(channels, k, |n| source.channel(first + n)));
        }
    }
    if !wanted.unwrap_or_else(|| paired::pay(&orders)) {
        orders.clear();
    }
    orders
}
