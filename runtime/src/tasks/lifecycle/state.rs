//! The table of transitions, as data.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::record::{By, Change};
use crate::refused::{Kind, Refused};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the table of transitions is complete, and so are matches on it")]
pub enum TaskState {
    /// Known, and not yet ready for work.
    Backlog,
    /// Ready for work.
    Todo,
    /// Being worked on.
    InProgress,
    /// Waiting for a verdict on the work.
    InReview,
    /// It can't go on by itself.
    Blocked,
    /// The end: it was done.
    Done,
    /// The end: it was given up.
    Cancelled,
}

use TaskState::{Backlog, Blocked, Cancelled, Done, InProgress, InReview, Todo};

/// Every transition there is, with its reason. What is not in here is not allowed.
const TABLE: [(TaskState, TaskState, &str); 15] = [
    (Backlog, Todo, "Ready for work"),
    (Todo, InProgress, "Work started"),
    (Todo, Cancelled, "Cancelled before start"),
    (Todo, Blocked, "Blocked before start"),
    (InProgress, Done, "Work completed"),
    (InProgress, Blocked, "Blocked during work"),
    (InProgress, Cancelled, "Cancelled during work"),
    (InProgress, InReview, "Sent for review"),
    (InReview, Done, "Review approved"),
    (InReview, InProgress, "Changes requested"),
    (InReview, Blocked, "Blocked during review"),
    (InReview, Cancelled, "Cancelled during review"),
    (Blocked, InProgress, "Unblocked, resuming work"),
    (Blocked, Cancelled, "Cancelled while blocked"),
    (Blocked, Todo, "Unblocked, needs fresh start"),
];

/// The way between two states, for the compiler: it is an error at compile time if there is none.
pub(super) const fn way(from: TaskState, to: TaskState) -> Transition {
    let mut row = 0;
    while row < TABLE.len() {
        let (a, b, reason) = TABLE[row];
        if a as u8 == from as u8 && b as u8 == to as u8 {
            return Transition { from, to, reason };
        }
        row += 1;
    }
    panic!("the table has no such way")
}

/// A way that the table allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// Where it starts.
    pub from: TaskState,
    /// Where it ends.
    pub to: TaskState,
    /// What it means, such as `Work started`.
    pub reason: &'static str,
}

impl TaskState {
    /// Every state.
    pub const ALL: [TaskState; 7] = [Backlog, Todo, InProgress, InReview, Blocked, Done, Cancelled];

    /// The name, such as `in_progress`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Backlog => "backlog",
            Todo => "todo",
            InProgress => "in_progress",
            InReview => "in_review",
            Blocked => "blocked",
            Done => "done",
            Cancelled => "cancelled",
        }
    }

    /// `true` for `done` and `cancelled`: nothing follows.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Done | Cancelled)
    }

    /// The way from here to `to`.
    ///
    /// # Errors
    /// There is none.
    ///
    /// ```
    /// use portcullis::tasks::lifecycle::TaskState;
    ///
    /// assert_eq!(TaskState::Todo.transition(TaskState::InProgress)?.reason, "Work started");
    /// let wrong = TaskState::Todo.transition(TaskState::Done).unwrap_err();
    /// assert_eq!(wrong.to_string(), "Cannot transition from todo to done: No valid transition from todo to done");
    /// # Ok::<(), portcullis::tasks::lifecycle::InvalidTransition>(())
    /// ```
    pub fn transition(self, to: TaskState) -> Result<Transition, InvalidTransition> {
        match self.ways().find(|way| way.to == to) {
            Some(way) => Ok(way),
            None if self == to => Err(InvalidTransition { from: self, to, why: Why::SameState }),
            None => Err(InvalidTransition { from: self, to, why: Why::NotInTable }),
        }
    }

    /// Every way out of here.
    pub fn ways(self) -> impl Iterator<Item = Transition> {
        TABLE.iter().filter(move |(from, ..)| *from == self).map(|&(from, to, reason)| Transition { from, to, reason })
    }

    /// The change that takes a task from here to `to`: what a [`Lifecycle`](super::Lifecycle) commits, and what a store of your own can
    /// commit, where it holds the state for many processes. That the task has ended comes before every other reason.
    ///
    /// # Errors
    /// There is no such way.
    pub fn change(self, to: TaskState, by: impl Into<By>) -> Result<Change, InvalidTransition> {
        if self.is_terminal() {
            return Err(InvalidTransition { from: self, to, why: Why::Ended });
        }
        self.transition(to).map(|way| Change::new(way, by.into()))
    }

    /// What to do instead of a transition that is not allowed from here.
    const fn advice(self) -> &'static str {
        match self {
            Backlog => "from backlog a task can go to todo",
            Todo => "from todo a task can go to in_progress, cancelled or blocked",
            InProgress => "from in_progress a task can go to done, blocked, cancelled or in_review",
            InReview => "from in_review a task can go to done, in_progress, blocked or cancelled",
            Blocked => "from blocked a task can go to in_progress, cancelled or todo",
            Done => "done is the end: give new work a new id",
            Cancelled => "cancelled is the end: give new work a new id",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a state: write backlog, todo, in_progress, in_review, blocked, done or cancelled")]
pub struct UnknownState(String);

impl FromStr for TaskState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        TaskState::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| UnknownState(text.into()))
    }
}

/// A transition that the table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Cannot transition from {from} to {to}: {}", self.reason())]
#[non_exhaustive]
pub struct InvalidTransition {
    /// Where the task stands.
    pub from: TaskState,
    /// Where it was to go.
    pub to: TaskState,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    SameState,
    NotInTable,
    Ended,
}

impl InvalidTransition {
    /// Why it is not allowed.
    #[must_use]
    pub fn reason(&self) -> String {
        match self.why {
            Why::SameState => "Transition to same state is not allowed".into(),
            Why::NotInTable => format!("No valid transition from {} to {}", self.from, self.to),
            Why::Ended => format!("Cannot transition from terminal state {}", self.from),
        }
    }

    /// Where the task can go instead, such as `from backlog a task can go to todo`.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        self.from.advice()
    }

    /// As the refusal of `task`: `task_ended` after the end, else `invalid_transition`. Its source is this.
    #[must_use]
    pub fn refuse(self, task: &str) -> Refused {
        let kind = match self.why {
            Why::Ended => Kind::TaskEnded,
            Why::SameState | Why::NotInTable => Kind::InvalidTransition,
        };
        Refused::new(kind, task, self.to_string()).advise(self.advice()).because(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifteen_of_forty_nine_ways_are_open() {
        let pairs = TaskState::ALL.into_iter().flat_map(|from| TaskState::ALL.map(|to| from.transition(to)));
        assert_eq!(pairs.filter(Result::is_ok).count(), 15);
        assert!(TaskState::ALL.into_iter().all(|state| state.is_terminal() == (state.ways().count() == 0)));
    }

    #[test]
    fn the_advice_names_every_way_and_no_other() {
        for from in TaskState::ALL.into_iter().filter(|state| !state.is_terminal()) {
            let (_, listed) = from.advice().split_once(" can go to ").unwrap();
            let listed: Vec<_> = listed.split(", ").flat_map(|part| part.split(" or ")).collect();
            let ways: Vec<_> = from.ways().map(|way| way.to.name()).collect();
            assert_eq!(listed, ways);
        }
    }

    #[test]
    fn names_are_exact() {
        for state in TaskState::ALL {
            assert_eq!(state.name().parse(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        for text in ["TODO", "in-progress", " todo", "", "finished"] {
            assert!(text.parse::<TaskState>().is_err(), "{text:?}");
        }
    }
}
