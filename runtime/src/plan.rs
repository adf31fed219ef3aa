//! Memory plan: lifetimes in, arena offsets out. Plain logic; it runs in the converter, the runtime only checks.
//!
//! Interval colouring with sizes is NP-hard. Three greedy orders, each with best fit, are tried; if none meets the lower
//! bound, the best one is improved by moving the block that ends highest to earlier places. On residual networks this
//! meets the bound almost always.

use alloc::vec;
use alloc::vec::Vec;

use crate::Error;
use crate::desc::TensorDesc;

/// Alignment of every tensor that is no view, in bytes.
pub const ALIGNMENT: u32 = 64;

/// A tensor that needs a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Bytes from the first to the last element, without [`TensorDesc::SLACK_BYTES`].
    pub bytes: u32,
    /// First operator during which the bytes are in use.
    pub first_op: u32,
    /// Last operator during which the bytes are in use.
    pub last_op: u32,
    /// For a view: the request it lies in, and its byte offset there. A parent is no view itself.
    pub parent: Option<(usize, u32)>,
}

/// Where everything goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Byte offset in the arena of each request.
    pub offsets: Vec<u32>,
    /// Size of the arena.
    pub arena_bytes: u32,
    /// The largest sum of live bytes at any operator: no plan of these lifetimes can be smaller.
    pub floor_bytes: u32,
}

/// What is placed: a request that is no view, alive as long as any of its views.
#[derive(Clone, Copy)]
struct Block {
    size: u64,
    first: u32,
    last: u32,
}

/// Places all requests.
///
/// # Errors
///
/// [`Error::PlanRequest`] for a lifetime that ends before it begins, or a view that leaves its parent or whose parent
/// is a view; [`Error::TooLarge`] if the arena would pass 2 GiB.
pub fn plan(requests: &[Request]) -> Result<Plan, Error> {
    let mut blocks: Vec<Option<Block>> = vec![None; requests.len()];
    for (block, request) in blocks.iter_mut().zip(requests) {
        if request.first_op > request.last_op {
            return Err(Error::PlanRequest);
        }
        if request.parent.is_none() {
            let size = u64::from(request.bytes) + u64::from(TensorDesc::SLACK_BYTES);
            let size = size.next_multiple_of(u64::from(ALIGNMENT));
            *block = Some(Block { size, first: request.first_op, last: request.last_op });
        }
    }
    for request in requests {
        let Some((parent, offset)) = request.parent else { continue };
        let bytes = requests.get(parent).ok_or(Error::PlanRequest)?.bytes;
        if u64::from(offset) + u64::from(request.bytes) > u64::from(bytes) {
            return Err(Error::PlanRequest);
        }
        let block = blocks[parent].as_mut().ok_or(Error::PlanRequest)?;
        block.first = block.first.min(request.first_op);
        block.last = block.last.max(request.last_op);
    }

    let floor = floor(&blocks);
    let live: Vec<usize> = (0..blocks.len()).filter(|&i| blocks[i].is_some()).collect();
    let mut best = Placed::default();
    for order in orders(&blocks, &live) {
        let placed = Placed::new(&blocks, order);
        if best.order.is_empty() || placed.end < best.end {
            best = placed;
        }
    }
    improve(&blocks, &mut best, floor);
    let Placed { end: arena, mut offsets, .. } = best;
    if arena > i32::MAX as u64 {
        return Err(Error::TooLarge);
    }
    for (i, request) in requests.iter().enumerate() {
        if let Some((parent, offset)) = request.parent {
            offsets[i] = offsets[parent] + u64::from(offset);
        }
    }
    Ok(Plan {
        offsets: offsets.iter().map(|&offset| offset as u32).collect(),
        arena_bytes: arena as u32,
        floor_bytes: floor as u32,
    })
}

/// Blocks at their places, and the order in which they were placed.
#[derive(Clone, Default)]
struct Placed {
    order: Vec<usize>,
    offsets: Vec<u64>,
    end: u64,
}

impl Placed {
    fn new(blocks: &[Option<Block>], order: Vec<usize>) -> Self {
        let offsets = place(blocks, &order);
        let ends = order.iter().filter_map(|&i| Some(offsets[i] + blocks[i]?.size));
        let end = ends.max().unwrap_or(0);
        Self { order, offsets, end }
    }
}

/// Steps of the improvement, times the square of the number of blocks.
const EFFORT: usize = 50_000_000;

