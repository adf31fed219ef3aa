//! The head section: one record of the head, then one per level.

use super::le::word;
use crate::detect::{BoxCode, Head, Level, MAX_ANCHORS, MAX_LEVELS};

/// Bytes of the head record.
const HEAD_BYTES: usize = 64;
/// Bytes of a level record.
const LEVEL_BYTES: usize = 128;
/// In place of an output that a level does not have.
const NONE: u32 = u32::MAX;

const ANCHORS_AT: usize = 8;

/// Reads the section; `None` if it is no head: wrong length, unknown code, reserved words that are not zero.
pub(crate) fn decode_head(section: &[u8]) -> Option<Head> {
    let (head, levels) = section.split_at_checked(HEAD_BYTES)?;
    let (levels, rest) = levels.as_chunks::<LEVEL_BYTES>();
    let level_count = word(head, 6);
    if !rest.is_empty()
        || !(1..=MAX_LEVELS).contains(&levels.len())
        || level_count as usize != levels.len()
        || (7..16).any(|index| word(head, index) != 0)
    {
        return None;
    }
    let code = match (word(head, 0), word(head, 1)) {
        (0, bins) => BoxCode::Dfl { bins },
        (1, 0) => BoxCode::Distance,
        (2, 0) => BoxCode::ExpDistance,
        (3, 0) => BoxCode::ExpSize,
        (4, 0) => BoxCode::Anchor,
        _ => return None,
    };
    let mut decoded = Head {
        code,
        centre: f32::from_bits(word(head, 2)),
        anchors_per_cell: word(head, 3),
        classes: word(head, 4),
        points: word(head, 5),
        levels: [Level::EMPTY; MAX_LEVELS],
        level_count,
    };
    for (level, record) in decoded.levels.iter_mut().zip(levels) {
        *level = decode_level(record)?;
    }
    Some(decoded)
}

fn decode_level(record: &[u8; LEVEL_BYTES]) -> Option<Level> {
    let option = |index| Some(word(record, index)).filter(|&output| output != NONE);
    let end = ANCHORS_AT + 2 * MAX_ANCHORS;
    if (5..ANCHORS_AT).chain(end..LEVEL_BYTES / 4).any(|index| word(record, index) != 0) {
        return None;
    }
    let mut anchors = [[0.0; 2]; MAX_ANCHORS];
    for (index, value) in anchors.as_flattened_mut().iter_mut().enumerate() {
        *value = f32::from_bits(word(record, ANCHORS_AT + index));
    }
    Some(Level {
        stride: word(record, 0),
        boxes: word(record, 1),
        objectness: option(2),
        scores: word(record, 3),
        points: option(4),
        anchors,
    })
}

/// The section of a head.
#[cfg(feature = "alloc")]
pub(super) fn encode_head(head: &Head) -> impl Iterator<Item = u32> + '_ {
    let (code, bins) = match head.code {
        BoxCode::Dfl { bins } => (0, bins),
        BoxCode::Distance => (1, 0),
        BoxCode::ExpDistance => (2, 0),
        BoxCode::ExpSize => (3, 0),
        BoxCode::Anchor => (4, 0),
    };
    let mut words = [0; HEAD_BYTES / 4];
    words[..7].copy_from_slice(&[
        code,
        bins,
        head.centre.to_bits(),
        head.anchors_per_cell,
        head.classes,
        head.points,
        head.level_count,
    ]);
    words.into_iter().chain(head.levels().iter().flat_map(encode_level))
}

