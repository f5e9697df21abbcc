//! Rows of `claim`, `action` and `note`, read and written.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

pub(super) use super::super::row::state;
pub(super) use super::super::row::{Circumstances, Outcome, Row};
use super::super::row::{Unreadable, by};
use super::super::rules::{By, Known, State};
use super::super::{Attempt, ClaimRequest, Digest, Fingerprint, Note, NoteRequest};
use crate::sqlite::{OwnerId, Trouble, TroubleKind, time};

/// A row of `claim`, with its id.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: i64,
    row: Row,
}

impl Found {
    pub(super) fn into_row(self) -> Row {
        self.row
    }
}

impl std::ops::Deref for Found {
    type Target = Row;
    fn deref(&self) -> &Row {
        &self.row
    }
}

/// What [`read`] takes.
pub(super) const COLUMNS: &str =
    "claim.id, claim.fingerprint, claim.state, claim.epoch, claim.attempt, claim.owner, claim.claimed_ms, claim.settled_ms,
    claim.retain_ms, claim.loss, claim.receipt, claim.ended, claim.first_ms, claim.running, claim.settled_by, claim.sealed,
    claim.transactional";

/// The claim in a row, from this column on.
pub(super) fn read(row: &rusqlite::Row<'_>, from: usize) -> Result<Found, Trouble> {
    Ok(Found {
        id: row.get(from)?,
        row: Row {
            fingerprint: Fingerprint(row.get(from + 1)?),
            state: state(row.get(from + 2)?)?,
            epoch: row.get::<_, i64>(from + 3)?.unsigned_abs(),
            attempt: Attempt(Uuid::from_bytes(row.get(from + 4)?)),
            owner: row.get(from + 5)?,
            claimed_ms: row.get(from + 6)?,
            settled_ms: row.get(from + 7)?,
            retain_ms: row.get(from + 8)?,
            loss: row.get(from + 9)?,
            receipt: row.get(from + 10)?,
            ended: row.get(from + 11)?,
            first_ms: row.get(from + 12)?,
            running: row.get(from + 13)?,
            by: by(row.get(from + 14)?)?,
            sealed: row.get(from + 15)?,
            transactional: row.get(from + 16)?,
        },
    })
}

pub(super) fn find(connection: &Connection, digest: &Digest) -> Result<Option<Found>, Trouble> {
    // One text for all, so that it is prepared once.
    static SQL: once_cell::sync::Lazy<String> =
        once_cell::sync::Lazy::new(|| format!("SELECT {COLUMNS} FROM claim WHERE digest = ?1"));
    let mut statement = connection.prepare_cached(&SQL)?;
    let mut rows = statement.query([digest.0])?;
    rows.next()?.map(|row| read(row, 0)).transpose()
}

impl From<Unreadable> for Trouble {
    fn from(unreadable: Unreadable) -> Self {
        Trouble::new(TroubleKind::Statement, unreadable.to_string())
    }
}

/// What a settlement needs to know of a claim, with its row's id.
pub(super) fn find_attempt(connection: &Connection, digest: &Digest) -> Result<Option<(i64, Known)>, Trouble> {
    let row = connection
        .prepare_cached(
            "SELECT id, state, epoch, attempt, running, settled_by, transactional, first_ms IS NOT NULL
             FROM claim WHERE digest = ?1",
        )?
        .query_row([digest.0], |row| {
            let (id, codes): (i64, (i64, i64)) = (row.get(0)?, (row.get(1)?, row.get(5)?));
            let known = Known {
                state: State::Pending,
                epoch: row.get::<_, i64>(2)?.unsigned_abs(),
                attempt: Attempt(Uuid::from_bytes(row.get(3)?)),
                running: row.get(4)?,
                by: By::Attempt,
                transactional: row.get(6)?,
                earlier_doubt: row.get(7)?,
            };
            Ok((id, codes, known))
        })
        .optional()?;
    row.map(|(id, codes, known)| Ok((id, Known { state: state(codes.0)?, by: by(codes.1)?, ..known }))).transpose()
}

