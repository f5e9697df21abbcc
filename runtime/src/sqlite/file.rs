//! Where a database may lie.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Create, SideFile, Trouble, TroubleKind};

/// Where a database lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    File(PathBuf),
    /// Gone with the process: for tests.
    #[cfg_attr(not(any(test, feature = "testing")), expect(dead_code, reason = "only tests forget on purpose"))]
    Memory,
}

impl Place {
    /// Reads `sqlite:PATH`.
    pub(crate) fn from_url(url: &str) -> Result<Self, Trouble> {
        let unsuitable = |what: String| Trouble::new(TroubleKind::Unsuitable, what);
        let Some(path) = url.strip_prefix("sqlite:") else {
            let scheme = url.split_once(':').map_or("no scheme", |(scheme, _)| scheme);
            return Err(unsuitable(format!("this build reads `sqlite:PATH`, not `{scheme}`")));
        };
        // `sqlite:///abs` is as good as `sqlite:/abs`; `sqlite://rel` would silently be `/rel`.
        if path.starts_with("//") && !path.starts_with("///") {
            return Err(unsuitable("write `sqlite:relative/path` or `sqlite:/absolute/path`".to_owned()));
        }
        let place = Place::File(PathBuf::from(path));
        place.check_name().map(|()| place)
    }

    /// Is it a path that SQLite takes for a path?
    pub(super) fn check_name(&self) -> Result<(), Trouble> {
        let Place::File(path) = self else { return Ok(()) };
        let bytes = path.as_os_str().as_encoded_bytes();
        if bytes.trim_ascii().is_empty() || bytes.contains(&0) {
            return Err(Trouble::new(TroubleKind::Unsuitable, "there is no path in it"));
        }
        if bytes.starts_with(b":memory:") || bytes.starts_with(b"file:") {
            return Err(Trouble::new(TroubleKind::Unsuitable, "in memory it would forget what was done"));
        }
        Ok(())
    }

    pub(crate) fn shown(&self) -> String {
        match self {
            Place::File(path) => path.display().to_string(),
            Place::Memory => "memory".to_owned(),
        }
    }
}

/// A file that was opened: this one and no other that may come to lie at its path. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct DatabaseFile(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    side: Arc<SideFile>,
}

impl DatabaseFile {
    /// The file at `path`, which is canonical and has been opened.
    pub(super) fn new(path: PathBuf, side: Arc<SideFile>) -> Result<Self, Trouble> {
        let found = std::fs::metadata(&path).map_err(|error| Trouble::io("it can't be looked at", error))?;
        Ok(DatabaseFile(Arc::new(Opened { path, identity: (found.dev(), found.ino()), side })))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// By device and inode.
    pub(crate) fn identity(&self) -> (u64, u64) {
        self.0.identity
    }

    /// Where the locks of the owners are.
    pub(crate) fn side(&self) -> &Arc<SideFile> {
        &self.0.side
    }

    /// The path still leads to it. One `stat`.
    pub(crate) fn still_there(&self) -> Result<(), Trouble> {
        match std::fs::metadata(&self.0.path) {
            Ok(found) if (found.dev(), found.ino()) == self.0.identity => Ok(()),
            Ok(_) => Err(Trouble::new(TroubleKind::Replaced, "another file has taken its place while it was open")),
            Err(error) => Err(Trouble::new(TroubleKind::Replaced, "it was removed while it was open").because(error)),
        }
    }
}

/// `portcullis/ledger.sqlite` in the user's state directory; `None` for a user without a home.
pub(crate) fn default_path() -> Option<PathBuf> {
    let directories = directories::ProjectDirs::from("", "", "portcullis")?;
    let state = directories.state_dir().unwrap_or_else(|| directories.data_local_dir());
    Some(state.join("ledger.sqlite"))
}

/// Makes the directory, and refuses or warns of file systems that don't keep promises. `true`: there is no file yet.
pub(super) fn check(path: &Path, create: Create) -> Result<bool, Trouble> {
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(Trouble::new(TroubleKind::Unsuitable, "its path is no file")),
    };
    match create {
        Create::Yes => std::fs::DirBuilder::new()
            .recursive(true)
            // Receipts are nobody else's business.
            .mode(0o700)
            .create(directory)
            .map_err(|error| Trouble::io("its directory can't be made", error))?,
        Create::No if !path.exists() => return Err(Trouble::new(TroubleKind::Missing, "there is no such file")),
        Create::No => {}
    }
    match kind_of(directory)? {
        FileSystem::Network(name) => {
            return Err(Trouble::new(
                TroubleKind::Unsuitable,
                format!("it lies on a network file system ({name}), whose locks do not hold"),
            ));
        }
        FileSystem::Memory => tracing::warn!(
            path = %path.display(),
            "the ledger lies on a memory file system: a restart of this machine forgets what was done, and it may be done again"
        ),
        FileSystem::Unknown(name) => tracing::warn!(
            path = %path.display(),
            file_system = name,
            "the ledger lies on a file system whose locks and flushes can't be vouched for"
        ),
        FileSystem::Local => {}
    }
    Ok(!path.exists())
}

