//! The ledger in an SQLite file.
//!
//! One thread per store owns the connection. It takes what has queued up (settlements first), answers from a plain read
//! what needs no write, puts the rest into one transaction, commits once, and only then replies.
//!
//! # Invariants
//! 1. Nothing is answered with "run" or "recorded" before its COMMIT has returned.
//! 2. An operation that fails by its own content fails alone: the others of its batch are done again without it.
//! 3. A claim whose commit is unknown and whose caller was refused is released by the writer before anything else happens
//!    to its key.
//! 4. A claim whose caller has gone is released.
//! 5. In a forked child nothing is locked, sent or waited for.

mod apply;
mod inside;
mod parked;
mod queue;
pub(super) mod rows;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    AuditRecord, ClaimRequest, Claimed, NoteRequest, SettleRequest, Settled, Settlement, Store, Ticket, messages,
};
use crate::refused::{Kind, Refused};
use crate::sqlite::{Place, Trouble, TroubleKind};
use queue::{Auditing, Claiming, Draining, Noting, Op, Settling, Shared};

/// What a store allows itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long another process may hold the file's lock before a claim is refused.
    pub(super) busy: Duration,
    /// How long a settlement is tried again.
    pub(super) settle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { busy: Duration::from_secs(5), settle: Duration::from_secs(15) }
    }
}

/// A [`Store`] in an SQLite file. Opened by its own thread at the first call.
pub(super) struct SqliteStore {
    shared: Arc<Shared>,
}

impl SqliteStore {
    pub(super) fn new(place: Place, limits: Limits) -> Self {
        SqliteStore { shared: Arc::new(Shared::new(place, limits)) }
    }
}

fn forked() -> Trouble {
    Trouble::new(TroubleKind::Forked, "this process is a fork of the one that opened it, and shares none of its locks")
}

impl Store for SqliteStore {
    fn claim(&self, request: ClaimRequest) -> Ticket<Claimed> {
        if self.shared.is_foreign() {
            return Ticket::ready(Claimed::Refuse(forked().refuse(&request.action, "the ledger can't be used")));
        }
        let (digest, attempt) = (request.digest, request.attempt);
        let (reply, ticket) = Ticket::returning({
            let shared = self.shared.clone();
            // Invariant 4.
            move |claimed| match claimed {
                Claimed::Run { epoch } => {
                    let settlement = Settlement::Released("the caller had gone before the body began");
                    let request = SettleRequest { digest, epoch, attempt, settlement, lazy: false };
                    let _ = shared.push(Op::Settle(Box::new(Settling::new(request, None))));
                }
                Claimed::Replay(_) | Claimed::ReplayError(_) | Claimed::Reconcile(_) | Claimed::Refuse(_) => {}
            }
        });
        match self.shared.push(Op::Claim(Box::new(Claiming { request, reply }))) {
            Ok(()) => ticket,
            Err(Op::Claim(claiming)) => {
                let refused = messages::draining(&claiming.request.action);
                claiming.reply.send(Claimed::Refuse(refused));
                ticket
            }
            Err(Op::Settle(_) | Op::Note(_) | Op::Audit(_) | Op::Drain(_)) => ticket,
        }
    }

    fn settle(&self, request: SettleRequest) -> Ticket<Settled> {
        let (reply, ticket) = Ticket::new();
        if self.shared.is_foreign() {
            reply.send(Settled::Unsettled(forked().to_string()));
            return ticket;
        }
        // An operation that is not taken is dropped, and resolves its ticket by that.
        let _ = self.shared.push(Op::Settle(Box::new(Settling::new(request, Some(reply)))));
        ticket
    }

    fn note(&self, request: NoteRequest) -> Ticket<Result<(), Refused>> {
        let (reply, ticket) = Ticket::new();
        if self.shared.is_foreign() {
            reply.send(Err(forked().refuse(&request.action, "the note is not on record")));
            return ticket;
        }
        let _ = self.shared.push(Op::Note(Box::new(Noting { request, reply })));
        ticket
    }

    fn audit(&self, record: AuditRecord) -> Ticket<()> {
        let (reply, ticket) = Ticket::new();
        if !self.shared.is_foreign() {
            let _ = self.shared.push(Op::Audit(Box::new(Auditing { record, reply })));
        }
        ticket
    }

    fn drain(&self, until: Instant) -> Ticket<bool> {
        let (reply, ticket) = Ticket::new();
        if self.shared.is_foreign() {
            reply.send(false);
            return ticket;
        }
        let _ = self.shared.push(Op::Drain(Draining { until, reply }));
        ticket
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        if !self.shared.is_foreign() {
            self.shared.close();
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqliteStore").field(&self.shared.place).finish()
    }
}

/// The store at `sqlite:PATH`. Reads the URL and no more: the file is opened at the first call.
pub(super) fn open(url: &str) -> Result<Arc<dyn Store>, Refused> {
    let place = Place::from_url(url).map_err(|trouble| {
        Refused::new(Kind::NotConfigured, "ledger", format!("the ledger's URL can't be used: {trouble}"))
            .advise("set `PORTCULLIS_LEDGER=sqlite:PATH`, or name the ledger in code")
    })?;
    Ok(Arc::new(SqliteStore::new(place, Limits::default())))
}

/// A store that forgets everything with the process: for tests.
#[cfg(any(test, feature = "testing"))]
pub(super) fn open_in_memory() -> Arc<dyn Store> {
    Arc::new(SqliteStore::new(Place::Memory, Limits::default()))
}

#[cfg(test)]
mod tests;
