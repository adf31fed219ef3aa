//! Precision over recall of one class, over all images.

use super::matching::{Matched, Outcome};
use super::summary::{ClassPrecision, Curve};
use super::{Area, MAX_DETECTIONS, RECALLS, THRESHOLDS, recall};

/// Brings the images of one class together.
pub(super) fn accumulate(name: &str, images: &[Matched]) -> ClassPrecision {
    let most = MAX_DETECTIONS[MAX_DETECTIONS.len() - 1];
    ClassPrecision {
        name: name.to_owned(),
        objects: images.iter().map(|image| image.objects[0]).sum(),
        found: images.iter().map(|image| image.scores.len()).sum(),
        curves: Area::ALL.map(|area| curves(images, area, most)),
        first: std::array::from_fn(|i| curves(images, Area::All, MAX_DETECTIONS[i])),
    }
}

/// One curve per threshold; none where there is nothing to find.
fn curves(images: &[Matched], area: Area, most: usize) -> Vec<Curve> {
    let objects: usize = images.iter().map(|image| image.objects[area as usize]).sum();
    if objects == 0 {
        return Vec::new();
    }
    let mut boxes: Vec<(f64, usize, usize)> = Vec::new();
    for (at, image) in images.iter().enumerate() {
        let scores = image.scores.iter().take(most).enumerate();
        boxes.extend(scores.map(|(i, score)| (*score, at, i)));
    }
    boxes.sort_by(|a, b| b.0.total_cmp(&a.0));
    (0..THRESHOLDS)
        .map(|t| {
            let outcome = |&(score, image, index): &(f64, usize, usize)| {
                (score, images[image].outcomes[area as usize][t][index])
            };
            curve(boxes.iter().map(outcome), objects)
        })
        .collect()
}

/// Precision, made falling from the right, at each of the recalls.
fn curve(boxes: impl Iterator<Item = (f64, Outcome)>, objects: usize) -> Curve {
    let (mut hits, mut misses) = (0.0, 0.0);
    let (mut recalls, mut precisions, mut scores) = (Vec::new(), Vec::new(), Vec::new());
    for (score, outcome) in boxes {
        match outcome {
            Outcome::Hit => hits += 1.0,
            Outcome::Miss => misses += 1.0,
            Outcome::Ignored => {}
        }
        recalls.push(hits / objects as f64);
        precisions.push(hits / (misses + hits + f64::EPSILON));
        scores.push(score);
    }
    for i in (1..precisions.len()).rev() {
        precisions[i - 1] = precisions[i - 1].max(precisions[i]);
    }
    let mut curve = Curve {
        precision: [0.0; RECALLS],
        score: [0.0; RECALLS],
        recall: recalls.last().copied().unwrap_or(0.0),
    };
    for r in 0..RECALLS {
        let at = recalls.partition_point(|&x| x < recall(r));
        let Some(precision) = precisions.get(at) else { break };
        (curve.precision[r], curve.score[r]) = (*precision, scores[at]);
    }
    curve
}
