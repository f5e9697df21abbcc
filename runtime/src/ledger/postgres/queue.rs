//! What waits for the store's thread.
//!
//! # Invariants
//! 1. At most one operation per claim is under way; the others of the same claim wait for it, in their order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::super::{Attempt, AuditRecord, ClaimRequest, Claimed, Digest, NoteRequest, Reply, SettleRequest, Settled};
use super::hot::is_plain;
use super::reassert::Grant;
use crate::refused::Refused;

/// How many operations share one statement at most.
pub(super) const BATCH: usize = 512;
/// How many share one transaction of several statements.
pub(super) const CHAINED: usize = 64;

#[derive(Debug)]
pub(super) struct Claiming {
    pub(super) request: ClaimRequest,
    pub(super) reply: Reply<Claimed>,
    /// Until when it is tried.
    pub(super) until: Instant,
    /// It may have been committed without our knowing.
    pub(super) uncertain: bool,
    /// It failed in company: by itself from now on.
    pub(super) alone: bool,
}

#[derive(Debug)]
pub(super) struct Settling {
    pub(super) request: SettleRequest,
    /// `None`: nobody waits for it.
    pub(super) reply: Option<Reply<Settled>>,
    pub(super) since: Instant,
    pub(super) alone: bool,
    /// What it settles, if this store granted it.
    pub(super) grant: Option<Arc<Grant>>,
}

impl Settling {
    pub(super) fn new(request: SettleRequest, reply: Option<Reply<Settled>>) -> Self {
        Settling { request, reply, since: Instant::now(), alone: false, grant: None }
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
    /// Until when it is tried.
    pub(super) until: Instant,
}

#[derive(Debug)]
pub(super) struct Draining {
    pub(super) until: Instant,
    pub(super) reply: Reply<bool>,
}

/// What callers ask for.
#[derive(Debug)]
pub(super) enum Op {
    Claim(Box<Claiming>),
    Settle(Box<Settling>),
    Note(Box<Noting>),
    Audit(Box<Auditing>),
    Drain(Draining),
}

/// What takes a transaction of several statements: whatever leaves an event, and what the hot path could not decide.
#[derive(Debug)]
pub(super) enum Chained {
    Claim(Box<Claiming>),
    Settle(Box<Settling>),
    Note(Box<Noting>),
    Audit(Box<Auditing>),
    /// A claim whose caller was refused although it may have been committed.
    Release(Digest, Attempt),
}

impl Chained {
    pub(super) fn digest(&self) -> Option<Digest> {
        match self {
            Chained::Claim(claiming) => Some(claiming.request.digest),
            Chained::Settle(settling) => Some(settling.request.digest),
            Chained::Note(noting) => Some(noting.request.digest),
            Chained::Release(digest, _) => Some(*digest),
            Chained::Audit(_) => None,
        }
    }
}

/// Something to be done to one claim.
#[derive(Debug)]
pub(super) enum Step {
    Claim(Box<Claiming>),
    Settle(Box<Settling>),
    Chained(Chained),
}

impl Step {
    pub(super) fn claim(claiming: Box<Claiming>) -> Self {
        match claiming.request.resolution {
            None => Step::Claim(claiming),
            Some(_) => Step::Chained(Chained::Claim(claiming)),
        }
    }

    pub(super) fn settle(settling: Box<Settling>) -> Self {
        if is_plain(&settling.request.settlement) {
            Step::Settle(settling)
        } else {
            Step::Chained(Chained::Settle(settling))
        }
    }

    /// May it be refused by now?
    fn is_overdue(&self, now: Instant) -> bool {
        match self {
            Step::Claim(claiming) | Step::Chained(Chained::Claim(claiming)) => claiming.until <= now,
            Step::Chained(Chained::Note(noting)) => noting.until <= now,
            Step::Settle(_) | Step::Chained(Chained::Settle(_) | Chained::Audit(_) | Chained::Release(..)) => false,
        }
    }

