//! Annotated images as files.

use std::io::Cursor;
use std::path::Path;

use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::data::{Pixels, jpeg};
use crate::error::{Error, Result};

/// Quality of JPEG files, 1 to 100.
const JPEG_QUALITY: u8 = 92;

/// Encodes an image in the format that the file's name asks for: PNG unless it says JPEG or WebP.
///
/// # Errors
/// [`Error::File`] when the format cannot hold the image (a JPEG has at most 65,535 rows).
pub fn encode(image: &Pixels, path: &Path) -> Result<Vec<u8>> {
    let suffix = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let refuse = |e: String| Error::source("", format!("cannot be encoded: {e}")).in_file(path);
    if matches!(suffix.as_str(), "jpg" | "jpeg") {
        return jpeg::encode(image, JPEG_QUALITY).map_err(refuse);
    }
    let mut bytes = Cursor::new(Vec::new());
    let (width, height, kind) = (image.width as u32, image.height as u32, ExtendedColorType::Rgb8);
    let written = if suffix == "webp" {
        WebPEncoder::new_lossless(&mut bytes).write_image(&image.data, width, height, kind)
    } else {
        PngEncoder::new(&mut bytes).write_image(&image.data, width, height, kind)
    };
    written.map_err(|e| refuse(e.to_string()))?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::read_image;

    #[test]
    fn every_format_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let image = Pixels { height: 16, width: 24, data: vec![90; 16 * 24 * 3] };
        for name in ["a.png", "a.JPG", "a.jpeg", "a.webp"] {
            let path = dir.path().join(name);
            std::fs::write(&path, encode(&image, &path).unwrap()).unwrap();
            let back = read_image(&path).unwrap();
            assert_eq!((back.height, back.width), (16, 24));
            assert!(back.data.iter().all(|&p| p.abs_diff(90) < 3), "{name}");
        }
        let wide = Pixels { height: 1, width: 70_000, data: vec![0; 210_000] };
        let message = encode(&wide, Path::new("wide.jpg")).unwrap_err().to_string();
        assert!(message.contains("wide.jpg"), "{message}");
    }
}
