//! An answer that somebody else will give.
//!
//! # Invariants
//! 1. Every ticket resolves: a [`Reply`] that is dropped unanswered resolves it to `None`.
//! 2. An answer that nobody takes is not lost: it goes to the reply's `untaken`, whether the ticket was dropped before
//!    the answer or with the answer inside.
//! 3. A [`Job`] is begun exactly once: by whoever waits, at the first poll, or when the ticket is dropped.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_channel::oneshot;

/// An answer that is still to come. Awaited by asynchronous callers, [`wait`](Ticket::wait)ed for by others.
///
/// A store that dies drops the sender: the ticket then resolves to `None`, which every caller treats as unknown.
pub(crate) struct Ticket<T>(State<T>);

enum State<T> {
    Known(Option<T>),
    Sent(oneshot::Receiver<Parcel<T>>),
    /// Nobody has begun yet.
    Waiting(Box<dyn Job<T>>),
}

/// Work whose place is chosen by whoever takes its ticket.
pub(crate) trait Job<T>: Send {
    /// The caller blocks anyway: the work may be done on its thread.
    fn here(self: Box<Self>) -> Option<T>;
    /// The caller must not be blocked, or has gone: others do the work.
    fn elsewhere(self: Box<Self>) -> Ticket<T>;
}

/// The store's end of a [`Ticket`].
pub(crate) struct Reply<T> {
    sender: oneshot::Sender<Parcel<T>>,
    untaken: Option<Untaken<T>>,
}

type Untaken<T> = Box<dyn FnOnce(T) + Send + Sync>;

/// An answer under way; what is dropped with its content goes back (invariant 2).
struct Parcel<T> {
    content: Option<T>,
    untaken: Option<Untaken<T>>,
}

impl<T> Drop for Parcel<T> {
    fn drop(&mut self) {
        if let (Some(content), Some(untaken)) = (self.content.take(), self.untaken.take()) {
            untaken(content);
        }
    }
}

impl<T> Ticket<T> {
    /// A ticket and the reply that resolves it.
    pub(crate) fn new() -> (Reply<T>, Self) {
        let (sender, receiver) = oneshot::channel();
        (Reply { sender, untaken: None }, Ticket(State::Sent(receiver)))
    }

    /// The same; an answer that nobody takes is given to `untaken`, on the thread that drops it.
    pub(crate) fn returning(untaken: impl FnOnce(T) + Send + Sync + 'static) -> (Reply<T>, Self) {
        let (reply, ticket) = Ticket::new();
        (Reply { untaken: Some(Box::new(untaken)), ..reply }, ticket)
    }

    pub(crate) fn ready(value: T) -> Self {
        Ticket(State::Known(Some(value)))
    }

    /// The answer of a job that is still to begin.
    pub(crate) fn of(job: impl Job<T> + 'static) -> Self {
        Ticket(State::Waiting(Box::new(job)))
    }

    /// Blocks this thread; works inside any async runtime, and outside of all.
    pub(crate) fn wait(mut self) -> Option<T> {
        match std::mem::replace(&mut self.0, State::Known(None)) {
            State::Known(answer) => answer,
            State::Sent(receiver) => pollster::block_on(receiver).ok().and_then(open),
            State::Waiting(job) => job.here(),
        }
    }

    /// `true` until there is an answer, or will be none. Whoever asks is not interested in the answer itself.
    pub(crate) fn is_pending(&mut self) -> bool {
        match self.begun() {
            State::Known(_) => false,
            State::Sent(receiver) => matches!(receiver.try_recv(), Ok(None)),
            State::Waiting(_) => true,
        }
    }

    /// The state once others are at work.
    fn begun(&mut self) -> &mut State<T> {
        self.0 = match std::mem::replace(&mut self.0, State::Known(None)) {
            State::Waiting(job) => {
                let mut ticket = job.elsewhere();
                std::mem::replace(&mut ticket.0, State::Known(None))
            }
            state @ (State::Known(_) | State::Sent(_)) => state,
        };
        &mut self.0
    }
}

fn open<T>(mut parcel: Parcel<T>) -> Option<T> {
    parcel.content.take()
}

// Nothing in it is ever pinned.
impl<T> Unpin for Ticket<T> {}

impl<T> Future for Ticket<T> {
    type Output = Option<T>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match self.begun() {
            State::Known(answer) => Poll::Ready(answer.take()),
            State::Sent(receiver) => Pin::new(receiver).poll(cx).map(|parcel| parcel.ok().and_then(open)),
            State::Waiting(_) => unreachable!("a job hands out a ticket that others resolve"),
        }
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        // Invariant 3.
        if let State::Waiting(_) = self.0 {
            self.begun();
        }
    }
}

impl<T> Reply<T> {
    /// Resolves the ticket.
    pub(crate) fn send(self, value: T) {
        // A parcel that comes back is dropped here, with its content.
        let _ = self.sender.send(Parcel { content: Some(value), untaken: self.untaken });
    }

    /// `true` once nobody waits for the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.sender.is_canceled()
    }
}

impl<T> fmt::Debug for Ticket<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket")
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn returning() -> (Arc<Mutex<Vec<u8>>>, Reply<u8>, Ticket<u8>) {
        let returned = Arc::new(Mutex::new(Vec::new()));
        let (reply, ticket) = Ticket::returning({
            let returned = returned.clone();
            move |value| returned.lock().unwrap().push(value)
        });
        (returned, reply, ticket)
    }

    #[test]
    fn a_reply_that_is_dropped_resolves_the_ticket_to_none() {
        let (reply, ticket) = Ticket::<u8>::new();
        drop(reply);
        assert_eq!(ticket.wait(), None);
        assert_eq!(Ticket::ready(1).wait(), Some(1));
    }

    #[test]
    fn an_answer_that_is_taken_does_not_come_back() {
        let (returned, reply, ticket) = returning();
        reply.send(1);
        assert_eq!(ticket.wait(), Some(1));
        assert!(returned.lock().unwrap().is_empty());
    }

    #[test]
    fn an_answer_comes_back_if_the_ticket_was_dropped_before_it_or_with_it() {
        let (returned, reply, ticket) = returning();
        drop(ticket);
        assert!(reply.is_abandoned());
        reply.send(1);
        assert_eq!(*returned.lock().unwrap(), [1]);

        let (returned, reply, ticket) = returning();
        reply.send(2);
        assert!(returned.lock().unwrap().is_empty());
        drop(ticket);
        assert_eq!(*returned.lock().unwrap(), [2]);
    }
}
