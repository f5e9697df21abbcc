//! Settling inside the effect's own transaction.

use super::super::Attempt;
use super::{By, Known, State};

/// What a settlement inside the effect's own transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the transaction may have to be given up"]
pub(crate) enum OnInside {
    /// Write "committed", and an event if one is named.
    Apply { event: Option<&'static str> },
    /// Somebody else has decided about the claim: the transaction must not be committed.
    Fenced,
    /// It has settled already, and what others may have read does not change.
    Already,
    /// It is not the ledger that granted the claim.
    Unknown,
}

/// Decides about a settlement inside the effect's own transaction. Nothing has happened yet, so there is nothing to be heard
/// where others have decided.
pub(crate) fn settle_inside(stored: Option<Known>, epoch: u64, attempt: Attempt) -> OnInside {
    match stored {
        None => OnInside::Unknown,
        Some(stored) if (stored.epoch, stored.attempt) != (epoch, attempt) => OnInside::Fenced,
        Some(Known { state: State::Pending, .. }) => OnInside::Apply { event: None },
        Some(Known { state: State::InDoubt, running: true, .. }) => OnInside::Apply { event: Some("settled_late") },
        Some(Known { state: State::Committed, by: By::Attempt, .. }) => OnInside::Already,
        Some(_) => OnInside::Fenced,
    }
}
