//! kenar command
fn main() {}
