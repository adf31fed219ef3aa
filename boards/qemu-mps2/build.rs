//! Puts the linker script where the linker looks, and embeds the model that `KENAR_MODEL` names.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy("memory.x", out.join("memory.x")).expect("memory.x is beside build.rs");
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg=-Tlink.x");
    println!("cargo:rerun-if-changed=memory.x");

    println!("cargo:rerun-if-env-changed=KENAR_MODEL");
    let model = env::var_os("KENAR_MODEL").expect("set KENAR_MODEL to the .kenar file to carry");
    println!("cargo:rerun-if-changed={}", PathBuf::from(&model).display());
    fs::copy(&model, out.join("model.kenar")).expect("KENAR_MODEL names a readable file");

    // The arena is a static, so its size is needed at compile time; the header holds it.
    let file = fs::read(&model).expect("KENAR_MODEL names a readable file");
    let arena = kenar::Model::parse(&file).expect("KENAR_MODEL is a valid model").arena_bytes();
    fs::write(out.join("arena.rs"), format!("const ARENA_BYTES: usize = {arena};\n")).expect("OUT_DIR is writable");
}
