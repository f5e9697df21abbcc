//! The workspace as cargo sees it: its members, and the packages in its lock file.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

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

/// What to resolve.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resolve {
    /// Everything that could be turned on, anywhere.
    All,
    /// What a plain `cargo clippy` would build here.
    Here,
}

impl Workspace {
    /// Asks cargo. With `locked`, the lock file must be there and fit, and stays as it is.
    pub(super) fn read(manifest: Option<&Path>, resolve: Resolve, locked: bool) -> Result<Workspace, Failure> {
        let mut command = MetadataCommand::new();
        if let Some(manifest) = manifest {
            command.manifest_path(manifest);
        }
        let mut options = Vec::new();
        match resolve {
            Resolve::All => {
                command.features(CargoOpt::AllFeatures);
            }
            Resolve::Here => options.extend(["--filter-platform".to_owned(), host()?]),
        }
        options.extend(locked.then(|| "--locked".to_owned()));
        let metadata = command.other_options(options).exec().map_err(|error| match error {
            cargo_metadata::Error::CargoMetadata { stderr } => Failure::cargo(stderr.trim().to_owned()),
            other => Failure::cargo(other.to_string()),
        })?;
        Ok(Workspace::of(metadata))
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
        Workspace {
            root: metadata.workspace_root.clone().into_std_path_buf(),
            target: metadata.target_directory.clone().into_std_path_buf(),
            members: metadata.workspace_packages().into_iter().map(member).collect(),
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

fn host() -> Result<String, Failure> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = std::process::Command::new(rustc)
        .arg("-vV")
        .output()
        .map_err(|error| Failure::cargo(format!("`rustc -vV` can't be run: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::cargo("`rustc -vV` does not name the host".to_owned()))
}
