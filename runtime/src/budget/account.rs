//! One account, whoever charges it.
//!
//! # Invariants
//! 1. A step that was refused was counted all the same: an account that is over its limit stays over it.
//! 2. A cost is reserved before the body and never given back once the body has started, except by what
//!    [`charge`](crate::charge) says it really cost.
//! 3. Money that is spent beyond what a part was given is missing from the whole, and from the whole of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock::Stopwatch;
use super::{Cost, Left, Limits, Spent};
use crate::refused::{Kind, Refused};
use crate::scope::{Home, Keeper};

/// One account. Shared by all who charge it.
#[derive(Debug)]
pub(crate) struct Account {
    /// Where it is found again; `None` for accounts of a call or a key.
    home: Option<Home>,
    /// What it was carved from.
    whole: Option<Arc<Account>>,
    /// Where it is on record, if it outlives this process.
    keeper: Option<Arc<Keeper>>,
    /// For messages: whose it is, such as ``the scope `job-7` ``.
    holder: String,
    limits: Limits,
    opened: Stopwatch,
    /// For how long it was open before this process.
    earlier: Duration,
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
        Account {
            home,
            whole: None,
            keeper: None,
            holder,
            limits,
            opened,
            earlier: Duration::ZERO,
            steps: AtomicU64::new(0),
            micros: AtomicU64::new(0),
        }
    }

    /// One that was opened before: `used` says what of it is gone, and `whole` what it was carved from.
    pub(super) fn reopen(
        holder: String,
        limits: Limits,
        opened: Stopwatch,
        used: Used,
        whole: Option<Arc<Account>>,
    ) -> Arc<Self> {
        let Used { steps, micros, elapsed } = used;
        let account = Account::new(None, holder, limits);
        Arc::new(Account { whole, opened, earlier: elapsed, steps: steps.into(), micros: micros.into(), ..account })
    }

    pub(super) fn whole(&self) -> Option<&Arc<Account>> {
        self.whole.as_ref()
    }

    /// The one of a durable task, as far as it is on record.
    pub(crate) fn kept(holder: String, limits: Limits, used: Used, keeper: Keeper) -> Arc<Self> {
        let Used { steps, micros, elapsed } = used;
        let account = Account::new(None, holder, limits);
        let keeper = Some(Arc::new(keeper));
        Arc::new(Account { keeper, earlier: elapsed, steps: steps.into(), micros: micros.into(), ..account })
    }

    /// A part of `whole`, from which the steps and the money in `limits` have been taken.
    pub(super) fn part(whole: &Arc<Account>, holder: String, limits: Limits) -> Arc<Self> {
        let opened = whole.opened.another(limits.duration);
        Arc::new(Account { whole: Some(Arc::clone(whole)), opened, ..Account::new(None, holder, limits) })
    }

    /// Ends a part: what it has left goes back to its whole.
    pub(super) fn hand_back(&self) {
        let Some(whole) = &self.whole else { return };
        let (steps, cost) = self.take_rest();
        whole.give_back_steps(steps);
        if let Some(cost) = cost {
            whole.give_back(cost);
        }
    }

    pub(crate) fn home(&self) -> Option<Home> {
        self.home
    }

    pub(crate) fn keeper(&self) -> Option<&Arc<Keeper>> {
        self.keeper.as_ref()
    }

    pub(crate) fn limits_money(&self) -> bool {
        self.limits.cost.is_some()
    }

    /// One step, `depth` guarded calls deep.
    #[inline]
    pub(crate) fn step(&self, action: &str, depth: u64) -> Result<(), Refused> {
        self.count_step(depth).map_err(|spent| self.refuse(action, spent))
    }

    /// The same, for whoever words the refusal.
    #[inline]
    pub(super) fn count_step(&self, depth: u64) -> Result<(), Spent> {
        // Relaxed: the count orders nothing but itself.
        let taken = self.steps.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.judge(taken, depth)
    }

    /// How it stands, without a step.
    pub(crate) fn check(&self, action: &str) -> Result<(), Refused> {
        self.look(0).map_err(|spent| self.refuse(action, spent))
    }

    /// What is left of it; of depth, which an account does not remember, all.
    pub(crate) fn left(&self) -> Left {
        let Limits { steps, depth, duration, cost } = self.limits;
        Left {
            steps: steps.map(|most| most.saturating_sub(self.taken())),
            depth,
            duration: duration.map(|most| most.saturating_sub(self.elapsed())),
            cost: cost.map(|most| Cost::from_micros_in(most.micros().saturating_sub(self.held()), most)),
        }
    }

    /// The same, for whoever words the refusal.
    pub(super) fn look(&self, depth: u64) -> Result<(), Spent> {
        self.judge(self.taken(), depth)
    }

    #[inline]
    fn judge(&self, taken: u64, depth: u64) -> Result<(), Spent> {
        self.limits.judge_lazily(taken, depth, || self.elapsed())
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Attempts so far.
    pub(crate) fn taken(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// How long it has been open, also before a restart.
    #[inline]
    pub(super) fn elapsed(&self) -> Duration {
        self.opened.elapsed().saturating_add(self.earlier)
    }

    /// Reserved and spent.
    pub(super) fn held(&self) -> u64 {
        self.micros.load(Ordering::Relaxed)
    }

    /// Takes `count` steps at once, for somebody else to use. `Err`: how many are left.
    pub(super) fn take_steps(&self, count: u64) -> Result<(), u64> {
        let Some(most) = self.limits.steps else { return Ok(()) };
        let fits = |taken: u64| taken.checked_add(count).filter(|&sum| sum <= most);
        match self.steps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(taken) => Err(most.saturating_sub(taken)),
        }
    }

    /// Takes all that is left, for good: a step that comes at the same time is either counted before, or refused.
    fn take_rest(&self) -> (u64, Option<Cost>) {
        let rest = |count: &AtomicU64, most: u64| most.saturating_sub(count.fetch_max(most, Ordering::Relaxed));
        let steps = self.limits.steps.map_or(0, |most| rest(&self.steps, most));
        let cost = self.limits.cost.map(|most| Cost::from_micros_in(rest(&self.micros, most.micros()), most));
        (steps, cost)
    }

    /// Takes back steps that were taken and not used. An account that is over its limit stays over it (invariant 1).
    pub(super) fn give_back_steps(&self, count: u64) {
        let Some(most) = self.limits.steps else { return };
        let back = |taken: u64| (taken <= most).then(|| taken.saturating_sub(count));
        let _ = self.steps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
    }

    /// Sets `cost` aside. Nothing is set aside if it does not fit.
    pub(crate) fn reserve(&self, action: &str, cost: Cost) -> Result<(), Refused> {
        self.same_currency(action, cost)?;
        self.set_aside(cost).map_err(|spent| self.refuse(action, spent))
    }

    pub(super) fn set_aside(&self, cost: Cost) -> Result<(), Spent> {
        let Some(most) = self.limits.cost else { return Ok(()) };
        let fits = |held: u64| held.checked_add(cost.micros()).filter(|&sum| sum <= most.micros());
        match self.micros.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(held) => Err(Spent::cost(cost, held, most)),
        }
    }

    /// Books money that is already spent: it counts even where it does not fit.
    pub(crate) fn spend(&self, action: &str, cost: Cost) -> Result<(), Refused> {
        self.same_currency(action, cost)?;
        self.book(cost).map_err(|spent| self.refuse(action, spent))
    }

    pub(super) fn book(&self, cost: Cost) -> Result<(), Spent> {
        // A whole that limits money has no part that does not.
        let Some(most) = self.limits.cost else { return Ok(()) };
        let add = |held: u64| Some(held.saturating_add(cost.micros()));
        let held = match self.micros.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(held) | Err(held) => held,
        };
        let over = |held: u64| held.saturating_sub(most.micros());
        let now = held.saturating_add(cost.micros());
        if over(now) == 0 {
            return Ok(());
        }
        if let Some(whole) = &self.whole {
            // Invariant 3. Its refusal says no more than this one.
            let _ = whole.book(Cost::from_micros_in(over(now) - over(held), most));
        }
        Err(Spent::cost(cost, held, most))
    }

    /// Gives back what a reservation did not need.
    pub(crate) fn give_back(&self, cost: Cost) {
        if self.limits.cost.is_some_and(|most| most.currency() == cost.currency()) {
            let _ = self
                .micros
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(cost.micros())));
        }
    }

    pub(super) fn same_currency(&self, action: &str, cost: Cost) -> Result<(), Refused> {
        let Some(most) = self.limits.cost.filter(|most| most.currency() != cost.currency()) else { return Ok(()) };
        Err(Refused::new(
            Kind::InvalidArgument,
            action,
            format!("it costs {cost}, and the account of {} is kept in {}", self.holder, most.currency()),
        )
        .advise("state costs in the currency of `max_cost`"))
    }

    #[cold]
    pub(super) fn refuse(&self, action: &str, spent: Spent) -> Refused {
        Refused::new(spent.kind(), action, format!("the account of {} is spent: {spent}", self.holder)).advise(
            "if the work is legitimate, raise the limit; if each job should have an account of its own, run it in \
             `portcullis::scope(id, …)`",
        )
    }
}

/// What of an account is gone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) steps: u64,
    pub(crate) micros: u64,
    pub(crate) elapsed: Duration,
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
        while account.elapsed().is_zero() {}
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
}
