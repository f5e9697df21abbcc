//! An agent that has nothing to do, and must not invent something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::shown;
use crate::refused::{Kind, Refused};
use crate::tasks::lifecycle::{Change, Hook, TaskState, Veto};

/// Whether an agent is idle. Clones are the same agent: hand one to everything that starts work for it.
///
/// As a [`Hook`] of a [`Lifecycle`](crate::tasks::lifecycle::Lifecycle) it keeps the agent's tasks from going to `in_progress`.
///
/// ```
/// use portcullis::tasks::admission::Idle;
///
/// let idle = Idle::new();
/// idle.sleep();
/// assert_eq!(idle.may_start("create_task", "another report").unwrap_err().code(), "idle");
/// idle.wake();
/// idle.may_start("create_task", "another report")?;
/// # Ok::<(), portcullis::Refused>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Idle(Arc<AtomicBool>);

/// What is said when an agent goes idle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Asleep {
    /// `idle`.
    pub status: &'static str,
    /// Who.
    pub agent_id: String,
    /// `no_tasks`.
    pub reason: &'static str,
    /// For how long whoever runs the agent should leave it alone. It wakes nobody.
    pub sleep_seconds: u64,
}

impl Asleep {
    pub(super) fn new(agent: &str, timeout: Duration) -> Self {
        Asleep { status: "idle", agent_id: agent.into(), reason: "no_tasks", sleep_seconds: timeout.as_secs() }
    }
}

impl Idle {
    /// An agent that is awake.
    #[must_use]
    pub fn new() -> Self {
        Idle::default()
    }

    /// Goes idle. Twice is the same as once.
    pub fn sleep(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Wakes up, however often it was put to sleep.
    pub fn wake(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// `true` between [`sleep`](Idle::sleep) and [`wake`](Idle::wake).
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Whether work may be started: `call` says how, `what` which.
    ///
    /// # Errors
    /// `idle`.
    pub fn may_start(&self, call: &str, what: &str) -> Result<(), Refused> {
        if !self.is_idle() {
            return Ok(());
        }
        Err(refuse(call, what))
    }
}

/// The refusal of an idle agent.
pub(crate) fn refuse(call: &str, what: &str) -> Refused {
    Refused::new(Kind::Idle, call, in_words(call, what)).advise("wait for work, or wake the agent")
}

fn in_words(call: &str, what: &str) -> String {
    format!(
        "Cannot {call}('{}') while in idle mode. No speculative execution or self-generated busywork allowed.",
        shown(what)
    )
}

impl Hook for Idle {
    fn name(&self) -> &str {
        "idle"
    }

    fn before(&self, task: &str, change: &Change) -> Result<(), Veto> {
        if change.to == TaskState::InProgress && self.is_idle() {
            return Err(Veto::idle(in_words("start", task)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::lifecycle::Lifecycle;

    #[test]
    fn an_idle_agent_starts_none_of_its_tasks_and_may_still_block_or_cancel_them() {
        let idle = Idle::new();
        let task = Lifecycle::new("t").unwrap().hook(idle.clone());
        idle.sleep();
        assert_eq!(task.transition(TaskState::InProgress, "a").unwrap_err().kind(), Kind::Idle);
        let _ = task.transition(TaskState::Blocked, "a").unwrap();
        idle.wake();
        let _ = task.transition(TaskState::InProgress, "a").unwrap();
        idle.sleep();
        let _ = task.transition(TaskState::Done, "a").unwrap();
    }
}
