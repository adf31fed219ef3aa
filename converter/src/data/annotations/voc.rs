//! Pascal VOC: one XML file per image, boxes as corners.

use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};

use super::Annotations;
use crate::average_precision::{Kind, Rect, Truth};
use crate::data::decode::is_image_name;
use crate::data::list::find;
use crate::error::{Error, Result};

/// The annotation file of an image: beside it, or in `Annotations` beside its folder.
pub(in crate::data) fn beside(image: &Path) -> Option<PathBuf> {
    let xml = image.with_extension("xml");
    let name = xml.file_name()?;
    let folder = image.parent()?;
    let folders = ["Annotations", "annotations"].map(|n| folder.join("..").join(n).join(name));
    std::iter::once(xml.clone()).chain(folders).find(|path| path.is_file())
}

/// Images and their annotation files, in the order of their names.
pub(in crate::data) type Images = Vec<(PathBuf, PathBuf)>;

/// The images of a VOC folder (its root or its `Annotations`), looked up in `images`, else where they usually are; `None`
/// for another kind of folder.
pub(in crate::data) fn images_of(path: &Path, images: Option<&Path>) -> Result<Option<Images>> {
    let inner = path.join("Annotations");
    let folder = if inner.is_dir() { &inner } else { path };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let file = entry.map_err(|e| Error::io(folder, e))?.path();
        if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("xml")) {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Ok(None);
    }
    files.sort();
    let folders: Vec<PathBuf> = match images {
        Some(images) => vec![images.to_owned()],
        None => [folder, path, &folder.join("..")]
            .iter()
            .flat_map(|root| [root.join("JPEGImages"), root.join("images"), root.to_path_buf()])
            .collect(),
    };
    let find_in = |name: &str| folders.iter().find_map(|folder| find(folder, name));
    let pair = |file: PathBuf| {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(image) = find_in(&stem).filter(|image| is_image_name(image)) {
            return Ok((image, file));
        }
        let name = parse(&file, |root| Ok(text(root, "filename").unwrap_or_default().to_owned()))?;
        let named = Path::new(&name).file_name().and_then(|n| find_in(&n.to_string_lossy()));
        named.map(|image| (image, file.clone())).ok_or_else(|| {
            let hint = if images.is_none() { "; --images names their folder" } else { "" };
            Error::source("", format!("no image '{stem}' for it{hint}")).in_file(&file)
        })
    };
    files.into_iter().map(pair).collect::<Result<_>>().map(Some)
}

/// Reads annotation files, one per image.
pub(in crate::data) fn read(files: &[PathBuf]) -> Result<Annotations> {
    let objects: Vec<Vec<Object>> =
        files.iter().map(|file| read_one(file)).collect::<Result<_>>()?;
    let mut classes: Vec<String> = objects.iter().flatten().map(|o| o.name.clone()).collect();
    classes.sort();
    classes.dedup();
    let mut empty = 0;
    let mut images = Vec::new();
    for objects in objects {
        let mut truths = Vec::new();
        for Object { name, rect, difficult } in objects {
            if rect.w <= 0.0 || rect.h <= 0.0 {
                empty += 1;
                continue;
            }
            let class = classes.binary_search(&name).expect("every name is among the classes");
            let kind = if difficult { Kind::Difficult } else { Kind::Object };
            truths.push(Truth { class, rect, area: rect.area(), kind });
        }
        images.push(truths);
    }
    let notes = (empty > 0).then(|| format!("{empty} boxes without an area were left out"));
    Ok(Annotations { classes, images, notes: notes.into_iter().collect(), ordered: false })
}

/// Height and width that a file states of its image.
pub(in crate::data) fn size(path: &Path) -> Option<[usize; 2]> {
    parse(path, |root| {
        let size = root.children().find(|n| n.has_tag_name("size"));
        let side = |name| text(size?, name)?.parse().ok();
        Ok(Some([side("height"), side("width")]))
    })
    .ok()
    .flatten()
    .and_then(|[height, width]| Some([height?, width?]))
}

struct Object {
    name: String,
    rect: Rect,
    difficult: bool,
}

fn read_one(path: &Path) -> Result<Vec<Object>> {
    parse(path, |root| {
        let objects = root.children().filter(|n| n.has_tag_name("object")).enumerate();
        objects.map(|(at, node)| object(node, &format!("object {}", at + 1))).collect()
    })
}

/// Parses a file and hands over its root.
fn parse<T>(path: &Path, read: impl FnOnce(Node) -> Result<T>) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let text = String::from_utf8_lossy(&bytes);
    let refuse = |detail: String| Error::source("", detail).in_file(path);
    let document =
        Document::parse(&text).map_err(|e| refuse(format!("is no XML document: {e}")))?;
    let root = document.root_element();
    if !root.has_tag_name("annotation") {
        let found = root.tag_name().name();
        return Err(refuse(format!(
            "is no VOC annotation: its root is <{found}>, not <annotation>"
        )));
    }
    read(root).map_err(|e| e.in_file(path))
}

