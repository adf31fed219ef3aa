//! Which boxes of one class in one image hit an object.

use super::{Area, Found, Kind, MAX_DETECTIONS, Scene, THRESHOLDS, Truth, iou, threshold};

/// What a box turned out to be at one threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// On an object that counts.
    Hit,
    /// On nothing, or on what was hit before.
    Miss,
    /// On a crowd or difficult object, or on one of another size: counts neither way.
    Ignored,
}

/// The boxes of one class in one image, judged.
#[derive(Clone, Debug)]
pub(super) struct Matched {
    /// Scores, best first.
    pub scores: Vec<f64>,
    /// Per area and threshold: what each box is.
    pub outcomes: [[Vec<Outcome>; THRESHOLDS]; Area::ALL.len()],
    /// Per area: objects that have to be found.
    pub objects: [usize; Area::ALL.len()],
}

/// Judges the boxes of a class; `None` where it is neither in the image nor found.
pub(super) fn matched(scene: &Scene, class: usize) -> Option<Matched> {
    let truths: Vec<&Truth> = scene.truths.iter().filter(|t| t.class == class).collect();
    let mut found: Vec<&Found> = scene.found.iter().filter(|f| f.class == class).collect();
    if truths.is_empty() && found.is_empty() {
        return None;
    }
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(MAX_DETECTIONS[MAX_DETECTIONS.len() - 1]);
    let overlaps: Vec<Vec<f64>> =
        found.iter().map(|f| truths.iter().map(|t| overlap(f, t)).collect()).collect();
    let judged = Area::ALL.map(|area| judge(area, &truths, &found, &overlaps));
    let objects = Area::ALL.map(|area| truths.iter().filter(|t| !ignored(area, t)).count());
    Some(Matched { scores: found.iter().map(|f| f.score).collect(), outcomes: judged, objects })
}

/// A crowd is a region: how much of the box lies inside counts.
fn overlap(found: &Found, truth: &Truth) -> f64 {
    match truth.kind {
        Kind::Crowd => found.rect.inside(&truth.rect),
        Kind::Object | Kind::Difficult => iou(&found.rect, &truth.rect),
    }
}

fn ignored(area: Area, truth: &Truth) -> bool {
    truth.kind != Kind::Object || area.excludes(truth.area)
}

fn judge(
    area: Area,
    truths: &[&Truth],
    found: &[&Found],
    overlaps: &[Vec<f64>],
) -> [Vec<Outcome>; THRESHOLDS] {
    // Objects that count come first, the others behind, each in their order.
    let mut order: Vec<usize> = (0..truths.len()).collect();
    order.sort_by_key(|&t| ignored(area, truths[t]));
    std::array::from_fn(|index| {
        let mut taken = vec![false; truths.len()];
        let outcome = |(found, overlaps): (&&Found, &Vec<f64>)| {
            let mut least = threshold(index).min(1.0 - 1e-10);
            let mut best = None;
            for &t in &order {
                let reusable = truths[t].kind != Kind::Object;
                if taken[t] && !reusable {
                    continue;
                }
                // One that counts is taken before any that does not.
                if best.is_some_and(|b: usize| !ignored(area, truths[b]))
                    && ignored(area, truths[t])
                {
                    break;
                }
                if overlaps[t] < least {
                    continue;
                }
                (least, best) = (overlaps[t], Some(t));
            }
            match best {
                Some(t) => {
                    taken[t] = true;
                    if ignored(area, truths[t]) { Outcome::Ignored } else { Outcome::Hit }
                }
                None if area.excludes(found.rect.area()) => Outcome::Ignored,
                None => Outcome::Miss,
            }
        };
        found.iter().zip(overlaps).map(outcome).collect()
    })
}
