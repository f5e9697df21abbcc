//! Who leads: a caller that blocks anyway, or the store's thread.
//!
//! # Invariants
//! 1. Whoever has had the writer looks at the queue again after letting go of it, and calls the thread if there is anything
//!    left. So an operation that was queued while somebody led is never forgotten.
//! 2. A leader does one batch: it is a caller itself, with its own answer to go on with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::super::{
    ClaimRequest, Claimed, SettleRequest, Settled, Settlement, TaskAnswer, TaskRequest, Ticket, messages,
};
use super::front::Look;
use super::queue::{Claiming, Op, Seen, Settling, Shared, Tasking};
use super::writer::Writer;
use super::{Limits, forked};
use crate::refused::Refused;
use crate::sqlite::Place;
use crate::ticket::Job;

pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Mutex<Writer>,
}

impl Engine {
    pub(super) fn new(place: Place, limits: Limits) -> Arc<Self> {
        let shared = Arc::new(Shared::new(place, limits));
        Arc::new(Engine { writer: Mutex::new(Writer::new(shared.clone())), shared })
    }

    /// Leaves an operation to the thread. One that is not taken resolves its ticket by being dropped.
    pub(super) fn leave(self: &Arc<Self>, op: Op) {
        if self.shared.is_foreign() {
            return;
        }
        let refused = self.shared.push(op);
        self.call();
        drop(refused);
    }

    /// Does what has queued up, here, unless somebody else is at it.
    fn lead(self: &Arc<Self>) {
        let writer = match self.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let batch = self.shared.take();
        let called = self.work(writer, batch);
        // Invariant 1.
        if called || !self.shared.is_idle() {
            self.call();
        }
    }

    /// One batch. `true`: the writer wants to be woken sooner than the thread knows.
    fn work(&self, mut writer: MutexGuard<'_, Writer>, batch: Vec<Op>) -> bool {
        writer.run(batch);
        self.shared.wake_by(writer.wake_at())
    }

    fn call(self: &Arc<Self>) {
        self.shared.call(|| {
            let served = Served(self.clone());
            std::thread::Builder::new().name("portcullis-ledger".to_owned()).spawn(move || served.serve()).map(|_| ())
        });
    }
}

/// The thread. If it dies, nothing stays queued without anybody to take it.
struct Served(Arc<Engine>);

impl Served {
    fn serve(self) {
        let Engine { shared, writer } = &*self.0;
        while shared.wait() {
            shared.sort_out(|claiming| look(shared, claiming));
            let writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            // Not before there is a writer to do it: who comes now must not overtake it.
            let batch = shared.take();
            self.0.work(writer, batch);
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.shared.abandon();
        }
    }
}

/// Answers a claim that is settled already, before there is a writer to wait for.
fn look(shared: &Shared, mut claiming: Box<Claiming>) -> Option<Box<Claiming>> {
    // One whose caller has gone is left to the writer, who lets go of it.
    if claiming.seen != Seen::NotYet || claiming.reply.is_abandoned() {
        return Some(claiming);
    }
    claiming.seen = match shared.front.look(&claiming.request) {
        Look::Settled(claimed) => {
            claiming.reply.send(claimed);
            return None;
        }
        Look::Fresh => Seen::Fresh,
        Look::Unclear => Seen::Unclear,
    };
    Some(claiming)
}

/// A claim that nobody has begun with.
pub(super) struct ClaimJob {
    pub(super) engine: Arc<Engine>,
    pub(super) request: ClaimRequest,
}

impl ClaimJob {
    fn push(self, seen: Seen) -> Ticket<Claimed> {
        let ClaimJob { engine, request } = self;
        let (digest, attempt) = (request.digest, request.attempt);
        let (reply, ticket) = Ticket::returning({
            let engine = engine.clone();
            // A claim whose caller has gone is released.
            move |claimed| match claimed {
                Claimed::Run { epoch } => {
                    let settlement = Settlement::Released("the caller had gone before the body began");
                    let request = SettleRequest { digest, epoch, attempt, settlement, lazy: false };
                    engine.leave(Op::Settle(Box::new(Settling::new(request, None))));
                }
                Claimed::Replay(_) | Claimed::ReplayError(_) | Claimed::Reconcile(_) | Claimed::Refuse(_) => {}
            }
        });
        if let Err(Op::Claim(claiming)) = engine.shared.push(Op::Claim(Box::new(Claiming { request, reply, seen }))) {
            let refused = messages::draining(&claiming.request.action);
            claiming.reply.send(Claimed::Refuse(refused));
        }
        ticket
    }

