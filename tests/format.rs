//! Damaged model files: an error, or a model that runs. Never a panic.

use kenar::detect::{BoxCode, Detection, Options};
use kenar::format::seal;
use kenar::{Error, Model, Session};
use kenar_test_models::detectors::{
    CODES, random_detector, random_detector_sizes, random_silu_detector,
};
use kenar_test_models::models::{Size, random_model};
use kenar_test_models::random::Random;

/// Parses a file and runs what loads at every size, on an arena of exactly the size it asks for. Returns whether it
/// loaded.
fn try_model(file: &[u8]) -> bool {
    let Ok(model) = Model::parse(file) else { return false };
    for size in model.sizes() {
        run(&model.with_size(size).expect("one of its sizes"));
    }
    true
}

fn run(model: &Model<'_>) {
    // Damage can ask for a large arena or many operations; running those shows nothing more.
    if model.arena_bytes() > 1 << 22 || model.macs() > 1 << 24 {
        return;
    }
    let mut arena = vec![0x5A; model.arena_bytes()];
    let mut session = Session::new(model, &mut arena).expect("the arena is large enough");
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
    let silu = random_silu_detector(seeds.start, BoxCode::Anchor, &[[16, 16]], 3);
    models.chain(detectors).chain([sizes(seeds.start), silu]).collect()
}

/// A detector of three sizes.
fn sizes(seed: u64) -> Vec<u8> {
    random_detector_sizes(seed, BoxCode::ExpSize, &[[16, 32], [32, 16], [48, 32]], 3)
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

/// Every size of a file computes what a file of that size alone does.
#[test]
fn sizes_are_models_of_their_own() {
    let hash = |model: &Model<'_>| {
        let mut arena = vec![0x5A; model.arena_bytes()];
        let mut session = Session::new(model, &mut arena).unwrap();
        session.input().set_pattern(3);
        session.run().unwrap();
        session.output_hash().unwrap()
    };
    let all = [[16, 32], [32, 16], [48, 32]];
    type Make = fn(u64, BoxCode, &[[u32; 2]], u32) -> Vec<u8>;
    let plain = CODES.map(|code| (random_detector_sizes as Make, code, [(1, 2), (1, 1)]));
    let silu = (random_silu_detector as Make, BoxCode::Anchor, [(1, 3), (1, 3)]);
    for (seed, (make, code, versions)) in (40..).zip(plain.into_iter().chain([silu])) {
        let file = make(seed, code, &all, 7);
        let model = Model::parse(&file).unwrap();
        assert_eq!(model.version(), versions[0]);
        assert!(model.sizes().eq(all));
        for size in all {
            let alone = make(seed, code, &[size], 7);
            let alone = Model::parse(&alone).unwrap();
            assert_eq!(alone.version(), versions[1]);
            let model = model.with_size(size).unwrap();
            assert_eq!(hash(&model), hash(&alone), "{code:?} {size:?}");
            assert_eq!(model.plan_bytes(), alone.plan_bytes());
            assert_eq!((model.macs(), model.head()), (alone.macs(), alone.head()));
        }
        assert_eq!(model.with_size([64, 64]).unwrap_err(), Error::NoSuchSize);
    }
}

/// Every word of the sizes section becomes every number that hurts, or grows and shrinks by one: an error, or a model that
/// runs at all of its sizes.
#[test]
fn sizes_can_be_damaged() {
    let file = sizes(6);
    let field =
        |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes")) as usize;
    let (offset, len) = (field(112), field(116));
    assert!(len > 0 && offset + len <= file.len());
    let (mut loaded, mut refused) = (0, 0);
    for at in (offset..offset + len).step_by(4) {
        let now = field(at) as u32;
        let near = [now.wrapping_add(1), now.wrapping_sub(1), now.wrapping_add(64), now / 2];
        for value in [0, 1, 63, 64, 0x7FFF_FFFF, 0x8000_0000, u32::MAX].into_iter().chain(near) {
            let mut damaged = file.clone();
            damaged[at..at + 4].copy_from_slice(&value.to_le_bytes());
            seal(&mut damaged);
            *(if try_model(&damaged) { &mut loaded } else { &mut refused }) += 1;
        }
    }
    assert!(loaded > 100 && refused > 1000, "{loaded} loaded, {refused} refused");
    // Cut short, and longer than its plans.
    for change in [-16i64, 16] {
        let mut damaged = file.clone();
        let changed = (len as i64 + change) as u32;
        damaged[116..120].copy_from_slice(&changed.to_le_bytes());
        seal(&mut damaged);
        assert!(Model::parse(&damaged).is_err());
    }
}

/// One file per released version of the format, written by `examples/format_fixture.rs`, with the hash of its outputs.
const RELEASED: [(&str, &[u8], u64); 4] = [
    ("1.0", include_bytes!("fixtures/format/1.0.kenar"), 0x201c_b16d_87de_4d25),
    ("1.1", include_bytes!("fixtures/format/1.1.kenar"), 0x923e_77da_9da6_a1bb),
    ("1.2", include_bytes!("fixtures/format/1.2.kenar"), 0x6a86_a51f_7fdf_592c),
    ("1.3", include_bytes!("fixtures/format/1.3.kenar"), 0xf8ab_18a4_b91d_0703),
];

#[test]
fn every_released_version_loads() {
    for (version, file, hash) in RELEASED {
        // On the heap, so that AddressSanitizer sees where it ends.
        let file = file.to_vec();
        let model = Model::parse(&file).unwrap();
        assert_eq!(model.head().is_some(), version != "1.0", "{version}");
        let mut arena = vec![0; model.arena_bytes()];
        let mut session = Session::new(&model, &mut arena).unwrap();
        session.input().set_pattern(1);
        session.run().unwrap();
        assert_eq!(session.output_hash().unwrap(), hash, "{version}");
    }
}
