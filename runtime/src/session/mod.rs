//! Running a model.
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
mod engine;
mod input;
mod planes;
mod quantizer;
#[cfg(feature = "std")]
mod relay;
#[cfg(feature = "std")]
mod share;
#[cfg(feature = "std")]
mod squeeze;
mod view;

#[cfg(feature = "std")]
pub use engine::Options;
pub use input::Input;
#[cfg(feature = "std")]
pub(crate) use relay::Relay;
pub use view::TensorView;

use crate::arena::Arena;
use crate::desc::TensorId;
use crate::isa::Platform;
use crate::ops;
use crate::{Error, Model};

/// What the arena holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of use.
    Empty,
    /// The input.
    Ready,
    /// The outputs.
    Done,
}

/// A model with the memory it runs in.
///
/// [`Session::new`] needs nothing but `core` and runs the scalar definitions of the operators on the calling thread.
/// With the feature `std`, [`Session::with_options`] chooses an instruction set and a number of threads; the outputs
/// are the same bytes.
///
/// Tensors share the arena's bytes while a model runs, so the input has to be set before every run, and outputs are
/// there until it is set again.
#[derive(Debug)]
pub struct Session<'m, 'a> {
    model: Model<'m>,
    arena: Arena<'a>,
    state: State,
    /// What operators, and conversions at both ends, are computed with.
    platform: Platform,
    /// What i8 values are xored with in the arena.
    xor: u8,
    #[cfg(feature = "std")]
    engine: Option<engine::Engine>,
}

impl<'m, 'a> Session<'m, 'a> {
    /// A session of the scalar definitions.
    ///
    /// # Errors
    ///
    /// [`Error::ArenaTooSmall`] if `arena` has fewer than [`Model::arena_bytes`] bytes and is not aligned by luck.
    pub fn new(model: &Model<'m>, arena: &'a mut [u8]) -> Result<Self, Error> {
        Ok(Self {
            model: *model,
            arena: Arena::new(arena, model.plan_bytes())?,
            state: State::Empty,
            platform: Platform::scalar(),
            xor: 0,
            #[cfg(feature = "std")]
            engine: None,
        })
    }

