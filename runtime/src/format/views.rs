//! Which tensors of a model that is being written are channels of another one, so that nothing has to be copied.
//!
//! A slice of channels is a view of what it is cut from. An operand of a concatenation is a view of the result, or, where
//! the operands are all slices of one tensor, that tensor is:
//!
//! ```text
//! y = conv(x); a, b = split(y); c = f(b); z = concat(a, b, c)        y: view of z, a and b: views of y, c: view of z
//! ```
//!
//! No operator may read one view and write another of the same buffer: their bytes interleave, and operators get slices.

use alloc::vec;
use alloc::vec::Vec;

use super::place::{operands, reads, writes};
use super::write::ModelWriter;
use crate::desc::{Op, OpKind, TensorId};

/// For each tensor: what it is a view of, and its first channel there.
pub(super) type Parents = Vec<Option<(usize, u32)>>;

/// The tensor whose buffer a tensor lies in, and its first channel there.
pub(super) fn root(parents: &Parents, tensor: usize) -> (usize, u32) {
    let (mut at, mut channel) = (tensor, 0);
    while let Some((parent, first)) = parents[at] {
        (at, channel) = (parent, channel + first);
    }
    (at, channel)
}

/// Chooses the views: slices first, then operands of concatenations.
pub(super) fn choose(model: &ModelWriter) -> Parents {
    let mut parents = vec![None; model.tensors.len()];
    for op in &model.ops {
        if let OpKind::Copy(copy) = &op.kind {
            let (x, y) = (copy.input.0 as usize, copy.output.0 as usize);
            if let Some(channel) = copy.slice(&model.tensors[x], &model.tensors[y]) {
                adopt(model, &mut parents, y, (x, channel));
            }
        }
    }
    for (index, op) in model.ops.iter().enumerate() {
        let OpKind::Concat { inputs, output, .. } = &op.kind else { continue };
        let parent = output.0 as usize;
        let ids = operands(model, *inputs);
        let first_channels: Vec<u32> = ids
            .iter()
            .scan(0, |channel, &id| {
                *channel += model.tensors[id as usize].channels;
                Some(*channel - model.tensors[id as usize].channels)
            })
            .collect();
        // What keeps many others out comes last.
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&at| rivals(model, &parents, ids, at));
        for at in order {
            let (id, channel) = (ids[at], first_channels[at]);
            let operand = id as usize;
            let once = ids.iter().filter(|&&other| other == id).count() == 1;
            let whole = match parents[operand] {
                Some((whole, 0)) => is_tiled(model, &parents, whole, &ids[at..]).then_some(whole),
                _ => None,
            };
            let candidate = whole.filter(|&whole| model.tensors[whole].last_op < index as u32);
            let candidate = candidate.unwrap_or(operand);
            let is_input = model.input.is_some_and(|i| i.tensor == TensorId(candidate as u32));
            if once
                && !is_input
                && parents[candidate].is_none()
                && model.tensors[candidate].has_values_of(&model.tensors[parent])
            {
                adopt(model, &mut parents, candidate, (parent, channel));
            }
        }
    }
    parents
}

/// How many of these operands cannot lie in one buffer with the operand at `at`, because an operator reads one and writes
/// the other.
fn rivals(model: &ModelWriter, parents: &Parents, ids: &[u32], at: usize) -> usize {
    let buffer = |id: usize| root(parents, id).0;
    let own = buffer(ids[at] as usize);
    let clash = |other: usize| {
        model.ops.iter().any(|op| {
            let read = reads(model, op);
            let meets = |from: usize, to: usize| {
                read.iter().any(|&id| buffer(id) == from) && writes(op).any(|id| buffer(id) == to)
            };
            meets(own, other) || meets(other, own)
        })
    };
    ids.iter().map(|&id| buffer(id as usize)).filter(|&other| other != own && clash(other)).count()
}

/// Whether the first of these operands are slices of `whole`, in order and all of it.
fn is_tiled(model: &ModelWriter, parents: &Parents, whole: usize, ids: &[u32]) -> bool {
    let mut channel = 0;
    for (i, &id) in ids.iter().enumerate() {
        let tensor = &model.tensors[id as usize];
        if parents[id as usize] != Some((whole, channel)) || ids[..i].contains(&id) {
            return false;
        }
        channel += tensor.channels;
        if channel >= model.tensors[whole].channels {
            return channel == model.tensors[whole].channels;
        }
    }
    false
}

