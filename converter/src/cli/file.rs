//! Output files: whole or not at all.

use std::io::Write;
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use crate::error::{Error, Result};

/// A file that appears under its name only when it is complete: written beside it under a temporary name, which
/// is removed again when anything fails.
pub struct Output {
    temporary: NamedTempFile,
    path: std::path::PathBuf,
}

impl Output {
    /// Checks early that `path` can be written and is none of `sources`, so that no long work is lost.
    ///
    /// # Errors
    /// [`Error::Input`] when the file is one of the sources or a folder, [`Error::Io`] when its folder does not
    /// exist or takes no files.
    pub fn create(path: &Path, sources: &[&Path]) -> Result<Self> {
        if let Ok(existing) = path.canonicalize() {
            if let Some(source) =
                sources.iter().find(|s| s.canonicalize().is_ok_and(|s| s == existing))
            {
                return Err(Error::Input(format!(
                    "{}: would overwrite its own source {}; give another name with -o",
                    path.display(),
                    source.display()
                )));
            }
            if existing.is_dir() {
                return Err(Error::Input(format!(
                    "{}: is a folder, expected a file name",
                    path.display()
                )));
            }
        }
        let folder = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        if !folder.is_dir() {
            return Err(Error::Input(format!(
                "{}: there is no folder {}",
                path.display(),
                folder.display()
            )));
        }
        let mut builder = Builder::new();
        builder.prefix(".kenar-");
        // Temporary files are private by default; an output is an ordinary file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let temporary = builder.tempfile_in(folder).map_err(|e| {
            // The system's words without the temporary name.
            Error::io(path, std::io::Error::from(e.kind()))
        })?;
        Ok(Self { temporary, path: path.to_owned() })
    }

    /// Writes the content and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing is left behind.
    pub fn write(mut self, bytes: &[u8]) -> Result<()> {
        self.temporary.write_all(bytes).map_err(|e| Error::io(&self.path, e))?;
        self.temporary.persist(&self.path).map_err(|e| Error::io(&self.path, e.error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_left_unless_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.kenar");
        drop(Output::create(&path, &[]).unwrap());
        assert!(names(dir.path()).is_empty());
        Output::create(&path, &[]).unwrap().write(b"abc").unwrap();
        assert_eq!(names(dir.path()), ["m.kenar"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
    }

    #[test]
    fn sources_folders_and_missing_folders_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.onnx");
        std::fs::write(&path, "x").unwrap();
        let same = dir.path().join("./a.onnx");
        let error = Output::create(&same, &[&path]).err().unwrap().to_string();
        assert!(error.contains("overwrite its own source"), "{error}");
        assert!(Output::create(dir.path(), &[]).is_err());
        assert!(Output::create(&dir.path().join("no/where.kenar"), &[]).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
    }
}
