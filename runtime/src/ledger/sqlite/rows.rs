//! Rows of `claim` and `action`, read and written.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::super::messages::Standing;
use super::super::rules::{Life, Receipt, Stage, State, Stored};
use super::super::{Attempt, ClaimRequest, Digest, Fingerprint, ReceiptLoss, Settlement};
use crate::sqlite::{OwnerId, Trouble, TroubleKind};

/// A row of `claim`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) fingerprint: Fingerprint,
    pub(super) state: State,
    pub(super) epoch: u64,
    pub(super) attempt: Attempt,
    pub(super) owner: OwnerId,
    pub(super) claimed_ms: i64,
    pub(super) settled_ms: Option<i64>,
    retain_ms: Option<i64>,
    loss: i64,
    receipt: Option<String>,
    pub(super) ended: Option<String>,
}

pub(super) fn find(connection: &Connection, digest: &Digest) -> Result<Option<Row>, Trouble> {
    let row = connection
        .prepare_cached(
            "SELECT id, fingerprint, state, epoch, attempt, owner, claimed_ms, settled_ms, retain_ms, loss, receipt, ended
             FROM claim WHERE digest = ?1",
        )?
        .query_row([digest.0], |row| {
            let state: i64 = row.get(2)?;
            Ok((
                state,
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
                },
            ))
        })
        .optional()?;
    let Some((code, row)) = row else { return Ok(None) };
    Ok(Some(Row { state: state(code)?, ..row }))
}

fn state(code: i64) -> Result<State, Trouble> {
    State::from_code(code).ok_or_else(|| unreadable("state", code))
}

fn unreadable(column: &str, code: i64) -> Trouble {
    Trouble::new(TroubleKind::Statement, format!("a claim's {column} is {code}, which this release does not know"))
}

impl Row {
    /// What the rules need to know; `alive` says whether a pending claim's owner lives.
    pub(super) fn stored(&self, alive: impl FnOnce(OwnerId) -> Result<bool, Trouble>) -> Result<Stored, Trouble> {
        let stage = match self.state {
            State::Pending => Stage::Pending { owner: if alive(self.owner)? { Life::Alive } else { Life::Dead } },
            State::Committed => Stage::Committed { receipt: self.receipt()?, kept_until: self.kept_until() },
            State::Failed => Stage::Failed { error: self.receipt.clone().unwrap_or_default().into_bytes() },
            State::InDoubt => Stage::InDoubt,
            State::Open => Stage::Open,
            State::Expired => Stage::Expired,
        };
        Ok(Stored { fingerprint: self.fingerprint, epoch: self.epoch, attempt: self.attempt, stage })
    }

    fn receipt(&self) -> Result<Receipt, Trouble> {
        match (&self.receipt, self.loss) {
            (Some(receipt), _) => Ok(Receipt::Kept(receipt.clone().into_bytes())),
            (None, 0) => Ok(Receipt::Absent),
            (None, 1) => Ok(Receipt::Unencodable),
            (None, 2) => Ok(Receipt::TooLarge),
            (None, other) => Err(unreadable("loss", other)),
        }
    }

    fn kept_until(&self) -> Option<i64> {
        Some(self.settled_ms?.saturating_add(self.retain_ms?))
    }
}

impl Standing for Row {
    fn epoch(&self) -> u64 {
        self.epoch
    }
    fn claimed_ms(&self) -> i64 {
        self.claimed_ms
    }
    fn settled_ms(&self) -> Option<i64> {
        self.settled_ms
    }
    fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }
}

/// State, epoch and attempt of a claim, with its row's id: what a settlement needs.
pub(super) fn find_attempt(
    connection: &Connection,
    digest: &Digest,
) -> Result<Option<(i64, State, u64, Attempt)>, Trouble> {
    let row = connection
        .prepare_cached("SELECT id, state, epoch, attempt FROM claim WHERE digest = ?1")?
        .query_row([digest.0], |row| {
            Ok((
                row.get(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, i64>(2)?.unsigned_abs(),
                Attempt(Uuid::from_bytes(row.get(3)?)),
            ))
        })
        .optional()?;
    row.map(|(id, code, epoch, attempt)| Ok((id, state(code)?, epoch, attempt))).transpose()
}

/// Writes a pending claim: a new row, or the next epoch of an open one.
pub(super) fn start(
    connection: &Connection,
    request: &ClaimRequest,
    action: i64,
    owner: OwnerId,
    epoch: u64,
    now_ms: i64,
) -> Result<(), Trouble> {
    let retain_ms = request.retain.map(|retain| i64::try_from(retain.as_millis()).unwrap_or(i64::MAX));
    connection
        .prepare_cached(
            "INSERT INTO claim(digest, action, key, fingerprint, state, epoch, attempt, owner, claimed_ms, retain_ms)
             VALUES(?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT(digest) DO UPDATE SET state = 0, epoch = excluded.epoch, attempt = excluded.attempt,
               owner = excluded.owner, claimed_ms = excluded.claimed_ms, retain_ms = excluded.retain_ms,
               settled_ms = NULL, loss = 0, receipt = NULL, ended = NULL",
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
            retain_ms
        ])?;
    Ok(())
}

/// Writes where a claim has come to.
pub(super) fn settle(connection: &Connection, id: i64, settlement: &Settlement, now_ms: i64) -> Result<(), Trouble> {
    let (state, receipt, loss, ended) = match settlement {
        Settlement::Committed(receipt, loss) => {
            let loss = match loss {
                ReceiptLoss::None => 0,
                ReceiptLoss::Unencodable => 1,
                ReceiptLoss::TooLarge => 2,
            };
            (State::Committed, receipt.as_deref(), loss, None)
        }
        Settlement::Failed(error) => (State::Failed, Some(error.as_slice()), 0, None),
        Settlement::InDoubt(ended) => (State::InDoubt, None, 0, Some(*ended)),
        Settlement::Released(ended) => (State::Open, None, 0, Some(*ended)),
    };
    let text = receipt.map(str::from_utf8).transpose();
    let text = text.map_err(|error| Trouble::new(TroubleKind::Statement, "the receipt is not text").because(error))?;
    connection
        .prepare_cached(
            "UPDATE claim SET state = ?2, settled_ms = ?3, loss = ?4, receipt = ?5, ended = ?6 WHERE id = ?1",
        )?
        .execute(params![id, state.code(), now_ms, loss, text, ended])?;
    Ok(())
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
