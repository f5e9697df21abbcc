//! A budget in the hands of code that counts by itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::account::{Account, Used};
use super::clock::Stopwatch;
use super::{Cost, Left, Limits};
use crate::refused::{Kind, Refused};

/// What one piece of work may use. Share it by reference; it can't be cloned, so that work that is spread can't multiply it.
///
/// Part of it can be [carved](Budget::carve) off for a part of the work. What is carved is taken from what is left, and what of it
/// was not used comes back when the part is dropped.
///
/// ```
/// use portcullis::budget::{Budget, Limits};
///
/// let whole = Budget::new("report", Limits::new().steps(50))?;
/// let part = whole.carve("search", Limits::new().steps(20))?;
/// assert_eq!(whole.left().to_string(), "30 steps left");
/// assert_eq!(whole.carve("more", Limits::new().steps(31)).unwrap_err().code(), "budget_steps");
///
/// part.step()?;
/// drop(part);
/// assert_eq!(whole.left().steps, Some(49));
/// # Ok::<(), portcullis::Refused>(())
/// ```
pub struct Budget {
    name: String,
    account: Arc<Account>,
    /// The deepest level that was recorded.
    deepest: AtomicU64,
    ended: AtomicBool,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("name", &self.name).field("left", &self.left()).finish_non_exhaustive()
    }
}

impl Budget {
    /// A budget for the work `name`, which messages name. Its time begins now.
    ///
    /// # Errors
    /// `invalid_argument` if it is no [name](crate::tasks::check_name).
    pub fn new(name: impl Into<String>, limits: Limits) -> Result<Self, Refused> {
        let name = name.into();
        named(&name)?;
        Ok(Budget::open(name, limits, Stopwatch::start(limits.duration), Used::default()))
    }

    pub(super) fn open(name: String, limits: Limits, opened: Stopwatch, used: Used) -> Self {
        Budget::on(Account::reopen(holder(&name), limits, opened, used, None), name)
    }

    /// The same for a part of `whole`, which has been taken from it before.
    pub(super) fn open_part(name: String, limits: Limits, opened: Stopwatch, used: Used, whole: &Budget) -> Self {
        let whole = Some(Arc::clone(&whole.account));
        Budget::on(Account::reopen(holder(&name), limits, opened, used, whole), name)
    }

    pub(super) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    fn on(account: Arc<Account>, name: String) -> Self {
        Budget { name, account, deepest: AtomicU64::new(0), ended: AtomicBool::new(false) }
    }

    /// One step: ask before it is taken. Attempts count also where they are refused, so what went over its limit stays over it.
    ///
    /// # Errors
    /// `budget_steps`, `budget_depth` (a deeper level than allowed was [recorded](Budget::record_depth)), `budget_duration`;
    /// `task_ended` after the [end](Budget::end).
    #[inline]
    pub fn step(&self) -> Result<(), Refused> {
        self.not_ended()?;
        self.account.count_step(self.deepest.load(Ordering::Relaxed)).map_err(|spent| spent.refuse_task(&self.name))
    }

