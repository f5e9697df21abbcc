//! The ways between typed states: for each state every method, those that lead somewhere, and, hidden from the documentation,
//! those that don't.
//!
//! The latter exist so that calling one is answered with what is allowed. Their bound is never met, and the trait of the state
//! in which the task is says so; `for<'never>` keeps the compiler from objecting to the bound itself. All of this is written
//! out, because the compiler shows what a macro was given in every message.

use super::sealed::Sealed;
use super::{Backlog, Blocked, By, Cancelled, Done, InProgress, InReview, Task, Todo};

/// The body of what can't be called.
fn never<T>() -> T {
    unreachable!("its bound is never met")
}

#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a task in `backlog` can go to `todo`, not to `{Self}`",
    label = "not from `backlog`: use `.ready(…)`"
)]
pub trait FromBacklog: Sealed {}
impl FromBacklog for Todo {}

impl Task<Backlog> {
    /// `backlog` → [`Todo`].
    pub fn ready(self, by: impl Into<By>) -> Task<Todo> {
        self.go(by.into())
    }
}

#[rustfmt::skip]
impl Task<Backlog> {
    #[doc(hidden)]
    pub fn shelve(self, _: impl Into<By>) -> Task<Backlog> where for<'never> Backlog: FromBacklog { never() }
    #[doc(hidden)]
    pub fn start(self, _: impl Into<By>) -> Task<InProgress> where for<'never> InProgress: FromBacklog { never() }
    #[doc(hidden)]
    pub fn send_to_review(self, _: impl Into<By>) -> Task<InReview> where for<'never> InReview: FromBacklog { never() }
    #[doc(hidden)]
    pub fn block(self, _: impl Into<By>) -> Task<Blocked> where for<'never> Blocked: FromBacklog { never() }
    #[doc(hidden)]
    pub fn finish(self, _: impl Into<By>) -> Task<Done> where for<'never> Done: FromBacklog { never() }
    #[doc(hidden)]
    pub fn cancel(self, _: impl Into<By>) -> Task<Cancelled> where for<'never> Cancelled: FromBacklog { never() }
}

#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a task in `todo` can go to `in_progress`, `cancelled` or `blocked`, not to `{Self}`",
    label = "not from `todo`: use `.start(…)`, `.cancel(…)` or `.block(…)`"
)]
pub trait FromTodo: Sealed {}
impl FromTodo for InProgress {}
impl FromTodo for Cancelled {}
impl FromTodo for Blocked {}

impl Task<Todo> {
    /// `todo` → [`InProgress`].
    pub fn start(self, by: impl Into<By>) -> Task<InProgress> {
        self.go(by.into())
    }

    /// `todo` → [`Cancelled`].
    pub fn cancel(self, by: impl Into<By>) -> Task<Cancelled> {
        self.go(by.into())
    }

    /// `todo` → [`Blocked`].
    pub fn block(self, by: impl Into<By>) -> Task<Blocked> {
        self.go(by.into())
    }
}

#[rustfmt::skip]
impl Task<Todo> {
    #[doc(hidden)]
    pub fn shelve(self, _: impl Into<By>) -> Task<Backlog> where for<'never> Backlog: FromTodo { never() }
    #[doc(hidden)]
    pub fn ready(self, _: impl Into<By>) -> Task<Todo> where for<'never> Todo: FromTodo { never() }
    #[doc(hidden)]
    pub fn send_to_review(self, _: impl Into<By>) -> Task<InReview> where for<'never> InReview: FromTodo { never() }
    #[doc(hidden)]
    pub fn finish(self, _: impl Into<By>) -> Task<Done> where for<'never> Done: FromTodo { never() }
}

#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a task in `in_progress` can go to `done`, `blocked`, `cancelled` or `in_review`, not to `{Self}`",
    label = "not from `in_progress`: use `.finish(…)`, `.block(…)`, `.cancel(…)` or `.send_to_review(…)`"
)]
pub trait FromInProgress: Sealed {}
impl FromInProgress for Done {}
impl FromInProgress for Blocked {}
impl FromInProgress for Cancelled {}
impl FromInProgress for InReview {}

impl Task<InProgress> {
    /// `in_progress` → [`Done`].
    pub fn finish(self, by: impl Into<By>) -> Task<Done> {
        self.go(by.into())
    }

    /// `in_progress` → [`Blocked`].
    pub fn block(self, by: impl Into<By>) -> Task<Blocked> {
        self.go(by.into())
    }

    /// `in_progress` → [`Cancelled`].
    pub fn cancel(self, by: impl Into<By>) -> Task<Cancelled> {
        self.go(by.into())
    }

    /// `in_progress` → [`InReview`].
    pub fn send_to_review(self, by: impl Into<By>) -> Task<InReview> {
        self.go(by.into())
    }
}

#[rustfmt::skip]
impl Task<InProgress> {
    #[doc(hidden)]
    pub fn shelve(self, _: impl Into<By>) -> Task<Backlog> where for<'never> Backlog: FromInProgress { never() }
    #[doc(hidden)]
    pub fn ready(self, _: impl Into<By>) -> Task<Todo> where for<'never> Todo: FromInProgress { never() }
    #[doc(hidden)]
    pub fn start(self, _: impl Into<By>) -> Task<InProgress> where for<'never> InProgress: FromInProgress { never() }
}

#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a task in `in_review` can go to `done`, `in_progress`, `blocked` or `cancelled`, not to `{Self}`",
    label = "not from `in_review`: use `.finish(…)`, `.start(…)`, `.block(…)` or `.cancel(…)`"
)]
pub trait FromInReview: Sealed {}
impl FromInReview for Done {}
impl FromInReview for InProgress {}
impl FromInReview for Blocked {}
impl FromInReview for Cancelled {}

