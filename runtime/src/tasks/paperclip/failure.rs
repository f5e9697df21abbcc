//! What can go wrong, by what it means for the caller.

use std::fmt;

use crate::refused::{Kind, Refused};
use crate::tasks::lifecycle::TaskState;

/// Why a call did not succeed.
///
/// What matters first is whether it [may have happened](Failure::may_have_happened) all the same. Nothing here is retried by the
/// adapter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Refused on this side; nothing was sent. `invalid_transition` and `task_ended` by the table of states, `not_admitted`, `idle`,
    /// `invalid_argument`, `forked`.
    #[error(transparent)]
    Refused(Refused),
    /// 409: the issue is not this run's. Somebody else holds it, or it is not where a checkout expects it. Trying again changes
    /// nothing: take other work.
    #[error("not ours: {0}")]
    NotMine(Box<NotMine>),
    /// 401 or 403: the key, the agent or the run may not do that.
    #[error("the task service says no: {0}")]
    Denied(Said),
    /// 404: there is no such issue, or none that this agent may see.
    #[error("the task service does not know it: {0}")]
    NotFound(Said),
    /// 422 to a transition: one of the service's own rules for agents is not met. `blocked` wants to know what unblocks the issue
    /// ([`Move::unblock`](super::Move::unblock)), `in_review` who reviews it
    /// ([`request_review`](super::Paperclip::request_review)).
    #[error("the task service's rules do not let the issue go to {to}: {said}; {}", advice(*.to))]
    Rule {
        /// Where it was to go.
        to: TaskState,
        /// What the service said.
        said: Said,
    },
    /// Another 4xx: the request is wrong as it is.
    #[error("the task service rejects the request: {0}")]
    Rejected(Said),
    /// The issue is not where the caller takes it to be. Nothing was changed.
    #[error("the issue is in {found}, not in {expected}: somebody else has moved it; read it, and decide from there")]
    Elsewhere {
        /// What the caller said.
        expected: TaskState,
        /// What the service says.
        found: TaskState,
    },
    /// There was no usable answer: no connection, too late, a 5xx, a redirect, something that is no JSON.
    #[error("{0}")]
    NoAnswer(NoAnswer),
}

const fn advice(to: TaskState) -> &'static str {
    match to {
        TaskState::Blocked => "say what unblocks it: `Move::unblock`, or the note `unblock` of a mirrored change",
        TaskState::InReview => "ask somebody to review it first: `Paperclip::request_review`",
        TaskState::Backlog | TaskState::Todo | TaskState::InProgress | TaskState::Done | TaskState::Cancelled => {
            "what it asks for is to be done there first"
        }
    }
}

/// Who has the issue, as far as the service says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotMine {
    /// What the service said.
    pub said: Said,
    /// Where the issue stands.
    pub state: Option<TaskState>,
    /// The agent to which it is assigned.
    pub agent: Option<String>,
    /// The run that has it checked out.
    pub run: Option<String>,
}

impl fmt::Display for NotMine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.said)?;
        if let Some(state) = self.state {
            write!(f, "; it is in {state}")?;
        }
        match (&self.run, &self.agent) {
            (Some(run), Some(agent)) => write!(f, ", held by run {run} of agent {agent}"),
            (None, Some(agent)) => write!(f, ", assigned to agent {agent}"),
            (_, None) => Ok(()),
        }
    }
}

/// What the service said with a status that is no success. Without control characters, and cut where it is long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Said {
    /// The HTTP status.
    pub status: u16,
    /// Its own code, such as `invalid_issue_disposition`, where it gave one.
    pub code: Option<String>,
    /// In words.
    pub message: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

/// No usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoAnswer {
    /// Something that changes the service's state was sent, so it may have done it. Look before you ask again.
    pub may_have_happened: bool,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// Why, in words.
    pub detail: String,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let then = if self.may_have_happened {
            "it may have done what was asked: look before you ask again"
        } else {
            "nothing was done"
        };
        write!(f, "no usable answer of the task service: {}; {then}", self.detail)
    }
}

impl Failure {
    /// `true` if the service may have done what was asked. Then asking again may do it twice.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Failure::NoAnswer(NoAnswer { may_have_happened: true, .. }))
    }

    /// The kind of refusal as which it is told where a [`Refused`] is wanted.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Failure::Refused(refused) => refused.kind(),
            Failure::NotMine(_) => Kind::TaskRunning,
            Failure::Denied(_) => Kind::Denied,
            Failure::NotFound(_) => Kind::UnknownTask,
            Failure::Rule { .. } | Failure::Elsewhere { .. } => Kind::InvalidTransition,
            Failure::Rejected(_) => Kind::InvalidArgument,
            Failure::NoAnswer(NoAnswer { may_have_happened: true, .. }) => Kind::InDoubt,
            Failure::NoAnswer(NoAnswer { may_have_happened: false, .. }) => Kind::TaskServiceUnavailable,
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Failure::Refused(refused)
    }
}

impl From<Failure> for Refused {
    /// With the failure as its source.
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refused) => refused,
            failure => Refused::new(failure.kind(), "paperclip", failure.to_string()).because(failure),
        }
    }
}