    fn digest(&self) -> Option<Digest> {
        match self {
            Step::Claim(claiming) => Some(claiming.request.digest),
            Step::Settle(settling) => Some(settling.request.digest),
            Step::Chained(chained) => chained.digest(),
        }
    }
}

/// The three lines in which steps wait for a connection.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) claims: VecDeque<Box<Claiming>>,
    pub(super) settles: VecDeque<Box<Settling>>,
    pub(super) chained: VecDeque<Chained>,
    /// Claims with a step in one of the lines or under way, with what comes after it.
    busy: HashMap<Digest, VecDeque<Step>>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.settles.is_empty() && self.chained.is_empty()
    }

    /// Nothing waits, and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.is_empty() && self.busy.is_empty()
    }

    /// Puts a step behind those of its claim.
    pub(super) fn push(&mut self, step: Step) {
        match step.digest() {
            None => self.line_up(step),
            Some(digest) => match self.busy.get_mut(&digest) {
                Some(after) => after.push_back(step),
                None => {
                    self.busy.insert(digest, VecDeque::new());
                    self.line_up(step);
                }
            },
        }
    }

    /// Goes on with a step whose claim is its own already: what was tried without success, or is to be done in another way.
    pub(super) fn again(&mut self, step: Step) {
        match step {
            Step::Claim(claiming) => self.claims.push_front(claiming),
            Step::Settle(settling) => self.settles.push_front(settling),
            Step::Chained(chained) => self.chained.push_front(chained),
        }
    }

    /// The step that was under way is over; `next` comes before those that wait.
    pub(super) fn done(&mut self, digest: &Digest, next: Option<Step>) {
        let Some(after) = self.busy.get_mut(digest) else { return };
        match next.or_else(|| after.pop_front()) {
            Some(step) => self.line_up(step),
            None => {
                self.busy.remove(digest);
            }
        }
    }

    fn line_up(&mut self, step: Step) {
        match step {
            Step::Claim(claiming) => self.claims.push_back(claiming),
            Step::Settle(settling) => self.settles.push_back(settling),
            Step::Chained(chained) => self.chained.push_back(chained),
        }
    }

    /// A batch of claims that go together; whose caller has gone is left out, and done with.
    pub(super) fn take_claims(&mut self) -> Vec<Box<Claiming>> {
        let mut batch: Vec<Box<Claiming>> = Vec::new();
        while batch.len() < BATCH {
            let Some(claiming) = self.claims.pop_front() else { break };
            if claiming.reply.is_abandoned() && !claiming.uncertain {
                // Its caller had gone before anything was done for it: who comes after it must not meet it.
                self.done(&claiming.request.digest, None);
            } else if claiming.alone && !batch.is_empty() {
                self.claims.push_front(claiming);
                break;
            } else {
                let alone = claiming.alone;
                batch.push(claiming);
                if alone {
                    break;
                }
            }
        }
        batch
    }

    pub(super) fn take_settles(&mut self) -> Vec<Box<Settling>> {
        let mut batch: Vec<Box<Settling>> = Vec::new();
        while batch.len() < BATCH {
            match self.settles.pop_front() {
                Some(settling) if settling.alone => {
                    if batch.is_empty() {
                        batch.push(settling);
                    } else {
                        self.settles.push_front(settling);
                    }
                    break;
                }
                Some(settling) => batch.push(settling),
                None => break,
            }
        }
        batch
    }

    /// At most `most`; with claims among them, or without.
    pub(super) fn take_chained(&mut self, most: usize, with_claims: bool) -> Vec<Chained> {
        let (mut batch, mut kept) = (Vec::new(), VecDeque::new());
        while batch.len() < most {
            match self.chained.pop_front() {
                Some(claim @ Chained::Claim(_)) if !with_claims => kept.push_back(claim),
                Some(one) => batch.push(one),
                None => break,
            }
        }
        kept.append(&mut self.chained);
        self.chained = kept;
        batch
    }

    /// What can't wait any longer: of each, whether its claim is its own (then [`done`](Self::done) must follow).
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<(Step, bool)> {
        let mut overdue = Vec::new();
        let (late, kept): (Vec<_>, Vec<_>) = self.claims.drain(..).partition(|claiming| claiming.until <= now);
        self.claims = kept.into();
        overdue.extend(late.into_iter().map(|claiming| (Step::Claim(claiming), true)));
        for chained in std::mem::take(&mut self.chained) {
            let step = Step::Chained(chained);
            match step {
                step if step.is_overdue(now) => overdue.push((step, true)),
                Step::Chained(chained) => self.chained.push_back(chained),
                Step::Claim(_) | Step::Settle(_) => {}
            }
        }
        for after in self.busy.values_mut() {
            for step in std::mem::take(after) {
                if step.is_overdue(now) {
                    overdue.push((step, false));
                } else {
                    after.push_back(step);
                }
            }
        }
        overdue
    }

    /// Settlements for which somebody waits.
    pub(super) fn waiting_settles(&mut self) -> impl Iterator<Item = &mut Box<Settling>> {
        let chained = self.chained.iter_mut().filter_map(|chained| match chained {
            Chained::Settle(settling) => Some(settling),
            Chained::Claim(_) | Chained::Note(_) | Chained::Audit(_) | Chained::Release(..) => None,
        });
        self.settles.iter_mut().chain(chained).filter(|settling| settling.reply.is_some())
    }

    /// Drops what nobody waits for.
    pub(super) fn forget_unawaited(&mut self) {
        let settles = std::mem::take(&mut self.settles);
        for settling in settles {
            match settling.reply {
                Some(_) => self.settles.push_back(settling),
                None => self.done(&settling.request.digest, None),
            }
        }
        let chained = std::mem::take(&mut self.chained);
        for one in chained {
            let unawaited = match &one {
                Chained::Settle(settling) => settling.reply.is_none(),
                Chained::Release(..) => true,
                Chained::Claim(_) | Chained::Note(_) | Chained::Audit(_) => false,
            };
            match one.digest() {
                Some(digest) if unawaited => self.done(&digest, None),
                Some(_) | None => self.chained.push_back(one),
            }
        }
    }
}
