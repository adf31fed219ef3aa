//! What was recognised, in words.

use kenar::detect::BoxCode;
use kenar::format::Placement;

use super::super::spec::{InputHint, RawHead};
use super::level::Level;
use crate::data::{ChannelOrder, Fit, Letterbox};
use crate::graph::Graph;

/// The kind of head, by the detector that made it known.
pub(super) fn kind(level: &Level) -> String {
    match (level.code, level.objectness.is_some()) {
        (BoxCode::Dfl { .. }, _) => "YOLOv8",
        (BoxCode::Anchor, _) => "YOLOv5",
        (BoxCode::ExpSize, _) => "YOLOX",
        (BoxCode::Distance, false) if level.points.is_some() || level.centre == 0.0 => "SCRFD",
        (BoxCode::Distance, _) => "distances",
        (BoxCode::ExpDistance, _) => "FCOS",
    }
    .into()
}

/// How detectors of this kind are fed, where the kind says it.
pub(super) fn input(level: &Level) -> Option<InputHint> {
    let top_left = |level| Fit::Letterbox(Letterbox { level, placement: Placement::TopLeft });
    let (mean, std, order, fit) = match kind(level).as_str() {
        "YOLOv8" | "YOLOv5" => return Some(InputHint::YOLO),
        "YOLOX" => ([0.0; 3], [1.0 / 255.0; 3], ChannelOrder::Bgr, top_left(114)),
        "SCRFD" => ([0.5; 3], [128.0 / 255.0; 3], ChannelOrder::Rgb, top_left(0)),
        _ => return None,
    };
    Some(InputHint { mean, std, order, fit })
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
}

/// One sentence on the head, one on what was done with its decode, one on what had to be assumed.
pub(super) fn notes(
    graph: &Graph,
    levels: &[Level],
    head: &RawHead,
    removed: usize,
) -> Vec<String> {
    let first = &levels[0];
    let boxes = match head.code {
        BoxCode::Dfl { bins } => format!("boxes as distances over {bins} bins"),
        BoxCode::Distance => "boxes as linear distances".into(),
        BoxCode::ExpDistance => "boxes as exponential distances".into(),
        BoxCode::ExpSize => "boxes as centre and exponential size".into(),
        BoxCode::Anchor => "boxes on anchors".into(),
    };
    let mut text = format!(
        "recognised a head as in {}: {boxes}, {}{} class{}, strides {}",
        head.kind,
        if head.anchors_per_cell > 1 {
            format!("{} a cell, ", head.anchors_per_cell)
        } else {
            String::new()
        },
        head.classes,
        if head.classes == 1 { "" } else { "es" },
        list(head.levels.iter().map(|l| l.stride)),
    );
    if first.objectness.is_some() {
        text.push_str(", with objectness");
    }
    if head.points > 0 {
        text.push_str(&format!(", {} landmarks a box", head.points));
    }
    if head.levels.iter().all(|l| !l.anchors.is_empty()) {
        let sizes = head.levels.iter().flat_map(|l| &l.anchors);
        text.push_str(&format!(", anchors {}", list(sizes.map(|a| format!("{}x{}", a[0], a[1])))));
    }
    let mut notes = vec![text];
    let all = graph.nodes().len();
    if first.decoded {
        notes.push(format!(
            "the decode behind it ({removed} of {all} operators) is replaced by Kenar's own; both gave the same boxes and \
             scores on random maps"
        ));
    } else if removed > 0 {
        notes.push(format!(
            "the sigmoids, joins and transposes behind its raw maps ({removed} of {all} operators) are left out"
        ));
    }
    if first.scale.unit != [1.0; 2] {
        notes.push("the file gives boxes as fractions of the image; detection gives pixels".into());
    }
    if let Some(assumed) = &first.assumed {
        notes.push(format!("the file does not decode its boxes: {assumed}"));
    }
    notes
}
