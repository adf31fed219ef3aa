//! Which candidates pass the threshold: integers first, scores for the few that remain.

use super::maps::{LevelMaps, Map};
use super::select::Selection;
use super::threshold::{Threshold, sigmoid};
use super::{Detection, Options};

/// A level to look through.
pub(super) struct Scan<'d, 's> {
    pub(super) maps: &'d LevelMaps<'s>,
    pub(super) anchors: usize,
    pub(super) classes: usize,
    /// Number of the level's first candidate.
    pub(super) first: u32,
}

impl Scan<'_, '_> {
    /// Hands every candidate that passes to `selection`.
    pub(super) fn run(&self, options: &Options<'_>, selection: &mut Selection<'_>) {
        let least = Threshold::new(&self.maps.scores, options.confidence);
        // A product of two shares exceeds the threshold only if both do.
        let objectness =
            self.maps.objectness.as_ref().map(|map| (map, Threshold::new(map, options.confidence)));
        let [height, width] = self.maps.scores.size();
        for pixel in 0..height * width {
            match &objectness {
                // Without an objectness, one look at all scores of a pixel.
                None if !reaches(
                    &self.maps.scores,
                    pixel,
                    0..self.anchors * self.classes,
                    least,
                ) => {}
                None => (0..self.anchors)
                    .for_each(|anchor| self.cell(pixel, anchor, least, 1.0, options, selection)),
                Some((map, enough)) => {
                    for anchor in 0..self.anchors {
                        if reaches(map, pixel, anchor..anchor + 1, *enough) {
                            let share = sigmoid(map.get(pixel, anchor));
                            self.cell(pixel, anchor, least, share, options, selection);
                        }
                    }
                }
            }
        }
    }

    /// The classes of one box; `share` is its objectness.
    fn cell(
        &self,
        pixel: usize,
        anchor: usize,
        least: Threshold,
        share: f32,
        options: &Options<'_>,
        selection: &mut Selection<'_>,
    ) {
        let scores = &self.maps.scores;
        let [height, width] = scores.size();
        let candidate = self.first + (anchor * height * width + pixel) as u32;
        let wanted = |class: u32| options.classes.is_empty() || options.classes.contains(&class);
        let channels = anchor * self.classes..(anchor + 1) * self.classes;
        let mut best: Option<Detection> = None;
        for channel in channels.clone() {
            if !reaches(scores, pixel, channel..channel + 1, least) {
                continue;
            }
            let score = share * sigmoid(scores.get(pixel, channel));
            let class = (channel - channels.start) as u32;
            let one = Detection { corners: [0.0; 4], score, class, candidate };
            if options.best_class {
                best = best.filter(|best| best.score >= score).or(Some(one));
            } else if score > options.confidence && wanted(class) {
                selection.push(one);
            }
        }
        let best = best.filter(|best| best.score > options.confidence && wanted(best.class));
        if let Some(best) = best {
            selection.push(best);
        }
    }
}

/// Whether one of these channels of a pixel reaches the threshold.
#[inline]
fn reaches(
    map: &Map<'_>,
    pixel: usize,
    channels: core::ops::Range<usize>,
    threshold: Threshold,
) -> bool {
    match (map, threshold) {
        (Map::Quantized { map, .. }, Threshold::Quantized(least)) => {
            map.max(pixel, channels) >= least
        }
        (map, Threshold::Real(least)) => {
            channels.into_iter().any(|channel| map.get(pixel, channel) >= least)
        }
        (Map::Real { .. }, Threshold::Quantized(_)) => false,
    }
}