    /// The model.
    #[must_use]
    pub const fn model(&self) -> &Model<'m> {
        &self.model
    }

    /// The input, to fill it. Until the next run, there are no outputs.
    pub fn input(&mut self) -> Input<'_, 'm, 'a> {
        Input::new(self)
    }

    /// Runs the model.
    ///
    /// # Errors
    ///
    /// [`Error::InputNotSet`] if the input was not set since the last run.
    pub fn run(&mut self) -> Result<(), Error> {
        self.start()?;
        #[cfg(feature = "std")]
        if let Some(engine) = &self.engine {
            engine.run(&self.model, &mut self.arena, self.xor, None);
            self.state = State::Done;
            return Ok(());
        }
        for index in 0..self.model.op_count() {
            self.step(index);
        }
        self.state = State::Done;
        Ok(())
    }

    /// Runs the model on the calling thread and shows every tensor right after it was written, with the index of its
    /// operator.
    ///
    /// # Errors
    ///
    /// [`Error::InputNotSet`] if the input was not set since the last run.
    pub fn run_with(
        &mut self,
        observe: &mut dyn FnMut(usize, &TensorView<'_>),
    ) -> Result<(), Error> {
        self.start()?;
        for index in 0..self.model.op_count() {
            self.step(index);
            for id in self.model.op(index).kind.writes().into_iter().flatten() {
                observe(index, &self.view(id));
            }
        }
        self.state = State::Done;
        Ok(())
    }

    /// Runs the model and adds to `nanoseconds` what each operator took, with the waiting at its end.
    ///
    /// # Errors
    ///
    /// [`Error::BufferSize`] if `nanoseconds` does not have one entry per operator, and as [`Session::run`].
    #[cfg(feature = "std")]
    pub fn run_timed(&mut self, nanoseconds: &mut [u64]) -> Result<(), Error> {
        if nanoseconds.len() != self.model.op_count() {
            return Err(Error::BufferSize { expected: self.model.op_count() as u32 });
        }
        self.start()?;
        let mut last = std::time::Instant::now();
        let mut after = |index: usize| {
            let now = std::time::Instant::now();
            nanoseconds[index] += (now - last).as_nanos() as u64;
            last = now;
        };
        if let Some(engine) = &self.engine {
            engine.run(&self.model, &mut self.arena, self.xor, Some(&mut after));
        } else {
            for index in 0..self.model.op_count() {
                self.step(index);
                after(index);
            }
        }
        self.state = State::Done;
        Ok(())
    }

    /// The output of that name.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchOutput`]; [`Error::NotRun`] before a run, or after the input was set.
    pub fn output(&self, name: &str) -> Result<TensorView<'_>, Error> {
        let output =
            self.model.outputs().find(|output| output.name == name).ok_or(Error::NoSuchOutput)?;
        self.finished(output.tensor)
    }

    /// Output `index`, in the model's order.
    ///
    /// # Errors
    ///
    /// As [`Session::output`].
    pub fn output_at(&self, index: usize) -> Result<TensorView<'_>, Error> {
        let output = self.model.output(index).ok_or(Error::NoSuchOutput)?;
        self.finished(output.tensor)
    }

    /// A hash of all outputs: FNV-1a with 64 bits over their values in the model's order, row by row, channels
    /// innermost, i8 as one byte and i16 as two, low byte first. The same on every machine.
    ///
    /// # Errors
    ///
    /// [`Error::NotRun`] before a run, or after the input was set.
    pub fn output_hash(&self) -> Result<u64, Error> {
        let mut hash = 0xCBF2_9CE4_8422_2325_u64;
        for index in 0..self.model.output_count() {
            self.output_at(index)?.for_each_byte(|byte| {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
            });
        }
        Ok(hash)
    }

    fn start(&mut self) -> Result<(), Error> {
        if self.state != State::Ready {
            return Err(Error::InputNotSet);
        }
        // Left so if an operator panics.
        self.state = State::Empty;
        #[cfg(feature = "std")]
        if let Some(engine) = &self.engine {
            engine.reset();
        }
        Ok(())
    }

    /// Computes one operator on the calling thread.
    fn step(&mut self, index: usize) {
        #[cfg(feature = "std")]
        if let Some(engine) = &self.engine {
            engine.step(&self.model, &mut self.arena, self.xor, index);
            return;
        }
        let op = self.model.op(index);
        let units = ops::units(&self.model, &op);
        let lease = self.arena.lease(&ops::outputs(&self.model, &op, units));
        ops::run(ops::Context { model: &self.model, xor: self.xor }, &op, units, lease);
    }

    fn finished(&self, id: TensorId) -> Result<TensorView<'_>, Error> {
        if self.state == State::Done { Ok(self.view(id)) } else { Err(Error::NotRun) }
    }

    fn view(&self, id: TensorId) -> TensorView<'_> {
        let desc = self.model.tensor(id);
        let (name, bytes) = (self.model.text(desc.name), self.arena.tensor(&desc));
        TensorView::new(id, desc, name, bytes, self.platform, self.xor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desc::{DType, Op, OpKind, Table};
    use crate::format::ChannelOrder;
    use crate::format::write::{InputSpec, ModelWriter};
    use std::vec;
    use std::vec::Vec;

    /// A model that negates an image.
    fn file() -> Vec<u8> {
        let mut writer = ModelWriter::new();
        let x = writer.add_activation("x", [2, 3, 3], DType::I8, 1.0 / 255.0, -128).unwrap();
        let y = writer.add_activation("y", [2, 3, 3], DType::I8, 0.5, 1).unwrap();
        let negate: Vec<i8> = (-128..=127i32).map(|q| (-q).clamp(-128, 127) as i8).collect();
        let table = writer.add_i8(&negate).unwrap();
        let name = writer.add_string("negate").unwrap();
        writer.add_op(Op { name, kind: OpKind::Table(Table { input: x, output: y, table }) });
        let order = ChannelOrder::Bgr;
        let spec = InputSpec { order, ..InputSpec::features() };
        writer.set_input("image", x, spec).unwrap();
        writer.add_output("negative", y).unwrap();
        writer.plan_memory().unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn an_image_goes_through() {
        let file = file();
        let model = Model::parse(&file).unwrap();
        let mut arena = vec![0xAA; model.arena_bytes()];
        let mut session = Session::new(&model, &mut arena).unwrap();
        assert_eq!(session.run(), Err(Error::InputNotSet));
        assert_eq!(session.input().set_rgb8(&[0; 18], 2, 3), Err(Error::InputSize { expected: 6 }));
        let image: Vec<u8> = (0..18).collect();
        session.input().set_rgb8(&image, 3, 2).unwrap();
        assert_eq!(session.output("negative").unwrap_err(), Error::NotRun);
        session.run().unwrap();
        assert_eq!(session.run(), Err(Error::InputNotSet));
        let output = session.output("negative").unwrap();
        assert_eq!(output.shape(), [1, 2, 3, 3]);
        // Red, green, blue 3, 4, 5 is blue, green, red 5, 4, 3; q = p - 128; negated.
        assert_eq!([output.q(3), output.q(4), output.q(5)], [123, 124, 125]);
        assert_eq!(output.q(2), 127);
        assert_eq!(output.real(3), 61.0);
        let mut planes = vec![0.0; 18];
        output.copy_f32_nchw(&mut planes).unwrap();
        assert_eq!(planes[1], 61.0);
        assert_eq!(output.copy_f32_nhwc(&mut [0.0]), Err(Error::BufferSize { expected: 18 }));
        assert_eq!(session.output("no").unwrap_err(), Error::NoSuchOutput);
    }

    #[test]
    fn a_mask_is_filled_and_pixels_are_kept() {
        let mut writer = ModelWriter::new();
        let x = writer.add_activation("x", [1, 2, 4], DType::I8, 1.0 / 255.0, -128).unwrap();
        let y = writer.add_activation("y", [1, 2, 4], DType::I8, 1.0, 0).unwrap();
        let same: Vec<i8> = (i8::MIN..=i8::MAX).collect();
        let table = writer.add_i8(&same).unwrap();
        let name = writer.add_string("same").unwrap();
        writer.add_op(Op { name, kind: OpKind::Table(Table { input: x, output: y, table }) });
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let order = ChannelOrder::Rgb;
        let spec = InputSpec { order, mean, std, ..InputSpec::features() };
        writer.set_input("image", x, spec).unwrap();
        writer.add_output("copy", y).unwrap();
        writer.plan_memory().unwrap();
        let file = writer.finish().unwrap();
        let model = Model::parse(&file).unwrap();
        let mut arena = vec![0; model.arena_bytes()];
        let mut session = Session::new(&model, &mut arena).unwrap();
        assert_eq!(session.input().shape(), [1, 1, 2, 3]);
        assert_eq!(model.input_shape(), [1, 2, 3]);
        let pixels = [0u8, 1, 127, 128, 254, 255];
        let expected = [-128, -127, -1, 127, 0, 126, 127, 127];
        let seen = |session: &mut Session<'_, '_>| -> Vec<i32> {
            session.run().unwrap();
            let output = session.output_at(0).unwrap();
            (0..8).map(|i| output.q(i)).collect()
        };
        session.input().set_rgb8(&pixels, 2, 1).unwrap();
        assert_eq!(seen(&mut session), expected);
        // Normalised values find back to the pixels they come from.
        let real =
            |pixel: usize, c: usize| (f32::from(pixels[3 * pixel + c]) / 255.0 - mean[c]) / std[c];
        let planes: Vec<f32> = (0..6).map(|i| real(i % 2, i / 2)).collect();
        session.input().set_f32_nchw(&planes).unwrap();
        assert_eq!(seen(&mut session), expected);
        session.input().set_i8(&[-128, -127, -1, 0, 126, 127]).unwrap();
        assert_eq!(seen(&mut session), expected);
        session.input().set_pattern(5);
        assert_eq!(seen(&mut session)[3], 127);
        let size = Error::InputSize { expected: 6 };
        assert_eq!(session.input().set_f32_nhwc(&[0.0; 8]), Err(size));
    }

    #[test]
    fn real_values_are_quantised_and_clamped() {
        let file = file();
        let model = Model::parse(&file).unwrap();
        let mut arena = vec![0; model.arena_bytes()];
        let mut session = Session::new(&model, &mut arena).unwrap();
        let mut values = [0.0f32; 18];
        values[..5].copy_from_slice(&[1.0, -1.0, f32::NAN, f32::INFINITY, 0.5]);
        session.input().set_f32_nchw(&values).unwrap();
        let mut seen = 0;
        session
            .run_with(&mut |op, tensor| {
                assert_eq!((op, tensor.name()), (0, "y"));
                seen += 1;
            })
            .unwrap();
        assert_eq!(seen, 1);
        let output = session.output_at(0).unwrap();
        let first_plane: Vec<i32> = (0..6).map(|pixel| output.q(3 * pixel)).collect();
        // 0.5 is a little under 127.5 steps, as 1/255 is not an f32: q = -1.
        assert_eq!(first_plane, [-127, 127, 127, -127, 1, 127]);
    }

    #[test]
    fn threads_and_timing_change_nothing() {
        let file = file();
        let model = Model::parse(&file).unwrap();
        let mut hashes = Vec::new();
        for threads in [1, 2, 3] {
            let mut arena = vec![0; model.arena_bytes()];
            let options = Options { threads, ..Options::default() };
            let mut session = Session::with_options(&model, &mut arena, options).unwrap();
            // Miri takes a minute for each.
            for _ in 0..if cfg!(miri) { 1 } else { 20 } {
                session.input().set_rgb8(&[7; 18], 3, 2).unwrap();
                let mut times = [0];
                session.run_timed(&mut times).unwrap();
                assert!(times[0] > 0);
                hashes.push(session.output_hash().unwrap());
            }
        }
        assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]));
        let options = Options { threads: 0, ..Options::default() };
        let mut arena = vec![0; model.arena_bytes()];
        assert_eq!(Session::with_options(&model, &mut arena, options).unwrap_err(), Error::Threads);
    }
}
