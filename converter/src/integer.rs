//! Model files as the command line sees them: preprocessing, output shapes, origin.

use kenar::desc::DType;
use kenar::format::ChannelOrder as Order;
use kenar::isa::Platform;
use kenar::{Model, Options, Output, Session};
use ndarray::ArrayD;

use crate::data::{ChannelOrder, Fit, Letterbox, Preprocess, Preset, Sample};
use crate::error::{Error, Result};
use crate::mapped::ModelFile;

/// Shape of an output, `[1, C, H, W]`; a single pixel is a vector, `[1, C]`.
#[must_use]
pub fn output_shape(model: &Model, output: &Output) -> Vec<usize> {
    let t = model.tensor(output.tensor);
    let [c, h, w] = [t.channels, t.height, t.width].map(|n| n as usize);
    if (h, w) == (1, 1) { vec![1, c] } else { vec![1, c, h, w] }
}

/// How images are prepared for a model; `None` when it does not take colour images.
///
/// A file does not say what happens to images of another shape unless it asks for a letterbox: a normalisation
/// that is a preset's brings that preset's rule.
#[must_use]
pub fn preprocess(model: &Model) -> Option<Preprocess> {
    let input = model.input();
    let (order, [mean, std]) = match input.order {
        Order::Rgb => (ChannelOrder::Rgb, [input.mean, input.std]),
        Order::Bgr => (ChannelOrder::Bgr, [input.mean, input.std].map(|[b, g, r]| [r, g, b])),
        Order::Gray | Order::Features => return None,
    };
    let tensor = model.tensor(input.tensor);
    let size = [tensor.height as usize, tensor.width as usize];
    let fit = match input.letterbox {
        Some(level) => Fit::Letterbox(Letterbox { level, placement: input.placement }),
        None => Preset::ALL
            .map(|preset| Preprocess::preset(preset, size))
            .into_iter()
            .find(|p| p.mean == mean && p.std == std)
            .map_or(Fit::CenterCrop(1.0), |p| p.fit),
    };
    Some(Preprocess { size, mean, std, order, fit })
}

/// Where a model comes from, as kept in its provenance: `FAMILY, N parameters: FILE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Family of the float network.
    pub family: Option<&'a str>,
    /// Its learned parameters.
    pub parameters: Option<u64>,
    /// Name of its file.
    pub file: &'a str,
}

impl<'a> Origin<'a> {
    /// Takes the text apart; a text of another form is the file's name.
    #[must_use]
    pub fn parse(source: &'a str) -> Self {
        let parts = || {
            let (network, file) = source.split_once(" parameters: ")?;
            let (family, parameters) = network.split_once(", ")?;
            Some(Self { family: Some(family), parameters: Some(parameters.parse().ok()?), file })
        };
        parts().unwrap_or(Self { family: None, parameters: None, file: source })
    }

    /// The counterpart of [`Origin::parse`].
    #[must_use]
    pub fn text(family: &str, parameters: usize, file: &str) -> String {
        format!("{family}, {parameters} parameters: {file}")
    }
}

/// How models are run: kernel family and threads.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    /// Kernel family.
    pub platform: Platform,
    /// Threads of one run.
    pub threads: usize,
}

impl Engine {
    /// A kernel family by name, the machine's fastest without one.
    ///
    /// # Errors
    /// [`Error::Input`] when this machine does not have it; the message lists what it has.
    pub fn new(isa: Option<&str>, threads: usize) -> Result<Self> {
        let platform = match isa {
            None => Platform::detect(),
            Some(name) => Platform::by_name(name).ok_or_else(|| {
                let have: Vec<&str> = Platform::available().map(Platform::name).collect();
                Error::Input(format!("--isa {name}: this machine has {}", have.join(", ")))
            })?,
        };
        Ok(Self { platform, threads })
    }