impl Task<InReview> {
    /// `in_review` → [`Done`].
    pub fn finish(self, by: impl Into<By>) -> Task<Done> {
        self.go(by.into())
    }

    /// `in_review` → [`InProgress`].
    pub fn start(self, by: impl Into<By>) -> Task<InProgress> {
        self.go(by.into())
    }

    /// `in_review` → [`Blocked`].
    pub fn block(self, by: impl Into<By>) -> Task<Blocked> {
        self.go(by.into())
    }

    /// `in_review` → [`Cancelled`].
    pub fn cancel(self, by: impl Into<By>) -> Task<Cancelled> {
        self.go(by.into())
    }
}

#[rustfmt::skip]
impl Task<InReview> {
    #[doc(hidden)]
    pub fn shelve(self, _: impl Into<By>) -> Task<Backlog> where for<'never> Backlog: FromInReview { never() }
    #[doc(hidden)]
    pub fn ready(self, _: impl Into<By>) -> Task<Todo> where for<'never> Todo: FromInReview { never() }
    #[doc(hidden)]
    pub fn send_to_review(self, _: impl Into<By>) -> Task<InReview> where for<'never> InReview: FromInReview { never() }
}

#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a task in `blocked` can go to `in_progress`, `cancelled` or `todo`, not to `{Self}`",
    label = "not from `blocked`: use `.start(…)`, `.cancel(…)` or `.ready(…)`"
)]
pub trait FromBlocked: Sealed {}
impl FromBlocked for InProgress {}
impl FromBlocked for Cancelled {}
impl FromBlocked for Todo {}

impl Task<Blocked> {
    /// `blocked` → [`InProgress`].
    pub fn start(self, by: impl Into<By>) -> Task<InProgress> {
        self.go(by.into())
    }

    /// `blocked` → [`Cancelled`].
    pub fn cancel(self, by: impl Into<By>) -> Task<Cancelled> {
        self.go(by.into())
    }

    /// `blocked` → [`Todo`].
    pub fn ready(self, by: impl Into<By>) -> Task<Todo> {
        self.go(by.into())
    }
}

#[rustfmt::skip]
impl Task<Blocked> {
    #[doc(hidden)]
    pub fn shelve(self, _: impl Into<By>) -> Task<Backlog> where for<'never> Backlog: FromBlocked { never() }
    #[doc(hidden)]
    pub fn send_to_review(self, _: impl Into<By>) -> Task<InReview> where for<'never> InReview: FromBlocked { never() }
    #[doc(hidden)]
    pub fn block(self, _: impl Into<By>) -> Task<Blocked> where for<'never> Blocked: FromBlocked { never() }
    #[doc(hidden)]
    pub fn finish(self, _: impl Into<By>) -> Task<Done> where for<'never> Done: FromBlocked { never() }
}

#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a task in `done` has ended, and can't go to `{Self}`",
    label = "`done` is the end: give new work a new id"
)]
pub trait FromDone: Sealed {}

#[rustfmt::skip]
impl Task<Done> {
    #[doc(hidden)]
    pub fn shelve(self, _: impl Into<By>) -> Task<Backlog> where for<'never> Backlog: FromDone { never() }
    #[doc(hidden)]
    pub fn ready(self, _: impl Into<By>) -> Task<Todo> where for<'never> Todo: FromDone { never() }
    #[doc(hidden)]
    pub fn start(self, _: impl Into<By>) -> Task<InProgress> where for<'never> InProgress: FromDone { never() }
    #[doc(hidden)]
    pub fn send_to_review(self, _: impl Into<By>) -> Task<InReview> where for<'never> InReview: FromDone { never() }
    #[doc(hidden)]
    pub fn block(self, _: impl Into<By>) -> Task<Blocked> where for<'never> Blocked: FromDone { never() }
    #[doc(hidden)]
    pub fn finish(self, _: impl Into<By>) -> Task<Done> where for<'never> Done: FromDone { never() }
    #[doc(hidden)]
    pub fn cancel(self, _: impl Into<By>) -> Task<Cancelled> where for<'never> Cancelled: FromDone { never() }
}

#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a task in `cancelled` has ended, and can't go to `{Self}`",
    label = "`cancelled` is the end: give new work a new id"
)]
pub trait FromCancelled: Sealed {}

#[rustfmt::skip]
impl Task<Cancelled> {
    #[doc(hidden)]
    pub fn shelve(self, _: impl Into<By>) -> Task<Backlog> where for<'never> Backlog: FromCancelled { never() }
    #[doc(hidden)]
    pub fn ready(self, _: impl Into<By>) -> Task<Todo> where for<'never> Todo: FromCancelled { never() }
    #[doc(hidden)]
    pub fn start(self, _: impl Into<By>) -> Task<InProgress> where for<'never> InProgress: FromCancelled { never() }
    #[doc(hidden)]
    pub fn send_to_review(self, _: impl Into<By>) -> Task<InReview> where for<'never> InReview: FromCancelled { never() }
    #[doc(hidden)]
    pub fn block(self, _: impl Into<By>) -> Task<Blocked> where for<'never> Blocked: FromCancelled { never() }
    #[doc(hidden)]
    pub fn finish(self, _: impl Into<By>) -> Task<Done> where for<'never> Done: FromCancelled { never() }
    #[doc(hidden)]
    pub fn cancel(self, _: impl Into<By>) -> Task<Cancelled> where for<'never> Cancelled: FromCancelled { never() }
}
