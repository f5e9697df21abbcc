//! Files that are read, changed in memory, and then written whole or not at all.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use toml_edit::DocumentMut;

use crate::output::Failure;

/// A TOML file and what it is to become.
#[derive(Debug)]
pub(super) struct Edited {
    pub(super) path: PathBuf,
    pub(super) doc: DocumentMut,
    /// As it is on disk.
    pub(super) before: DocumentMut,
}

impl Edited {
    /// A file that is not there is empty.
    pub(super) fn read(path: &Path) -> Result<Edited, Failure> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Failure::file(path, &error.to_string())),
        };
        let before: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or_default().lines().count().max(1);
            Failure::file(path, &format!("line {line}: {}; nothing was changed", error.message()))
        })?;
        Ok(Edited { path: path.to_owned(), doc: before.clone(), before })
    }

    pub(super) fn is_changed(&self) -> bool {
        self.doc.to_string() != self.before.to_string()
    }
}

/// Writes what has changed. Every file lies complete beside its place before the first one takes it.
pub(super) fn write(files: &[Edited]) -> Result<Vec<PathBuf>, Failure> {
    let changed = files.iter().filter(|file| file.is_changed());
    let ready: Vec<_> = changed.map(|file| Ok((file, beside(file)?))).collect::<Result<_, Failure>>()?;
    let mut written = Vec::new();
    for (file, new) in ready {
        let place = fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone());
        new.persist(place).map_err(|error| Failure::file(&file.path, &error.error.to_string()))?;
        written.push(file.path.clone());
    }
    Ok(written)
}

fn beside(file: &Edited) -> Result<NamedTempFile, Failure> {
    let failed = |error: std::io::Error| Failure::file(&file.path, &error.to_string());
    // Through a link: the file that it leads to is the one to replace.
    let place = fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone());
    let known = fs::metadata(&place).map(|metadata| metadata.permissions());
    let dir = place.parent().unwrap_or(Path::new("."));
    let mode = fs::Permissions::from_mode(0o666);
    let new = tempfile::Builder::new().prefix(".portcullis-").permissions(mode).tempfile_in(dir);
    let mut new = new.map_err(failed)?;
    new.write_all(file.doc.to_string().as_bytes()).and_then(|()| new.as_file().sync_all()).map_err(failed)?;
    if let Ok(known) = known {
        new.as_file().set_permissions(known).map_err(failed)?;
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_toml_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clippy.toml");
        fs::write(&path, "a = 1\nb = = 2\n").unwrap();
        let failure = format!("{:?}", Edited::read(&path).unwrap_err());
        assert!(failure.contains("clippy.toml") && failure.contains("line 2"), "{failure}");
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link, new) =
            (dir.path().join("real.toml"), dir.path().join("clippy.toml"), dir.path().join("new.toml"));
        fs::write(&real, "a = 1\n").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut files = [Edited::read(&link).unwrap(), Edited::read(&new).unwrap(), Edited::read(&real).unwrap()];
        files[0].doc.insert("b", toml_edit::value(2));
        files[1].doc.insert("c", toml_edit::value(3));
        assert_eq!(write(&files).unwrap(), [link.clone(), new.clone()]);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "a = 1\nb = 2\n");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_to_string(&new).unwrap(), "c = 3\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left beside them");
    }

    #[test]
    fn a_place_that_can_not_be_written_leaves_the_others_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        let mut files = [Edited::read(&path).unwrap(), Edited::read(&dir.path().join("gone/b.toml")).unwrap()];
        for file in &mut files {
            file.doc.insert("b", toml_edit::value(2));
        }
        assert!(write(&files).is_err());
        assert!(!path.exists());
    }
}
