//! What a person decides about a claim, and what retention takes away.
//!
//! # Invariants
//! 1. An act applies to the start that the person has looked at, and to no later one.
//! 2. Nothing is deleted but what retention says; every act leaves an event with its actor and its reason.

use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use super::super::rules::{self, Act, By as DecidedBy, OnAct, State};
use super::super::sqlite::{
    bring_in,
    rows::{self, Outcome},
};
use super::super::{Digest, Kept};
use super::{ClaimState, Ledger, PATIENCE, Record};
use crate::refused::{Kind, Refused};
use crate::sqlite::{ChainEntry, Failure, Flush, OwnerId, SideFile, Trouble, TroubleKind, append, holder, now_ms};

/// Who acts on a ledger, and why: it is kept with the act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    actor: String,
    reason: String,
    forced: bool,
}

impl By {
    /// Somebody, for a reason: what was found out, and where. Neither may be empty.
    pub fn new(actor: impl Into<String>, reason: impl Into<String>) -> Self {
        By { actor: actor.into(), reason: reason.into(), forced: false }
    }

    /// Acts also where that can lead to a second effect: on a call whose body may be running (if it then runs to its end, its
    /// result is kept as evidence), and on one that has happened and whose receipt has expired.
    #[must_use]
    pub fn force(mut self) -> Self {
        self.forced = true;
        self
    }

    fn check(&self) -> Result<(), Refused> {
        for (what, text) in [("actor", &self.actor), ("reason", &self.reason)] {
            if text.trim().is_empty() {
                let why = format!("an act on the ledger needs its {what}");
                return Err(Refused::new(Kind::InvalidArgument, "ledger", why));
            }
        }
        Ok(())
    }
}

/// What [`Ledger::gc`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Swept {
    /// Receipts and recorded errors that were taken away, with the notes beside them. Their keys are remembered.
    pub expired: u64,
}

/// How many receipts are taken away in one transaction: others write in between.
const BATCH: usize = 500;

/// Receipts whose time is over, as the partial index says it.
const DUE: &str = "SELECT id, digest, state, settled_ms + retain_ms FROM claim
    WHERE retain_ms IS NOT NULL AND state IN (1, 2) AND settled_ms + retain_ms <= ?1 LIMIT ?2";

/// How long others have the file for themselves between two batches.
const PAUSE: Duration = Duration::from_millis(5);

impl Ledger {
    /// Says that a call in doubt has happened. Its receipt, if one is given, is what retries get; without one they are refused
    /// as `receipt_unreadable`, and it can be given later. It is stored as it stands, unsealed.
    ///
    /// `record` is what was looked at: if another start has been granted since, nothing is done.
    ///
    /// # Errors
    /// [`Kind::Fenced`] if the claim has changed since; [`Kind::InFlight`] if its body may be running, unless it is
    /// [forced](By::force); [`Kind::InvalidTransition`] if its outcome is known; [`Kind::InvalidArgument`] without an actor or a
    /// reason; else as [`list`](Self::list).
    pub fn commit(&self, record: &Record, receipt: Option<&Value>, by: &By) -> Result<Record, Refused> {
        let kept = receipt.map(|receipt| Kept { text: receipt.to_string(), sealed: false });
        self.act(record, Act::Commit { with_receipt: kept.is_some() }, kept.as_ref(), by)
    }

