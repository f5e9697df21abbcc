//! Where an issue is to go.

use serde_json::{Map, Value, json};

use crate::refused::{Kind, Refused};
use crate::tasks::lifecycle::TaskState;
use crate::tasks::name::is_blank;

/// A transition that is wanted: from where the caller takes the issue to be, to where it is to go.
///
/// ```
/// use portcullis::tasks::lifecycle::TaskState::{Blocked, InProgress};
/// use portcullis::tasks::paperclip::Move;
///
/// Move::new(InProgress, Blocked).unblock("the supplier confirms the order").comment("asked twice, no answer yet");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a move is carried out by `Paperclip::transition`"]
pub struct Move {
    pub(super) from: TaskState,
    pub(super) to: TaskState,
    comment: Option<String>,
    unblock: Option<String>,
}

impl Move {
    /// From one state to another.
    pub fn new(from: TaskState, to: TaskState) -> Self {
        Move { from, to, comment: None, unblock: None }
    }

    /// Says something about it: a comment that is written together with the transition, or not at all. A checkout has no room for
    /// one.
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        self.comment = Some(text.into());
        self
    }

    /// To `blocked`: what this agent has to do, or to wait for, until it goes on. The service wants to know it, unless the issue has
    /// open blockers or a question that is still to be answered.
    pub fn unblock(mut self, action: impl Into<String>) -> Self {
        self.unblock = Some(action.into());
        self
    }

    /// Refuses what the table does not have, and what can't be said of such a move.
    pub(super) fn check(&self, issue: &str) -> Result<(), Refused> {
        let Move { from, to, comment, unblock } = self;
        from.change(*to, "paperclip").map_err(|invalid| invalid.refuse(issue))?;
        let invalid = |why: &str| Err(Refused::new(Kind::InvalidArgument, issue, why));
        for (what, text) in [("comment", comment), ("unblock", unblock)] {
            if text.as_deref().is_some_and(is_blank) {
                return invalid(&format!("`{what}` is given and blank"));
            }
        }
        if self.is_checkout() && comment.is_some() {
            return invalid("a checkout has no room for a comment: write it when the issue is checked out");
        }
        if unblock.is_some() && *to != TaskState::Blocked {
            return invalid("`unblock` is for a move to `blocked`");
        }
        Ok(())
    }

    /// The service's own PATCH to `in_progress` would not take the lock.
    pub(super) fn is_checkout(&self) -> bool {
        self.to == TaskState::InProgress
    }

    pub(super) fn is_block(&self) -> bool {
        self.to == TaskState::Blocked
    }

    pub(super) fn body(&self, agent: &str) -> Value {
        let mut body = Map::from_iter([("status".to_owned(), json!(self.to))]);
        if let Some(comment) = &self.comment {
            body.insert("comment".into(), json!(comment));
        }
        if let Some(action) = &self.unblock {
            // An agent may name nobody but itself.
            body.insert("unblockDescriptor".into(), json!({"owner": {"agentId": agent}, "action": action}));
        }
        Value::Object(body)
    }
}
