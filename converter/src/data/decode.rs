//! Image files to pixels.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use image::ImageReader;

use super::Pixels;
use crate::error::{Error, Result};

/// Extensions that count as images when a folder is listed.
const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Whether a file's name says that it is an image.
pub(crate) fn is_image_name(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| EXTENSIONS.contains(&e.to_ascii_lowercase().as_str()))
}

/// Reads a JPEG, PNG or WebP file as RGB; the format is taken from the content, not from the name.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`] with the file's name.
pub fn read_image(path: &Path) -> Result<Pixels> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let reader = ImageReader::new(BufReader::new(file))
        .with_guessed_format()
        .map_err(|e| Error::io(path, e))?;
    let Some(format) = reader.format() else {
        return Err(Error::source("", "is no image: expected JPEG, PNG or WebP").in_file(path));
    };
    let image = reader.decode().map_err(|e| {
        let detail =
            format!("does not decode as {}: {e}", format.extensions_str()[0].to_uppercase());
        Error::source("", detail).in_file(path)
    })?;
    let rgb = image.into_rgb8();
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    if width == 0 || height == 0 {
        return Err(Error::source("", "has no pixels").in_file(path));
    }
    Ok(Pixels { height, width, data: rgb.into_raw() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

    fn png(width: u32, height: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes)
            .write_image(data, width, height, ExtendedColorType::Rgb8)
            .unwrap();
        bytes
    }

    #[test]
    fn content_decides_and_broken_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let data: Vec<u8> = (0..24).collect();
        let path = dir.path().join("really_a_png.jpg");
        std::fs::write(&path, png(4, 2, &data)).unwrap();
        let image = read_image(&path).unwrap();
        assert_eq!((image.height, image.width, &image.data), (2, 4, &data));

        let bytes = png(4, 2, &data);
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let message = read_image(&path).unwrap_err().to_string();
        assert!(message.contains("really_a_png.jpg") && message.contains("PNG"), "{message}");

        std::fs::write(&path, "hello").unwrap();
        let message = read_image(&path).unwrap_err().to_string();
        assert!(message.contains("is no image"), "{message}");
        assert!(read_image(&dir.path().join("absent.png")).is_err());
    }
}
