//! One SQLite file with our pragmas, our locks and our schema. The ledger and the local authority both stand on it.
//!
//! # Invariants
//! 1. What was acknowledged survives a power cut: WAL with `synchronous=FULL`, on a file system that keeps files.
//! 2. An error says whether something may have been written ([`Failure`]). After a failed COMMIT the connection is thrown
//!    away, and what the next one sees counts only once a checkpoint has put it into the database file itself.
//! 3. Every write transaction begins as `BEGIN IMMEDIATE`, and no connection is left inside one.
//! 4. An owner's lock is taken before its row is visible, and is given back by nobody but the kernel.
//! 5. Nothing of this is touched in a forked child.
//! 6. Nothing but SQLite ever opens the database file: closing a descriptor of it would drop SQLite's own locks. (There are none on
//!    the log beside it.)

mod chain;
mod file;
mod log;
mod mark;
mod owners;
mod reader;
mod schema;
mod trouble;
mod turn;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

pub(crate) use crate::clock::{millis, now_ms, origin_ms, time, when};
pub(crate) use chain::{Entry as ChainEntry, append, verify};
pub(crate) use file::{DatabaseFile, Place, default_path};
pub(crate) use mark::Reached;
pub(crate) use owners::{Holder, OwnerId, SideFile, Spilling, holder};
pub(crate) use reader::Reader;
pub(crate) use schema::is_ledger;
pub(crate) use trouble::{Failure, Trouble, TroubleKind};
pub(crate) use turn::retry;

/// How long to wait for one's turn to open, before trying without.
const QUEUE_TO_OPEN: Duration = Duration::from_secs(2);

/// How long the writer tries to empty its log before it goes on without.
const EMPTY_WITHIN: Duration = Duration::from_millis(5);

/// May opening make a new file?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Create {
    Yes,
    No,
}

/// How far a commit goes before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// To the disk.
    Disk,
    /// To the operating system: it survives this process, and a power cut only once something else is flushed.
    System,
}

/// An open database.
pub(crate) struct Database {
    connection: Option<Connection>,
    /// Which ledger this is, whatever its path.
    pub(crate) ledger: Uuid,
    file: Option<DatabaseFile>,
    flush: Flush,
    slice: turn::Slice,
    /// If the log is ours to look after.
    log: Option<log::Log>,
    /// Of a ledger that is written to.
    mark: Option<mark::Mark>,
    pid: u32,
}

impl Database {
    /// Opens, checks and, if need be, sets up or migrates the database. Safe with any number of processes at once.
    pub(crate) fn open(place: &Place, create: Create, until: Instant) -> Result<Self, Trouble> {
        place.check_name()?;
        let (connection, file) = match place {
            Place::Memory => (Connection::open_in_memory()?, None),
            Place::File(path) => {
                let (connection, file) = open_file(path, create, until)?;
                (connection, Some(file))
            }
        };
        let mut database = Database {
            connection: Some(connection),
            ledger: Uuid::nil(),
            file,
            flush: Flush::Disk,
            slice: turn::Slice::default(),
            log: None,
            mark: None,
            pid: std::process::id(),
        };
        if let Some(file) = &database.file
            && turn::retry(until, || schema::version(database.connection()?))? == 0
        {
            // Without its log it may look new.
            mark::check_absent(file.path())?;
        }
        database.ledger = schema::prepare(&mut database, until)?;
        if create == Create::Yes {
            database.check_mark(until)?;
        }
        Ok(database)
    }

    /// Refuses an older copy of the ledger.
    fn check_mark(&mut self, until: Instant) -> Result<(), Trouble> {
        if let (Some(file), None) = (&self.file, &self.mark) {
            let connection = self.connection()?;
            self.mark = Some(turn::retry(until, || mark::Mark::check(file.path(), connection, self.ledger))?);
        }
        Ok(())
    }

