//! A layer ready to run.

use kenar::Model;
use kenar::arena::{ALIGNMENT, Arena};
use kenar::desc::{DType, TensorDesc};
use kenar::isa::Platform;
use kenar::kernels::{PackedOp, Scratch};
use kenar::ops::{self, Context};

use crate::builder::Builder;
use crate::layer::Layer;

/// A layer as a model whose last operator it is, with random contents and what it has to give.
pub struct Case {
    file: Vec<u8>,
    /// What the scalar definition writes, canonical bytes of every output.
    expected: Vec<Vec<u8>>,
}

impl Case {
    /// Makes the model and computes the scalar definition.
    ///
    /// # Panics
    ///
    /// If the layer's sizes do not fit together.
    #[must_use]
    pub fn new(layer: &Layer) -> Self {
        let (mut builder, x) = Builder::new(layer.input);
        let outputs = builder.layer(x, layer, None);
        let mut case = Self { file: builder.finish(&outputs), expected: Vec::new() };
        let model = case.model();
        let op = model.op(model.op_count() - 1);
        let mut memory = memory(&model, 0);
        let mut arena = Arena::new(&mut memory, model.plan_bytes()).expect("an arena");
        let units = ops::units(&model, &op);
        let outputs = ops::outputs(&model, &op, units);
        ops::run(Context { model: &model, xor: 0 }, &op, units, arena.lease(&outputs));
        case.expected = written(&model).iter().map(|t| values(&arena, t, 0)).collect();
        case
    }

    /// The model.
    fn model(&self) -> Model<'_> {
        Model::parse(&self.file).expect("a valid model")
    }

    /// The layer on a platform, after its outputs were compared with the scalar definition's.
    ///
    /// # Panics
    ///
    /// If they differ.
    pub fn with<R>(&self, platform: Platform, body: impl FnOnce(&mut dyn FnMut()) -> R) -> R {
        let model = self.model();
        let op = model.op(model.op_count() - 1);
        let mut memory = memory(&model, platform.act_xor());
        let mut arena = Arena::new(&mut memory, model.plan_bytes()).expect("an arena");
        let Some(packed) = PackedOp::pack(platform, &op, &model) else {
            panic!("{} has no kernel for {}", platform.name(), model.text(op.name));
        };
        let mut scratch = Scratch::new(packed.scratch());
        let outputs = ops::outputs(&model, &op, packed.units());
        packed.run(&op, &model, arena.lease(&outputs), &[], &mut scratch);
        for (t, expected) in written(&model).iter().zip(&self.expected) {
            let actual = values(&arena, t, platform.act_xor());
            assert!(
                actual == *expected,
                "{}: {} on {} differs from scalar",
                model.text(op.name),
                packed.kernel(),
                platform.name()
            );
        }
        body(&mut || packed.run(&op, &model, arena.lease(&outputs), &[], &mut scratch))
    }
}

/// What the last operator writes.
fn written(model: &Model) -> Vec<TensorDesc> {
    let op = model.op(model.op_count() - 1);
    op.kind.writes().into_iter().flatten().map(|id| model.tensor(id)).collect()
}

/// A tensor's canonical bytes.
fn values(arena: &Arena, t: &TensorDesc, xor: u8) -> Vec<u8> {
    let xor = if t.dtype == DType::I8 { xor } else { 0 };
    arena.tensor(t).iter().map(|b| b ^ xor).collect()
}

/// An arena of random values, in a platform's form.
fn memory(model: &Model, xor: u8) -> Vec<u8> {
    let mut memory = vec![0u8; model.arena_bytes()];
    let skip = memory.as_ptr().align_offset(ALIGNMENT);
    let random = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 23) as u8;
    for (i, byte) in memory[skip..].iter_mut().enumerate() {
        *byte = random(i) ^ xor;
    }
    let op = model.op(model.op_count() - 1);
    for t in model.reads(&op).map(|id| model.tensor(id)).filter(|t| t.dtype == DType::I16) {
        let from = skip + t.arena_offset as usize;
        let values = memory[from..from + t.extent_bytes() as usize].chunks_exact_mut(2);
        for (i, value) in values.enumerate() {
            // -32768 is no value of an i16 tensor.
            value.copy_from_slice(&(i16::from(random(i) as i8) * 200).to_ne_bytes());
        }
    }
    memory
}
