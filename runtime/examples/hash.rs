//! Prints the output hash of models on a fixed input, to be compared between machines: laptop, board, firmware.
//!
//! `cargo run -p kenar --features std --example hash -- MODEL [MODEL ...]`

use kenar::{Model, Session};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let file = std::fs::read(&path)?;
        let model = Model::parse(&file)?;
        let mut arena = vec![0; model.arena_bytes()];
        let mut session = Session::new(&model, &mut arena)?;
        session.input().set_pattern(1);
        session.run()?;
        println!("{:016x} {:12} {path}", session.output_hash()?, "scalar");
    }
    Ok(())
}
