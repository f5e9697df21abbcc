//! Who drives the store's runtime.
//!
//! The worker and its connections are tasks of one single-threaded runtime. A caller that blocks anyway, and finds nobody at
//! it, drives it on its own thread until it has its answer, so that no other thread has to be woken on the way. For all others
//! a thread of its own drives, as long as anything is under way, and whenever a lease or a deadline wants it.
//!
//! # Invariants
//! 1. What is under way is driven: whoever stops driving while there is more to do calls the thread.
//! 2. The runtime is dropped by the thread: elsewhere could be inside another runtime, which does not allow it.
//! 3. A caller inside another tokio runtime does not drive: tokio does not allow it.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::Limits;
use super::queue::Op;
use super::room::Room;
use super::target::Target;
use super::worker::Worker;

/// The store's end of an engine.
pub(super) struct Engine {
    inbox: UnboundedSender<Op>,
    pulse: Arc<Pulse>,
    /// The thread's (invariant 2).
    runtime: Weak<Runtime>,
}

/// A server that answers within this is next door: a caller who waits for it anyway stays awake so long, since to go to sleep and
/// to be woken would cost it a sixth of that. Where answers take longer, nobody does.
const NEXT_DOOR: Duration = Duration::from_micros(400);

/// Whether there is anything to drive, and who does.
#[derive(Default)]
pub(super) struct Pulse {
    /// Something is under way.
    busy: AtomicBool,
    /// Nothing is under way any more.
    at_rest: Notify,
    /// A caller drives.
    led: AtomicBool,
    /// The last answer to one came within [`NEXT_DOOR`].
    next_door: AtomicBool,
    bell: Mutex<Bell>,
    rung: Condvar,
}

#[derive(Default)]
struct Bell {
    is_rung: bool,
    /// When the worker wants to be driven next, though nothing is under way.
    wake_at: Option<Instant>,
    /// What the thread sleeps by; `None`: it is awake.
    sleeps: Option<Option<Instant>>,
}

impl Engine {
    /// # Errors
    /// The operating system refuses a thread, or the event queue of the runtime.
    pub(super) fn start(target: Target, limits: Limits) -> std::io::Result<Self> {
        let (inbox, ops) = unbounded_channel();
        let runtime = Arc::new(Builder::new_current_thread().enable_all().build()?);
        let pulse = Arc::new(Pulse::default());
        let worker = runtime.spawn({
            let pulse = Arc::clone(&pulse);
            async move { Worker::new(ops, Room::new(target, limits), pulse).run().await }
        });
        let engine = Engine { inbox, pulse: Arc::clone(&pulse), runtime: Arc::downgrade(&runtime) };
        let thread = std::thread::Builder::new().name("portcullis-ledger".to_owned());
        thread.spawn(move || keep(&runtime, &pulse, worker))?;
        Ok(engine)
    }

    /// Nothing can be asked of it any more.
    pub(super) fn has_ended(&self) -> bool {
        self.inbox.is_closed()
    }

    /// Queues an operation, which is still to be driven. If the worker has just died, it is dropped.
    pub(super) fn push(&self, op: Op) {
        drop(self.inbox.send(op));
        // After the sending: see `Pulse::rest`.
        self.pulse.busy.store(true, Ordering::SeqCst);
    }

    /// Has the thread drive.
    pub(super) fn call(&self) {
        self.pulse.call();
    }

    /// To drive on this thread, if that is possible now.
    pub(super) fn lead(&self) -> Option<Lead> {
        let is_outside = Handle::try_current().is_err_and(|error| error.is_missing_context());
        if !is_outside || self.pulse.led.swap(true, Ordering::Acquire) {
            return None;
        }
        let pulse = Arc::clone(&self.pulse);
        match self.runtime.upgrade() {
            Some(runtime) => Some(Lead { pulse, runtime }),
            None => {
                pulse.led.store(false, Ordering::Release);
                None
            }
        }
    }

    pub(super) fn is_driven_by(&self, lead: &Lead) -> bool {
        Arc::ptr_eq(&self.pulse, &lead.pulse)
    }

