//! The workspace as cargo sees it: its members, and the packages in its lock file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{CargoOpt, Metadata, MetadataCommand, Package, PackageId};
use semver::Version;

use crate::output::Failure;

#[derive(Debug)]
pub(super) struct Workspace {
    pub(super) root: PathBuf,
    pub(super) target: PathBuf,
    pub(super) members: Vec<Member>,
    pub(super) packages: Vec<Locked>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) manifest: PathBuf,
    pub(super) dir: PathBuf,
}

/// A package that the lock file names.
#[derive(Clone, Debug)]
pub(super) struct Locked {
    pub(super) name: String,
    pub(super) version: Version,
    /// As `extern crate` calls it.
    pub(super) library: String,
    pub(super) dir: PathBuf,
    /// Where it comes from; `None` is a path.
    pub(super) source: Option<String>,
    /// Those that something turns on.
    pub(super) features: Vec<String>,
}

impl Workspace {
    /// Asks cargo, with everything on that can be. With `locked`, the lock file must be there and fit, and stays as it is.
    pub(super) fn read(manifest: Option<&Path>, locked: bool) -> Result<Workspace, Failure> {
        let mut command = MetadataCommand::new();
        if let Some(manifest) = manifest {
            command.manifest_path(manifest);
        }
        command.features(CargoOpt::AllFeatures).other_options(Vec::from_iter(locked.then(|| "--locked".to_owned())));
        let metadata = command.exec().map_err(|error| match error {
            cargo_metadata::Error::CargoMetadata { stderr } => Failure::cargo(stderr.trim().to_owned()),
            other => Failure::cargo(other.to_string()),
        })?;
        Ok(Workspace::of(metadata))
    }

    /// The dependencies that a plain `cargo clippy` builds on this machine, with the features that it builds them with.
    ///
    /// What `cargo metadata` resolves mixes in what procedural macros and build scripts are built with.
    pub(super) fn built_here(&self) -> Result<Vec<Locked>, Failure> {
        let output = Command::new(cargo())
            .args(["tree", "--workspace", "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}|{f}"])
            .arg("--manifest-path")
            .arg(self.manifest())
            .current_dir(&self.root)
            .output()
            .map_err(|error| Failure::cargo(format!("`cargo tree` can't be run: {error}")))?;
        if !output.status.success() {
            return Err(Failure::cargo(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        let lines = String::from_utf8_lossy(&output.stdout);
        let built: HashMap<(&str, &str), &str> = lines.lines().filter_map(built).collect();
        let here = |package: &Locked| {
            let version = package.version.to_string();
            let features = built.get(&(package.name.as_str(), version.as_str()))?;
            let features = features.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            let member = self.members.iter().any(|member| member.dir == package.dir);
            (!member).then(|| Locked { features, ..package.clone() })
        };
        Ok(self.packages.iter().filter_map(here).collect())
    }

    fn of(metadata: Metadata) -> Workspace {
        let member = |package: &Package| Member {
            name: package.name.to_string(),
            manifest: package.manifest_path.clone().into_std_path_buf(),
            dir: directory(package),
        };
        let mut features: BTreeMap<&PackageId, Vec<String>> = BTreeMap::new();
        for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
            features.insert(&node.id, node.features.iter().map(ToString::to_string).collect());
        }
        let locked = |package: &Package| {
            let library =
                package.targets.iter().find(|target| target.is_lib() || target.is_rlib() || target.is_dylib())?;
            Some(Locked {
                name: package.name.to_string(),
                version: package.version.clone(),
                library: library.name.replace('-', "_"),
                dir: directory(package),
                source: package.source.as_ref().map(|source| source.repr.clone()),
                // Without a node nothing depends on it.
                features: features.get(&package.id)?.clone(),
            })
        };
        let mut members: Vec<_> = metadata.workspace_packages().into_iter().map(member).collect();
        members.sort_by(|one, other| one.manifest.cmp(&other.manifest));
        Workspace {
            root: metadata.workspace_root.clone().into_std_path_buf(),
            target: metadata.target_directory.clone().into_std_path_buf(),
            members,
            packages: metadata.packages.iter().filter_map(locked).collect(),
        }
    }

    pub(super) fn manifest(&self) -> PathBuf {
        self.root.join("Cargo.toml")
    }

    /// For people: below the root without it.
    pub(super) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

impl Locked {
    /// Every word of its source, to know which functions this version has.
    pub(super) fn words(&self) -> HashSet<String> {
        let mut words = HashSet::new();
        sources(&self.dir, &mut |path| {
            let Ok(text) = fs::read_to_string(path) else { return };
            for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
                if !words.contains(word) {
                    words.insert(word.to_owned());
                }
            }
        });
        words
    }
}

fn directory(package: &Package) -> PathBuf {
    let manifest = package.manifest_path.clone().into_std_path_buf();
    manifest.parent().map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Visits the Rust files of a package, and not those of packages inside of it.
pub(super) fn sources(dir: &Path, visit: &mut impl FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => {
                // `CACHEDIR.TAG` marks a target directory, wherever it lies.
                let other = path.join("Cargo.toml").exists() || path.join("CACHEDIR.TAG").exists();
                if !hidden && !other {
                    sources(&path, visit);
                }
            }
            Ok(_) if path.extension().is_some_and(|extension| extension == "rs") => visit(&path),
            _ => {}
        }
    }
}

// Input:  tokio v1.54.1|fs,net (*)
// Output: ((tokio, 1.54.1), fs,net)
fn built(line: &str) -> Option<((&str, &str), &str)> {
    let (package, features) = line.trim_end_matches(" (*)").split_once('|')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    Some(((name, version), features))
}

/// The cargo that runs us, if one does.
pub(super) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_tree_are_read() {
        assert_eq!(built("tokio v1.54.1|fs,net (*)"), Some((("tokio", "1.54.1"), "fs,net")));
        assert_eq!(built("a v0.1.0 (/path with blanks/a)|"), Some((("a", "0.1.0"), "")));
        assert_eq!(built(""), None);
    }

    #[test]
    fn packages_inside_of_a_package_and_built_files_are_not_its_sources() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["src/a.rs", "tests/b.rs", "other/src/c.rs", "target/d.rs", ".git/e.rs", "src/f.txt"] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        for file in ["Cargo.toml", "other/Cargo.toml", "target/CACHEDIR.TAG"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let mut found = Vec::new();
        sources(dir.path(), &mut |path| found.push(path.strip_prefix(dir.path()).unwrap().display().to_string()));
        assert_eq!(found, ["src/a.rs", "tests/b.rs"]);
    }
}
