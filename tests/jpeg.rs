//! JPEG files decode to the bytes that libjpeg-turbo gives, whatever their sampling, coding and size.

use std::collections::BTreeMap;
use std::path::Path;

use kenar_convert::data::read_image;

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
