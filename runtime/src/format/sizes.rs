//! The sizes section: the memory plans of further input sizes, reader and writer side by side.
//!
//! A further size shares operators, constants, quantisation and lifetimes with the first one; what it has of its own are
//! the shapes and places of all tensors, and the windows and crops that depend on a map's size.

use super::le::word;
use crate::desc::{Conv2d, Copy, Geometry, Op, OpKind, Pool, TensorDesc, Window};

/// Records of this section count in units of so many bytes.
pub(crate) const SIZES_UNIT: usize = 16;
/// Bytes of a tensor's shape and place.
const SHAPE_BYTES: usize = 16;
/// Bytes of an operator's geometry.
const GEOMETRY_BYTES: usize = 48;
/// Most input sizes of a model, the first one included.
pub const MAX_SIZES: usize = 32;

/// What one further size has of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SizePlan<'m> {
    pub(crate) arena_bytes: u32,
    shapes: &'m [[u8; SHAPE_BYTES]],
    geometries: &'m [[u8; GEOMETRY_BYTES]],
}

impl<'m> SizePlan<'m> {
    /// Takes one plan off the section; `None` if it is cut short or has reserved words that are not zero.
    pub(crate) fn split(section: &'m [u8], tensors: usize) -> Option<(Self, &'m [u8])> {
        let (head, rest) = section.split_at_checked(SIZES_UNIT)?;
        if word(head, 2) != 0 || word(head, 3) != 0 {
            return None;
        }
        let (shapes, rest) = rest.split_at_checked(tensors.checked_mul(SHAPE_BYTES)?)?;
        let bytes = (word(head, 1) as usize).checked_mul(GEOMETRY_BYTES)?;
        let (geometries, rest) = rest.split_at_checked(bytes)?;
        let plan = Self {
            arena_bytes: word(head, 0),
            shapes: shapes.as_chunks().0,
            geometries: geometries.as_chunks().0,
        };
        Some((plan, rest))
    }

    /// A tensor of the first size as it is at this one; `None` behind the last.
    pub(crate) fn tensor(&self, index: usize, tensor: TensorDesc) -> Option<TensorDesc> {
        let w = |at| Some(word(self.shapes.get(index)?, at));
        Some(TensorDesc {
            height: w(0)?,
            width: w(1)?,
            pixel_stride: w(2)?,
            arena_offset: w(3)?,
            ..tensor
        })
    }

    /// An operator of the first size as it is at this one; `None` if its geometry is not one of this operator.
    pub(crate) fn op(&self, index: usize, op: Op) -> Option<Op> {
        let find = self.geometries.binary_search_by_key(&(index as u32), |record| word(record, 0));
        let Ok(at) = find else { return Some(op) };
        let kind = with_geometry(op.kind, decode(&self.geometries[at], &op.kind)?)?;
        Some(Op { kind, ..op })
    }

    /// The first operator whose geometry is out of order, unknown, or none that it could have.
    pub(crate) fn bad_geometry(&self, op: impl Fn(usize) -> Option<Op>) -> Option<u32> {
        let mut before = None;
        for record in self.geometries {
            let index = word(record, 0);
            let fits = op(index as usize).is_some_and(|op| decode(record, &op.kind).is_some());
            if before.is_some_and(|before| before >= index) || !fits {
                return Some(index);
            }
            before = Some(index);
        }
        None
    }
}

/// An operator with another geometry; `None` if it has none of this kind.
pub(crate) fn with_geometry(kind: OpKind, geometry: Geometry) -> Option<OpKind> {
    Some(match (kind, geometry) {
        (OpKind::Conv2d(conv), Geometry::Window(window)) => {
            OpKind::Conv2d(Conv2d { window, ..conv })
        }
        (OpKind::Pool(pool), Geometry::Window(window)) => OpKind::Pool(Pool { window, ..pool }),
        (OpKind::Copy(copy), Geometry::Crop { start, step }) => {
            OpKind::Copy(Copy { start, step, ..copy })
        }
        _ => return None,
    })
}

/// Reads a geometry; `None` if it is not in the canonical form of one that such an operator has.
fn decode(record: &[u8; GEOMETRY_BYTES], kind: &OpKind) -> Option<Geometry> {
    let w = |at: usize| word(record, 2 + at);
    let geometry = match kind {
        OpKind::Conv2d(_) | OpKind::Pool(_) => Geometry::Window(Window {
            size: [w(0), w(1)],
            stride: [w(2), w(3)],
            padding: [w(4), w(5), w(6), w(7)],
            dilation: [w(8), w(9)],
        }),
        OpKind::Copy(_) => {
            Geometry::Crop { start: [w(0) as i32, w(1) as i32, w(2) as i32], step: [w(3), w(4)] }
        }
        _ => return None,
    };
    let words = encode(word(record, 0), &geometry);
    (0..GEOMETRY_BYTES / 4).all(|at| word(record, at) == words[at]).then_some(geometry)
}

/// The record of an operator's geometry.
fn encode(op: u32, geometry: &Geometry) -> [u32; GEOMETRY_BYTES / 4] {
    let mut words = [0; GEOMETRY_BYTES / 4];
    words[0] = op;
    match geometry {
        Geometry::Window(Window { size, stride, padding, dilation }) => {
            words[2..4].copy_from_slice(size);
            words[4..6].copy_from_slice(stride);
            words[6..10].copy_from_slice(padding);
            words[10..12].copy_from_slice(dilation);
        }
        Geometry::Crop { start, step } => {
            words[2..5].copy_from_slice(&start.map(|start| start as u32));
            words[5..7].copy_from_slice(step);
        }
    }
    words
}

/// The words of a plan.
#[cfg(feature = "alloc")]
pub(super) fn encode_size<'a>(
    arena_bytes: u32,
    tensors: &'a [TensorDesc],
    geometries: &'a [(u32, Geometry)],
) -> impl Iterator<Item = u32> + 'a {
    let shapes = tensors.iter().flat_map(|t| [t.height, t.width, t.pixel_stride, t.arena_offset]);
    let records = geometries.iter().flat_map(|(op, geometry)| encode(*op, geometry));
    [arena_bytes, geometries.len() as u32, 0, 0].into_iter().chain(shapes).chain(records)
}
