//! One task's state, for many threads.
//!
//! # Invariants
//! 1. State and history change together, under one lock, or not at all.
//! 2. No foreign code runs under the lock.
//! 3. A change is committed only if nothing else has been committed since it was decided and since its hooks agreed to it.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};

use super::state::{TaskState, Transition};
use crate::refused::{Kind, Refused};
use crate::tasks::check_name;

/// Who changes a task's state, and what is to be remembered of it.
#[derive(Clone, Debug, PartialEq)]
pub struct By {
    actor: String,
    notes: Map<String, Value>,
}

impl By {
    /// In whose name.
    pub fn actor(actor: impl Into<String>) -> Self {
        By { actor: actor.into(), notes: Map::new() }
    }

    /// Adds something to be kept in the history and shown to hooks.
    #[must_use]
    pub fn note(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.notes.insert(name.into(), value.into());
        self
    }
}

impl From<&str> for By {
    fn from(actor: &str) -> Self {
        By::actor(actor)
    }
}

impl From<String> for By {
    fn from(actor: String) -> Self {
        By::actor(actor)
    }
}

/// One entry of a task's history.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// Where the task stood.
    pub from: TaskState,
    /// Where it went.
    pub to: TaskState,
    /// What that means, by the table.
    pub reason: Cow<'static, str>,
    /// In whose name.
    pub actor: String,
    /// When it was asked for, by the wall clock.
    #[serde(serialize_with = "crate::tasks::moment")]
    pub at: SystemTime,
    /// What else was said.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub notes: Map<String, Value>,
}

impl Change {
    pub(super) fn new(way: Transition, by: By) -> Self {
        let By { actor, notes } = by;
        Change { from: way.from, to: way.to, reason: way.reason.into(), actor, at: SystemTime::now(), notes }
    }
}

/// Why a hook objects to a change: any text becomes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Veto {
    kind: Kind,
    why: String,
}

impl Veto {
    pub(crate) fn idle(why: String) -> Self {
        Veto::of(Kind::Idle, why)
    }

    /// The refusal of the change will be of this kind.
    pub(crate) fn of(kind: Kind, why: String) -> Self {
        Veto { kind, why }
    }
}

impl From<String> for Veto {
    fn from(why: String) -> Self {
        Veto { kind: Kind::InvalidTransition, why }
    }
}

impl From<&str> for Veto {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

/// What wants to know of a task's changes. A hook can't leave a change half made:
///
/// - [`before`](Hook::before) runs before anything has changed, and may veto. If it panics, nothing has changed.
/// - [`after`](Hook::after) runs when state and history have changed, and can't undo that. If it fails or panics, the change
///   stands, and the caller is told in [`Committed::missed`].
///
/// Both run without a lock: they may look at the task, and may change it.
pub trait Hook: Send + Sync {
    /// For messages.
    fn name(&self) -> &str;

    /// May veto. May be asked about a change that is then not made, because another hook vetoes it or another thread was
    /// faster.
    ///
    /// # Errors
    /// Why not.
    fn before(&self, task: &str, change: &Change) -> Result<(), Veto> {
        let _ = (task, change);
        Ok(())
    }

    /// Is told, once for each change.
    ///
    /// # Errors
    /// It could not do its part.
    fn after(&self, task: &str, change: &Change) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let _ = (task, change);
        Ok(())
    }
}

/// A change that was made.
#[derive(Debug)]
#[must_use = "a hook may have missed the change"]
#[non_exhaustive]
pub struct Committed {
    /// What is in the history now.
    pub change: Change,
    /// The hooks that failed afterwards. The change stands all the same.
    pub missed: Vec<Missed>,
}

/// A hook that failed after a change.
#[derive(Debug)]
#[non_exhaustive]
pub struct Missed {
    /// Which hook.
    pub hook: String,
    /// What it said.
    pub why: String,
}

/// One task's state, history and hooks. Share it by reference or in an [`Arc`]: whoever asks, each change is decided from the state
/// that it changes, so two threads can't end one task twice.
///
/// ```
/// use portcullis::tasks::lifecycle::{Lifecycle, TaskState};
///
/// let task = Lifecycle::new("order-17")?;
/// let _ = task.transition(TaskState::InProgress, "agent-7")?;
/// let _ = task.transition(TaskState::Done, "agent-7")?;
///
/// let refused = task.transition(TaskState::Cancelled, "agent-8").unwrap_err();
/// assert_eq!(refused.code(), "task_ended");
/// assert_eq!(task.history().len(), 2);
/// # Ok::<(), portcullis::Refused>(())
/// ```
pub struct Lifecycle {
    id: String,
    hooks: Vec<Arc<dyn Hook>>,
    inner: Mutex<Inner>,
}

