//! What can go wrong with a database file, and how much is known afterwards.

use std::error::Error as StdError;
use std::fmt;

use rusqlite::ErrorCode;

use crate::refused::{Kind, Refused};

/// Something went wrong; the text goes on from "the ledger at …: ".
#[derive(Debug)]
pub(crate) struct Trouble {
    kind: TroubleKind,
    what: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    /// Somebody else held the lock until the deadline.
    Busy,
    Full,
    ReadOnly,
    Corrupt,
    /// Not a ledger, or on a file system that can't hold one.
    Unsuitable,
    /// Written by a newer release.
    Newer,
    /// There is no such file, and none was to be made.
    Missing,
    /// The file was taken away or exchanged.
    Replaced,
    /// It is an older copy of itself, or gone: what was done since is not in it.
    RolledBack,
    /// The process is a fork.
    Forked,
    /// One statement failed by its own content; others may succeed.
    Statement,
    /// Reading or writing failed.
    Io,
    /// The connection is gone.
    Closed,
}

impl Trouble {
    pub(crate) fn new(kind: TroubleKind, what: impl Into<String>) -> Self {
        Trouble { kind, what: what.into(), source: None }
    }

    pub(crate) fn io(what: &str, error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => TroubleKind::Missing,
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => TroubleKind::ReadOnly,
            std::io::ErrorKind::StorageFull => TroubleKind::Full,
            _ => TroubleKind::Io,
        };
        Trouble::new(kind, format!("{what} ({error})")).because(error)
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn kind(&self) -> TroubleKind {
        self.kind
    }

    fn advice(&self) -> &'static str {
        match self.kind {
            TroubleKind::Busy => "find the process that holds it, or try again",
            TroubleKind::Full => "make room on its disk",
            TroubleKind::ReadOnly => "make its file and its directory writable for this user",
            TroubleKind::Corrupt => "restore it from a backup, and look at what happened since",
            TroubleKind::Unsuitable => "name a file of its own on a local disk: `PORTCULLIS_LEDGER=sqlite:PATH`",
            TroubleKind::Newer => "update portcullis in this program",
            TroubleKind::Missing => "check the path",
            TroubleKind::Replaced => "put the file back, or restart this program to accept the new one",
            TroubleKind::RolledBack => {
                "find the newer copy; to go on from here although what was done since may be done again, remove the mark"
            }
            TroubleKind::Forked => "start a new process (`exec`) instead of going on in a fork",
            TroubleKind::Statement | TroubleKind::Io | TroubleKind::Closed => "look at the disk and its file system",
        }
    }

    /// The refusal of `action`; says what could not be done at which file.
    pub(crate) fn refuse(&self, action: &str, what: &str) -> Refused {
        let kind = match self.kind {
            TroubleKind::Forked => Kind::Forked,
            TroubleKind::RolledBack => Kind::LedgerRolledBack,
            TroubleKind::Busy
            | TroubleKind::Full
            | TroubleKind::ReadOnly
            | TroubleKind::Corrupt
            | TroubleKind::Unsuitable
            | TroubleKind::Newer
            | TroubleKind::Missing
            | TroubleKind::Replaced
            | TroubleKind::Statement
            | TroubleKind::Io
            | TroubleKind::Closed => Kind::LedgerUnavailable,
        };
        let refused = Refused::new(kind, action, format!("{what}: {self}")).advise(self.advice());
        match &self.source {
            // The source itself may be needed again for the rest of a batch.
            Some(source) => refused.because(source.to_string()),
            None => refused,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl StdError for Trouble {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        let (kind, what) = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                (TroubleKind::Busy, "another process holds its lock")
            }
            Some(ErrorCode::DiskFull) => (TroubleKind::Full, "its disk is full"),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
                (TroubleKind::ReadOnly, "it is read-only")
            }
            Some(ErrorCode::DatabaseCorrupt) => (TroubleKind::Corrupt, "it is corrupt"),
            Some(ErrorCode::NotADatabase) => (TroubleKind::Unsuitable, "it is not an SQLite database"),
            Some(ErrorCode::CannotOpen) => (TroubleKind::Io, "it can't be opened"),
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
                (TroubleKind::Statement, "a statement failed")
            }
            Some(_) => (TroubleKind::Io, "reading or writing it failed"),
            None => (TroubleKind::Statement, "a row of it can't be read"),
        };
        Trouble::new(kind, format!("{what} ({error})")).because(error)
    }
}

/// A write that failed, and what is known about it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Surely nothing was written.
    Nothing(Trouble),
    /// The COMMIT failed: all of it may be on disk, or nothing.
    Unknown(Trouble),
}

impl Failure {
    pub(crate) fn trouble(self) -> Trouble {
        match self {
            Failure::Nothing(trouble) | Failure::Unknown(trouble) => trouble,
        }
    }
}