    fn forked(&self) -> Option<Claimed> {
        let foreign = self.engine.shared.is_foreign();
        foreign.then(|| Claimed::Refuse(forked().refuse(&self.request.action, "the ledger can't be used")))
    }
}

impl Job<Claimed> for ClaimJob {
    fn here(self: Box<Self>) -> Option<Claimed> {
        if let Some(refused) = self.forked() {
            return Some(refused);
        }
        let seen = match self.engine.shared.front.look(&self.request) {
            Look::Settled(claimed) => return Some(claimed),
            Look::Fresh => Seen::Fresh,
            Look::Unclear => Seen::Unclear,
        };
        let engine = self.engine.clone();
        let ticket = self.push(seen);
        engine.lead();
        ticket.wait()
    }

    fn elsewhere(self: Box<Self>) -> Ticket<Claimed> {
        if let Some(refused) = self.forked() {
            return Ticket::ready(refused);
        }
        let engine = self.engine.clone();
        let ticket = self.push(Seen::NotYet);
        engine.call();
        ticket
    }
}

/// A settlement that nobody has begun with.
pub(super) struct SettleJob {
    pub(super) engine: Arc<Engine>,
    pub(super) request: SettleRequest,
}

impl SettleJob {
    /// `Err`: in a forked child.
    fn push(self) -> Result<(Arc<Engine>, Ticket<Settled>), Settled> {
        let SettleJob { engine, request } = self;
        if engine.shared.is_foreign() {
            return Err(Settled::Unsettled(forked().to_string()));
        }
        let (reply, ticket) = Ticket::new();
        // Settlements are always taken.
        let _ = engine.shared.push(Op::Settle(Box::new(Settling::new(request, Some(reply)))));
        Ok((engine, ticket))
    }
}

impl Job<Settled> for SettleJob {
    fn here(self: Box<Self>) -> Option<Settled> {
        match self.push() {
            Ok((engine, ticket)) => {
                engine.lead();
                ticket.wait()
            }
            Err(unsettled) => Some(unsettled),
        }
    }

    fn elsewhere(self: Box<Self>) -> Ticket<Settled> {
        match self.push() {
            Ok((engine, ticket)) => {
                engine.call();
                ticket
            }
            Err(unsettled) => Ticket::ready(unsettled),
        }
    }
}

/// An operation on a task that nobody has begun with.
pub(super) struct TaskJob {
    pub(super) engine: Arc<Engine>,
    pub(super) request: TaskRequest,
}

impl TaskJob {
    /// `Err`: in a forked child.
    fn push(self) -> Result<(Arc<Engine>, Ticket<TaskAnswer>), Refused> {
        let TaskJob { engine, request } = self;
        if engine.shared.is_foreign() {
            return Err(forked().refuse(request.id(), "the ledger can't be used"));
        }
        let (reply, ticket) = request.replying({
            let engine = engine.clone();
            move |request| engine.leave(Op::Task(Box::new(Tasking { request, reply: Ticket::new().0 })))
        });
        // They are always taken.
        let _ = engine.shared.push(Op::Task(Box::new(Tasking { request, reply })));
        Ok((engine, ticket))
    }
}

impl Job<TaskAnswer> for TaskJob {
    fn here(self: Box<Self>) -> Option<TaskAnswer> {
        match self.push() {
            Ok((engine, ticket)) => {
                engine.lead();
                ticket.wait()
            }
            Err(refused) => Some(TaskAnswer::Refused(refused)),
        }
    }

    fn elsewhere(self: Box<Self>) -> Ticket<TaskAnswer> {
        match self.push() {
            Ok((engine, ticket)) => {
                engine.call();
                ticket
            }
            Err(refused) => Ticket::ready(TaskAnswer::Refused(refused)),
        }
    }
}
