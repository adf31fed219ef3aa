//! Decoding against textbook loops in f64, and integers against the real values they stand for.

use std::vec;
use std::vec::Vec;

use super::maps::Map;
use super::*;
use crate::desc::{DType, Span, TensorDesc};

/// A small generator; every test has its own seed.
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 8
    }

    fn real(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() as f32 / (1u32 << 24) as f32)
    }
}

const SIZES: [[usize; 2]; 2] = [[5, 7], [3, 4]];
const STRIDES: [u32; 2] = [8, 16];
const CODES: [BoxCode; 5] = [
    BoxCode::Dfl { bins: 16 },
    BoxCode::Distance,
    BoxCode::ExpDistance,
    BoxCode::ExpSize,
    BoxCode::Anchor,
];

/// A head of two levels whose outputs are numbered boxes, objectness, scores, points, level by level.
fn head(code: BoxCode, objectness: bool, anchors_per_cell: u32, classes: u32, points: u32) -> Head {
    let mut levels = [Level::EMPTY; MAX_LEVELS];
    for (index, level) in levels.iter_mut().take(2).enumerate() {
        let first = 4 * index as u32;
        *level = Level {
            stride: STRIDES[index],
            boxes: first,
            objectness: objectness.then_some(first + 1),
            scores: first + 2,
            points: (points > 0).then_some(first + 3),
            anchors: [[0.0; 2]; MAX_ANCHORS],
        };
        if code == BoxCode::Anchor {
            for (anchor, sides) in level.anchors[..anchors_per_cell as usize].iter_mut().enumerate()
            {
                *sides = [10.0 * (anchor + 1) as f32, 17.0 + 9.0 * anchor as f32];
            }
        }
    }
    let centre = if anchors_per_cell == 2 { 0.0 } else { 0.5 };
    Head { code, centre, anchors_per_cell, classes, points, levels, level_count: 2 }
}

/// Channels of an output of such a head.
fn channels(head: &Head, output: u32) -> usize {
    let components = [head.code.channels(), 1, head.classes, 2 * head.points][output as usize % 4];
    (head.anchors_per_cell * components) as usize
}

