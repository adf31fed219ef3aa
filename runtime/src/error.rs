//! The one error type of the runtime: flat, `Copy`, comparable, without strings.

/// What is wrong with a model file, with a plan or with a caller's buffer.
///
/// `op`, `tensor`, `output`, `section` are indices into the file's tables; `kenar inspect` prints the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// The file is shorter than its header or than the size its header states: copy it again.
    Truncated,
    /// The file does not begin with the magic bytes of a model.
    BadMagic,
    /// The file's format is of another major version, or of a minor version that is newer than this runtime.
    UnsupportedVersion {
        /// Major version of the file.
        major: u16,
        /// Minor version of the file.
        minor: u16,
    },
    /// The header states another size than the file has.
    SizeMismatch,
    /// The contents do not match the checksum: the file was damaged.
    ChecksumMismatch,
    /// A section does not begin where the one before it ends, or ends outside the file.
    SectionMisplaced {
        /// Section.
        section: u32,
    },
    /// A section's length is no multiple of its record size, or holds more records than the format allows.
    SectionSize {
        /// Section.
        section: u32,
    },
    /// Bytes that must be zero are not.
    PaddingNotZero {
        /// Section in front of the padding.
        section: u32,
    },
    /// The string section is not UTF-8.
    StringsNotUtf8,
    /// A name or text lies outside the string section, or cuts a character.
    StringOutOfBounds,
    /// A list lies outside the list section.
    ListOutOfBounds,
    /// The file has no operators.
    NoOperators,

    /// A tensor record has an unknown type, or reserved words that are not zero.
    TensorRecord {
        /// Tensor.
        tensor: u32,
    },
    /// A dimension is zero or too large, or the pixel stride is smaller than the number of channels.
    TensorShape {
        /// Tensor.
        tensor: u32,
    },
    /// A scale is not finite, normal and positive.
    TensorScale {
        /// Tensor.
        tensor: u32,
    },
    /// A zero point is outside the range of its type (for i16: not zero).
    TensorZeroPoint {
        /// Tensor.
        tensor: u32,
    },
    /// A tensor does not lie inside the arena.
    TensorOutsideArena {
        /// Tensor.
        tensor: u32,
    },
    /// A tensor is neither 64-byte aligned nor a view into a concatenation.
    TensorAlignment {
        /// Tensor.
        tensor: u32,
    },
    /// A tensor's lifetime is not what the operators make it: first written, last read.
    TensorLifetime {
        /// Tensor.
        tensor: u32,
    },
    /// Two tensors that are alive at the same time share bytes.
    TensorsOverlap {
        /// One of them.
        tensor: u32,
        /// The other.
        other: u32,
    },

    /// An operator record has an unknown code or is not in canonical form.
    OpRecord {
        /// Operator.
        op: u32,
    },
    /// A tensor number is outside the tensor table.
    OpTensor {
        /// Operator.
        op: u32,
    },
    /// An operator reads a tensor that nothing wrote before it, or after the tensor's lifetime.
    OpReadsUnwritten {
        /// Operator.
        op: u32,
        /// Tensor.
        tensor: u32,
    },
    /// A tensor is written a second time, or outside its lifetime.
    OpWritesTwice {
        /// Operator.
        op: u32,
        /// Tensor.
        tensor: u32,
    },
    /// The bytes of an operator's output overlap those of one of its inputs or of its other output.
    OpOverlap {
        /// Operator.
        op: u32,
        /// Output tensor.
        tensor: u32,
    },
    /// An operand has a type that the operator does not take.
    OpDType {
        /// Operator.
        op: u32,
    },
    /// Shapes do not fit: of the operands to each other, or of the output to the operator's formula.
    OpShape {
        /// Operator.
        op: u32,
    },
    /// An operator that keeps values has operands of different scale or zero point.
    OpScale {
        /// Operator.
        op: u32,
    },
    /// A window has a zero or an over-large size, stride or dilation, or lies in padding alone.
    OpWindow {
        /// Operator.
        op: u32,
    },
    /// Groups do not divide the input or the output channels.
    OpGroups {
        /// Operator.
        op: u32,
    },
    /// A constant lies outside the data section, is not 64-byte aligned, or has another length than the shapes ask.
    OpData {
        /// Operator.
        op: u32,
    },
    /// A weight is -128.
    OpWeights {
        /// Operator.
        op: u32,
    },
    /// More products per output than the i32 accumulator takes.
    OpDepth {
        /// Operator.
        op: u32,
    },
    /// A bias is so large that the i32 accumulator could overflow.
    OpBias {
        /// Operator.
        op: u32,
    },
    /// A multiplier is not finite, normal, positive and within 2^-64..=2^64.
    OpMultiplier {
        /// Operator.
        op: u32,
    },
    /// A per-channel factor or summand is not finite, is subnormal, or is larger than 2^64.
    OpAffine {
        /// Operator.
        op: u32,
    },
    /// Clamp limits are the wrong way round or outside the type.
    OpClamp {
        /// Operator.
        op: u32,
    },
    /// The zero point of a store is not that of its tensor.
    OpZeroPoint {
        /// Operator.
        op: u32,
    },
    /// A table is given where none is allowed.
    OpTable {
        /// Operator.
        op: u32,
    },
    /// An operator has nothing to write, or lacks its second operand.
    OpOperands {
        /// Operator.
        op: u32,
    },

    /// The file does not have exactly one input.
    InputCount,
    /// The input's tensor number is outside the table, or an operator writes it.
    InputTensor,
    /// The input contract is not valid: unknown channel order, channels that do not fit it, a table of wrong size,
    /// a mean or standard deviation that is not finite.
    InputContract,
    /// The file has no output.
    OutputCount,
    /// An output's tensor number is outside the table, or nothing writes it.
    OutputTensor {
        /// Output.
        output: u32,
    },
    /// The head record is malformed: unknown code, counts out of range, or a version of the format without heads.
    HeadSection,
    /// A level of the head has anchors that are no sizes, or names outputs that do not exist or do not have the shapes
    /// that the head's counts, the stride and the input's size ask for.
    HeadLevel {
        /// Level.
        level: u32,
    },

    /// The section of further input sizes is cut short, has reserved words that are not zero, or holds none or too many.
    SizesSection,
    /// A further input size gives an operator a geometry that it cannot have, or gives it twice.
    SizeGeometry {
        /// Input size, counted from 0, the first one of the file.
        size: u32,
        /// Operator.
        op: u32,
    },
    /// An input size is there twice.
    SizeRepeated {
        /// Input size.
        size: u32,
    },

    /// The model does not fit the format's 32-bit sizes.
    TooLarge,
    /// A memory plan was asked for lifetimes that end before they begin, or for a view that leaves its parent.
    PlanRequest,

    /// The caller's arena is too small.
    ArenaTooSmall {
        /// Bytes needed.
        needed: u32,
    },
    /// The input was not set since the last run; the arena's bytes are reused while running.
    InputNotSet,
    /// Outputs were asked for before a run, or after the input was set anew.
    NotRun,
    /// An image or a slice given as input does not have the input's size.
    InputSize {
        /// Elements (for images: pixels) expected.
        expected: u32,
    },
    /// The input takes feature maps, not images of this kind.
    InputKind,
    /// Quantised values of one type were asked of, or given to, a tensor of the other.
    ElementType,
    /// The model is no detector: boxes were asked of a model without a head.
    NoHead,
    /// The model has no plan for that input size.
    NoSuchSize,
    /// No output has that name or number.
    NoSuchOutput,
    /// A caller's buffer does not have the size of the tensor.
    BufferSize {
        /// Elements expected.
        expected: u32,
    },
    /// Threads could not be started.
    Threads,
    /// The chosen instruction set is not available on this machine.
    PlatformUnavailable,
}