    /// Nobody asks anything any more: what is under way is brought to its end.
    pub(super) fn close(self) {
        let Engine { inbox, pulse, runtime: _ } = self;
        drop(inbox);
        pulse.busy.store(true, Ordering::SeqCst);
        pulse.call();
    }
}

/// The right to drive.
pub(super) struct Lead {
    pulse: Arc<Pulse>,
    runtime: Arc<Runtime>,
}

impl Lead {
    /// Begins, and drives until there is an answer.
    pub(super) fn until<T>(self, begin: impl FnOnce(&Lead), answer: impl Future<Output = T>) -> T {
        self.runtime.block_on(async {
            let asked = Instant::now();
            begin(&self);
            let mut answer = std::pin::pin!(answer);
            let mut stays_awake = self.pulse.next_door.load(Ordering::Relaxed);
            let answer = loop {
                if !stays_awake {
                    break answer.await;
                }
                if let Poll::Ready(answer) = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await {
                    break answer;
                }
                stays_awake = asked.elapsed() < NEXT_DOOR;
                // To others first, the server among them; then the worker goes on, and looks at its sockets without sleeping.
                std::thread::yield_now();
                tokio::task::yield_now().await;
            };
            self.pulse.next_door.store(asked.elapsed() < NEXT_DOOR, Ordering::Relaxed);
            answer
        })
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.pulse.led.store(false, Ordering::Release);
        // Invariant 1.
        self.pulse.call_if_needed();
    }
}

impl Pulse {
    /// The worker has nothing under way, and wants to be driven again then. `is_empty`: has nothing come in meanwhile?
    pub(super) fn rest(&self, wake_at: Instant, is_empty: impl FnOnce() -> bool) {
        self.bell().wake_at = Some(wake_at);
        self.busy.store(false, Ordering::SeqCst);
        // Who sends marks it busy after the sending: one of the two sees the other.
        if is_empty() {
            self.at_rest.notify_waiters();
        } else {
            self.busy.store(true, Ordering::SeqCst);
        }
    }

    fn call(&self) {
        let mut bell = self.bell();
        bell.is_rung = true;
        if bell.sleeps.is_some() {
            self.rung.notify_one();
        }
    }

    fn call_if_needed(&self) {
        let bell = self.bell();
        let sleeps_too_long = match bell.sleeps {
            Some(Some(until)) => bell.wake_at.is_some_and(|at| at < until),
            Some(None) => bell.wake_at.is_some(),
            None => false,
        };
        drop(bell);
        if sleeps_too_long || self.busy.load(Ordering::SeqCst) {
            self.call();
        }
    }

    fn bell(&self) -> MutexGuard<'_, Bell> {
        // Nothing in here can panic halfway through a change.
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until somebody calls, or the worker wants to be driven.
    fn sleep(&self) {
        let mut bell = self.bell();
        while !std::mem::take(&mut bell.is_rung) {
            let wake_at = bell.wake_at;
            let left = wake_at.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            bell.sleeps = Some(wake_at);
            bell = match left {
                None => self.rung.wait(bell).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.rung.wait_timeout(bell, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            bell.sleeps = None;
        }
        // Until the worker says otherwise.
        self.busy.store(true, Ordering::SeqCst);
        bell.wake_at = None;
    }

    async fn until_rest(&self) {
        loop {
            let mut rest = std::pin::pin!(self.at_rest.notified());
            rest.as_mut().enable();
            if !self.busy.load(Ordering::SeqCst) {
                return;
            }
            rest.await;
        }
    }
}

/// The thread: drives whenever it is called, to the end of the worker.
fn keep(runtime: &Runtime, pulse: &Pulse, mut worker: JoinHandle<()>) {
    while !worker.is_finished() {
        pulse.sleep();
        let rest = std::pin::pin!(pulse.until_rest());
        // A bug in there costs what is under way (whose tickets then resolve to "unknown"); the next call starts anew.
        if let Either::Left((Err(_), _)) = runtime.block_on(select(&mut worker, rest)) {
            tracing::error!("the ledger's thread panicked");
        }
    }
}
