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
use super::sizes::{encode_size, with_geometry};
use super::tensor::encode_tensor;
use crate::desc::{DType, Geometry, List, Op, OpKind, Span, TensorDesc, TensorId};
use crate::detect::Head;
use crate::{Error, Model, plan};

/// How images become the input tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputSpec {
    /// Meaning of the tensor's channels.
    pub order: ChannelOrder,
    /// Value that pads images of another shape, if their aspect ratio is to be kept.
    pub letterbox: Option<u8>,
    /// Where such an image is put.
    pub placement: Placement,
    /// Mean per channel of the tensor, of values in 0..=1.
    pub mean: [f32; 3],
    /// Standard deviation per channel of the tensor, positive.
    pub std: [f32; 3],
}

impl InputSpec {
    /// An input that is no image.
    #[must_use]
    pub const fn features() -> Self {
        Self {
            order: ChannelOrder::Features,
            letterbox: None,
            placement: Placement::TopLeft,
            mean: [0.0; 3],
            std: [1.0; 3],
        }
    }

    /// The image table: for each channel and pixel value `p` it is `q = p - 128` beside a mask, else
    /// `q = clamp(round_ties_even(((p / 255 - mean) / std) / scale) + zero_point)`, in f64 up to the rounding.
    fn table(&self, tensor: &TensorDesc) -> Vec<i8> {
        let channels = self.order.channels().unwrap_or(0) as usize;
        let mut table = Vec::with_capacity(256 * channels);
        if tensor.channels as usize > channels {
            (0..channels).for_each(|_| table.extend(i8::MIN..=i8::MAX));
            return table;
        }
        for (&mean, &std) in self.mean.iter().zip(&self.std).take(channels) {
            for pixel in 0..=255u8 {
                let real = (f64::from(pixel) / 255.0 - f64::from(mean)) / f64::from(std);
                let steps = real / f64::from(tensor.scale);
                // `core` has no rounding to even for f64 on every target; 2^52 does it.
                const MAGIC: f64 = 6_755_399_441_055_744.0;
                let steps = (steps.clamp(-1e6, 1e6) + MAGIC) - MAGIC;
                table.push((steps as i32 + tensor.zero_point).clamp(-128, 127) as i8);
            }
        }
        table
    }
}

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

/// What another input size has of its own; places are known once the memory is planned.
#[derive(Clone, Debug)]
struct FurtherSize {
    shapes: Vec<[u32; 2]>,
    geometries: Vec<(u32, Geometry)>,
    tensors: Vec<TensorDesc>,
    arena_bytes: u32,
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

    /// Adds an input size that shares all of the model but `shapes`, height and width of every tensor in their order, and
    /// the geometries of these operators. Call it when all tensors and operators are known.
    ///
    /// # Errors
    ///
    /// [`Error::SizesSection`] if there is not one shape for each tensor; [`Error::SizeGeometry`] for an operator that
    /// does not exist, or has no geometry of this kind, or two of them.
    pub fn add_size(
        &mut self,
        shapes: &[[u32; 2]],
        geometries: &[(usize, Geometry)],
    ) -> Result<(), Error> {
        if shapes.len() != self.tensors.len() {
            return Err(Error::SizesSection);
        }
        let size = self.sizes.len() as u32 + 1;
        let mut changed = BTreeMap::new();
        for &(index, geometry) in geometries {
            let wrong = Error::SizeGeometry { size, op: index as u32 };
            let kind = self.ops.get(index).ok_or(wrong)?.kind;
            with_geometry(kind, geometry).ok_or(wrong)?;
            if changed.insert(index as u32, geometry).is_some() {
                return Err(wrong);
            }
        }
        changed.retain(|&op, geometry| self.ops[op as usize].kind.geometry() != Some(*geometry));
        self.sizes.push(FurtherSize {
            shapes: shapes.to_vec(),
            geometries: changed.into_iter().collect(),
            tensors: Vec::new(),
            arena_bytes: 0,
        });
        Ok(())
    }

