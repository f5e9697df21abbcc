//! Who writes: one connection, one transaction for all that has come in, and then the replies.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::super::{Attempt, Claimed, Digest, Settled, Settlement, TaskAnswer, messages};
use super::apply;
use super::parked::{Parked, Waiter};
use super::queue::{Claiming, Draining, Op, Seen, Settling, Shared};
use super::spill::Spill;
use crate::sqlite::{Create, Database, DatabaseFile, Failure, Flush, Place, Trouble, TroubleKind};

/// What failed is tried again this soon while somebody waits for it.
const RETRY: Duration = Duration::from_millis(50);

mod aside;

/// What a batch is answered with, operation by operation.
#[derive(Debug)]
pub(super) enum Answer {
    Claimed(Claimed),
    Park(Waiting),
    Settled(Settled),
    Noted,
    Audited,
    Task(TaskAnswer),
}

/// A duplicate of something that runs.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) owner: crate::sqlite::OwnerId,
    pub(super) refused: crate::refused::Refused,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    database: Option<Database>,
    /// Which ledger, and which file: another one at the same path is not ours.
    known: Option<(Uuid, Option<(u64, u64)>)>,
    /// A COMMIT has failed: what is seen next counts only after a checkpoint.
    suspect: bool,
    owner: Option<crate::sqlite::OwnerId>,
    /// For what can't be recorded; stays where the database can't be opened.
    spill: Option<Spill>,
    actions: apply::Actions,
    parked: Parked,
    /// Attempts that were granted here and are not settled yet.
    running: HashSet<Attempt>,
    /// Claims of the batch under way.
    at_risk: Vec<(Digest, Attempt)>,
    /// Claims that may have been committed although their callers were refused.
    unsure: Vec<(Digest, Attempt)>,
    /// Settlements to be tried again.
    deferred: Vec<Settling>,
    retry_at: Option<Instant>,
    /// Something was committed without a flush.
    unflushed: bool,
    drains: Vec<Draining>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Writer {
            shared,
            database: None,
            known: None,
            suspect: false,
            owner: None,
            spill: None,
            actions: HashMap::new(),
            parked: Parked::new(),
            running: HashSet::new(),
            at_risk: Vec::new(),
            unsure: Vec::new(),
            deferred: Vec::new(),
            retry_at: None,
            unflushed: false,
            drains: Vec::new(),
        }
    }

    /// Does a batch, and what is due. A bug in here must cost one batch (whose tickets then resolve to "unknown"), not the ledger.
    pub(super) fn run(&mut self, batch: Vec<Op>) {
        if catch_unwind(AssertUnwindSafe(|| self.turn(batch))).is_err() {
            tracing::error!("the ledger's writer panicked; its connection is opened anew");
            self.give_up();
        }
    }

    /// When there is something to look after.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let drains = self.drains.iter().map(|drain| drain.until);
        drains.chain(self.parked.wake_at()).chain(self.retry_at).min()
    }

    fn turn(&mut self, batch: Vec<Op>) {
        let mut batch = batch;
        if self.retry_at.is_some_and(|at| at <= Instant::now()) {
            self.retry_at = None;
            let deferred = std::mem::take(&mut self.deferred);
            batch.splice(0..0, deferred.into_iter().map(|settling| Op::Settle(Box::new(settling))));
        }
        let mut ops = Vec::with_capacity(batch.len());
        for op in batch {
            match op {
                Op::Drain(drain) => {
                    self.parked.refuse_all(messages::draining);
                    self.drains.push(drain);
                }
                // Its caller had gone before anything was done for it: who comes after it must not meet it.
                Op::Claim(claiming) if claiming.reply.is_abandoned() => {}
                Op::Task(tasking) if tasking.is_pointless() => {}
                Op::Settle(_) | Op::Note(_) | Op::Audit(_) | Op::Task(_) | Op::Claim(_) => ops.push(op),
            }
        }
        if !ops.is_empty() || !self.unsure.is_empty() {
            match self.ready() {
                Ok(()) => self.serve(ops),
                Err(trouble) => self.refuse(ops, &trouble),
            }
        }
        if !self.unsure.is_empty() {
            self.retry_after(RETRY);
        }
        if self.shared.is_closed() {
            // Nobody uses this store any more, and its file may be gone: who waits is still served, and nobody else.
            self.deferred.retain(|settling| settling.reply.is_some());
            self.unsure.clear();
            if self.deferred.is_empty() {
                self.retry_at = None;
            }
        }
        self.look_at_parked();
        self.look_at_drains();
        if let Some(database) = &mut self.database {
            database.tend();
        }
    }

    fn serve(&mut self, ops: Vec<Op>) {
        // With a settlement there is a transaction anyway, and the claims may be about to change by it.
        let plain = self.unsure.is_empty() && !self.has_spilled() && !ops.iter().any(|op| matches!(op, Op::Settle(_)));
        let writes = if plain { self.peek_all(ops, |claiming| claiming.seen != Seen::Fresh) } else { ops };
        if !writes.is_empty() || !self.unsure.is_empty() {
            self.commit(writes, true);
        }
    }

    /// Answers the claims that need no write, and gives the rest back. Only those that are `worth` it are looked at.
    fn peek_all(&mut self, ops: Vec<Op>, worth: impl Fn(&Claiming) -> bool) -> Vec<Op> {
        let mut rest = Vec::new();
        for op in ops {
            match op {
                Op::Claim(claiming) if !worth(&claiming) => rest.push(Op::Claim(claiming)),
                Op::Claim(claiming) => match self.peek(&claiming) {
                    Ok(Some(answer)) => self.deliver(Op::Claim(claiming), answer),
                    // What can't be read now may be readable under the lock.
                    Ok(None) | Err(_) => rest.push(Op::Claim(claiming)),
                },
                op @ (Op::Settle(_) | Op::Note(_) | Op::Audit(_) | Op::Task(_) | Op::Drain(_)) => rest.push(op),
            }
        }
        rest
    }

    fn peek(&mut self, claiming: &Claiming) -> Result<Option<Answer>, Trouble> {
        let Some(database) = &self.database else { return Ok(None) };
        let context = apply::Context {
            connection: database.connection()?,
            side: database.side().map(|side| &**side),
            owner: self.own()?,
            beside: None,
        };
        let found = apply::peek(&context, &mut self.actions, &claiming.request)?;
        Ok(found.map(|(answer, _)| answer))
    }

    fn own(&self) -> Result<crate::sqlite::OwnerId, Trouble> {
        self.owner.ok_or_else(|| Trouble::new(TroubleKind::Closed, "this process has no row in it"))
    }

    /// Opens the file if it is not open, and checks that it is still the one at its path.
    fn ready(&mut self) -> Result<(), Trouble> {
        if self.database.as_ref().is_some_and(Database::is_closed) {
            self.give_up();
        }
        if let Some(database) = &self.database {
            return database.still_there();
        }
        // Many processes may be opening it at once, one after the other.
        let until = Instant::now() + self.shared.limits.busy * 3;
        let place = &self.shared.place;
        if matches!(place, Place::Memory) && self.known.is_some() {
            return Err(Trouble::new(TroubleKind::Closed, "it was in memory, and is gone"));
        }
        let create = if self.known.is_some() { Create::No } else { Create::Yes };
        let mut database = Database::open(place, create, until)?;
        let found = (database.ledger, database.file().map(DatabaseFile::identity));
        match self.known {
            Some(known) if known != found => {
                return Err(Trouble::new(TroubleKind::Replaced, "another file has taken its place"));
            }
            Some(_) | None => self.known = Some(found),
        }
        if self.suspect {
            database.checkpoint(until)?;
            self.suspect = false;
        }
        let owner = database.enrol(until)?;
        database.keep_log()?;
        self.spill = Spill::of(&database);
        if let Some(file) = database.file() {
            self.shared.front.open(file.clone(), owner);
        }
        self.owner = Some(owner);
        self.database = Some(database);
        Ok(())
    }

    /// Throws the connection away, and doubts the claims of the batch under way.
    fn give_up(&mut self) {
        // What others read may have been written by the commit that failed.
        self.shared.front.close();
        self.database = None;
        self.suspect = true;
        self.actions.clear();
        self.unsure.append(&mut self.at_risk);
    }

    fn retry_after(&mut self, pause: Duration) {
        let at = Instant::now() + pause;
        self.retry_at = Some(self.retry_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// One transaction for all; then the replies.
    fn commit(&mut self, ops: Vec<Op>, again: bool) {
        let Ok(owner) = self.own() else { return };
        let Some(mut database) = self.database.take() else { return };
        let lazy = !ops.is_empty() && self.unsure.is_empty() && !self.has_spilled() && ops.iter().all(Op::is_lazy);
        let flush = if lazy { Flush::System } else { Flush::Disk };
        // Armed: cleared below, once it is known what became of the claims.
        self.at_risk = ops.iter().filter_map(claim_of).collect();
        let until = Instant::now() + self.shared.limits.busy;
        let side = database.side().cloned();
        let spill = self.spill.as_ref();
        let beside = apply::Beside { spill, before: database.reached(), ..apply::Beside::default() };
        let written = database.write(until, flush, |connection| {
            let context = apply::Context { connection, side: side.as_deref(), owner, beside: Some(&beside) };
            context.bring_in()?;
            for (digest, attempt) in &self.unsure {
                // Those that are asked again right here are decided here.
                if !self.at_risk.contains(&(*digest, *attempt)) {
                    apply::release(&context, digest, *attempt)?;
                }
            }
            ops.iter().map(|op| apply::one(&context, &mut self.actions, op)).collect::<Result<Vec<_>, _>>()
        });
        match written {
            Ok(answers) => {
                database.advance(beside.reached.get());
                if let (Some(spill), Some(end), Flush::Disk) = (spill, beside.brought_in.get(), flush) {
                    spill.empty(end);
                }
                self.database = Some(database);
                self.at_risk.clear();
                self.unsure.clear();
                self.unflushed = flush == Flush::System;
                for (op, answer) in ops.into_iter().zip(answers) {
                    self.deliver(op, answer);
                }
            }
            Err(Failure::Nothing(trouble)) => {
                self.at_risk.clear();
                // What was added to it may have been rolled back.
                self.actions.clear();
                match trouble.kind() {
                    // It may be one of those that are to be released: they must not fail everybody for ever.
                    TroubleKind::Statement if !self.unsure.is_empty() => {
                        tracing::error!(%trouble, "claims whose commit was in question stay pending until this process ends");
                        self.unsure.clear();
                        self.database = Some(database);
                        self.commit(ops, again);
                    }
                    // Invariant 2 of the store.
                    TroubleKind::Statement if ops.len() > 1 => {
                        self.database = Some(database);
                        for op in ops {
                            match self.ready() {
                                Ok(()) => self.commit(vec![op], again),
                                Err(trouble) => self.refuse(vec![op], &trouble),
                            }
                        }
                    }
                    TroubleKind::Io | TroubleKind::Corrupt | TroubleKind::Closed | TroubleKind::Full => {
                        drop(database);
                        self.give_up();
                        self.refuse(ops, &trouble);
                    }
                    // What needs no write needs no lock.
                    TroubleKind::Busy => {
                        self.database = Some(database);
                        let rest = self.peek_all(ops, |_| true);
                        self.refuse(rest, &trouble);
                    }
                    TroubleKind::Statement
                    | TroubleKind::ReadOnly
                    | TroubleKind::Unsuitable
                    | TroubleKind::Newer
                    | TroubleKind::Missing
                    | TroubleKind::Replaced
                    | TroubleKind::RolledBack
                    | TroubleKind::Forked => {
                        self.database = Some(database);
                        self.refuse(ops, &trouble);
                    }
                }
            }
            Err(Failure::Unknown(trouble)) => {
                drop(database);
                self.give_up();
                tracing::error!(%trouble, "a commit of the ledger failed; it is looked up again");
                // Every operation names its attempt, so that asking again finds what was committed.
                match self.ready() {
                    Ok(()) if again => self.commit(ops, false),
                    Ok(()) | Err(_) => self.refuse(ops, &trouble),
                }
            }
        }
    }

    fn deliver(&mut self, op: Op, answer: Answer) {
        match (op, answer) {
            (Op::Claim(claiming), Answer::Claimed(claimed)) => {
                if let Claimed::Run { .. } = &claimed {
                    self.running.insert(claiming.request.attempt);
                }
                claiming.reply.send(claimed);
            }
            (Op::Claim(mut claiming), Answer::Park(Waiting { owner, refused })) => match claiming.request.wait_until {
                Some(until) if until > Instant::now() && self.drains.is_empty() => {
                    // What it had found out has been heard, and may not hold for what comes now.
                    claiming.request.resolution = None;
                    self.parked.park(Waiter { claiming: *claiming, owner, until, refused });
                }
                // Its wait could outlive the process.
                Some(_) if !self.drains.is_empty() => {
                    let refused = messages::draining(&claiming.request.action);
                    claiming.reply.send(Claimed::Refuse(refused));
                }
                Some(_) | None => claiming.reply.send(Claimed::Refuse(refused)),
            },
            (Op::Settle(mut settling), Answer::Settled(settled)) => {
                let digest = settling.request.digest;
                // A body that is overdue runs on.
                if settling.request.settlement != Settlement::Overdue {
                    self.running.remove(&settling.request.attempt);
                }
                settling.answer(settled);
                self.shared.put_back(self.parked.take(&digest).into_iter());
            }
            (Op::Note(noting), Answer::Noted) => noting.reply.send(Ok(())),
            (Op::Audit(auditing), Answer::Audited) => auditing.reply.send(()),
            (Op::Task(tasking), Answer::Task(answer)) => tasking.reply.send(answer),
            // An answer of another kind is a bug; dropping the operation resolves its ticket to "unknown".
            (Op::Claim(_) | Op::Settle(_) | Op::Note(_) | Op::Audit(_) | Op::Task(_) | Op::Drain(_), answer) => {
                debug_assert!(false, "{answer:?} is no answer to this operation");
            }
        }
    }
}

fn claim_of(op: &Op) -> Option<(Digest, Attempt)> {
    match op {
        Op::Claim(claiming) => Some((claiming.request.digest, claiming.request.attempt)),
        Op::Settle(_) | Op::Note(_) | Op::Audit(_) | Op::Task(_) | Op::Drain(_) => None,
    }
}