/// Random outputs, real, planes; those of boxes keep exponentials moderate.
fn outputs(head: &Head, random: &mut Random) -> Vec<Vec<f32>> {
    (0..8)
        .map(|output| {
            let [height, width] = SIZES[output as usize / 4];
            let (low, high) = if output % 4 == 0 { (-2.0, 3.0) } else { (-6.0, 3.0) };
            (0..channels(head, output) * height * width).map(|_| random.real(low, high)).collect()
        })
        .collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Corners, scores and landmarks.
type Candidate = ([f64; 4], Vec<f64>, Vec<[f64; 2]>);

/// Every candidate, as the zoo's formulas have them.
fn reference(head: &Head, outputs: &[Vec<f32>]) -> Vec<Candidate> {
    let mut all = Vec::new();
    for (index, level) in head.levels().iter().enumerate() {
        let [height, width] = SIZES[index];
        let s = f64::from(level.stride);
        for anchor in 0..head.anchors_per_cell as usize {
            for row in 0..height {
                for column in 0..width {
                    let get = |output: u32, components: usize, k: usize| {
                        let plane = anchor * components + k;
                        f64::from(outputs[output as usize][(plane * height + row) * width + column])
                    };
                    let components = head.code.channels() as usize;
                    let t = |k| get(level.boxes, components, k);
                    let c = [column as f64, row as f64];
                    let reference = c.map(|c| (c + f64::from(head.centre)) * s);
                    let distances = |d: [f64; 4]| {
                        let [x, y] = reference;
                        [x - d[0] * s, y - d[1] * s, x + d[2] * s, y + d[3] * s]
                    };
                    let around = |x: f64, y: f64, w: f64, h: f64| {
                        [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0]
                    };
                    let corners = match head.code {
                        BoxCode::Dfl { bins } => distances([0, 1, 2, 3].map(|side| {
                            let weights: Vec<f64> = (0..bins as usize)
                                .map(|b| t(side * bins as usize + b).exp())
                                .collect();
                            let sum: f64 = weights.iter().sum();
                            weights.iter().enumerate().map(|(b, w)| b as f64 * w / sum).sum()
                        })),
                        BoxCode::Distance => distances([t(0), t(1), t(2), t(3)]),
                        BoxCode::ExpDistance => distances([0, 1, 2, 3].map(|k| t(k).exp())),
                        BoxCode::ExpSize => around(
                            (t(0) + c[0]) * s,
                            (t(1) + c[1]) * s,
                            t(2).exp() * s,
                            t(3).exp() * s,
                        ),
                        BoxCode::Anchor => {
                            let [w, h] = level.anchors[anchor].map(f64::from);
                            around(
                                (2.0 * sigmoid(t(0)) - 0.5 + c[0]) * s,
                                (2.0 * sigmoid(t(1)) - 0.5 + c[1]) * s,
                                (2.0 * sigmoid(t(2))).powi(2) * w,
                                (2.0 * sigmoid(t(3))).powi(2) * h,
                            )
                        }
                    };
                    let share = level.objectness.map_or(1.0, |output| sigmoid(get(output, 1, 0)));
                    let classes = head.classes as usize;
                    let scores = (0..classes)
                        .map(|k| share * sigmoid(get(level.scores, classes, k)))
                        .collect();
                    let points = level.points.map_or(Vec::new(), |output| {
                        let n = head.points as usize;
                        let axis =
                            |p: usize, k: usize| reference[k] + s * get(output, 2 * n, 2 * p + k);
                        (0..n).map(|p| [axis(p, 0), axis(p, 1)]).collect()
                    });
                    all.push((corners, scores, points));
                }
            }
        }
    }
    all
}

/// Every kind of head once with objectness and once without.
fn for_each_head(mut f: impl FnMut(Head, Vec<Vec<f32>>)) {
    let mut random = Random(5);
    for code in CODES {
        for (objectness, anchors, classes, points) in
            [(false, 1, 3, 0), (true, 1, 80, 0), (true, 3, 2, 0), (false, 2, 1, 5)]
        {
            let head = head(code, objectness, anchors, classes, points);
            let outputs = outputs(&head, &mut random);
            f(head, outputs);
        }
    }
}

#[test]
fn candidates_equal_the_textbook() {
    for_each_head(|head, outputs| {
        let decoder = Decoder::from_f32(head, &SIZES, |o| &outputs[o as usize]).unwrap();
        let expected = reference(&head, &outputs);
        assert_eq!(decoder.candidates() as usize, expected.len());
        for (candidate, (corners, scores, points)) in (0..).zip(&expected) {
            for (found, expected) in decoder.corners(candidate).iter().zip(corners) {
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-3,
                    "{:?} {found} {expected}",
                    head.code
                );
            }
            for (class, expected) in (0..).zip(scores) {
                let found = f64::from(decoder.score(candidate, class));
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
            for (point, expected) in (0..).zip(points) {
                let found = decoder.point(candidate, point).unwrap();
                assert!((0..2).all(|k| (f64::from(found[k]) - expected[k]).abs() < 1e-3));
            }
            assert_eq!(decoder.point(candidate, head.points), None);
        }
    });
}

/// All of it with vectors: every pair that passes, sorted, cut, and suppressed one by one.
fn naive(decoder: &Decoder<'_>, options: &Options<'_>, room: usize) -> Vec<Detection> {
    let mut all = Vec::new();
    for candidate in 0..decoder.candidates() {
        let scores: Vec<f32> =
            (0..decoder.head().classes).map(|class| decoder.score(candidate, class)).collect();
        let best = (0..scores.len()).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        for (class, &score) in (0..).zip(&scores) {
            let chosen = !options.best_class || best == Some(class as usize);
            let wanted = options.classes.is_empty() || options.classes.contains(&class);
            if score > options.confidence && chosen && wanted {
                let corners = decoder.corners(candidate);
                all.push(Detection { corners, score, class, candidate });
            }
        }
    }
    all.sort_by(|a, b| b.score.total_cmp(&a.score));
    all.truncate(room);
    let mut kept: Vec<Detection> = Vec::new();
    for one in all {
        let area = |c: [f32; 4]| (c[2] - c[0]) * (c[3] - c[1]);
        let dropped = kept.iter().any(|k| {
            let (a, b) = (k.corners, one.corners);
            let w = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
            let h = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
            (options.agnostic || k.class == one.class)
                && w * h / (area(a) + area(b) - w * h) > options.iou
        });
        if !dropped {
            kept.push(one);
        }
    }
    kept.truncate(options.max_boxes);
    kept
}

#[test]
fn detection_equals_the_naive_one() {
    let mut found_some = 0;
    for_each_head(|head, outputs| {
        let decoder = Decoder::from_f32(head, &SIZES, |o| &outputs[o as usize]).unwrap();
        for (confidence, iou, agnostic, best_class, room, max_boxes) in [
            (0.01, 0.6, false, false, 1000, 100),
            (0.25, 0.45, false, true, 1000, 100),
            (0.25, 0.3, true, false, 40, 7),
            (0.5, 0.0, true, true, 5, 100),
            (1.0, 0.5, false, false, 10, 10),
            (0.0, 1.0, false, false, 3000, 3000),
        ] {
            for classes in [&[][..], &[1], &[0, 2, 79]] {
                let options = Options { confidence, iou, max_boxes, agnostic, best_class, classes };
                let mut buffer = vec![Detection::default(); room];
                let found = decoder.detect(&options, &mut buffer);
                let expected = naive(&decoder, &options, room);
                assert_eq!(found, expected, "{:?} {options:?}", head.code);
                found_some += found.len();
            }
        }
    });
    assert!(found_some > 1000, "{found_some}");
}

/// The outputs as i8 with a scale, some channels of a wider map, xored as some machines hold them; and as i16.
#[test]
fn integers_give_the_boxes_of_the_real_values_bit_by_bit() {
    let mut random = Random(9);
    for_each_head(|head, outputs| {
        for (dtype, xor) in [(DType::I8, 0), (DType::I8, 0x80), (DType::I16, 0x80)] {
            let wide = dtype == DType::I16;
            let (finer, lowest, highest) =
                if wide { (128.0, -32767, 32767) } else { (1.0, -128, 127) };
            let mut descs = Vec::new();
            let mut bytes = Vec::new();
            let mut reals = Vec::new();
            for (output, values) in (0..).zip(&outputs) {
                let [height, width] = SIZES[output as usize / 4];
                let channels = channels(&head, output);
                let desc = TensorDesc {
                    name: Span::default(),
                    height: height as u32,
                    width: width as u32,
                    channels: channels as u32,
                    pixel_stride: channels as u32 + random.next() % 3,
                    dtype,
                    scale: random.real(0.03, 0.06) / finer,
                    zero_point: if wide { 0 } else { (random.next() % 100) as i32 },
                    arena_offset: 0,
                    first_op: 0,
                    last_op: 0,
                };
                let element = dtype.bytes() as usize;
                let mut map = vec![0xAA; height * width * desc.pixel_stride as usize * element];
                let mut real = values.clone();
                for channel in 0..channels {
                    for pixel in 0..height * width {
                        let value = &mut real[channel * height * width + pixel];
                        let q = (*value / desc.scale).round() as i32 + desc.zero_point;
                        let q = q.clamp(lowest, highest);
                        let at = pixel * desc.pixel_stride as usize + channel;
                        match dtype {
                            DType::I8 => map[at] = q as u8 ^ xor,
                            DType::I16 => {
                                map[2 * at..][..2].copy_from_slice(&(q as i16).to_ne_bytes());
                            }
                        }
                        *value = (q - desc.zero_point) as f32 * desc.scale;
                    }
                }
                descs.push(desc);
                bytes.push(map);
                reals.push(real);
            }
            let quantized = Decoder::build(head, |output, _, _| {
                let desc = &descs[output as usize];
                let map = crate::ops::Map::new(&bytes[output as usize], desc, xor);
                Ok(Map::Quantized { map, scale: desc.scale })
            })
            .unwrap();
            let real = Decoder::from_f32(head, &SIZES, |o| &reals[o as usize]).unwrap();
            for confidence in [0.01, 0.3, 0.6] {
                for best_class in [false, true] {
                    let options = Options { confidence, best_class, ..Options::default() };
                    let mut buffers = [[Detection::default(); 200]; 2];
                    let [a, b] = &mut buffers;
                    let bits = |found: &mut [Detection]| -> Vec<_> {
                        let bits = |d: &Detection| {
                            (d.corners.map(f32::to_bits), d.score.to_bits(), d.class)
                        };
                        found.iter().map(bits).collect()
                    };
                    let found = bits(quantized.detect(&options, a));
                    assert_eq!(found, bits(real.detect(&options, b)), "{:?}", head.code);
                }
            }
        }
    });
}

#[test]
fn boxes_are_numbers_whatever_the_maps_hold() {
    for code in CODES {
        let head = head(code, true, 1, 2, 1);
        let mut random = Random(3);
        let mut outputs = outputs(&head, &mut random);
        let hurtful = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 0.0];
        for value in outputs.iter_mut().flatten() {
            *value = hurtful[random.next() as usize % hurtful.len()];
        }
        let decoder = Decoder::from_f32(head, &SIZES, |o| &outputs[o as usize]).unwrap();
        let mut buffer = [Detection::default(); 500];
        let options = Options { confidence: 0.1, iou: 1.0, ..Options::default() };
        let found = decoder.detect(&options, &mut buffer);
        assert!(!found.is_empty());
        for one in found {
            assert!(one.corners.iter().all(|c| c.abs() <= 1e9), "{one:?}");
            assert!(one.score > 0.1 && one.score <= 1.0, "{one:?}");
            assert!(decoder.point(one.candidate, 0).unwrap().iter().all(|c| c.abs() <= 1e9));
        }
    }
}

#[test]
fn maps_of_another_size_are_refused() {
    let head = head(BoxCode::Distance, false, 1, 2, 0);
    let outputs = outputs(&head, &mut Random(1));
    let refused = |sizes: &[[usize; 2]]| {
        Decoder::from_f32(head, sizes, |o| &outputs[o as usize]).unwrap_err()
    };
    assert_eq!(refused(&[[5, 7], [4, 4]]), crate::Error::BufferSize { expected: 64 });
    assert_eq!(refused(&[[5, 7]]), crate::Error::BufferSize { expected: 0 });
    assert!(matches!(refused(&[[usize::MAX, 7]]), crate::Error::BufferSize { .. }));
}
