//! Where guarded calls are counted together.
//!
//! Every thread has a stack of frames: the gate in use, the scopes and the guarded calls that are running. Sync code
//! pushes a frame and pops it; a future keeps its frame and pushes it for the time of each poll. So a scope follows
//! its future across `.await`, onto any thread and any executor, and never leaks into a neighbour that is
//! polled in between.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::budget::Limits;
use crate::gate::Portcullis;

mod accounts;
mod keeper;
mod purse;
mod stack;

pub(crate) use accounts::{Home, Scope};
pub(crate) use keeper::{Keeper, Owed, Payment};
pub use purse::charge;
pub(crate) use purse::reserve;
pub(crate) use stack::{
    CallFrame, Frame, Own, Pop, Step, Visit, ambient_gate, enter_step, is_claimed_above, poll_within, pushed, step,
    tasks_around, within,
};

pin_project! {
    /// A future inside a scope; made by [`scope`] and by [`Portcullis::scope`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        frame: Entry,
        #[pin]
        future: F,
    }
}

/// A scope is looked up when it is first entered, not when its future is made.
enum Entry {
    Named(String),
    Ready(Option<Frame>),
}

impl<F> Scoped<F> {
    pub(crate) fn gate(gate: Portcullis, future: F) -> Self {
        Scoped { frame: Entry::Ready(Some(Frame::Gate(gate))), future }
    }
}

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped").finish_non_exhaustive()
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Entry::Named(id) = this.frame {
            *this.frame = Entry::Ready(Some(Frame::Scope(enter(id))));
        }
        match this.frame {
            Entry::Ready(frame) => poll_within(frame, || this.future.poll(cx)),
            Entry::Named(_) => unreachable!("it has just been made ready"),
        }
    }
}

fn enter(id: &str) -> Arc<Scope> {
    match Portcullis::current() {
        Ok(gate) => gate.named_scope(id),
        // Without a gate every guarded call in here is refused for that reason.
        Err(_) => Arc::new(Scope::named(id, Limits::new())),
    }
}

/// Runs `future` in the scope `id`: guarded calls in it are counted together, apart from all others.
///
/// While a scope is open, another one with the same id (on the same gate) shares its accounts, so that entering again does
/// not start from zero. When the last one ends, its accounts are gone: put the loop inside the scope, not
/// around it. The scope travels with the future across `.await`, on any executor; work that is spawned inside
/// takes it along with [`.in_task()`](InTask::in_task).
///
/// # Cancel safety
/// Dropping the future closes the scope.
///
/// ```
/// use portcullis::{Refused, budgeted};
///
/// #[budgeted(max_steps = 2)]
/// async fn think() -> Result<(), Refused> {
///     Ok(())
/// }
///
/// # pollster::block_on(async {
/// for job in ["job-1", "job-2"] {
///     portcullis::scope(job, async {
///         think().await.unwrap();
///         think().await.unwrap();
///         assert_eq!(think().await.unwrap_err().code(), "budget_steps");
///     })
///     .await;
/// }
/// # });
/// ```
pub fn scope<F: Future>(id: impl Into<String>, future: F) -> Scoped<F> {
    Scoped { frame: Entry::Named(id.into()), future }
}

/// Runs `f` in the scope `id`; like [`scope`], for code that does not await.
pub fn scope_sync<R>(id: impl AsRef<str>, f: impl FnOnce() -> R) -> R {
    within(Frame::Scope(enter(id.as_ref())), f)
}

/// Takes the scope along into work that is spawned.
pub trait InTask: Future + Sized {
    /// The same future, counted where this call is made, wherever it is spawned. Without it, spawned work is
    /// charged to the process.
    ///
    /// ```
    /// # async fn step() {}
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use portcullis::InTask;
    /// tokio::spawn(step().in_task()).await.unwrap();
    /// # });
    /// ```
    fn in_task(self) -> Carried<Self> {
        Carried { frames: stack::copy(), future: self }
    }
}

impl<F: Future> InTask for F {}

pin_project! {
    /// A future that carries its scope; made by [`InTask::in_task`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Carried<F> {
        frames: Vec<Frame>,
        #[pin]
        future: F,
    }
}

impl<F> fmt::Debug for Carried<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").finish_non_exhaustive()
    }
}

impl<F: Future> Future for Carried<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _replaced = Replaced::with(this.frames);
        this.future.poll(cx)
    }
}

/// The whole stack, exchanged for another one for the time of a poll: what is awaited in place is not counted twice.
struct Replaced<'a> {
    carried: &'a mut Vec<Frame>,
}

impl<'a> Replaced<'a> {
    fn with(carried: &'a mut Vec<Frame>) -> Self {
        stack::exchange(carried);
        Replaced { carried }
    }
}

impl Drop for Replaced<'_> {
    fn drop(&mut self) {
        stack::exchange(self.carried);
    }
}
