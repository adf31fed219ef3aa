//! The files that the program carries, made by the scripts beside them under `tests/`.

use std::path::Path;

use crate::cli::file::Output;
use crate::error::{Error, Result};

/// A file's name, below the demo's folder, and its content.
pub type Carried = (&'static str, &'static [u8]);

macro_rules! carried {
    ($($name:literal)*) => {
        &[$(($name, include_bytes!(concat!("../../../../tests/fixtures/demo/", $name)))),*]
    };
}

/// A classifier of single signs, images to calibrate on and to test with.
pub const CLASSIFIER: &[Carried] =
    carried!("model.safetensors" "calib.bin" "test.bin" "labels.txt");

/// Writes files below a folder.
pub fn unpack(folder: &Path, files: &[Carried]) -> Result<()> {
    for (name, bytes) in files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
        Output::create(&path, &[])?.write(bytes)?;
    }
    Ok(())
}
