//! A task whose state is part of its type.

use std::fmt;
use std::marker::PhantomData;

use super::record::{By, Change, Lifecycle};
use super::state::{TaskState, Transition, way};
use crate::refused::Refused;

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
/// The methods of a state are in the documentation of `Task<State>` below; hooks belong to the [`Lifecycle`], which a task
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

    fn go<T: State>(mut self, way: Transition, by: By) -> Task<T> {
        self.history.push(Change::new(way, by));
        Task { id: self.id, history: self.history, state: PhantomData }
    }
}

/// The seven states, and for each of them every method: those that lead somewhere, and, hidden from the documentation, those
/// that don't. The latter exist so that calling one is answered with what is allowed: their bound is never met, and the
/// trait of the state in which the task is says so. (`for<'never>` keeps the compiler from objecting to the bound itself.)
macro_rules! states {
    ($(
        $(#[$doc:meta])* $state:ident $name:literal
        $(#[$diagnostic:meta])* $allows:ident
        yes { $($yes:ident -> $yes_to:ident),* }
        no { $($no:ident -> $no_to:ident),* }
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        #[expect(clippy::exhaustive_enums, reason = "a type for the compiler alone")]
        pub enum $state {}

        impl sealed::Sealed for $state {}
        impl State for $state {
            const STATE: TaskState = TaskState::$state;
        }

        #[doc(hidden)]
        $(#[$diagnostic])*
        pub trait $allows: sealed::Sealed {}
        $(impl $allows for $yes_to {})*

        impl Task<$state> {
            $(
                #[doc = concat!("`", $name, "` → [`", stringify!($yes_to), "`].")]
                pub fn $yes(self, by: impl Into<By>) -> Task<$yes_to> {
                    // A way that the table does not have ends the compilation here.
                    const WAY: Transition = way(TaskState::$state, TaskState::$yes_to);
                    self.go(WAY, by.into())
                }
            )*
            $(
                #[doc(hidden)]
                pub fn $no(self, _: impl Into<By>) -> Task<$no_to>
                where
                    for<'never> $no_to: $allows,
                {
                    unreachable!("its bound is never met")
                }
            )*
        }
    )*};
}

states! {
    /// Known, and not yet ready for work.
    Backlog "backlog"
    #[diagnostic::on_unimplemented(
        message = "a task in `backlog` can't go to `{Self}`",
        label = "not from `backlog`",
        note = "from `backlog` a task can go to `todo`: `.ready(…)`"
    )]
    FromBacklog
    yes { ready -> Todo }
    no { shelve -> Backlog, start -> InProgress, send_to_review -> InReview, block -> Blocked, finish -> Done, cancel -> Cancelled }

    /// Ready for work.
    Todo "todo"
    #[diagnostic::on_unimplemented(
        message = "a task in `todo` can't go to `{Self}`",
        label = "not from `todo`",
        note = "from `todo` a task can go to `in_progress`: `.start(…)`, `cancelled`: `.cancel(…)`, `blocked`: `.block(…)`"
    )]
    FromTodo
    yes { start -> InProgress, cancel -> Cancelled, block -> Blocked }
    no { shelve -> Backlog, ready -> Todo, send_to_review -> InReview, finish -> Done }

    /// Being worked on.
    InProgress "in_progress"
    #[diagnostic::on_unimplemented(
        message = "a task in `in_progress` can't go to `{Self}`",
        label = "not from `in_progress`",
        note = "from `in_progress` a task can go to `done`: `.finish(…)`, `blocked`: `.block(…)`, `cancelled`: `.cancel(…)`, \
                `in_review`: `.send_to_review(…)`"
    )]
    FromInProgress
    yes { finish -> Done, block -> Blocked, cancel -> Cancelled, send_to_review -> InReview }
    no { shelve -> Backlog, ready -> Todo, start -> InProgress }

    /// Waiting for a verdict on the work.
    InReview "in_review"
    #[diagnostic::on_unimplemented(
        message = "a task in `in_review` can't go to `{Self}`",
        label = "not from `in_review`",
        note = "from `in_review` a task can go to `done`: `.finish(…)`, `in_progress`: `.start(…)`, `blocked`: `.block(…)`, \
                `cancelled`: `.cancel(…)`"
    )]
    FromInReview
    yes { finish -> Done, start -> InProgress, block -> Blocked, cancel -> Cancelled }
    no { shelve -> Backlog, ready -> Todo, send_to_review -> InReview }

    /// It can't go on by itself.
    Blocked "blocked"
    #[diagnostic::on_unimplemented(
        message = "a task in `blocked` can't go to `{Self}`",
        label = "not from `blocked`",
        note = "from `blocked` a task can go to `in_progress`: `.start(…)`, `cancelled`: `.cancel(…)`, `todo`: `.ready(…)`"
    )]
    FromBlocked
    yes { start -> InProgress, cancel -> Cancelled, ready -> Todo }
    no { shelve -> Backlog, send_to_review -> InReview, block -> Blocked, finish -> Done }

    /// The end: it was done.
    Done "done"
    #[diagnostic::on_unimplemented(
        message = "a task in `done` can't go to `{Self}`",
        label = "not from `done`",
        note = "`done` is the end, from which a task can go nowhere: give new work a new id"
    )]
    FromDone
    yes {}
    no { shelve -> Backlog, ready -> Todo, start -> InProgress, send_to_review -> InReview, block -> Blocked, finish -> Done, cancel -> Cancelled }

    /// The end: it was given up.
    Cancelled "cancelled"
    #[diagnostic::on_unimplemented(
        message = "a task in `cancelled` can't go to `{Self}`",
        label = "not from `cancelled`",
        note = "`cancelled` is the end, from which a task can go nowhere: give new work a new id"
    )]
    FromCancelled
    yes {}
    no { shelve -> Backlog, ready -> Todo, start -> InProgress, send_to_review -> InReview, block -> Blocked, finish -> Done, cancel -> Cancelled }
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
