//! What a comparison says.

use kenar::desc::DType;

use super::FoundBoxes;

/// How an output of the integer model differs from the float one, over all images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputError {
    /// The output's name.
    pub name: String,
    /// Its shape, N = 1.
    pub shape: Vec<usize>,
    /// Mean of |int8 - float|.
    pub mean: f64,
    /// Maximum of |int8 - float|.
    pub max: f64,
    /// Largest |float|.
    pub largest: f64,
    /// Signal to noise: `10 log10(sum float^2 / sum (int8 - float)^2)`.
    pub sqnr_db: f64,
}

/// An image that float and int8 put into different classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Disagreement {
    /// Record or file.
    pub name: String,
    /// True class, where known.
    pub label: Option<usize>,
    /// Class by the float network.
    pub float: usize,
    /// Class by the integer model.
    pub int8: usize,
    /// How far the float network's first class lies before the int8 one, in float scores.
    pub margin: f64,
}

/// How one tensor of the integer model differs from the float value it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerError {
    /// Name of the value.
    pub name: String,
    /// Index of the operator that writes it.
    pub op: usize,
    /// Element type.
    pub dtype: DType,
    /// Signal to noise, see [`OutputError::sqnr_db`].
    pub sqnr_db: f64,
}

/// The comparison over a data set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Images.
    pub n: usize,
    /// Share of images whose class is right, where there are classes and labels.
    pub float_top1: Option<f64>,
    /// The same for the integer model.
    pub int8_top1: Option<f64>,
    /// Share of images that both put into the same class, where there are classes.
    pub agreement: Option<f64>,
    /// Per output.
    pub outputs: Vec<OutputError>,
    /// Where the two differ, in the order of the data.
    pub disagreements: Vec<Disagreement>,
    /// Per tensor, in the order of the operators, over the images asked for.
    pub layers: Vec<LayerError>,
    /// Per image, of a detector.
    pub boxes: Vec<FoundBoxes>,
}
