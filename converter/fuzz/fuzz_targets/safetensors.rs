//! The safetensors reader: the bytes as they are, and as a header of the right length with a buffer of zeros.
#![no_main]

use kenar_convert::import::checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = checkpoint::from_bytes(bytes);
    if bytes.starts_with(b"{") {
        let length = (bytes.len() as u64).to_le_bytes();
        for buffer in [0, 8, 64] {
            let _ = checkpoint::from_bytes(&[&length, bytes, &vec![0; buffer]].concat());
        }
    }
});
