//! What may become of a claim: functions of what is stored, what is asked, whether the owner lives, and now.
//!
//! ```text
//! absent ──claim──▶ pending ──▶ committed ──retention──▶ expired
//!                    │   ├────▶ failed
//!                    │   ├────▶ open ──claim──▶ pending (next epoch)
//!                    │   └────▶ in_doubt ──▶ committed | failed | open   (by the same epoch and attempt)
//!                    └─owner dead──▶ in_doubt
//! ```
//!
//! No clock, no database: [`sqlite`](super) reads, asks here, and writes what it is told.
//!
//! # Invariants
//! 1. The fingerprint is compared first, in every state.
//! 2. `Run` comes only from absent, from open, or from the very attempt that holds the claim.
//! 3. A settlement applies only to its own epoch and attempt, and only to what is pending or in doubt.
//! 4. Nothing leads out of `committed`, `failed` and `expired` to another start.

use super::{Attempt, Fingerprint, ReceiptLoss, Settlement};

/// A claim as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) epoch: u64,
    pub(crate) attempt: Attempt,
    pub(crate) stage: Stage,
}

/// Where a stored claim stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Pending {
        owner: Life,
    },
    Committed {
        receipt: Receipt,
        /// In the ledger's clock, milliseconds since 1970; `None`: for ever.
        kept_until: Option<i64>,
    },
    Failed {
        error: Vec<u8>,
    },
    InDoubt,
    Open,
    Expired,
}

/// Does the process that holds a claim still run?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Dead,
}

/// What is left of a committed claim's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    Kept(Vec<u8>),
    /// A person committed it without one.
    Absent,
    Unencodable,
    TooLarge,
}

/// What a claim is answered with, and what must be written first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it says whether the body may run"]
pub(crate) enum OnClaim {
    /// Write a new pending claim under this epoch, then run.
    Start { epoch: u64 },
    /// This very attempt holds the claim already: its acknowledgement was lost. Run.
    Granted { epoch: u64 },
    /// Answer with the receipt.
    Replay(Option<Vec<u8>>),
    /// Answer with the recorded error.
    ReplayError(Vec<u8>),
    /// The owner died: write "in doubt" and an event, then refuse.
    Orphaned,
    /// It is running: wait, or refuse.
    InFlight,
    /// Refuse.
    Refuse(Why),
}

/// Why a claim is refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Conflict,
    InDoubt,
    Expired,
    Unreadable,
    TooLarge,
}

/// Decides about a claim.
pub(crate) fn claim(stored: Option<Stored>, fingerprint: Fingerprint, attempt: Attempt, now_ms: i64) -> OnClaim {
    let Some(stored) = stored else { return OnClaim::Start { epoch: 1 } };
    // Invariant 1.
    if stored.fingerprint != fingerprint {
        return OnClaim::Refuse(Why::Conflict);
    }
    match stored.stage {
        Stage::Pending { .. } if stored.attempt == attempt => OnClaim::Granted { epoch: stored.epoch },
        Stage::Pending { owner: Life::Alive } => OnClaim::InFlight,
        Stage::Pending { owner: Life::Dead } => OnClaim::Orphaned,
        Stage::Committed { receipt, kept_until } => match (receipt, kept_until) {
            (_, Some(until)) if until <= now_ms => OnClaim::Refuse(Why::Expired),
            (Receipt::Kept(bytes), _) => OnClaim::Replay(Some(bytes)),
            (Receipt::Absent, _) => OnClaim::Replay(None),
            (Receipt::Unencodable, _) => OnClaim::Refuse(Why::Unreadable),
            (Receipt::TooLarge, _) => OnClaim::Refuse(Why::TooLarge),
        },
        Stage::Failed { error } => OnClaim::ReplayError(error),
        Stage::InDoubt => OnClaim::Refuse(Why::InDoubt),
        Stage::Open => OnClaim::Start { epoch: stored.epoch + 1 },
        Stage::Expired => OnClaim::Refuse(Why::Expired),
    }
}

/// A stored claim's state, without what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Committed,
    Failed,
    InDoubt,
    Open,
    Expired,
}

impl State {
    pub(crate) const ALL: [State; 6] =
        [State::Pending, State::Committed, State::Failed, State::InDoubt, State::Open, State::Expired];

    /// The state as the table `claim` spells it.
    pub(crate) const fn code(self) -> i64 {
        match self {
            State::Pending => 0,
            State::Committed => 1,
            State::Failed => 2,
            State::InDoubt => 3,
            State::Open => 4,
            State::Expired => 5,
        }
    }

    pub(crate) fn from_code(code: i64) -> Option<Self> {
        State::ALL.into_iter().find(|state| state.code() == code)
    }
}

/// What a settlement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a settlement may not have taken effect"]
pub(crate) enum OnSettle {
    /// Write this state, and an event if one is named.
    Apply { to: State, event: Option<&'static str> },
    /// It is on record: the acknowledgement was lost.
    Already,
    /// Keep it as evidence and change nothing.
    Fenced,
    /// The ledger knows no such claim.
    Unknown,
}

/// Decides about a settlement by `(epoch, attempt)`.
pub(crate) fn settle(
    stored: Option<(State, u64, Attempt)>,
    epoch: u64,
    attempt: Attempt,
    settlement: &Settlement,
) -> OnSettle {
    let Some((state, stored_epoch, stored_attempt)) = stored else { return OnSettle::Unknown };
    // Invariant 3.
    if (stored_epoch, stored_attempt) != (epoch, attempt) {
        return OnSettle::Fenced;
    }
    let to = target(settlement);
    match state {
        State::Pending => OnSettle::Apply { to, event: edge(to) },
        State::InDoubt if to == State::InDoubt => OnSettle::Already,
        State::InDoubt => OnSettle::Apply { to, event: Some("settled_late") },
        // A receipt that expired was committed before.
        State::Expired if to == State::Committed => OnSettle::Already,
        State::Committed | State::Failed | State::Open if state == to => OnSettle::Already,
        // Invariant 4.
        State::Committed | State::Failed | State::Open | State::Expired => OnSettle::Fenced,
    }
}

fn target(settlement: &Settlement) -> State {
    match settlement {
        Settlement::Committed(_, ReceiptLoss::None | ReceiptLoss::Unencodable | ReceiptLoss::TooLarge) => {
            State::Committed
        }
        Settlement::Failed(_) => State::Failed,
        Settlement::InDoubt(_) => State::InDoubt,
        Settlement::Released(_) => State::Open,
    }
}

/// The claim's own row is the audit of the happy path; every other edge has an event.
fn edge(to: State) -> Option<&'static str> {
    match to {
        State::InDoubt => Some("in_doubt"),
        State::Open => Some("released"),
        State::Pending | State::Committed | State::Failed | State::Expired => None,
    }
}

/// Whose is a defaulted action's name?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum OnAction {
    Accept,
    Ambiguous,
}

/// Decides whether a claim may use the action that is stored with `stored` as its place in the code.
///
/// An action that the code names carries no place, and is accepted wherever it is named. A defaulted one belongs to the
/// one place that used it first, and to nobody if its name was given out by hand.
pub(crate) fn action(stored: Option<&str>, asked: Option<&str>) -> OnAction {
    match (stored, asked) {
        (_, None) => OnAction::Accept,
        (Some(stored), Some(asked)) if stored == asked => OnAction::Accept,
        (Some(_) | None, Some(_)) => OnAction::Ambiguous,
    }
}

#[cfg(test)]
mod tests;
