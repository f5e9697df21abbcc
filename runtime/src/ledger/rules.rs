//! What may become of a claim: functions of what is stored, what is asked, whether the owner lives, and now.
//!
//! ```text
//! absent ──claim──▶ pending ──▶ committed ──retention──▶ expired
//!                    │   ├────▶ failed ─────retention──▶ expired
//!                    │   ├────▶ open ──claim──▶ pending (next epoch)
//!                    │   └────▶ in_doubt ──▶ committed | failed | open   (its own attempt, a reconciliation, a person)
//!                    │                  └──▶ pending (next epoch, within the provider's window)
//!                    └─owner dead──▶ in_doubt   (open, if its effect was a transaction that is not there)
//! ```
//!
//! No clock, no database: a store reads, asks here, and writes what it is told.
//!
//! # Invariants
//! 1. The fingerprint is compared first, in every state.
//! 2. `Run` comes only from absent, from open, from the very attempt that holds the claim, and from a doubt whose body is
//!    over and whose provider still deduplicates.
//! 3. A settlement applies only to its own epoch and attempt, and only while nobody else has decided otherwise. What its own
//!    attempt knows to have happened is heard also where somebody had said that it did not, until the next start.
//! 4. Nothing leads out of `committed` and `failed` to another start, and nothing but a person's force out of `expired`.
//! 5. After a start within the provider's window, nothing but knowledge about all starts leads to "open".
//! 6. A reconciliation applies only to the doubt that it was asked about.

use super::{Attempt, Fingerprint, Kept, Receipt, Settlement};

mod acts;
mod doubt;
mod inside;
#[cfg(any(feature = "postgres", test))]
mod reassert;

pub(crate) use acts::{Act, OnAct, Sight, Standing, act, expires, shown};
pub(crate) use doubt::{Age, Asking, Body, Doubt, Hint, Moment, OnResolve, Ways, age, resolve};
pub(crate) use inside::{OnInside, settle_inside};
#[cfg(any(feature = "postgres", test))]
pub(crate) use reassert::{OnReassert, reassert};

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
        /// What is not settled has not happened ([`Known::is_all_or_nothing`]).
        all_or_nothing: bool,
    },
    Committed {
        receipt: Receipt,
        /// In the ledger's clock, milliseconds since 1970; `None`: for ever.
        kept_until: Option<i64>,
    },
    Failed {
        error: Kept,
        kept_until: Option<i64>,
    },
    InDoubt(Doubt),
    Open,
    Expired,
}

/// Does the process that holds a claim still run?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Dead,
}

/// What a claim is answered with, and what must be written first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it says whether the body may run"]
pub(crate) enum OnClaim {
    /// Write a new pending claim under this epoch, then run.
    Start { epoch: u64 },
    /// The same out of a doubt, because the provider still deduplicates: with an event.
    Again { epoch: u64 },
    /// This very attempt holds the claim already: its acknowledgement was lost. Run.
    Granted { epoch: u64 },
    /// Answer with the receipt.
    Replay(Kept),
    /// Answer with the recorded error.
    ReplayError(Kept),
    /// The owner died: write "in doubt" and an event, then ask again.
    Orphaned,
    /// The owner died, and its effect with it: write "open" and an event, then ask again.
    RolledBack,
    /// Let the caller ask the provider what happened.
    Reconcile,
    /// It is running: wait, or refuse.
    InFlight,
    /// Refuse.
    Refuse(Why),
}

/// Why a claim is refused for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Conflict,
    InDoubt(Hint),
    Expired,
    /// It happened, and nothing of its result was kept.
    Absent,
    Unreadable,
    TooLarge,
}

/// Decides about a claim.
pub(crate) fn claim(stored: Option<Stored>, asking: &Asking, now_ms: i64) -> OnClaim {
    let Some(stored) = stored else { return OnClaim::Start { epoch: 1 } };
    // Invariant 1.
    if stored.fingerprint != asking.fingerprint {
        return OnClaim::Refuse(Why::Conflict);
    }
    match stored.stage {
        Stage::Pending { .. } if stored.attempt == asking.attempt => OnClaim::Granted { epoch: stored.epoch },
        Stage::Pending { owner: Life::Alive, .. } => OnClaim::InFlight,
        Stage::Pending { owner: Life::Dead, all_or_nothing: false } => OnClaim::Orphaned,
        Stage::Pending { owner: Life::Dead, all_or_nothing: true } => OnClaim::RolledBack,
        Stage::Committed { kept_until, .. } | Stage::Failed { kept_until, .. } if is_over(kept_until, now_ms) => {
            OnClaim::Refuse(Why::Expired)
        }
        Stage::Committed { receipt, .. } => match receipt {
            Receipt::Kept(kept) => OnClaim::Replay(kept),
            Receipt::Absent => OnClaim::Refuse(Why::Absent),
            Receipt::Unencodable | Receipt::Unsealed => OnClaim::Refuse(Why::Unreadable),
            Receipt::TooLarge => OnClaim::Refuse(Why::TooLarge),
        },
        Stage::Failed { error, .. } => OnClaim::ReplayError(error),
        Stage::InDoubt(doubt) => doubt.way_out(stored.epoch, asking.ways),
        Stage::Open => OnClaim::Start { epoch: stored.epoch + 1 },
        Stage::Expired => OnClaim::Refuse(Why::Expired),
    }
}

