//! Ending orderly: no new claims, and time for those that are open.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{INSTALLED, Portcullis, lock};
use crate::refused::{Kind, Refused};
use crate::ticket::Ticket;

/// Claims whose bodies are running, for `drain`.
#[derive(Default)]
pub(super) struct Claims {
    draining: AtomicBool,
    open: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Portcullis {
    /// Ends orderly: from now on no new claim is granted; claims whose bodies are running may settle until `timeout` has passed.
    ///
    /// Await it, or [`wait`](Drain::wait) for it where nothing awaits. Boundaries and budgets go on working: only `#[once]`
    /// calls are refused, as `halted`.
    pub fn drain(&self, timeout: Duration) -> Drain {
        self.0.claims.draining.store(true, Ordering::SeqCst);
        let until = Instant::now() + timeout;
        let (sender, ticket) = Ticket::new();
        let gate = self.clone();
        let work = move || {
            let settled = gate.0.claims.wait_until_none(until);
            let flushed = match gate.0.ledger.get() {
                Some(store) => store.drain(until).wait().unwrap_or(false),
                None => true,
            };
            // Nobody may be waiting any more; the draining itself goes on.
            sender.send(if settled && flushed { Drained::All } else { Drained::TimedOut });
        };
        if let Err(error) = std::thread::Builder::new().name("portcullis-drain".into()).spawn(work) {
            tracing::error!(%error, "no thread for draining: what is unsettled stays unsettled");
        }
        Drain(ticket)
    }

    /// Counts a claim as open until the guard is dropped; `Err` while draining.
    pub(crate) fn open_claim(&self, action: &str) -> Result<OpenClaim, Refused> {
        self.0.claims.open.fetch_add(1, Ordering::SeqCst);
        let open = OpenClaim(self.clone());
        // Looked at after counting: `drain` sets the flag first and counts afterwards, so one of the two sees the other.
        if self.0.claims.draining.load(Ordering::SeqCst) {
            return Err(Refused::new(Kind::Halted, action, "the gate is draining, and no new claim is granted"));
        }
        Ok(open)
    }
}

/// An open claim; made by [`Portcullis::open_claim`].
pub(crate) struct OpenClaim(Portcullis);

impl Drop for OpenClaim {
    fn drop(&mut self) {
        let claims = &self.0.0.claims;
        if claims.open.fetch_sub(1, Ordering::SeqCst) == 1 && claims.draining.load(Ordering::SeqCst) {
            drop(lock(&claims.lock));
            claims.changed.notify_all();
        }
    }
}

impl Claims {
    fn wait_until_none(&self, until: Instant) -> bool {
        let mut held = lock(&self.lock);
        while self.open.load(Ordering::SeqCst) > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            held = self.changed.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Draining; made by [`Portcullis::drain`]. Dropping it does not stop the draining.
#[must_use = "it tells whether everything was settled"]
pub struct Drain(Ticket<Drained>);

/// How a [`Drain`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every claim is settled, durably.
    All,
    /// The time was up first. What is unsettled will be in doubt once the process has ended.
    TimedOut,
}

impl Drain {
    /// Blocks until the draining has ended. Works inside any async runtime, where it blocks the thread.
    #[must_use]
    pub fn wait(self) -> Drained {
        self.0.wait().unwrap_or(Drained::TimedOut)
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").finish_non_exhaustive()
    }
}

impl Future for Drain {
    type Output = Drained;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Drained> {
        Pin::new(&mut self.0).poll(cx).map(|drained| drained.unwrap_or(Drained::TimedOut))
    }
}

/// [`Portcullis::drain`] of the gate that is installed. Without one there is nothing to drain.
pub fn drain(timeout: Duration) -> Drain {
    match INSTALLED.get() {
        Some(gate) => gate.drain(timeout),
        None => Drain(Ticket::ready(Drained::All)),
    }
}
