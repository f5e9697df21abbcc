//! What a ledger does for tasks that outlive their process.
//!
//! # Invariants
//! 1. Whether a task may be entered is decided and put on record in one transaction.
//! 2. A step or a sum that was let through is on record before its body starts, so that no death of the process gives it back.
//! 3. A task that is in progress is entered by somebody else only if its owner is known to be dead. From then on the earlier start
//!    changes nothing any more: its epoch is outdated.
//! 4. What has ended is remembered for ever.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Reply, Ticket};
use crate::budget::{Limits, Used};
use crate::refused::{Kind, Refused};
use crate::tasks::Opening;
use crate::tasks::lifecycle::{By, Change, TaskState};
use crate::tasks::loops::{Known, Proposal};

mod book;

pub(crate) use book::{Columns, ReadTasks, change, not_a_url};
pub use book::{TaskBook, TaskFilter, TaskOwner, TaskRecord};

/// An operation on tasks, on its way to the store.
#[derive(Clone, Debug)]
pub(crate) enum TaskRequest {
    Enter(EnterTask),
    /// All of them or none.
    Charge(Vec<ChargeTask>),
    Leave(LeaveTask),
    Cancel(CancelTask),
}

/// What became of it.
#[derive(Debug)]
#[must_use = "it says whether the body may run"]
pub(crate) enum TaskAnswer {
    Entered(EnteredTask),
    Charged,
    Changed(Change),
    Refused(Refused),
}

