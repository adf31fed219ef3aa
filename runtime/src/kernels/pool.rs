//! Max and average pooling.

use super::epilogue::{Ends, Operand, PackedEpilogue};
use super::geometry::Geometry;
use super::{Io, Lookup};
use crate::desc::{DType, Pool, PoolKind};
use crate::isa::{Isa, Kernel, Platform};

/// Channels of which the maximum is taken at a time.
const PIECE: usize = 64;

/// A pooling operator.
pub struct PackedPool {
    platform: Platform,
    kind: PoolKind,
    geometry: Geometry,
    input: Operand,
    channels: usize,
    output_stride: usize,
    multiplier: f32,
    count_padding: bool,
    epilogue: PackedEpilogue,
}

impl PackedPool {
    /// Prepares a pooling; none for the maximum of i16.
    #[must_use]
    pub fn pack(platform: Platform, pool: &Pool, lookup: &impl Lookup) -> Option<Self> {
        let bias = i32::from(platform.act_xor());
        let (x, y) = (lookup.tensor(pool.input), lookup.tensor(pool.store.output));
        (pool.kind == PoolKind::Average || x.dtype == DType::I8).then(|| Self {
            platform,
            kind: pool.kind,
            geometry: Geometry::new(&pool.window, &x, &y),
            input: Operand::new(&x, bias),
            channels: x.channels as usize,
            output_stride: y.pixel_stride as usize,
            multiplier: pool.multiplier,
            count_padding: pool.count_padding,
            epilogue: PackedEpilogue::of_store(&pool.store, lookup, bias),
        })
    }

    /// The kernel's name.
    #[must_use]
    pub fn kernel(&self) -> &'static str {
        match self.kind {
            PoolKind::Max => "max_pool",
            PoolKind::Average => "average_pool",
        }
    }

    /// Computes the pixels of `io.range`.
    pub fn run(&self, io: Io<'_>) {
        match self.kind {
            PoolKind::Max => self.platform.run(Max { op: self, io }),
            PoolKind::Average => self.platform.run(Average { op: self, io }),
        }
    }
}

/// Input pixels of the window of output pixel `pixel` that are inside the map.
#[inline(always)]
fn inside(g: &Geometry, pixel: usize) -> impl Iterator<Item = usize> {
    let (y, x) = (pixel / g.output[1], pixel % g.output[1]);
    let (rows, columns) = (g.inside(0, y), g.inside(1, x));
    rows.flat_map(move |ky| {
        let row = y * g.stride[0] + ky * g.dilation[0] - g.padding[0];
        let line = row * g.input[1];
        columns.clone().map(move |kx| line + x * g.stride[1] + kx * g.dilation[1] - g.padding[1])
    })
}

struct Max<'a> {
    op: &'a PackedPool,
    io: Io<'a>,
}

impl Kernel for Max<'_> {
    type Output = ();

    /// Compares bytes as they are stored, [`PIECE`] at a time; the compiler makes vector instructions of it.
    #[inline(always)]
    fn eval<I: Isa>(self, _: I) {
        let Self { op, io } = self;
        let Some(out) = io.store else { return };
        let g = &op.geometry;
        let stride = op.input.pixel_stride;
        for (pixel, out) in io.range.zip(out.chunks_mut(op.output_stride)) {
            let out = &mut out[..op.channels];
            let (y, x) = (pixel / g.output[1], pixel % g.output[1]);
            let (rows, columns) = (g.inside(0, y), g.inside(1, x));
            let left = x * g.stride[1] + columns.start * g.dilation[1] - g.padding[1];
            for (i, out) in out.chunks_mut(PIECE).enumerate() {
                let mut most = [if I::BIAS == 0 { 0x80 } else { 0 }; PIECE];
                for ky in rows.clone() {
                    let row = y * g.stride[0] + ky * g.dilation[0] - g.padding[0];
                    let first = (row * g.input[1] + left) * stride + i * PIECE;
                    for kx in 0..columns.len() {
                        // The slack behind the tensor has room for a piece.
                        let x = &io.input[first + kx * g.dilation[1] * stride..][..PIECE];
                        for (most, x) in most.iter_mut().zip(x) {
                            *most = if I::BIAS == 0 {
                                (*most as i8).max(*x as i8) as u8
                            } else {
                                (*most).max(*x)
                            };
                        }
                    }
                }
                out.copy_from_slice(&most[..out.len()]);
            }
        }
    }
}

struct Average<'a> {
    op: &'a PackedPool,
    io: Io<'a>,
}

impl Kernel for Average<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Self { op, io } = self;
        let ends = Ends { residual: None, store: io.store, second: None };
        let mut live = op.epilogue.live(isa, ends, (io.range.start, 0));
        for pixel in io.range {
            let count = if op.count_padding {
                op.geometry.taps()
            } else {
                inside(&op.geometry, pixel).count()
            };
            let multiplier = isa.splat_f32(op.multiplier / count as f32);
            for channel in (0..op.channels).step_by(I::LANES) {
                let mut acc = isa.splat(0);
                for position in inside(&op.geometry, pixel) {
                    let index = position * op.input.pixel_stride + channel;
                    acc = isa.add(acc, op.input.load(isa, io.input, index));
                }
                let lanes = I::LANES.min(op.channels - channel);
                live.put(isa, isa.mul_f32(isa.to_f32(acc), multiplier), pixel, channel, lanes);
            }
        }
    }
}
