//! The budgets of tasks, by their ids.
//!
//! # Rules
//! 1. A task that was never started is refused.
//! 2. A task is started once: neither while it runs nor after its end again. After its end there are no steps.
//! 3. A step is refused when the time is over.
//! 4. The depth that was recorded is enforced.
//! 5. Limits are what [`Limits`] can hold: whole numbers, and time from 0 on.
//! 6. Time is monotonic: setting the clock changes nothing.
//! 7. What was used before a restart stays used: [`Tracker::snapshot`] and [`Tracker::restore`].
//! 8. There is no negative depth.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::account::Used;
use super::clock::{Clock, Stamp, Stopwatch};
use super::handle::named;
use super::{Budget, Limits};
use crate::refused::{Kind, Refused};

mod snapshot;

pub use snapshot::Snapshot;

/// By id. The hash is seeded for each process, and a third of what a step by id costs with the standard one.
type Tasks = HashMap<Box<str>, Arc<Budget>, foldhash::quality::RandomState>;

/// The budgets of many tasks. Share it by reference.
///
/// ```
/// use portcullis::budget::{Limits, Tracker};
///
/// let budgets = Tracker::new();
/// budgets.start("order-17", Limits::TASK)?;
/// for _ in 0..50 {
///     budgets.step("order-17")?;
/// }
/// let refused = budgets.step("order-17").unwrap_err();
/// assert_eq!(refused.code(), "budget_steps");
/// assert_eq!(refused.reason(), "Task order-17 exceeded step budget: 51 steps taken, max 50");
///
/// assert_eq!(budgets.step("order-18").unwrap_err().code(), "unknown_task");
/// # Ok::<(), portcullis::Refused>(())
/// ```
#[derive(Debug, Default)]
pub struct Tracker {
    clock: Option<Arc<dyn Clock>>,
    /// Tasks that have ended stay: they are not started again.
    tasks: RwLock<Tasks>,
}

/// How a task's budget stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// Attempts, also the refused ones.
    pub steps_taken: u64,
    /// The deepest level that was recorded.
    pub depth_reached: u64,
    /// How long ago it was started.
    pub elapsed: Duration,
    /// What it began with.
    pub limits: Limits,
}

impl Tracker {
    /// No task yet, on this machine's clocks.
    #[must_use]
    pub fn new() -> Self {
        Tracker::default()
    }

    /// No task yet, on another clock.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Tracker { clock: Some(clock), tasks: RwLock::default() }
    }

    /// Starts a task's budget; its time begins now. The handle is the quickest way to its steps.
    ///
    /// # Errors
    /// `already_started`, `task_ended`; `invalid_argument` if `id` is no [name](crate::tasks::check_name).
    pub fn start(&self, id: &str, limits: Limits) -> Result<Arc<Budget>, Refused> {
        named(id)?;
        let mut tasks = self.write();
        unstarted(&tasks, id)?;
        let opened = self.stopwatch(limits);
        let budget = Arc::new(Budget::open(id.to_owned(), limits, opened, Used::default()));
        tasks.insert(id.into(), Arc::clone(&budget));
        Ok(budget)
    }

    /// Starts a task's budget as a [part](Budget::carve) of the one of `whole`. What of it is not used by its [`end`](Tracker::end)
    /// goes back there.
    ///
    /// # Errors
    /// As [`start`](Tracker::start) and [`carve`](Budget::carve); `unknown_task` if `whole` was never started.
    pub fn start_within(&self, whole: &str, id: &str, limits: Limits) -> Result<Arc<Budget>, Refused> {
        let mut tasks = self.write();
        unstarted(&tasks, id)?;
        let whole = tasks.get(whole).ok_or_else(|| unknown(whole))?;
        let budget = Arc::new(whole.carve(id, limits)?);
        tasks.insert(id.into(), Arc::clone(&budget));
        Ok(budget)
    }

    /// One step, asked before it is taken.
    ///
    /// # Errors
    /// `unknown_task`; as [`Budget::step`].
    pub fn step(&self, id: &str) -> Result<(), Refused> {
        self.with(id, Budget::step)
    }

    /// How it stands, without a step.
    ///
    /// # Errors
    /// `unknown_task`; as [`Budget::check`].
    pub fn check(&self, id: &str) -> Result<(), Refused> {
        self.with(id, Budget::check)
    }

    /// Asks whether work may be `depth` levels deep.
    ///
    /// # Errors
    /// `unknown_task`; as [`Budget::check_depth`].
    pub fn check_depth(&self, id: &str, depth: u64) -> Result<(), Refused> {
        self.with(id, |budget| budget.check_depth(depth))
    }

    /// Records that work is `depth` levels deep.
    ///
    /// # Errors
    /// `unknown_task`; as [`Budget::record_depth`].
    pub fn record_depth(&self, id: &str, depth: u64) -> Result<(), Refused> {
        self.with(id, |budget| budget.record_depth(depth))
    }

    /// The handle of a task that runs or has ended.
    ///
    /// # Errors
    /// `unknown_task`.
    pub fn budget(&self, id: &str) -> Result<Arc<Budget>, Refused> {
        self.read().get(id).cloned().ok_or_else(|| unknown(id))
    }

    /// How a running task's budget stands; `None` where there is none.
    #[must_use]
    pub fn standing(&self, id: &str) -> Option<Standing> {
        let budget = self.read().get(id).filter(|budget| !budget.is_ended()).cloned()?;
        let Used { steps, elapsed, .. } = budget.used();
        Some(Standing { steps_taken: steps, depth_reached: budget.deepest(), elapsed, limits: budget.limits() })
    }

    /// Ends a task: no steps, and no start, after that. A task that was never started is left alone.
    pub fn end(&self, id: &str) {
        if let Some(budget) = self.read().get(id) {
            budget.end();
        }
    }

    #[inline]
    fn with(&self, id: &str, act: impl FnOnce(&Budget) -> Result<(), Refused>) -> Result<(), Refused> {
        act(self.read().get(id).ok_or_else(|| unknown(id))?)
    }

    fn stopwatch(&self, limits: Limits) -> Stopwatch {
        self.clock.as_ref().map_or_else(|| Stopwatch::start(limits.duration), Stopwatch::start_by)
    }

    fn stamp(&self) -> Stamp {
        self.clock.as_ref().map_or_else(Stamp::now, |clock| clock.stamp())
    }

    // A panic elsewhere leaves the map whole: it is only ever added to.
    fn read(&self) -> RwLockReadGuard<'_, Tasks> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tasks> {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unstarted(tasks: &Tasks, id: &str) -> Result<(), Refused> {
    match tasks.get(id) {
        None => Ok(()),
        Some(budget) if budget.is_ended() => {
            Err(Refused::new(Kind::TaskEnded, id, format!("Task {id} has ended")).advise("give new work a new id"))
        }
        Some(_) => Err(Refused::new(Kind::AlreadyStarted, id, format!("Task {id} was started before"))
            .advise("a task's budget is started once; go on with the one that it has")),
    }
}

#[cold]
fn unknown(id: &str) -> Refused {
    Refused::new(Kind::UnknownTask, id, format!("nobody has started a task {id:?}"))
        .advise("start it first; ids are compared exactly")
}

#[cfg(test)]
mod tests;
