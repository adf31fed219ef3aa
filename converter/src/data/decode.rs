//! Image files to pixels.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::{Pixels, jpeg};
use crate::error::{Error, Result};

/// Extensions that count as images when a folder is listed.
const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Whether a file's name says that it is an image.
pub(crate) fn is_image_name(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| EXTENSIONS.contains(&e.to_ascii_lowercase().as_str()))
}

/// Reads a JPEG, PNG or WebP file as RGB, upright as its EXIF orientation says; the format is taken from the content, not
/// from the name. JPEG pixels are those of libjpeg-turbo.
///
/// # Errors
/// [`Error::Io`] or [`Error::File`] with the file's name.
pub fn read_image(path: &Path) -> Result<Pixels> {
    let (pixels, orientation) = read_stored(path)?;
    Ok(pixels.turned(orientation))
}

/// Reads an image whose annotations are for a certain size (height, width), if any says so.
///
/// Its pixels stay as they are stored, which is how PIL and thus torchvision read them, unless they have the stated size
/// only when upright, which is how OpenCV and thus YOLO trainers read them.
pub(super) fn read_annotated(
    path: &Path,
    stated: impl FnOnce() -> Option<[usize; 2]>,
) -> Result<Pixels> {
    let (pixels, orientation) = read_stored(path)?;
    let upright = [pixels.width, pixels.height];
    let quarter = (5..=8).contains(&orientation) && pixels.width != pixels.height;
    Ok(if quarter && stated() == Some(upright) { pixels.turned(orientation) } else { pixels })
}

/// Pixels as the file has them, and its EXIF orientation.
fn read_stored(path: &Path) -> Result<(Pixels, u8)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let reader = ImageReader::new(Cursor::new(&bytes))
        .with_guessed_format()
        .map_err(|e| Error::io(path, e))?;
    let Some(format) = reader.format() else {
        return Err(Error::source("", "is no image: expected JPEG, PNG or WebP").in_file(path));
    };
    let decoded = match format {
        ImageFormat::Jpeg => jpeg::decode(&bytes),
        _ => decode(reader).map_err(|e| e.to_string()),
    };
    let (pixels, orientation) = decoded.map_err(|e| {
        let detail =
            format!("does not decode as {}: {e}", format.extensions_str()[0].to_uppercase());
        Error::source("", detail).in_file(path)
    })?;
    if pixels.data.is_empty() {
        return Err(Error::source("", "has no pixels").in_file(path));
    }
    Ok((pixels, orientation))
}

/// What is no JPEG.
fn decode(reader: ImageReader<Cursor<&Vec<u8>>>) -> image::ImageResult<(Pixels, u8)> {
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?.to_exif();
    let rgb = DynamicImage::from_decoder(decoder)?.into_rgb8();
    let (height, width) = (rgb.height() as usize, rgb.width() as usize);
    Ok((Pixels { height, width, data: rgb.into_raw() }, orientation))
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

    /// A JPEG file of 16 x 8 pixels that are dark on the left, with an orientation.
    fn oriented(orientation: u8) -> Vec<u8> {
        let data = (0..8 * 16 * 3).map(|i| if i / 3 % 16 < 8 { 20 } else { 220 }).collect();
        let mut bytes = jpeg::encode(&Pixels { height: 8, width: 16, data }, 95).unwrap();
        let mut exif =
            b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        bytes.splice(2..2, exif);
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

    #[test]
    fn pictures_are_upright_and_annotated_ones_as_their_size_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("phone.jpg");
        std::fs::write(&path, oriented(6)).unwrap();
        let upright = read_image(&path).unwrap();
        assert_eq!((upright.height, upright.width), (16, 8));
        // A quarter turn clockwise brings the left side to the top.
        assert!(upright.data[0] < 40 && upright.data[15 * 8 * 3] > 200);
        let read = |stated| read_annotated(&path, || stated).unwrap();
        for stated in [None, Some([8, 16]), Some([1, 1])] {
            assert_eq!((read(stated).height, read(stated).width), (8, 16), "{stated:?}");
        }
        assert_eq!(read(Some([16, 8])), upright);
        // Half a turn leaves the size alone: as it is stored.
        std::fs::write(&path, oriented(3)).unwrap();
        assert!(read(Some([8, 16])).data[0] < 40);
        assert!(read_image(&path).unwrap().data[0] > 200);
    }
}
