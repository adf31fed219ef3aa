//! Output files: whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::error::{Error, Result};

/// A file that appears under its name only when it is complete: written beside it under a temporary name, which
/// is removed again when anything fails.
pub struct Output {
    path: PathBuf,
    folder: PathBuf,
    /// Not a file (`/dev/null`, a pipe): written as it is, never replaced.
    is_device: bool,
}

impl Output {
    /// Checks early that `path` can be written and is none of `sources`, so that no long work is lost.
    ///
    /// # Errors
    /// [`Error::Input`] when the file is one of the sources or a folder, or has no folder to be in; [`Error::Io`]
    /// when that takes no files.
    pub fn create(path: &Path, sources: &[&Path]) -> Result<Self> {
        let mut is_device = false;
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
            is_device = !existing.is_file();
        }
        let folder = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
            _ => PathBuf::from("."),
        };
        if !folder.is_dir() {
            return Err(Error::Input(format!(
                "{}: there is no folder {}",
                path.display(),
                folder.display()
            )));
        }
        let output = Self { path: path.to_owned(), folder, is_device };
        if !is_device {
            // Gone at once: the file itself is made when there is something to write, so that an interrupted
            // program leaves nothing either.
            drop(output.temporary()?);
        }
        Ok(output)
    }

    fn temporary(&self) -> Result<NamedTempFile> {
        let mut builder = Builder::new();
        builder.prefix(".kenar-");
        // Temporary files are private by default; an output is an ordinary file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        // The system's words without the temporary name.
        builder
            .tempfile_in(&self.folder)
            .map_err(|e| Error::io(&self.path, std::io::Error::from(e.kind())))
    }

    /// Writes the content and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing is left behind.
    pub fn write(self, bytes: &[u8]) -> Result<()> {
        let io = |e| Error::io(&self.path, e);
        if self.is_device {
            return std::fs::write(&self.path, bytes).map_err(io);
        }
        let mut temporary = self.temporary()?;
        temporary.write_all(bytes).map_err(io)?;
        temporary.persist(&self.path).map_err(|e| io(e.error))?;
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
        let output = Output::create(&path, &[]).unwrap();
        assert!(names(dir.path()).is_empty());
        output.write(b"abc").unwrap();
        assert_eq!(names(dir.path()), ["m.kenar"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
    }

    #[test]
    #[cfg(unix)]
    fn devices_are_written_to_and_never_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let null = Path::new("/dev/null");
        Output::create(null, &[]).unwrap().write(b"abc").unwrap();
        assert!(std::fs::metadata(null).unwrap().file_type().is_char_device());
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
