//! The writer of model files.
//!
//! A converter adds texts, tensors, constants and operators in execution order, calls [`ModelWriter::plan_memory`], and
//! gets the file from [`ModelWriter::finish`], which checks it exactly as a device will.
//!
//! ```
//! use kenar::desc::{DType, Op, OpKind, TensorDesc, Table};
//! use kenar::format::ChannelOrder;
//! use kenar::format::write::{InputSpec, ModelWriter};
//!
//! let mut writer = ModelWriter::new();
//! let x = writer.add_activation("x", [2, 2, 3], DType::I8, 0.1, 0)?;
//! let y = writer.add_activation("y", [2, 2, 3], DType::I8, 0.1, 0)?;
//! let negate: Vec<i8> = (-128..=127i32).map(|q| (-q).clamp(-128, 127) as i8).collect();
//! let table = writer.add_i8(&negate)?;
//! let name = writer.add_string("negate")?;
//! writer.add_op(Op { name, kind: OpKind::Table(Table { input: x, output: y, table }) });
//! writer.set_input("input", x, InputSpec::features())?;
//! writer.add_output("y", y)?;
//! writer.plan_memory()?;
//! let file = writer.finish()?;
//! assert_eq!(kenar::Model::parse(&file)?.op_count(), 1);
//! # Ok::<(), kenar::Error>(())
//! ```

mod further;
mod input;
#[cfg(test)]
mod tests;

pub use input::InputSpec;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::head::encode_head;
use super::layout::{ALIGNMENT, assemble};
use super::meta::{
    ChannelOrder, InputContract, Placement, Provenance, encode_input, encode_output,
    encode_provenance,
};
use super::op::encode_op;
use super::place;
use super::sizes::encode_size;
use super::tensor::encode_tensor;
use crate::desc::{DType, List, Op, OpKind, Span, TensorDesc, TensorId};
use crate::detect::Head;
use crate::{Error, Model, plan};
use further::FurtherSize;

/// Builds a model file. See the module for an example.
#[derive(Clone, Debug, Default)]
pub struct ModelWriter {
    pub(super) tensors: Vec<TensorDesc>,
    pub(super) ops: Vec<Op>,
    pub(super) lists: Vec<u32>,
    pub(super) input: Option<InputContract>,
    pub(super) outputs: Vec<(Span, TensorId)>,
    labels: Vec<Span>,
    head: Option<Head>,
    provenance: Provenance,
    strings: String,
    known_strings: BTreeMap<String, Span>,
    data: Vec<u8>,
    arena_bytes: u32,
    sizes: Vec<FurtherSize>,
}

impl ModelWriter {
    /// An empty model.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text, or finds it among those already added.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the section would pass 4 GiB.
    pub fn add_string(&mut self, text: &str) -> Result<Span, Error> {
        if let Some(&span) = self.known_strings.get(text) {
            return Ok(span);
        }
        let span = span(self.strings.len(), text.len())?;
        self.strings.push_str(text);
        self.known_strings.insert(text.into(), span);
        Ok(span)
    }

    /// Adds a tensor as it is described. Its place, pixel stride and lifetime may be left zero for
    /// [`ModelWriter::plan_memory`].
    pub fn add_tensor(&mut self, tensor: TensorDesc) -> TensorId {
        self.tensors.push(tensor);
        TensorId(self.tensors.len() as u32 - 1)
    }

    /// Adds a tensor of shape `[height, width, channels]` that [`ModelWriter::plan_memory`] will place.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] as for [`ModelWriter::add_string`].
    pub fn add_activation(
        &mut self,
        name: &str,
        [height, width, channels]: [u32; 3],
        dtype: DType,
        scale: f32,
        zero_point: i32,
    ) -> Result<TensorId, Error> {
        let name = self.add_string(name)?;
        Ok(self.add_tensor(TensorDesc {
            name,
            height,
            width,
            channels,
            pixel_stride: channels,
            dtype,
            scale,
            zero_point,
            arena_offset: 0,
            first_op: 0,
            last_op: 0,
        }))
    }

    /// A tensor that was added.
    ///
    /// # Panics
    ///
    /// If `id` is not from this writer.
    #[must_use]
    pub fn tensor(&self, id: TensorId) -> &TensorDesc {
        &self.tensors[id.0 as usize]
    }

    /// A tensor that was added, to change it.
    ///
    /// # Panics
    ///
    /// If `id` is not from this writer.
    pub fn tensor_mut(&mut self, id: TensorId) -> &mut TensorDesc {
        &mut self.tensors[id.0 as usize]
    }

    /// Adds constant bytes, 64-byte aligned.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the section would pass 4 GiB.
    pub fn add_bytes(&mut self, bytes: &[u8]) -> Result<Span, Error> {
        self.add_values(bytes.iter().map(|&byte| [byte]))
    }

    /// Adds i8 constants (weights, tables).
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the section would pass 4 GiB.
    pub fn add_i8(&mut self, values: &[i8]) -> Result<Span, Error> {
        self.add_values(values.iter().map(|value| value.to_le_bytes()))
    }

    /// Adds i32 constants (biases).
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the section would pass 4 GiB.
    pub fn add_i32(&mut self, values: &[i32]) -> Result<Span, Error> {
        self.add_values(values.iter().map(|value| value.to_le_bytes()))
    }

    /// Adds f32 constants (multipliers, affine factors).
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if the section would pass 4 GiB.
    pub fn add_f32(&mut self, values: &[f32]) -> Result<Span, Error> {
        self.add_values(values.iter().map(|value| value.to_le_bytes()))
    }

