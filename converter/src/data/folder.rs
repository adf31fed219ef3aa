//! Image files: folders by class, flat folders, single files.

use std::path::{Path, PathBuf};

use super::decode::{is_image_name, read_annotated, read_image};
use super::{Content, Record, Records, annotations};
use crate::error::{Error, Result};

/// A fixed list of image files with optional labels.
pub(super) struct Files {
    pub(super) entries: Vec<(PathBuf, Option<usize>)>,
    pub(super) sizes: Sizes,
}

/// What annotations say about the size of their images, which tells whether they are for the stored or the upright image.
pub(super) enum Sizes {
    /// One image that nobody annotated: it is read upright.
    Picture,
    /// Nothing.
    Unknown,
    /// Height and width of each, where its COCO file states them.
    Coco(Vec<Option<[usize; 2]>>),
    /// In one VOC file per image, as far as it exists.
    Voc(Vec<Option<PathBuf>>),
}

impl Files {
    /// Images whose class nobody knows.
    pub(super) fn unlabelled(images: Vec<PathBuf>) -> Self {
        let entries = images.into_iter().map(|path| (path, None)).collect();
        Self { entries, sizes: Sizes::Unknown }
    }
}

impl Records for Files {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn read(&self, index: usize) -> Result<Record> {
        let (path, label) = &self.entries[index];
        let pixels = match &self.sizes {
            Sizes::Picture => read_image(path),
            Sizes::Unknown => read_annotated(path, || None),
            Sizes::Coco(sizes) => read_annotated(path, || sizes[index]),
            Sizes::Voc(files) => {
                read_annotated(path, || annotations::voc_size(files[index].as_deref()?))
            }
        };
        let content = Content::Pixels(pixels?);
        Ok(Record { name: path.display().to_string(), label: *label, content })
    }
}

/// What a folder turned out to be.
pub(super) enum Folder {
    /// Images directly inside.
    Flat(Files),
    /// One sub-folder per class, with the class names in label order; files take turns over the classes.
    Classes(Files, Vec<String>),
}

/// Sorted entries of a folder: sub-folders and image files, hidden ones left out.
fn list(path: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut folders, mut images) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(path).map_err(|e| Error::io(path, e))? {
        let path = entry.map_err(|e| Error::io(path, e))?.path();
        if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else if is_image_name(&path) {
            images.push(path);
        }
    }
    folders.sort();
    images.sort();
    Ok((folders, images))
}

/// Looks into a folder.
///
/// # Errors
/// When it holds no image, or images both directly and in sub-folders (which of them is meant is not guessed).
pub(super) fn open(path: &Path) -> Result<Folder> {
    let (folders, images) = list(path)?;
    let mut classes = Vec::new();
    let mut empty = Vec::new();
    for folder in &folders {
        let (_, files) = list(folder)?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if files.is_empty() { empty.push(name) } else { classes.push((name, files)) }
    }
    match (images.is_empty(), classes.is_empty()) {
        (true, true) => Err(Error::source(
            "",
            "holds no images: expected JPEG, PNG or WebP files, or one sub-folder of them per class",
        )
        .in_file(path)),
        (false, false) => Err(Error::source(
            "",
            format!(
                "holds {} images and {} sub-folders with images: expected either",
                images.len(),
                classes.len()
            ),
        )
        .in_file(path)),
        (false, true) => {
            Ok(Folder::Flat(Files::unlabelled(images)))
        }
        (true, false) => {
            // An empty class folder would silently shift every label behind it.
            if let Some(name) = empty.first() {
                let detail = "is a class folder without images: remove it or fill it";
                return Err(Error::source(name.clone(), detail).in_file(path));
            }
            let longest = classes.iter().map(|(_, files)| files.len()).max().unwrap_or(0);
            let mut entries = Vec::new();
            for i in 0..longest {
                for (label, (_, files)) in classes.iter().enumerate() {
                    entries.extend(files.get(i).map(|p| (p.clone(), Some(label))));
                }
            }
            let files = Files { entries, sizes: Sizes::Unknown };
            Ok(Folder::Classes(files, classes.into_iter().map(|(n, _)| n).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, names: &[&str]) {
        for name in names {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
    }

    #[test]
    fn classes_take_turns_in_sorted_order() {
        let dir = tempfile::tempdir().unwrap();
        touch(
            dir.path(),
            &["dog/2.png", "dog/1.JPG", "cat/b.jpeg", "dog/3.webp", "dog/notes.txt", ".git/x.png"],
        );
        let Folder::Classes(files, names) = open(dir.path()).unwrap() else {
            panic!("classes expected")
        };
        assert_eq!(names, ["cat", "dog"]);
        let order: Vec<_> = files
            .entries
            .iter()
            .map(|(p, l)| (p.file_name().unwrap().to_str().unwrap(), l.unwrap()))
            .collect();
        assert_eq!(order, [("b.jpeg", 0), ("1.JPG", 1), ("2.png", 1), ("3.webp", 1)]);
    }

    #[test]
    fn flat_empty_and_ambiguous_folders() {
        let dir = tempfile::tempdir().unwrap();
        let error = |dir: &Path| open(dir).err().expect("must be refused").to_string();
        assert!(error(dir.path()).contains("holds no images"));
        touch(dir.path(), &["b.png", "a.png"]);
        let Folder::Flat(files) = open(dir.path()).unwrap() else { panic!("flat expected") };
        assert!(files.entries[0].0.ends_with("a.png") && files.entries[0].1.is_none());
        touch(dir.path(), &["sub/c.png"]);
        assert!(error(dir.path()).contains("1 sub-folders"));
    }

    #[test]
    fn an_empty_class_is_named() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), &["a/1.png", "b/readme.md"]);
        assert!(open(dir.path()).err().unwrap().to_string().contains("'b'"));
    }
}
