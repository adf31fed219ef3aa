//! Concatenations: what is written where it is joined, and stays what it was.

use super::*;
use kenar::Session;

fn max_pool(size: usize) -> Op {
    Op::Pool(Pool {
        kind: PoolKind::Max,
        window: [size; 2],
        stride: [1; 2],
        padding: [size / 2; 4],
        dilation: [1; 2],
        ceil_mode: false,
    })
}

/// A map, three pools in a row or beside each other, all four joined, and a convolution.
fn pools(in_a_row: bool) -> Graph {
    let mut b = Builder::new([4, 11, 9]);
    let x = b.conv("stem", b.g.input, 8, 3, 1, 1);
    let x = b.g.push("silu", Op::Activation(Activation::Silu), &[x]).unwrap();
    let mut parts = vec![x];
    for i in 0..3 {
        let (from, size) = if in_a_row { (parts[i], 5) } else { (x, [5, 9, 13][i]) };
        parts.push(b.g.push(format!("pool{i}"), max_pool(size), &[from]).unwrap());
    }
    let joined = b.g.push("joined", Op::Concat { axis: 1 }, &parts).unwrap();
    let y = b.conv("last", joined, 6, 1, 1, 1);
    b.done(&[("output", y)])
}

/// Operands of concatenations, which must all lie where they belong.
fn placed(model: &Model<'_>) -> usize {
    let mut placed = 0;
    for op in model.ops() {
        let OpKind::Concat { inputs, output, .. } = op.kind else { continue };
        let (target, mut channel) = (model.tensor(output), 0);
        for operand in model.list(inputs).map(|id| model.tensor(id)) {
            assert!(operand.is_view_of(&target, channel), "{}", model.text(operand.name));
            channel += operand.channels;
            placed += 1;
        }
    }
    placed
}

/// Half of a map goes through two blocks with residuals; all parts are joined, as in YOLOv8. The sums are i16, and what they
/// begin with is there in both types.
#[test]
fn a_split_block_with_residuals_copies_nothing() {
    let mut b = Builder::new([4, 11, 9]);
    let silu = |b: &mut Builder, name: &str, x: ValueId, channels: usize, k: usize| {
        let x = b.conv(name, x, channels, k, 1, 1);
        b.act(&format!("{name}.silu"), x, Activation::Silu)
    };
    let input = b.g.input;
    let x = silu(&mut b, "cv1", input, 16, 1);
    let half = |start: usize| Op::Slice { axis: 1, start, end: start + 8, step: 1 };
    let mut parts = vec![b.push("a", half(0), &[x]), b.push("b", half(8), &[x])];
    for i in 0..2 {
        let x = parts[i + 1];
        let y = silu(&mut b, &format!("m{i}.cv1"), x, 8, 3);
        let y = silu(&mut b, &format!("m{i}.cv2"), y, 8, 3);
        parts.push(b.add(&format!("m{i}.sum"), x, y));
    }
    let joined = b.push("joined", Op::Concat { axis: 1 }, &parts);
    let y = silu(&mut b, "cv2", joined, 16, 1);
    let g = b.done(&[("output", y)]);
    let (file, report) = lowered(&g, &LowerOptions::default());
    let model = Model::parse(&file).unwrap();
    assert_eq!(placed(&model), 4);
    assert!(report.ops.iter().all(|op| op.kind != "Affine"), "a type of its own for a slice");
    for op in model.ops() {
        if let OpKind::Copy(copy) = op.kind {
            assert!(copy.is_view(&model.tensor(copy.input), &model.tensor(copy.output)));
        }
    }
    for (name, db) in numbers::sqnr_on(&g, &LowerOptions::default(), 8) {
        assert!(db > 25.0, "{name} {db:.1} dB");
    }
}

#[test]
fn pools_are_joined_without_copies() {
    let mut seen = Vec::new();
    for in_a_row in [true, false] {
        let g = pools(in_a_row);
        let (file, report) = lowered(&g, &LowerOptions::default());
        assert_eq!(report.ops[0].kind, "Conv2d, SiLU; affine");
        assert_eq!(report.ops[0].written.len(), 1);
        let model = Model::parse(&file).unwrap();
        assert_eq!(placed(&model), 4, "in a row: {in_a_row}");

        let mut arena = vec![0; model.arena_bytes()];
        let mut session = Session::new(&model, &mut arena).unwrap();
        session.input().set_pattern(7);
        let mut joined = Vec::new();
        session
            .run_with(&mut |_, tensor| {
                if tensor.name().starts_with("joined") {
                    joined = (0..tensor.len()).map(|i| tensor.q(i)).collect();
                }
            })
            .unwrap();
        // Each part is the 5x5 maximum of the part before it.
        let (h, w, c) = (11usize, 9usize, 8usize);
        let at = |y: usize, x: usize, k: usize| joined[(y * w + x) * 4 * c + k];
        for (y, x, k) in (0..h * w * 3 * c).map(|i| (i / (3 * c) / w, i / (3 * c) % w, i % (3 * c)))
        {
            let rows = y.saturating_sub(2)..(y + 3).min(h);
            let columns = || x.saturating_sub(2)..(x + 3).min(w);
            let most = rows.flat_map(|y| columns().map(move |x| (y, x)));
            let most = most.map(|(y, x)| at(y, x, k)).max().unwrap();
            assert_eq!(at(y, x, k + c), most, "{y} {x} {k}");
        }
        seen.push(session.output_hash().unwrap());
    }
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn an_operand_that_is_an_output_too_stays_apart() {
    let mut g = pools(true);
    let x = g.values().iter().position(|v| v.name == "silu").map(ValueId).unwrap();
    g.mark_output("x", x);
    let (file, _) = lowered(&g, &LowerOptions::default());
    let model = Model::parse(&file).unwrap();
    let x = model.outputs().find(|o| o.name == "x").map(|o| model.tensor(o.tensor)).unwrap();
    assert_eq!((x.pixel_stride, model.text(x.name)), (8, "silu"));
}
