//! Owners: which process holds a claim, and whether it still lives.
//!
//! A process that writes has one row in `owner` per database, and one byte locked in the side file `…-owners`, at the offset
//! of its row. The kernel frees the lock when the process dies, however it dies; there is no clock in it. The locks are
//! POSIX record locks on purpose: unlike `flock`, a forked child does not keep them.
//!
//! # Invariants
//! 1. A side file is opened once per process and never closed: closing any descriptor of it would free every lock.
//! 2. The byte is locked before the row is committed.
//! 3. What can't be told counts as alive: beside a live owner that is taken for dead, its call could be run again.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{Trouble, TroubleKind, now_ms, turn, when};
use crate::clock::origin_ms;
use crate::ledger::program::{host, program};

/// The row of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OwnerId(pub(crate) i64);

/// The file with the locks.
#[derive(Debug)]
pub(crate) struct SideFile {
    file: File,
    /// This process's owners, per ledger that was ever found at the path. The process id tells a fork from its parent.
    own: Mutex<HashMap<(u32, Uuid), OwnerId>>,
    enrolling: Mutex<()>,
    spilling: Mutex<()>,
}

/// Every side file that this process has opened, by device and inode (invariant 1).
static FILES: Mutex<Vec<(Identity, Arc<SideFile>)>> = Mutex::new(Vec::new());

type Identity = (u64, u64);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is a map that is valid after every single step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The side file of the database at `path`, which is canonical.
pub(super) fn side_file(path: &Path) -> Result<Arc<SideFile>, Trouble> {
    let mut name = path.as_os_str().to_owned();
    name.push("-owners");
    let path = PathBuf::from(name);
    let mut files = lock(&FILES);
    if let Ok(found) = std::fs::metadata(&path) {
        let identity = (found.dev(), found.ino());
        if let Some((_, side)) = files.iter().find(|(known, _)| *known == identity) {
            return Ok(side.clone());
        }
    }
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| Trouble::io("its file of owners can't be opened", error))?;
    let found = file.metadata();
    let side = Arc::new(SideFile {
        file,
        own: Mutex::new(HashMap::new()),
        enrolling: Mutex::new(()),
        spilling: Mutex::new(()),
    });
    // Kept whatever comes next (invariant 1).
    let identity = found.as_ref().map_or((0, 0), |found| (found.dev(), found.ino()));
    files.push((identity, side.clone()));
    found.map_err(|error| Trouble::io("its file of owners can't be looked at", error))?;
    Ok(side)
}

fn byte(offset: i64, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: offset,
        l_len: 1,
        l_pid: 0,
    }
}

/// The place in the queue of writers; owners begin at 1.
const QUEUE: i64 = 0;

/// Whoever changes what is spilled.
const SPILL: i64 = i64::MAX - 1;

impl SideFile {
    fn try_lock(&self, offset: i64) -> bool {
        fcntl(&self.file, FcntlArg::F_SETLK(&byte(offset, libc::F_WRLCK))).is_ok()
    }

    fn unlock(&self, offset: i64) {
        let _ = fcntl(&self.file, FcntlArg::F_SETLK(&byte(offset, libc::F_UNLCK)));
    }

