//! Box codes, and the decoder that walks a head's levels.

use super::maps::{LevelMaps, Map};
use super::nms;
use super::scan::Scan;
use super::select::Selection;
use super::threshold::sigmoid;
use super::{BoxCode, Detection, Head, Level, MAX_LEVELS, Options};
use crate::{Error, Session};

/// Corners are kept within this many pixels, so that no box is infinite and areas stay numbers.
const FARTHEST: f32 = 1e9;

/// The head of a detector with the maps of one image.
///
/// Candidates are counted through levels, anchors, rows and columns.
#[derive(Clone, Debug)]
pub struct Decoder<'s> {
    head: Head,
    maps: [Option<LevelMaps<'s>>; MAX_LEVELS],
}

/// Where a candidate is.
struct Place<'d, 's> {
    level: &'d Level,
    maps: &'d LevelMaps<'s>,
    anchor: usize,
    pixel: usize,
    /// Column and row.
    cell: [f32; 2],
}

impl<'s> Decoder<'s> {
    /// The maps that a session computed.
    ///
    /// # Errors
    ///
    /// [`Error::NoHead`] if the model is no detector, [`Error::NotRun`] before a run.
    pub fn new(session: &'s Session<'_, '_>) -> Result<Self, Error> {
        let head = session.model().head().ok_or(Error::NoHead)?;
        Self::build(head, |output, _, _| Ok(Map::quantized(&session.output_at(output as usize)?)))
    }

    /// Real maps, channel by channel, each row by row; `sizes` are the heights and widths of the levels, `output` gives
    /// the values of one of the head's outputs.
    ///
    /// # Errors
    ///
    /// [`Error::BufferSize`] if an output does not have as many values as the head and the size ask for.
    pub fn from_f32(
        head: Head,
        sizes: &[[usize; 2]],
        output: impl Fn(u32) -> &'s [f32],
    ) -> Result<Self, Error> {
        Self::build(head, |index, channels, level| {
            let size = sizes.get(level).copied().unwrap_or_default();
            Map::real(output(index), channels, size)
        })
    }

    pub(super) fn build(
        head: Head,
        map: impl Fn(u32, u32, usize) -> Result<Map<'s>, Error>,
    ) -> Result<Self, Error> {
        let mut maps = [None; MAX_LEVELS];
        for (index, (maps, level)) in maps.iter_mut().zip(head.levels()).enumerate() {
            let anchors = head.anchors_per_cell;
            let map = |output: u32, components: u32| {
                map(output, anchors.saturating_mul(components), index)
            };
            *maps = Some(LevelMaps {
                boxes: map(level.boxes, head.code.channels())?,
                objectness: level.objectness.map(|output| map(output, 1)).transpose()?,
                scores: map(level.scores, head.classes)?,
                points: level.points.map(|output| map(output, 2 * head.points)).transpose()?,
            });
        }
        Ok(Self { head, maps })
    }

