//! A connection beside the one that writes.

use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{DatabaseFile, Trouble, TroubleKind};

/// A connection that only reads. It waits for nobody: what it can't have at once is an error.
#[derive(Debug)]
pub(crate) struct Reader {
    connection: Option<Connection>,
    pid: u32,
}

impl Reader {
    pub(crate) fn connection(&self) -> Result<&Connection, Trouble> {
        self.connection.as_ref().ok_or_else(|| Trouble::new(TroubleKind::Closed, "the connection was given up"))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // In a fork, closing would work on the parent's files.
        if self.pid != std::process::id() {
            std::mem::forget(self.connection.take());
        }
    }
}

impl DatabaseFile {
    /// Another connection to this very file, for reading.
    pub(crate) fn reader(&self) -> Result<Reader, Trouble> {
        // Opened for writing, because reading a file in WAL mode takes locks in its shared memory.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.path(), flags)?;
        let reader = Reader { connection: Some(connection), pid: std::process::id() };
        let connection = reader.connection()?;
        connection.busy_timeout(Duration::ZERO)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        // For what it carries over from the log.
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        // SQLite opens by path, and reads for the first time here: it must have been this file all along.
        connection.query_row("SELECT count(*) FROM meta", [], |_| Ok(()))?;
        self.still_there()?;
        Ok(reader)
    }
}
