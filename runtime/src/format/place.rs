//! Lifetimes and views of a model that is being written.

use alloc::vec;
use alloc::vec::Vec;

use super::write::ModelWriter;
use crate::Error;
use crate::desc::{Op, OpKind, TensorId};
use crate::plan::{Plan, Request, plan};

/// Gives every tensor of the writer its lifetime, pixel stride and place.
pub(super) fn place(model: &mut ModelWriter) -> Result<Plan, Error> {
    check_ids(model)?;
    lifetimes(model);
    let parents = choose_views(model);
    for (index, parent) in parents.iter().enumerate() {
        let tensor = &model.tensors[index];
        let stride = parent.map_or(tensor.channels, |(parent, _)| model.tensors[parent].channels);
        model.tensors[index].pixel_stride = stride;
    }
    let mut requests = Vec::with_capacity(parents.len());
    for (tensor, parent) in model.tensors.iter().zip(&parents) {
        let pixels = u64::from(tensor.height) * u64::from(tensor.width);
        let elements = pixels.saturating_sub(1).saturating_mul(u64::from(tensor.pixel_stride));
        let bytes =
            elements.saturating_add(u64::from(tensor.channels)) * u64::from(tensor.dtype.bytes());
        requests.push(Request {
            bytes: u32::try_from(bytes).map_err(|_| Error::TooLarge)?,
            first_op: tensor.first_op,
            last_op: tensor.last_op,
            parent: parent.map(|(parent, channel)| (parent, channel * tensor.dtype.bytes())),
        });
    }
    let plan = plan(&requests)?;
    for (tensor, &offset) in model.tensors.iter_mut().zip(&plan.offsets) {
        tensor.arena_offset = offset;
    }
    Ok(plan)
}

/// Tensors that an operator reads.
fn reads(model: &ModelWriter, op: &Op) -> Vec<usize> {
    let list = op.kind.list().map_or(&[][..], |list| operands(model, list));
    op.kind
        .reads()
        .into_iter()
        .flatten()
        .map(|id| id.0 as usize)
        .chain(list.iter().map(|&id| id as usize))
        .collect()
}

fn writes(op: &Op) -> impl Iterator<Item = usize> {
    op.kind.writes().into_iter().flatten().map(|id| id.0 as usize)
}

fn operands(model: &ModelWriter, list: crate::desc::List) -> &[u32] {
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

/// For each tensor: the concatenation output it becomes a view of, and its first channel there.
///
/// An operand becomes a view if its values need no change, nothing else wants it, and no operator reads one view and
/// writes another of the same buffer (their bytes interleave, so the operator's operands would overlap).
fn choose_views(model: &ModelWriter) -> Vec<Option<(usize, u32)>> {
    let mut parents: Vec<Option<(usize, u32)>> = vec![None; model.tensors.len()];
    let mut is_parent = vec![false; model.tensors.len()];
    let input = model.input.map(|input| input.tensor);
    for op in &model.ops {
        let OpKind::Concat { inputs, output, .. } = &op.kind else { continue };
        let parent = output.0 as usize;
        let ids = operands(model, *inputs);
        let mut channel = 0;
        for &id in ids {
            let operand = id as usize;
            let tensor = &model.tensors[operand];
            let fits = tensor.has_values_of(&model.tensors[parent])
                && Some(TensorId(id)) != input
                && ids.iter().filter(|&&other| other == id).count() == 1
                && parents[parent].is_none()
                && parents[operand].is_none()
                && !is_parent[operand]
                && !meets_sibling(model, &parents, operand, parent);
            if fits {
                parents[operand] = Some((parent, channel));
                is_parent[parent] = true;
            }
            channel += tensor.channels;
        }
    }
    parents
}

/// Whether some operator, other than the concatenation itself, has `operand` and a view of `parent` as operands, one
/// of them written.
fn meets_sibling(
    model: &ModelWriter,
    parents: &[Option<(usize, u32)>],
    operand: usize,
    parent: usize,
) -> bool {
    let is_sibling =
        |id: usize| id == parent || parents[id].is_some_and(|(other, _)| other == parent);
    model.ops.iter().any(|op| {
        let read = reads(model, op);
        let written: Vec<usize> = writes(op).collect();
        if written.contains(&parent) {
            return false;
        }
        let writes_operand = written.contains(&operand);
        let meets_written = written.iter().any(|&id| id != operand && is_sibling(id));
        (writes_operand && (meets_written || read.iter().any(|&id| is_sibling(id))))
            || (read.contains(&operand) && meets_written)
    })
}
