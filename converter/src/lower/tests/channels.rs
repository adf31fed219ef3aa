//! Factors per channel behind SiLU: where they go, and what they save.

use super::*;
use crate::graph::Conv2d;

/// A convolution whose output channel `c` is `2^-c` as large as it would be, or times `2^c` what its input is.
fn scaled(
    b: &mut Builder,
    name: &str,
    x: ValueId,
    [out, groups]: [usize; 2],
    grow: bool,
) -> ValueId {
    let per_group = b.g.shape(x)[1] / groups;
    let mut v = Values::new(out as u64 + 31);
    let power = |c: usize| f32::powi(2.0, if grow { c as i32 } else { -(c as i32) });
    let mut weight = v.array(&[out, per_group, 3, 3], 0.6);
    weight.outer_iter_mut().enumerate().for_each(|(c, mut w)| w.mapv_inplace(|x| x * power(c)));
    let op = Op::Conv2d(Conv2d {
        weight: weights(weight),
        bias: None,
        stride: [1; 2],
        padding: [1; 4],
        dilation: [1; 2],
        groups,
    });
    b.push(name, op, &[x])
}

/// Two branches of channels that halve from one to the next, joined, pooled, and blown up again by a depthwise
/// convolution.
fn uneven() -> Graph {
    let mut b = Builder::new([3, 10, 10]);
    let mut branch = |name: &str| {
        let input = b.g.input;
        let x = scaled(&mut b, &format!("{name}.conv"), input, [8, 1], false);
        b.act(&format!("{name}.silu"), x, Activation::Silu)
    };
    let (x, y) = (branch("a"), branch("b"));
    let sum = b.add("sum", y, x);
    let joined = b.push("joined", Op::Concat { axis: 1 }, &[x, sum]);
    let halves = |b: &mut Builder, name: &str, start| {
        b.push(name, Op::Slice { axis: 1, start, end: start + 8, step: 1 }, &[joined])
    };
    let (left, right) = (halves(&mut b, "left", 0), halves(&mut b, "right", 8));
    let pool = Op::Pool(Pool {
        kind: PoolKind::Max,
        window: [3, 3],
        stride: [1, 1],
        padding: [1; 4],
        dilation: [1, 1],
        ceil_mode: false,
    });
    let pooled = b.push("pooled", pool, &[left]);
    let outputs: Vec<ValueId> = [pooled, right]
        .into_iter()
        .enumerate()
        .map(|(i, x)| {
            let x = scaled(&mut b, &format!("{i}.depthwise"), x, [8, 8], true);
            let x = b.act(&format!("{i}.silu"), x, Activation::Silu);
            b.conv(&format!("{i}.out"), x, 4, 1, 1, 1)
        })
        .collect();
    b.done(&[("one", outputs[0]), ("two", outputs[1])])
}

#[test]
fn joined_and_pooled_channels_keep_one_factor_each() {
    for stream in [Stream::Auto, Stream::Off] {
        let options = LowerOptions { stream, ..LowerOptions::default() };
        let (file, report) = lowered(&uneven(), &options);
        let model = Model::parse(&file).unwrap();
        let joined = ["a.silu", "sum", "joined", "left", "right", "pooled"];
        let written = report.ops.iter().flat_map(|o| &o.written);
        let tensors: Vec<_> = written
            .filter(|w| joined.contains(&w.name.as_str()) && w.dtype == DType::I8)
            .map(|w| model.tensor(w.tensor))
            .collect();
        assert!(tensors.len() >= 5, "{stream:?}");
        for t in &tensors {
            assert!(model.text(t.name).ends_with(BALANCED), "{}", model.text(t.name));
            assert!(t.has_values_of(&tensors[0]), "bytes move as they are");
        }
        assert!(convs(&model).iter().any(|c| c.silu.is_some()));
    }
}

#[test]
fn small_channels_behind_silu_are_not_lost() {
    for stream in [Stream::Auto, Stream::Off] {
        let options = LowerOptions { stream, ..LowerOptions::default() };
        for (name, db) in numbers::sqnr_on(&uneven(), &options, 32) {
            assert!(db > 28.0, "{name} {db:.1} dB");
        }
    }
}

/// A convolution whose channels rest below zero behind SiLU, and rise far above it in few places.
fn resting() -> Graph {
    let mut b = Builder::new([3, 16, 16]);
    let mut v = Values::new(5);
    let op = Op::Conv2d(Conv2d {
        weight: weights(v.array(&[8, 3, 1, 1], 0.05)),
        bias: Some(weights(ArrayD::from_elem(IxDyn(&[8]), -2.5))),
        stride: [1; 2],
        padding: [0; 4],
        dilation: [1; 2],
        groups: 1,
    });
    let x = b.push("conv", op, &[b.g.input]);
    let x = b.act("rest", x, Activation::Silu);
    let x = b.conv("out", x, 4, 1, 1, 1);
    b.done(&[("output", x)])
}

#[test]
fn what_rests_behind_silu_is_a_value_of_the_grid() {
    let g = resting();
    // Mostly quiet images with a bright corner.
    let image = |i: usize| {
        Array::from_shape_fn(IxDyn(&[1, 3, 16, 16]), |at| {
            let lively = at[2] + at[3] < 3;
            if lively {
                300.0 + 40.0 * ((at[1] * 7 + at[2] * 3 + at[3] + i) % 9) as f32
            } else {
                0.0
            }
        })
    };
    let images = (0..16).map(|i| Ok(image(i)));
    let calibration = calibrate(&g, images, &Options::default(), |_| {}).unwrap();
    let (file, report) = lower(&g, &calibration, None, &LowerOptions::default()).unwrap();
    assert_eq!(report.ops[0].kind, "Conv2d, SiLU (not stored); affine");
    let model = Model::parse(&file).unwrap();
    let mut arena = vec![0; model.arena_bytes()];
    let mut session = kenar::Session::new(&model, &mut arena).unwrap();
    let image = image(3);
    session.input().set_f32_nchw(image.as_slice().unwrap()).unwrap();
    session.run().unwrap();
    let mut int8 = vec![0.0; 4 * 256];
    session.output_at(0).unwrap().copy_f32_nchw(&mut int8).unwrap();
    let float = crate::exec::run(&g, &image).unwrap();
    // The background of each channel, far away from what is lively.
    let largest = float[0].iter().fold(0.0f32, |m, x| m.max(x.abs()));
    for (c, map) in float[0].as_slice().unwrap().chunks(256).enumerate() {
        let error = (map[255] - int8[c * 256 + 255]).abs();
        assert!(error < 0.003 * largest, "channel {c}: {error} of {largest}");
    }
}
