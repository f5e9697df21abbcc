//! What can go wrong with a database server, and how much is known afterwards.

use std::error::Error as StdError;
use std::fmt;

use tokio_postgres::error::{Severity, SqlState};

use crate::refused::{Kind, Refused};

/// Something went wrong; the text goes on from "the ledger at …: ".
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    kind: TroubleKind,
    what: String,
    certainty: Certainty,
}

/// What a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TroubleKind {
    /// No connection, or one that was lost.
    Unreachable,
    /// Somebody else held a lock for too long, or the server was too slow.
    Busy,
    /// Two transactions came into each other's way: the same one again will do.
    Conflicting,
    Full,
    /// A standby, or a database that was made read-only.
    ReadOnly,
    /// The server does not let this user in, or not at this.
    Rights,
    /// Not a ledger, or not reached as one must be.
    Unsuitable,
    /// Written by a newer release.
    Newer,
    /// There is no ledger, and none was to be made.
    Missing,
    /// Another ledger than before.
    Replaced,
    /// The process is a fork.
    Forked,
    /// One statement failed by its own content; others may succeed.
    Statement,
}

/// What is known of a transaction that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Certainty {
    /// Surely nothing was written.
    Nothing,
    /// All of it may have been written, or nothing.
    Unknown,
}

impl Trouble {
    pub(super) fn new(kind: TroubleKind, what: impl Into<String>) -> Self {
        Trouble { kind, what: what.into(), certainty: Certainty::Nothing }
    }

    /// What was under way may have taken effect.
    pub(super) fn unknown(mut self) -> Self {
        self.certainty = Certainty::Unknown;
        self
    }

    /// What was under way was never committed, or wrote nothing.
    pub(super) fn without_effect(mut self) -> Self {
        self.certainty = Certainty::Nothing;
        self
    }

    pub(super) fn kind(&self) -> TroubleKind {
        self.kind
    }

    pub(super) fn certainty(&self) -> Certainty {
        self.certainty
    }

    /// May it be over in a moment, without anybody doing anything about it?
    pub(super) fn passes(&self) -> bool {
        match self.kind {
            TroubleKind::Unreachable | TroubleKind::Busy | TroubleKind::Conflicting => true,
            TroubleKind::Full
            | TroubleKind::ReadOnly
            | TroubleKind::Rights
            | TroubleKind::Unsuitable
            | TroubleKind::Newer
            | TroubleKind::Missing
            | TroubleKind::Replaced
            | TroubleKind::Forked
            | TroubleKind::Statement => false,
        }
    }

    fn advice(&self) -> &'static str {
        match self.kind {
            TroubleKind::Unreachable => "look at the server and at the network, or try again",
            TroubleKind::Busy | TroubleKind::Conflicting => "find out what the server is busy with, or try again",
            TroubleKind::Full => "make room on the server",
            TroubleKind::ReadOnly => "name the primary server",
            TroubleKind::Rights => "let this user in, or name another one in `PORTCULLIS_LEDGER`",
            TroubleKind::Unsuitable => "name a PostgreSQL database: `PORTCULLIS_LEDGER=postgres://USER@HOST/DATABASE`",
            TroubleKind::Newer => "update portcullis in this program",
            TroubleKind::Missing => "check the name of the database",
            TroubleKind::Replaced => "name the old one, or restart this program to accept the new one",
            TroubleKind::Forked => "start a new process (`exec`) instead of going on in a fork",
            TroubleKind::Statement => "look at the server's log",
        }
    }

    /// The refusal of `action`; says what could not be done at which server.
    pub(super) fn refuse(&self, action: &str, what: &str) -> Refused {
        let kind = match self.kind {
            TroubleKind::Forked => Kind::Forked,
            TroubleKind::Unreachable
            | TroubleKind::Busy
            | TroubleKind::Conflicting
            | TroubleKind::Full
            | TroubleKind::ReadOnly
            | TroubleKind::Rights
            | TroubleKind::Unsuitable
            | TroubleKind::Newer
            | TroubleKind::Missing
            | TroubleKind::Replaced
            | TroubleKind::Statement => Kind::LedgerUnavailable,
        };
        Refused::new(kind, action, format!("{what}: {self}")).advise(self.advice())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Trouble::of(&error)
    }
}

impl Trouble {
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else { return without_answer(error) };
        let (kind, what) = match db.code() {
            code if *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED => {
                (TroubleKind::Conflicting, "another transaction came into the way")
            }
            code if *code == SqlState::LOCK_NOT_AVAILABLE => (TroubleKind::Busy, "somebody else holds a lock"),
            code if *code == SqlState::QUERY_CANCELED => (TroubleKind::Busy, "a statement took too long"),
            code if *code == SqlState::TOO_MANY_CONNECTIONS => {
                (TroubleKind::Unreachable, "the server takes no more connections")
            }
            code if *code == SqlState::CANNOT_CONNECT_NOW => {
                (TroubleKind::Unreachable, "the server is starting or ending")
            }
            code if *code == SqlState::ADMIN_SHUTDOWN
                || *code == SqlState::CRASH_SHUTDOWN
                || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT =>
            {
                (TroubleKind::Unreachable, "the server ended the connection")
            }
            code if *code == SqlState::DISK_FULL || *code == SqlState::OUT_OF_MEMORY => {
                (TroubleKind::Full, "the server has no room")
            }
            code if *code == SqlState::READ_ONLY_SQL_TRANSACTION => (TroubleKind::ReadOnly, "it is read-only"),
            code if *code == SqlState::INSUFFICIENT_PRIVILEGE
                || *code == SqlState::INVALID_PASSWORD
                || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
            {
                (TroubleKind::Rights, "this user may not")
            }
            code if *code == SqlState::INVALID_CATALOG_NAME => (TroubleKind::Missing, "there is no such database"),
            code if *code == SqlState::UNDEFINED_TABLE
                || *code == SqlState::UNDEFINED_COLUMN
                || *code == SqlState::INVALID_SCHEMA_NAME =>
            {
                (TroubleKind::Unsuitable, "its tables are not the ledger's")
            }
            code if code.code().starts_with("08") => (TroubleKind::Unreachable, "the connection was lost"),
            _ => (TroubleKind::Statement, "a statement failed"),
        };
        // An ERROR has rolled back. Whatever ends the session may have come after the commit.
        let certainty = match db.parsed_severity() {
            Some(Severity::Error) if *db.code() != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN => Certainty::Nothing,
            _ => Certainty::Unknown,
        };
        // Not the detail: it may quote a row.
        Trouble { kind, what: format!("{what} ({}, SQLSTATE {})", db.message(), db.code().code()), certainty }
    }
}

/// The server did not say what is wrong, so nothing is known.
fn without_answer(error: &tokio_postgres::Error) -> Trouble {
    let mut what = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        what = format!("{what}: {cause}");
        source = cause.source();
    }
    Trouble::new(TroubleKind::Unreachable, what).unknown()
}