    fn add_values<const N: usize>(
        &mut self,
        values: impl Iterator<Item = [u8; N]>,
    ) -> Result<Span, Error> {
        self.data.resize(self.data.len().next_multiple_of(ALIGNMENT), 0);
        let start = self.data.len();
        self.data.extend(values.flatten());
        span(start, self.data.len() - start)
    }

    /// Adds a list of tensors (the operands of a concatenation).
    pub fn add_list(&mut self, tensors: &[TensorId]) -> List {
        let start = self.lists.len() as u32;
        self.lists.extend(tensors.iter().map(|tensor| tensor.0));
        List { start, len: tensors.len() as u32 }
    }

    /// Adds an operator behind the others; returns its index.
    pub fn add_op(&mut self, op: Op) -> usize {
        self.ops.push(op);
        self.ops.len() - 1
    }

    /// Operators added so far.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Declares the input and derives its image table from the tensor's scale and zero point.
    ///
    /// # Errors
    ///
    /// [`Error::InputTensor`] if there is no such tensor, [`Error::TooLarge`] as for [`ModelWriter::add_string`].
    pub fn set_input(
        &mut self,
        name: &str,
        tensor: TensorId,
        spec: InputSpec,
    ) -> Result<(), Error> {
        let desc = *self.tensors.get(tensor.0 as usize).ok_or(Error::InputTensor)?;
        let name = self.add_string(name)?;
        let table = match spec.order {
            ChannelOrder::Features => Span::default(),
            _ => self.add_i8(&spec.table(&desc))?,
        };
        let InputSpec { order, letterbox, placement, mean, std } = spec;
        let placement = if letterbox.is_some() { placement } else { Placement::TopLeft };
        self.input =
            Some(InputContract { name, tensor, order, letterbox, placement, mean, std, table });
        Ok(())
    }

    /// Declares an output.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] as for [`ModelWriter::add_string`].
    pub fn add_output(&mut self, name: &str, tensor: TensorId) -> Result<(), Error> {
        let name = self.add_string(name)?;
        self.outputs.push((name, tensor));
        Ok(())
    }

    /// Sets the class names.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] as for [`ModelWriter::add_string`].
    pub fn set_labels<S: AsRef<str>>(&mut self, labels: &[S]) -> Result<(), Error> {
        self.labels =
            labels.iter().map(|label| self.add_string(label.as_ref())).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Says what the outputs of a detector mean.
    pub const fn set_head(&mut self, head: Head) {
        self.head = Some(head);
    }

    /// Says where the model comes from: file name, hash of the file (hexadecimal), converter with version, and a
    /// summary of the calibration.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] as for [`ModelWriter::add_string`].
    pub fn set_provenance(
        &mut self,
        source: &str,
        source_hash: &str,
        converter: &str,
        calibration: &str,
    ) -> Result<(), Error> {
        self.provenance = Provenance {
            source: self.add_string(source)?,
            source_hash: self.add_string(source_hash)?,
            converter: self.add_string(converter)?,
            calibration: self.add_string(calibration)?,
        };
        Ok(())
    }

    /// Computes lifetimes from operators, input and outputs, turns operands of concatenations into views of the
    /// output's buffer where that is sound and nothing has to be requantised, and places everything.
    ///
    /// Call it when all operators, the input and the outputs are known. Returns the plan of all tensors at the first
    /// input size.
    ///
    /// # Errors
    ///
    /// [`Error::OpTensor`] for a tensor number that does not exist, and the errors of [`plan::plan`].
    pub fn plan_memory(&mut self) -> Result<plan::Plan, Error> {
        let plan = place::place(self)?;
        self.arena_bytes = plan.arena_bytes;
        let mut sizes = core::mem::take(&mut self.sizes);
        for size in &mut sizes {
            let mut model = self.at_size(size);
            size.arena_bytes = place::place(&mut model)?.arena_bytes;
            size.tensors = model.tensors;
        }
        self.sizes = sizes;
        Ok(plan)
    }

    /// The file, verified as [`Model::parse`] does.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the model, see [`Error`].
    pub fn finish(self) -> Result<Vec<u8>, Error> {
        let tensors = words(self.tensors.iter().flat_map(encode_tensor));
        let ops = words(self.ops.iter().flat_map(encode_op));
        let lists = words(self.lists.iter().copied());
        let input = words(self.input.iter().flat_map(encode_input));
        let outputs =
            words(self.outputs.iter().flat_map(|&(name, tensor)| encode_output(name, tensor)));
        let labels = words(self.labels.iter().flat_map(|label| [label.offset, label.len]));
        let provenance = words(encode_provenance(&self.provenance).into_iter());
        let head = words(self.head.iter().flat_map(encode_head));
        let sizes = words(
            self.sizes.iter().flat_map(|s| encode_size(s.arena_bytes, &s.tensors, &s.geometries)),
        );
        let sections: [&[u8]; 11] = [
            &tensors,
            &ops,
            &lists,
            &input,
            &outputs,
            &labels,
            &provenance,
            &head,
            self.strings.as_bytes(),
            &self.data,
            &sizes,
        ];
        let silu = |op: &Op| matches!(op.kind, OpKind::Conv2d(conv) if conv.silu.is_some());
        let file = assemble(sections, self.arena_bytes, self.ops.iter().any(silu))?;
        Model::parse(&file)?;
        Ok(file)
    }
}

fn words(words: impl Iterator<Item = u32>) -> Vec<u8> {
    words.flat_map(u32::to_le_bytes).collect()
}

fn span(offset: usize, len: usize) -> Result<Span, Error> {
    let fits = |value: usize| u32::try_from(value).map_err(|_| Error::TooLarge);
    fits(offset.saturating_add(len))?;
    Ok(Span { offset: fits(offset)?, len: fits(len)? })
}