/// Takes a new file away from everybody else: receipts are nobody's business. SQLite gives its log the same mode. By path,
/// for nobody but SQLite may open the file.
pub(super) fn keep_private(path: &Path) -> Result<(), Trouble> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(|error| Trouble::io("its mode can't be set", error))
}

#[derive(Debug, PartialEq, Eq)]
enum FileSystem {
    Local,
    Memory,
    Network(&'static str),
    Unknown(&'static str),
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn kind_of(directory: &Path) -> Result<FileSystem, Trouble> {
    let found = nix::sys::statfs::statfs(directory)
        .map_err(|errno| Trouble::io("its file system can't be looked at", errno.into()))?;
    // By number: not every one has a name in every C library.
    Ok(match found.filesystem_type().0 as u32 {
        0x6969 => FileSystem::Network("NFS"),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => FileSystem::Network("SMB"),
        0x0102_1997 => FileSystem::Network("9p"),
        0x5346_414f | 0x6b41_4653 => FileSystem::Network("AFS"),
        0x7375_7245 => FileSystem::Network("Coda"),
        0x564c => FileSystem::Network("NCP"),
        0x00c3_6400 => FileSystem::Network("Ceph"),
        0x0bd0_0bd0 => FileSystem::Network("Lustre"),
        0x4750_4653 => FileSystem::Network("GPFS"),
        0x0102_1994 | 0x8584_58f6 => FileSystem::Memory,
        0x6573_5546 => FileSystem::Unknown("FUSE"),
        _ => FileSystem::Local,
    })
}

#[cfg(target_os = "macos")]
fn kind_of(directory: &Path) -> Result<FileSystem, Trouble> {
    let found = nix::sys::statfs::statfs(directory)
        .map_err(|errno| Trouble::io("its file system can't be looked at", errno.into()))?;
    Ok(match found.filesystem_type_name() {
        "nfs" => FileSystem::Network("NFS"),
        "smbfs" => FileSystem::Network("SMB"),
        "afpfs" => FileSystem::Network("AFP"),
        "webdav" => FileSystem::Network("WebDAV"),
        "macfuse" | "osxfuse" => FileSystem::Unknown("FUSE"),
        _ => FileSystem::Local,
    })
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
fn kind_of(_directory: &Path) -> Result<FileSystem, Trouble> {
    Ok(FileSystem::Unknown("not recognised on this system"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_told_apart() {
        if Path::new("/dev/shm").exists() {
            assert_eq!(kind_of(Path::new("/dev/shm")).unwrap(), FileSystem::Memory);
        }
        assert_eq!(kind_of(Path::new("/proc")).unwrap(), FileSystem::Local);
        assert!(kind_of(Path::new("/nowhere")).is_err());
    }
}
