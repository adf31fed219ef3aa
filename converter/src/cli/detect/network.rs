//! The detector of a command: a model file or a float network.

use std::time::Instant;

use kenar::Model;
use kenar::detect::{Decoder, Head, Options};

use crate::data::{Pixels, Preprocess};
use crate::detect::{FloatHead, Found, find};
use crate::error::{Error, Result};
use crate::exec::Executor;
use crate::integer::Runner;
use crate::pipeline::Loaded;

/// As many candidates compete.
const ROOM: usize = 1000;

/// What is found in one image, and how long network and boxes took.
pub struct Finding {
    /// Boxes in pixels of the network's input, best first.
    pub found: Vec<Found>,
    /// Seconds in the network.
    pub network: f64,
    /// Seconds from its outputs to boxes.
    pub boxes: f64,
}

/// A detector that takes prepared images.
pub trait Network {
    /// Finds boxes in an image of the network's size.
    fn find(&mut self, image: &Pixels, options: &Options<'_>) -> Result<Finding>;
}

/// A model file.
pub struct Int8<'m, 'a>(pub Runner<'m, 'a>);

impl Network for Int8<'_, '_> {
    fn find(&mut self, image: &Pixels, options: &Options<'_>) -> Result<Finding> {
        let start = Instant::now();
        let session = self.0.session();
        session.input().set_rgb8(&image.data, image.width, image.height)?;
        session.run()?;
        let network = start.elapsed().as_secs_f64();
        let found = find(&Decoder::new(session)?, options, ROOM);
        Ok(Finding { found, network, boxes: start.elapsed().as_secs_f64() - network })
    }
}

/// A float network.
pub struct Float {
    executor: Executor,
    head: FloatHead,
    preprocess: Preprocess,
}

impl Float {
    /// Prepares a network that has a head.
    ///
    /// # Errors
    /// [`Error::Input`] with the file's name when it has none.
    pub fn new(loaded: &Loaded, preprocess: Preprocess) -> Result<Self> {
        let spec = loaded.head.as_ref().ok_or_else(|| match loaded.headless {
            Some(reason) => Error::Input(format!("{}: no boxes: {reason}", loaded.path.display())),
            None => no_head(&loaded.path),
        })?;
        let head = FloatHead::new(spec, &loaded.folded).map_err(|e| e.in_file(&loaded.path))?;
        Ok(Self { executor: Executor::new(&loaded.folded)?, head, preprocess })
    }
}

impl Network for Float {
    fn find(&mut self, image: &Pixels, options: &Options<'_>) -> Result<Finding> {
        let start = Instant::now();
        let outputs = self.executor.run(&self.preprocess.normalize(image))?;
        let network = start.elapsed().as_secs_f64();
        let found = find(&self.head.decoder(&outputs)?, options, ROOM);
        Ok(Finding { found, network, boxes: start.elapsed().as_secs_f64() - network })
    }
}

/// The head of a model file.
///
/// # Errors
/// [`Error::Input`] with the file's name when it has none.
pub fn head(model: &Model, path: &std::path::Path) -> Result<Head> {
    model.head().ok_or_else(|| no_head(path))
}

fn no_head(path: &std::path::Path) -> Error {
    Error::Input(format!(
        "{}: has no detection head that is known, so there are no boxes; `kenar run --raw` writes its outputs \
         (if `kenar convert` said what its head lacked, convert it again with that)",
        path.display()
    ))
}
