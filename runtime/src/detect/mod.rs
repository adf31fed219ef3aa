//! From a detector's outputs to boxes.
//!
//! [`Head`] says what the outputs mean; a model file holds it ([`Model::head`](crate::Model::head)). With the feature
//! `detect`, [`Session::detect`](crate::Session::detect) compares quantised scores with the threshold's quantised value,
//! decodes what passes in f32, and keeps the best of what overlaps:
//!
//! ```no_run
//! # #[cfg(all(feature = "std", feature = "detect"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use kenar::detect::{Detection, Letterbox, Options};
//!
//! # let (photo, frame) = ([1280, 720], vec![0u8; 320 * 320 * 3]);
//! # let file = std::fs::read("detector.kenar")?;
//! let model = kenar::Model::parse(&file)?;
//! let mut arena = vec![0; model.arena_bytes()];
//! let mut session = kenar::Session::new(&model, &mut arena)?;
//! let letterbox = Letterbox::new(photo, [320, 320], model.input().placement);
//! session.input().set_rgb8(&frame, 320, 320)?; // the photo, scaled and placed as `letterbox` says
//! session.run()?;
//! let mut buffer = [Detection::default(); 1000]; // as many candidates compete
//! for found in session.detect(&Options::default(), &mut buffer)? {
//!     let [x1, y1, x2, y2] = letterbox.to_image(found.corners);
//!     println!("class {} ({:.2}) at {x1} {y1} {x2} {y2}", found.class, found.score);
//! }
//! # Ok(()) }
//! # #[cfg(not(all(feature = "std", feature = "detect")))]
//! # fn main() {}
//! ```
//!
//! `exp` comes from the `libm` crate on every target and nothing is fused or reassociated, so boxes have the same bits
//! everywhere. Nothing is allocated: the caller's buffer bounds the work.

mod head;
mod letterbox;

#[cfg(feature = "detect")]
mod decode;
#[cfg(feature = "detect")]
mod maps;
#[cfg(feature = "detect")]
mod nms;
#[cfg(feature = "detect")]
mod scan;
#[cfg(feature = "detect")]
mod select;
#[cfg(all(test, feature = "detect", feature = "std"))]
mod tests;
#[cfg(feature = "detect")]
mod threshold;

#[cfg(feature = "detect")]
pub use decode::Decoder;
pub use head::{BoxCode, Head, Level, MAX_ANCHORS, MAX_LEVELS};
pub use letterbox::Letterbox;

/// A box that was found.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Detection {
    /// Left, top, right, bottom in pixels of the network's input; may reach over its edges.
    pub corners: [f32; 4],
    /// Confidence, 0 to 1.
    pub score: f32,
    /// Class, counted from 0.
    pub class: u32,
    /// Which candidate of the head it comes from.
    pub candidate: u32,
}

/// What counts as found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options<'c> {
    /// Candidates must score higher than this.
    pub confidence: f32,
    /// A box is dropped if it overlaps a better one by more than this share of their union.
    pub iou: f32,
    /// As many boxes are kept, the best.
    pub max_boxes: usize,
    /// Boxes of different classes drop each other too.
    pub agnostic: bool,
    /// A candidate is one box of its best class, not one box of each class that passes.
    pub best_class: bool,
    /// Classes to look for; empty for all.
    pub classes: &'c [u32],
}

impl Default for Options<'_> {
    /// Confidence 0.25, overlap 0.45, 100 boxes of any class, one per candidate, dropped within each class.
    fn default() -> Self {
        Self {
            confidence: 0.25,
            iou: 0.45,
            max_boxes: 100,
            agnostic: false,
            best_class: true,
            classes: &[],
        }
    }
}

/// A hash of boxes: FNV-1a with 64 bits over the words of corners, score, class and candidate, low byte first. Boxes are
/// the same on every machine, and so is this.
#[must_use]
pub fn hash(found: &[Detection]) -> u64 {
    let words = |d: &Detection| {
        let [left, top, right, bottom] = d.corners.map(f32::to_bits);
        [left, top, right, bottom, d.score.to_bits(), d.class, d.candidate]
    };
    let bytes = found.iter().flat_map(words).flat_map(u32::to_le_bytes);
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}
