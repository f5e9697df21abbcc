//! Lifecycles and calls for help, carried into the service.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::{Move, Paperclip};
use crate::refused::Refused;
use crate::tasks::admission::{NewTask, Request};
use crate::tasks::escalation::TaskService;
use crate::tasks::lifecycle::{Change, Hook, Veto};

/// A [hook](Hook) that moves an issue wherever a [`Lifecycle`](crate::tasks::lifecycle::Lifecycle) goes.
///
/// # The service first
/// The service is asked before the lifecycle changes, and what it does not confirm is vetoed. So a lifecycle is never in a state in which
/// the service has not been, and work never begins without the lock: a checkout that comes back as "not ours" is a veto, by the kind
/// `task_running`. The other way round, an answer that is lost, or a process that dies in between, would leave a task ended here and
/// held there, with nobody who would try again.
///
/// What remains is that the service may be one step ahead: its answer was lost (the veto is `in_doubt` then), this process died, or a
/// hook behind this one objected. The same transition, asked for again, finds the issue there and goes through. After a restart, begin
/// where the service is: `Lifecycle::at(id, paperclip.issue(id).wait()?.state)`. Add this hook last.
///
/// # Notes
/// Two notes of a change are sent along: `comment`, and, to `blocked`, `unblock` ([`Move::unblock`]).
///
/// # Blocking
/// A transition waits for the service, up to the deadline. In async code make it on a thread that may block.
pub struct Mirror {
    paperclip: Paperclip,
    issue: String,
    /// Two changes of one task are not to be mixed: the second one is decided by where the first one has taken the issue.
    turn: Mutex<()>,
}

impl Paperclip {
    /// A hook for the lifecycle of the task that is this issue.
    #[must_use]
    pub fn mirror(&self, issue: impl Into<String>) -> Mirror {
        Mirror { paperclip: self.clone(), issue: issue.into(), turn: Mutex::new(()) }
    }
}

impl Hook for Mirror {
    fn name(&self) -> &str {
        "paperclip"
    }

    fn before(&self, _: &str, change: &Change) -> Result<(), Veto> {
        let mut wanted = Move::new(change.from, change.to);
        let note = |name: &str| change.notes.get(name).and_then(Value::as_str);
        if let (Some(comment), false) = (note("comment"), wanted.is_checkout()) {
            wanted = wanted.comment(comment);
        }
        if let (Some(action), true) = (note("unblock"), wanted.is_block()) {
            wanted = wanted.unblock(action);
        }
        // Nothing that can panic half-way runs under it.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match self.paperclip.transition(&self.issue, wanted).wait() {
            Ok(_) => Ok(()),
            Err(failure) => Err(Veto::of(failure.kind(), failure.to_string())),
        }
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mirror").field("issue", &self.issue).finish_non_exhaustive()
    }
}

/// Calls for help at tiers 3 and 4. Waits for the service, up to the deadline. The assignee `auto` is the agent with the role `ceo`.
impl TaskService for Paperclip {
    fn create(&self, task: &NewTask) -> Result<Value, Refused> {
        Ok(json!(self.call_for_help(task).wait()?))
    }

    fn request_approval(&self, request: &Request) -> Result<Value, Refused> {
        let Request { path, body, .. } = request;
        Ok(json!(self.approval(Ok(path.clone()), body.clone()).wait()?))
    }
}
