//! The ways out of a doubt, and how far the clocks can be believed on them.

use std::time::Duration;

use super::super::{Attempt, Fingerprint, Resolution, Verdict};
use super::{Known, OnClaim, State, Why};

/// What a caller asks with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) attempt: Attempt,
    pub(crate) ways: Ways,
}

/// The ways out of a doubt that a caller brings along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ways {
    /// It can ask the provider, this long after the body was over.
    pub(crate) reconcile: Option<Duration>,
    /// Its provider deduplicates the idempotency key this long after it may first have seen it.
    pub(crate) window: Option<Duration>,
}

/// A claim in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    pub(crate) body: Body,
    /// Since the body was known to be over.
    pub(crate) since: Age,
    /// Since the first of the starts whose outcome is unknown.
    pub(crate) started: Age,
}

/// Can the body of a claim in doubt still do something?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// It has returned, panicked or been dropped, or its process is dead.
    Over,
    /// It exceeded `max_run`, and its process lives.
    Running,
    /// It exceeded `max_run`, and its process is dead, which nobody has written down yet.
    Lost { all_or_nothing: bool },
}

/// How long ago something was, as far as the clocks can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    Between {
        least: Duration,
        most: Duration,
    },
    /// A clock has gone backwards: nothing can be said.
    Suspect,
}

impl Age {
    fn is_surely_over(self, length: Duration) -> bool {
        match self {
            Age::Between { least, .. } => least >= length,
            Age::Suspect => length.is_zero(),
        }
    }

    fn is_surely_within(self, length: Duration) -> bool {
        match self {
            Age::Between { most, .. } => most < length,
            Age::Suspect => false,
        }
    }
}

/// What helps the refused caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Nothing but a person, or its own attempt.
    None,
    /// Its body may still be running.
    Running,
    /// It can be reconciled later than now.
    ReconcileLater,
    /// The provider may have forgotten the key.
    WindowOver,
    /// A clock has gone backwards.
    ClockSuspect,
}

impl Doubt {
    /// Never by age alone: the body must be over, and somebody must know, or deduplicate.
    pub(super) fn way_out(self, epoch: u64, ways: Ways) -> OnClaim {
        let refuse = |hint| OnClaim::Refuse(Why::InDoubt(hint));
        match self.body {
            Body::Running => return refuse(Hint::Running),
            // Its end is taken to be now.
            Body::Lost { all_or_nothing: false } => return OnClaim::Orphaned,
            Body::Lost { all_or_nothing: true } => return OnClaim::RolledBack,
            Body::Over => {}
        }
        if ways.reconcile.is_some_and(|after| self.since.is_surely_over(after)) {
            return OnClaim::Reconcile;
        }
        if ways.window.is_some_and(|window| self.started.is_surely_within(window)) {
            return OnClaim::Again { epoch: epoch + 1 };
        }
        let suspect = self.since == Age::Suspect || self.started == Age::Suspect;
        refuse(match ways {
            Ways { reconcile: None, window: None } => Hint::None,
            _ if suspect => Hint::ClockSuspect,
            Ways { reconcile: Some(_), .. } => Hint::ReconcileLater,
            Ways { window: Some(_), .. } => Hint::WindowOver,
        })
    }
}

/// A reading of the ledger's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// When the machine started, by the same clock: it moves when somebody sets the clock, and at a restart. `None`: unknown.
    pub(crate) origin_ms: Option<i64>,
}

/// Clocks are corrected by a little all the time.
const SLACK_MS: i64 = 2_000;

/// How long ago `then` was. `latest_ms` is the latest time on record: now can't be before it. The origins are compared
/// only if both moments are of one run of the machine.
pub(crate) fn age(then: Moment, now: Moment, latest_ms: i64) -> Age {
    if now.at_ms < then.at_ms.max(latest_ms).saturating_sub(SLACK_MS) {
        return Age::Suspect;
    }
    let elapsed = now.at_ms.saturating_sub(then.at_ms);
    // How far the clock was set forward in between.
    let set = match (then.origin_ms, now.origin_ms) {
        (Some(then), Some(now)) => now.saturating_sub(then),
        (None, _) | (_, None) => 0,
    };
    if set < -SLACK_MS {
        return Age::Suspect;
    }
    let real = elapsed.saturating_sub(set);
    let millis = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    Age::Between { least: millis(elapsed.min(real)), most: millis(elapsed.max(real)) }
}

/// What a reconciliation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a reconciliation may have come too late"]
pub(crate) enum OnResolve {
    /// Write this state, and an event.
    Apply { to: State },
    /// It knows nothing: an event.
    Unknown,
    /// Something else has happened to the claim since it was asked.
    Late,
}

/// Decides about what a reconcile function has found out (invariant 6 of [`rules`](super)).
pub(crate) fn resolve(stored: Option<Known>, resolution: &Resolution) -> OnResolve {
    match stored {
        Some(Known { state: State::InDoubt, epoch, attempt, running: false, .. })
            if (epoch, attempt) == (resolution.epoch, resolution.attempt) =>
        {
            match resolution.verdict {
                Verdict::Happened(_) => OnResolve::Apply { to: State::Committed },
                Verdict::DidNotHappen => OnResolve::Apply { to: State::Open },
                Verdict::Unknown => OnResolve::Unknown,
            }
        }
        Some(_) | None => OnResolve::Late,
    }
}