impl Error {
    /// What is wrong, and the numbers that say where.
    const fn parts(&self) -> (&'static str, Where) {
        use Where::{At, Nowhere, Size, TwoTensors, Version};
        match *self {
            Self::Truncated => ("the model file is truncated", Nowhere),
            Self::BadMagic => ("not a kenar model file", Nowhere),
            Self::UnsupportedVersion { major, minor } => {
                ("unsupported version of the model format", Version(major, minor))
            }
            Self::SizeMismatch => ("the header states another size than the file has", Nowhere),
            Self::ChecksumMismatch => {
                ("the model file is damaged: its checksum does not match", Nowhere)
            }
            Self::SectionMisplaced { section } => {
                ("a section is misplaced or leaves the file", At("section", section))
            }
            Self::SectionSize { section } => {
                ("a section has an impossible size", At("section", section))
            }
            Self::PaddingNotZero { section } => ("padding is not zero", At("section", section)),
            Self::StringsNotUtf8 => ("the string section is not UTF-8", Nowhere),
            Self::StringOutOfBounds => ("a text lies outside the string section", Nowhere),
            Self::ListOutOfBounds => ("a list lies outside the list section", Nowhere),
            Self::NoOperators => ("the model has no operators", Nowhere),
            Self::TensorRecord { tensor } => ("malformed tensor record", At("tensor", tensor)),
            Self::TensorShape { tensor } => ("impossible tensor shape", At("tensor", tensor)),
            Self::TensorScale { tensor } => {
                ("a tensor's scale is not finite, normal and positive", At("tensor", tensor))
            }
            Self::TensorZeroPoint { tensor } => {
                ("zero point outside its type", At("tensor", tensor))
            }
            Self::TensorOutsideArena { tensor } => {
                ("a tensor leaves the arena", At("tensor", tensor))
            }
            Self::TensorAlignment { tensor } => {
                ("a tensor is not 64-byte aligned", At("tensor", tensor))
            }
            Self::TensorLifetime { tensor } => {
                ("a tensor's lifetime contradicts the operators", At("tensor", tensor))
            }
            Self::TensorsOverlap { tensor, other } => {
                ("two live tensors share bytes", TwoTensors(tensor, other))
            }
            Self::OpRecord { op } => ("malformed operator record", At("operator", op)),
            Self::OpTensor { op } => ("no such tensor", At("operator", op)),
            Self::OpReadsUnwritten { op, tensor } => {
                ("an operator reads a tensor outside its lifetime", Where::OpTensor(op, tensor))
            }
            Self::OpWritesTwice { op, tensor } => {
                ("a tensor is written twice or outside its lifetime", Where::OpTensor(op, tensor))
            }
            Self::OpOverlap { op, tensor } => (
                "an operator's output shares bytes with another operand",
                Where::OpTensor(op, tensor),
            ),
            Self::OpDType { op } => ("an operand has the wrong element type", At("operator", op)),
            Self::OpShape { op } => ("operand shapes do not fit the operator", At("operator", op)),
            Self::OpScale { op } => ("operands differ in scale or zero point", At("operator", op)),
            Self::OpWindow { op } => ("impossible window", At("operator", op)),
            Self::OpGroups { op } => ("groups do not divide the channels", At("operator", op)),
            Self::OpData { op } => {
                ("a constant is misplaced or has the wrong length", At("operator", op))
            }
            Self::OpWeights { op } => ("a weight is -128", At("operator", op)),
            Self::OpDepth { op } => ("too many products per accumulator", At("operator", op)),
            Self::OpBias { op } => ("a bias can overflow the accumulator", At("operator", op)),
            Self::OpMultiplier { op } => {
                ("a multiplier is not positive, normal and within 2^-64..2^64", At("operator", op))
            }
            Self::OpAffine { op } => {
                ("a per-channel factor or summand is out of range", At("operator", op))
            }
            Self::OpClamp { op } => {
                ("clamp limits are reversed or outside the type", At("operator", op))
            }
            Self::OpZeroPoint { op } => {
                ("a store's zero point is not its tensor's", At("operator", op))
            }
            Self::OpTable { op } => ("a table is not allowed here", At("operator", op)),
            Self::OpOperands { op } => ("an operand is missing", At("operator", op)),
            Self::InputCount => ("the model does not have exactly one input", Nowhere),
            Self::InputTensor => {
                ("the input's tensor does not exist or is written by an operator", Nowhere)
            }
            Self::InputContract => ("the input contract is not valid", Nowhere),
            Self::OutputCount => ("the model has no output", Nowhere),
            Self::OutputTensor { output } => {
                ("an output's tensor does not exist or is never written", At("output", output))
            }
            Self::HeadSection => ("the head record is malformed", Nowhere),
            Self::HeadLevel { level } => {
                ("a level of the head does not fit the outputs", At("level", level))
            }
            Self::SizesSection => ("the section of input sizes is malformed", Nowhere),
            Self::SizeGeometry { size, op } => {
                ("an input size gives an operator an impossible geometry", Where::SizeOp(size, op))
            }
            Self::SizeRepeated { size } => ("an input size is there twice", At("size", size)),
            Self::TooLarge => ("the model is too large for the format", Nowhere),
            Self::PlanRequest => ("impossible request for a memory plan", Nowhere),
            Self::ArenaTooSmall { needed } => ("the arena is too small", Size("bytes", needed)),
            Self::InputNotSet => ("the input was not set since the last run", Nowhere),
            Self::NotRun => ("there are no outputs before a run", Nowhere),
            Self::InputSize { expected } => {
                ("the input has the wrong size", Size("elements", expected))
            }
            Self::InputKind => ("the model's input is not an image of this kind", Nowhere),
            Self::ElementType => ("the tensor has another element type", Nowhere),
            Self::NoHead => ("the model has no detection head", Nowhere),
            Self::NoSuchSize => ("the model has no plan for this input size", Nowhere),
            Self::NoSuchOutput => ("no such output", Nowhere),
            Self::BufferSize { expected } => {
                ("the buffer has the wrong size", Size("elements", expected))
            }
            Self::Threads => ("threads could not be started", Nowhere),
            Self::PlatformUnavailable => ("this machine lacks the chosen instruction set", Nowhere),
        }
    }
}

/// The numbers of a message.
enum Where {
    Nowhere,
    At(&'static str, u32),
    OpTensor(u32, u32),
    TwoTensors(u32, u32),
    SizeOp(u32, u32),
    Version(u16, u16),
    Size(&'static str, u32),
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (what, place) = self.parts();
        f.write_str(what)?;
        match place {
            Where::Nowhere => Ok(()),
            Where::At(kind, index) => write!(f, " ({kind} {index})"),
            Where::OpTensor(op, tensor) => write!(f, " (operator {op}, tensor {tensor})"),
            Where::SizeOp(size, op) => write!(f, " (size {size}, operator {op})"),
            Where::TwoTensors(a, b) => write!(f, " (tensors {a} and {b})"),
            Where::Version(major, minor) => write!(f, " ({major}.{minor})"),
            Where::Size(unit, n) => write!(f, " ({n} {unit} expected)"),
        }
    }
}

impl core::error::Error for Error {}
