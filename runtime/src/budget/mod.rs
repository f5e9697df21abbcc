//! Accounts: how many steps, how deep, how long and how much.
//!
//! # Invariants
//! 1. A step that was refused was counted all the same: an account that is over its limit stays over it.
//! 2. A cost is reserved before the body and never given back once the body has started, except by what
//!    [`charge`](crate::charge) says it really cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::clock::Stopwatch;
use crate::refused::{Kind, Refused};
use crate::scope::Home;

mod clock;
mod cost;

pub use cost::{Cost, IntoCost, InvalidCost};

/// Upper limits of one account. What is not set is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    steps: Option<u64>,
    depth: Option<u64>,
    duration: Option<Duration>,
    cost: Option<Cost>,
}

impl Limits {
    /// No limit at all.
    #[must_use]
    pub const fn new() -> Self {
        Limits { steps: None, depth: None, duration: None, cost: None }
    }

    /// At most this many guarded calls.
    #[must_use]
    pub const fn steps(mut self, most: u64) -> Self {
        self.steps = Some(most);
        self
    }

    /// At most this many guarded calls inside one another; the account's own call is the first.
    #[must_use]
    pub const fn depth(mut self, most: u64) -> Self {
        self.depth = Some(most);
        self
    }

    /// No step later than this after the account was opened, by a monotonic clock.
    #[must_use]
    pub const fn duration(mut self, most: Duration) -> Self {
        self.duration = Some(most);
        self
    }

    /// At most this much money.
    #[must_use]
    pub const fn cost(mut self, most: Cost) -> Self {
        self.cost = Some(most);
        self
    }

    /// The stricter of both, limit by limit. A cost in another currency cannot be compared: `self`'s stays.
    #[must_use]
    pub(crate) fn tightened_by(self, other: Limits) -> Self {
        fn stricter<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (one, None) | (None, one) => one,
            }
        }
        let cost = match (self.cost, other.cost) {
            (Some(a), Some(b)) if a.currency() == b.currency() && b.micros() < a.micros() => Some(b),
            (Some(a), _) => Some(a),
            (None, b) => b,
        };
        Limits {
            steps: stricter(self.steps, other.steps),
            depth: stricter(self.depth, other.depth),
            duration: stricter(self.duration, other.duration),
            cost,
        }
    }

    pub(crate) fn lifetime(&self) -> Option<Duration> {
        self.duration
    }
}

/// Whose account a budgeted function is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Per {
    /// The ambient task's or scope's; without one, the process's.
    Task,
    /// A new one for every call: it bounds what happens inside the call.
    Call,
    /// The process's.
    Process,
    /// One for each value of an expression, such as a tenant.
    Key,
}

/// One account. Shared by all who charge it.
#[derive(Debug)]
pub(crate) struct Account {
    /// Where it is found again; `None` for accounts of a call or a key.
    home: Option<Home>,
    /// For messages: whose it is, such as ``the scope `job-7` ``.
    holder: String,
    limits: Limits,
    opened: Stopwatch,
    /// Attempts, also the refused ones (invariant 1).
    steps: AtomicU64,
    /// Reserved and spent, in millionths of the limit's currency.
    micros: AtomicU64,
}

impl Account {
    pub(crate) fn open(holder: String, limits: Limits) -> Arc<Self> {
        Arc::new(Account::new(None, holder, limits))
    }

    pub(crate) fn open_at(home: Home, holder: String, limits: Limits) -> Arc<Self> {
        Arc::new(Account::new(Some(home), holder, limits))
    }

    fn new(home: Option<Home>, holder: String, limits: Limits) -> Self {
        let opened = Stopwatch::start(limits.duration);
        Account { home, holder, limits, opened, steps: AtomicU64::new(0), micros: AtomicU64::new(0) }
    }

    pub(crate) fn home(&self) -> Option<Home> {
        self.home
    }

    pub(crate) fn limits_money(&self) -> bool {
        self.limits.cost.is_some()
    }

    /// One step, `depth` guarded calls deep.
    #[inline]
    pub(crate) fn step(&self, action: &str, depth: u64) -> Result<(), Refused> {
        // Relaxed: the count orders nothing but itself.
        let taken = self.steps.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if let Some(most) = self.limits.steps
            && taken > most
        {
            return Err(self.out_of_steps(action, taken, most));
        }
        if let Some(most) = self.limits.depth
            && depth > most
        {
            return Err(self.too_deep(action, depth, most));
        }
        if let Some(most) = self.limits.duration {
            let elapsed = self.opened.elapsed();
            if elapsed > most {
                return Err(self.out_of_time(action, elapsed, most));
            }
        }
        Ok(())
    }

