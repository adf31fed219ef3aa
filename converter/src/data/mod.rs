//! Images in: files and folders recognised by looking, one image at a time, prepared the same way for the float
//! graph and the integer model.
//!
//! [`Dataset`] knows where records are and in what order, [`Preprocess`] what the network wants to see.
//! [`Dataset::samples`] brings both together and holds a handful of images at a time, however many there are.
//! [`Annotations`] are the boxes of a data set that has them.

mod annotations;
mod batch;
mod cifar;
mod dataset;
mod decode;
mod folder;
pub(crate) mod jpeg;
mod list;
mod noise;
mod pixels;
mod placed;
mod preprocess;
mod sample;

pub use annotations::Annotations;
pub use dataset::{Dataset, DatasetKind, read_class_names};
pub(crate) use decode::is_image_name;
pub use decode::read_image;
pub use pixels::Pixels;
pub use placed::Placed;
pub use preprocess::{ChannelOrder, Fit, Letterbox, Preprocess, Preset};
pub use sample::{Sample, Samples};

use crate::error::Result;
use ndarray::ArrayD;

/// What a record of a data set holds before preprocessing.
enum Content {
    /// An RGB image of any size.
    Pixels(Pixels),
    /// A normalised `[1, 3, H, W]` tensor, taken as it is.
    Tensor(ArrayD<f32>),
}

/// One record as its file has it.
struct Record {
    name: String,
    label: Option<usize>,
    content: Content,
}

/// A data set format: numbered records that can be read in any order, from several threads.
trait Records: Send + Sync {
    /// Number of records.
    fn len(&self) -> usize;
    /// Reads one; `index < len()`. Errors name the file and the record.
    fn read(&self, index: usize) -> Result<Record>;
}
