//! What a person may decide about a claim, and what retention may.
//!
//! # Invariants
//! 1. An act applies to what the person has seen, and to nothing that has come to be since: who looked while a body ran knows
//!    nothing of how it ended.

use super::{Life, State, is_over};

/// What a person says about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// It happened.
    Commit { with_receipt: bool },
    /// It did not happen.
    Release,
}

/// Where a claim stands, as it is shown to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sight {
    pub(crate) epoch: u64,
    /// As [`shown`] says it.
    pub(crate) state: State,
    /// In doubt because it is overdue, and its process lives.
    pub(crate) running: bool,
    /// When it came to where it stands, if that is on record.
    pub(crate) settled_ms: Option<i64>,
}

impl Sight {
    /// May its body be running?
    fn may_run(&self) -> bool {
        self.state == State::Pending || self.running
    }

    /// Does the claim still stand where it was seen? That a death has been put on record changes nothing of it.
    fn still_holds(&self, now: &Sight) -> bool {
        let settled = |sight: &Sight| sight.settled_ms.filter(|_| self.settled_ms.is_some());
        let known = |sight: &Sight| (sight.epoch, sight.state, sight.running, settled(sight));
        known(self) == known(now)
    }
}

/// The state that is shown of a claim: what a dead process has left pending is in doubt, and what is kept no longer has expired.
pub(crate) fn shown(state: State, owner: Life, kept_until: Option<i64>, now_ms: i64) -> State {
    match (state, owner) {
        (State::Pending, Life::Dead) => State::InDoubt,
        (state, _) if expires(state, kept_until, now_ms) => State::Expired,
        (state, _) => state,
    }
}

/// What of a stored claim decides about an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) sight: Sight,
    /// Committed by a person's word, and without a receipt.
    pub(crate) lacks_receipt: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a person's act may be refused"]
pub(crate) enum OnAct {
    /// Write this state, and an event.
    Apply { to: State },
    /// It no longer stands where the person saw it.
    Changed,
    /// Its body may be running: only by force.
    Running,
    /// It is known to have happened: nobody may say that it did not.
    Happened,
    /// It happened, and only its receipt is gone: only by force.
    Remembered,
    /// It is so already.
    Already,
}

/// Decides about an act on a claim that the person has `seen`.
pub(crate) fn act(act: Act, claim: Standing, seen: &Sight, forced: bool) -> OnAct {
    // Invariant 1.
    if !seen.still_holds(&claim.sight) {
        return OnAct::Changed;
    }
    let to = match act {
        Act::Commit { .. } => State::Committed,
        Act::Release => State::Open,
    };
    match (claim.sight.state, act) {
        (State::Pending | State::InDoubt, _) if claim.sight.may_run() && !forced => OnAct::Running,
        (State::Pending | State::InDoubt, _) => OnAct::Apply { to },
        // It did happen after all.
        (State::Open, Act::Commit { .. }) => OnAct::Apply { to },
        // Nobody has had a receipt so far, so nobody's changes.
        (State::Committed, Act::Commit { with_receipt: true }) if claim.lacks_receipt => OnAct::Apply { to },
        (State::Open, Act::Release) | (State::Committed | State::Failed | State::Expired, Act::Commit { .. }) => {
            OnAct::Already
        }
        (State::Committed | State::Failed, Act::Release) => OnAct::Happened,
        (State::Expired, Act::Release) if forced => OnAct::Apply { to },
        (State::Expired, Act::Release) => OnAct::Remembered,
    }
}

/// May retention take a claim's receipt away? Never that of one that is pending, open or in doubt.
pub(crate) fn expires(state: State, kept_until: Option<i64>, now_ms: i64) -> bool {
    match state {
        State::Committed | State::Failed => is_over(kept_until, now_ms),
        State::Pending | State::InDoubt | State::Open | State::Expired => false,
    }
}
