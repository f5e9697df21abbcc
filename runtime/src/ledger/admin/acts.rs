//! What a person decides about a claim, and what retention takes away.
//!
//! # Invariants
//! 1. An act applies to what the person has seen, and to nothing that has come to be since.
//! 2. Nothing is deleted but what retention says; every act leaves an event with its actor and its reason.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::Kept;
use super::super::rules::{Act, OnAct};
use super::archive::{BATCH, Deed};
use super::{Ledger, Record};
use crate::refused::{Kind, Refused};

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

    pub(in crate::ledger) fn actor(&self) -> &str {
        &self.actor
    }

    pub(in crate::ledger) fn reason(&self) -> &str {
        &self.reason
    }

    pub(super) fn is_forced(&self) -> bool {
        self.forced
    }

    /// What the event of a sweep says.
    pub(in crate::ledger) fn swept(&self, expired: usize) -> Value {
        json!({ "expired": expired, "reason": self.reason })
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

/// How long others have the ledger for themselves between two batches.
const PAUSE: Duration = Duration::from_millis(5);

impl Ledger {
    /// Says that a call in doubt has happened. Its receipt, if one is given, is what retries get; without one they are refused
    /// as `receipt_unreadable`, and it can be given later. It is stored as it stands, unsealed.
    ///
    /// `record` is what was looked at, when the effect was looked for: if the claim stands anywhere else by now, nothing is done. A
    /// record from while its body ran says nothing about how it ended, so it is no base for a decision once the call is in doubt.
    ///
    /// # Errors
    /// [`Kind::Fenced`] if the claim no longer stands where `record` says; [`Kind::InFlight`] if its body may be running, unless it is
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
            let expired = self.with(|archive| archive.sweep(by))?;
            swept.expired += expired as u64;
            if expired < BATCH {
                return Ok(swept);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn act(&self, record: &Record, act: Act, receipt: Option<&Kept>, by: &By) -> Result<Record, Refused> {
        by.check()?;
        let (action, digest) = (&record.action, *record.digest());
        let decided =
            self.with(|archive| archive.act(&Deed { act, seen: record.sight(), digest, action, receipt, by }))?;
        let refuse = |kind, why: &str| Refused::new(kind, &record.action, why);
        match decided {
            OnAct::Apply { .. } => {
                let now = self.one(*record.digest())?;
                now.ok_or_else(|| refuse(Kind::LedgerUnavailable, "the claim has gone"))
            }
            OnAct::Changed => Err(refuse(
                Kind::Fenced,
                "nothing was changed: the claim no longer stands where it was seen",
            )
            .advise("look at the claim again, and then for its effect: what was seen while its body ran may be so no longer")),
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
}
