//! What waits for the writer.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::super::{
    AuditRecord, ClaimRequest, Claimed, NoteRequest, Reply, SettleRequest, Settled, TaskAnswer, TaskRequest,
};
use super::Limits;
use super::front::Front;
use crate::refused::Refused;
use crate::sqlite::Place;

/// How many operations share one transaction at most.
const BATCH: usize = 512;

#[derive(Debug)]
pub(super) struct Claiming {
    pub(super) request: ClaimRequest,
    pub(super) reply: Reply<Claimed>,
    pub(super) seen: Seen,
}

/// What was found for a claim outside of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    NotYet,
    /// It needs a write.
    Fresh,
    /// Only the writer can tell.
    Unclear,
}

#[derive(Debug)]
pub(super) struct Settling {
    pub(super) request: SettleRequest,
    /// `None`: nobody waits for it.
    pub(super) reply: Option<Reply<Settled>>,
    pub(super) since: Instant,
    /// It is kept beside the ledger meanwhile.
    pub(super) spilled: bool,
}

impl Settling {
    pub(super) fn new(request: SettleRequest, reply: Option<Reply<Settled>>) -> Self {
        Settling { request, reply, since: Instant::now(), spilled: false }
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
pub(super) struct Tasking {
    pub(super) request: TaskRequest,
    pub(super) reply: Reply<TaskAnswer>,
}

impl Tasking {
    /// An entry whose caller had gone before anything was done for it.
    pub(super) fn is_pointless(&self) -> bool {
        matches!(self.request, TaskRequest::Enter(_)) && self.reply.is_abandoned()
    }
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
    Task(Box<Tasking>),
    Drain(Draining),
}

impl Op {
    /// Need its flush not be waited for?
    pub(super) fn is_lazy(&self) -> bool {
        match self {
            Op::Audit(_) => true,
            Op::Settle(settling) => settling.request.lazy,
            Op::Task(tasking) => tasking.request.is_lazy(),
            Op::Claim(_) | Op::Note(_) | Op::Drain(_) => false,
        }
    }
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
    claims: VecDeque<Box<Claiming>>,
    others: VecDeque<Op>,
    /// No new claims.
    draining: bool,
    /// The store's last handle is gone: finish and end.
    closed: bool,
    /// A thread is there to take from the queue.
    served: bool,
    /// The thread looks at claims that are not in here meanwhile.
    looking: bool,
    /// When the writer has something to look after, whether anything has come in or not.
    wake_at: Option<Instant>,
}

impl Queue {
    /// Everything that waits; to be dropped outside of the lock, for replies may queue something again.
    fn empty(&mut self) -> impl Sized + use<> {
        (std::mem::take(&mut self.settles), std::mem::take(&mut self.claims), std::mem::take(&mut self.others))
    }

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
        match op {
            Op::Claim(_) if queue.draining => return Err(op),
            Op::Claim(claiming) => queue.claims.push_back(claiming),
            Op::Settle(_) => queue.settles.push_back(op),
            Op::Note(_) | Op::Audit(_) | Op::Task(_) => queue.others.push_back(op),
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
        batch.extend(settles.drain(..settles.len().min(BATCH)));
        batch.extend(claims.drain(..claims.len().min(BATCH - batch.len())).map(Op::Claim));
        batch.extend(others.drain(..others.len().min(BATCH - batch.len())));
        batch
    }

    /// Has `look` answer claims where they wait; those that it gives back wait on, before the others.
    pub(super) fn sort_out(&self, look: impl FnMut(Box<Claiming>) -> Option<Box<Claiming>>) {
        let mut queue = self.lock();
        queue.looking = true;
        let claims = std::mem::take(&mut queue.claims);
        drop(queue);
        let mut rest: VecDeque<_> = claims.into_iter().filter_map(look).collect();
        let mut queue = self.lock();
        rest.append(&mut queue.claims);
        queue.claims = rest;
        queue.looking = false;
    }

    /// Puts claims back before the others.
    pub(super) fn put_back(&self, claims: impl DoubleEndedIterator<Item = Claiming>) {
        let mut queue = self.lock();
        for claiming in claims.rev() {
            queue.claims.push_front(Box::new(Claiming { seen: Seen::NotYet, ..claiming }));
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
                let left = queue.empty();
                drop(queue);
                drop(left);
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
        queue.looking = false;
        let left = queue.empty();
        drop(queue);
        drop(left);
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

    #[cfg(test)]
    pub(super) fn is_served(&self) -> bool {
        self.lock().served
    }

    pub(super) fn is_idle(&self) -> bool {
        let queue = self.lock();
        queue.is_empty() && !queue.looking
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("place", &self.place).finish_non_exhaustive()
    }
}