    /// The model at a further size, without its constants.
    fn at_size(&self, size: &FurtherSize) -> Self {
        let mut model = Self {
            tensors: self.tensors.clone(),
            ops: self.ops.clone(),
            lists: self.lists.clone(),
            input: self.input,
            outputs: self.outputs.clone(),
            ..Self::default()
        };
        for (tensor, &[height, width]) in model.tensors.iter_mut().zip(&size.shapes) {
            (tensor.height, tensor.width) = (height, width);
        }
        for &(op, geometry) in &size.geometries {
            if let Some(op) = model.ops.get_mut(op as usize)
                && let Some(kind) = with_geometry(op.kind, geometry)
            {
                op.kind = kind;
            }
        }
        model
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desc::{Conv2d, Epilogue, Residual, Store, Window};
    use std::vec;

    /// Two convolutions of a 6x5x4 map, the second with the first as residual, then both joined.
    fn writer() -> ModelWriter {
        let mut w = ModelWriter::new();
        let shape = [6, 5, 4];
        let x = w.add_activation("x", shape, DType::I8, 0.02, -3).unwrap();
        let a = w.add_activation("a", shape, DType::I8, 0.03, 5).unwrap();
        let b = w.add_activation("b", shape, DType::I8, 0.03, 5).unwrap();
        let y = w.add_activation("y", [6, 5, 8], DType::I8, 0.03, 5).unwrap();
        for (input, output, residual) in
            [(x, a, None), (a, b, Some(Residual { tensor: x, multiplier: 0.5 }))]
        {
            let store =
                Store { output, zero_point: 5, clamp_min: -128, clamp_max: 127, table: None };
            let conv = Conv2d {
                input,
                window: Window { size: [3, 3], stride: [1, 1], padding: [1; 4], dilation: [1, 1] },
                groups: 2,
                channels_out: 4,
                weights: w.add_i8(&[7; 4 * 9 * 2]).unwrap(),
                bias: w.add_i32(&[-100, 0, 1, 1000]).unwrap(),
                multiplier: w.add_f32(&[0.001, 0.002, 0.003, 0.004]).unwrap(),
                slope: None,
                silu: None,
                epilogue: Epilogue { residual, store: Some(store), second: None },
            };
            let name = w.add_string("conv").unwrap();
            w.add_op(Op { name, kind: OpKind::Conv2d(conv) });
        }
        let inputs = w.add_list(&[a, b]);
        let multipliers = w.add_f32(&[1.0, 1.0]).unwrap();
        let name = w.add_string("join").unwrap();
        w.add_op(Op { name, kind: OpKind::Concat { inputs, multipliers, output: y } });
        w.set_input("input", x, InputSpec::features()).unwrap();
        w.add_output("y", y).unwrap();
        w.set_labels(&["cat", "dog"]).unwrap();
        w.set_provenance("net.pt", "sha256:00", "kenar 0.1", "none").unwrap();
        w
    }

    #[test]
    fn a_written_model_reads_back() {
        let mut w = writer();
        let plan = w.plan_memory().unwrap();
        assert_eq!(plan.offsets.len(), 4);
        let (ops, tensors) = (w.ops.clone(), w.tensors.clone());
        let file = w.finish().unwrap();
        let model = Model::parse(&file).unwrap();
        assert!(model.ops().eq(ops));
        assert!((0..4).map(|id| model.tensor(TensorId(id))).eq(tensors));
        assert_eq!(model.version(), (1, 1));
        assert_eq!(model.text(model.op(2).name), "join");
        assert!(model.labels().eq(["cat", "dog"]));
        assert_eq!(model.provenance(), ["net.pt", "sha256:00", "kenar 0.1", "none"]);
        assert_eq!(model.output(0).unwrap().name, "y");
        assert_eq!(model.macs(), 2 * 30 * 4 * 9 * 2);
    }

    /// The model of [`writer`] at 3x4 too.
    fn two_sizes() -> ModelWriter {
        let mut w = writer();
        w.add_size(&[[3, 4]; 4], &[]).unwrap();
        w.plan_memory().unwrap();
        w
    }

    #[test]
    fn sizes_share_all_but_shapes_and_places() {
        let mut one = writer();
        one.plan_memory().unwrap();
        let one = one.finish().unwrap();
        let file = two_sizes().finish().unwrap();
        assert_eq!((one[10], file[10]), (1, 2));
        assert!(file.len() - one.len() <= 192, "{} and {}", one.len(), file.len());
        let model = Model::parse(&file).unwrap();
        assert!(model.sizes().eq([[6, 5], [3, 4]]));
        let small = model.with_size([3, 4]).unwrap();
        assert_eq!((model.size(), small.size()), ([6, 5], [3, 4]));
        assert_eq!(model.with_size([4, 3]).unwrap_err(), Error::NoSuchSize);
        assert_eq!(small.with_size([6, 5]).unwrap().size(), [6, 5]);
        assert_eq!(small.macs(), 2 * 12 * 4 * 9 * 2);
        assert!(small.arena_bytes() < model.arena_bytes());
        let mut alone = writer();
        alone.tensors.iter_mut().for_each(|t| (t.height, t.width) = (3, 4));
        alone.plan_memory().unwrap();
        assert!((0..4).map(|id| small.tensor(TensorId(id))).eq(alone.tensors.iter().copied()));
        assert_eq!(small.plan_bytes(), alone.arena_bytes as usize);
        assert!(small.ops().eq(alone.ops.iter().copied()));
    }

    #[test]
    fn an_operator_can_have_another_window_at_another_size() {
        let mut w = writer();
        let window = Window { size: [3, 3], stride: [1, 1], padding: [1; 4], dilation: [1, 1] };
        let wider = Window { padding: [2; 4], dilation: [2, 2], ..window };
        let geometries = [(0, Geometry::Window(window)), (1, Geometry::Window(wider))];
        w.add_size(&[[8, 8]; 4], &geometries).unwrap();
        // What is as it was takes no room.
        assert_eq!(w.sizes[0].geometries.len(), 1);
        let none = Geometry::Crop { start: [0; 3], step: [1; 2] };
        for (op, geometry) in [(0, none), (2, geometries[0].1), (3, none)] {
            let refused = w.clone().add_size(&[[7, 7]; 4], &[(op, geometry)]);
            assert_eq!(refused, Err(Error::SizeGeometry { size: 2, op: op as u32 }));
        }
        assert_eq!(w.add_size(&[[7, 7]; 3], &[]), Err(Error::SizesSection));
        w.plan_memory().unwrap();
        let file = w.finish().unwrap();
        let model = Model::parse(&file).unwrap().with_size([8, 8]).unwrap();
        assert_eq!(model.op(0).kind.geometry(), Some(geometries[0].1));
        assert_eq!(model.op(1).kind.geometry(), Some(geometries[1].1));
    }

    #[test]
    fn violations_of_a_further_size_are_named() {
        type Change = fn(&mut FurtherSize);
        let window = Window { size: [3, 3], stride: [1, 1], padding: [1; 4], dilation: [1, 1] };
        let shrunk = Geometry::Window(Window { padding: [0; 4], ..window });
        let cases: [(Change, Error); 8] = [
            (|s| s.tensors[1].height = 4, Error::OpShape { op: 0 }),
            (|s| s.tensors[1].height = 0, Error::TensorShape { tensor: 1 }),
            (|s| s.tensors[1].pixel_stride = 3, Error::TensorShape { tensor: 1 }),
            (|s| s.tensors[2].arena_offset += 1 << 20, Error::TensorOutsideArena { tensor: 2 }),
            (|s| s.tensors[2].arena_offset += 1, Error::TensorAlignment { tensor: 2 }),
            (|s| s.arena_bytes = u32::MAX, Error::TooLarge),
            (|s| s.tensors.truncate(3), Error::SizesSection),
            (
                |s| s.tensors.iter_mut().for_each(|t| t.arena_offset = 0),
                Error::OpOverlap { op: 0, tensor: 1 },
            ),
        ];
        for (change, error) in cases {
            let mut w = two_sizes();
            change(&mut w.sizes[0]);
            assert_eq!(w.finish().unwrap_err(), error);
        }
        let mut w = two_sizes();
        w.sizes[0].geometries = vec![(0, shrunk)];
        assert_eq!(w.finish().unwrap_err(), Error::OpShape { op: 0 });
        for op in [2, 3, u32::MAX] {
            let mut w = two_sizes();
            w.sizes[0].geometries = vec![(op, shrunk)];
            assert_eq!(w.finish().unwrap_err(), Error::SizeGeometry { size: 1, op });
        }
        let mut w = two_sizes();
        let same = Geometry::Window(window);
        w.sizes[0].geometries = vec![(1, same), (0, same)];
        assert_eq!(w.finish().unwrap_err(), Error::SizeGeometry { size: 1, op: 0 });
        let mut w = two_sizes();
        let again = w.sizes[0].clone();
        w.sizes.push(again);
        assert_eq!(w.finish().unwrap_err(), Error::SizeRepeated { size: 2 });
        let mut w = writer();
        (0..crate::format::MAX_SIZES as u32)
            .for_each(|i| w.add_size(&[[7 + i, 5]; 4], &[]).unwrap());
        w.plan_memory().unwrap();
        assert_eq!(w.finish().unwrap_err(), Error::SizesSection);
    }

    #[test]
    fn one_operand_of_a_chain_becomes_a_view() {
        let mut w = writer();
        w.plan_memory().unwrap();
        // The second convolution reads `a` and writes `b`: only one of them can lie in `y`.
        let y = *w.tensor(TensorId(3));
        assert!(w.tensor(TensorId(1)).is_view_of(&y, 0));
        assert!(!w.tensor(TensorId(2)).is_view_of(&y, 4));
    }

    #[test]
    fn violations_are_named() {
        type Change = fn(&mut ModelWriter);
        fn edit(w: &mut ModelWriter, change: impl FnOnce(&mut Conv2d)) {
            let OpKind::Conv2d(conv) = &mut w.ops[0].kind else { unreachable!() };
            change(conv);
        }
        let cases: [(Change, Error); 16] = [
            (|w| w.data[0] = 0x80, Error::OpWeights { op: 0 }),
            (|w| edit(w, |c| c.groups = 3), Error::OpGroups { op: 0 }),
            (|w| edit(w, |c| c.window.stride = [0, 1]), Error::OpWindow { op: 0 }),
            (|w| edit(w, |c| c.window.padding = [0, 1, 1, 1]), Error::OpShape { op: 0 }),
            (|w| edit(w, |c| c.weights.len -= 1), Error::OpData { op: 0 }),
            (|w| edit(w, |c| c.bias = Span { offset: 4, len: 16 }), Error::OpData { op: 0 }),
            (|w| edit(w, |c| c.input = TensorId(9)), Error::OpTensor { op: 0 }),
            (|w| edit(w, |c| c.input = TensorId(2)), Error::OpReadsUnwritten { op: 0, tensor: 2 }),
            (|w| edit(w, |c| c.epilogue.store = None), Error::OpOperands { op: 0 }),
            (|w| w.tensors[0].scale = 0.0, Error::TensorScale { tensor: 0 }),
            (|w| w.tensors[1].zero_point = 200, Error::TensorZeroPoint { tensor: 1 }),
            (|w| w.tensors[1].zero_point = 6, Error::OpZeroPoint { op: 0 }),
            (|w| w.tensors[2].last_op = 1, Error::OpReadsUnwritten { op: 2, tensor: 2 }),
            (|w| w.tensors[3].arena_offset += 1 << 20, Error::TensorOutsideArena { tensor: 3 }),
            (|w| w.outputs.clear(), Error::OutputCount),
            (|w| w.input = None, Error::InputCount),
        ];
        for (change, error) in cases {
            let mut w = writer();
            w.plan_memory().unwrap();
            change(&mut w);
            assert_eq!(w.finish().unwrap_err(), error);
        }
    }

    #[test]
    fn the_image_table_holds_every_pixel_value() {
        let mut w = ModelWriter::new();
        let x = w.add_activation("x", [1, 1, 3], DType::I8, 1.0 / 64.0, 4).unwrap();
        let spec = InputSpec {
            order: ChannelOrder::Bgr,
            letterbox: Some(114),
            placement: Placement::TopLeft,
            mean: [0.5, 0.25, 0.0],
            std: [0.25, 0.5, 1.0],
        };
        w.set_input("input", x, spec).unwrap();
        let table = &w.data[w.input.unwrap().table.offset as usize..];
        assert_eq!(table.len(), 768);
        for (c, (mean, std)) in [(0.5, 0.25), (0.25, 0.5), (0.0, 1.0)].into_iter().enumerate() {
            for p in 0..256 {
                let q = ((p as f64 / 255.0 - mean) / std * 64.0).round_ties_even() as i32 + 4;
                assert_eq!(i32::from(table[256 * c + p] as i8), q.clamp(-128, 127));
            }
        }
    }
}
