//! What a person may decide about a claim, and what retention may.

use super::{Life, State, is_over};

/// What a person says about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// It happened.
    Commit,
    /// It did not happen.
    Release,
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

/// Decides about an act on a claim of which the person has seen `seen_epoch`. `body` says whether its body may be running:
/// its process lives, and it is pending or overdue.
pub(crate) fn act(act: Act, state: State, epoch: u64, body: Life, seen_epoch: u64, forced: bool) -> OnAct {
    if epoch != seen_epoch {
        return OnAct::Changed;
    }
    let to = match act {
        Act::Commit => State::Committed,
        Act::Release => State::Open,
    };
    match (state, act) {
        (State::Pending | State::InDoubt, _) if body == Life::Alive && !forced => OnAct::Running,
        (State::Pending | State::InDoubt, _) => OnAct::Apply { to },
        (State::Open, Act::Release) | (State::Committed | State::Failed | State::Expired, Act::Commit) => OnAct::Already,
        // It did happen after all.
        (State::Open, Act::Commit) => OnAct::Apply { to },
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
