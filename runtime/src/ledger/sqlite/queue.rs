//! What waits for the writer's thread.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::super::{AuditRecord, ClaimRequest, Claimed, NoteRequest, Reply, SettleRequest, Settled};
use super::{Limits, writer};
use crate::refused::Refused;
use crate::sqlite::Place;

/// How many operations share one transaction at most.
const BATCH: usize = 512;

#[derive(Debug)]
pub(super) struct Claiming {
    pub(super) request: ClaimRequest,
    pub(super) reply: Reply<Claimed>,
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
pub(super) struct Noting {
    pub(super) request: NoteRequest,
    pub(super) reply: Reply<Result<(), Refused>>,
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
    Note(Box<Noting>),
    Audit(Box<Auditing>),
    Drain(Draining),
}

impl Op {
    /// Need its flush not be waited for?
    pub(super) fn is_lazy(&self) -> bool {
        match self {
            Op::Audit(_) => true,
            Op::Settle(settling) => settling.request.lazy,
            Op::Claim(_) | Op::Note(_) | Op::Drain(_) => false,
        }
    }
}

/// What a store's callers and its thread share.
pub(super) struct Shared {
    pub(super) place: Place,
    pub(super) limits: Limits,
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
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.settles.is_empty() && self.claims.is_empty() && self.others.is_empty()
    }

    fn clear(&mut self) {
        self.settles.clear();
        self.claims.clear();
        self.others.clear();
    }
}

impl Shared {
    pub(super) fn new(place: Place, limits: Limits) -> Self {
        Shared { place, limits, queue: Mutex::default(), wake: Condvar::new(), pid: std::process::id() }
    }

    /// This process is a fork of the one that made the store.
    pub(super) fn is_foreign(&self) -> bool {
        self.pid != std::process::id()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing in here can panic halfway through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an operation. A claim comes back if no more are taken; anything else if there is no thread to be had, and in
    /// a forked child.
    pub(super) fn push(self: &Arc<Self>, op: Op) -> Result<(), Op> {
        if self.is_foreign() {
            return Err(op);
        }
        let mut queue = self.lock();
        match &op {
            Op::Claim(_) if queue.draining => return Err(op),
            Op::Claim(_) => queue.claims.push_back(op),
            Op::Settle(_) => queue.settles.push_back(op),
            Op::Note(_) | Op::Audit(_) => queue.others.push_back(op),
            Op::Drain(_) => {
                queue.draining = true;
                queue.others.push_back(op);
            }
        }
        if queue.served {
            drop(queue);
            self.wake.notify_one();
        } else {
            self.serve(&mut queue);
        }
        Ok(())
    }

    fn serve(self: &Arc<Self>, queue: &mut Queue) {
        let shared = self.clone();
        let served = Served(self.clone());
        let spawned = std::thread::Builder::new().name("portcullis-ledger".to_owned()).spawn(move || {
            let _served = served;
            writer::run(&shared);
        });
        match spawned {
            Ok(_) => queue.served = true,
            Err(error) => {
                tracing::error!(%error, "the ledger's thread can't be started");
                // Every ticket resolves to "unknown", and the next call tries again.
                queue.clear();
            }
        }
    }

    /// Puts claims back before the others.
    pub(super) fn put_back(&self, claims: impl DoubleEndedIterator<Item = Claiming>) {
        let mut queue = self.lock();
        for claiming in claims.rev() {
            queue.claims.push_front(Op::Claim(Box::new(claiming)));
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lock().is_empty()
    }

    /// The next batch, settlements first; empty at `wake_at`; `None` when there is nothing more to come.
    pub(super) fn next(&self, wake_at: Option<Instant>) -> Option<Vec<Op>> {
        let mut queue = self.lock();
        loop {
            if !queue.is_empty() {
                let Queue { settles, claims, others, .. } = &mut *queue;
                let mut batch = Vec::with_capacity(BATCH.min(settles.len() + claims.len() + others.len()));
                for from in [settles, claims, others] {
                    let count = from.len().min(BATCH - batch.len());
                    batch.extend(from.drain(..count));
                }
                return Some(batch);
            }
            match wake_at {
                None if queue.closed => {
                    queue.served = false;
                    return None;
                }
                None => queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let now = Instant::now();
                    if at <= now {
                        return Some(Vec::new());
                    }
                    (queue, _) = self.wake.wait_timeout(queue, at - now).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Held by the thread: if it dies, nothing stays queued without anybody to take it.
struct Served(Arc<Shared>);

impl Drop for Served {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = self.0.lock();
            queue.served = false;
            queue.clear();
        }
    }
}
