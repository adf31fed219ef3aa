//! The restricted pickle machine and both `torch.save` containers.
//!
//! An input that starts like a zip archive is read as one. Any other is run as a pickle, and read as the part
//! of a pre-1.6 file behind its fixed header: the object, the storage keys, the storages.
#![no_main]

use kenar_convert::import::{checkpoint, pickle};
use libfuzzer_sys::fuzz_target;

const HEAD: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\
    \x80\x02}X\x0d\x00\x00\x00little_endian\x88s.";

fuzz_target!(|bytes: &[u8]| {
    if bytes.starts_with(b"PK") {
        let _ = checkpoint::from_bytes(bytes);
        return;
    }
    let strict = pickle::read(bytes, pickle::Globals::Refuse);
    let inert = pickle::read(bytes, pickle::Globals::Inert);
    // What the strict mode accepts, the other reads to the same end.
    if let Ok(strict) = strict {
        assert_eq!(strict.length, inert.expect("inert mode accepts more").length);
    }
    let _ = checkpoint::from_bytes(&[HEAD, bytes].concat());
});
