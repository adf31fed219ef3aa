//! The ONNX importer: reading the message, folding constants, inferring shapes, building the graph.
#![no_main]

use kenar_convert::import::onnx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if onnx::from_bytes(bytes, None).is_err() {
        // Sizes that the file leaves open.
        let _ = onnx::from_bytes(bytes, Some([3, 8, 8]));
    }
});
