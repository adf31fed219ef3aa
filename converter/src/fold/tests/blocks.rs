//! Pixels of a block as channels.

use super::*;

/// The pixels of each 2x2 block as channels, in the order of these places, in front of `conv`.
fn blocks(size: [usize; 2], places: &[[usize; 2]], rows_first: bool, conv: Op) -> Graph {
    let mut g = Graph::new("test", "input", vec![1, 3, size[0], size[1]]);
    let parts: Vec<ValueId> = places
        .iter()
        .map(|place| {
            let slice = |axis: usize| {
                let (start, end) = (place[axis - 2], size[axis - 2]);
                Op::Slice { axis, start, end, step: 2 }
            };
            let axes = if rows_first { [2, 3] } else { [3, 2] };
            let half = g.push("half", slice(axes[0]), &[g.input]).unwrap();
            g.push("part", slice(axes[1]), &[half]).unwrap()
        })
        .collect();
    let joined = g.push("blocks", Op::Concat { axis: 1 }, &parts).unwrap();
    let y = g.push("conv", conv, &[joined]).unwrap();
    g.mark_output("output", y);
    g
}

const PLACES: [[usize; 2]; 4] = [[0, 0], [1, 0], [0, 1], [1, 1]];

#[test]
fn blocks_become_a_larger_window() {
    let mut random = Random::new(5);
    for (seed, (window, stride)) in [(3, 1), (3, 2), (1, 1), (5, 3), (2, 1)].into_iter().enumerate()
    {
        for (size, rows_first) in [([8, 12], true), ([10, 6], false)] {
            let conv = random.conv(12, 7, window, stride, 1);
            let g = blocks(size, &PLACES, rows_first, conv);
            let (folded, report) = fold_checked(&g, seed as u64);
            assert_eq!(operators(&folded), ["Conv2d"], "{report:#}");
            assert_eq!(report.changes("merge blocks"), ["blocks into conv"]);
            assert_eq!(folded.macs(), g.macs());
        }
    }
}

#[test]
fn other_blocks_stay() {
    let mut random = Random::new(6);
    let mut stays = |size, places: &[[usize; 2]], groups| {
        let conv = random.conv(3 * places.len(), 6, 3, 1, groups);
        let (folded, report) = fold_checked(&blocks(size, places, true, conv), 1);
        assert!(folded.nodes().len() > 3, "{report:#}");
        assert!(report.changes("merge blocks").is_empty());
    };
    stays([8, 8], &PLACES, 3);
    stays([8, 8], &PLACES[..3], 1);
    stays([8, 8], &[[0, 0], [1, 0], [0, 1], [0, 1]], 1);
    // Somebody else reads the blocks.
    let mut g = blocks([8, 8], &PLACES, true, random.conv(12, 6, 3, 1, 1));
    let joined = g.nodes().iter().find(|n| n.name == "blocks").unwrap().output;
    let other = g.push("relu", RELU, &[joined]).unwrap();
    g.mark_output("other", other);
    let (folded, _) = fold_checked(&g, 2);
    assert!(operators(&folded).contains(&"Concat"));
}