    /// Name of the kernel family.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.platform.name()
    }

    /// Multiply-accumulates per second, in 10^9, that this many threads reach at once in the kernel family's inner loop
    /// without memory traffic: the best of a few measurements.
    #[must_use]
    pub fn peak_gmacs(&self) -> f64 {
        let once = || {
            std::thread::scope(|scope| {
                let platform = self.platform;
                let threads: Vec<_> =
                    (0..self.threads).map(|_| scope.spawn(move || platform.peak_gmacs())).collect();
                threads.into_iter().map(|t| t.join().unwrap_or(0.0)).sum()
            })
        };
        (0..5).map(|_| once()).fold(0.0, f64::max)
    }

    /// As [`Engine::runner`], for a model of a file: gives back the pages of weights that were packed.
    ///
    /// # Errors
    /// As [`Engine::runner`].
    pub fn runner_of<'m, 'a>(
        &self,
        file: &ModelFile,
        model: &Model<'m>,
        arena: &'a mut [u8],
    ) -> Result<Runner<'m, 'a>> {
        let options = Options { threads: self.threads, platform: self.platform };
        let released = |bytes: &[u8]| file.release(bytes);
        let session = Session::with_options_releasing(model, arena, options, &released)?;
        Ok(Runner { session })
    }

    /// A session on an arena of [`Model::arena_bytes`] bytes.
    ///
    /// # Errors
    /// [`Error::Model`] when threads cannot be started.
    pub fn runner<'m, 'a>(&self, model: &Model<'m>, arena: &'a mut [u8]) -> Result<Runner<'m, 'a>> {
        let options = Options { threads: self.threads, platform: self.platform };
        Ok(Runner { session: Session::with_options(model, arena, options)? })
    }
}

/// A model that takes samples and gives arrays.
#[derive(Debug)]
pub struct Runner<'m, 'a> {
    session: Session<'m, 'a>,
}

impl<'m, 'a> From<Session<'m, 'a>> for Runner<'m, 'a> {
    fn from(session: Session<'m, 'a>) -> Self {
        Self { session }
    }
}

/// An output as the model computed it.
#[derive(Clone, Debug)]
pub struct RawOutput {
    /// Values row by row with channels innermost, little-endian.
    pub bytes: Vec<u8>,
    /// Element type.
    pub dtype: DType,
    /// Real step.
    pub scale: f32,
    /// The quantised value of 0.0.
    pub zero_point: i32,
}

impl<'m, 'a> Runner<'m, 'a> {
    /// Sets the input: pixels where the sample has them, else the normalised values.
    ///
    /// # Errors
    /// When the size is not the model's.
    pub fn set(&mut self, sample: &Sample) -> Result<()> {
        let set = |mut input: kenar::session::Input<'_, 'm, 'a>| match &sample.pixels {
            Some(image) => input.set_rgb8(&image.data, image.width, image.height),
            None => {
                let standard = sample.tensor.as_standard_layout();
                input.set_f32_nchw(standard.as_slice().unwrap_or(&[]))
            }
        };
        set(self.session.input()).map_err(|e| Error::source(&sample.name, e.to_string()))
    }

    /// Runs the model on what was set.
    ///
    /// # Errors
    /// [`Error::Model`] when nothing was.
    pub fn run(&mut self) -> Result<()> {
        Ok(self.session.run()?)
    }

    /// The session itself.
    pub fn session(&mut self) -> &mut Session<'m, 'a> {
        &mut self.session
    }

    /// Output `index` in real values, `[1, C, H, W]` in the given shape of as many elements.
    ///
    /// # Errors
    /// [`Error::Model`] before a run, [`Error::Input`] when the shape does not fit.
    pub fn output_f32(&self, index: usize, shape: &[usize]) -> Result<ArrayD<f32>> {
        let view = self.session.output_at(index)?;
        let mut values = vec![0.0; shape.iter().product()];
        view.copy_f32_nchw(&mut values)?;
        ArrayD::from_shape_vec(shape, values)
            .map_err(|e| Error::Input(format!("output {index} does not have shape {shape:?}: {e}")))
    }

    /// Output `index` as it is.
    ///
    /// # Errors
    /// [`Error::Model`] before a run.
    pub fn output_raw(&self, index: usize) -> Result<RawOutput> {
        let view = self.session.output_at(index)?;
        let bytes = match view.dtype() {
            DType::I8 => (0..view.len()).map(|i| view.q(i) as u8).collect(),
            DType::I16 => (0..view.len()).flat_map(|i| (view.q(i) as i16).to_le_bytes()).collect(),
        };
        let (dtype, scale, zero_point) = (view.dtype(), view.scale(), view.zero_point());
        Ok(RawOutput { bytes, dtype, scale, zero_point })
    }

    /// The hash of all outputs, the same on every machine.
    ///
    /// # Errors
    /// [`Error::Model`] before a run.
    pub fn hash(&self) -> Result<u64> {
        Ok(self.session.output_hash()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_survive_and_foreign_texts_are_file_names() {
        let text = Origin::text("wide-resnet", 175_066, "a: b.pt");
        let origin = Origin::parse(&text);
        assert_eq!((origin.family, origin.parameters), (Some("wide-resnet"), Some(175_066)));
        assert_eq!(origin.file, "a: b.pt");
        assert_eq!(Origin::parse("x.onnx").file, "x.onnx");
        assert_eq!(Origin::parse("x, y parameters: z").file, "x, y parameters: z");
    }
}
