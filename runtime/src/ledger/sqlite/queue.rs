//! What waits for the writer.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::super::{AuditRecord, ClaimRequest, Claimed, Reply, SettleRequest, Settled};
use super::Limits;
use super::front::Front;
use crate::sqlite::Place;

/// How many operations share one transaction at most.
const BATCH: usize = 512;

#[derive(Debug)]
pub(super) struct Claiming {
    pub(super) request: ClaimRequest,
    pub(super) reply: Reply<Claimed>,
    /// It was looked up a moment ago, and needs a write.
    pub(super) fresh: bool,
}

#[derive(Debug)]
pub(super) struct Settling {
    pub(super) request: SettleRequest,
    /// `None`: nobody waits for it.
    pub(super) reply: Option<Reply<Settled>>,
    pub(super) since: Instant,
}

impl Settling {
    pub(super) fn new(request: SettleRequest, reply: Option<Reply<Settled>>) -> Self {
        Settling { request, reply, since: Instant::now() }
    }

    /// Tells whoever waits, once.
    pub(super) fn answer(&mut self, settled: Settled) {
        if let Some(reply) = self.reply.take() {
            reply.send(settled);
        }
    }
}

#[derive(Debug)]
pub(super) struct Auditing {
    pub(super) record: AuditRecord,
    pub(super) reply: Reply<()>,
}

#[derive(Debug)]
pub(super) struct Draining {
    pub(super) until: Instant,
    pub(super) reply: Reply<bool>,
}

#[derive(Debug)]
pub(super) enum Op {
    Settle(Box<Settling>),
    Claim(Box<Claiming>),
    Audit(Box<Auditing>),
    Drain(Draining),
}

/// What a store's callers and its writer share.
pub(super) struct Shared {
    pub(super) place: Place,
    pub(super) limits: Limits,
    pub(super) front: Front,
    queue: Mutex<Queue>,
    wake: Condvar,
    pid: u32,
}

#[derive(Default)]
struct Queue {
    settles: VecDeque<Op>,
    claims: VecDeque<Op>,
    others: VecDeque<Op>,
    /// No new claims.
    draining: bool,
    /// The store's last handle is gone: finish and end.
    closed: bool,
    /// A thread is there to take from the queue.
    served: bool,
    /// When the writer has something to look after, whether anything has come in or not.
    wake_at: Option<Instant>,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.settles.is_empty() && self.claims.is_empty() && self.others.is_empty()
    }
}

impl Shared {
    pub(super) fn new(place: Place, limits: Limits) -> Self {
        Shared {
            place,
            limits,
            front: Front::new(),
            queue: Mutex::default(),
            wake: Condvar::new(),
            pid: std::process::id(),
        }
    }

    /// This process is a fork of the one that made the store.
    pub(super) fn is_foreign(&self) -> bool {
        self.pid != std::process::id()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in here can panic halfway through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an operation, and calls nobody. A claim comes back if no more are taken.
    pub(super) fn push(&self, op: Op) -> Result<(), Op> {
        let mut queue = self.lock();
        match &op {
            Op::Claim(_) if queue.draining => return Err(op),
            Op::Claim(_) => queue.claims.push_back(op),
            Op::Settle(_) => queue.settles.push_back(op),
            Op::Audit(_) => queue.others.push_back(op),
            Op::Drain(_) => {
                queue.draining = true;
                queue.others.push_back(op);
            }
        }
        Ok(())
    }

    /// The next batch, settlements first.
    pub(super) fn take(&self) -> Vec<Op> {
        let mut queue = self.lock();
        let Queue { settles, claims, others, .. } = &mut *queue;
        let mut batch = Vec::with_capacity(BATCH.min(settles.len() + claims.len() + others.len()));
        for from in [settles, claims, others] {
            let count = from.len().min(BATCH - batch.len());
            batch.extend(from.drain(..count));
        }
        batch
    }

    /// Puts claims back before the others.
    pub(super) fn put_back(&self, claims: impl DoubleEndedIterator<Item = Claiming>) {
        let mut queue = self.lock();
        for claiming in claims.rev() {
            queue.claims.push_front(Op::Claim(Box::new(Claiming { fresh: false, ..claiming })));
        }
    }

    /// Has the thread come for what is queued; `spawn` starts one if there is none.
    pub(super) fn call(&self, spawn: impl FnOnce() -> std::io::Result<()>) {
        let mut queue = self.lock();
        if queue.served {
            drop(queue);
            self.wake.notify_one();
            return;
        }
        match spawn() {
            Ok(()) => queue.served = true,
            Err(error) => {
                tracing::error!(%error, "the ledger's thread can't be started");
                // Their tickets resolve to "unknown", and the next call tries again.
                let Queue { settles, claims, others, .. } = std::mem::take(&mut *queue);
                drop(queue);
                drop((settles, claims, others));
            }
        }
    }

    /// Sets when the writer is to be woken. `true`: that is sooner than the thread knows.
    pub(super) fn wake_by(&self, at: Option<Instant>) -> bool {
        let mut queue = self.lock();
        let before = std::mem::replace(&mut queue.wake_at, at);
        at.is_some_and(|at| before.is_none_or(|before| at < before))
    }

    /// For the thread: returns when there is something to do, and `false` when there is nothing more to come.
    pub(super) fn wait(&self) -> bool {
        let mut queue = self.lock();
        loop {
            if !queue.is_empty() {
                return true;
            }
            match queue.wake_at {
                None if queue.closed => {
                    queue.served = false;
                    return false;
                }
                None => queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let now = Instant::now();
                    if at <= now {
                        return true;
                    }
                    (queue, _) = self.wake.wait_timeout(queue, at - now).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// For a thread that dies: nothing stays queued without anybody to take it.
    pub(super) fn abandon(&self) {
        let mut queue = self.lock();
        queue.served = false;
        let (settles, claims, others) =
            (std::mem::take(&mut queue.settles), std::mem::take(&mut queue.claims), std::mem::take(&mut queue.others));
        drop(queue);
        drop((settles, claims, others));
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn is_draining(&self) -> bool {
        self.lock().draining
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lock().is_empty()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("place", &self.place).finish_non_exhaustive()
    }
}
