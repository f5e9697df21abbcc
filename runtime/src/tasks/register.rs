//! The tasks of a gate that are kept in memory: what `#[task]` enters and leaves.
//!
//! # Invariants
//! 1. Whether a task may be entered is decided and put on record under one lock.
//! 2. A task has one scope from its first entry to its end, so that entering again gives nobody anything back.
//! 3. A task that has ended is remembered as long as the gate lives.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lifecycle::{By, Change, Lifecycle, TaskState};
use super::loops::{Detector, Proposal};
use crate::budget::{Left, Limits};
use crate::gate::Portcullis;
use crate::ledger::tasks::{CancelTask, running};
use crate::ledger::{TaskAnswer, TaskRequest};
use crate::refused::{Kind, Refused};
use crate::scope::{OfTask, Scope};

/// A task that is to be entered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) id: &'a str,
    pub(crate) agent: &'a str,
    pub(crate) kind: &'a str,
    /// The task around.
    pub(crate) parent: Option<&'a str>,
    pub(crate) limits: Limits,
}

impl<'a> Opening<'a> {
    pub(crate) fn proposal(&self) -> Proposal<'a> {
        let &Opening { id, agent, kind, parent, .. } = self;
        let proposal = Proposal::new(id, agent, kind);
        match parent {
            Some(parent) => proposal.parent(parent),
            None => proposal,
        }
    }
}

pub(crate) struct Register {
    loops: Detector,
    tasks: Mutex<HashMap<Box<str>, Entry>>,
}

struct Entry {
    lifecycle: Lifecycle,
    /// `None` once it has ended.
    scope: Option<Arc<Scope>>,
}

impl Register {
    pub(crate) fn new(max_depth: u64) -> Self {
        Register { loops: Detector::new(max_depth), tasks: Mutex::default() }
    }

    /// Enters a task: the loop check, and `in_progress`.
    pub(crate) fn enter(&self, opening: &Opening<'_>) -> Result<Arc<Scope>, Refused> {
        let &Opening { id, agent, kind, .. } = opening;
        let mut tasks = self.lock();
        let open = tasks.get(id).and_then(|entry| Some((entry, entry.scope.as_ref()?)));
        let Some((entry, scope)) = open else {
            // What has ended is refused here.
            self.loops.admit(&opening.proposal())?;
            let entry = Entry { lifecycle: Lifecycle::new(id)?, scope: Some(Arc::new(Scope::of_task(opening, None))) };
            entry.start(agent)?;
            let scope = entry.scope.clone();
            tasks.insert(id.into(), entry);
            return scope.ok_or_else(|| unknown(id));
        };
        let known = self.loops.resume(&opening.proposal())?;
        if known.kind != kind {
            return Err(another_kind(id, &known.kind, kind));
        }
        if entry.lifecycle.state() == TaskState::InProgress {
            return Err(running(id, "in this process"));
        }
        if let Some(account) = scope.own() {
            account.check(id)?;
        }
        entry.start(agent)?;
        let scope = Arc::clone(scope);
        if let Some(task) = scope.task() {
            task.set_open(true);
        }
        Ok(scope)
    }

    /// Remembers a task that a ledger has let in, and of which one in memory is to be a child.
    pub(crate) fn remember(&self, task: &OfTask) {
        let OfTask { id, agent, kind, depth, .. } = task;
        // The ledger's record is the one that counts; one that this process has already says the same.
        let _ = self.loops.register(&Proposal::new(id, agent, kind).depth(*depth));
    }

    pub(crate) fn max_depth(&self) -> u64 {
        self.loops.max_depth()
    }

    /// Leaves a task that was entered. One that somebody has ended meanwhile stays as it is.
    pub(crate) fn leave(&self, id: &str, to: TaskState, by: By) {
        // Only from `in_progress`: whoever had another way has ended it.
        let _ = self.change(id, to, by);
    }

    fn change(&self, id: &str, to: TaskState, by: By) -> Result<Change, Refused> {
        let mut tasks = self.lock();
        let entry = tasks.get_mut(id).ok_or_else(|| unknown(id))?;
        let change = entry.lifecycle.transition(to, by)?.change;
        if let Some(task) = entry.scope.as_ref().and_then(|scope| scope.task()) {
            task.set_open(false);
        }
        if to.is_terminal() {
            self.loops.complete(id)?;
            entry.scope = None;
        }
        Ok(change)
    }