#[derive(Clone, Debug)]
pub(crate) struct EnterTask {
    pub(crate) id: String,
    pub(crate) agent: String,
    pub(crate) kind: String,
    pub(crate) parent: Option<String>,
    /// How deep it is at least: tasks around it that are not on record count too.
    pub(crate) depth: u64,
    /// How deep the tree may be.
    pub(crate) max_depth: u64,
    pub(crate) limits: Limits,
    /// This start, named by the caller, so that a lost acknowledgement is asked again and not guessed.
    pub(crate) attempt: Uuid,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct EnteredTask {
    pub(crate) task: TaskKey,
    pub(crate) depth: u64,
    pub(crate) used: Used,
}

/// One start of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskKey {
    pub(crate) row: i64,
    pub(crate) epoch: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct ChargeTask {
    pub(crate) task: TaskKey,
    pub(crate) id: String,
    pub(crate) steps: i64,
    /// Less than nothing gives back what a reservation did not need.
    pub(crate) micros: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct LeaveTask {
    pub(crate) task: TaskKey,
    pub(crate) id: String,
    pub(crate) to: TaskState,
    pub(crate) by: By,
    /// How many steps were tried: those that were refused count as well.
    pub(crate) tried: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct CancelTask {
    pub(crate) id: String,
    pub(crate) by: By,
}

impl TaskRequest {
    /// For messages: the task that it is about.
    pub(crate) fn id(&self) -> &str {
        match self {
            TaskRequest::Enter(enter) => &enter.id,
            TaskRequest::Charge(charges) => charges.first().map_or("task", |charge| &charge.id),
            TaskRequest::Leave(leave) => &leave.id,
            TaskRequest::Cancel(cancel) => &cancel.id,
        }
    }

    /// Need its flush not be waited for? What is counted survives this process all the same.
    pub(crate) fn is_lazy(&self) -> bool {
        matches!(self, TaskRequest::Charge(_))
    }

    /// Where the answer goes. An entry that nobody hears of is left again, by `leave`; that something is not on record is logged where
    /// nobody hears of it.
    pub(crate) fn replying(
        &self,
        leave: impl FnOnce(TaskRequest) + Send + Sync + 'static,
    ) -> (Reply<TaskAnswer>, Ticket<TaskAnswer>) {
        let id = self.id().to_owned();
        let agent = match self {
            TaskRequest::Enter(enter) => Some(enter.agent.clone()),
            TaskRequest::Charge(_) | TaskRequest::Leave(_) | TaskRequest::Cancel(_) => None,
        };
        Ticket::returning(move |answer| match (answer, agent) {
            (TaskAnswer::Entered(entered), Some(agent)) => {
                let by = By::actor(agent).note("ended", "dropped");
                leave(TaskRequest::Leave(LeaveTask { task: entered.task, id, to: TaskState::Blocked, by, tried: 0 }));
            }
            (TaskAnswer::Refused(refused), None) => {
                let (code, reason) = (refused.code(), refused.reason());
                tracing::warn!(target: "portcullis", task = id, code, reason, "what a task has used, or how it ended, is not on record");
            }
            (TaskAnswer::Refused(_), Some(_))
            | (TaskAnswer::Entered(_) | TaskAnswer::Charged | TaskAnswer::Changed(_), _) => {}
        })
    }
}

impl EnterTask {
    pub(crate) fn proposal(&self) -> Proposal<'_> {
        let EnterTask { id, agent, kind, parent, limits, .. } = self;
        Opening { id, agent, kind, parent: parent.as_deref(), limits: *limits }.proposal().depth(self.depth)
    }
}

/// What stands in the way of an entry that the loop check lets through.
pub(crate) fn may_go_on(enter: &EnterTask, known: &Known, used: Used) -> Result<(), Refused> {
    if let Some(node) = &known.node
        && node.kind != enter.kind
    {
        return Err(crate::tasks::another_kind(&enter.id, &node.kind, &enter.kind));
    }
    enter.limits.judge(used.steps, 0, used.elapsed).map_err(|spent| {
        Refused::new(spent.kind(), &enter.id, format!("the account of the task `{}` is spent: {spent}", enter.id))
            .advise("stop here and report what was reached; entering again gives nothing back")
    })
}

/// Somebody is at it: `place` says where.
pub(crate) fn running(id: &str, place: &str) -> Refused {
    Refused::new(Kind::TaskRunning, id, format!("Task {id} is being worked on {place}"))
        .advise("leave it to that process; it can be entered again when it is blocked")
}

/// The agent that would enter it was put to sleep.
pub(crate) fn asleep(enter: &EnterTask) -> Refused {
    crate::tasks::admission::idle::refuse("start", &enter.id)
}

/// A start that is not the latest any more, or a task that has ended meanwhile.
pub(crate) fn outdated(id: &str, state: TaskState) -> Refused {
    let why = match state {
        TaskState::InProgress => {
            format!("Task {id} has been taken over by another process, which took this one for dead")
        }
        ended => format!("Task {id} is {ended}, and nothing more is done for it"),
    };
    let kind = if state == TaskState::InProgress { Kind::Fenced } else { Kind::TaskEnded };
    Refused::new(kind, id, why).advise("stop here: what happens now is counted nowhere")
}

#[cold]
pub(crate) fn unknown(id: &str) -> Refused {
    Refused::new(Kind::UnknownTask, id, format!("there is no task {id:?} on this ledger"))
        .advise("ids are compared exactly")
}

/// Who comes back to a task whose process has died: two changes.
pub(crate) fn taken_over(pid: Option<u32>) -> By {
    By::actor("portcullis").note("ended", "owner died").note("pid", pid)
}

/// As it is stored.
pub(crate) fn notes(change: &Change) -> Option<String> {
    (!change.notes.is_empty()).then(|| Value::Object(change.notes.clone()).to_string())
}

pub(crate) fn read_notes(stored: Option<&str>) -> Map<String, Value> {
    stored.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// As the column `state` holds it.
pub(crate) fn state_code(state: TaskState) -> i64 {
    TaskState::ALL.iter().position(|known| *known == state).map_or(-1, |place| place as i64)
}

pub(crate) fn read_state(code: i64) -> Option<TaskState> {
    TaskState::ALL.get(usize::try_from(code).ok()?).copied()
}
