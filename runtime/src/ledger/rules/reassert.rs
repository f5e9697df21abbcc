//! What becomes of a claim that was granted and acknowledged, and that the ledger may have lost since: a server that took over
//! may lack the last of what the one before it had acknowledged.

use super::super::Attempt;
use super::{Known, State};

/// What its owner, whose body still runs, does about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum OnReassert {
    /// It is on record, wherever it stands by now, or an epoch that came after it is.
    Stands,
    /// It is lost: write it again, pending, with an event.
    Write,
    /// It is lost, and another start is on record in its place: leave that as it is, with an event.
    Overtaken,
}

/// Decides about a claim that was granted under `(epoch, attempt)` and is not settled.
///
/// Rows are never deleted and epochs never go back. So where there is no row, or one that is free or in doubt since an earlier epoch, the
/// grant of this one is lost. Nothing else is overwritten: what is pending may run, and what is settled stays.
pub(crate) fn reassert(stored: Option<Known>, epoch: u64, attempt: Attempt) -> OnReassert {
    let Some(stored) = stored else { return OnReassert::Write };
    if stored.epoch > epoch || (stored.epoch, stored.attempt) == (epoch, attempt) {
        return OnReassert::Stands;
    }
    match stored.state {
        State::Open | State::InDoubt if stored.epoch < epoch && !stored.running => OnReassert::Write,
        State::Open | State::InDoubt | State::Pending | State::Committed | State::Failed | State::Expired => {
            OnReassert::Overtaken
        }
    }
}
