//! The memory plan: its floor, and a drawing of who occupies which bytes when.

use kenar::desc::{TensorDesc, TensorId};

/// Lines and columns of a drawing, at most.
const LINES: usize = 16;
const COLUMNS: usize = 96;

/// Bytes that a tensor holds in the arena: first and one past the last.
fn bytes(tensor: &TensorDesc) -> (usize, usize) {
    let first = tensor.arena_offset as usize;
    (first, first + tensor.extent_bytes() as usize + TensorDesc::SLACK_BYTES as usize)
}

fn lives(tensor: &TensorDesc, op: usize) -> bool {
    (tensor.first_op as usize..=tensor.last_op as usize).contains(&op)
}

/// Bytes in use while operator `op` runs; where tensors share bytes (views into a concatenation), once.
fn live_bytes(tensors: &[TensorDesc], op: usize) -> usize {
    let mut ranges: Vec<_> = tensors.iter().filter(|t| lives(t, op)).map(bytes).collect();
    ranges.sort_unstable();
    let (mut total, mut end) = (0, 0);
    for (first, last) in ranges {
        total += last.saturating_sub(first.max(end));
        end = end.max(last);
    }
    total
}

/// The operator during which most bytes are in use, and how many: no plan can be smaller.
pub fn floor(model: &kenar::Model) -> (usize, usize) {
    let tensors = all(model);
    (0..model.op_count())
        .map(|op| (op, live_bytes(&tensors, op)))
        .max_by_key(|&(op, n)| (n, std::cmp::Reverse(op)))
        .unwrap_or((0, 0))
}

fn all(model: &kenar::Model) -> Vec<TensorDesc> {
    (0..model.tensor_count()).map(|i| model.tensor(TensorId(i as u32))).collect()
}

/// Address upwards, time to the right; one letter per tensor.
pub fn drawing(model: &kenar::Model) -> String {
    let tensors = all(model);
    let (ops, size) = (model.op_count(), model.plan_bytes());
    if ops == 0 || size == 0 {
        return String::new();
    }
    let columns = ops.min(COLUMNS);
    let mut text = String::new();
    for line in (0..LINES).rev() {
        let address = |n: usize| size * n / LINES;
        let middle = (address(line) + address(line + 1)) / 2;
        let row: String = (0..columns)
            .map(|column| {
                let op = column * ops / columns;
                tensors
                    .iter()
                    .position(|t| lives(t, op) && (bytes(t).0..bytes(t).1).contains(&middle))
                    .map_or('·', letter)
            })
            .collect();
        text.push_str(&format!(
            "  {:>11} {row}\n",
            super::super::table::bytes(address(line) as u64)
        ));
    }
    let last = (ops - 1).to_string();
    text.push_str(&format!("  {:>11} 0{last:>width$}\n", "operator", width = columns.max(2) - 1));
    text
}

/// The letter of a tensor in a drawing.
pub fn letter(tensor: usize) -> char {
    let letters = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    letters[tensor % letters.len()] as char
}
