//! What a store does for whoever looks into it from outside. What is decided, and in which words, is decided here, once for every
//! store; how it is read and written is each store's own.

use std::fmt;

use serde_json::{Value, json};

use super::super::chain::Entry;
use super::super::row::{Outcome, Row};
use super::super::rules::{self, Act, By as DecidedBy, Life, OnAct, Sight, State};
use super::super::{Digest, Kept, Note};
use super::{By, ClaimState, Event, Filter, Record};
use crate::clock::time;
use crate::refused::Refused;

/// How many claims, or lines of the log, are read or written at once: others come in between.
pub(in crate::ledger) const BATCH: usize = 500;

/// A store, opened from outside. Every method is one transaction, and what may be over in a moment is tried for a few seconds.
pub(in crate::ledger) trait Archive: Send + fmt::Debug {
    /// Claims, latest first, and at most so many.
    fn claims(&mut self, which: &Which<'_>, limit: usize) -> Result<Vec<Record>, Refused>;

    /// The events about a claim, in order.
    fn events(&mut self, digest: &Digest) -> Result<Vec<Event>, Refused>;

    /// The notes beside a claim, in order.
    fn notes(&mut self, digest: &Digest) -> Result<Vec<Note>, Refused>;

    /// The first event that is not what was appended, as owner and line.
    fn verify(&mut self) -> Result<Option<(i64, i64)>, Refused>;

    /// A person's act, decided about and written in one transaction, with its event.
    fn act(&mut self, deed: &Deed<'_>) -> Result<OnAct, Refused>;

    /// Takes the receipts of at most [`BATCH`] claims away whose time is over, with the notes beside them; says of how many.
    fn sweep(&mut self, by: &By) -> Result<usize, Refused>;

    /// The next [`BATCH`] claims with their notes, in an order in which none is left out whatever is written meanwhile.
    fn next_claims(&mut self, after: Option<&Digest>) -> Result<Vec<(Record, Vec<Note>)>, Refused>;

    /// The next [`BATCH`] events.
    fn next_events(&mut self, after: i64) -> Result<Vec<Logged>, Refused>;
}

/// Which claims.
#[derive(Debug)]
pub(in crate::ledger) enum Which<'a> {
    Filtered(&'a Filter),
    One(Digest),
    /// From this one to that one.
    Between(Digest, Digest),
}

impl Filter {
    pub(in crate::ledger) fn names(&self) -> (Option<&str>, Option<&str>) {
        (self.namespace.as_deref(), self.action.as_deref())
    }

    pub(in crate::ledger) fn wanted(&self) -> Option<ClaimState> {
        self.state
    }

    /// What the column `state` may hold in a claim that is shown as wanted; more than that is shown otherwise: what a dead
    /// process has left pending, and what is kept no longer.
    pub(in crate::ledger) fn states(&self) -> &'static str {
        match self.state {
            None => "TRUE",
            Some(ClaimState::Pending) => "claim.state = 0",
            Some(ClaimState::Committed) => "claim.state = 1",
            Some(ClaimState::Failed) => "claim.state = 2",
            // As the partial index says it.
            Some(ClaimState::InDoubt) => "claim.state IN (0, 3)",
            Some(ClaimState::Open) => "claim.state = 4",
            Some(ClaimState::Expired) => "claim.state IN (1, 2, 5)",
        }
    }
}

/// What a person says about a claim that they have seen.
#[derive(Debug)]
pub(in crate::ledger) struct Deed<'a> {
    pub(super) act: Act,
    pub(super) seen: Sight,
    pub(in crate::ledger) digest: Digest,
    pub(in crate::ledger) action: &'a str,
    pub(super) receipt: Option<&'a Kept>,
    pub(in crate::ledger) by: &'a By,
}

impl Deed<'_> {
    /// What the rules say, of a row that nobody else can change meanwhile.
    pub(in crate::ledger) fn decide(&self, row: &Row, owner: Life, now_ms: i64) -> OnAct {
        rules::act(self.act, row.standing(owner, now_ms), &self.seen, self.by.is_forced())
    }

    /// What is to be written into the claim.
    pub(in crate::ledger) fn outcome(&self, to: State) -> Outcome<'_> {
        Outcome { kept: self.receipt, ended: Some(self.by.reason()), ..Outcome::new(to, DecidedBy::Person) }
    }

    /// The event's kind.
    pub(in crate::ledger) fn event(&self) -> &'static str {
        match self.act {
            Act::Commit { .. } => "committed_by_hand",
            Act::Release => "released_by_hand",
        }
    }

    /// What else the event says.
    pub(in crate::ledger) fn detail(&self) -> Value {
        json!({
            "reason": self.by.reason(),
            "forced": self.by.is_forced(),
            "from": ClaimState::from(self.seen.state).name(),
            "receipt": self.receipt.map(|kept| &kept.text),
        })
    }
}

/// A line of the log as it is stored.
#[derive(Debug)]
pub(in crate::ledger) struct Logged {
    pub(in crate::ledger) id: i64,
    pub(in crate::ledger) owner: i64,
    pub(in crate::ledger) seq: i64,
    pub(in crate::ledger) at_ms: i64,
    pub(in crate::ledger) kind: String,
    pub(in crate::ledger) actor: String,
    pub(in crate::ledger) action: String,
    pub(in crate::ledger) digest: Option<[u8; 32]>,
    pub(in crate::ledger) epoch: Option<i64>,
    pub(in crate::ledger) detail: String,
    pub(in crate::ledger) hash: [u8; 32],
}

impl Logged {
    /// What its hash is of.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "SQLite checks its rows as it reads them"))]
    pub(in crate::ledger) fn entry(&self) -> Entry<'_> {
        Entry {
            at_ms: self.at_ms,
            kind: &self.kind,
            actor: &self.actor,
            action: &self.action,
            digest: self.digest.as_ref(),
            epoch: self.epoch,
            detail: &self.detail,
        }
    }

    /// As JSON; as a text, if it is none.
    pub(super) fn detail(&self) -> Value {
        serde_json::from_str(&self.detail).unwrap_or_else(|_| Value::String(self.detail.clone()))
    }
}

impl From<Logged> for Event {
    fn from(logged: Logged) -> Self {
        let detail = logged.detail();
        let Logged { at_ms, kind, actor, action, epoch, .. } = logged;
        Event { at: time(at_ms), kind, actor, action, epoch, detail }
    }
}
