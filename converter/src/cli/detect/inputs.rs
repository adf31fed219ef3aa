//! Which images are meant, and where their annotated copies go.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::data::is_image_name;
use crate::error::{Error, Result};

/// The images that arguments name: files as they are, folders and patterns in the order of names.
///
/// # Errors
/// [`Error::Input`] with the argument that names no image.
pub fn images(arguments: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    for argument in arguments {
        let found = if argument.is_dir() {
            folder(argument)?
        } else if argument.exists() {
            vec![argument.clone()]
        } else {
            pattern(argument)?
        };
        images.extend(found);
    }
    let mut seen = HashSet::new();
    images.retain(|image| seen.insert(image.clone()));
    Ok(images)
}

fn folder(path: &Path) -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| Error::io(path, e))? {
        let file = entry.map_err(|e| Error::io(path, e))?.path();
        if is_image_name(&file) && file.is_file() {
            images.push(file);
        }
    }
    images.sort();
    if images.is_empty() {
        return Err(Error::Input(format!(
            "{}: no .jpg, .jpeg, .png or .webp file is in this folder",
            path.display()
        )));
    }
    Ok(images)
}

fn pattern(argument: &Path) -> Result<Vec<PathBuf>> {
    let text = argument.to_string_lossy();
    if !text.contains(['*', '?', '[']) {
        let missing = std::io::ErrorKind::NotFound;
        return Err(Error::io(argument, missing.into()));
    }
    let paths =
        glob::glob(&text).map_err(|e| Error::Input(format!("{text}: is no pattern: {}", e.msg)))?;
    let mut images: Vec<PathBuf> =
        paths.filter_map(Result::ok).filter(|p| is_image_name(p) && p.is_file()).collect();
    images.sort();
    if images.is_empty() {
        return Err(Error::Input(format!(
            "{text}: no .jpg, .jpeg, .png or .webp file has such a name"
        )));
    }
    Ok(images)
}

/// Where annotated images go, one path per image: `output` itself for one image, else files in the folder `output`,
/// which is made.
///
/// # Errors
/// [`Error::Input`] for a file name with several images, or a suffix that is no image's; [`Error::Io`] when the folder
/// cannot be made.
pub fn targets(output: &Path, arguments: &[PathBuf], images: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let single = matches!((arguments, images), ([argument], [_]) if !argument.is_dir());
    if !output.is_dir() && output.extension().is_some() {
        return match (single, is_image_name(output)) {
            (true, true) => {
                check(&[output.to_owned()], images)?;
                Ok(vec![output.to_owned()])
            }
            (true, false) => Err(Error::Input(format!(
                "{}: expected .png, .jpg or .webp, or a folder's name",
                output.display()
            ))),
            (false, _) => Err(Error::Input(format!(
                "{}: {} images need a folder, give one with -o FOLDER",
                output.display(),
                images.len()
            ))),
        };
    }
    std::fs::create_dir_all(output).map_err(|e| Error::io(output, e))?;
    let mut taken = HashSet::new();
    let targets = images.iter().map(|image| {
        let stem = image.file_stem().unwrap_or_default().to_string_lossy();
        // What has no known suffix, whatever it is, is written as PNG.
        let suffix = match image.extension() {
            Some(suffix) if is_image_name(image) => suffix.to_string_lossy(),
            _ => "png".into(),
        };
        let numbered = |n: usize| match n {
            1 => format!("{stem}.{suffix}"),
            n => format!("{stem}-{n}.{suffix}"),
        };
        let name = (1..).map(numbered).find(|name| taken.insert(name.to_lowercase()));
        output.join(name.unwrap_or_default())
    });
    let targets: Vec<PathBuf> = targets.collect();
    check(&targets, images)?;
    Ok(targets)
}

/// Refuses targets that are among the images.
fn check(targets: &[PathBuf], images: &[PathBuf]) -> Result<()> {
    let images: HashSet<PathBuf> =
        images.iter().filter_map(|image| image.canonicalize().ok()).collect();
    match targets.iter().find(|t| t.canonicalize().is_ok_and(|t| images.contains(&t))) {
        None => Ok(()),
        Some(target) => Err(Error::Input(format!(
            "{}: would overwrite an image that is looked at; give another name with -o",
            target.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_folders_and_patterns_name_images() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["b.jpg", "a.PNG", "c[1].webp", "notes.txt"] {
            std::fs::write(at(name), "x").unwrap();
        }
        std::fs::create_dir(at("empty")).unwrap();
        let names = |arguments: &[PathBuf]| -> Vec<String> {
            let images = images(arguments).unwrap();
            images.iter().map(|p| p.file_name().unwrap().to_string_lossy().into()).collect()
        };
        assert_eq!(names(&[dir.path().into()]), ["a.PNG", "b.jpg", "c[1].webp"]);
        assert_eq!(names(&[at("*.jpg"), at("c[1].webp")]), ["b.jpg", "c[1].webp"]);
        assert_eq!(names(&[at("notes.txt"), at("b.jpg"), at("?.jpg")]), ["notes.txt", "b.jpg"]);
        for (argument, expected) in [
            ("empty", "no .jpg"),
            ("x*.png", "has such a name"),
            ("absent.png", "absent.png"),
            ("[", "no pattern"),
        ] {
            let message = images(&[at(argument)]).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn one_image_goes_into_a_file_and_several_into_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let one = [PathBuf::from("in/x.jpg")];
        assert_eq!(targets(&at("out.png"), &one, &one).unwrap(), [at("out.png")]);
        assert!(targets(&at("out.gif"), &one, &one).is_err());
        let two = ["in/x.jpg", "other/x.jpg", "other/y"].map(PathBuf::from);
        let message = targets(&at("out.png"), &two, &two).unwrap_err().to_string();
        assert!(message.contains("folder"), "{message}");
        let folder = at("out");
        let names = ["x.jpg", "x-2.jpg", "y.png"].map(|name| folder.join(name));
        assert_eq!(targets(&folder, &two, &two).unwrap(), names);
        assert!(folder.is_dir());
        std::fs::write(folder.join("x.jpg"), "x").unwrap();
        let own = [folder.join("x.jpg")];
        for output in [folder.clone(), folder.join("x.jpg")] {
            let message = targets(&output, &own, &own).unwrap_err().to_string();
            assert!(message.contains("overwrite"), "{message}");
        }
    }
}