fn is_over(kept_until: Option<i64>, now_ms: i64) -> bool {
    kept_until.is_some_and(|until| until <= now_ms)
}

/// A stored claim's state, without what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// What of a stored claim decides about a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) state: State,
    pub(crate) epoch: u64,
    pub(crate) attempt: Attempt,
    /// In doubt, while its body may still run.
    pub(crate) running: bool,
    /// Who brought it where it is.
    pub(crate) by: By,
    pub(crate) transactional: bool,
    /// An earlier start's outcome is unknown as well: this one was granted within the provider's window.
    pub(crate) earlier_doubt: bool,
}

impl Known {
    /// Has it not happened, if it is not settled?
    pub(crate) fn is_all_or_nothing(&self) -> bool {
        self.transactional && !self.earlier_doubt
    }
}

/// Who has settled a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum By {
    /// The attempt itself, or the store in its name.
    Attempt,
    /// A reconcile function.
    Reconciliation,
    /// A person.
    Person,
}

impl By {
    pub(crate) const ALL: [By; 3] = [By::Attempt, By::Reconciliation, By::Person];

    /// As the table `claim` spells it.
    pub(crate) const fn code(self) -> i64 {
        match self {
            By::Attempt => 0,
            By::Reconciliation => 1,
            By::Person => 2,
        }
    }

    pub(crate) fn from_code(code: i64) -> Option<Self> {
        By::ALL.into_iter().find(|by| by.code() == code)
    }
}

/// What a settlement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a settlement may not have taken effect"]
pub(crate) enum OnSettle {
    /// Write this state, and an event if one is named.
    Apply { to: State, event: Option<&'static str> },
    /// It is on record (the acknowledgement was lost), or says nothing new.
    Already,
    /// Keep it as evidence and change nothing.
    Fenced,
    /// The body says that it happened, and the transaction in which it was to settle does not: write "in doubt" and an event.
    OutsideTransaction,
    /// The ledger knows no such claim.
    Unknown,
}

/// Decides about a settlement by `(epoch, attempt)`.
pub(crate) fn settle(stored: Option<Known>, epoch: u64, attempt: Attempt, settlement: &Settlement) -> OnSettle {
    let Some(stored) = stored else { return OnSettle::Unknown };
    let own = (stored.epoch, stored.attempt) == (epoch, attempt);
    let to = match target(settlement) {
        // What this start knows of itself says nothing of the one before it.
        State::Open if stored.earlier_doubt => State::InDoubt,
        to => to,
    };
    match settlement {
        // It says that the body runs on, which is no evidence of anything.
        Settlement::Overdue if !own || stored.state != State::Pending => return OnSettle::Already,
        Settlement::Overdue
        | Settlement::Committed(_)
        | Settlement::Failed(_)
        | Settlement::InDoubt(_)
        | Settlement::Released(_) => {}
    }
    // Invariant 3.
    if !own {
        return OnSettle::Fenced;
    }
    let happened = matches!(to, State::Committed | State::Failed);
    let by_itself = stored.by == By::Attempt;
    if stored.is_all_or_nothing() && (stored.state == State::Pending || stored.running) {
        // Had its transaction been committed, the claim would be settled.
        match settlement {
            Settlement::InDoubt(_) => return OnSettle::Apply { to: State::Open, event: Some("rolled_back") },
            Settlement::Committed(_) => return OnSettle::OutsideTransaction,
            Settlement::Failed(_) | Settlement::Released(_) | Settlement::Overdue => {}
        }
    }
    match stored.state {
        State::Pending if to != target(settlement) => OnSettle::Apply { to, event: Some("in_doubt") },
        State::Pending => OnSettle::Apply { to, event: edge(settlement) },
        State::InDoubt if to != State::InDoubt => OnSettle::Apply { to, event: Some("settled_late") },
        State::InDoubt if stored.running => OnSettle::Apply { to, event: Some("in_doubt") },
        State::InDoubt => OnSettle::Already,
        // Invariant 3: somebody said that it did not happen, and its own attempt knows better.
        State::Open if happened && !by_itself => OnSettle::Apply { to, event: Some("settled_late") },
        // A receipt that expired was committed before.
        State::Expired if happened && by_itself => OnSettle::Already,
        State::Committed | State::Failed | State::Open if stored.state == to && by_itself => OnSettle::Already,
        // Invariant 4.
        State::Committed | State::Failed | State::Open | State::Expired => OnSettle::Fenced,
    }
}

fn target(settlement: &Settlement) -> State {
    match settlement {
        Settlement::Committed(_) => State::Committed,
        Settlement::Failed(_) => State::Failed,
        Settlement::InDoubt(_) | Settlement::Overdue => State::InDoubt,
        Settlement::Released(_) => State::Open,
    }
}

/// The claim's own row is the audit of the happy path; every other edge has an event.
fn edge(settlement: &Settlement) -> Option<&'static str> {
    match settlement {
        Settlement::InDoubt(_) => Some("in_doubt"),
        Settlement::Overdue => Some("overdue"),
        Settlement::Released(_) => Some("released"),
        Settlement::Committed(_) | Settlement::Failed(_) => None,
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
