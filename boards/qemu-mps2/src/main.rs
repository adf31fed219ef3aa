//! Runs the embedded model on a fixed input and prints the hash of its outputs.
//!
//! What it shows: a model runs from flash, without an allocator, in a static arena. What it needs: an MPS2 board with
//! the AN500 image, or QEMU (`cargo run --release` with `KENAR_MODEL` set). The hash must be that of
//! `cargo run -p kenar --features std,detect --example hash MODEL` on any other machine.
#![no_std]
#![no_main]

use core::panic::PanicInfo;
use core::ptr::addr_of_mut;

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use kenar::{Error, Model, Session};

include!(concat!(env!("OUT_DIR"), "/arena.rs"));

static MODEL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/model.kenar"));
static mut ARENA: [u8; ARENA_BYTES] = [0; ARENA_BYTES];

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    hprintln!("{}", info);
    debug::exit(debug::EXIT_FAILURE);
    loop {}
}

#[entry]
fn main() -> ! {
    // SAFETY: `main` runs once and nothing else names ARENA, so this is the only reference to it.
    let arena: &mut [u8] = unsafe { &mut *addr_of_mut!(ARENA) };
    match infer(arena) {
        Ok(hash) => {
            hprintln!("arena {} bytes, model {} bytes", ARENA_BYTES, MODEL.len());
            hprintln!("hash {:016x}", hash);
            debug::exit(debug::EXIT_SUCCESS);
        }
        Err(error) => {
            hprintln!("error: {}", error);
            debug::exit(debug::EXIT_FAILURE);
        }
    }
    loop {}
}

fn infer(arena: &mut [u8]) -> Result<u64, Error> {
    let model = Model::parse(MODEL)?;
    let mut session = Session::new(&model, arena)?;
    session.input().set_pattern(1);
    session.run()?;
    session.output_hash()
}
