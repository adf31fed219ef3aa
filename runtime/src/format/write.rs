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
use super::tensor::encode_tensor;
use crate::desc::{DType, List, Op, Span, TensorDesc, TensorId};
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
    /// Call it when all operators, the input and the outputs are known. Returns the plan of all tensors.
    ///
    /// # Errors
    ///
    /// [`Error::OpTensor`] for a tensor number that does not exist, and the errors of [`plan::plan`].
    pub fn plan_memory(&mut self) -> Result<plan::Plan, Error> {
        let plan = place::place(self)?;
        self.arena_bytes = plan.arena_bytes;
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
        let sections: [&[u8]; 10] = [
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
        ];
        let file = assemble(sections, self.arena_bytes)?;
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
    use crate::desc::{Conv2d, Epilogue, OpKind, Residual, Store, Window};

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