    /// The head.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    fn levels(&self) -> impl Iterator<Item = (&Level, &LevelMaps<'s>)> {
        self.head.levels().iter().zip(self.maps.iter().flatten())
    }

    /// Boxes of a level.
    fn boxes(&self, maps: &LevelMaps<'s>) -> u32 {
        let [height, width] = maps.boxes.size();
        (height * width) as u32 * self.head.anchors_per_cell
    }

    /// Number of candidates.
    #[must_use]
    pub fn candidates(&self) -> u32 {
        self.levels().map(|(_, maps)| self.boxes(maps)).sum()
    }

    /// Boxes that pass, best first, in pixels of the network's input.
    ///
    /// The best candidates compete, as many as `buffer` holds; of equal scores the candidate that comes first is the
    /// better. What is found does not depend on the machine.
    pub fn detect<'b>(
        &self,
        options: &Options<'_>,
        buffer: &'b mut [Detection],
    ) -> &'b mut [Detection] {
        let mut selection = Selection::new(buffer);
        let mut first = 0;
        for (_, maps) in self.levels() {
            let (anchors, classes) =
                (self.head.anchors_per_cell as usize, self.head.classes as usize);
            Scan { maps, anchors, classes, first }.run(options, &mut selection);
            first += self.boxes(maps);
        }
        nms::suppress(selection.finish(), options, |candidate| self.corners(candidate))
    }

    /// Left, top, right, bottom of a candidate in pixels of the network's input.
    ///
    /// # Panics
    ///
    /// If `candidate >= candidates()`.
    #[must_use]
    pub fn corners(&self, candidate: u32) -> [f32; 4] {
        let place = self.place(candidate);
        let stride = place.level.stride as f32;
        let components = self.head.code.channels() as usize;
        let get = |k: usize| place.maps.boxes.get(place.pixel, place.anchor * components + k);
        let [x, y] = place.cell;
        let corners = match self.head.code {
            BoxCode::Dfl { bins } => self.beside([x, y], stride, |side| {
                expectation(bins as usize, |bin| get(side * bins as usize + bin))
            }),
            BoxCode::Distance => self.beside([x, y], stride, get),
            BoxCode::ExpDistance => self.beside([x, y], stride, |side| libm::expf(get(side))),
            BoxCode::ExpSize => around(
                [(get(0) + x) * stride, (get(1) + y) * stride],
                [libm::expf(get(2)) * stride, libm::expf(get(3)) * stride],
            ),
            BoxCode::Anchor => {
                let centre = |k, cell| (2.0 * sigmoid(get(k)) - 0.5 + cell) * stride;
                let [w, h] = place.level.anchors[place.anchor];
                let side = |k, anchor| {
                    let twice = 2.0 * sigmoid(get(k));
                    twice * twice * anchor
                };
                around([centre(0, x), centre(1, y)], [side(2, w), side(3, h)])
            }
        };
        corners.map(bounded)
    }

    /// The score of a class of a candidate.
    ///
    /// # Panics
    ///
    /// If `candidate >= candidates()` or there is no such class.
    #[must_use]
    pub fn score(&self, candidate: u32, class: u32) -> f32 {
        assert!(class < self.head.classes);
        let place = self.place(candidate);
        let channel = place.anchor * self.head.classes as usize + class as usize;
        let score = sigmoid(place.maps.scores.get(place.pixel, channel));
        match &place.maps.objectness {
            Some(map) => sigmoid(map.get(place.pixel, place.anchor)) * score,
            None => score,
        }
    }

    /// Landmark `point` of a candidate, in pixels of the network's input; `None` if it has no such landmark.
    ///
    /// # Panics
    ///
    /// If `candidate >= candidates()`.
    #[must_use]
    pub fn point(&self, candidate: u32, point: u32) -> Option<[f32; 2]> {
        let place = self.place(candidate);
        let map = place.maps.points.filter(|_| point < self.head.points)?;
        let first = 2 * (place.anchor * self.head.points as usize + point as usize);
        let axis = |k: usize| {
            let at = place.cell[k] + self.head.centre + map.get(place.pixel, first + k);
            bounded(at * place.level.stride as f32)
        };
        Some([axis(0), axis(1)])
    }

    fn place(&self, candidate: u32) -> Place<'_, 's> {
        let mut index = candidate;
        for (level, maps) in self.levels() {
            let boxes = self.boxes(maps);
            if index < boxes {
                let [height, width] = maps.boxes.size();
                let index = index as usize;
                let pixel = index % (height * width);
                let cell = [(pixel % width) as f32, (pixel / width) as f32];
                return Place { level, maps, anchor: index / (height * width), pixel, cell };
            }
            index -= boxes;
        }
        panic!("candidate {candidate} of {}", self.candidates());
    }

    /// Corners from left, top, right, bottom in strides.
    fn beside(&self, cell: [f32; 2], stride: f32, distance: impl Fn(usize) -> f32) -> [f32; 4] {
        let [x, y] = cell.map(|c| (c + self.head.centre) * stride);
        let [left, top, right, bottom] = [0, 1, 2, 3].map(|side| distance(side) * stride);
        [x - left, y - top, x + right, y + bottom]
    }
}

/// A coordinate that is a number; NaN becomes one too, the same on every machine.
fn bounded(value: f32) -> f32 {
    if value.is_nan() { -FARTHEST } else { value.clamp(-FARTHEST, FARTHEST) }
}

/// Corners of a box around a centre.
fn around([x, y]: [f32; 2], size: [f32; 2]) -> [f32; 4] {
    let [w, h] = size.map(|side| 0.5 * side);
    [x - w, y - h, x + w, y + h]
}

/// `sum(bin * softmax(logits)[bin])`.
fn expectation(bins: usize, logit: impl Fn(usize) -> f32) -> f32 {
    let largest = (0..bins).map(&logit).fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for bin in 0..bins {
        let weight = libm::expf(logit(bin) - largest);
        sum += weight;
        weighted += bin as f32 * weight;
    }
    weighted / sum
}

impl Session<'_, '_> {
    /// Boxes that the model finds in the image of the last run, see [`Decoder::detect`]. A buffer of 1,000 is usual.
    ///
    /// # Errors
    ///
    /// [`Error::NoHead`] if the model is no detector, [`Error::NotRun`] before a run.
    pub fn detect<'b>(
        &self,
        options: &Options<'_>,
        buffer: &'b mut [Detection],
    ) -> Result<&'b mut [Detection], Error> {
        Ok(Decoder::new(self)?.detect(options, buffer))
    }
}
