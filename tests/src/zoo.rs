//! The checkpoints with reference outputs, where they are installed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ndarray::{ArrayD, IxDyn};
use safetensors::{Dtype, SafeTensors};

/// File name endings of the three containers of weights that every model comes in.
pub const WEIGHT_CONTAINERS: [&str; 3] = ["pt", "legacy.pth", "safetensors"];
/// File name ending of the graph that every model comes with.
pub const ONNX: &str = "onnx";

/// A row of `zoo.json`.
#[derive(Clone, Debug)]
pub struct ZooModel {
    /// File name without ending.
    pub name: String,
    /// Channels, height, width of the input.
    pub input: [usize; 3],
    /// Learned parameters, counted by PyTorch.
    pub parameters: usize,
    folder: PathBuf,
}

impl ZooModel {
    /// The checkpoint in one of [`WEIGHT_CONTAINERS`], or [`ONNX`].
    pub fn path(&self, container: &str) -> PathBuf {
        self.folder.join(format!("{}.{container}", self.name))
    }

    /// `input` and the reference outputs by name.
    pub fn reference(&self) -> HashMap<String, ArrayD<f32>> {
        read_tensors(&self.path("io.safetensors"))
    }
}

/// Every f32 tensor of a `.safetensors` file.
///
/// # Panics
/// When the file is not readable: a test cannot go on.
pub fn read_tensors(path: &Path) -> HashMap<String, ArrayD<f32>> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file =
        SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let tensors = file.tensors().into_iter().filter(|(_, t)| t.dtype() == Dtype::F32);
    tensors
        .map(|(name, t)| {
            let values =
                t.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            let array = ArrayD::from_shape_vec(IxDyn(t.shape()), values.collect());
            (name, array.unwrap_or_else(|e| panic!("{}: {e}", path.display())))
        })
        .collect()
}

/// All models, from the folder that the environment variable `KENAR_ZOO` names or `target/zoo`; `None`, with a line on
/// standard error, where there is no such folder.
///
/// # Panics
/// When `zoo.json` is there but not readable.
pub fn models() -> Option<Vec<ZooModel>> {
    let folder = std::env::var_os("KENAR_ZOO")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/zoo"), PathBuf::from);
    let index = folder.join("zoo.json");
    let Ok(text) = std::fs::read_to_string(&index) else {
        eprintln!("skipped: no zoo at {} (set KENAR_ZOO)", folder.display());
        return None;
    };
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).expect("zoo.json is a list");
    let size = |row: &serde_json::Value, axis: usize| {
        row["input"][axis].as_u64().expect("the input has four sizes") as usize
    };
    let model = |row: &serde_json::Value| ZooModel {
        input: [size(row, 1), size(row, 2), size(row, 3)],
        name: row["name"].as_str().expect("every model has a name").to_owned(),
        parameters: row["parameters"].as_u64().expect("every model has a parameter count") as usize,
        folder: folder.clone(),
    };
    Some(rows.iter().map(model).collect())
}

/// The images of a detector's reference, `[N, 3, H, W]`, normalised as its description
/// says.
///
/// # Panics
/// When the files are not readable: a test cannot go on.
pub fn detector_images(folder: &Path) -> ArrayD<f32> {
    let bytes = std::fs::read(folder.join("golden.safetensors")).expect("a readable file");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let image = file.tensor("image").expect("the images");
    let spec = std::fs::read_to_string(folder.join("spec.json")).expect("a readable description");
    let spec: serde_json::Value = serde_json::from_str(&spec).expect("a description");
    let channel = |key: &str, i: usize| spec["input"][key][i].as_f64().expect("a number") as f32;
    let pixels = image
        .data()
        .iter()
        .enumerate()
        .map(|(i, &v)| (f32::from(v) / 255.0 - channel("mean", i % 3)) / channel("std", i % 3));
    let nhwc = ArrayD::from_shape_vec(IxDyn(image.shape()), pixels.collect()).expect("images");
    nhwc.permuted_axes(IxDyn(&[0, 3, 1, 2])).as_standard_layout().into_owned()
}