/// The time of the latest claim that was made: it can't be later than now.
pub(super) fn latest_ms(connection: &Connection) -> Result<i64, Trouble> {
    let latest = connection
        .prepare_cached("SELECT claimed_ms FROM claim ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(latest.unwrap_or_default())
}

/// Writes a pending claim: a new row, or the next epoch of an old one. `first_ms` is when the first of the starts whose
/// outcome is unknown began, if that is not this one.
pub(super) fn start(
    connection: &Connection,
    request: &ClaimRequest,
    action: i64,
    owner: OwnerId,
    epoch: u64,
    first_ms: Option<i64>,
    now_ms: i64,
) -> Result<(), Trouble> {
    let retain_ms = request.retain.map(|retain| i64::try_from(retain.as_millis()).unwrap_or(i64::MAX));
    connection
        .prepare_cached(
            "INSERT INTO claim(digest, action, key, fingerprint, state, epoch, attempt, owner, claimed_ms, retain_ms,
               first_ms, transactional)
             VALUES(?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT(digest) DO UPDATE SET state = 0, epoch = excluded.epoch, attempt = excluded.attempt,
               owner = excluded.owner, claimed_ms = excluded.claimed_ms, retain_ms = excluded.retain_ms,
               first_ms = excluded.first_ms, transactional = excluded.transactional,
               settled_ms = NULL, loss = 0, receipt = NULL, ended = NULL, running = 0, settled_by = 0, sealed = 0",
        )?
        .execute(params![
            request.digest.0,
            action,
            request.key,
            request.fingerprint.0,
            epoch.cast_signed(),
            request.attempt.0.as_bytes(),
            owner.0,
            now_ms,
            retain_ms,
            first_ms,
            request.transactional
        ])?;
    Ok(())
}

/// Writes where a claim has come to.
pub(super) fn put(connection: &Connection, id: i64, outcome: &Outcome<'_>, now_ms: i64) -> Result<(), Trouble> {
    let Outcome { state, kept, loss, ended, running, by } = outcome;
    connection
        .prepare_cached(
            "UPDATE claim SET state = ?2, settled_ms = ?3, loss = ?4, receipt = ?5, sealed = ?6, ended = ?7, running = ?8,
               settled_by = ?9
             WHERE id = ?1",
        )?
        .execute(params![
            id,
            state.code(),
            now_ms,
            loss,
            kept.map(|kept| &kept.text),
            kept.is_some_and(|kept| kept.sealed),
            ended,
            running,
            by.code()
        ])?;
    Ok(())
}

pub(super) fn add_note(connection: &Connection, request: &NoteRequest, now_ms: i64) -> Result<(), Trouble> {
    connection
        .prepare_cached("INSERT INTO note(digest, epoch, at_ms, note) VALUES(?1, ?2, ?3, ?4)")?
        .execute(params![request.digest.0, request.epoch.cast_signed(), now_ms, request.note])?;
    Ok(())
}

/// The notes beside a claim, in order.
pub(super) fn notes(connection: &Connection, digest: &Digest) -> Result<Vec<Note>, Trouble> {
    let mut statement =
        connection.prepare_cached("SELECT epoch, at_ms, note FROM note WHERE digest = ?1 ORDER BY id")?;
    let notes = statement.query_map([digest.0], |row| {
        Ok(Note { epoch: row.get::<_, i64>(0)?.unsigned_abs(), at: time(row.get(1)?), bytes: row.get(2)? })
    })?;
    Ok(notes.collect::<Result<_, _>>()?)
}

/// What is known about an action's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) id: i64,
    pub(super) place: Option<String>,
}

pub(super) fn find_action(connection: &Connection, namespace: &str, name: &str) -> Result<Option<Action>, Trouble> {
    Ok(connection
        .prepare_cached("SELECT id, place FROM action WHERE namespace = ?1 AND name = ?2")?
        .query_row([namespace, name], |row| Ok(Action { id: row.get(0)?, place: row.get(1)? }))
        .optional()?)
}

pub(super) fn add_action(
    connection: &Connection,
    namespace: &str,
    name: &str,
    place: Option<&str>,
) -> Result<Action, Trouble> {
    connection
        .prepare_cached("INSERT INTO action(namespace, name, place) VALUES(?1, ?2, ?3)")?
        .execute(params![namespace, name, place])?;
    Ok(Action { id: connection.last_insert_rowid(), place: place.map(str::to_owned) })
}

/// The name of the action that a claim belongs to.
pub(super) fn action_of(connection: &Connection, digest: &Digest) -> Result<Option<String>, Trouble> {
    Ok(connection
        .prepare_cached("SELECT name FROM action WHERE id = (SELECT action FROM claim WHERE digest = ?1)")?
        .query_row([digest.0], |row| row.get(0))
        .optional()?)
}