#[derive(Clone, Debug)]
struct Inner {
    state: TaskState,
    history: Vec<Change>,
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle").field("id", &self.id).field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Lifecycle {
    /// A task that is ready for work: `todo`.
    ///
    /// # Errors
    /// `invalid_argument` if `id` is no [name](check_name).
    pub fn new(id: impl Into<String>) -> Result<Self, Refused> {
        Lifecycle::at(id, TaskState::Todo)
    }

    /// A task that stands elsewhere.
    ///
    /// # Errors
    /// `invalid_argument` if `id` is no [name](check_name).
    pub fn at(id: impl Into<String>, state: TaskState) -> Result<Self, Refused> {
        let id = id.into();
        named(&id, "the task's id", &id)?;
        Ok(Lifecycle::resumed(id, state, Vec::new()))
    }

    pub(super) fn resumed(id: String, state: TaskState, history: Vec<Change>) -> Self {
        Lifecycle { id, hooks: Vec::new(), inner: Mutex::new(Inner { state, history }) }
    }

    /// Adds a hook. Hooks run in the order in which they were added.
    #[must_use]
    pub fn hook(mut self, hook: impl Hook + 'static) -> Self {
        self.hooks.push(Arc::new(hook));
        self
    }

    /// The task's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the task stands.
    #[must_use]
    pub fn state(&self) -> TaskState {
        self.lock().state
    }

    /// Every change so far, the first one first.
    #[must_use]
    pub fn history(&self) -> Vec<Change> {
        self.lock().history.clone()
    }

    /// Goes to `to`.
    ///
    /// # Errors
    /// `task_ended` after `done` and `cancelled`; `invalid_transition` if the table has no such way (the message lists those that
    /// it has) or a hook vetoes; `invalid_argument` if the actor is no [name](check_name). Nothing has changed then.
    /// [`source`](StdError::source) is the [`InvalidTransition`](super::InvalidTransition), where it was the table.
    pub fn transition(&self, to: TaskState, by: impl Into<By>) -> Result<Committed, Refused> {
        let by = by.into();
        named(&self.id, "the actor", &by.actor)?;
        loop {
            let (state, seen) = {
                let inner = self.lock();
                (inner.state, inner.history.len())
            };
            let change = state.change(to, by.clone()).map_err(|invalid| invalid.refuse(&self.id))?;
            self.ask_hooks(&change)?;
            let mut inner = self.lock();
            // Somebody was faster: decided anew, from where the task stands now (invariant 3). Every round that is lost
            // is a change that somebody else has made.
            if inner.history.len() != seen {
                continue;
            }
            inner.state = to;
            inner.history.push(change.clone());
            drop(inner);
            let missed = self.tell_hooks(&change);
            return Ok(Committed { change, missed });
        }
    }

    fn ask_hooks(&self, change: &Change) -> Result<(), Refused> {
        for hook in &self.hooks {
            hook.before(&self.id, change).map_err(|Veto { kind, why }| {
                let Change { from, to, .. } = change;
                let why = format!("Cannot transition from {from} to {to}: the hook `{}` objects: {why}", hook.name());
                Refused::new(kind, &self.id, why)
            })?;
        }
        Ok(())
    }

    fn tell_hooks(&self, change: &Change) -> Vec<Missed> {
        let tell = |hook: &Arc<dyn Hook>| {
            // A panic must not look as if the change had not been made.
            let why = match panic::catch_unwind(AssertUnwindSafe(|| hook.after(&self.id, change))) {
                Ok(Ok(())) => return None,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it panicked".into(),
            };
            let hook = hook.name().to_owned();
            tracing::error!(task = %self.id, %hook, %why, "a hook missed a change of state; the change stands");
            Some(Missed { hook, why })
        };
        self.hooks.iter().filter_map(tell).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that can panic runs under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn named(task: &str, what: &str, text: &str) -> Result<(), Refused> {
    check_name(text)
        .map_err(|flaw| Refused::new(Kind::InvalidArgument, task, format!("{what} {text:?} is no name: {flaw}")))
}

#[cfg(test)]
mod tests;
