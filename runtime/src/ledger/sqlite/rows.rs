//! Rows of `claim`, `action` and `note`, read and written.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::super::events;
use super::super::rules::{Age, Body, By, Doubt, Known, Life, Stage, Standing, State, Stored};
use super::super::{Attempt, ClaimRequest, Digest, Fingerprint, Kept, Note, NoteRequest, Receipt, Settlement};
use crate::sqlite::{OwnerId, Trouble, TroubleKind, time};

/// A row of `claim`.
#[derive(Debug)]
pub(in crate::ledger) struct Row {
    pub(in crate::ledger) id: i64,
    pub(super) fingerprint: Fingerprint,
    pub(in crate::ledger) state: State,
    pub(in crate::ledger) epoch: u64,
    pub(super) attempt: Attempt,
    pub(in crate::ledger) owner: OwnerId,
    pub(super) claimed_ms: i64,
    pub(super) settled_ms: Option<i64>,
    retain_ms: Option<i64>,
    loss: i64,
    receipt: Option<String>,
    pub(super) ended: Option<String>,
    first_ms: Option<i64>,
    pub(in crate::ledger) running: bool,
    by: By,
    sealed: bool,
    transactional: bool,
}

/// What a claim's owner is, and how long ago the claim's two moments were.
pub(super) struct Circumstances {
    pub(super) owner: Life,
    pub(super) since: Age,
    pub(super) started: Age,
}

pub(in crate::ledger) fn find(connection: &Connection, digest: &Digest) -> Result<Option<Row>, Trouble> {
    let row = connection
        .prepare_cached(
            "SELECT id, fingerprint, state, epoch, attempt, owner, claimed_ms, settled_ms, retain_ms, loss, receipt, ended,
               first_ms, running, settled_by, sealed, transactional
             FROM claim WHERE digest = ?1",
        )?
        .query_row([digest.0], |row| {
            let codes: (i64, i64) = (row.get(2)?, row.get(14)?);
            Ok((
                codes,
                Row {
                    id: row.get(0)?,
                    fingerprint: Fingerprint(row.get(1)?),
                    state: State::Pending,
                    epoch: row.get::<_, i64>(3)?.unsigned_abs(),
                    attempt: Attempt(Uuid::from_bytes(row.get(4)?)),
                    owner: OwnerId(row.get(5)?),
                    claimed_ms: row.get(6)?,
                    settled_ms: row.get(7)?,
                    retain_ms: row.get(8)?,
                    loss: row.get(9)?,
                    receipt: row.get(10)?,
                    ended: row.get(11)?,
                    first_ms: row.get(12)?,
                    running: row.get(13)?,
                    by: By::Attempt,
                    sealed: row.get(15)?,
                    transactional: row.get(16)?,
                },
            ))
        })
        .optional()?;
    let Some(((state_code, by_code), row)) = row else { return Ok(None) };
    Ok(Some(Row { state: state(state_code)?, by: by(by_code)?, ..row }))
}

fn state(code: i64) -> Result<State, Trouble> {
    State::from_code(code).ok_or_else(|| unreadable("state", code))
}

fn by(code: i64) -> Result<By, Trouble> {
    By::from_code(code).ok_or_else(|| unreadable("settled_by", code))
}

fn unreadable(column: &str, code: i64) -> Trouble {
    Trouble::new(TroubleKind::Statement, format!("a claim's {column} is {code}, which this release does not know"))
}

impl Row {
    /// What the rules need to know. `circumstances` are asked for where they matter.
    pub(super) fn stored(
        &self,
        circumstances: impl FnOnce() -> Result<Circumstances, Trouble>,
    ) -> Result<Stored, Trouble> {
        let stage = match self.state {
            State::Pending => {
                Stage::Pending { owner: circumstances()?.owner, all_or_nothing: self.known().is_all_or_nothing() }
            }
            State::Committed => Stage::Committed { receipt: self.receipt()?, kept_until: self.kept_until() },
            State::Failed => {
                let text = self.receipt.clone().unwrap_or_default();
                Stage::Failed { error: Kept { text, sealed: self.sealed }, kept_until: self.kept_until() }
            }
            State::InDoubt => {
                let Circumstances { owner, since, started } = circumstances()?;
                let body = match (self.running, owner) {
                    (false, _) => Body::Over,
                    (true, Life::Alive) => Body::Running,
                    (true, Life::Dead) => Body::Lost { all_or_nothing: self.known().is_all_or_nothing() },
                };
                Stage::InDoubt(Doubt { body, since, started })
            }
            State::Open => Stage::Open,
            State::Expired => Stage::Expired,
        };
        Ok(Stored { fingerprint: self.fingerprint, epoch: self.epoch, attempt: self.attempt, stage })
    }

