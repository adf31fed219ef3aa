//! Text lists: one image name a line, optionally followed by its class index.

use std::path::{Path, PathBuf};

use super::folder::{Files, Sizes};
use crate::error::{Error, Result};

/// Reads a list and finds every file; the suffix may be missing.
pub(super) fn open(path: &Path, images: Option<&Path>) -> Result<Files> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let base = images.or_else(|| path.parent()).unwrap_or_else(|| Path::new("."));
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = || format!("line {}", number + 1);
        let (file, label) = match find(base, line) {
            Some(file) => (file, None),
            // Not a file as it stands: the last word may be a label.
            None => {
                let split = line.rsplit_once(char::is_whitespace).and_then(|(name, label)| {
                    Some((find(base, name.trim_end())?, label.parse::<usize>()))
                });
                match split {
                    Some((file, Ok(label))) => (file, Some(label)),
                    Some((_, Err(_))) => {
                        let detail = format!("'{line}': expected a class index behind the name");
                        return Err(Error::source(at(), detail).in_file(path));
                    }
                    None => {
                        let detail = format!(
                            "no image '{line}' (with or without .jpg, .jpeg, .png, .webp) in {}{}",
                            base.display(),
                            if images.is_none() { "; --images names another folder" } else { "" }
                        );
                        return Err(Error::source(at(), detail).in_file(path));
                    }
                }
            }
        };
        entries.push((file, label));
    }
    if entries.is_empty() {
        return Err(Error::source("", "names no images: expected one a line").in_file(path));
    }
    let labelled = entries.iter().filter(|(_, l)| l.is_some()).count();
    if labelled != 0 && labelled != entries.len() {
        let detail =
            format!("{labelled} of {} lines have a label: expected all or none", entries.len());
        return Err(Error::source("", detail).in_file(path));
    }
    Ok(Files { entries, sizes: Sizes::Unknown })
}

pub(super) fn find(base: &Path, name: &str) -> Option<PathBuf> {
    let exact = base.join(name);
    if exact.is_file() {
        return Some(exact);
    }
    ["jpg", "jpeg", "png", "webp", "JPG", "JPEG", "PNG"]
        .iter()
        .map(|suffix| base.join(format!("{name}.{suffix}")))
        .find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_resolve_with_and_without_suffix_and_label() {
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("img");
        std::fs::create_dir(&images).unwrap();
        for name in ["a.jpg", "b 1.png", "c.jpeg"] {
            std::fs::write(images.join(name), "").unwrap();
        }
        let list = dir.path().join("val.txt");
        std::fs::write(&list, "# comment\na\n\nb 1.png\nc.jpeg\n").unwrap();
        let files = open(&list, Some(&images)).unwrap();
        assert_eq!(files.entries.len(), 3);
        assert!(files.entries[1].0.ends_with("b 1.png") && files.entries[1].1.is_none());

        std::fs::write(&list, "a 3\nb 1.png 0\n").unwrap();
        let files = open(&list, Some(&images)).unwrap();
        assert_eq!(files.entries.iter().map(|e| e.1).collect::<Vec<_>>(), [Some(3), Some(0)]);
    }

    #[test]
    fn errors_name_the_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.jpg"), "").unwrap();
        let list = dir.path().join("val.txt");
        for (text, expected) in [
            ("a\nmissing\n", "line 2"),
            ("a seven\n", "class index"),
            ("\n", "names no images"),
            ("a 1\na\n", "1 of 2 lines"),
        ] {
            std::fs::write(&list, text).unwrap();
            let message = open(&list, None).err().unwrap().to_string();
            assert!(message.contains(expected) && message.contains("val.txt"), "{message}");
        }
    }
}
