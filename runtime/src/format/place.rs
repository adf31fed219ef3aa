//! Lifetimes and places of a model that is being written.

use alloc::vec;
use alloc::vec::Vec;

use super::views;
use super::write::ModelWriter;
use crate::Error;
use crate::desc::Op;
use crate::plan::{Plan, Request, plan};

/// Gives every tensor of the writer its lifetime, pixel stride and place.
pub(super) fn place(model: &mut ModelWriter) -> Result<Plan, Error> {
    check_ids(model)?;
    lifetimes(model);
    let parents = views::choose(model);
    for index in 0..model.tensors.len() {
        let (root, _) = views::root(&parents, index);
        model.tensors[index].pixel_stride = model.tensors[root].channels;
    }
    let mut requests = Vec::with_capacity(parents.len());
    for (index, tensor) in model.tensors.iter().enumerate() {
        let pixels = u64::from(tensor.height) * u64::from(tensor.width);
        let elements = pixels.saturating_sub(1).saturating_mul(u64::from(tensor.pixel_stride));
        let bytes =
            elements.saturating_add(u64::from(tensor.channels)) * u64::from(tensor.dtype.bytes());
        let (root, channel) = views::root(&parents, index);
        requests.push(Request {
            bytes: u32::try_from(bytes).map_err(|_| Error::TooLarge)?,
            first_op: tensor.first_op,
            last_op: tensor.last_op,
            parent: (root != index).then(|| (root, channel * tensor.dtype.bytes())),
        });
    }
    let plan = plan(&requests)?;
    for (tensor, &offset) in model.tensors.iter_mut().zip(&plan.offsets) {
        tensor.arena_offset = offset;
    }
    Ok(plan)
}

/// Tensors that an operator reads.
pub(super) fn reads(model: &ModelWriter, op: &Op) -> Vec<usize> {
    let list = op.kind.list().map_or(&[][..], |list| operands(model, list));
    op.kind
        .reads()
        .into_iter()
        .flatten()
        .map(|id| id.0 as usize)
        .chain(list.iter().map(|&id| id as usize))
        .collect()
}

pub(super) fn writes(op: &Op) -> impl Iterator<Item = usize> {
    op.kind.writes().into_iter().flatten().map(|id| id.0 as usize)
}

pub(super) fn operands(model: &ModelWriter, list: crate::desc::List) -> &[u32] {
    let start = list.start as usize;
    model.lists.get(start..start.saturating_add(list.len as usize)).unwrap_or(&[])
}

fn check_ids(model: &ModelWriter) -> Result<(), Error> {
    for (index, op) in model.ops.iter().enumerate() {
        if reads(model, op).into_iter().chain(writes(op)).any(|id| id >= model.tensors.len()) {
            return Err(Error::OpTensor { op: index as u32 });
        }
    }
    for (index, (_, tensor)) in model.outputs.iter().enumerate() {
        if tensor.0 as usize >= model.tensors.len() {
            return Err(Error::OutputTensor { output: index as u32 });
        }
    }
    Ok(())
}

fn lifetimes(model: &mut ModelWriter) {
    let end = model.ops.len() as u32;
    let mut spans = vec![(0u32, 0u32); model.tensors.len()];
    for (index, op) in model.ops.iter().enumerate() {
        let index = index as u32;
        for id in writes(op) {
            spans[id] = (index, index);
        }
        for id in reads(model, op) {
            spans[id].1 = index;
        }
    }
    for &(_, tensor) in &model.outputs {
        spans[tensor.0 as usize].1 = end;
    }
    for (tensor, (first, last)) in model.tensors.iter_mut().zip(spans) {
        tensor.first_op = first;
        tensor.last_op = last;
    }
}
