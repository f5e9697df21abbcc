//! The ledger in a PostgreSQL database, for many processes on many machines.
//!
//! One thread per store drives three connections: one for claims, one for settlements and the lease, one for transactions of
//! several statements. What queues up while a statement is under way goes into the next one, all together.
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
mod hot;
mod inside;
mod lane;
mod parked;
mod queue;
mod room;
mod rows;
mod schema;
mod session;
mod sql;
mod target;
mod tls;
mod trouble;
mod worker;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use super::{AuditRecord, ClaimRequest, Claimed, NoteRequest, SettleRequest, Settled, Settlement, Store, Ticket};
use crate::refused::{Kind, Refused};
pub(super) use archive::open_archive;
use queue::{Auditing, Claiming, Draining, Noting, Op, Settling};
use target::Target;
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

/// A [`Store`] in a PostgreSQL database. Reached by its own thread at the first call.
struct PostgresStore(Arc<Shared>);

/// What a store's callers share.
struct Shared {
    target: Target,
    limits: Limits,
    /// To the thread, if there is one. The thread ends when this is dropped: with the store and its last open claim.
    sender: Mutex<Option<UnboundedSender<Op>>>,
    pid: u32,
}

impl Shared {
    /// This process is a fork of the one that made the store.
    fn is_foreign(&self) -> bool {
        self.pid != std::process::id()
    }

    /// Queues an operation; one that is not taken resolves its ticket to "unknown" by being dropped.
    fn push(&self, op: Op) {
        if self.is_foreign() {
            return;
        }
        // Nothing in here can panic halfway through a change.
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let op = match &*sender {
            None => op,
            Some(thread) => match thread.send(op) {
                Ok(()) => return,
                // It has died.
                Err(back) => back.0,
            },
        };
        match worker::spawn(self.target.clone(), self.limits) {
            Ok(thread) => {
                let _ = thread.send(op);
                *sender = Some(thread);
            }
            Err(error) => tracing::error!(%error, "the ledger's thread can't be started"),
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
        let (digest, attempt) = (request.digest, request.attempt);
        let (reply, ticket) = Ticket::returning({
            let shared = self.0.clone();
            // Invariant 4.
            move |claimed| match claimed {
                Claimed::Run { epoch } => {
                    let settlement = Settlement::Released("the caller had gone before the body began");
                    let request = SettleRequest { digest, epoch, attempt, settlement, lazy: false };
                    shared.push(Op::Settle(Box::new(Settling::new(request, None))));
                }
                Claimed::Replay(_) | Claimed::ReplayError(_) | Claimed::Reconcile(_) | Claimed::Refuse(_) => {}
            }
        });
        let until = Instant::now() + self.0.limits.claim;
        self.0.push(Op::Claim(Box::new(Claiming { request, reply, until, uncertain: false, alone: false })));
        ticket
    }

    fn settle(&self, request: SettleRequest) -> Ticket<Settled> {
        let (reply, ticket) = Ticket::new();
        if self.0.is_foreign() {
            reply.send(Settled::Unsettled(forked().to_string()));
            return ticket;
        }
        self.0.push(Op::Settle(Box::new(Settling::new(request, Some(reply)))));
        ticket
    }

    fn note(&self, request: NoteRequest) -> Ticket<Result<(), Refused>> {
        let (reply, ticket) = Ticket::new();
        if self.0.is_foreign() {
            reply.send(Err(forked().refuse(&request.action, "the note is not on record")));
            return ticket;
        }
        let until = Instant::now() + self.0.limits.claim;
        self.0.push(Op::Note(Box::new(Noting { request, reply, until })));
        ticket
    }

    fn audit(&self, record: AuditRecord) -> Ticket<()> {
        let (reply, ticket) = Ticket::new();
        self.0.push(Op::Audit(Box::new(Auditing { record, reply })));
        ticket
    }

    fn drain(&self, until: Instant) -> Ticket<bool> {
        let (reply, ticket) = Ticket::new();
        if self.0.is_foreign() {
            reply.send(false);
            return ticket;
        }
        self.0.push(Op::Drain(Draining { until, reply }));
        ticket
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresStore").field(&self.0.target).finish()
    }
}

/// The store at `postgres://…`. Reads the URL and no more: the server is reached at the first call.
pub(super) fn open(url: &str, lease: Duration) -> Result<Arc<dyn Store>, Refused> {
    let target = Target::from_url(url).map_err(|trouble| unusable(&trouble))?;
    let (limits, pid) = (Limits::new(lease), std::process::id());
    Ok(Arc::new(PostgresStore(Arc::new(Shared { target, limits, sender: Mutex::new(None), pid }))))
}

fn unusable(trouble: &Trouble) -> Refused {
    Refused::new(Kind::NotConfigured, "ledger", format!("the ledger's URL can't be used: {trouble}"))
        .advise("set `PORTCULLIS_LEDGER=postgres://USER@HOST/DATABASE`, or name the ledger in code")
}
