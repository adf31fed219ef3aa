//! The head record: what a detector's outputs mean.

/// Most levels (strides) of a head.
pub const MAX_LEVELS: usize = 8;
/// Most anchors (boxes) per cell of a head.
pub const MAX_ANCHORS: usize = 9;

/// How the four numbers of a box, `t`, are coded.
///
/// A cell is at column and row `c` of its level, whose stride is `s`. The side lengths and corners below are in pixels of
/// the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxCode {
    /// Left, top, right, bottom, each as logits over `bins` distances (channel = side * bins + bin):
    /// `d = s * sum(bin * softmax(t)[bin])` from `s * (c + centre)` (YOLOv8, NanoDet).
    Dfl {
        /// Distances per side, 0 to `bins - 1` strides.
        bins: u32,
    },
    /// Left, top, right, bottom: `d = s * t` from `s * (c + centre)` (SCRFD).
    Distance,
    /// Left, top, right, bottom: `d = s * exp(t)` from `s * (c + centre)` (FCOS).
    ExpDistance,
    /// Centre `s * (t_xy + c)`, size `s * exp(t_wh)` (YOLOX).
    ExpSize,
    /// Centre `s * (2 * sigmoid(t_xy) - 0.5 + c)`, size `(2 * sigmoid(t_wh))^2 * anchor` (YOLOv5, YOLOv7).
    Anchor,
}

impl BoxCode {
    /// Channels per box.
    #[must_use]
    pub const fn channels(self) -> u32 {
        match self {
            Self::Dfl { bins } => 4 * bins,
            Self::Distance | Self::ExpDistance | Self::ExpSize | Self::Anchor => 4,
        }
    }

    /// The code's name in reports: `dfl`, `distance`, `exp-distance`, `exp-size`, `anchor`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dfl { .. } => "dfl",
            Self::Distance => "distance",
            Self::ExpDistance => "exp-distance",
            Self::ExpSize => "exp-size",
            Self::Anchor => "anchor",
        }
    }
}

/// One level of a head: the maps of one stride. Maps are named by their place among the model's outputs; in each,
/// `channel = anchor * components + component`. Scores and objectness are logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Input pixels per cell.
    pub stride: u32,
    /// Output with the boxes, [`BoxCode::channels`] components.
    pub boxes: u32,
    /// Output with the objectness, one component; without one, class scores stand alone.
    pub objectness: Option<u32>,
    /// Output with the class scores, `classes` components.
    pub scores: u32,
    /// Output with the landmarks, `2 * points` components: x, y of each in strides from the cell's reference point.
    pub points: Option<u32>,
    /// Width and height of each anchor in input pixels; zeros unless the code is [`BoxCode::Anchor`].
    pub anchors: [[f32; 2]; MAX_ANCHORS],
}

impl Level {
    /// A level without meaning, to be filled in.
    pub const EMPTY: Self = Self {
        stride: 0,
        boxes: 0,
        objectness: None,
        scores: 0,
        points: None,
        anchors: [[0.0; 2]; MAX_ANCHORS],
    };
}

/// What the outputs of a detector mean. The score of class `k` is `sigmoid(score[k])`, or
/// `sigmoid(objectness) * sigmoid(score[k])` where the level has an objectness.
///
/// Candidates are counted through levels, then anchors, then rows, then columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Head {
    /// How boxes are coded.
    pub code: BoxCode,
    /// Reference point of a cell in cells from its top left corner, for distances and landmarks: 0.5 or 0.
    pub centre: f32,
    /// Boxes per cell.
    pub anchors_per_cell: u32,
    /// Classes.
    pub classes: u32,
    /// Landmarks per box.
    pub points: u32,
    /// Levels, finest first; the first `level_count` count.
    pub levels: [Level; MAX_LEVELS],
    /// Number of levels.
    pub level_count: u32,
}

impl Head {
    /// The levels.
    #[must_use]
    pub fn levels(&self) -> &[Level] {
        &self.levels[..self.level_count as usize]
    }
}
