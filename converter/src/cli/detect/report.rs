//! What was found, as a table and in COCO's results format.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::work::Timing;
use crate::cli::table::{lines, table};
use crate::error::{Error, Result};

/// Rows of the table before it is cut.
const ROWS: usize = 50;

/// A box in an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Left, top, right, bottom in pixels of the image; may reach over its edges.
    pub corners: [f64; 4],
    /// Class, counted from 0.
    pub class: u32,
    /// Confidence.
    pub score: f32,
    /// Landmarks.
    pub points: Vec<[f64; 2]>,
}

/// An image and what is in it.
pub struct Image {
    /// The file.
    pub path: PathBuf,
    /// Best first.
    pub objects: Vec<Object>,
}

/// Name of a class; its number where the model has no names.
pub fn class_name(labels: &[String], class: u32) -> String {
    labels.get(class as usize).cloned().unwrap_or_else(|| format!("class {class}"))
}

/// The numbers that a COCO file gives to images and categories.
#[derive(Default)]
pub struct Ids {
    images: HashMap<String, Value>,
    categories: HashMap<String, Value>,
}

impl Ids {
    /// Reads them from a COCO annotation file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::File`] when it is no such file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let refuse = |detail: &str| Error::source("", detail).in_file(path);
        let file: Value = serde_json::from_slice(&bytes)
            .map_err(|e| refuse(&format!("is no JSON document: {e}")))?;
        let ids = |list: &str, name: &str| {
            let entries = file[list].as_array()?;
            let entry = |e: &Value| Some((e[name].as_str()?.to_owned(), e["id"].clone()));
            entries.iter().map(entry).collect::<Option<HashMap<_, _>>>()
        };
        match (ids("images", "file_name"), ids("categories", "name")) {
            (Some(images), Some(categories)) => Ok(Self { images, categories }),
            _ => Err(refuse(
                "is no COCO annotation file: expected `images` with `file_name` and `id`, `categories` with `name` and `id`",
            )),
        }
    }

    /// By file name; else the name without suffix, as a number where it is one, as COCO names its files.
    fn image(&self, path: &Path) -> Value {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(id) = self.images.get(name.as_ref()) {
            return id.clone();
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        stem.parse::<u64>().map_or_else(|_| json!(stem), |number| json!(number))
    }

    /// By class name; else counted from 1.
    fn category(&self, labels: &[String], class: u32) -> Value {
        let name = labels.get(class as usize).and_then(|label| self.categories.get(label));
        name.cloned().unwrap_or_else(|| json!(class + 1))
    }
}

/// COCO's results format, with file and class names beside the numbers.
pub fn coco(images: &[Image], labels: &[String], ids: &Ids) -> Value {
    let round = |x: f64| (x * 1000.0).round() / 1000.0;
    let result = |image: &Image, object: &Object| {
        let [left, top, right, bottom] = object.corners;
        let bbox = [left, top, right - left, bottom - top].map(round);
        let mut result = json!({
            "image_id": ids.image(&image.path),
            "category_id": ids.category(labels, object.class),
            "bbox": bbox,
            "score": crate::cli::table::number(object.score),
            "file_name": image.path.display().to_string(),
            "category_name": class_name(labels, object.class),
        });
        if !object.points.is_empty() {
            let keypoints = object.points.iter().flat_map(|&[x, y]| [round(x), round(y), 2.0]);
            result["keypoints"] = json!(keypoints.collect::<Vec<_>>());
        }
        result
    };
    images.iter().flat_map(|image| image.objects.iter().map(move |o| result(image, o))).collect()
}

/// Milliseconds of an image, rounded to microseconds.
fn milliseconds(seconds: f64, images: usize) -> f64 {
    (1e6 * seconds / images.max(1) as f64).round() / 1e3
}

/// Results with the time of every step beside them.
pub fn timed(results: Value, timing: &Timing, images: usize) -> Value {
    let mut times: serde_json::Map<String, Value> = timing
        .steps()
        .into_iter()
        .map(|(name, seconds)| (name.into(), json!(milliseconds(seconds, images))))
        .collect();
    times.insert("elapsed".into(), json!(milliseconds(timing.elapsed, images)));
    json!({"images": images, "results": results, "milliseconds": times})
}

/// Where the time of an image went, and what is left of it by the clock.
pub fn times(timing: &Timing, images: usize) -> String {
    let step = |(name, seconds): (&str, f64)| {
        (seconds > 0.0).then(|| format!("{name} {:.2}", milliseconds(seconds, images)))
    };
    let steps: Vec<String> = timing.steps().into_iter().filter_map(step).collect();
    let text = format!("  time    {} ms an image", steps.join(", "));
    if images > 1 {
        let elapsed = milliseconds(timing.elapsed, images);
        return format!("{text}; {elapsed:.2} ms by the clock, side by side\n");
    }
    text + "\n"
}