    /// The same step on several budgets: every one counts it, also where another one refuses, so the strictest wins. The first
    /// refusal is returned.
    ///
    /// # Errors
    /// As [`step`](Budget::step).
    pub fn step_all<'a>(budgets: impl IntoIterator<Item = &'a Budget>) -> Result<(), Refused> {
        let mut first = Ok(());
        for budget in budgets {
            first = first.and(budget.step());
        }
        first
    }

    /// How it stands, without a step: fails if a limit has been passed.
    ///
    /// # Errors
    /// As [`step`](Budget::step).
    pub fn check(&self) -> Result<(), Refused> {
        self.not_ended()?;
        self.account.look(self.deepest.load(Ordering::Relaxed)).map_err(|spent| spent.refuse_task(&self.name))
    }

    /// Asks whether work may be `depth` levels deep.
    ///
    /// # Errors
    /// `budget_depth`, `task_ended`.
    pub fn check_depth(&self, depth: u64) -> Result<(), Refused> {
        self.not_ended()?;
        match self.account.limits().depth {
            Some(most) if depth > most => Err(super::Spent::Depth { depth, most }.refuse_task(&self.name)),
            Some(_) | None => Ok(()),
        }
    }

    /// Records that work is `depth` levels deep. The deepest level counts, also where it is refused: then every further step is
    /// refused too.
    ///
    /// # Errors
    /// As [`check_depth`](Budget::check_depth).
    pub fn record_depth(&self, depth: u64) -> Result<(), Refused> {
        self.deepest.fetch_max(depth, Ordering::Relaxed);
        self.check_depth(depth)
    }

    /// Sets money aside before it is spent.
    ///
    /// # Errors
    /// `budget_cost` if it does not fit; `invalid_argument` for another currency; `task_ended`. Nothing is set aside then.
    pub fn reserve(&self, cost: Cost) -> Result<Reservation<'_>, Refused> {
        self.not_ended()?;
        self.account.same_currency(&self.name, cost)?;
        self.account.set_aside(cost).map_err(|spent| spent.refuse_task(&self.name))?;
        Ok(Reservation { budget: self, reserved: cost })
    }

    /// Books money that is spent already: it counts even where it does not fit. What a part spends beyond its own is booked on the budget
    /// that it was carved from.
    ///
    /// # Errors
    /// `budget_cost` if it is now over its limit; `invalid_argument` for another currency, which is not booked.
    pub fn spend(&self, cost: Cost) -> Result<(), Refused> {
        self.account.same_currency(&self.name, cost)?;
        self.account.book(cost).map_err(|spent| spent.refuse_task(&self.name))
    }

    /// Carves a budget for a part of the work out of what is left.
    ///
    /// Steps and money that are limited here must be stated in `limits`; they are taken from here at once. Depth and time are at most
    /// what is left here. A part may go on after the whole has ended, with what it has taken.
    ///
    /// # Errors
    /// `budget_steps`, `budget_cost` if so much is not left; `budget_duration` if the time is over; `invalid_argument` if a limit is
    /// not stated, for another currency, or if `name` is no name; `task_ended`.
    pub fn carve(&self, name: impl Into<String>, limits: Limits) -> Result<Budget, Refused> {
        let name = name.into();
        named(&name)?;
        self.check()?;
        let left = self.left();
        let limits =
            limits.tightened_by(Limits { steps: None, cost: None, depth: left.depth, duration: left.duration });
        let steps = match (self.account.limits().steps, limits.steps) {
            (None, _) => 0,
            (Some(_), Some(steps)) => steps,
            (Some(_), None) => return Err(self.unstated("how many steps")),
        };
        let cost = match (self.account.limits().cost, limits.cost) {
            (None, _) => None,
            (Some(_), Some(cost)) => Some(cost),
            (Some(_), None) => return Err(self.unstated("how much money")),
        };
        if let Some(cost) = cost {
            self.account.same_currency(&name, cost)?;
        }
        self.account.take_steps(steps).map_err(|left| {
            Refused::new(
                Kind::BudgetSteps,
                &name,
                format!("{steps} steps are asked for, and of {} {left} are left", self.name),
            )
            .advise("ask for fewer, or give back what other parts do not use")
        })?;
        if let Some(cost) = cost
            && let Err(spent) = self.account.set_aside(cost)
        {
            self.account.give_back_steps(steps);
            return Err(spent.refuse_task(&self.name));
        }
        Ok(Budget::on(Account::part(&self.account, holder(&name), limits), name))
    }

    /// What is left.
    #[must_use]
    pub fn left(&self) -> Left {
        let left = self.account.left();
        let deepest = self.deepest.load(Ordering::Relaxed);
        Left { depth: left.depth.map(|most| most.saturating_sub(deepest)), ..left }
    }

    /// Whose it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it began with.
    #[must_use]
    pub fn limits(&self) -> Limits {
        *self.account.limits()
    }

    /// The end: there are no steps after it. What was carved from another budget and not used goes back there.
    pub fn end(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.account.hand_back();
        }
    }

    /// `true` after the [end](Budget::end).
    #[must_use]
    #[inline]
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn used(&self) -> Used {
        let account = &self.account;
        Used { steps: account.taken(), micros: account.held(), elapsed: account.elapsed() }
    }

    pub(super) fn deepest(&self) -> u64 {
        self.deepest.load(Ordering::Relaxed)
    }

    pub(super) fn restore_depth(&self, deepest: u64) {
        self.deepest.fetch_max(deepest, Ordering::Relaxed);
    }

    #[inline]
    fn not_ended(&self) -> Result<(), Refused> {
        if self.is_ended() { Err(self.has_ended()) } else { Ok(()) }
    }

    #[cold]
    fn has_ended(&self) -> Refused {
        Refused::new(Kind::TaskEnded, &self.name, format!("Task {} has ended, and its budget with it", self.name))
            .advise("give new work a new id")
    }

    #[cold]
    fn unstated(&self, what: &str) -> Refused {
        Refused::new(Kind::InvalidArgument, &self.name, format!("{what} a part may use is not stated"))
            .advise("what is limited in the whole must be stated for a part, or one part would take all")
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.end();
    }
}

/// Money that is set aside. What is neither settled nor released when it is dropped counts as spent: nobody knows better.
#[derive(Debug)]
#[must_use = "dropping it counts the whole reservation as spent"]
pub struct Reservation<'a> {
    budget: &'a Budget,
    reserved: Cost,
}

impl Reservation<'_> {
    /// It really cost this much. Less gives the rest back; more counts too, also where it does not fit.
    ///
    /// # Errors
    /// `budget_cost` if the budget is now over its limit; `invalid_argument` for another currency: then the whole reservation
    /// counts.
    pub fn settle(self, cost: Cost) -> Result<(), Refused> {
        let Reservation { budget, reserved } = self;
        if cost.currency() != reserved.currency() {
            return Err(Refused::new(
                Kind::InvalidArgument,
                &budget.name,
                format!("{cost} is to be settled, and {reserved} was reserved"),
            )
            .advise("settle in the currency of the reservation"));
        }
        budget.account.give_back(Cost::from_micros_in(reserved.micros().saturating_sub(cost.micros()), cost));
        let beyond = Cost::from_micros_in(cost.micros().saturating_sub(reserved.micros()), cost);
        if beyond.micros() == 0 { Ok(()) } else { budget.spend(beyond) }
    }

    /// Nothing was begun: all of it is given back.
    pub fn release(self) {
        self.budget.account.give_back(self.reserved);
    }
}

fn holder(name: &str) -> String {
    format!("the task `{name}`")
}

pub(super) fn named(name: &str) -> Result<(), Refused> {
    crate::tasks::check_name(name).map_err(|flaw| {
        Refused::new(Kind::InvalidArgument, "budget", format!("the task id {name:?} is no name: {flaw}"))
            .advise("correct it; it is not repaired for you")
    })
}

#[cfg(test)]
mod tests;