    /// How far the ledger has come, as far as this process knows.
    pub(crate) fn reached(&self) -> Reached {
        self.mark.as_ref().map(|mark| mark.reached).unwrap_or_default()
    }

    /// To be called with what a commit that has returned has come to.
    pub(crate) fn advance(&mut self, reached: Reached) {
        if let Some(mark) = &mut self.mark {
            mark.advance(reached);
        }
    }

    /// For reading, and for statements inside [`write`](Self::write).
    pub(crate) fn connection(&self) -> Result<&Connection, Trouble> {
        self.connection.as_ref().ok_or_else(|| Trouble::new(TroubleKind::Closed, "the connection was given up"))
    }

    /// Which file it is; `None` in memory.
    pub(crate) fn file(&self) -> Option<&DatabaseFile> {
        self.file.as_ref()
    }

    /// The connection was given up: open anew.
    pub(crate) fn is_closed(&self) -> bool {
        self.connection.is_none()
    }

    /// This process's row in `owner`, made on first use.
    pub(crate) fn enrol(&mut self, until: Instant) -> Result<OwnerId, Trouble> {
        let Some(side) = self.side().cloned() else {
            return self.write(until, Flush::Disk, owners::insert).map_err(Failure::trouble);
        };
        self.check_mark(until)?;
        // Two threads of one process enrol one after the other.
        let _one = side.enrolling();
        if let Some(owner) = side.own(self.ledger) {
            return Ok(owner);
        }
        let owner = self.write(until, Flush::Disk, |connection| side.enrol(connection)).map_err(Failure::trouble)?;
        side.remember(self.ledger, owner);
        let reached = turn::retry(until, || Reached::of(self.connection()?))?;
        self.advance(reached);
        Ok(owner)
    }

    /// Where the locks of the owners are; `None` in memory.
    pub(crate) fn side(&self) -> Option<&Arc<SideFile>> {
        self.file.as_ref().map(DatabaseFile::side)
    }

    /// The path still leads to the file that was opened. One `stat`.
    pub(crate) fn still_there(&self) -> Result<(), Trouble> {
        self.file.as_ref().map_or(Ok(()), DatabaseFile::still_there)
    }

    /// Runs `body` in one write transaction and commits it.
    pub(crate) fn write<T>(
        &mut self,
        until: Instant,
        flush: Flush,
        body: impl FnOnce(&Connection) -> Result<T, Trouble>,
    ) -> Result<T, Failure> {
        self.still_there().map_err(Failure::Nothing)?;
        self.set_flush(flush).map_err(Failure::Nothing)?;
        let mut slice = std::mem::take(&mut self.slice);
        let begun = self
            .connection()
            .and_then(|connection| turn::begin(connection, self.side().map(|side| &**side), &mut slice, until));
        self.slice = slice;
        begun.map_err(Failure::Nothing)?;
        // Armed: error and panic leave by one door, and a connection that is still inside a transaction is closed.
        let mut armed = Transaction { database: self, committing: false };
        if let Some(log) = &mut armed.database.log {
            log.make_room();
        }
        let within = |connection: &Connection| {
            // Another process may have brought the file to a newer schema since it was opened.
            schema::version(connection)?;
            body(connection)
        };
        let value = match armed.database.connection().and_then(within) {
            Ok(value) => value,
            Err(trouble) => return Err(Failure::Nothing(trouble)),
        };
        armed.committing = true;
        let committed = armed
            .database
            .connection()
            .and_then(|connection| Ok(connection.prepare_cached("COMMIT")?.execute([]).map(|_| ())?));
        match committed {
            Ok(()) => {
                armed.committing = false;
                Ok(value)
            }
            Err(trouble) => Err(Failure::Unknown(trouble)),
        }
    }

    fn set_flush(&mut self, flush: Flush) -> Result<(), Trouble> {
        if self.flush != flush {
            let level = match flush {
                Flush::Disk => "FULL",
                Flush::System => "NORMAL",
            };
            self.connection()?.pragma_update(None, "synchronous", level)?;
            self.flush = flush;
        }
        Ok(())
    }

