//! COCO JSON: images, categories, boxes as corner and size.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Annotations;
use crate::average_precision::{Kind, Rect, Truth};
use crate::error::{Error, Result};

#[derive(Deserialize)]
struct Document {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: i64,
    file_name: String,
    height: Option<f64>,
    width: Option<f64>,
}

impl Image {
    /// Height and width, where both are stated.
    fn size(&self) -> Option<[usize; 2]> {
        Some([self.height? as usize, self.width? as usize])
    }
}

#[derive(Deserialize)]
struct Category {
    id: i64,
    name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: i64,
    category_id: i64,
    bbox: [f64; 4],
    area: Option<f64>,
    #[serde(default)]
    iscrowd: Flag,
}

/// 0 and 1, or false and true.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Number(i64),
    Truth(bool),
}

impl Default for Flag {
    fn default() -> Self {
        Self::Truth(false)
    }
}

impl Flag {
    fn is_set(&self) -> bool {
        match self {
            Self::Number(n) => *n != 0,
            Self::Truth(t) => *t,
        }
    }
}

/// A COCO file: where its images are, and what is on them.
pub(in crate::data) struct Coco {
    /// In the order of the image ids.
    pub images: Vec<PathBuf>,
    /// Height and width of each, where the file states them.
    pub sizes: Vec<Option<[usize; 2]>>,
    /// In the same order.
    pub annotations: Annotations,
}

impl Coco {
    /// Reads a file and finds its images in `images`, else where they usually are.
    ///
    /// Annotations of images or categories that the file does not list are left out, as pycocotools does.
    pub fn open(path: &Path, images: Option<&Path>) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let document: Document = serde_json::from_reader(BufReader::new(file)).map_err(|e| {
            let detail = format!(
                "is no COCO data set: {e}; expected an object with 'images' (id, file_name), 'annotations' (image_id, category_id, bbox) and 'categories' (id, name)"
            );
            Error::source("", detail).in_file(path)
        })?;
        let annotations = annotations(&document).map_err(|e| e.in_file(path))?;
        let mut listed: Vec<&Image> = document.images.iter().collect();
        listed.sort_by_key(|image| image.id);
        let first = listed
            .first()
            .ok_or_else(|| Error::source("images", "lists no images").in_file(path))?;
        let base = folder(path, images, &first.file_name)?;
        let sizes = listed.iter().map(|image| image.size()).collect();
        let images = listed.into_iter().map(|image| {
            find(&base, &image.file_name).ok_or_else(|| {
                let detail = format!("no image '{}' in {}", image.file_name, base.display());
                Error::source(format!("image {}", image.id), detail).in_file(path)
            })
        });
        Ok(Self { images: images.collect::<Result<_>>()?, sizes, annotations })
    }
}

/// The categories of a COCO file, in the order of their ids.
pub(in crate::data) fn category_names(path: &Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Categories {
        categories: Vec<Category>,
    }
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut read: Categories = serde_json::from_reader(BufReader::new(file)).map_err(|e| {
        let detail = format!("is no COCO data set: {e}; expected 'categories' (id, name)");
        Error::source("", detail).in_file(path)
    })?;
    if read.categories.is_empty() {
        return Err(Error::source("categories", "names no classes").in_file(path));
    }
    read.categories.sort_by_key(|category| category.id);
    Ok(read.categories.into_iter().map(|category| category.name).collect())
}

/// The folder that holds the first image.
fn folder(path: &Path, images: Option<&Path>, first: &str) -> Result<PathBuf> {
    if let Some(images) = images {
        return Ok(images.to_owned());
    }
    let beside = path.parent().unwrap_or_else(|| Path::new(""));
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    // annotations/instances_val2017.json belongs to val2017/ or images/val2017/.
    let split = stem.rsplit_once('_').map_or(&*stem, |(_, split)| split);
    let mut folders = Vec::new();
    for root in [beside.to_owned(), beside.join("..")] {
        folders.extend(["", "images"].map(|name| root.join(name)));
        folders.extend([root.join(split), root.join("images").join(split)]);
    }
    folders.into_iter().find(|folder| find(folder, first).is_some()).ok_or_else(|| {
        let detail = format!("no image '{first}' beside the file; --images names their folder");
        Error::source("images", detail).in_file(path)
    })
}

