//! JPEG files decode to the bytes that libjpeg-turbo gives, whatever their sampling, coding and size.

use std::collections::BTreeMap;
use std::path::Path;

use kenar_convert::data::read_image;
use kenar_tests::random::Random;

fn fnv1a(data: &[u8]) -> String {
    let hash = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[test]
fn pixels_are_those_of_libjpeg_turbo() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/jpeg");
    let text = std::fs::read_to_string(folder.join("pixels.json")).unwrap();
    let expected: BTreeMap<String, (usize, usize, String)> = serde_json::from_str(&text).unwrap();
    assert!(expected.len() > 50);
    let mut different = Vec::new();
    for (name, (width, height, hash)) in expected {
        let image = read_image(&folder.join(&name)).unwrap();
        assert_eq!((image.width, image.height), (width, height), "{name}");
        if fnv1a(&image.data) != hash {
            different.push(name);
        }
    }
    assert!(different.is_empty(), "other pixels than PIL's: {different:?}");
}

#[test]
fn damaged_files_are_read_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/jpeg");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.jpg");
    let mut random = Random::new(5);
    let mut refused = 0;
    for name in ["420_17x9", "422_31x33_progressive", "411_16x16", "grey_3x2", "cmyk_21x19"] {
        let bytes = std::fs::read(folder.join(format!("{name}.jpg"))).unwrap();
        for _ in 0..300 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.below(damaged.len());
                damaged[at] = random.below(256) as u8;
            }
            std::fs::write(&path, &damaged).unwrap();
            match read_image(&path) {
                Ok(image) => assert_eq!(image.data.len(), 3 * image.width * image.height),
                Err(e) => {
                    assert!(e.to_string().contains("damaged.jpg"), "{e}");
                    refused += 1;
                }
            }
        }
    }
    assert!((50..1450).contains(&refused), "{refused} of 1500");
}

#[test]
fn four_colours_need_one_sampling() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/jpeg");
    let mut bytes = std::fs::read(folder.join("cmyk_21x19.jpg")).unwrap();
    let frame = bytes.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    // Marker, length, precision, height, width, count; then number, sampling and table of each.
    bytes[frame + 11] = 0x21;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cmyk.jpg");
    std::fs::write(&path, &bytes).unwrap();
    let message = read_image(&path).unwrap_err().to_string();
    assert!(message.contains("cmyk.jpg") && message.contains("save it as RGB"), "{message}");
}
