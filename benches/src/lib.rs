//! What the benchmarks run: layers of nine networks, each as a model of its own, and small whole networks. All contents
//! come from fixed seeds.

mod builder;
mod case;
pub mod counts;
pub mod layer;
mod networks;
pub mod small;

pub use case::Case;
pub use layer::Layer;
pub use networks::NETWORKS;