/// A file by its path as listed, or by its name alone.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let last = Path::new(name).file_name()?;
    [folder.join(name), folder.join(last)].into_iter().find(|path| path.is_file())
}

fn annotations(document: &Document) -> Result<Annotations> {
    let places = |ids: &mut dyn Iterator<Item = i64>, what: &str| {
        let mut places = BTreeMap::new();
        for id in ids {
            if places.insert(id, 0).is_some() {
                return Err(Error::source(format!("{what} {id}"), "is listed twice"));
            }
        }
        places.values_mut().enumerate().for_each(|(at, place)| *place = at);
        Ok(places)
    };
    let images = places(&mut document.images.iter().map(|i| i.id), "image")?;
    let categories = places(&mut document.categories.iter().map(|c| c.id), "category")?;
    let mut classes = vec![String::new(); categories.len()];
    for category in &document.categories {
        classes[categories[&category.id]].clone_from(&category.name);
    }
    let mut truths = vec![Vec::new(); images.len()];
    let mut foreign = 0;
    for (at, a) in document.annotations.iter().enumerate() {
        let [x, y, w, h] = a.bbox;
        let rect = Rect { x, y, w, h };
        let area = a.area.unwrap_or_else(|| rect.area());
        if !a.bbox.iter().chain([&area]).all(|v| v.is_finite()) || w < 0.0 || h < 0.0 {
            return Err(Error::source(
                format!("annotations[{at}]"),
                format!("box {:?}: expected x, y, width, height, not negative sizes", a.bbox),
            ));
        }
        match (images.get(&a.image_id), categories.get(&a.category_id)) {
            (Some(&image), Some(&class)) => {
                let kind = if a.iscrowd.is_set() { Kind::Crowd } else { Kind::Object };
                truths[image].push(Truth { class, rect, area, kind });
            }
            _ => foreign += 1,
        }
    }
    let notes = (foreign > 0)
        .then(|| format!("{foreign} annotations of images or categories that are not listed"));
    Ok(Annotations { classes, images: truths, notes: notes.into_iter().collect(), ordered: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    const FILE: &str = r#"{"info": {"year": 2017}, "images": [{"id": 9, "file_name": "b.jpg", "width": 4},
        {"id": 2, "file_name": "a.jpg"}], "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [{"image_id": 9, "category_id": 7, "bbox": [1, 2, 3.5, 4], "iscrowd": 1, "area": 9},
        {"image_id": 2, "category_id": 3, "bbox": [0, 0, 2, 3]}, {"image_id": 5, "category_id": 3, "bbox": [0, 0, 2, 3]}]}"#;

    #[test]
    fn ids_give_the_order_and_images_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), "annotations/instances_val.json", FILE);
        for name in ["val/a.jpg", "val/b.jpg"] {
            write(dir.path(), name, "");
        }
        let coco = Coco::open(&path, None).unwrap();
        assert!(coco.images[0].ends_with("a.jpg") && coco.images[1].ends_with("b.jpg"));
        let Annotations { classes, images, notes, .. } = coco.annotations;
        assert_eq!(classes, ["cat", "dog"]);
        assert_eq!((images[0][0].class, images[0][0].area), (0, 6.0));
        let crowd = &images[1][0];
        assert_eq!((crowd.class, crowd.area, crowd.kind), (1, 9.0, Kind::Crowd));
        assert!(notes[0].starts_with("1 annotations"));
        assert!(Coco::open(&path, Some(&dir.path().join("val"))).is_ok());
    }

    #[test]
    fn errors_name_the_file_and_the_place() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a.jpg", "");
        let twice = FILE.replace("\"id\": 9", "\"id\": 2");
        let negative = FILE.replace("3.5", "-3.5");
        for (text, expected) in [
            (FILE, "b.jpg"),
            ("{}", "images"),
            ("[1", "COCO"),
            (&twice, "image 2"),
            (&negative, "annotations[0]"),
            (r#"{"images": [], "categories": [], "annotations": []}"#, "no images"),
        ] {
            let path = write(dir.path(), "set.json", text);
            let message = Coco::open(&path, None).err().expect(text).to_string();
            assert!(message.contains(expected) && message.contains("set.json"), "{message}");
        }
    }
}
