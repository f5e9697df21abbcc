//! A task from its entry to its exit.

use std::sync::Arc;

use uuid::Uuid;

use super::call::Naming;
use super::site::Facts;
use crate::gate::Portcullis;
use crate::ledger::tasks::{EnterTask, LeaveTask};
use crate::ledger::{Store, TaskAnswer, TaskRequest, Ticket};
use crate::refused::{Kind, Refused};
use crate::scope::{self, Keeper, Scope};
use crate::tasks::Opening;
use crate::tasks::lifecycle::{By, TaskState};

/// What becomes of a call that opens a task.
pub(super) enum Entry {
    Entered(Box<Run>),
    /// A ledger decides.
    Asked(Box<Asked>),
}

/// A durable task that is being entered.
pub(super) struct Asked {
    pub(super) ticket: Option<Ticket<TaskAnswer>>,
    store: Arc<dyn Store>,
    request: EnterTask,
}

/// A task that a call has entered. Dropped before it is left, it is blocked (invariant 4 of [`guard`](super)).
pub(super) struct Run {
    gate: Portcullis,
    scope: Arc<Scope>,
    agent: String,
    /// What is said of the end, if nobody says another word.
    how: &'static str,
    left: bool,
}

/// Task entry.
pub(super) fn enter(gate: &Portcullis, facts: &Facts, action: &str, naming: Naming) -> Result<Entry, Refused> {
    let Naming { id, kind, agent } = naming;
    let id = id.into_text(action).map_err(|refused| {
        let why = format!("what its id is made of is no id: {}", refused.reason());
        Refused::new(Kind::LoopInvalid, action, why).advise("name a task by a text or an integer")
    })?;
    let agent = agent.unwrap_or_else(|| gate.device().to_owned());
    let kind = kind.unwrap_or_else(|| action.to_owned());
    let around = scope::tasks_around();
    let (limits, durable) = facts.task.as_ref().map_or((Default::default(), false), |task| (task.limits, task.durable));
    let nearest = around.first().and_then(|around| around.task());
    let parent = nearest.map(|task| &*task.id);
    let opening = Opening { id: &id, agent: &agent, kind: &kind, parent, limits: gate.task_limits(limits) };
    if !durable {
        let scope = gate.register().enter(&opening)?;
        return Ok(Entry::Entered(Box::new(Run { gate: gate.clone(), scope, agent, how: NOT_STARTED, left: false })));
    }
    // Only what is on record itself can be the parent of a record; but the loop check knows of what is around in memory.
    let limits = opening.limits;
    if let Some(nearest) = nearest.filter(|nearest| *nearest.agent == *agent && *nearest.kind == *kind)
        && around.first().is_some_and(|around| around.keeper().is_none())
    {
        return Err(crate::tasks::loops::identical(&id, &nearest.agent, &nearest.kind));
    }
    let parent = around.iter().find(|around| around.keeper().is_some()).and_then(|around| around.task());
    let request = EnterTask {
        parent: parent.map(|task| task.id.to_string()),
        depth: around.len() as u64,
        max_depth: gate.register().max_depth(),
        limits,
        attempt: Uuid::now_v7(),
        id,
        agent,
        kind,
    };
    let store = Arc::clone(gate.ledger()?);
    let ticket = Some(store.task(TaskRequest::Enter(request.clone())));
    Ok(Entry::Asked(Box::new(Asked { ticket, store, request })))
}

const NOT_STARTED: &str = "not started";

impl Asked {
    pub(super) fn entered(self, gate: &Portcullis, answer: Option<TaskAnswer>) -> Result<Box<Run>, Refused> {
        let Asked { store, request, .. } = self;
        let EnterTask { id, agent, kind, parent, limits, .. } = &request;
        let entered = match answer {
            Some(TaskAnswer::Entered(entered)) => entered,
            Some(TaskAnswer::Refused(refused)) => return Err(refused),
            Some(TaskAnswer::Charged | TaskAnswer::Changed(_)) | None => {
                return Err(Refused::new(Kind::LedgerUnavailable, id, "the ledger has stopped without an answer")
                    .advise("the body has not run; the log says why the ledger stopped"));
            }
        };
        let opening = Opening { id, agent, kind, parent: parent.as_deref(), limits: *limits };
        gate.register().remember(&opening, entered.depth);
        let keeper = Keeper { store, task: entered.task, id: id.clone() };
        let scope = Arc::new(Scope::of_task(&opening, Some((entered.used, keeper))));
        Ok(Box::new(Run { gate: gate.clone(), scope, agent: agent.clone(), how: NOT_STARTED, left: false }))
    }
}

impl Run {
    pub(super) fn scope(&self) -> &Arc<Scope> {
        &self.scope
    }

    /// The body starts now.
    pub(super) fn start(&mut self) {
        self.how = "dropped";
    }

    /// The call was refused.
    pub(super) fn refused(mut self, refused: &Refused) {
        self.how = refused.code();
    }

    /// Task exit. `Some`: until it is on record.
    #[must_use = "what is left is on record only once the ticket says so"]
    pub(super) fn leave(mut self, success: bool) -> Option<Ticket<TaskAnswer>> {
        if success { self.go(TaskState::Done, None) } else { self.go(TaskState::Blocked, Some("err")) }
    }

    fn go(&mut self, to: TaskState, how: Option<&'static str>) -> Option<Ticket<TaskAnswer>> {
        self.left = true;
        let by = By::actor(self.agent.clone());
        let by = match how {
            Some(how) => by.note("ended", how),
            None => by,
        };
        let task = self.scope.task()?;
        let Some(keeper) = self.scope.keeper() else {
            self.gate.register().leave(&task.id, to, by);
            return None;
        };
        task.set_open(false);
        let tried = self.scope.own().map_or(0, |account| account.taken());
        let leave = LeaveTask { task: keeper.task, id: keeper.id.clone(), to, by, tried };
        Some(keeper.store.task(TaskRequest::Leave(leave)))
    }
}

/// What became of an exit. The body has ended, and its result stands.
pub(super) fn left(answer: Option<TaskAnswer>) {
    match answer {
        Some(TaskAnswer::Changed(_)) => {}
        Some(TaskAnswer::Refused(refused)) => {
            tracing::warn!(target: "portcullis", task = refused.action(), code = refused.code(), reason = refused.reason(), "the end of a task is not on record");
        }
        Some(TaskAnswer::Entered(_) | TaskAnswer::Charged) | None => {
            tracing::warn!(target: "portcullis", "the end of a task is not on record: the ledger has stopped without an answer");
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.left {
            // Nobody can wait here; the store works it off.
            drop(self.go(TaskState::Blocked, Some(if std::thread::panicking() { "panic" } else { self.how })));
        }
    }
}