    fn receipt(&self) -> Result<Receipt, Trouble> {
        match (&self.receipt, self.loss) {
            (Some(text), _) => Ok(Receipt::Kept(Kept { text: text.clone(), sealed: self.sealed })),
            (None, 0) => Ok(Receipt::Absent),
            (None, 1) => Ok(Receipt::Unencodable),
            (None, 2) => Ok(Receipt::TooLarge),
            (None, 3) => Ok(Receipt::Unsealed),
            (None, other) => Err(unreadable("loss", other)),
        }
    }

    pub(super) fn kept_until(&self) -> Option<i64> {
        Some(self.settled_ms?.saturating_add(self.retain_ms?))
    }

    /// When the first of the starts whose outcome is unknown began.
    pub(super) fn first_ms(&self) -> i64 {
        self.first_ms.unwrap_or(self.claimed_ms)
    }

    /// What a person's act needs to know. `alive`: its owner lives.
    pub(in crate::ledger) fn standing(&self, alive: bool) -> Standing {
        Standing {
            state: self.state,
            epoch: self.epoch,
            may_run: alive && (self.state == State::Pending || self.running),
            lacks_receipt: self.receipt.is_none() && self.loss == 0 && self.by == By::Person,
        }
    }

    pub(super) fn known(&self) -> Known {
        let Row { state, epoch, attempt, running, by, transactional, .. } = *self;
        Known { state, epoch, attempt, running, by, transactional, earlier_doubt: self.first_ms.is_some() }
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

/// Where a claim has come to.
#[derive(Debug)]
pub(in crate::ledger) struct Outcome<'a> {
    pub(in crate::ledger) state: State,
    pub(in crate::ledger) kept: Option<&'a Kept>,
    pub(in crate::ledger) loss: i64,
    pub(in crate::ledger) ended: Option<&'a str>,
    pub(in crate::ledger) running: bool,
    pub(in crate::ledger) by: By,
}

impl<'a> Outcome<'a> {
    pub(in crate::ledger) fn new(state: State, by: By) -> Self {
        Outcome { state, kept: None, loss: 0, ended: None, running: false, by }
    }

    pub(super) fn committed(receipt: &'a Receipt, by: By) -> Self {
        let (kept, loss) = match receipt {
            Receipt::Kept(kept) => (Some(kept), 0),
            Receipt::Absent => (None, 0),
            Receipt::Unencodable => (None, 1),
            Receipt::TooLarge => (None, 2),
            Receipt::Unsealed => (None, 3),
        };
        Outcome { kept, loss, ..Outcome::new(State::Committed, by) }
    }

    pub(super) fn ended(state: State, ended: &'a str) -> Self {
        Outcome { ended: Some(ended), ..Outcome::new(state, By::Attempt) }
    }

    pub(super) fn of(settlement: &'a Settlement) -> Self {
        match settlement {
            Settlement::Committed(receipt) => Outcome::committed(receipt, By::Attempt),
            Settlement::Failed(error) => Outcome { kept: Some(error), ..Outcome::new(State::Failed, By::Attempt) },
            Settlement::InDoubt(ended) => Outcome::ended(State::InDoubt, ended),
            Settlement::Overdue => Outcome { running: true, ..Outcome::ended(State::InDoubt, events::OVERDUE) },
            Settlement::Released(ended) => Outcome::ended(State::Open, ended),
        }
    }
}

/// Writes where a claim has come to.
pub(in crate::ledger) fn put(
    connection: &Connection,
    id: i64,
    outcome: &Outcome<'_>,
    now_ms: i64,
) -> Result<(), Trouble> {
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
pub(in crate::ledger) fn notes(connection: &Connection, digest: &Digest) -> Result<Vec<Note>, Trouble> {
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
