//! A model: a verified view of a file's bytes.

use crate::Error;
use crate::desc::{List, Op, OpKind, Span, TensorDesc, TensorId};
use crate::detect::Head;
use crate::format::{self, F32s, I32s, InputContract, Layout, Provenance, Section, SizePlan};

/// A verified model file. It borrows the bytes, copies nothing, and is cheap to copy itself.
///
/// It is a view of the file at one input size: tensors, operators, plan and outputs are those of that size.
/// [`Model::with_size`] gives another one.
///
/// Everything about the file was checked by [`Model::parse`], so the accessors do not fail.
#[derive(Clone, Copy, Debug)]
pub struct Model<'m> {
    layout: Layout<'m>,
    strings: &'m str,
    input: InputContract,
    /// What another input size than the first one has of its own.
    plan: Option<SizePlan<'m>>,
}

/// An output of a model.
#[derive(Clone, Copy, Debug)]
pub struct Output<'m> {
    /// Name.
    pub name: &'m str,
    /// Its tensor.
    pub tensor: TensorId,
}

impl<'m> Model<'m> {
    /// Checks a file and gives a view of it. Takes time in proportion to the file's size, and no memory.
    ///
    /// # Errors
    ///
    /// The first violation found, see [`Error`].
    pub fn parse(file: &'m [u8]) -> Result<Self, Error> {
        let layout = Layout::parse(file)?;
        let strings = core::str::from_utf8(layout.section(Section::Strings))
            .map_err(|_| Error::StringsNotUtf8)?;
        let record = layout.record(Section::Input, 0).ok_or(Error::InputCount)?;
        let input = format::decode_input(record).ok_or(Error::InputContract)?;
        let model = Self { layout, strings, input, plan: None };
        format::verify(&model)?;
        Ok(model)
    }

    /// Version of the file's format, major and minor.
    #[must_use]
    pub const fn version(&self) -> (u16, u16) {
        self.layout.version
    }

    /// Height and width of the input: the size that this view of the model is planned for.
    #[must_use]
    pub fn size(&self) -> [u32; 2] {
        let tensor = self.tensor(self.input.tensor);
        [tensor.height, tensor.width]
    }

