//! A task from its entry to its exit.

use std::sync::Arc;

use super::call::Naming;
use super::site::Facts;
use crate::gate::Portcullis;
use crate::refused::{Kind, Refused};
use crate::scope::{self, Scope};
use crate::tasks::Opening;
use crate::tasks::lifecycle::{By, TaskState};

/// A task that a call has entered. Dropped before it is left, it is blocked (invariant 4 of [`guard`](super)).
pub(super) struct Run {
    gate: Portcullis,
    scope: Arc<Scope>,
    agent: String,
    /// What is said of the end, if nobody says another word.
    how: &'static str,
    left: bool,
}

impl Run {
    /// Task entry.
    pub(super) fn enter(gate: &Portcullis, facts: &Facts, action: &str, naming: Naming) -> Result<Box<Self>, Refused> {
        let Naming { id, kind, agent } = naming;
        let id = id.into_text(action).map_err(|refused| {
            let why = format!("what its id is made of is no id: {}", refused.reason());
            Refused::new(Kind::LoopInvalid, action, why).advise("name a task by a text or an integer")
        })?;
        let agent = agent.unwrap_or_else(|| gate.device().to_owned());
        let around = scope::task_around();
        let opening = Opening {
            id: &id,
            agent: &agent,
            kind: kind.as_deref().unwrap_or(action),
            parent: around.as_ref().and_then(|around| around.task()).map(|task| &*task.id),
            limits: gate.task_limits(facts.task.as_ref().map(|task| task.limits).unwrap_or_default()),
        };
        let scope = gate.register().enter(&opening)?;
        Ok(Box::new(Run { gate: gate.clone(), scope, agent, how: "not started", left: false }))
    }

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

    /// Task exit.
    pub(super) fn leave(mut self, success: bool) {
        if success {
            self.go(TaskState::Done, None);
        } else {
            self.go(TaskState::Blocked, Some("err"));
        }
    }

    fn go(&mut self, to: TaskState, how: Option<&'static str>) {
        self.left = true;
        let by = By::actor(self.agent.clone());
        let by = how.map_or(by.clone(), |how| by.note("ended", how));
        if let Some(task) = self.scope.task() {
            self.gate.register().leave(&task.id, to, by);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.left {
            self.go(TaskState::Blocked, Some(if std::thread::panicking() { "panic" } else { self.how }));
        }
    }
}
