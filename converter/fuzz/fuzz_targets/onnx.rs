//! The ONNX importer: reading the message, folding constants, inferring shapes, building the graph, and finding the head
//! of a detector in it.
#![no_main]

use kenar_convert::detect;
use kenar_convert::import::onnx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Sizes that the file leaves open.
    let open = || onnx::from_bytes(bytes, Some([3, 8, 8]));
    if let Ok(graph) = onnx::from_bytes(bytes, None).or_else(|_| open())
        && let Ok(Some(cut)) = detect::cut(&graph)
    {
        detect::separate(&cut.graph, &cut.head).expect("a head that was found separates");
    }
});
