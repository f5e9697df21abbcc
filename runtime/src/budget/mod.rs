//! Accounts: how many steps, how deep, how long and how much.
//!
//! Guarded functions are counted on accounts that [`#[budgeted]`](macro@crate::budgeted) and [scopes](crate::scope()) open for them.
//! Where code counts by itself, there are two handles on the same accounts: a [`Budget`], from which others can be carved, and
//! a [`Tracker`], which knows the budgets of tasks by their ids.

use std::time::Duration;

mod account;
mod clock;
mod cost;
mod handle;
mod left;
mod spent;
mod tracker;

pub(crate) use account::{Account, Used};
pub use clock::{Clock, Stamp};
pub use cost::{Cost, IntoCost, InvalidCost};
pub use handle::{Budget, Reservation};
pub use left::Left;
pub use spent::Spent;
pub use tracker::{Snapshot, Standing, Tracker};

/// Upper limits of one account. What is not set is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    steps: Option<u64>,
    depth: Option<u64>,
    duration: Option<Duration>,
    cost: Option<Cost>,
}

impl Limits {
    /// What a task may use where nobody says otherwise: 50 steps, 10 deep, half an hour.
    pub const TASK: Limits = Limits::new().steps(50).depth(10).duration(Duration::from_secs(1800));

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

    /// The most steps, where they are limited.
    #[must_use]
    pub const fn max_steps(&self) -> Option<u64> {
        self.steps
    }

    /// The greatest depth, where it is limited.
    #[must_use]
    pub const fn max_depth(&self) -> Option<u64> {
        self.depth
    }

    /// The longest time, where it is limited.
    #[must_use]
    pub const fn max_duration(&self) -> Option<Duration> {
        self.duration
    }

    /// The most money, where it is limited.
    #[must_use]
    pub const fn max_cost(&self) -> Option<Cost> {
        self.cost
    }

    /// Whether so many steps, so deep and after so long, are within these limits.
    ///
    /// # Errors
    /// Which limit is passed: of several, steps before depth before time.
    #[inline]
    pub fn judge(&self, steps: u64, depth: u64, elapsed: Duration) -> Result<(), Spent> {
        self.judge_lazily(steps, depth, || elapsed)
    }

    /// The same, for whom a look at the clock is most of the price.
    #[inline]
    pub(crate) fn judge_lazily(&self, steps: u64, depth: u64, elapsed: impl FnOnce() -> Duration) -> Result<(), Spent> {
        if let Some(most) = self.steps
            && steps > most
        {
            return Err(Spent::Steps { taken: steps, most });
        }
        if let Some(most) = self.depth
            && depth > most
        {
            return Err(Spent::Depth { depth, most });
        }
        if let Some(most) = self.duration {
            let elapsed = elapsed();
            if elapsed > most {
                return Err(Spent::Duration { elapsed, most });
            }
        }
        Ok(())
    }

    /// The stricter of both, limit by limit. A cost in another currency cannot be compared: `self`'s stays.
    #[must_use]
    pub(crate) fn tightened_by(self, other: Limits) -> Self {
        Limits {
            steps: stricter(self.steps, other.steps),
            depth: stricter(self.depth, other.depth),
            duration: stricter(self.duration, other.duration),
            cost: stricter_cost(self.cost, other.cost),
        }
    }

    /// These, and where they leave something open, `others`.
    #[must_use]
    pub(crate) fn or(self, others: Limits) -> Self {
        Limits {
            steps: self.steps.or(others.steps),
            depth: self.depth.or(others.depth),
            duration: self.duration.or(others.duration),
            cost: self.cost.or(others.cost),
        }
    }

    pub(crate) fn lifetime(&self) -> Option<Duration> {
        self.duration
    }
}

fn stricter<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// Costs in two currencies cannot be compared: the first one stays.
fn stricter_cost(a: Option<Cost>, b: Option<Cost>) -> Option<Cost> {
    match (a, b) {
        (Some(a), Some(b)) if a.currency() == b.currency() && b.micros() < a.micros() => Some(b),
        (Some(a), _) => Some(a),
        (None, b) => b,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_limit_wins() {
        let a = Limits::new().steps(5).depth(9);
        let b = Limits::new().steps(7).depth(3).duration(Duration::from_secs(1));
        let both = a.tightened_by(b);
        assert_eq!(both, Limits::new().steps(5).depth(3).duration(Duration::from_secs(1)));
    }
}
