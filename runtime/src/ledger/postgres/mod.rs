//! The ledger in a PostgreSQL database, for many processes on many machines.
//!
//! One task per store gives three connections their work: one for claims, one for settlements and the lease, one for
//! transactions of several statements. What queues up while a statement is under way goes into the next one, all together.
//! It is driven by a caller that blocks anyway, or by a thread of its own ([`engine`]).
//!
//! # Invariants
//! 1. Nothing is answered with "run" or "recorded" before the server has acknowledged its COMMIT.
//! 2. A statement whose outcome is unknown is asked again by its attempt, on another connection, after the server has ended
//!    the first one.
//! 3. A claim whose commit is unknown and whose caller was refused is released before anything else happens to its key.
//! 4. A claim whose caller has gone is released.
//! 5. An owner lives as long as its lease, by the server's clock. A lease that lapses frees nothing: what ran under it is in
//!    doubt.
//! 6. In a forked child nothing is sent or waited for.

#![expect(clippy::vec_box, clippy::boxed_local, reason = "they go from line to batch and back, and are large")]

mod archive;
mod chained;
mod desk;
mod engine;
mod hot;
mod inside;
mod lane;
mod mail;
mod parked;
mod queue;
mod reassert;
mod room;
mod rows;
mod schema;
mod session;
mod sql;
mod target;
mod tasks;
mod tls;
mod trouble;
mod worker;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    AuditRecord, ClaimRequest, Claimed, NoteRequest, SettleRequest, Settled, Settlement, Store, TaskAnswer,
    TaskRequest, Ticket,
};
use crate::refused::{Kind, Refused};
use crate::ticket::Job;
pub(super) use archive::open_archive;
use engine::{Engine, Lead};
use queue::{Auditing, Claiming, Draining, Noting, Op, Settling};
use target::Target;
use tasks::Tasking;
use trouble::{Trouble, TroubleKind};

/// What a store allows itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a claim is tried before it is refused.
    claim: Duration,
    /// How long a settlement is tried before its caller hears that it is unsettled.
    settle: Duration,
    /// How long the server may take for one statement.
    statement: Duration,
    /// How long this process is taken for alive without a word of it.
    lease: Duration,
}

impl Limits {
    fn new(lease: Duration) -> Self {
        let claim = Duration::from_secs(5);
        Limits { claim, settle: Duration::from_secs(15), statement: Duration::from_secs(3).min(lease / 3), lease }
    }
}

/// A [`Store`] in a PostgreSQL database. Reached at the first call.
struct PostgresStore(Arc<Shared>);

/// What a store's callers share.
struct Shared {
    target: Target,
    limits: Limits,
    /// Ends when this is dropped: with the store and its last open claim.
    engine: Mutex<Option<Engine>>,
    /// To the thread for tasks, if there is one. It ends when this is dropped.
    tasks: Mutex<Option<UnboundedSender<Tasking>>>,
    pid: u32,
}

impl Shared {
    /// This process is a fork of the one that made the store.
    fn is_foreign(&self) -> bool {
        self.pid != std::process::id()
    }

    /// Leaves an operation to the thread; one that is not taken resolves its ticket to "unknown" by being dropped.
    fn leave(&self, op: Op) {
        if let Some(engine) = &*self.queue(op) {
            engine.call();
        }
    }

    /// Does it here, if nobody else is at it.
    fn do_here<T>(&self, op: Op, ticket: Ticket<T>) -> Option<T> {
        let lead = self.engine().as_ref().and_then(Engine::lead);
        match lead {
            // Queued where the worker is driven: it is not woken from elsewhere.
            Some(lead) => {
                let begin = |lead: &Lead| match &*self.queue(op) {
                    Some(engine) if !engine.is_driven_by(lead) => engine.call(),
                    Some(_) | None => {}
                };
                lead.until(begin, ticket)
            }
            None => {
                self.leave(op);
                ticket.wait()
            }
        }
    }

    /// Started, if need be and if that is possible.
    fn engine(&self) -> MutexGuard<'_, Option<Engine>> {
        // Nothing in here can panic halfway through a change.
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if engine.as_ref().is_none_or(Engine::has_ended) {
            *engine = Engine::start(self.target.clone(), self.limits)
                .inspect_err(|error| tracing::error!(%error, "the ledger's thread can't be started"))
                .ok();
        }
        engine
    }

    fn queue(&self, op: Op) -> MutexGuard<'_, Option<Engine>> {
        let engine = self.engine();
        if let Some(engine) = &*engine {
            engine.push(op);
        }
        engine
    }

    /// Leaves it to the thread for tasks; what is not taken resolves its ticket to "unknown" by being dropped.
    fn push_task(&self, tasking: Tasking) {
        if self.is_foreign() {
            return;
        }
        // Nothing in here can panic halfway through a change.
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let tasking = match &*tasks {
            None => tasking,
            Some(thread) => match thread.send(tasking) {
                Ok(()) => return,
                // It has died.
                Err(back) => back.0,
            },
        };
        match tasks::spawn(self.target.clone(), self.limits) {
            Ok(thread) => {
                let _ = thread.send(tasking);
                *tasks = Some(thread);
            }
            Err(error) => tracing::error!(%error, "the ledger's thread for tasks can't be started"),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let engine = self.engine.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let tasks = self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if self.is_foreign() {
            // To drop them would lock and wake.
            std::mem::forget((engine, tasks));
        } else if let Some(engine) = engine {
            engine.close();
        }
    }
}

fn forked() -> Trouble {
    Trouble::new(
        TroubleKind::Forked,
        "this process is a fork of the one that opened it, and shares no connection with it",
    )
}

