//! Writes the seeds of the runtime's fuzz target: small model files with every operator.
//!
//! `cargo run -p kenar-tests --example fuzz_seeds`; to be run again when the model format changes.

use kenar::Model;
use kenar::detect::BoxCode;
use kenar_tests::detectors::{CODES, random_detector, random_detector_sizes};
use kenar_tests::models::{Size, random_model};
use std::mem::discriminant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/fuzz/seeds/model");
    std::fs::create_dir_all(folder)?;
    let mut seen = Vec::new();
    let mut written = 0;
    for seed in 0..1000 {
        let file = random_model(seed, Size::TINY);
        let kinds: Vec<_> = Model::parse(&file)?.ops().map(|op| discriminant(&op.kind)).collect();
        if file.len() < 6000
            && kinds.iter().any(|kind| seen.iter().filter(|other| *other == kind).count() < 4)
        {
            seen.extend(kinds);
            std::fs::write(format!("{folder}/random_{seed}"), &file)?;
            written += 1;
        }
    }
    for code in CODES {
        let file = random_detector(1, code, [16, 32], 2);
        std::fs::write(format!("{folder}/detector_{}", code.name()), &file)?;
        written += 1;
    }
    for (seed, code) in (1..).zip([BoxCode::Distance, BoxCode::ExpSize]) {
        let file = random_detector_sizes(seed, code, &[[16, 32], [32, 16]], 2);
        std::fs::write(format!("{folder}/sizes_{}", code.name()), &file)?;
        written += 1;
    }
    println!("{written} files in {folder}");
    Ok(())
}