#[cfg(feature = "alloc")]
fn encode_level(level: &Level) -> [u32; LEVEL_BYTES / 4] {
    let mut words = [0; LEVEL_BYTES / 4];
    words[..5].copy_from_slice(&[
        level.stride,
        level.boxes,
        level.objectness.unwrap_or(NONE),
        level.scores,
        level.points.unwrap_or(NONE),
    ]);
    for (word, value) in words[ANCHORS_AT..].iter_mut().zip(level.anchors.as_flattened()) {
        *word = value.to_bits();
    }
    words
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::desc::{Conv2d, DType, Epilogue, Op, OpKind, Store, Window};
    use crate::format::seal;
    use crate::format::write::{InputSpec, ModelWriter};
    use crate::{Error, Model};
    use std::vec;
    use std::vec::Vec;

    /// A detector of a 16x24 input: one level of stride 8 with boxes, objectness, scores and landmarks as outputs.
    fn writer(anchors: u32, classes: u32) -> ModelWriter {
        let mut w = ModelWriter::new();
        let x = w.add_activation("x", [16, 24, 3], DType::I8, 0.1, 0).unwrap();
        for (name, components) in [("boxes", 4), ("obj", 1), ("scores", classes), ("points", 4)] {
            let channels = anchors * components;
            let output = w.add_activation(name, [2, 3, channels], DType::I8, 0.1, 0).unwrap();
            let store =
                Store { output, zero_point: 0, clamp_min: -128, clamp_max: 127, table: None };
            let conv = Conv2d {
                input: x,
                window: Window { size: [1, 1], stride: [8, 8], padding: [0; 4], dilation: [1, 1] },
                groups: 1,
                channels_out: channels,
                weights: w.add_i8(&vec![1; 3 * channels as usize]).unwrap(),
                bias: w.add_i32(&vec![0; channels as usize]).unwrap(),
                multiplier: w.add_f32(&vec![0.1; channels as usize]).unwrap(),
                slope: None,
                silu: None,
                epilogue: Epilogue { residual: None, store: Some(store), second: None },
            };
            let text = w.add_string(name).unwrap();
            w.add_op(Op { name: text, kind: OpKind::Conv2d(conv) });
            w.add_output(name, output).unwrap();
        }
        w.set_input("x", x, InputSpec::features()).unwrap();
        w.plan_memory().unwrap();
        w
    }

    fn head() -> Head {
        let mut anchors = [[0.0; 2]; MAX_ANCHORS];
        anchors[..2].copy_from_slice(&[[10.0, 13.0], [16.0, 30.0]]);
        let mut levels = [Level::EMPTY; MAX_LEVELS];
        levels[0] =
            Level { stride: 8, boxes: 0, objectness: Some(1), scores: 2, points: Some(3), anchors };
        Head {
            code: BoxCode::Anchor,
            centre: 0.5,
            anchors_per_cell: 2,
            classes: 5,
            points: 2,
            levels,
            level_count: 1,
        }
    }

    fn finish(head: Head) -> Result<Vec<u8>, Error> {
        let mut w = writer(2, 5);
        w.set_head(head);
        w.finish()
    }

    #[test]
    fn a_head_reads_back() {
        let file = finish(head()).unwrap();
        assert_eq!(Model::parse(&file).unwrap().head(), Some(head()));
        let file = writer(2, 5).finish().unwrap();
        assert_eq!(Model::parse(&file).unwrap().head(), None);
    }

    #[test]
    fn heads_that_do_not_fit_are_refused() {
        let wrong = |change: &dyn Fn(&mut Head)| {
            let mut head = head();
            change(&mut head);
            finish(head).unwrap_err()
        };
        let level = Error::HeadLevel { level: 0 };
        assert_eq!(wrong(&|h| h.centre = f32::NAN), Error::HeadSection);
        assert_eq!(wrong(&|h| h.centre = -0.5), Error::HeadSection);
        assert_eq!(wrong(&|h| h.classes = 0), Error::HeadSection);
        assert_eq!(wrong(&|h| h.anchors_per_cell = 10), Error::HeadSection);
        assert_eq!(wrong(&|h| h.points = 1 << 20), Error::HeadSection);
        assert_eq!(wrong(&|h| h.code = BoxCode::Dfl { bins: 1 }), Error::HeadSection);
        assert_eq!(wrong(&|h| h.level_count = 0), Error::HeadSection);
        assert_eq!(wrong(&|h| h.classes = 4), level);
        assert_eq!(wrong(&|h| h.points = 1), level);
        assert_eq!(wrong(&|h| h.points = 0), level);
        assert_eq!(wrong(&|h| h.code = BoxCode::ExpSize), level);
        assert_eq!(wrong(&|h| h.levels[0].stride = 16), level);
        assert_eq!(wrong(&|h| h.levels[0].stride = 0), level);
        assert_eq!(wrong(&|h| h.levels[0].boxes = 4), level);
        assert_eq!(wrong(&|h| h.levels[0].scores = 1), level);
        assert_eq!(wrong(&|h| h.levels[0].objectness = Some(2)), level);
        assert_eq!(wrong(&|h| h.levels[0].points = None), level);
        assert_eq!(wrong(&|h| h.levels[0].anchors[1][0] = f32::INFINITY), level);
        assert_eq!(wrong(&|h| h.levels[0].anchors[1][1] = 0.0), level);
        assert_eq!(wrong(&|h| h.levels[0].anchors[2][0] = 1.0), level);
        assert_eq!(
            wrong(&|h| (h.level_count, h.levels[1].stride) = (2, 8)),
            Error::HeadLevel { level: 1 }
        );
    }

    #[test]
    fn a_file_of_the_first_version_has_no_head() {
        let mut file = finish(head()).unwrap();
        file[10] = 0;
        seal(&mut file);
        assert_eq!(Model::parse(&file).unwrap_err(), Error::HeadSection);
    }
}