/// A table of all boxes, as far as somebody would read it.
pub fn text(images: &[Image], labels: &[String]) -> String {
    let right = ["score", "left", "top", "width", "height"];
    let mut rows = table(&["image", "class", "score", "left", "top", "width", "height"], &right);
    let total: usize = images.iter().map(|image| image.objects.len()).sum();
    let all = images.iter().flat_map(|image| {
        let name = image.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        image
            .objects
            .iter()
            .enumerate()
            .map(move |(i, o)| (if i == 0 { name.clone() } else { String::new() }, o))
    });
    for (name, object) in all.take(ROWS) {
        let [left, top, right, bottom] = object.corners;
        let mut row = vec![name, class_name(labels, object.class), format!("{:.3}", object.score)];
        row.extend([left, top, right - left, bottom - top].map(|x| format!("{x:.1}")));
        rows.add_row(row);
    }
    let mut text = if total > 0 { lines(&rows) } else { String::new() };
    if total > ROWS {
        text.push_str(&format!("... and {} more; --json prints all\n", total - ROWS));
    }
    let mut counts: Vec<(String, usize)> = Vec::new();
    for object in images.iter().flat_map(|image| &image.objects) {
        let name = class_name(labels, object.class);
        match counts.iter_mut().find(|(n, _)| *n == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let counts: Vec<String> = counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
    let found = if counts.is_empty() { "nothing".into() } else { counts.join(", ") };
    let images = match images.len() {
        1 => "1 image".to_owned(),
        n => format!("{n} images"),
    };
    text.push_str(&format!("{images}: {found}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Vec<Image> {
        let object = Object {
            corners: [10.0, 20.0, 110.5, 60.25],
            class: 1,
            score: 0.875,
            points: Vec::new(),
        };
        let other = Object { class: 7, points: vec![[1.0, 2.5]], ..object.clone() };
        vec![
            Image { path: "in/000000000139.jpg".into(), objects: vec![object, other] },
            Image { path: "in/street.png".into(), objects: Vec::new() },
        ]
    }

    #[test]
    fn results_have_cocos_form() {
        let labels = ["cat", "dog"].map(String::from);
        let document = coco(&images(), &labels, &Ids::default());
        assert_eq!(document[0]["image_id"], 139);
        assert_eq!(document[0]["category_id"], 2);
        assert_eq!(document[0]["bbox"], json!([10.0, 20.0, 100.5, 40.25]));
        assert_eq!(document[0]["score"], 0.875);
        assert_eq!(document[1]["category_name"], "class 7");
        assert_eq!(document[1]["keypoints"], json!([1.0, 2.5, 2.0]));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("val.json");
        let file = json!({
            "images": [{"id": 5, "file_name": "000000000139.jpg"}],
            "categories": [{"id": 18, "name": "dog"}],
        });
        std::fs::write(&path, file.to_string()).unwrap();
        let document = coco(&images(), &labels, &Ids::open(&path).unwrap());
        assert_eq!(
            (&document[0]["image_id"], &document[0]["category_id"]),
            (&json!(5), &json!(18))
        );
        std::fs::write(&path, "[]").unwrap();
        assert!(Ids::open(&path).err().unwrap().to_string().contains("val.json"));
    }

    #[test]
    fn times_are_of_one_image() {
        let timing = Timing { read: 0.004, network: 0.02, elapsed: 0.03, ..Timing::default() };
        let text =
            "  time    read 2.00, network 10.00 ms an image; 15.00 ms by the clock, side by side\n";
        assert_eq!(times(&timing, 2), text);
        assert!(times(&timing, 1).ends_with("network 20.00 ms an image\n"));
        let document = timed(json!([]), &timing, 2);
        assert_eq!(document["milliseconds"]["network"], 10.0);
        assert_eq!(
            (&document["milliseconds"]["draw"], &document["images"]),
            (&json!(0.0), &json!(2))
        );
    }

    #[test]
    fn the_table_names_images_and_counts_classes() {
        let text = text(&images(), &["cat", "dog"].map(String::from));
        assert!(text.contains("000000000139.jpg") && text.contains("0.875"), "{text}");
        assert!(text.ends_with("2 images: 1 dog, 1 class 7\n"), "{text}");
        let empty = [Image { path: "a.png".into(), objects: Vec::new() }];
        assert_eq!(super::text(&empty, &[]), "1 image: nothing\n");
    }
}
