//! The ledger in an SQLite file.
//!
//! What is settled is answered without the writer: from memory, or by a connection that only reads, on the thread that asks.
//! Everything else queues up, and somebody leads: takes all there is (settlements first), puts it into one transaction, commits
//! once, and only then replies. A caller that blocks leads by itself if nobody else does; one that must not be blocked leaves it
//! to the store's thread, and so does a leader that finds more in the queue when it is done.
//!
//! # Invariants
//! 1. Nothing is answered with "run" or "recorded" before its COMMIT has returned.
//! 2. An operation that fails by its own content fails alone: the others of its batch are done again without it.
//! 3. A claim whose commit is unknown and whose caller was refused is released by the writer before anything else happens
//!    to its key.
//! 4. A claim whose caller has gone is released.
//! 5. In a forked child nothing is locked, sent or waited for.

mod apply;
mod archive;
mod engine;
mod front;
mod inside;
mod mail;
mod parked;
mod queue;
mod recent;
mod rows;
mod spill;
mod tasks;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    AuditRecord, ClaimRequest, Claimed, NoteRequest, SettleRequest, Settled, Store, TaskAnswer, TaskRequest, Ticket,
    messages,
};
use crate::refused::{Kind, Refused};
use crate::sqlite::{Database, Failure, Flush, OwnerId, Place, Trouble, TroubleKind};
pub(super) use archive::open_archive;
use engine::Engine;
use queue::{Auditing, Draining, Noting, Op};

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

/// A [`Store`] in an SQLite file, opened at the first call.
pub(super) struct SqliteStore {
    engine: Arc<Engine>,
}

impl SqliteStore {
    pub(super) fn new(place: Place, limits: Limits) -> Self {
        SqliteStore { engine: Engine::new(place, limits) }
    }
}

fn forked() -> Trouble {
    Trouble::new(TroubleKind::Forked, "this process is a fork of the one that opened it, and shares none of its locks")
}

impl Store for SqliteStore {
    fn claim(&self, request: ClaimRequest) -> Ticket<Claimed> {
        let shared = &self.engine.shared;
        if shared.is_foreign() {
            return Ticket::ready(Claimed::Refuse(forked().refuse(&request.action, "the ledger can't be used")));
        }
        if shared.is_draining() {
            return Ticket::ready(Claimed::Refuse(messages::draining(&request.action)));
        }
        match shared.front.remembered(&request) {
            Some(claimed) => Ticket::ready(claimed),
            None => Ticket::of(engine::ClaimJob { engine: self.engine.clone(), request }),
        }
    }

    fn settle(&self, request: SettleRequest) -> Ticket<Settled> {
        if self.engine.shared.is_foreign() {
            return Ticket::ready(Settled::Unsettled(forked().to_string()));
        }
        Ticket::of(engine::SettleJob { engine: self.engine.clone(), request })
    }

    fn note(&self, request: NoteRequest) -> Ticket<Result<(), Refused>> {
        if self.engine.shared.is_foreign() {
            return Ticket::ready(Err(forked().refuse(&request.action, "the note is not on record")));
        }
        let (reply, ticket) = Ticket::new();
        self.engine.leave(Op::Note(Box::new(Noting { request, reply })));
        ticket
    }

    fn task(&self, request: TaskRequest) -> Ticket<TaskAnswer> {
        Ticket::of(engine::TaskJob { engine: self.engine.clone(), request })
    }

    fn audit(&self, record: AuditRecord) -> Ticket<()> {
        let (reply, ticket) = Ticket::new();
        if !self.engine.shared.is_foreign() {
            self.engine.leave(Op::Audit(Box::new(Auditing { record, reply })));
        }
        ticket
    }

    fn drain(&self, until: Instant) -> Ticket<bool> {
        if self.engine.shared.is_foreign() {
            return Ticket::ready(false);
        }
        let (reply, ticket) = Ticket::new();
        self.engine.leave(Op::Drain(Draining { until, reply }));
        ticket
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        if !self.engine.shared.is_foreign() {
            self.engine.shared.close();
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqliteStore").field(&self.engine.shared.place).finish()
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

pub(super) use mail::open as open_mail;
pub(super) use tasks::open as open_tasks;

/// Records what processes could not record when they had to, before anybody else decides about it.
fn bring_in(database: &mut Database, owner: OwnerId, until: Instant) -> Result<(), Trouble> {
    let Some(spill) = spill::Spill::of(database).filter(spill::Spill::is_used) else { return Ok(()) };
    let side = database.side().cloned();
    let beside = apply::Beside { spill: Some(&spill), before: database.reached(), ..apply::Beside::default() };
    let written = database.write(until, Flush::Disk, |connection| {
        apply::Context { connection, side: side.as_deref(), owner, beside: Some(&beside) }.bring_in()
    });
    written.map_err(Failure::trouble)?;
    if let Some(end) = beside.brought_in.get() {
        spill.empty(end);
    }
    Ok(())
}

/// A store that forgets everything with the process: for tests.
#[cfg(any(test, feature = "testing"))]
pub(super) fn open_in_memory() -> Arc<dyn Store> {
    Arc::new(SqliteStore::new(Place::Memory, Limits::default()))
}

#[cfg(test)]
mod tests;
