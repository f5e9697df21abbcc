//! What a person may decide about a claim, and what retention may.

use super::{State, is_over};

/// What a person says about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// It happened.
    Commit { with_receipt: bool },
    /// It did not happen.
    Release,
}

/// What of a stored claim decides about an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: State,
    pub(crate) epoch: u64,
    /// It is pending or overdue, and its process lives.
    pub(crate) may_run: bool,
    /// Committed by a person's word, and without a receipt.
    pub(crate) lacks_receipt: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a person's act may be refused"]
pub(crate) enum OnAct {
    /// Write this state, and an event.
    Apply { to: State },
    /// Another start has been granted since the person looked.
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

/// Decides about an act on a claim of which the person has seen `seen_epoch`.
pub(crate) fn act(act: Act, claim: Standing, seen_epoch: u64, forced: bool) -> OnAct {
    if claim.epoch != seen_epoch {
        return OnAct::Changed;
    }
    let to = match act {
        Act::Commit { .. } => State::Committed,
        Act::Release => State::Open,
    };
    match (claim.state, act) {
        (State::Pending | State::InDoubt, _) if claim.may_run && !forced => OnAct::Running,
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