/// Moves a block that ends highest to an earlier place in the order, again and again, and keeps what is not worse.
fn improve(blocks: &[Option<Block>], best: &mut Placed, floor: u64) {
    let count = best.order.len();
    let mut random = 0x9E37_79B9_u32;
    let mut below = move |bound: usize| {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        random as usize % bound
    };
    let mut now = best.clone();
    for _ in 0..EFFORT / (count * count).max(1) {
        if best.end == floor {
            return;
        }
        let ends_highest =
            |&i: &usize| blocks[i].is_some_and(|b| now.offsets[i] + b.size == now.end);
        let Some(top) = now.order.iter().position(ends_highest).filter(|&top| top > 0) else {
            // The highest block was placed first: a move elsewhere may free its place.
            if count < 2 {
                return;
            }
            let (a, b) = (below(count), below(count));
            now.order.swap(a, b);
            now = Placed::new(blocks, now.order);
            continue;
        };
        let mut order = now.order.clone();
        order[below(top)..=top].rotate_right(1);
        let next = Placed::new(blocks, order);
        // Now and then a step up leads out of a dead end.
        if next.end <= now.end || below(32) == 0 {
            now = next;
        }
        if now.end < best.end {
            *best = now.clone();
        }
    }
}

/// The largest sum of live bytes. It changes only where some lifetime begins.
fn floor(blocks: &[Option<Block>]) -> u64 {
    let live_at = |op: u32| -> u64 {
        blocks.iter().flatten().filter(|b| b.first <= op && op <= b.last).map(|b| b.size).sum()
    };
    blocks.iter().flatten().map(|block| live_at(block.first)).max().unwrap_or(0)
}

/// The orders in which blocks are placed.
fn orders(blocks: &[Option<Block>], live: &[usize]) -> [Vec<usize>; 3] {
    let block = |i: &usize| blocks[*i].unwrap_or(Block { size: 0, first: 0, last: 0 });
    let largest = |i: &usize| (core::cmp::Reverse(block(i).size), block(i).first, *i);

    let mut by_size = live.to_vec();
    by_size.sort_by_key(largest);

    // Operators by the bytes alive during them; the tensors of the fullest operator first.
    let breadth = |op: u32| -> u64 {
        blocks.iter().flatten().filter(|b| b.first <= op && op <= b.last).map(|b| b.size).sum()
    };
    let mut ops: Vec<(u64, u32)> =
        live.iter().map(|i| block(i).first).map(|op| (breadth(op), op)).collect();
    ops.sort_by_key(|&(bytes, op)| (core::cmp::Reverse(bytes), op));
    ops.dedup();
    let mut by_breadth: Vec<usize> = Vec::with_capacity(live.len());
    let mut placed = vec![false; blocks.len()];
    for (_, op) in ops {
        for &i in &by_size {
            if !placed[i] && block(&i).first <= op && op <= block(&i).last {
                placed[i] = true;
                by_breadth.push(i);
            }
        }
    }

    let mut by_time = live.to_vec();
    by_time.sort_by_key(|i| (block(i).first, largest(i)));
    [by_size, by_breadth, by_time]
}

