//! Pools in a row whose results are joined (SPPF): each becomes one pool of the first map, so that none reads what
//! another one writes beside it.
//!
//! ```text
//! max(max(x, 5x5), 5x5) = max(x, 9x9)          steps of 1; padding never wins
//! ```

use super::prepare::{Kind, Network};
use super::shape::Window;
use crate::graph::ValueId;

/// Lets pools of pools read the map in front of both, where one concatenation reads both results.
pub(super) fn join(network: &mut Network<'_>) {
    let mut changed = false;
    for i in 0..network.nodes.len() {
        let node = &network.nodes[i];
        let Kind::MaxPool(second) = node.kind else { continue };
        let input = node.inputs[0];
        let Some(before) = network.nodes[..i].iter().find(|n| n.output == input) else { continue };
        let Kind::MaxPool(first) = before.kind else { continue };
        let source = before.inputs[0];
        let Some(window) = both(first, second).filter(|_| joined(network, input, node.output))
        else {
            continue;
        };
        network.nodes[i].kind = Kind::MaxPool(window);
        network.nodes[i].inputs = vec![source];
        changed = true;
    }
    if changed {
        network.index();
    }
}

/// The window of both pools in a row.
fn both(first: Window, second: Window) -> Option<Window> {
    let steps = |w: Window| w.stride == [1, 1] && w.dilation == [1, 1];
    (steps(first) && steps(second)).then(|| Window {
        size: [0, 1].map(|i| first.size[i] + second.size[i] - 1),
        padding: [0, 1, 2, 3].map(|i| first.padding[i] + second.padding[i]),
        ..first
    })
}

fn joined(network: &Network<'_>, a: ValueId, b: ValueId) -> bool {
    network.nodes.iter().any(|node| {
        matches!(node.kind, Kind::Concat) && node.inputs.contains(&a) && node.inputs.contains(&b)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maxima of a row; windows that lie in the padding alone have none.
    fn pool(x: &[i32], w: Window) -> Vec<Option<i32>> {
        let (size, [_, left, _, right]) = (w.size[1], w.padding);
        (0..x.len() + left + right + 1 - size)
            .map(|at| (at..at + size).filter_map(|i| x.get(i.checked_sub(left)?)).max().copied())
            .collect()
    }

    #[test]
    fn two_pools_are_one() {
        let x: Vec<i32> = (0..17).map(|i| (i * 7919 + 13) % 31 - 15).collect();
        let sizes = [(5, 2, 2), (3, 1, 1), (2, 0, 1), (4, 3, 0), (5, 0, 0)];
        let window = |(size, left, right): (usize, usize, usize)| Window {
            size: [1, size],
            stride: [1, 1],
            padding: [0, left, 0, right],
            dilation: [1, 1],
        };
        for a in sizes {
            for b in sizes {
                let once: Vec<i32> = pool(&x, window(a)).into_iter().flatten().collect();
                let twice = pool(&once, window(b));
                let together = pool(&x, both(window(a), window(b)).unwrap());
                assert_eq!(twice, together, "{a:?} {b:?}");
            }
        }
        let strided = Window { stride: [1, 2], ..window(sizes[0]) };
        assert_eq!(both(strided, window(sizes[0])), None);
        assert_eq!(both(window(sizes[0]), strided), None);
    }
}
