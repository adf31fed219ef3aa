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

/// A detector of signs in streets, images to calibrate on, five streets and where the signs are in them.
pub const DETECTOR: &[Carried] = carried!(
    "detector/model.safetensors" "detector/labels.txt" "detector/boxes.json"
    "detector/city.jpg" "detector/evening.jpg" "detector/country.jpg" "detector/night.jpg" "detector/fog.jpg"
    "detector/calib/00.jpg" "detector/calib/01.jpg" "detector/calib/02.jpg" "detector/calib/03.jpg"
    "detector/calib/04.jpg" "detector/calib/05.jpg" "detector/calib/06.jpg" "detector/calib/07.jpg"
    "detector/calib/08.jpg" "detector/calib/09.jpg" "detector/calib/10.jpg" "detector/calib/11.jpg"

);

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