    /// Height and width of every input that the file is planned for. [`Model::parse`] gives the first.
    pub fn sizes(&self) -> impl ExactSizeIterator<Item = [u32; 2]> + '_ {
        (0..self.size_count()).map(|index| self.at(index).map_or([0; 2], |model| model.size()))
    }

    /// The model at another of its [`Model::sizes`]: the same weights, with shapes, plan and arena of that size.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSize`] if the file is not planned for it.
    pub fn with_size(&self, size: [u32; 2]) -> Result<Self, Error> {
        let mut all = (0..self.size_count()).filter_map(|index| self.at(index));
        all.find(|model| model.size() == size).ok_or(Error::NoSuchSize)
    }

    /// Number of sizes.
    pub(crate) fn size_count(&self) -> usize {
        1 + self.plans().count()
    }

    /// The model at size `index`, `None` behind the last.
    pub(crate) fn at(&self, index: usize) -> Option<Self> {
        let plan = match index.checked_sub(1) {
            None => None,
            Some(further) => Some(self.plans().nth(further)?.0),
        };
        Some(Self { plan, ..*self })
    }

    /// The plans of further sizes, each with the bytes behind it, up to the first that is malformed.
    fn plans(&self) -> impl Iterator<Item = (SizePlan<'m>, &'m [u8])> + use<'m> {
        let (section, tensors) = (self.layout.section(Section::Sizes), self.tensor_count());
        core::iter::successors(SizePlan::split(section, tensors), move |(_, rest)| {
            SizePlan::split(rest, tensors)
        })
    }

    /// Whether the sizes section holds plans and nothing else.
    pub(crate) fn sizes_are_whole(&self) -> bool {
        self.plans().last().is_some_and(|(_, rest)| rest.is_empty())
    }

    /// The first operator that this size gives a geometry it cannot have.
    pub(crate) fn bad_geometry(&self) -> Option<u32> {
        let record = |index| format::decode_op(self.layout.record(Section::Ops, index)?);
        self.plan?.bad_geometry(record)
    }

    /// Bytes that a session's arena needs, wherever the buffer begins: the plan and room to align it.
    #[must_use]
    pub const fn arena_bytes(&self) -> usize {
        self.plan_bytes() + crate::arena::ALIGNMENT
    }

    /// Bytes of the memory plan.
    #[must_use]
    pub const fn plan_bytes(&self) -> usize {
        match &self.plan {
            Some(plan) => plan.arena_bytes as usize,
            None => self.layout.arena_bytes as usize,
        }
    }

    /// Number of operators.
    #[must_use]
    pub const fn op_count(&self) -> usize {
        self.layout.count(Section::Ops)
    }

    /// Operator `index`, in execution order.
    ///
    /// # Panics
    ///
    /// If `index >= op_count()`.
    #[must_use]
    pub fn op(&self, index: usize) -> Op {
        self.try_op(index).expect("an operator of a verified model")
    }

    /// All operators, in execution order.
    pub fn ops(&self) -> impl ExactSizeIterator<Item = Op> + '_ {
        (0..self.op_count()).map(|index| self.op(index))
    }

    /// Number of tensors.
    #[must_use]
    pub const fn tensor_count(&self) -> usize {
        self.layout.count(Section::Tensors)
    }

    /// A tensor's descriptor.
    ///
    /// # Panics
    ///
    /// If the number is not below `tensor_count()`.
    #[must_use]
    pub fn tensor(&self, id: TensorId) -> TensorDesc {
        self.try_tensor(id).expect("a tensor of a verified model")
    }

    /// Tensors that an operator reads, a concatenation's operands included.
    pub fn reads(&self, op: &Op) -> impl Iterator<Item = TensorId> + use<'m> {
        let list = op.kind.list().unwrap_or(List { start: 0, len: 0 });
        op.kind.reads().into_iter().flatten().chain(self.list(list))
    }

    /// The tensors of a list.
    pub fn list(&self, list: List) -> impl ExactSizeIterator<Item = TensorId> + use<'m> {
        let bytes = self.try_list(list).unwrap_or_default();
        bytes.as_chunks::<4>().0.iter().map(|&id| TensorId(u32::from_le_bytes(id)))
    }

    /// A text.
    ///
    /// # Panics
    ///
    /// If the span is not one of this model.
    #[must_use]
    pub fn text(&self, span: Span) -> &'m str {
        self.try_text(span).expect("a text of a verified model")
    }

    /// Constant bytes.
    ///
    /// # Panics
    ///
    /// If the span is not one of this model.
    #[must_use]
    pub fn data(&self, span: Span) -> &'m [u8] {
        self.try_data(span).expect("a constant of a verified model")
    }

    /// Constants of type i32 (biases).
    ///
    /// # Panics
    ///
    /// If the span is not one of this model.
    #[must_use]
    pub fn i32s(&self, span: Span) -> I32s<'m> {
        I32s(self.data(span))
    }

    /// Constants of type f32 (multipliers, affine factors).
    ///
    /// # Panics
    ///
    /// If the span is not one of this model.
    #[must_use]
    pub fn f32s(&self, span: Span) -> F32s<'m> {
        F32s(self.data(span))
    }

    /// Height, width and channels of what the input takes: those of its tensor without the mask.
    #[must_use]
    pub fn input_shape(&self) -> [u32; 3] {
        let tensor = self.tensor(self.input.tensor);
        let channels = self.input.order.channels().unwrap_or(tensor.channels);
        [tensor.height, tensor.width, channels]
    }

    /// What the model expects at its input.
    #[must_use]
    pub const fn input(&self) -> &InputContract {
        &self.input
    }

    /// Number of outputs.
    #[must_use]
    pub const fn output_count(&self) -> usize {
        self.layout.count(Section::Outputs)
    }

    /// Output `index`, `None` behind the last.
    #[must_use]
    pub fn output(&self, index: usize) -> Option<Output<'m>> {
        let (name, tensor) = format::decode_output(self.layout.record(Section::Outputs, index)?)?;
        Some(Output { name: self.try_text(name)?, tensor })
    }

    /// All outputs.
    pub fn outputs(&self) -> impl Iterator<Item = Output<'m>> + '_ {
        (0..self.output_count()).filter_map(|index| self.output(index))
    }

    /// What the outputs of a detector mean; `None` for other models.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        format::decode_head(self.layout.section(Section::Head))
    }

    /// Class names, in the order of the outputs' channels; may be none.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = &'m str> + '_ {
        (0..self.layout.count(Section::Labels)).map(|index| {
            let span = self
                .layout
                .record(Section::Labels, index)
                .map(|record| format::decode_span(record, 0));
            self.text(span.unwrap_or_default())
        })
    }

    /// Where the model comes from: source, hash of the source, converter, calibration.
    #[must_use]
    pub fn provenance(&self) -> [&'m str; 4] {
        let record = self.layout.record(Section::Provenance, 0).map(format::decode_provenance);
        let Provenance { source, source_hash, converter, calibration } = record.unwrap_or_default();
        [source, source_hash, converter, calibration].map(|span| self.text(span))
    }

    /// Bytes of all constants.
    #[must_use]
    pub const fn data_bytes(&self) -> usize {
        self.layout.section(Section::Data).len()
    }

    /// Multiply-accumulates of one operator: those of convolutions, elsewhere 0.
    #[must_use]
    pub fn op_macs(&self, op: &Op) -> u64 {
        let OpKind::Conv2d(conv) = &op.kind else { return 0 };
        let Some(output) = op.kind.writes().into_iter().flatten().next() else { return 0 };
        let weights = u64::from(conv.weights.len);
        let seen = if conv.input == self.input.tensor {
            // The mask is no channel of the network.
            let [_, _, channels] = self.input_shape();
            weights * u64::from(channels) / u64::from(self.tensor(conv.input).channels).max(1)
        } else {
            weights
        };
        u64::from(self.tensor(output).pixels()) * seen
    }

    /// Multiply-accumulates of one run.
    #[must_use]
    pub fn macs(&self) -> u64 {
        self.ops().map(|op| self.op_macs(&op)).sum()
    }

    pub(crate) const fn layout(&self) -> &Layout<'m> {
        &self.layout
    }

    pub(crate) fn try_op(&self, index: usize) -> Option<Op> {
        let op = format::decode_op(self.layout.record(Section::Ops, index)?)?;
        match &self.plan {
            Some(plan) => plan.op(index, op),
            None => Some(op),
        }
    }

    pub(crate) fn try_tensor(&self, id: TensorId) -> Option<TensorDesc> {
        let index = id.0 as usize;
        let tensor = format::decode_tensor(self.layout.record(Section::Tensors, index)?)?;
        match &self.plan {
            Some(plan) => plan.tensor(index, tensor),
            None => Some(tensor),
        }
    }

    pub(crate) fn try_list(&self, list: List) -> Option<&'m [u8]> {
        let start = (list.start as usize).checked_mul(4)?;
        let len = (list.len as usize).checked_mul(4)?;
        self.layout.section(Section::Lists).get(start..start.checked_add(len)?)
    }

    pub(crate) fn try_text(&self, span: Span) -> Option<&'m str> {
        let start = span.offset as usize;
        self.strings.get(start..start.checked_add(span.len as usize)?)
    }

    pub(crate) fn try_data(&self, span: Span) -> Option<&'m [u8]> {
        let start = span.offset as usize;
        self.layout.section(Section::Data).get(start..start.checked_add(span.len as usize)?)
    }
}