/// Makes `tensor` a view, unless some operator would then read and write the same buffer.
fn adopt(model: &ModelWriter, parents: &mut Parents, tensor: usize, parent: (usize, u32)) {
    parents[tensor] = Some(parent);
    let (buffer, _) = root(parents, tensor);
    if model.ops.iter().any(|op| meets_itself(model, parents, op, buffer)) {
        parents[tensor] = None;
    }
}

/// Whether an operator that does something reads and writes `buffer`, or writes it twice.
fn meets_itself(model: &ModelWriter, parents: &Parents, op: &Op, buffer: usize) -> bool {
    let inside = |id: usize| root(parents, id).0 == buffer;
    let written = writes(op).filter(|&id| inside(id)).count();
    match &op.kind {
        _ if written == 0 => false,
        // A view: there is nothing to do.
        OpKind::Copy(copy)
            if parents[copy.output.0 as usize].is_some_and(|(x, _)| x == copy.input.0 as usize) =>
        {
            false
        }
        // Operands at their places are left alone.
        OpKind::Concat { inputs, output, .. } => {
            let (_, first) = root(parents, output.0 as usize);
            let mut channel = first;
            operands(model, *inputs).iter().any(|&id| {
                let place = channel;
                channel += model.tensors[id as usize].channels;
                inside(id as usize) && root(parents, id as usize) != (buffer, place)
            })
        }
        _ => written > 1 || reads(model, op).into_iter().any(inside),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desc::{Copy, DType, Table};
    use crate::format::write::InputSpec;
    use alloc::string::ToString;

    /// Tensors and operators by name.
    struct Net(ModelWriter);

    impl Net {
        fn new() -> (Self, TensorId) {
            let mut net = Self(ModelWriter::new());
            let x = net.tensor("x", 8);
            net.0.set_input("x", x, InputSpec::features()).unwrap();
            (net, x)
        }

        fn tensor(&mut self, name: &str, channels: u32) -> TensorId {
            self.0.add_activation(name, [3, 5, channels], DType::I8, 0.1, 3).unwrap()
        }

        fn op(&mut self, kind: OpKind) {
            let name = self.0.add_string(&self.0.ops().len().to_string()).unwrap();
            self.0.add_op(Op { name, kind });
        }

        fn table(&mut self, input: TensorId, channels: u32) -> TensorId {
            let output = self.tensor("t", channels);
            let table = self.0.add_i8(&[3; 256]).unwrap();
            self.op(OpKind::Table(Table { input, output, table }));
            output
        }

        fn slice(&mut self, input: TensorId, channels: core::ops::Range<u32>) -> TensorId {
            let output = self.tensor("s", channels.len() as u32);
            let start = [0, 0, channels.start as i32];
            self.op(OpKind::Copy(Copy { input, output, start, step: [1, 1] }));
            output
        }

        fn concat(&mut self, operands: &[TensorId]) -> TensorId {
            let channels = operands.iter().map(|id| self.0.tensor(*id).channels).sum();
            let output = self.tensor("c", channels);
            let inputs = self.0.add_list(operands);
            let multipliers = self.0.add_f32(&vec![1.0; operands.len()]).unwrap();
            self.op(OpKind::Concat { inputs, multipliers, output });
            output
        }

        /// Plans and verifies; for each tensor, whose channels it is.
        fn parents(mut self, outputs: &[TensorId]) -> Parents {
            for id in outputs {
                self.0.add_output("y", *id).unwrap();
            }
            self.0.plan_memory().unwrap();
            let parents = choose(&self.0);
            self.0.finish().unwrap();
            parents
        }
    }

    fn at(id: TensorId) -> usize {
        id.0 as usize
    }

    #[test]
    fn a_split_block_copies_nothing() {
        let (mut net, x) = Net::new();
        let y = net.table(x, 8);
        let (a, b) = (net.slice(y, 0..4), net.slice(y, 4..8));
        let hidden = net.table(b, 4);
        let c = net.table(hidden, 4);
        let z = net.concat(&[a, b, c]);
        let parents = net.parents(&[z]);
        assert_eq!(parents[at(a)], Some((at(y), 0)));
        assert_eq!(parents[at(b)], Some((at(y), 4)));
        assert_eq!(parents[at(y)], Some((at(z), 0)));
        assert_eq!(parents[at(c)], Some((at(z), 8)));
    }

    #[test]
    fn no_operator_reads_and_writes_one_buffer() {
        let (mut net, x) = Net::new();
        let y = net.table(x, 8);
        let b = net.slice(y, 4..8);
        // Reads `b`; as a view of `z` its bytes would lie between those of `b`.
        let c = net.table(b, 4);
        let z = net.concat(&[y, c]);
        let parents = net.parents(&[z]);
        assert_eq!(parents[at(b)], Some((at(y), 4)));
        assert_eq!(parents[at(c)], None);
    }

    #[test]
    fn one_operand_is_copied_rather_than_three() {
        // Pools of one map beside it: in the same buffer they could not read it.
        let (mut net, x) = Net::new();
        let y = net.table(x, 8);
        let pools = [0; 3].map(|_| net.table(y, 8));
        let z = net.concat(&[y, pools[0], pools[1], pools[2]]);
        let parents = net.parents(&[z]);
        assert_eq!(parents[at(y)], None);
        for (i, pool) in pools.into_iter().enumerate() {
            assert_eq!(parents[at(pool)], Some((at(z), 8 * (i as u32 + 1))));
        }
    }

    #[test]
    fn slices_in_another_order_are_copied() {
        let (mut net, x) = Net::new();
        let y = net.table(x, 8);
        let (a, b) = (net.slice(y, 0..4), net.slice(y, 4..8));
        let z = net.concat(&[b, a]);
        let parents = net.parents(&[z]);
        assert_eq!((parents[at(a)], parents[at(b)]), (Some((at(y), 0)), Some((at(y), 4))));
        assert_eq!(parents[at(y)], None);
    }

    #[test]
    fn joined_tensors_are_joined_again() {
        let (mut net, x) = Net::new();
        let (a, b) = (net.table(x, 8), net.table(x, 8));
        let inner = net.concat(&[a, b]);
        let c = net.table(x, 8);
        let outer = net.concat(&[c, inner]);
        let again = net.concat(&[outer, x]);
        // `b` lives on beside all that it has become part of.
        let last = net.table(b, 8);
        let parents = net.parents(&[again, last]);
        assert_eq!(root(&parents, at(b)), (at(again), 16));
        assert_eq!(root(&parents, at(c)), (at(again), 0));
        assert_eq!(parents[at(x)], None);
    }

    #[test]
    fn views_out_of_place_are_refused() {
        let build = || {
            let (mut net, x) = Net::new();
            let y = net.table(x, 8);
            let (a, b) = (net.slice(y, 0..4), net.slice(y, 4..8));
            let c = net.table(b, 4);
            let d = net.table(c, 4);
            let z = net.concat(&[a, b, d]);
            net.0.add_output("y", z).unwrap();
            net.0.plan_memory().unwrap();
            (net.0, [y, a, b, d, z])
        };
        assert!(build().0.finish().is_ok());
        // One element to either side, into another pixel, or with another distance of pixels.
        for index in 0..4 {
            for change in 0..4 {
                let (mut writer, ids) = build();
                let tensor = writer.tensor_mut(ids[index]);
                match change {
                    0 => tensor.arena_offset += 1,
                    1 => tensor.arena_offset = tensor.arena_offset.wrapping_sub(1),
                    2 => tensor.arena_offset += tensor.pixel_stride,
                    _ => tensor.pixel_stride += 1,
                }
                assert!(writer.finish().is_err(), "tensor {index}, change {change}");
            }
        }
    }

    #[test]
    fn views_that_live_on_are_seen() {
        // `y` is read behind the concatenation, so it stays apart and its slices are copied.
        let (mut net, x) = Net::new();
        let y = net.table(x, 8);
        let (a, b) = (net.slice(y, 0..4), net.slice(y, 4..8));
        let z = net.concat(&[a, b]);
        let last = net.table(y, 8);
        let parents = net.parents(&[z, last]);
        assert_eq!(parents[at(y)], None);
        assert_eq!(parents[at(a)], Some((at(y), 0)));
    }
}