impl Store for PostgresStore {
    fn claim(&self, request: ClaimRequest) -> Ticket<Claimed> {
        if self.0.is_foreign() {
            return Ticket::ready(Claimed::Refuse(forked().refuse(&request.action, "the ledger can't be used")));
        }
        Ticket::of(Claim { shared: self.0.clone(), request })
    }

    fn settle(&self, request: SettleRequest) -> Ticket<Settled> {
        if self.0.is_foreign() {
            return Ticket::ready(Settled::Unsettled(forked().to_string()));
        }
        Ticket::of(Settle { shared: self.0.clone(), request })
    }

    fn note(&self, request: NoteRequest) -> Ticket<Result<(), Refused>> {
        let (reply, ticket) = Ticket::new();
        if self.0.is_foreign() {
            reply.send(Err(forked().refuse(&request.action, "the note is not on record")));
            return ticket;
        }
        let until = Instant::now() + self.0.limits.claim;
        self.0.leave(Op::Note(Box::new(Noting { request, reply, until })));
        ticket
    }

    fn task(&self, request: TaskRequest) -> Ticket<TaskAnswer> {
        if self.0.is_foreign() {
            let refused = forked().refuse(request.id(), "the ledger can't be used");
            return Ticket::ready(TaskAnswer::Refused(refused));
        }
        let now = Instant::now();
        let shared = self.0.clone();
        let (reply, ticket) = request.replying(move |request| {
            let until = Instant::now() + shared.limits.settle;
            shared.push_task(Tasking { request, reply: Ticket::new().0, until });
        });
        let patience = if let TaskRequest::Leave(_) = &request { self.0.limits.settle } else { self.0.limits.claim };
        self.0.push_task(Tasking { request, reply, until: now + patience });
        ticket
    }

    fn audit(&self, record: AuditRecord) -> Ticket<()> {
        let (reply, ticket) = Ticket::new();
        if !self.0.is_foreign() {
            self.0.leave(Op::Audit(Box::new(Auditing { record, reply })));
        }
        ticket
    }

    fn drain(&self, until: Instant) -> Ticket<bool> {
        let (reply, ticket) = Ticket::new();
        if self.0.is_foreign() {
            reply.send(false);
            return ticket;
        }
        self.0.leave(Op::Drain(Draining { until, reply }));
        ticket
    }
}

/// A claim that is still to begin.
struct Claim {
    shared: Arc<Shared>,
    request: ClaimRequest,
}

impl Claim {
    fn begin(self) -> (Arc<Shared>, Op, Ticket<Claimed>) {
        let Claim { shared, request } = self;
        let (digest, attempt) = (request.digest, request.attempt);
        let (reply, ticket) = Ticket::returning({
            let shared = shared.clone();
            // Invariant 4.
            move |claimed| match claimed {
                Claimed::Run { epoch } => {
                    let settlement = Settlement::Released("the caller had gone before the body began");
                    let request = SettleRequest { digest, epoch, attempt, settlement, lazy: false };
                    shared.leave(Op::Settle(Box::new(Settling::new(request, None))));
                }
                Claimed::Replay(_) | Claimed::ReplayError(_) | Claimed::Reconcile(_) | Claimed::Refuse(_) => {}
            }
        });
        let until = Instant::now() + shared.limits.claim;
        (shared, Op::Claim(Box::new(Claiming { request, reply, until, uncertain: false, alone: false })), ticket)
    }
}

impl Job<Claimed> for Claim {
    fn here(self: Box<Self>) -> Option<Claimed> {
        let (shared, op, ticket) = self.begin();
        shared.do_here(op, ticket)
    }

    fn elsewhere(self: Box<Self>) -> Ticket<Claimed> {
        let (shared, op, ticket) = self.begin();
        shared.leave(op);
        ticket
    }
}

/// A settlement that is still to begin.
struct Settle {
    shared: Arc<Shared>,
    request: SettleRequest,
}

impl Settle {
    fn begin(self) -> (Arc<Shared>, Op, Ticket<Settled>) {
        let (reply, ticket) = Ticket::new();
        (self.shared, Op::Settle(Box::new(Settling::new(self.request, Some(reply)))), ticket)
    }
}

impl Job<Settled> for Settle {
    fn here(self: Box<Self>) -> Option<Settled> {
        let (shared, op, ticket) = self.begin();
        shared.do_here(op, ticket)
    }

    fn elsewhere(self: Box<Self>) -> Ticket<Settled> {
        let (shared, op, ticket) = self.begin();
        shared.leave(op);
        ticket
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresStore").field(&self.0.target).finish()
    }
}

pub(super) use mail::open as open_mail;
pub(super) use tasks::open as open_tasks;

/// The store at `postgres://…`. Reads the URL and no more: the server is reached at the first call.
pub(super) fn open(url: &str, lease: Duration) -> Result<Arc<dyn Store>, Refused> {
    let target = Target::from_url(url).map_err(|trouble| unusable(&trouble))?;
    let (limits, pid) = (Limits::new(lease), std::process::id());
    let (engine, tasks) = (Mutex::default(), Mutex::default());
    Ok(Arc::new(PostgresStore(Arc::new(Shared { target, limits, engine, tasks, pid }))))
}

fn unusable(trouble: &Trouble) -> Refused {
    Refused::new(Kind::NotConfigured, "ledger", format!("the ledger's URL can't be used: {trouble}"))
        .advise("set `PORTCULLIS_LEDGER=postgres://USER@HOST/DATABASE`, or name the ledger in code")
}
