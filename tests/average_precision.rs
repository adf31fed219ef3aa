//! Mean average precision against figures that pycocotools computed on the same boxes
//! (`fixtures/average_precision/make_figures.py`).

use kenar_convert::average_precision::{Area, Found, Kind, RECALLS, Rect, Scene, Truth, measure};
use serde_json::Value;

const TOLERANCE: f64 = 1e-9;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn rect(v: &[f64]) -> Rect {
    Rect { x: v[0], y: v[1], w: v[2], h: v[3] }
}

fn scene(value: &Value) -> Scene {
    let truths = value["truths"].as_array().unwrap().iter().map(|t| {
        let t = numbers(t);
        let kind = if t[6] != 0.0 { Kind::Crowd } else { Kind::Object };
        Truth { class: t[0] as usize, rect: rect(&t[1..]), area: t[5], kind }
    });
    let found = value["found"].as_array().unwrap().iter().map(|f| {
        let f = numbers(f);
        Found { class: f[0] as usize, score: f[1], rect: rect(&f[2..]) }
    });
    Scene { truths: truths.collect(), found: found.collect() }
}

fn close(ours: Option<f64>, theirs: &Value) -> bool {
    match (ours, theirs.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() < TOLERANCE,
        (None, None) => true,
        _ => false,
    }
}

fn check(text: &str) {
    let record: Value = serde_json::from_str(text).unwrap();
    let classes: Vec<String> =
        (0..record["classes"].as_u64().unwrap()).map(|c| format!("class{c}")).collect();
    let scenes: Vec<Scene> = record["scenes"].as_array().unwrap().iter().map(scene).collect();
    let ours = measure(&classes, &scenes);
    let expected = &record["expected"];
    let summary = ours.summary();
    for (i, (a, b)) in summary.iter().zip(numbers(&expected["stats"])).enumerate() {
        assert!((a - b).abs() < TOLERANCE, "figure {i}: {a}, expected {b}");
    }
    for (c, class) in ours.classes.iter().enumerate() {
        assert!(close(class.ap(), &expected["ap"][c]), "{}: {:?}", class.name, class.ap());
        assert!(close(class.ap50(), &expected["ap50"][c]), "{}: {:?}", class.name, class.ap50());
        let Some(curve) = class.curves(Area::All).first() else { continue };
        let curve = (0..RECALLS).step_by(10).map(|r| curve.precision[r]);
        for (a, b) in curve.zip(numbers(&expected["curve50"][c])) {
            assert!((a - b).abs() < TOLERANCE, "{}: {a}, expected {b}", class.name);
        }
    }
}

#[test]
fn several_classes_and_one_without_objects() {
    check(include_str!("fixtures/average_precision/plain.json"));
}

#[test]
fn equal_scores_keep_their_order() {
    check(include_str!("fixtures/average_precision/ties.json"));
}

#[test]
fn crowds_and_outlines() {
    check(include_str!("fixtures/average_precision/crowds.json"));
}

#[test]
fn more_boxes_than_count() {
    check(include_str!("fixtures/average_precision/many.json"));
}