fn object(node: Node, at: &str) -> Result<Object> {
    let missing = |what: &str| Error::source(at, format!("has no <{what}>"));
    let name = text(node, "name").ok_or_else(|| missing("name"))?.to_owned();
    let bounds =
        node.children().find(|n| n.has_tag_name("bndbox")).ok_or_else(|| missing("bndbox"))?;
    let mut corners = [0.0; 4];
    for (corner, tag) in corners.iter_mut().zip(["xmin", "ymin", "xmax", "ymax"]) {
        let value = text(bounds, tag).ok_or_else(|| missing(tag))?;
        *corner =
            value.parse().ok().filter(|v: &f64| v.is_finite()).ok_or_else(|| {
                Error::source(at, format!("<{tag}> is '{value}', expected a number"))
            })?;
    }
    let difficult = text(node, "difficult").is_some_and(|t| t != "0");
    Ok(Object { name, rect: Rect::from_corners(corners), difficult })
}

/// The text of a direct child.
fn text<'a>(node: Node<'a, '_>, tag: &str) -> Option<&'a str> {
    node.children().find(|n| n.has_tag_name(tag))?.text().map(str::trim).filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, name: &str, text: &str) -> PathBuf {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn object(name: &str, corners: [f64; 4], difficult: u8) -> String {
        let [a, b, c, d] = corners;
        format!(
            "<object><name>{name}</name><part><name>hand</name><bndbox/></part><difficult>{difficult}</difficult><bndbox>
             <ymin>{b}</ymin><xmin> {a} </xmin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        )
    }

    #[test]
    fn objects_have_corners_names_and_flags() {
        let dir = tempfile::tempdir().unwrap();
        let objects = [
            object("dog", [10.0, 20.0, 40.5, 60.0], 0),
            object("cat", [1.0, 2.0, 3.0, 4.0], 1),
            object("cat", [5.0, 5.0, 5.0, 9.0], 0),
        ];
        let text = format!("<?xml version=\"1.0\"?><annotation>{}</annotation>", objects.concat());
        let path = touch(dir.path(), "Annotations/a.xml", &text);
        let read = read(&[path]).unwrap();
        assert_eq!(read.classes, ["cat", "dog"]);
        let [dog, cat] = read.images[0].as_slice() else { panic!("{read:?}") };
        assert_eq!(dog.rect, Rect { x: 10.0, y: 20.0, w: 30.5, h: 40.0 });
        assert_eq!((dog.class, dog.kind, cat.kind), (1, Kind::Object, Kind::Difficult));
        assert!(read.notes[0].contains("1 boxes"));
    }

    #[test]
    fn images_are_found_from_the_root_from_the_annotations_and_side_by_side() {
        let dir = tempfile::tempdir().unwrap();
        let empty = "<annotation><filename>photo.png</filename></annotation>";
        touch(dir.path(), "voc/Annotations/a.xml", empty);
        touch(dir.path(), "voc/Annotations/b.xml", empty);
        touch(dir.path(), "voc/JPEGImages/a.jpg", "");
        let photo = touch(dir.path(), "voc/JPEGImages/photo.png", "");
        for folder in ["voc", "voc/Annotations"] {
            let images = images_of(&dir.path().join(folder), None).unwrap().unwrap();
            assert!(images[0].0.ends_with("a.jpg"), "{images:?}");
            assert!(images[1].0.ends_with("photo.png"));
        }
        assert!(beside(&photo).is_none());
        assert!(beside(&dir.path().join("voc/JPEGImages/a.jpg")).is_some());
        touch(dir.path(), "flat/x.xml", empty);
        let message = images_of(&dir.path().join("flat"), None).unwrap_err().to_string();
        assert!(message.contains("x.xml") && message.contains("--images"), "{message}");
        touch(dir.path(), "flat/x.jpg", "");
        assert_eq!(images_of(&dir.path().join("flat"), None).unwrap().unwrap().len(), 1);
        assert!(images_of(&dir.path().join("voc/JPEGImages"), None).unwrap().is_none());
    }

    #[test]
    fn damaged_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let good = object("dog", [1.0, 2.0, 3.0, 4.0], 0);
        for (text, expected) in [
            ("<annotation>".to_owned(), "no XML"),
            ("<note/>".to_owned(), "<note>"),
            (format!("<annotation>{}</annotation>", good.replace("bndbox", "box")), "bndbox"),
            (format!("<annotation>{}</annotation>", good.replace("xmin", "left")), "xmin"),
            (format!("<annotation>{}</annotation>", good.replace("<xmax>3", "<xmax>x")), "xmax"),
            (format!("<annotation>{}</annotation>", good.replace("<name>dog</name>", "")), "name"),
        ] {
            let path = touch(dir.path(), "bad.xml", &text);
            let message = read(&[path]).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("bad.xml"), "{message}");
        }
    }
}
