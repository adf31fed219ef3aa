//! Runs of pixels of one output row, as the grouped and the depthwise kernel walk the map.

use super::conv::Body;
use super::epilogue::MAX_LANES;
use super::geometry::Geometry;
use super::live::{Column, Live};
use super::quads::Pixels;
use super::scale::Scales;
use crate::isa::{Isa, Kernel};
use core::ops::Range;

/// Most pixels of a segment.
pub(super) const MAX_PIXELS: usize = 64;

/// Sums of a segment, one vector per pixel.
#[repr(align(64))]
pub(super) struct Sums(pub [i32; MAX_PIXELS * MAX_LANES]);

/// `width` pixels from `x` on in output row `y`.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub y: usize,
    pub x: usize,
    pub width: usize,
}

/// Cuts a range of output pixels into segments of at most `most` pixels.
pub(super) fn segments(
    g: &Geometry,
    pixels: Range<usize>,
    most: usize,
) -> impl Iterator<Item = Segment> {
    let width = g.output[1];
    let mut at = pixels.start;
    core::iter::from_fn(move || {
        let (y, x) = (at / width, at % width);
        let len = (width - x).min(pixels.end - at).min(most);
        at += len;
        (len > 0).then_some(Segment { y, x, width: len })
    })
}

/// The pieces of a segment that a tile of `P` pixels computes: the last one moves back to stay inside the segment and
/// computes some pixels again.
#[inline(always)]
pub(super) fn tiles<const P: usize>(segment: Segment) -> impl Iterator<Item = usize> {
    (0..segment.width).step_by(P).map(move |at| segment.x + at.min(segment.width - P))
}

/// Of `count` input columns `step` apart, the first at `left`, which may have wrapped around, those inside the map.
#[inline(always)]
pub(super) fn inside(left: usize, step: usize, count: usize, width: usize) -> Range<usize> {
    if left < width && left + (count - 1) * step < width {
        return 0..count;
    }
    let left = left as isize;
    let start = (-left).max(0) as usize;
    let start = if start == 0 { 0 } else { start.div_ceil(step).min(count) };
    let room = (width as isize - left).max(0) as usize;
    start..room.div_ceil(step).clamp(start, count)
}

/// What a tile of pixels does with its sums: quads where that is possible, memory otherwise.
pub(super) struct Row<'a, 'l, W, I: Isa> {
    pub body: &'l Body,
    pub input: &'l [u8],
    pub segment: Segment,
    /// First of the `LANES` output channels.
    pub channel: usize,
    pub weights: &'l [W],
    pub sums: &'l mut Sums,
    pub live: &'l mut Live<'a, I>,
}

impl<W, I: Isa> Row<'_, '_, W, I> {
    /// Whether sums need not go through memory.
    #[inline(always)]
    pub fn is_direct<const P: usize>(&self) -> bool {
        I::FINISHES
            && P >= 4
            && self.body.finishes_in_registers()
            && self.channel + I::LANES <= self.body.channels_out
    }

    /// Takes the sums of the pixels from column `x` on.
    #[inline(always)]
    pub fn take<const P: usize>(&mut self, isa: I, direct: bool, x: usize, acc: &[I::I; P]) {
        const { assert!(P == 1 || (P >= 4 && P <= 8)) };
        if I::FINISHES && P >= 4 && direct {
            let scales = Scales::<I, 1>::new(isa, &self.body.multiplier[self.channel..], None);
            let pixel = self.segment.y * self.body.geometry.output[1] + x;
            let mut pixels = Pixels::new(isa, self.live, (pixel, P), self.channel, I::LANES);
            let quad = scales.values(isa, [acc[0], acc[1 % P], acc[2 % P], acc[3 % P]]);
            pixels.quad::<1>(isa, quad, 0, 3);
            if P > 4 {
                let at = const { P.saturating_sub(4) };
                let quad = [acc[at], acc[(at + 1) % P], acc[(at + 2) % P], acc[(at + 3) % P]];
                pixels.quad::<1>(isa, scales.values(isa, quad), at, at + 3);
            }
            return;
        }
        for (p, a) in acc.iter().enumerate() {
            isa.store_i32(*a, &mut self.sums.0[(x - self.segment.x + p) * I::LANES..]);
        }
    }

    /// What is left to do once all pixels are computed.
    #[inline(always)]
    pub fn end(self, isa: I, direct: bool) {
        let Self { body, segment, channel, sums, live, .. } = self;
        if direct {
            let pixel = segment.y * body.geometry.output[1] + segment.x;
            live.after_quads(isa, pixel..pixel + segment.width, channel, I::LANES);
        } else {
            // A function of its own, once for all tiles.
            isa.enter(Finish { isa, body, sums, segment, channel, live });
        }
    }
}

/// Scales the sums of up to `LANES` channels and passes them to the epilogue.
struct Finish<'a, 'l, I: Isa> {
    isa: I,
    body: &'l Body,
    sums: &'l Sums,
    segment: Segment,
    channel: usize,
    live: &'l mut Live<'a, I>,
}

impl<I: Isa> Kernel for Finish<'_, '_, I> {
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, body, sums, segment, channel, live } = self;
        let lanes = I::LANES.min(body.channels_out - channel);
        let scale = body.scale(isa, channel);
        let pixel = segment.y * body.geometry.output[1] + segment.x;
        let column =
            Column { sums: &sums.0, step: I::LANES, pixel, count: segment.width, channel, lanes };
        live.column(isa, &scale, column);
    }
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn columns_inside_are_counted() {
        for width in 1..9 {
            for step in 1..4 {
                for left in -9..9isize {
                    let range = inside(left as usize, step, 5, width);
                    for i in 0..5 {
                        let x = left + (i * step) as isize;
                        assert_eq!(range.contains(&i), (0..width as isize).contains(&x), "{left}");
                    }
                }
            }
        }
    }
}
