//! A claim as a store has it on record, and what is written into one. How it is read and written is for each store to say.

use std::fmt;

use super::rules::{self, Age, Body, By, Doubt, Known, Life, Sight, Stage, Standing, State, Stored};
use super::{Attempt, Fingerprint, Kept, Receipt, Settlement, events};

/// A row of `claim`.
#[derive(Debug)]
pub(in crate::ledger) struct Row {
    pub(in crate::ledger) fingerprint: Fingerprint,
    pub(in crate::ledger) state: State,
    pub(in crate::ledger) epoch: u64,
    pub(in crate::ledger) attempt: Attempt,
    pub(in crate::ledger) owner: i64,
    pub(in crate::ledger) claimed_ms: i64,
    pub(in crate::ledger) settled_ms: Option<i64>,
    pub(in crate::ledger) retain_ms: Option<i64>,
    pub(in crate::ledger) loss: i64,
    pub(in crate::ledger) receipt: Option<String>,
    pub(in crate::ledger) ended: Option<String>,
    pub(in crate::ledger) first_ms: Option<i64>,
    pub(in crate::ledger) running: bool,
    pub(in crate::ledger) by: By,
    pub(in crate::ledger) sealed: bool,
    pub(in crate::ledger) transactional: bool,
}

/// What a claim's owner is, and how long ago the claim's two moments were.
pub(in crate::ledger) struct Circumstances {
    pub(in crate::ledger) owner: Life,
    pub(in crate::ledger) since: Age,
    pub(in crate::ledger) started: Age,
}

/// A code that a newer release may have written: a column and what stands in it.
#[derive(Debug)]
pub(in crate::ledger) struct Unreadable(&'static str, i64);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a claim's {} is {}, which this release does not know", self.0, self.1)
    }
}

pub(in crate::ledger) fn state(code: i64) -> Result<State, Unreadable> {
    State::from_code(code).ok_or(Unreadable("state", code))
}

pub(in crate::ledger) fn by(code: i64) -> Result<By, Unreadable> {
    By::from_code(code).ok_or(Unreadable("settled_by", code))
}

impl Row {
    /// What the rules need to know. `circumstances` are asked for where they matter.
    pub(in crate::ledger) fn stored<E: From<Unreadable>>(
        &self,
        circumstances: impl FnOnce() -> Result<Circumstances, E>,
    ) -> Result<Stored, E> {
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

    fn receipt(&self) -> Result<Receipt, Unreadable> {
        match (&self.receipt, self.loss) {
            (Some(text), _) => Ok(Receipt::Kept(Kept { text: text.clone(), sealed: self.sealed })),
            (None, 0) => Ok(Receipt::Absent),
            (None, 1) => Ok(Receipt::Unencodable),
            (None, 2) => Ok(Receipt::TooLarge),
            (None, 3) => Ok(Receipt::Unsealed),
            (None, other) => Err(Unreadable("loss", other)),
        }
    }

    pub(super) fn kept_until(&self) -> Option<i64> {
        Some(self.settled_ms?.saturating_add(self.retain_ms?))
    }

    /// When the first of the starts whose outcome is unknown began.
    pub(in crate::ledger) fn first_ms(&self) -> i64 {
        self.first_ms.unwrap_or(self.claimed_ms)
    }

    /// What is shown of it to a person.
    pub(in crate::ledger) fn sight(&self, owner: Life, now_ms: i64) -> Sight {
        let state = rules::shown(self.state, owner, self.kept_until(), now_ms);
        Sight {
            epoch: self.epoch,
            state,
            running: self.running && owner == Life::Alive && state == State::InDoubt,
            settled_ms: self.settled_ms,
        }
    }

    /// What a person's act needs to know.
    pub(in crate::ledger) fn standing(&self, owner: Life, now_ms: i64) -> Standing {
        Standing {
            sight: self.sight(owner, now_ms),
            lacks_receipt: self.receipt.is_none() && self.loss == 0 && self.by == By::Person,
        }
    }

    pub(in crate::ledger) fn known(&self) -> Known {
        let Row { state, epoch, attempt, running, by, transactional, .. } = *self;
        Known { state, epoch, attempt, running, by, transactional, earlier_doubt: self.first_ms.is_some() }
    }
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

    pub(in crate::ledger) fn committed(receipt: &'a Receipt, by: By) -> Self {
        let (kept, loss) = match receipt {
            Receipt::Kept(kept) => (Some(kept), 0),
            Receipt::Absent => (None, 0),
            Receipt::Unencodable => (None, 1),
            Receipt::TooLarge => (None, 2),
            Receipt::Unsealed => (None, 3),
        };
        Outcome { kept, loss, ..Outcome::new(State::Committed, by) }
    }

    pub(in crate::ledger) fn ended(state: State, ended: &'a str) -> Self {
        Outcome { ended: Some(ended), ..Outcome::new(state, By::Attempt) }
    }

    pub(in crate::ledger) fn of(settlement: &'a Settlement) -> Self {
        match settlement {
            Settlement::Committed(receipt) => Outcome::committed(receipt, By::Attempt),
            Settlement::Failed(error) => Outcome { kept: Some(error), ..Outcome::new(State::Failed, By::Attempt) },
            Settlement::InDoubt(ended) => Outcome::ended(State::InDoubt, ended),
            Settlement::Overdue => Outcome { running: true, ..Outcome::ended(State::InDoubt, events::OVERDUE) },
            Settlement::Released(ended) => Outcome::ended(State::Open, ended),
        }
    }
}