/// Places blocks in the given order, each into the smallest gap that fits between the neighbours in time.
fn place(blocks: &[Option<Block>], order: &[usize]) -> Vec<u64> {
    let mut offsets = vec![0u64; blocks.len()];
    let mut done: Vec<usize> = Vec::with_capacity(order.len());
    for &i in order {
        let Some(block) = blocks[i] else { continue };
        let mut taken: Vec<(u64, u64)> = done
            .iter()
            .filter_map(|&j| blocks[j].map(|other| (j, other)))
            .filter(|(_, other)| other.first <= block.last && block.first <= other.last)
            .map(|(j, other)| (offsets[j], offsets[j] + other.size))
            .collect();
        taken.sort_unstable();
        let mut gap: Option<(u64, u64)> = None;
        let mut end = 0;
        for (start, stop) in taken {
            if start >= end + block.size && gap.is_none_or(|(width, _)| start - end < width) {
                gap = Some((start - end, end));
            }
            end = end.max(stop);
        }
        offsets[i] = gap.map_or(end, |(_, offset)| offset);
        done.push(i);
    }
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(bytes: u32, first_op: u32, last_op: u32) -> Request {
        Request { bytes, first_op, last_op, parent: None }
    }

    /// No two blocks that live together overlap, everything is aligned and inside.
    fn check(requests: &[Request], plan: &Plan) {
        for (i, (a, &at)) in requests.iter().zip(&plan.offsets).enumerate() {
            let end = at + a.bytes + TensorDesc::SLACK_BYTES;
            assert!(end <= plan.arena_bytes);
            if a.parent.is_some() {
                continue;
            }
            assert_eq!(at % ALIGNMENT, 0);
            for (b, &bt) in requests.iter().zip(&plan.offsets).skip(i + 1) {
                if b.parent.is_some() || a.first_op > b.last_op || b.first_op > a.last_op {
                    continue;
                }
                assert!(end <= bt || bt + b.bytes + TensorDesc::SLACK_BYTES <= at);
            }
        }
        assert!(plan.arena_bytes >= plan.floor_bytes);
    }

    #[test]
    fn chain_reuses_two_buffers() {
        let requests: Vec<Request> = (0..10).map(|i| request(1000 - 64, i, i + 1)).collect();
        let plan = plan(&requests).unwrap();
        check(&requests, &plan);
        assert_eq!(plan.arena_bytes, 2 * 1024);
        assert_eq!(plan.floor_bytes, plan.arena_bytes);
    }

    #[test]
    fn residual_network_meets_the_floor() {
        let mut requests = Vec::new();
        for block in 0..8u32 {
            let bytes = 4096 >> (block / 2);
            requests.push(request(bytes, 3 * block, 3 * block + 3));
            requests.push(request(bytes / 2, 3 * block + 1, 3 * block + 2));
            requests.push(request(bytes / 2, 3 * block + 2, 3 * block + 3));
        }
        let plan = plan(&requests).unwrap();
        check(&requests, &plan);
        assert_eq!(plan.arena_bytes, plan.floor_bytes);
    }

    #[test]
    fn a_plan_that_no_greedy_order_finds() {
        // A wide pre-activation backbone at 64x64: (bytes, first, last operator).
        let lifetimes = [
            (12_288, 0, 0),
            (262_144, 0, 4),
            (262_144, 1, 2),
            (524_288, 2, 3),
            (1_048_576, 3, 4),
            (1_048_576, 4, 6),
            (524_288, 4, 5),
            (524_288, 5, 6),
            (1_048_576, 6, 7),
            (256, 7, 8),
        ];
        let requests: Vec<Request> =
            lifetimes.iter().map(|&(bytes, first, last)| request(bytes, first, last)).collect();
        let plan = plan(&requests).unwrap();
        check(&requests, &plan);
        assert_eq!(plan.arena_bytes, plan.floor_bytes);
    }

    #[test]
    fn views_follow_their_parent() {
        let mut requests = vec![request(400, 5, 9), request(300, 0, 2)];
        requests.push(Request { bytes: 350, first_op: 2, last_op: 5, parent: Some((0, 50)) });
        let plan = plan(&requests).unwrap();
        check(&requests, &plan);
        assert_eq!(plan.offsets[2], plan.offsets[0] + 50);
        // The parent's bytes are in use from operator 2 on.
        assert_eq!(plan.floor_bytes, 512 + 384);
    }

    #[test]
    fn impossible_requests_are_errors() {
        assert_eq!(plan(&[request(8, 3, 2)]), Err(Error::PlanRequest));
        let view = |parent, offset| Request {
            bytes: 8,
            first_op: 0,
            last_op: 0,
            parent: Some((parent, offset)),
        };
        assert_eq!(plan(&[view(7, 0)]), Err(Error::PlanRequest));
        assert_eq!(plan(&[request(8, 0, 0), view(0, 1)]), Err(Error::PlanRequest));
        assert_eq!(plan(&[view(1, 0), view(0, 0)]), Err(Error::PlanRequest));
        assert_eq!(plan(&[request(u32::MAX, 0, 0)]), Err(Error::TooLarge));
        assert_eq!(plan(&[]).unwrap().arena_bytes, 0);
    }

    #[test]
    fn random_lifetimes_are_planned_soundly() {
        let mut state = 0x9E37_79B9_u32;
        let mut next = move |bound: u32| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state % bound
        };
        for _ in 0..200 {
            let n = 1 + next(40);
            let requests: Vec<Request> = (0..n)
                .map(|_| {
                    let first = next(30);
                    request(1 + next(5000), first, first + next(8))
                })
                .collect();
            check(&requests, &plan(&requests).unwrap());
        }
    }
}