    /// Says that a call in doubt did not happen, and can't happen any more: the next call with the same parameters runs it
    /// again, under the next epoch. What its earlier body says later is kept as evidence; if it says so before the next start,
    /// it counts.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn release(&self, record: &Record, by: &By) -> Result<Record, Refused> {
        self.act(record, Act::Release, None, by)
    }

    /// Takes away the receipts whose time is over (`retain`), with the notes beside them. Their keys are remembered: a retry is
    /// refused as `receipt_expired`, and never runs. What is pending, open or in doubt is never touched.
    ///
    /// It works in small batches with pauses between them, so that calls go on. Killed half way, it has done half.
    ///
    /// # Errors
    /// As [`list`](Self::list), and [`Kind::InvalidArgument`] without an actor or a reason.
    pub fn gc(&self, by: &By) -> Result<Swept, Refused> {
        by.check()?;
        let mut swept = Swept::default();
        loop {
            let expired = self.write(|connection, _, owner| sweep(connection, owner, by))?;
            swept.expired += expired as u64;
            if expired < BATCH {
                return Ok(swept);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn act(&self, record: &Record, act: Act, receipt: Option<&Kept>, by: &By) -> Result<Record, Refused> {
        by.check()?;
        let digest = Digest::new(&record.namespace, &record.action, &record.key);
        let decided = self.write(|connection, side, owner| {
            let Some(row) = rows::find(connection, &digest)? else { return Ok(OnAct::Changed) };
            let alive = holder(connection, side, OwnerId(row.owner))?.is_some_and(|holder| holder.alive);
            let decided = rules::act(act, row.standing(alive), record.epoch, by.forced);
            if let OnAct::Apply { to } = decided {
                let outcome = Outcome { kept: receipt, ended: Some(&by.reason), ..Outcome::new(to, DecidedBy::Person) };
                let now = now_ms();
                rows::put(connection, row.id, &outcome, now)?;
                let detail = json!({
                    "reason": by.reason,
                    "forced": by.forced,
                    "from": ClaimState::from(row.state).name(),
                    "receipt": receipt.map(|kept| &kept.text),
                });
                let entry = ChainEntry {
                    at_ms: now,
                    kind: match act {
                        Act::Commit { .. } => "committed_by_hand",
                        Act::Release => "released_by_hand",
                    },
                    actor: &by.actor,
                    action: &record.action,
                    digest: Some(&digest.0),
                    epoch: Some(row.epoch.cast_signed()),
                    detail: &detail.to_string(),
                };
                append(connection, owner, &entry)?;
            }
            Ok(decided)
        })?;
        let refuse = |kind, why: &str| Refused::new(kind, &record.action, why);
        match decided {
            OnAct::Apply { .. } => {
                let now = self.show(&record.namespace, &record.action, &record.key)?;
                now.ok_or_else(|| refuse(Kind::LedgerUnavailable, "the claim has gone"))
            }
            OnAct::Changed => Err(refuse(
                Kind::Fenced,
                "nothing was changed: another start has been granted since this claim was looked at",
            )
            .advise("look at it again")),
            OnAct::Running => Err(refuse(
                Kind::InFlight,
                "nothing was changed: its process lives, so its body may be running, and its effect may still happen",
            )
            .advise("wait for it or end its process; only a forced act goes on all the same")),
            OnAct::Happened => Err(refuse(
                Kind::InvalidTransition,
                "nothing was changed: its outcome is on record, and what has happened can't be undone here",
            )
            .advise("for another effect, use another key")),
            OnAct::Remembered => Err(refuse(
                Kind::InvalidTransition,
                "nothing was changed: it has happened, and only its receipt is gone; released, it could happen again",
            )
            .advise("only a forced act lets it happen again")),
            OnAct::Already => Err(refuse(Kind::InvalidTransition, "nothing was changed: that is on record already")),
        }
    }

    fn write<T>(
        &self,
        body: impl FnOnce(&Connection, Option<&SideFile>, OwnerId) -> Result<T, Trouble>,
    ) -> Result<T, Refused> {
        self.with(|database| {
            let until = Instant::now() + PATIENCE;
            let owner = database.enrol(until)?;
            bring_in(database, owner, until)?;
            let side = database.side().cloned();
            database
                .write(until, Flush::Disk, |connection| body(connection, side.as_deref(), owner))
                .map_err(Failure::trouble)
        })
    }
}

/// One batch of [`Ledger::gc`]: how many receipts it took away.
fn sweep(connection: &Connection, owner: OwnerId, by: &By) -> Result<usize, Trouble> {
    let now = now_ms();
    let mut found = connection.prepare_cached(DUE)?;
    let rows = found.query_map(params![now, BATCH as i64], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
    })?;
    let mut expired = 0;
    for row in rows.collect::<Result<Vec<_>, _>>()? {
        let (id, digest, state, kept_until) = row;
        let state = State::from_code(state)
            .ok_or_else(|| Trouble::new(TroubleKind::Statement, format!("a claim's state is {state}")))?;
        if !rules::expires(state, Some(kept_until), now) {
            continue;
        }
        connection
            .prepare_cached("UPDATE claim SET state = ?2, receipt = NULL, sealed = 0, loss = 0 WHERE id = ?1")?
            .execute(params![id, State::Expired.code()])?;
        connection.prepare_cached("DELETE FROM note WHERE digest = ?1")?.execute([digest])?;
        expired += 1;
    }
    if expired > 0 {
        let detail = json!({ "expired": expired, "reason": by.reason }).to_string();
        let entry = ChainEntry {
            at_ms: now,
            kind: "gc",
            actor: &by.actor,
            action: "",
            digest: None,
            epoch: None,
            detail: &detail,
        };
        append(connection, owner, &entry)?;
    }
    Ok(expired)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{Create, Database, Place};

    #[test]
    fn what_is_due_is_found_without_looking_at_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::File(dir.path().join("ledger.sqlite"));
        let database = Database::open(&place, Create::Yes, Instant::now() + PATIENCE).unwrap();
        let explain = format!("EXPLAIN QUERY PLAN {DUE}");
        let plan: String = database.connection().unwrap().query_row(&explain, params![0, 1], |row| row.get(3)).unwrap();
        assert!(plan.starts_with("SEARCH claim USING INDEX claim_expiry"), "{plan}");
    }
}
