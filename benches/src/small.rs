//! Small whole networks, made here.

use kenar::desc::TensorId;

use crate::builder::Builder;
use crate::layer::{Kind, conv, linear, max_pool, other};

/// A network by name, as a model file.
pub struct Network {
    /// Name.
    pub name: &'static str,
    /// Model file.
    pub file: Vec<u8>,
}

/// All of them.
#[must_use]
pub fn networks() -> Vec<Network> {
    vec![
        Network { name: "classifier 32x32", file: classifier() },
        Network { name: "detector 64x64", file: detector() },
    ]
}

/// Pre-activation blocks with an i16 stream, then a grouped bottleneck with squeeze and excitation.
#[must_use]
pub fn classifier() -> Vec<u8> {
    let (mut b, x) = Builder::new([32, 32, 3]);
    let first = |ids: Vec<TensorId>| ids[0];
    let stem = b.layer(x, &conv(1, [32, 32, 3], 16, 3).wide().second(), None);
    let (mut stream, mut x) = (stem[0], stem[1]);
    for _ in 0..2 {
        let y = first(b.layer(x, &conv(1, [32, 32, 16], 16, 3), None));
        let block = conv(1, [32, 32, 16], 16, 3).add_wide().wide().second();
        let sums = b.layer(y, &block, Some(stream));
        (stream, x) = (sums[0], sums[1]);
    }
    let skip = first(b.layer(x, &conv(1, [32, 32, 16], 64, 1).stride(2), None));
    let y = first(b.layer(x, &conv(1, [32, 32, 16], 32, 1), None));
    let y = first(b.layer(y, &conv(1, [32, 32, 32], 32, 3).groups(8).stride(2), None));
    let y = first(b.layer(y, &conv(1, [16, 16, 32], 64, 1), None));
    let squeezed = first(b.layer(y, &other(1, [16, 16, 64], Kind::Average), None));
    let hidden = first(b.layer(squeezed, &linear(1, 64, 8), None));
    let gate = first(b.layer(hidden, &linear(1, 8, 64).table(), None));
    let y = first(b.layer(y, &other(1, [16, 16, 64], Kind::Gate), Some(gate)));
    let y = first(b.layer(y, &other(1, [16, 16, 64], Kind::Add), Some(skip)));
    let y = first(b.layer(y, &conv(1, [16, 16, 64], 64, 3).groups(64), None));
    let y = first(b.layer(y, &other(1, [16, 16, 64], Kind::Average), None));
    let logits = first(b.layer(y, &linear(1, 64, 10).wide(), None));
    b.finish(&[logits])
}

/// SiLU behind every convolution, a split block, pools in a row, a neck with one enlarged map, two heads.
#[must_use]
pub fn detector() -> Vec<u8> {
    let (mut b, x) = Builder::new([64, 64, 3]);
    let first = |ids: Vec<TensorId>| ids[0];
    let x = first(b.layer(x, &conv(1, [64, 64, 3], 16, 3).stride(2).silu(), None));
    let x = first(b.layer(x, &conv(1, [32, 32, 16], 32, 3).stride(2).silu(), None));
    let half = first(b.layer(x, &other(1, [16, 16, 32], Kind::Slice(16)), None));
    let y = first(b.layer(half, &conv(1, [16, 16, 16], 16, 3).silu(), None));
    let y = first(b.layer(y, &conv(1, [16, 16, 16], 16, 3).silu().add(), Some(half)));
    let joined = b.concat("joined", &[x, y]);
    let fine = first(b.layer(joined, &conv(1, [16, 16, 48], 32, 1).silu(), None));
    let x = first(b.layer(fine, &conv(1, [16, 16, 32], 64, 3).stride(2).silu(), None));
    let mut pools = vec![first(b.layer(x, &conv(1, [8, 8, 64], 32, 1).silu(), None))];
    for _ in 0..3 {
        pools.push(first(b.layer(pools[pools.len() - 1], &max_pool(1, [8, 8, 32], 5, 1), None)));
    }
    let pooled = b.concat("pooled", &pools);
    let coarse = first(b.layer(pooled, &conv(1, [8, 8, 128], 64, 1).silu(), None));
    let enlarged = first(b.layer(coarse, &other(1, [8, 8, 64], Kind::Resize), None));
    let neck = b.concat("neck", &[enlarged, fine]);
    let neck = first(b.layer(neck, &conv(1, [16, 16, 96], 32, 1).silu(), None));
    let heads = [
        first(b.layer(neck, &conv(1, [16, 16, 32], 20, 1), None)),
        first(b.layer(coarse, &conv(1, [8, 8, 64], 20, 1), None)),
    ];
    b.finish(&heads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kenar::isa::Platform;
    use kenar::{Model, Options, Session};

    #[test]
    fn every_platform_gives_the_same_bytes_and_they_say_something() {
        for network in networks() {
            let model = Model::parse(&network.file).unwrap();
            let mut hashes = Vec::new();
            for platform in Platform::available() {
                let mut arena = vec![0; model.arena_bytes()];
                let options = Options { platform, threads: 1 };
                let mut session = Session::with_options(&model, &mut arena, options).unwrap();
                session.input().set_pattern(3);
                session.run().unwrap();
                let output = session.output_at(0).unwrap();
                let mut seen: Vec<i32> = (0..output.len()).map(|i| output.q(i)).collect();
                seen.sort_unstable();
                seen.dedup();
                assert!(seen.len() >= 8, "{}: {seen:?}", network.name);
                hashes.push(session.output_hash().unwrap());
            }
            assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{}", network.name);
        }
    }
}
