//! Disks that can be made to fail.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::*;

/// A small disk of its own, in memory, for who may mount one.
pub struct Disk(TempDir);

impl Disk {
    /// `None`, said aloud, where nothing may be mounted.
    pub fn of(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tests"])
            .arg(dir.path())
            .output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Disk(dir));
        }
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"\nSKIPPED: nothing may be mounted here\n");
        None
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn set(&self, option: &str) {
        let option = format!("remount,{option}");
        assert!(Command::new("mount").args(["-o", &option]).arg(self.path()).status().unwrap().success(), "{option}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // At once, and gone when the last process that uses it has ended.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// The library that stands between a process and its disk.
fn shim() -> &'static Path {
    static SHIM: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = SHIM.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let library = dir.path().join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("ledger/shim.c");
        let cc =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").output();
        let cc = cc.unwrap();
        assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
        (dir, library)
    });
    library
}

/// A process whose disk can be made to fail by [`set`].
pub fn behind_shim(command: &mut Command, dir: &Path) {
    command.env("LD_PRELOAD", shim()).env("SHIM_DIR", dir);
}

/// How the disk of every process behind a shim in `dir` fails: see `shim.c`. Nothing: not at all.
pub fn set(dir: &Path, mode: &str) {
    std::fs::write(dir.join("shim"), mode).unwrap();
}