    /// Sets `cost` aside. Nothing is set aside if it does not fit.
    pub(crate) fn reserve(&self, action: &str, cost: Cost) -> Result<(), Refused> {
        let Some(most) = self.limits.cost else { return Ok(()) };
        self.same_currency(action, most, cost)?;
        let fits = |held: u64| held.checked_add(cost.micros()).filter(|&sum| sum <= most.micros());
        match self.micros.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(held) => Err(self.over(action, most, cost, held)),
        }
    }

    /// Books money that is already spent: it counts even where it does not fit.
    pub(crate) fn spend(&self, action: &str, cost: Cost) -> Result<(), Refused> {
        let Some(most) = self.limits.cost else { return Ok(()) };
        self.same_currency(action, most, cost)?;
        let add = |held: u64| Some(held.saturating_add(cost.micros()));
        let held = match self.micros.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(held) | Err(held) => held,
        };
        if held.saturating_add(cost.micros()) > most.micros() {
            Err(self.over(action, most, cost, held))
        } else {
            Ok(())
        }
    }

    /// Gives back what a reservation did not need.
    pub(crate) fn give_back(&self, cost: Cost) {
        if self.limits.cost.is_some_and(|most| most.currency() == cost.currency()) {
            let _ = self
                .micros
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(cost.micros())));
        }
    }

    fn same_currency(&self, action: &str, most: Cost, cost: Cost) -> Result<(), Refused> {
        if most.currency() == cost.currency() {
            return Ok(());
        }
        Err(Refused::new(
            Kind::InvalidArgument,
            action,
            format!("it costs {cost}, and the account of {} is kept in {}", self.holder, most.currency()),
        )
        .advise("state costs in the currency of `max_cost`"))
    }

    #[cold]
    fn out_of_steps(&self, action: &str, taken: u64, most: u64) -> Refused {
        self.spent(Kind::BudgetSteps, action, format!("step {taken} of at most {most}"))
    }

    #[cold]
    fn too_deep(&self, action: &str, depth: u64, most: u64) -> Refused {
        self.spent(Kind::BudgetDepth, action, format!("{depth} guarded calls deep, at most {most}"))
    }

    #[cold]
    fn out_of_time(&self, action: &str, elapsed: Duration, most: Duration) -> Refused {
        self.spent(
            Kind::BudgetDuration,
            action,
            format!("{} after it was opened, at most {}", brief(elapsed), brief(most)),
        )
    }

    #[cold]
    fn over(&self, action: &str, most: Cost, cost: Cost, held: u64) -> Refused {
        let held = Cost::from_micros_in(held, most);
        self.spent(Kind::BudgetCost, action, format!("{cost} on top of {held}, at most {most}"))
    }

    #[cold]
    fn spent(&self, kind: Kind, action: &str, what: String) -> Refused {
        Refused::new(kind, action, format!("the account of {} is spent: {what}", self.holder)).advise(
            "if the work is legitimate, raise the limit; if each job should have an account of its own, run it in \
             `portcullis::scope(id, …)`",
        )
    }
}

/// Durations in messages: no more digits than a person reads.
fn brief(duration: Duration) -> humantime::FormattedDuration {
    let nanos = duration.as_nanos();
    let grain = match nanos {
        0..1_000_000 => 1,
        1_000_000..1_000_000_000 => 1_000_000,
        _ => 10_000_000,
    };
    let rounded = Duration::from_nanos(u64::try_from(nanos / grain * grain).unwrap_or(u64::MAX));
    humantime::format_duration(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(limits: Limits) -> Account {
        Account::new(None, "the scope `job`".into(), limits)
    }

    #[test]
    fn fifty_of_fifty_steps_pass_and_the_next_does_not() {
        let account = account(Limits::new().steps(50));
        for _ in 0..50 {
            account.step("a", 1).unwrap();
        }
        for over in 51..53 {
            let refused = account.step("a", 1).unwrap_err();
            assert_eq!(refused.kind(), Kind::BudgetSteps);
            assert!(refused.reason().contains(&format!("step {over} of at most 50")), "{refused}");
        }
    }

    #[test]
    fn depth_is_that_of_the_call() {
        let account = account(Limits::new().depth(2));
        account.step("a", 2).unwrap();
        assert_eq!(account.step("a", 3).unwrap_err().kind(), Kind::BudgetDepth);
        account.step("a", 1).unwrap();
    }

    #[test]
    fn time_that_is_used_up_refuses_every_step() {
        let account = account(Limits::new().duration(Duration::ZERO));
        // The clock has moved by at least a nanosecond.
        while account.opened.elapsed().is_zero() {}
        assert_eq!(account.step("a", 1).unwrap_err().kind(), Kind::BudgetDuration);
    }

    #[test]
    fn a_reservation_that_does_not_fit_takes_nothing() {
        let account = account(Limits::new().cost(Cost::from_micros(5_000_000, "USD")));
        account.reserve("a", Cost::from_micros(4_000_000, "USD")).unwrap();
        assert_eq!(account.reserve("a", Cost::from_micros(1_000_001, "USD")).unwrap_err().kind(), Kind::BudgetCost);
        account.reserve("a", Cost::from_micros(1_000_000, "USD")).unwrap();
        account.give_back(Cost::from_micros(1, "USD"));
        account.reserve("a", Cost::from_micros(1, "USD")).unwrap();
        assert_eq!(account.reserve("a", Cost::from_micros(1, "EUR")).unwrap_err().kind(), Kind::InvalidArgument);
    }

    #[test]
    fn money_already_spent_counts_also_beyond_the_limit() {
        let account = account(Limits::new().cost(Cost::from_micros(10, "USD")));
        assert_eq!(account.spend("a", Cost::from_micros(11, "USD")).unwrap_err().kind(), Kind::BudgetCost);
        assert_eq!(account.reserve("a", Cost::from_micros(0, "USD")).unwrap_err().kind(), Kind::BudgetCost);
    }

    #[test]
    fn the_stricter_limit_wins() {
        let a = Limits::new().steps(5).depth(9);
        let b = Limits::new().steps(7).depth(3).duration(Duration::from_secs(1));
        let both = a.tightened_by(b);
        assert_eq!(both, Limits::new().steps(5).depth(3).duration(Duration::from_secs(1)));
    }
}