    fn look<T>(&self, id: &str, look: impl FnOnce(&Entry) -> T) -> Option<T> {
        self.lock().get(id).map(look)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Entry>> {
        // An entry is added whole, last of all; nothing that can panic stands between two changes.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn start(&self, agent: &str) -> Result<(), Refused> {
        self.lifecycle.transition(TaskState::InProgress, agent).map(|_| ())
    }
}

pub(crate) fn another_kind(id: &str, known: &str, proposed: &str) -> Refused {
    Refused::new(
        Kind::AlreadyStarted,
        id,
        format!("Task {id} is on record as work of the kind {known}, and this is of the kind {proposed}"),
    )
    .advise("a record is not overwritten: give other work another id")
}

#[cold]
fn unknown(id: &str) -> Refused {
    Refused::new(Kind::UnknownTask, id, format!("nobody has opened a task {id:?} on this gate"))
        .advise("ids are compared exactly")
}

/// The tasks that [`#[task]`](macro@crate::task) has opened on a gate and keeps in memory; made by [`Portcullis::tasks`].
///
/// ```
/// use portcullis::tasks::lifecycle::TaskState;
/// use portcullis::{Portcullis, Refused, task};
///
/// #[task(id = "order", max_steps = 5)]
/// fn fulfil(order: &str) -> Result<(), Refused> {
///     let tasks = Portcullis::current().expect("a gate is in use").tasks();
///     assert_eq!(tasks.state(order), Some(TaskState::InProgress));
///     assert_eq!(tasks.left(order).and_then(|left| left.steps), Some(5));
///     Ok(())
/// }
///
/// fulfil("o-17")?;
/// let tasks = Portcullis::current().expect("a gate is in use").tasks();
/// assert_eq!(tasks.state("o-17"), Some(TaskState::Done));
/// assert_eq!(tasks.history("o-17").len(), 2);
/// # Ok::<(), Refused>(())
/// ```
pub struct Tasks(Portcullis);

impl Tasks {
    pub(crate) fn of(gate: Portcullis) -> Self {
        Tasks(gate)
    }

    /// Where a task stands. `None`: it was never opened here.
    #[must_use]
    pub fn state(&self, id: &str) -> Option<TaskState> {
        self.0.register().look(id, |entry| entry.lifecycle.state())
    }

    /// Every change of a task's state, the first one first.
    #[must_use]
    pub fn history(&self, id: &str) -> Vec<Change> {
        self.0.register().look(id, |entry| entry.lifecycle.history()).unwrap_or_default()
    }

    /// What a task's account still allows. `None`: it is not open.
    #[must_use]
    pub fn left(&self, id: &str) -> Option<Left> {
        let account = self.0.register().look(id, |entry| entry.scope.as_ref()?.own().cloned());
        account.flatten().map(|account| account.left())
    }

    /// Gives a task up, in memory or (durable tasks) on the gate's ledger, where it blocks. A body that is running goes on, and its next guarded call is refused as `task_ended`.
    ///
    /// # Errors
    /// `unknown_task`, also on the ledger; that the ledger can't be used; `task_ended` if it is done or cancelled already; `invalid_argument` if the actor is no
    /// [name](super::check_name).
    pub fn cancel(&self, id: &str, by: impl Into<By>) -> Result<Change, Refused> {
        let by = by.into();
        match self.0.register().change(id, TaskState::Cancelled, by.clone()) {
            Err(refused) if refused.kind() == Kind::UnknownTask => self.cancel_on_record(id, by),
            changed => changed,
        }
    }

    fn cancel_on_record(&self, id: &str, by: By) -> Result<Change, Refused> {
        match self.0.ledger()?.task(TaskRequest::Cancel(CancelTask { id: id.into(), by })).wait() {
            Some(TaskAnswer::Changed(change)) => Ok(change),
            Some(TaskAnswer::Refused(refused)) => Err(refused),
            Some(TaskAnswer::Entered(_) | TaskAnswer::Charged) | None => {
                Err(Refused::new(Kind::LedgerUnavailable, id, "the ledger has stopped without an answer"))
            }
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tasks").field(&self.0).finish()
    }
}
