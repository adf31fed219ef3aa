//! Runs int8 networks from one verified model file, with the same bytes on every CPU.
//!
//! ```no_run
//! # #[cfg(feature = "std")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let frame = vec![0u8; 320 * 320 * 3];
//! let file = std::fs::read("backbone.kenar")?;
//! let model = kenar::Model::parse(&file)?; // zero copy; everything is checked here, once
//! let mut arena = vec![0; model.arena_bytes()];
//! let mut session = kenar::Session::with_options(&model, &mut arena, kenar::Options::default())?;
//! session.input().set_rgb8(&frame, 320, 320)?; // normalisation is folded into the input quantisation
//! session.run()?;
//! let c3 = session.output("c3")?; // [1, H, W, C] i8 with scale and zero point
//! let mut map = vec![0.0; c3.len()];
//! c3.copy_f32_nchw(&mut map)?;
//! # Ok(()) }
//! # #[cfg(not(feature = "std"))]
//! # fn main() {}
//! ```
//!
//! On bare metal, `kenar::Session::new(&model, arena)` takes a static buffer instead.
//!
//! # Several input sizes
//!
//! A file can be planned for several sizes that share all weights. A [`Model`] is a view of the file at one of them, the
//! first one as it is parsed.
//!
//! ```no_run
//! # fn main() -> Result<(), kenar::Error> {
//! # let file = [0];
//! let model = kenar::Model::parse(&file)?;
//! // One arena for whichever size comes next.
//! let views = || model.sizes().filter_map(|size| model.with_size(size).ok());
//! let mut arena = vec![0; views().map(|model| model.arena_bytes()).max().unwrap_or(0)];
//! let wide = model.with_size([384, 640])?; // height, width
//! let mut session = kenar::Session::new(&wide, &mut arena)?;
//! assert_eq!(session.input().shape(), [1, 384, 640, 3]);
//! # Ok(()) }
//! ```
//!
//! # A neck and head of your own
//!
//! A backbone gives its maps, here `c3` of stride 8, in whatever form the next step takes: i8 with one scale and zero
//! point for the whole map, f32, or f16 (feature `half`); row by row with channels innermost (NHWC) or channel by channel
//! (NCHW). The views borrow the session's memory; copies go into the caller's buffers.
//!
//! ```
//! # #[cfg(feature = "std")]
//! # fn main() -> Result<(), kenar::Error> {
//! # let file = backbone()?;
//! let model = kenar::Model::parse(&file)?;
//! let mut arena = vec![0; model.arena_bytes()];
//! let mut session = kenar::Session::new(&model, &mut arena)?;
//! session.input().set_rgb8(&[200; 32 * 32 * 3], 32, 32)?;
//! session.run()?;
//!
//! let c3 = session.output("c3")?;
//! let [_, height, width, channels] = c3.shape();
//! assert_eq!([height, width, channels], [4, 4, 8]);
//!
//! // i8: real = scale * (q - zero_point). An accelerator's neck takes it as it is.
//! let mut q = vec![0i8; c3.len()];
//! c3.copy_i8(&mut q)?;
//! let real = |q: i8| c3.scale() * (i32::from(q) - c3.zero_point()) as f32;
//!
//! // f32, for a neck in a float library: NHWC for most mobile ones, NCHW for PyTorch and ONNX Runtime.
//! let (mut nhwc, mut nchw) = (vec![0.0; c3.len()], vec![0.0; c3.len()]);
//! c3.copy_f32_nhwc(&mut nhwc)?;
//! c3.copy_f32_nchw(&mut nchw)?;
//! let (y, x, c) = (1, 2, 3);
//! assert_eq!(nhwc[(y * width + x) * channels + c], real(q[(y * width + x) * channels + c]));
//! assert_eq!(nchw[(c * height + y) * width + x], nhwc[(y * width + x) * channels + c]);
//!
//! // f16, for a neck on a GPU.
//! # #[cfg(feature = "half")] {
//! let mut halves = vec![half::f16::ZERO; c3.len()];
//! c3.copy_f16_nchw(&mut halves)?;
//! # }
//!
//! // A head of one's own without any copy: the score of each cell from its channels, largest first.
//! let weights = [0.5, -0.25, 1.0, 0.0, 0.75, -1.0, 0.25, 0.125];
//! let score = |pixel: usize| -> f32 {
//!     (0..channels).map(|c| weights[c] * c3.real(pixel * channels + c)).sum()
//! };
//! let best = (0..height * width).max_by(|&a, &b| score(a).total_cmp(&score(b)));
//! assert!(best.is_some());
//! # Ok(()) }
//! # #[cfg(feature = "std")]
//! # fn backbone() -> Result<Vec<u8>, kenar::Error> {
//! #     use kenar::desc::{Conv2d, DType, Epilogue, Op, OpKind, Store, Window};
//! #     use kenar::format::{ChannelOrder, write::{InputSpec, ModelWriter}};
//! #     let mut w = ModelWriter::new();
//! #     let x = w.add_activation("image", [32, 32, 3], DType::I8, 1.0 / 255.0, -128)?;
//! #     let c3 = w.add_activation("c3", [4, 4, 8], DType::I8, 0.05, -20)?;
//! #     let weights: Vec<i8> = (0..8 * 8 * 8 * 3).map(|i| (i * 37 % 255 - 127) as i8).collect();
//! #     let store = Store { output: c3, zero_point: -20, clamp_min: -128, clamp_max: 127, table: None };
//! #     let conv = Conv2d {
//! #         input: x,
//! #         window: Window { size: [8, 8], stride: [8, 8], padding: [0; 4], dilation: [1, 1] },
//! #         groups: 1,
//! #         channels_out: 8,
//! #         weights: w.add_i8(&weights)?,
//! #         bias: w.add_i32(&[900, -400, 0, 100, 2000, 50, 7, -3000])?,
//! #         multiplier: w.add_f32(&[0.001; 8])?,
//! #         slope: None,
//! #         silu: None,
//! #         epilogue: Epilogue { residual: None, store: Some(store), second: None },
//! #     };
//! #     let name = w.add_string("conv")?;
//! #     w.add_op(Op { name, kind: OpKind::Conv2d(conv) });
//! #     w.set_input("image", x, InputSpec { order: ChannelOrder::Rgb, ..InputSpec::features() })?;
//! #     w.add_output("c3", c3)?;
//! #     w.plan_memory()?;
//! #     w.finish()
//! # }
//! # #[cfg(not(feature = "std"))]
//! # fn main() {}
//! ```
//!
//! On the command line, `kenar convert --outputs c3,c4,c5` keeps these maps, and `kenar run --raw` writes them to a file
//! as i8 with `NAME.scale` and `NAME.zero_point`, to develop a neck against.
//!
//! # Features
//!
//! - `std` (implies `alloc`): detection of the host's instruction set, packed weights, threads.
//! - `alloc`: the model writer and the memory planner, for converters.
//! - `detect`: boxes from the outputs of detectors ([`detect`]); takes `exp` from `libm`.
//! - `half`: outputs as f16.
//! - `defmt`: [`Error`] implements `defmt::Format`.
//!
//! Without features the crate needs `core` alone and never allocates.
#![no_std]
#![deny(unsafe_code)]
#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[allow(unsafe_code)]
pub mod arena;
pub mod desc;
pub mod detect;
pub mod error;
pub mod format;
pub mod isa;
#[cfg(feature = "alloc")]
pub mod kernels;
pub mod model;
pub mod ops;
#[cfg(feature = "alloc")]
pub mod pages;
#[cfg(feature = "alloc")]
pub mod plan;
pub mod quant;
pub mod session;
#[cfg(all(test, feature = "alloc"))]
mod testing;

pub use error::Error;
pub use model::{Model, Output};
#[cfg(feature = "std")]
pub use session::Options;
pub use session::{Session, TensorView};
