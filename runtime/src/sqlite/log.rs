//! The log of a file that one process writes to for long: grown ahead, and emptied beside the writer.
//!
//! Left alone, SQLite lengthens its log with every commit, and each time the file system writes down the new length too. And
//! every so many pages, one commit has to carry all of them over into the database before it returns.
//!
//! # Invariants
//! 1. The log is lengthened only inside a write transaction that has written nothing yet: behind its end nobody else writes
//!    then, and zeros there are to SQLite what an old log is: no part of this one.
//! 2. Emptying it is never necessary for an answer: if it fails it is tried again later, and the log is longer meanwhile.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use super::{DatabaseFile, Reader, Trouble};

/// The log is carried over once it has so many pages, …
const FULL: usize = 2_000;

/// … and lengthened by so many bytes, …
const STEP: u64 = 512 << 10;

/// … when fewer than so many are left.
const RESERVE: u64 = 128 << 10;

/// What a page takes in the log beside itself.
const FRAME_HEADER: u64 = 24;

#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    page: u64,
    /// Its length, as far as it is known to be written.
    length: u64,
    /// How many pages it has when it is looked after next.
    due: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: DatabaseFile,
    /// How many pages it has since it was last begun anew, other processes' included.
    pages: AtomicUsize,
    stage: AtomicU8,
    /// The connection that carries over, kept for the next time.
    reader: Mutex<Option<Reader>>,
}

/// Nothing is under way.
const IDLE: u8 = 0;
/// A thread carries over what there is.
const CARRYING: u8 = 1;
/// It has; what has come in meanwhile is left.
const CARRIED: u8 = 2;

/// What the writer is to do for its log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chore {
    Nothing,
    /// Carry over what is left, and begin anew.
    Empty,
}

impl Log {
    /// From now on this connection leaves its log to us.
    pub(super) fn of(connection: &mut Connection, file: &DatabaseFile) -> Result<Self, Trouble> {
        let mut path = file.path().as_os_str().to_owned();
        path.push("-wal");
        let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let shared = Arc::new(Shared {
            file: file.clone(),
            pages: AtomicUsize::new(0),
            stage: AtomicU8::new(IDLE),
            reader: Mutex::new(None),
        });
        let seen = shared.clone();
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            seen.pages.store(usize::try_from(pages).unwrap_or_default(), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Log { path: path.into(), page: page.unsigned_abs(), length: 0, due: FULL, shared })
    }

    /// Lengthens the log if it is nearly used up; to be called inside a write transaction that has written nothing (invariant 1).
    pub(super) fn make_room(&mut self) {
        let used = self.shared.pages.load(Ordering::Relaxed) as u64 * (self.page + FRAME_HEADER);
        // A log that was never written to has no header to mark the end by.
        if used == 0 || used + RESERVE <= self.length {
            return;
        }
        match self.lengthen(used) {
            Ok(length) => self.length = length,
            Err(error) => {
                tracing::debug!(%error, path = %self.path.display(), "the ledger's log can't be lengthened ahead");
                // SQLite lengthens it by itself; it is tried again a good while later.
                self.length = used + STEP;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.shared.pages.load(Ordering::Relaxed) as u64 * (self.page + FRAME_HEADER)
    }

    fn lengthen(&self, used: u64) -> io::Result<u64> {
        let log = OpenOptions::new().write(true).open(&self.path)?;
        let end = log.metadata()?.len();
        if used + RESERVE <= end {
            return Ok(end);
        }
        let zeros = vec![0; STEP as usize];
        match log.write_all_at(&zeros, end) {
            Ok(()) => Ok(end + STEP),
            // A disk that is nearly full has better uses for it.
            Err(error) => log.set_len(end).and(Err(error)),
        }
    }

    /// To be asked after each commit: has the bulk of a full log carried over by a thread, and then tells the writer to do the rest.
    pub(super) fn chore(&mut self) -> Chore {
        let pages = self.shared.pages.load(Ordering::Relaxed);
        if pages < FULL {
            self.due = FULL;
        }
        match self.shared.stage.load(Ordering::Acquire) {
            CARRIED => {
                self.shared.stage.store(IDLE, Ordering::Relaxed);
                // If the rest can't be done now, there is no haste.
                self.due = pages + FULL;
                if pages < FULL { Chore::Nothing } else { Chore::Empty }
            }
            IDLE if pages >= self.due => {
                self.shared.stage.store(CARRYING, Ordering::Relaxed);
                let carried = Carried(self.shared.clone());
                let thread = std::thread::Builder::new().name("portcullis-log".to_owned());
                match thread.spawn(move || carried.carry()) {
                    Ok(_) => Chore::Nothing,
                    Err(_) => Chore::Empty,
                }
            }
            _ => Chore::Nothing,
        }
    }
}

/// The thread: however it ends, the writer hears of it.
struct Carried(Arc<Shared>);

impl Carried {
    fn carry(&self) {
        let mut kept = self.0.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = match kept.take() {
            Some(reader) => Ok(reader),
            None => self.0.file.reader(),
        };
        let carried = reader.and_then(|reader| {
            self.0.file.still_there()?;
            // Waits for nobody, and nobody waits for it.
            reader.connection()?.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
            Ok(reader)
        });
        match carried {
            Ok(reader) => *kept = Some(reader),
            Err(trouble) => tracing::warn!(%trouble, "the ledger's log can't be carried over yet"),
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.stage.store(CARRIED, Ordering::Release);
    }
}
