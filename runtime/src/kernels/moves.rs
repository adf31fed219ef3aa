//! Operators that move bytes: slice, subsample, pad, resize, look up.
//!
//! Values are copied in the platform's storage form, so only padding and tables depend on the platform.

use super::epilogue::stored_table;
use super::{Io, Lookup};
use crate::desc::{Copy, DType, Resize, Table, TensorDesc};
use crate::isa::Platform;
use alloc::boxed::Box;
use core::ops::Range;

/// Sizes of a tensor; pixels in bytes.
#[derive(Clone, core::marker::Copy)]
pub(super) struct Map {
    size: [usize; 2],
    element: usize,
    /// Bytes of a pixel's own channels, and from one pixel to the next.
    pub pixel: usize,
    pub step: usize,
}

impl Map {
    pub fn new(desc: &TensorDesc) -> Self {
        let element = desc.dtype.bytes() as usize;
        Self {
            size: [desc.height as usize, desc.width as usize],
            element,
            pixel: desc.channels as usize * element,
            step: desc.pixel_stride as usize * element,
        }
    }

    pub fn at(&self, pixel: usize) -> Range<usize> {
        pixel * self.step..pixel * self.step + self.pixel
    }
}

/// A slice, subsampling or padding.
pub struct PackedCopy {
    from: Map,
    to: Map,
    start: [i64; 2],
    step: [i64; 2],
    /// Bytes to skip at the start of a pixel, and to pad before it.
    skip: usize,
    lead: usize,
    /// Bytes of a pixel that are copied.
    len: usize,
    padding: u8,
}

impl PackedCopy {
    /// Prepares a copy.
    #[must_use]
    pub fn pack(platform: Platform, copy: &Copy, lookup: &impl Lookup) -> Self {
        let (x, y) = (lookup.tensor(copy.input), lookup.tensor(copy.output));
        let (from, to) = (Map::new(&x), Map::new(&y));
        let first = i64::from(copy.start[2]) * from.element as i64;
        let skip = usize::try_from(first).unwrap_or(0).min(from.pixel);
        let lead = usize::try_from(-first).unwrap_or(0).min(to.pixel);
        Self {
            from,
            to,
            start: [copy.start[0], copy.start[1]].map(i64::from),
            step: copy.step.map(i64::from),
            skip,
            lead,
            len: (from.pixel - skip).min(to.pixel - lead),
            // The zero point of i16 is 0, so all of its bytes are.
            padding: if x.dtype == DType::I8 { x.zero_point as u8 ^ platform.act_xor() } else { 0 },
        }
    }

    /// Computes the pixels of `io.range`.
    pub fn run(&self, io: Io<'_>) {
        let Some(out) = io.store else { return };
        let source = |axis: usize, position: usize| {
            let at = position as i64 * self.step[axis] + self.start[axis];
            usize::try_from(at).ok().filter(|at| *at < self.from.size[axis])
        };
        let width = self.to.size[1];
        for (pixel, out) in io.range.zip(out.chunks_mut(self.to.step)) {
            let out = &mut out[..self.to.pixel];
            let (lead, rest) = out.split_at_mut(self.lead);
            lead.fill(self.padding);
            let place = source(0, pixel / width).zip(source(1, pixel % width));
            if let Some((y, x)) = place {
                let start = (y * self.from.size[1] + x) * self.from.step + self.skip;
                let (body, tail) = rest.split_at_mut(self.len);
                body.copy_from_slice(&io.input[start..start + self.len]);
                tail.fill(self.padding);
            } else {
                rest.fill(self.padding);
            }
        }
    }
}

/// A nearest-neighbour resize.
pub struct PackedResize {
    from: Map,
    to: Map,
}

impl PackedResize {
    /// Prepares a resize.
    #[must_use]
    pub fn pack(resize: &Resize, lookup: &impl Lookup) -> Self {
        let maps = [resize.input, resize.output].map(|id| Map::new(&lookup.tensor(id)));
        let [from, to] = maps;
        Self { from, to }
    }

    /// Computes the pixels of `io.range`.
    pub fn run(&self, io: Io<'_>) {
        let Some(out) = io.store else { return };
        let nearest = |axis: usize, position: usize| {
            (position as u64 * self.from.size[axis] as u64 / self.to.size[axis] as u64) as usize
        };
        let width = self.to.size[1];
        for (pixel, out) in io.range.zip(out.chunks_mut(self.to.step)) {
            let (y, x) = (nearest(0, pixel / width), nearest(1, pixel % width));
            let from = self.from.at(y * self.from.size[1] + x);
            out[..self.to.pixel].copy_from_slice(&io.input[from]);
        }
    }
}

/// A look-up.
pub struct PackedTable {
    from: Map,
    to: Map,
    table: Box<[u8; 256]>,
}

impl PackedTable {
    /// Prepares a look-up.
    #[must_use]
    pub fn pack(platform: Platform, table: &Table, lookup: &impl Lookup) -> Self {
        let maps = [table.input, table.output].map(|id| Map::new(&lookup.tensor(id)));
        let [from, to] = maps;
        let bias = i32::from(platform.act_xor());
        Self { from, to, table: Box::new(stored_table(lookup.bytes(table.table), bias)) }
    }

    /// Computes the pixels of `io.range`.
    pub fn run(&self, io: Io<'_>) {
        let Some(out) = io.store else { return };
        for (pixel, out) in io.range.zip(out.chunks_mut(self.to.step)) {
            for (o, x) in out[..self.to.pixel].iter_mut().zip(&io.input[self.from.at(pixel)]) {
                *o = self.table[usize::from(*x)];
            }
        }
    }
}
