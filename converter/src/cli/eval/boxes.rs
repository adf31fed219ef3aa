//! What `eval` says about a detector.

use serde_json::{Value, json};

use crate::average_precision::{Area, Precision};
use crate::cli::table::{lines, percent, table};
use crate::evaluate::{DetectorEvaluation, Paired};

/// Adds the figures to the JSON document of an evaluation.
pub fn add_json(document: &mut Value, detector: &DetectorEvaluation) {
    if let Some([float, int8]) = &detector.precision {
        for (key, precision) in [("float", float), ("int8", int8)] {
            if let (Some(target), Value::Object(figures)) =
                (document[key].as_object_mut(), figures(precision))
            {
                target.extend(figures);
            }
        }
        document["drop"] = json!({
            "map": difference(float.map(), int8.map()),
            "map50": difference(float.map50(), int8.map50()),
        });
    }
    let class = |(at, class): (usize, &crate::evaluate::ClassBoxes)| {
        let mut entry = json!({ "name": class.name, "paired": paired(&class.paired) });
        if let Some(both) = &detector.precision {
            entry["objects"] = json!(both[0].classes[at].objects);
            for (key, precision) in ["float", "int8"].into_iter().zip(both) {
                let c = &precision.classes[at];
                entry[key] = json!({ "map": c.ap(), "map50": c.ap50(), "map75": c.ap75() });
            }
        }
        entry
    };
    document["classes"] = detector.classes.iter().enumerate().map(class).collect();
    document["paired"] = paired(&detector.paired);
    document["paired"]["confidence"] = json!(detector.confidence);
}

fn figures(precision: &Precision) -> Value {
    let [r1, r10, r100] = precision.recall_first();
    json!({
        "map": precision.map(),
        "map50": precision.map50(),
        "map75": precision.map75(),
        "map_small": precision.map_of(Area::Small),
        "map_medium": precision.map_of(Area::Medium),
        "map_large": precision.map_of(Area::Large),
        "recall_1": r1,
        "recall_10": r10,
        "recall_100": r100,
    })
}

fn paired(paired: &Paired) -> Value {
    json!({
        "float_boxes": paired.float,
        "int8_boxes": paired.int8,
        "matched_50": paired.share50(),
        "matched_90": paired.share90(),
        "mean_iou": paired.mean_iou(),
        "mean_score_difference": paired.mean_difference(),
        "max_score_difference": paired.at50.gt(&0).then_some(paired.largest_difference),
        "int8_alone": paired.alone,
    })
}

fn difference(float: Option<f64>, int8: Option<f64>) -> Option<f64> {
    Some(float? - int8?)
}

/// The figures for people.
pub fn text(detector: &DetectorEvaluation) -> String {
    let mut out = String::new();
    if let Some(both) = &detector.precision {
        out.push_str(&format!("{}\n{}\n", precision(both), per_class(detector, both)));
    }
    out.push_str(&format!("{}\n", pairs(detector)));
    out
}

fn figure(value: Option<f64>) -> String {
    // Without the sign of a zero.
    let shown = |v: f64| format!("{:.4}", if v.abs() < 5e-5 { 0.0 } else { v });
    value.map_or_else(|| "-".to_owned(), shown)
}

fn precision([float, int8]: &[Precision; 2]) -> String {
    let header = ["", "mAP@0.5:0.95", "mAP@0.5", "mAP@0.75", "small", "medium", "large", "recall"];
    let mut rows = table(&header, &header[1..]);
    let row = |p: &Precision| {
        let sizes = [Area::Small, Area::Medium, Area::Large].map(|area| p.map_of(area));
        let [small, medium, large] = sizes;
        [p.map(), p.map50(), p.map75(), small, medium, large, p.recall_of(Area::All)]
    };
    let (float, int8) = (row(float), row(int8));
    let drop: Vec<_> = float.iter().zip(&int8).map(|(f, q)| difference(*f, *q)).collect();
    for (name, values) in [("float", &float[..]), ("int8", &int8), ("drop", &drop)] {
        let mut cells = vec![name.to_owned()];
        cells.extend(values.iter().map(|v| figure(*v)));
        rows.add_row(cells);
    }
    lines(&rows)
}

fn per_class(detector: &DetectorEvaluation, [float, int8]: &[Precision; 2]) -> String {
    let header =
        ["class", "objects", "float AP", "int8 AP", "float AP@0.5", "int8 AP@0.5", "drop AP@0.5"];
    let mut rows = table(&header, &header[1..]);
    for (f, q) in float.classes.iter().zip(&int8.classes) {
        // A set like COCO has many classes that a handful of images does not show.
        if f.objects == 0 && detector.classes.len() > 20 {
            continue;
        }
        rows.add_row([
            f.name.clone(),
            f.objects.to_string(),
            figure(f.ap()),
            figure(q.ap()),
            figure(f.ap50()),
            figure(q.ap50()),
            figure(difference(f.ap50(), q.ap50())),
        ]);
    }
    lines(&rows)
}

fn pairs(detector: &DetectorEvaluation) -> String {
    let header = [
        "boxes of float and int8",
        "float",
        "int8",
        "IoU ≥ 0.5",
        "IoU ≥ 0.9",
        "mean IoU",
        "score ±",
        "max ±",
        "int8 alone",
    ];
    let mut rows = table(&header, &header[1..]);
    let mut add = |name: &str, p: &Paired| {
        let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
        rows.add_row([
            name.to_owned(),
            p.float.to_string(),
            p.int8.to_string(),
            share(p.share50()),
            share(p.share90()),
            figure(p.mean_iou()),
            figure(p.mean_difference()),
            figure((p.at50 > 0).then_some(p.largest_difference)),
            p.alone.to_string(),
        ]);
    };
    for class in detector.classes.iter().filter(|c| c.paired.float + c.paired.int8 > 0) {
        add(&class.name, &class.paired);
    }
    add("all", &detector.paired);
    let confidence = detector.confidence;
    format!(
        "{}float boxes that score above {confidence} each look for an int8 box of their class\n",
        lines(&rows)
    )
}
