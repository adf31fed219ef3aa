//! Prints the output hash of models on a fixed input (of detectors: of outputs and boxes), to be compared between machines: laptop, board, firmware.
//!
//! `cargo run -p kenar --features std,detect --example hash -- MODEL [MODEL ...]`: one line per model, instruction set of this
//! machine and number of threads (1 and 2).

use kenar::detect::{self, Detection};
use kenar::isa::Platform;
use kenar::{Model, Options, Session};

/// A threshold that something passes on any input.
const OPTIONS: detect::Options<'_> = detect::Options {
    confidence: 0.01,
    iou: 0.6,
    max_boxes: 100,
    agnostic: false,
    best_class: false,
    classes: &[],
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let file = std::fs::read(&path)?;
        let model = Model::parse(&file)?;
        let mut arena = vec![0; model.arena_bytes()];
        for platform in Platform::available() {
            for threads in [1, 2] {
                let options = Options { platform, threads };
                let mut session = Session::with_options(&model, &mut arena, options)?;
                session.input().set_pattern(1);
                session.run()?;
                let mut hash = session.output_hash()?;
                if model.head().is_some() {
                    let mut buffer = [Detection::default(); 300];
                    let found = session.detect(&OPTIONS, &mut buffer)?;
                    hash = hash.rotate_left(1) ^ detect::hash(found);
                }
                println!("{hash:016x} {} {threads} {path}", platform.name());
            }
        }
    }
    Ok(())
}
