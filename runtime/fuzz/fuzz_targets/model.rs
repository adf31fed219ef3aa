//! Whatever the bytes: loading a model file is an error, or the model runs and every instruction set agrees, on the boxes
//! of detectors too.
#![no_main]

use kenar::format::seal;
use kenar::detect::{self, Detection};
use kenar::isa::Platform;
use kenar::{Model, Options, Session};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let loads_as_it_is = Model::parse(bytes).is_ok();
    let mut file = bytes.to_vec();
    repair(&mut file);
    let Ok(model) = Model::parse(&file) else {
        assert!(!loads_as_it_is);
        return Corpus::Keep;
    };
    let sizes: Vec<Model<'_>> =
        model.sizes().map(|size| model.with_size(size).expect("one of its sizes")).collect();
    let heavy = |model: &Model<'_>| model.arena_bytes() > 1 << 18 || model.macs() > 1 << 20 || work(model) > 1 << 22;
    if sizes.iter().any(heavy) {
        return Corpus::Reject;
    }
    sizes.iter().for_each(agree);
    Corpus::Keep
});

/// Runs a model on every instruction set.
fn agree(model: &Model<'_>) {
    let mut hash = None;
    for platform in Platform::available() {
        let mut arena = vec![0xC3; model.arena_bytes()];
        let options = Options { platform, threads: 1 };
        let mut session = Session::with_options(model, &mut arena, options).expect("the arena is large enough");
        session.input().set_pattern(1);
        session.run().expect("a model that loads runs");
        let mut this = session.output_hash().expect("it has run");
        if model.head().is_some() {
            this ^= boxes(&session);
        }
        assert_eq!(*hash.get_or_insert(this), this, "{} differs", platform.name());
    }
}

/// The hash of what is found at a threshold that much passes.
fn boxes(session: &Session<'_, '_>) -> u64 {
    let mut buffer = [Detection::default(); 100];
    let options = detect::Options { confidence: 0.1, best_class: false, ..Default::default() };
    let found = session.detect(&options, &mut buffer).expect("the model has a head and has run");
    for one in found.iter() {
        assert!(one.score > 0.1 && one.score <= 1.0);
        assert!(one.corners.iter().all(|corner| corner.is_finite()));
    }
    detect::hash(found)
}

/// Rounds the length, and writes it and the checksum into the header, so that the checks behind them are reached.
fn repair(file: &mut Vec<u8>) {
    file.resize(file.len().next_multiple_of(64), 0);
    let len = file.len() as u32;
    if let Some(field) = file.get_mut(12..16) {
        field.copy_from_slice(&len.to_le_bytes());
    }
    seal(file);
}

/// Elements that are read and written, taps of pooling windows included.
fn work(model: &Model<'_>) -> u64 {
    let written = |op: &kenar::desc::Op| -> u64 {
        let taps = match op.kind {
            kenar::desc::OpKind::Pool(pool) => pool.window.size.iter().map(|&size| u64::from(size)).product(),
            _ => 1,
        };
        let elements = op.kind.writes().into_iter().flatten().map(|id| u64::from(model.tensor(id).elements()));
        taps * elements.sum::<u64>()
    };
    model.ops().map(|op| written(&op)).sum()
}