    /// To be the only one, of all threads and processes, who changes what is spilled; `None` if that can't be had by then.
    pub(crate) fn spilling(&self, until: Instant) -> Option<Spilling<'_>> {
        let alone = lock(&self.spilling);
        turn::wait(until, || self.try_lock(SPILL)).then(|| Spilling { side: self, _alone: alone })
    }

    /// `true` if this process now has the place in the queue of writers.
    pub(super) fn enter_queue(&self) -> bool {
        self.try_lock(QUEUE)
    }

    pub(super) fn leave_queue(&self) {
        self.unlock(QUEUE);
    }

    fn owns(&self, owner: OwnerId) -> bool {
        let pid = std::process::id();
        lock(&self.own).iter().any(|((process, _), own)| *process == pid && *own == owner)
    }

    /// Does the process with this row still run?
    fn is_locked(&self, owner: OwnerId) -> bool {
        let mut probe = byte(owner.0, libc::F_WRLCK);
        match fcntl(&self.file, FcntlArg::F_GETLK(&mut probe)) {
            Ok(_) => probe.l_type != libc::F_UNLCK as libc::c_short,
            // Invariant 3.
            Err(_) => true,
        }
    }

    /// Held while this process makes a row for itself.
    pub(super) fn enrolling(&self) -> MutexGuard<'_, ()> {
        lock(&self.enrolling)
    }

    /// This process's row in `ledger`. Must run inside a write transaction, and the row counts only once that is committed:
    /// then call [`remember`](Self::remember).
    pub(super) fn enrol(&self, connection: &Connection) -> Result<OwnerId, Trouble> {
        // A byte may still be held for a ledger that lay here before: take the next.
        for _ in 0..64 {
            let owner = insert(connection)?;
            // Invariant 2.
            if !self.is_locked(owner) && self.try_lock(owner.0) {
                return Ok(owner);
            }
        }
        Err(Trouble::new(TroubleKind::Io, "no lock of its file of owners can be had"))
    }

    pub(super) fn own(&self, ledger: Uuid) -> Option<OwnerId> {
        lock(&self.own).get(&(std::process::id(), ledger)).copied()
    }

    pub(super) fn remember(&self, ledger: Uuid, owner: OwnerId) {
        lock(&self.own).insert((std::process::id(), ledger), owner);
    }
}

/// Gives it up when dropped.
#[derive(Debug)]
pub(crate) struct Spilling<'a> {
    side: &'a SideFile,
    _alone: MutexGuard<'a, ()>,
}

impl Drop for Spilling<'_> {
    fn drop(&mut self) {
        self.side.unlock(SPILL);
    }
}

/// A new row for this process.
pub(super) fn insert(connection: &Connection) -> Result<OwnerId, Trouble> {
    connection
        .prepare_cached(
            "INSERT INTO owner(host, boot, pid, program, since_ms, origin_ms) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![host(), boot(), std::process::id(), program(), now_ms(), origin_ms()])?;
    // One more opening for writing: a copy from before it would be told by it.
    connection.prepare_cached("UPDATE meta SET commit_seq = commit_seq + 1")?.execute([])?;
    Ok(OwnerId(connection.last_insert_rowid()))
}

/// Who holds a claim.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) id: OwnerId,
    pub(crate) host: String,
    pub(crate) pid: u32,
    pub(crate) program: String,
    pub(crate) since_ms: i64,
    /// When this machine started, as the process saw it; `None` if it has started again since.
    pub(crate) origin_ms: Option<i64>,
    pub(crate) alive: bool,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)?;
        if !self.alive {
            write!(f, " (running since {}, now ended)", when(self.since_ms))?;
        }
        Ok(())
    }
}

/// The owner with this row. In memory (`side` is `None`) there is only this process.
pub(crate) fn holder(
    connection: &Connection,
    side: Option<&SideFile>,
    owner: OwnerId,
) -> Result<Option<Holder>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT host, boot, pid, program, since_ms, origin_ms FROM owner WHERE id = ?1")?
        .query_row([owner.0], |row| {
            let booted: String = row.get(1)?;
            let same_boot = booted == boot();
            let alive = match side {
                None => true,
                Some(side) => side.owns(owner) || (same_boot && side.is_locked(owner)),
            };
            let origin_ms: Option<i64> = row.get(5)?;
            Ok(Holder {
                id: owner,
                host: row.get(0)?,
                pid: row.get(2)?,
                program: row.get(3)?,
                since_ms: row.get(4)?,
                origin_ms: origin_ms.filter(|_| same_boot && !booted.is_empty()),
                alive,
            })
        })
        .optional()
}

/// Which start of the machine this is; empty where that can't be told.
fn boot() -> &'static str {
    static BOOT: once_cell::sync::Lazy<String> = once_cell::sync::Lazy::new(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map_or_else(|_| String::new(), |id| id.trim().to_owned())
    });
    &BOOT
}