    /// For whoever writes for long: the log is grown ahead, and emptied by [`tend`](Self::tend) instead of by a commit.
    pub(crate) fn keep_log(&mut self) -> Result<(), Trouble> {
        if let (Some(connection), Some(file)) = (&mut self.connection, &self.file) {
            self.log = Some(log::Log::of(connection, file)?);
        }
        Ok(())
    }

    /// Looks after the log; to be called between two transactions, when nobody waits for an answer.
    pub(crate) fn tend(&mut self) {
        if self.log.as_mut().map(log::Log::chore) != Some(log::Chore::Empty) {
            return;
        }
        let until = Instant::now() + EMPTY_WITHIN;
        let _turn = self.side().and_then(|side| turn::queue(side, until));
        if let Err(trouble) = self.checkpoint(until) {
            tracing::debug!(%trouble, "the ledger's log is emptied another time");
        }
    }

    /// Puts everything that this connection sees into the database file itself, and flushes that (invariant 2).
    pub(crate) fn checkpoint(&self, until: Instant) -> Result<(), Trouble> {
        if self.file.is_none() {
            return Ok(());
        }
        turn::retry(until, || {
            let (busy, logged, moved): (i64, i64, i64) =
                self.connection()?
                    .query_row("PRAGMA wal_checkpoint(FULL)", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            if busy == 0 && logged == moved {
                Ok(())
            } else {
                Err(Trouble::new(TroubleKind::Busy, "another process kept its log from being checkpointed"))
            }
        })
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Invariant 5: closing would work on the parent's files.
        if self.pid != std::process::id() {
            std::mem::forget(self.connection.take());
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Ends a transaction that was not committed (invariant 3).
struct Transaction<'a> {
    database: &'a mut Database,
    committing: bool,
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        let Some(connection) = &self.database.connection else { return };
        if !self.committing && connection.is_autocommit() {
            return;
        }
        // Some errors have rolled back already; then this one fails, and that is fine.
        let _ = connection.execute_batch("ROLLBACK");
        // Invariant 2: a connection whose COMMIT failed is not to be believed.
        if self.committing || !connection.is_autocommit() {
            self.database.connection = None;
        }
    }
}

fn open_file(path: &Path, create: Create, until: Instant) -> Result<(Connection, DatabaseFile), Trouble> {
    let is_new = file::check(path, create)?;
    if is_new {
        mark::check_absent(path)?;
    }
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create == Create::Yes {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let connection = Connection::open_with_flags(path, flags)?;
    // We wait ourselves, in short steps and with a deadline: SQLite's own handler starves.
    connection.busy_timeout(Duration::ZERO)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Before anything is made beside it.
    turn::retry(until, || schema::check(&connection))?;
    // SQLite has made the file by now, so that two names of it lead to one side file.
    let path = path.canonicalize().map_err(|error| Trouble::io("its path can't be resolved", error))?;
    let side = owners::side_file(&path)?;
    if is_new {
        file::keep_private(&path)?;
    }
    // One after the other: the switch to WAL needs the file for itself, and a crowd would keep each other from it.
    let turn = turn::queue(&side, until.min(Instant::now() + QUEUE_TO_OPEN));
    turn::retry(until, || {
        let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
        match mode.as_str() {
            "wal" => Ok(()),
            other => {
                Err(Trouble::new(TroubleKind::Unsuitable, format!("it can't be put into WAL mode (it is in {other})")))
            }
        }
    })?;
    turn::retry(until, || {
        connection.pragma_update(None, "synchronous", "FULL")?;
        // macOS: a flush that reaches the platter, not only the drive. Elsewhere these do nothing.
        connection.pragma_update(None, "fullfsync", true)?;
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(())
    })?;
    drop(turn);
    Ok((connection, DatabaseFile::new(path, side)?))
}

#[cfg(test)]
mod tests;
