//! What instructions are counted of: some kernels on small maps, and two whole networks.

use kenar::isa::Platform;
use kenar::{Model, Options, Session};

use crate::builder::Builder;
use crate::layer::{Kind, Layer, conv, linear, max_pool, other};
use crate::small;

/// A session whose input is set.
pub struct Ready(Session<'static, 'static>);

impl Ready {
    /// Runs it once: this is what is counted.
    #[inline(never)]
    pub fn run(mut self) -> Self {
        self.0.run().expect("the input is set");
        self
    }
}

/// A model by name, after one run whose outputs were compared with the scalar definition's.
///
/// # Panics
///
/// If the outputs differ, or this machine lacks the instruction set.
#[must_use]
pub fn ready(isa: &str, name: &str) -> Ready {
    // A session borrows its model and arena; the process ends when it was counted.
    let file: &'static [u8] = Vec::leak(file(name));
    let model = Model::parse(file).expect("a valid model");
    let start = |platform: Platform| {
        let arena = Vec::leak(vec![0; model.arena_bytes()]);
        let options = Options { platform, threads: 1 };
        let mut session = Session::with_options(&model, arena, options).expect("a session");
        session.input().set_pattern(1);
        session.run().expect("a run");
        session
    };
    let platform = Platform::by_name(isa).unwrap_or_else(|| panic!("this machine has no {isa}"));
    let expected = start(Platform::scalar()).output_hash();
    let mut session = start(platform);
    assert_eq!(session.output_hash(), expected, "{name}: {isa} differs from scalar");
    session.input().set_pattern(2);
    Ready(session)
}

fn file(name: &str) -> Vec<u8> {
    match layer(name) {
        Some(layer) => {
            let (mut builder, x) = Builder::new(layer.input);
            let outputs = builder.layer(x, &layer, None);
            builder.finish(&outputs)
        }
        None if name == "classifier" => small::classifier(),
        None if name == "detector" => small::detector(),
        None => panic!("nothing is named {name}"),
    }
}

fn layer(name: &str) -> Option<Layer> {
    Some(match name {
        "pointwise" => conv(1, [14, 14, 64], 128, 1),
        "pointwise_add" => conv(1, [14, 14, 64], 128, 1).add(),
        "dense" => conv(1, [14, 14, 32], 32, 3),
        "dense_second" => conv(1, [14, 14, 32], 32, 3).add_wide().wide().second(),
        "first" => conv(1, [32, 32, 3], 16, 3).stride(2).silu(),
        "grouped" => conv(1, [14, 14, 64], 64, 3).groups(16),
        "grouped_stride" => conv(1, [14, 14, 128], 128, 3).groups(8).stride(2),
        "depthwise" => conv(1, [14, 14, 64], 64, 3).groups(64),
        "linear" => linear(1, 512, 100),
        "table" => conv(1, [14, 14, 32], 32, 1).table(),
        "max_pool" => max_pool(1, [28, 28, 64], 3, 2),
        "average" => other(1, [14, 14, 128], Kind::Average),
        "gate" => other(1, [14, 14, 128], Kind::Gate).add(),
        _ => return None,
    })
}
