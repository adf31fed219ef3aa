//! Damaged model files: an error, or a model that runs. Never a panic.

use kenar::detect::{Detection, Options};
use kenar::format::seal;
use kenar::{Error, Model, Session};
use kenar_tests::detectors::{CODES, random_detector};
use kenar_tests::models::{Size, random_model};
use kenar_tests::random::Random;

/// Parses a file and runs what loads, on an arena of exactly the size it asks for. Returns whether it loaded.
fn try_model(file: &[u8]) -> bool {
    let Ok(model) = Model::parse(file) else { return false };
    // Damage can ask for a large arena or many operations; running those shows nothing more.
    if model.arena_bytes() > 1 << 22 || model.macs() > 1 << 24 {
        return true;
    }
    let mut arena = vec![0x5A; model.arena_bytes()];
    let mut session = Session::new(&model, &mut arena).expect("the arena is large enough");
    let len = session.input().shape().iter().product();
    session.input().set_f32_nchw(&vec![0.25; len]).expect("the input has this many values");
    session.run().expect("a model that loads runs");
    if model.head().is_some() {
        let options = Options { confidence: 0.1, best_class: false, ..Options::default() };
        let mut buffer = [Detection::default(); 50];
        let found = session.detect(&options, &mut buffer).expect("it has a head and has run");
        assert!(found.iter().all(|one| one.corners.iter().all(|corner| corner.is_finite())));
    }
    session.output_hash().expect("it has run");
    true
}

#[test]
fn every_truncation_is_an_error() {
    let file = random_model(1, Size::TINY);
    assert!(try_model(&file));
    for len in 0..file.len() {
        let result = Model::parse(&file[..len]);
        assert_eq!(result.unwrap_err(), Error::Truncated, "{len} bytes");
    }
    let mut longer = file.clone();
    longer.push(0);
    assert_eq!(Model::parse(&longer).unwrap_err(), Error::SizeMismatch);
}

/// Files of the property tests below: every operator, then every kind of head.
fn files(seeds: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let detectors = CODES.iter().map(|&code| random_detector(seeds.start, code, [16, 16], 3));
    let models = seeds.clone().map(|seed| random_model(seed, Size::TINY));
    models.chain(detectors).collect()
}

#[test]
fn every_flip_is_found_by_the_checksum() {
    let file = random_model(2, Size::TINY);
    for byte in 0..file.len() {
        let mut damaged = file.clone();
        damaged[byte] ^= 1 << (byte % 8);
        assert!(Model::parse(&damaged).is_err(), "byte {byte}");
    }
}

/// Every byte is changed in four ways, and the checksum repaired, so that the checks behind it are reached.
#[test]
fn every_byte_can_be_damaged() {
    let mut random = Random::new(7);
    let (mut loaded, mut refused) = (0, 0);
    for file in files(10..16) {
        for byte in 0..file.len() {
            for way in 0..4 {
                let mut damaged = file.clone();
                match way {
                    0 => damaged[byte] ^= 1 << random.below(8),
                    1 => damaged[byte] = 0,
                    2 => damaged[byte] = 0xFF,
                    _ => damaged[byte] = damaged[byte].wrapping_add(1),
                }
                seal(&mut damaged);
                *(if try_model(&damaged) { &mut loaded } else { &mut refused }) += 1;
            }
        }
    }
    // Weights, names and the like may be anything; counts, offsets and codes may not.
    assert!(loaded > 1000 && refused > 1000, "{loaded} loaded, {refused} refused");
}

/// Whole words are replaced by numbers that hurt, or by other words of the file.
#[test]
fn words_can_be_replaced() {
    const HURTFUL: [u32; 12] = [
        0,
        1,
        2,
        63,
        64,
        0x7F80_0000,
        0x7FFF_FFFF,
        0x8000_0000,
        0xFF80_0000,
        0xFFFF_FFC0,
        0xFFFF_FFFE,
        u32::MAX,
    ];
    let mut random = Random::new(11);
    let mut loaded = 0;
    for file in files(20..32) {
        let words = file.len() / 4;
        for _ in 0..4000 {
            let mut damaged = file.clone();
            for _ in 0..=random.below(2) {
                let at = 4 * random.below(words);
                let from = 4 * random.below(words);
                let value = if random.below(2) == 0 {
                    HURTFUL[random.below(HURTFUL.len())].to_le_bytes()
                } else {
                    file[from..from + 4].try_into().expect("four bytes")
                };
                damaged[at..at + 4].copy_from_slice(&value);
            }
            seal(&mut damaged);
            loaded += u32::from(try_model(&damaged));
        }
    }
    assert!(loaded > 100, "{loaded} loaded");
}

/// Every word of the head section becomes every number that hurts: an error, or a model that runs and finds boxes.
#[test]
fn heads_can_be_damaged() {
    let hurtful = [0, 1, 2, 3, 4, 9, 10, 63, 1 << 16, 0x3F00_0000, 0x7F80_0000, 0x7FC0_0000]
        .into_iter()
        .chain([0x7FFF_FFFF, 0x8000_0000, u32::MAX - 1, u32::MAX]);
    let (mut loaded, mut refused) = (0, 0);
    for code in CODES {
        let file = random_detector(4, code, [16, 32], 3);
        let field = |at: usize| {
            u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes")) as usize
        };
        // Section 7 of the table in the header.
        let (offset, len) = (field(32 + 8 * 7), field(32 + 8 * 7 + 4));
        assert_eq!(len, 64 + 2 * 128);
        for at in (offset..offset + len).step_by(4) {
            for value in hurtful.clone() {
                let mut damaged = file.clone();
                damaged[at..at + 4].copy_from_slice(&value.to_le_bytes());
                seal(&mut damaged);
                *(if try_model(&damaged) { &mut loaded } else { &mut refused }) += 1;
            }
        }
    }
    assert!(loaded > 100 && refused > 1000, "{loaded} loaded, {refused} refused");
}

/// One file per released version of the format, written by `examples/format_fixture.rs`, with the hash of its outputs.
const RELEASED: [(&str, u64); 2] = [("1.0", 0x201c_b16d_87de_4d25), ("1.1", 0x923e_77da_9da6_a1bb)];

#[test]
fn every_released_version_loads() {
    for (version, hash) in RELEASED {
        let path = format!("{}/fixtures/format/{version}.kenar", env!("CARGO_MANIFEST_DIR"));
        let file = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let model = Model::parse(&file).unwrap();
        assert_eq!(model.head().is_some(), version != "1.0", "{version}");
        let mut arena = vec![0; model.arena_bytes()];
        let mut session = Session::new(&model, &mut arena).unwrap();
        session.input().set_pattern(1);
        session.run().unwrap();
        assert_eq!(session.output_hash().unwrap(), hash, "{version}");
    }
}
