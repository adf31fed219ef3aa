//! The runtime against textbook loops, operator by operator, on random models.

use kenar::desc::{DType, OpKind};
use kenar::isa::Platform;
use kenar::kernels::KERNELS;
use kenar::{Model, Options, Session};
use kenar_tests::models::{Size, random_input, random_model};
use kenar_tests::reference_int;
use std::collections::BTreeSet;

fn set(session: &mut Session<'_, '_>, dtype: DType, values: &[i64]) {
    match dtype {
        DType::I8 => {
            let values: Vec<i8> = values.iter().map(|&q| q as i8).collect();
            session.input().set_i8(&values).unwrap();
        }
        DType::I16 => {
            let values: Vec<i16> = values.iter().map(|&q| q as i16).collect();
            session.input().set_i16(&values).unwrap();
        }
    }
}

/// Runs `session` and compares every tensor right after its operator.
fn compare(session: &mut Session<'_, '_>, expected: &[Option<reference_int::Dense>], what: &str) {
    session
        .run_with(&mut |op, tensor| {
            let expected =
                expected[tensor.id().0 as usize].as_ref().expect("the reference wrote it");
            for (index, &q) in expected.values.iter().enumerate() {
                assert_eq!(i64::from(tensor.q(index)), q, "{what}: operator {op}, element {index}");
            }
        })
        .unwrap();
}

#[test]
fn every_operator_equals_the_textbook() {
    let mut seen = [0; 9];
    let mut views = 0;
    let mut kernels = BTreeSet::new();
    for seed in 0..400 {
        let file = random_model(seed, Size::SMALL);
        let model = Model::parse(&file).unwrap();
        let input = model.tensor(model.input().tensor);
        let values = random_input(seed, input.elements() as usize, input.dtype);
        let expected = reference_int::run(&model, &values);
        for op in model.ops() {
            seen[match op.kind {
                OpKind::Conv2d(_) => 0,
                OpKind::Add { .. } => 1,
                OpKind::Mul { .. } => 2,
                OpKind::Affine { .. } => 3,
                OpKind::Pool(_) => 4,
                OpKind::Resize(_) => 5,
                OpKind::Table(_) => 6,
                OpKind::Copy(_) => 7,
                OpKind::Concat { .. } => 8,
            }] += 1;
            views += op
                .kind
                .writes()
                .into_iter()
                .flatten()
                .map(|id| model.tensor(id))
                .filter(|t| t.pixel_stride > t.channels)
                .count();
        }

        let mut arena = vec![0x55; model.arena_bytes()];
        let mut session = Session::new(&model, &mut arena).unwrap();
        set(&mut session, input.dtype, &values);
        compare(&mut session, &expected, &format!("seed {seed}"));
        let hash = session.output_hash().unwrap();

        for platform in Platform::available() {
            for threads in [1, 2, 4] {
                let options = Options { platform, threads };
                let what = format!("seed {seed}, {}, {threads} threads", platform.name());
                let mut arena = vec![0xAA; model.arena_bytes()];
                let mut session = Session::with_options(&model, &mut arena, options).unwrap();
                if threads == 1 {
                    set(&mut session, input.dtype, &values);
                    compare(&mut session, &expected, &what);
                }
                set(&mut session, input.dtype, &values);
                session.run().unwrap();
                assert_eq!(session.output_hash().unwrap(), hash, "{what}");
                kernels.extend((0..model.op_count()).map(|op| session.kernel(op)));
            }
        }
    }
    assert!(seen.iter().all(|&count| count > 50), "some operator is rare: {seen:?}");
    assert!(views > 50, "views are rare: {views}");
    let missing: Vec<_> = KERNELS.iter().filter(|kernel| !kernels.contains(*kernel)).collect();
    assert!(
        missing.is_empty() || Platform::available().count() == 1,
        "kernels that never ran: {missing:?}"
    );
}
