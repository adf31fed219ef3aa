//! JPEG files, with the pixels that libjpeg-turbo gives.
//!
//! Networks are trained on what PIL and OpenCV decode, and both use libjpeg-turbo. Decoders differ by a few levels in a
//! tenth of all bytes (inverse DCT, chroma in between), which moves an mAP in its third digit.

use std::panic::catch_unwind;

use libjpeg_turbo_rs::{
    ComponentInfo, DecodeLimits, DecodeWarning, Decoder, Encoder, JpegError, PixelFormat,
    Subsampling,
};

use super::Pixels;

/// Bytes that decoding one file may take.
const MEMORY: u64 = 2 << 30;

/// Decodes a file as it is stored; the second value is its EXIF orientation, 1 to 8.
///
/// Damage inside the compressed data passes, as with libjpeg; what ends early is refused.
pub fn decode(bytes: &[u8]) -> Result<(Pixels, u8), String> {
    // One broken file among thousands must not end a run, whatever its bytes do to the decoder.
    catch_unwind(|| decode_unguarded(bytes)).unwrap_or_else(|_| Err("it is damaged".to_owned()))
}

fn decode_unguarded(bytes: &[u8]) -> Result<(Pixels, u8), String> {
    let limits = DecodeLimits { max_memory: Some(MEMORY), ..DecodeLimits::default() };
    let decoder = Decoder::new_with_limits(bytes, limits).map_err(describe)?;
    // The decoder relies on the usual sampling where there are four colours.
    if let [first, others @ ..] = decoder.header().components.as_slice()
        && others.len() == 3
        && others.iter().any(|c| sampling(c) != sampling(first))
    {
        return Err("its four colours are sampled in different ways; save it as RGB".to_owned());
    }
    let decoder = decoder.with_output_format(PixelFormat::Rgb).with_lenient(true);
    let image = decoder.decode_image().map_err(describe)?;
    for warning in &image.warnings {
        match warning {
            DecodeWarning::TruncatedData { decoded_mcus, total_mcus } => {
                return Err(format!("it ends after {decoded_mcus} of {total_mcus} blocks"));
            }
            DecodeWarning::UnsupportedRecovered { detail } => return Err(detail.clone()),
            _ => {}
        }
    }
    let orientation = image.exif_orientation().unwrap_or(1);
    let (height, width) = (image.height, image.width);
    Ok((Pixels { height, width, data: image.into_vec() }, orientation))
}

fn sampling(component: &ComponentInfo) -> [u8; 2] {
    [component.horizontal_sampling, component.vertical_sampling]
}

/// Encodes with full chroma resolution, which thin coloured lines need; quality is 1 to 100.
pub fn encode(image: &Pixels, quality: u8) -> Result<Vec<u8>, String> {
    Encoder::new(&image.data, image.width, image.height, PixelFormat::Rgb)
        .quality(quality)
        .subsampling(Subsampling::S444)
        .encode()
        .map_err(describe)
}

fn describe(error: JpegError) -> String {
    match error {
        JpegError::UnexpectedEof => "it ends early".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(height: usize, width: usize) -> Pixels {
        let data = (0..height * width * 3).map(|i| (i % 251) as u8).collect();
        Pixels { height, width, data }
    }

    #[test]
    fn what_ends_early_is_refused_at_every_length() {
        let bytes = encode(&ramp(24, 33), 90).unwrap();
        assert!(decode(&bytes).is_ok());
        // Without the marker at the end it is whole all the same.
        for length in 0..bytes.len() - 2 {
            let result = decode(&bytes[..length]);
            assert!(result.is_err(), "{length} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn sizes_come_from_the_image_and_not_from_a_header_that_lies() {
        let mut bytes = encode(&ramp(8, 8), 90).unwrap();
        let frame = bytes.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        bytes[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
        let message = decode(&bytes).unwrap_err();
        assert!(message.contains("limit"), "{message}");
    }
}
