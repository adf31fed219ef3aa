//! Writes a model file for `tests/fixtures/format` and prints the hash of its outputs.
//!
//! `cargo run -p kenar-tests --example format_fixture -- 1.3`, once per released version of the format.

use kenar::detect::BoxCode;
use kenar::{Model, Session};
use kenar_tests::detectors::random_silu_detector;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let version = std::env::args().nth(1).ok_or("which version?")?;
    let file = random_silu_detector(17, BoxCode::Anchor, &[[32, 48], [16, 64]], 4);
    let model = Model::parse(&file)?;
    let (major, minor) = model.version();
    if version != format!("{major}.{minor}") {
        return Err(format!("the runtime writes {major}.{minor}").into());
    }
    let mut arena = vec![0; model.arena_bytes()];
    let mut session = Session::new(&model, &mut arena)?;
    session.input().set_pattern(1);
    session.run()?;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/format");
    std::fs::create_dir_all(folder)?;
    std::fs::write(format!("{folder}/{version}.kenar"), &file)?;
    println!(
        "{version}: {} bytes, {} operators, outputs {:016x}",
        file.len(),
        model.op_count(),
        session.output_hash()?
    );
    Ok(())
}
