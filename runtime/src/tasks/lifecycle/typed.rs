//! A task whose state is part of its type.

use std::fmt;
use std::marker::PhantomData;

use super::record::{By, Change, Lifecycle};
use super::state::{TaskState, way};
use crate::refused::Refused;

mod ways;

mod sealed {
    pub trait Sealed {}
}

/// A state, as a type. There are the seven of the table, and no others.
pub trait State: sealed::Sealed + 'static {
    /// The same state, as data.
    const STATE: TaskState;
}

/// A task whose state is known when the code is written. Each method leads to another state and takes the task with it, so that
/// nobody can use it in the state in which it no longer is; a way that the table does not have does not compile.
///
/// ```
/// use portcullis::tasks::lifecycle::{Done, Task};
///
/// let task = Task::new("order-17")?;
/// let task = task.start("agent-7");
/// let task: Task<Done> = task.finish("agent-7");
/// assert_eq!(task.history().len(), 2);
/// # Ok::<(), portcullis::Refused>(())
/// ```
///
/// The methods of each state are below; hooks belong to the [`Lifecycle`], which a task
/// [becomes](Task::into_lifecycle) where its state must be data.
#[must_use = "a task that is dropped is forgotten in the state in which it was"]
pub struct Task<S: State> {
    id: String,
    history: Vec<Change>,
    state: PhantomData<fn() -> S>,
}

impl<S: State> fmt::Debug for Task<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("id", &self.id).field("state", &S::STATE).finish_non_exhaustive()
    }
}

impl Task<Todo> {
    /// A task that is ready for work.
    ///
    /// # Errors
    /// `invalid_argument` if `id` is no [name](crate::tasks::check_name).
    pub fn new(id: impl Into<String>) -> Result<Self, Refused> {
        Task::open(id)
    }
}

impl Task<Backlog> {
    /// A task that is not yet ready for work.
    ///
    /// # Errors
    /// `invalid_argument` if `id` is no [name](crate::tasks::check_name).
    pub fn planned(id: impl Into<String>) -> Result<Self, Refused> {
        Task::open(id)
    }
}

impl<S: State> Task<S> {
    fn open(id: impl Into<String>) -> Result<Self, Refused> {
        let id = Lifecycle::at(id, S::STATE)?.id().to_owned();
        Ok(Task { id, history: Vec::new(), state: PhantomData })
    }

    /// The task's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the task stands.
    #[must_use]
    pub fn state(&self) -> TaskState {
        S::STATE
    }

    /// Every change so far, the first one first.
    #[must_use]
    pub fn history(&self) -> &[Change] {
        &self.history
    }

    /// The same task, with its state as data.
    #[must_use]
    pub fn into_lifecycle(self) -> Lifecycle {
        Lifecycle::resumed(self.id, S::STATE, self.history)
    }

    fn go<T: State>(mut self, by: By) -> Task<T> {
        // A way that the table does not have ends the compilation.
        let way = const { way(S::STATE, T::STATE) };
        self.history.push(Change::new(way, by));
        Task { id: self.id, history: self.history, state: PhantomData }
    }
}

/// The states, as types that have no values.
macro_rules! states {
    ($($(#[$doc:meta])* $state:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        #[expect(clippy::exhaustive_enums, reason = "a type for the compiler alone")]
        pub enum $state {}

        impl sealed::Sealed for $state {}
        impl State for $state {
            const STATE: TaskState = TaskState::$state;
        }
    )*};
}

states! {
    /// Known, and not yet ready for work.
    Backlog
    /// Ready for work.
    Todo
    /// Being worked on.
    InProgress
    /// Waiting for a verdict on the work.
    InReview
    /// It can't go on by itself.
    Blocked
    /// The end: it was done.
    Done
    /// The end: it was given up.
    Cancelled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_task_goes_every_way_of_the_table() {
        let task = Task::planned("t").unwrap().ready("a").block("b").ready("c").start("d").send_to_review("e");
        let task = task.start("f").block("g").start("h").send_to_review("i").block("j").start("k").send_to_review("l");
        let task = task.finish("m");
        let mut seen: Vec<_> = task.history().iter().map(|change| (change.from, change.to)).collect();
        for cancelled in [
            Task::new("t").unwrap().cancel("a"),
            Task::new("t").unwrap().start("a").cancel("a"),
            Task::new("t").unwrap().start("a").send_to_review("a").cancel("a"),
            Task::new("t").unwrap().block("a").cancel("a"),
        ] {
            seen.extend(cancelled.history().iter().map(|change| (change.from, change.to)));
        }
        seen.extend(
            Task::new("t").unwrap().start("a").finish("a").history().iter().map(|change| (change.from, change.to)),
        );
        seen.sort_unstable_by_key(|(from, to)| (*from as u8, *to as u8));
        seen.dedup();
        assert_eq!(seen.len(), 15);
    }

    #[test]
    fn the_state_becomes_data_with_its_history() {
        let task = Task::new("t").unwrap().start("agent-7").into_lifecycle();
        assert_eq!((task.state(), task.history().len()), (TaskState::InProgress, 1));
        let _ = task.transition(TaskState::Done, "agent-7").unwrap();
        assert_eq!(Task::new(" t").unwrap_err().code(), "invalid_argument");
    }
}
