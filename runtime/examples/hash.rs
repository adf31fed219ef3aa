//! Prints the output hash of a model on a fixed input, for every instruction set of this machine.
//!
//! `cargo run -p kenar --features std --example hash -- MODEL [MODEL ...]`: one line per model and instruction set,
//! to be compared between machines: laptop, board, firmware.

use kenar::{Model, Options, Platform, Session};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let file = std::fs::read(&path)?;
        let model = Model::parse(&file)?;
        let mut arena = vec![0; model.arena_bytes()];
        for platform in Platform::available() {
            let options = Options { platform, threads: 1 };
            let mut session = Session::with_options(&model, &mut arena, options)?;
            session.input().fill_pattern(1);
            session.run()?;
            println!("{:016x} {:12} {path}", session.output_hash(), platform.name());
        }
    }
    Ok(())
}
