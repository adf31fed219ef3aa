//! Generated graphs: whatever the passes do, executed outputs stay.

use super::*;
use crate::fold::equivalent;
use crate::graph::{Node, Pool, PoolKind, Resize, Rewrite};

/// A random graph of `size` operators over maps of a few channels; every operator kind that passes touch occurs.
fn generate(seed: u64, size: usize) -> Graph {
    let mut rng = Random::new(seed);
    let mut g = Graph::new("random", "input", vec![1, 3, 8, 8]);
    let mut maps = vec![g.input];
    for i in 0..size {
        // Recent values are read more often, so that chains form.
        let recent = maps.len().saturating_sub(1 + rng.below(3).min(rng.below(4)));
        let x = maps[recent];
        let shape = g.shape(x).to_vec();
        let (channels, small) = (shape[1], shape[2] < 3 || shape[3] < 3);
        let name = format!("n{i}");
        let alike: Vec<ValueId> = maps.iter().copied().filter(|&v| g.shape(v) == shape).collect();
        let (op, inputs) = match rng.below(20) {
            0..=2 => {
                let groups = [1, 1, channels][rng.below(3)];
                let outputs = groups * (1 + rng.below(3));
                let window = if small { 1 } else { [1, 3][rng.below(2)] };
                let stride = if small { 1 } else { 1 + rng.below(2) };
                (rng.conv(channels, outputs, window, stride, groups), vec![x])
            }
            3..=5 => (rng.batch_norm(channels), vec![x]),
            6 => (Op::Dropout, vec![x]),
            7 => (RELU, vec![x]),
            8 => (Op::Activation(Activation::Clip { min: -0.5, max: 0.75 }), vec![x]),
            9 => {
                let s = g.push(format!("s{i}"), Op::Activation(Activation::Sigmoid), &[x]).unwrap();
                (Op::Mul, vec![x, s])
            }
            10 | 11 => (Op::Add, vec![alike[rng.below(alike.len())], x]),
            12 | 13 => {
                let shape =
                    [vec![], vec![channels, 1, 1], vec![1, channels, 1, 1]][rng.below(3)].clone();
                let values = rng.array(&shape).mapv(|v| v + 1.5f32.copysign(v));
                let c = g.push(format!("c{i}"), Op::Constant(weights(values)), &[]).unwrap();
                let bent = Op::Activation(Activation::LeakyRelu { slope: 0.5 });
                let c = if rng.below(2) == 0 {
                    c
                } else {
                    g.push(format!("d{i}"), bent, &[c]).unwrap()
                };
                let op = [Op::Add, Op::Mul, Op::Sub, Op::Div][rng.below(4)].clone();
                let constant_first = !matches!(op, Op::Div) && rng.below(2) == 0;
                (op, if constant_first { vec![c, x] } else { vec![x, c] })
            }
            14 => (Op::Concat { axis: 1 }, vec![x, alike[rng.below(alike.len())]]),
            15 => {
                let axis = 1 + rng.below(3);
                let start = rng.below(shape[axis]);
                let end = start + 1 + rng.below(shape[axis] - start);
                (Op::Slice { axis, start, end, step: 1 + rng.below(2) }, vec![x])
            }
            16 => {
                let pads = vec![(0, 0), (0, rng.below(2)), (rng.below(2), 1), (rng.below(2), 0)];
                (Op::Pad { pads, value: 0.0 }, vec![x])
            }
            17 if !small => {
                let kind =
                    [PoolKind::Max, PoolKind::Average { count_include_pad: rng.below(2) == 0 }]
                        [rng.below(2)];
                let padding = [rng.below(2), rng.below(2), rng.below(2), rng.below(2)];
                let (window, stride, dilation) =
                    ([2 + rng.below(2), 3], [2, 1 + rng.below(2)], [1; 2]);
                (
                    Op::Pool(Pool {
                        kind,
                        window,
                        stride,
                        padding,
                        dilation,
                        ceil_mode: rng.below(2) == 0,
                    }),
                    vec![x],
                )
            }
            18 if shape[2] * shape[3] < 64 => {
                (Op::Resize(Resize { size: [shape[2] * 2, shape[3]] }), vec![x])
            }
            _ => (Op::Transpose { perm: vec![0, 1, 3, 2] }, vec![x]),
        };
        maps.push(g.push(name, op, &inputs).unwrap());
    }
    let last = *maps.last().unwrap();
    g.mark_output("last", last);
    g.mark_output("tap", maps[rng.below(maps.len())]);
    let pooled = g.push("pool", Op::GlobalAvgPool, &[last]).unwrap();
    let flat = g.push("flat", Op::Reshape { shape: vec![1, g.shape(last)[1]] }, &[pooled]).unwrap();
    let weight = rng.weights(&[4, g.shape(last)[1]]);
    let y = g.push("fc", Op::Linear { weight, bias: None }, &[flat]).unwrap();
    g.mark_output("logits", y);
    g
}

#[test]
fn outputs_stay() {
    let mut changes = std::collections::BTreeMap::new();
    for seed in 0..400 {
        let g = generate(seed, 4 + (seed as usize % 20));
        let (folded, report) = fold_checked(&g, seed);
        assert!(folded.nodes().len() <= g.nodes().len(), "seed {seed}");
        let (again, second) = run(&folded).unwrap();
        assert_eq!(
            second.total(),
            0,
            "a folded graph has nothing left to fold, seed {seed}: {second:#}"
        );
        equivalent(&folded, &again, 0.0).unwrap();
        for pass in report.passes {
            *changes.entry(pass.name).or_insert(0) += pass.changes.len();
        }
    }
    for (pass, count) in changes {
        // Rare patterns that have tests of their own.
        let rare = ["simplify pooling", "merge blocks"].contains(&pass);
        assert!(count > 0 || rare, "no generated graph exercised '{pass}'");
    }
}

/// The same network with its nodes in another valid order, other names, and some sums and products turned around.
fn shuffled(graph: &Graph, rng: &mut Random) -> Graph {
    let mut r = Rewrite::new(graph);
    let mut waiting: Vec<Node> = graph.nodes().to_vec();
    let mut placed = vec![graph.input];
    while !waiting.is_empty() {
        let ready = |n: &Node| n.inputs.iter().all(|v| placed.contains(v));
        let ready: Vec<usize> = (0..waiting.len()).filter(|&i| ready(&waiting[i])).collect();
        let mut node = waiting.remove(ready[rng.below(ready.len())]);
        node.name = format!("m{}", waiting.len());
        if matches!(node.op, Op::Add | Op::Mul) && rng.below(2) == 0 {
            node.inputs.reverse();
        }
        placed.push(node.output);
        r.keep(&node).unwrap();
    }
    r.finish()
}

#[test]
fn order_and_names_do_not_matter_and_every_weight_does() {
    let mut compared = 0;
    for seed in 0..100 {
        let (g, _) = run(&generate(seed, 16)).unwrap();
        let mut rng = Random::new(seed);
        let mut other = shuffled(&g, &mut rng);
        equivalent(&g, &other, 0.0).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let count = other.nodes().len();
        let node = &mut other.nodes_mut()[rng.below(count)];
        let mut changed = false;
        node.op.for_each_weight_mut(|w| {
            let largest = w.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            changed |= largest > 0.0;
            let at = rng.below(w.len());
            let mut array = w.as_ref().clone();
            *array.iter_mut().nth(at).unwrap() += 0.01 * largest;
            *w = weights(array);
        });
        if changed {
            compared += 1;
            assert!(equivalent(&g, &other, 1e-3).is_err(), "seed {seed}");
        }
    }
    assert!(compared > 20, "{compared}");
}
