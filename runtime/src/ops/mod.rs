//! The operators: straight loops that define what each one computes.
//!
//! This is the specification that every kernel is compared with, and what runs where there is no kernel. Nothing is
//! packed, nothing is allocated. Any operator can be computed in parts: of its pixels, or, where [`Units`] says so, of
//! its channels.
//!
//! In the arena an i8 value `q` is the byte `q ^ xor`, where `xor` is that of the platform
//! (0 or 0x80); i16 values are native-endian.
#![forbid(unsafe_code)]

mod affine;
mod concat;
mod conv2d;
mod copy;
mod elementwise;
mod epilogue;
mod map;
mod pool;
mod resize;
mod table;

pub use map::Part;
pub(crate) use map::{Map, MapMut};

use crate::Model;
use crate::arena::{Inputs, Lease, Outputs, Target};
use crate::desc::{Op, OpKind, TensorDesc, TensorId};

/// What can be computed apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    /// Any run of output pixels.
    Pixels,
    /// Runs of output pixels that begin at multiples of so many.
    Bands(usize),
    /// Runs of output channels of a 1x1 map that begin at multiples of so many.
    Channels(usize),
    /// Runs of output channels of all pixels that begin at multiples of so many. Only kernels divide work like this.
    Columns(usize),
}

/// How the scalar definition of an operator may be divided.
#[must_use]
pub fn units(model: &Model<'_>, op: &Op) -> Units {
    let written = op.kind.writes().into_iter().flatten().next();
    let one_pixel = written.is_some_and(|id| model.tensor(id).pixels() == 1);
    match op.kind {
        OpKind::Conv2d(_) if one_pixel => Units::Channels(1),
        _ => Units::Pixels,
    }
}

/// Whether an operator has nothing to do: its result is a view of its input.
#[must_use]
pub fn is_view(model: &Model<'_>, op: &Op) -> bool {
    match &op.kind {
        OpKind::Copy(copy) => copy.is_view(&model.tensor(copy.input), &model.tensor(copy.output)),
        _ => false,
    }
}

/// What an operator writes, divided as `units` says; nothing, in no units, where the result is a view.
#[must_use]
pub fn outputs(model: &Model<'_>, op: &Op, units: Units) -> Outputs {
    if is_view(model, op) {
        return Outputs { targets: [None, None], units: 0, granule: 1 };
    }
    let descs = op.kind.writes().map(|id| id.map(|id| model.tensor(id)));
    let first = descs.into_iter().flatten().next();
    let (count, granule) = match units {
        Units::Pixels => (first.map_or(0, |desc| desc.pixels()), 1),
        Units::Bands(granule) => (first.map_or(0, |desc| desc.pixels()), granule),
        Units::Channels(granule) | Units::Columns(granule) => {
            (first.map_or(0, |desc| desc.channels), granule)
        }
    };
    let targets = descs.map(|desc| desc.map(|desc| target(&desc, units)));
    Outputs { targets, units: count as usize, granule }
}

/// A tensor as the target of an operator.
pub(crate) fn target(desc: &TensorDesc, units: Units) -> Target {
    let element = desc.dtype.bytes() as usize;
    let start = desc.arena_offset as usize;
    let pixel_bytes = desc.pixel_stride as usize * element;
    match units {
        Units::Pixels | Units::Bands(_) => Target {
            start,
            step_bytes: pixel_bytes,
            unit_bytes: desc.channels as usize * element,
            rows: 1,
            row_bytes: 0,
        },
        Units::Channels(_) => {
            Target { start, step_bytes: element, unit_bytes: element, rows: 1, row_bytes: 0 }
        }
        Units::Columns(_) => Target {
            start,
            step_bytes: element,
            unit_bytes: element,
            rows: desc.pixels() as usize,
            row_bytes: pixel_bytes,
        },
    }
}

/// Where operators find what they need: the model, and the arena's byte convention.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c, 'm> {
    /// The model.
    pub model: &'c Model<'m>,
    /// What i8 values are xored with in the arena.
    pub xor: u8,
}

impl<'m> Context<'_, 'm> {
    /// A tensor for reading.
    fn map<'s>(&self, inputs: Inputs<'s>, id: TensorId) -> map::Map<'s> {
        let desc = self.model.tensor(id);
        map::Map::new(inputs.get(&desc), &desc, self.xor)
    }

    /// A tensor for writing: the slice that begins at the first pixel and channel of `part`.
    fn map_mut<'s>(&self, bytes: &'s mut [u8], id: TensorId, part: &Part) -> map::MapMut<'s> {
        map::MapMut::new(bytes, &self.model.tensor(id), self.xor, part)
    }
}

/// Computes the leased part of an operator; `units` is what the lease was divided by.
///
/// # Panics
///
/// If the lease is not one of this operator.
pub fn run(context: Context<'_, '_>, op: &Op, units: Units, lease: Lease<'_>) {
    let Lease { inputs, outputs, units: range, .. } = lease;
    if range.is_empty() {
        return;
    }
    let written = op.kind.writes().into_iter().flatten().next();
    let channels = written.map_or(0, |id| context.model.tensor(id).channels as usize);
    let part = match units {
        Units::Pixels | Units::Bands(_) => Part { pixels: range, channels: 0..channels },
        Units::Channels(_) => Part { pixels: 0..1, channels: range },
        Units::Columns(_) => unreachable!("only kernels divide work like this"),
    };
    let [first, second] = outputs;
    match &op.kind {
        OpKind::Conv2d(conv) => {
            let end = epilogue::End::new(context, &conv.epilogue, inputs, [first, second], &part);
            conv2d::run(context, conv, inputs, end, &part);
        }
        OpKind::Add { input, multiplier, epilogue } => {
            let end = epilogue::End::new(context, epilogue, inputs, [first, second], &part);
            elementwise::add(context.map(inputs, *input), *multiplier, end, &part);
        }
        OpKind::Mul { input, gate, multiplier, epilogue } => {
            let end = epilogue::End::new(context, epilogue, inputs, [first, second], &part);
            let (x, g) = (context.map(inputs, *input), context.map(inputs, *gate));
            elementwise::mul(x, g, *multiplier, end, &part);
        }
        OpKind::Affine { input, affine, store } => {
            let (a, b) = (context.model.f32s(affine.a), context.model.f32s(affine.b));
            let end = epilogue::StoreTo::new(context, store, first, &part);
            affine::run(context.map(inputs, *input), a, b, end, &part);
        }
        OpKind::Pool(pool) => {
            let end = epilogue::StoreTo::new(context, &pool.store, first, &part);
            pool::run(pool, context.map(inputs, pool.input), end, &part);
        }
        OpKind::Resize(resize) => {
            let out = first.map(|bytes| context.map_mut(bytes, resize.output, &part));
            resize::run(context.map(inputs, resize.input), out, &part);
        }
        OpKind::Table(table) => {
            let out = first.map(|bytes| context.map_mut(bytes, table.output, &part));
            table::run(
                context.map(inputs, table.input),
                context.model.data(table.table),
                out,
                &part,
            );
        }
        OpKind::Copy(copy) => {
            let out = first.map(|bytes| context.map_mut(bytes, copy.output, &part));
            copy::run(copy, context.map(inputs, copy.input), out, &part);
        }
        OpKind::Concat { inputs: list, multipliers, output } => {
            let out = first.map(|bytes| context.map_mut(bytes, *output, &part));
            concat::run(
                context,
                *list,
                context.model.f32s(*multipliers),
                *output,
                inputs,
                out,
                &part,
            );
        }
    }
}
