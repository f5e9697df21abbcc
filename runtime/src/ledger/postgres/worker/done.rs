//! What becomes of those who asked, once a piece of work is done, or takes too long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::super::rules::OnReassert;
use super::super::super::{Attempt, Claimed, Settled, Settlement, messages};
use super::super::chained::Outcome;
use super::super::hot::Answer;
use super::super::lane::Done;
use super::super::parked::Waiter;
use super::super::queue::{CHAINED, Chained, Claiming, Settling, Step};
use super::super::reassert::{Findings, Grant};
use super::super::trouble::{Certainty, Trouble, TroubleKind};
use super::{REST, Worker};

/// A lease that could not be renewed is tried again this soon.
const RENEW_AGAIN: Duration = Duration::from_millis(100);

/// A claim that another transaction is at is looked at again this soon.
const HELD_AGAIN: Duration = Duration::from_millis(25);

/// What takes a person to mend is not waited for longer than this.
const PERSON: Duration = Duration::from_secs(2);

impl Worker {
    pub(super) fn take(&mut self, done: Done) {
        match done {
            Done::Opened(Ok(())) => {
                self.trouble = None;
                if self.room.owner.get().is_some() {
                    self.unchecked = true;
                    // Their numbers may be others there.
                    self.room.forget();
                }
            }
            Done::Opened(Err(trouble)) => self.no_connection(trouble),
            Done::Claims(batch, Ok(answers)) => {
                for (claiming, answer) in batch.into_iter().zip(answers) {
                    self.claimed(claiming, answer, false);
                }
            }
            Done::Claims(batch, Err(trouble)) => {
                let company = batch.len() > 1;
                for claiming in batch.into_iter().rev() {
                    self.failed(Chained::Claim(claiming), &trouble, company, false);
                }
            }
            Done::Settles(batch, Ok(recorded)) => {
                for (settling, recorded) in batch.into_iter().zip(recorded) {
                    let digest = settling.request.digest;
                    if recorded {
                        self.settled(settling, Settled::Recorded);
                    } else {
                        self.queue.done(&digest, Some(Step::Chained(Chained::Settle(settling))));
                    }
                }
            }
            Done::Settles(batch, Err(trouble)) => {
                let company = batch.len() > 1;
                for settling in batch.into_iter().rev() {
                    self.failed(Chained::Settle(settling), &trouble, company, false);
                }
            }
            Done::Chained(batch, Ok(outcomes)) => {
                if self.queue.chained.is_empty() {
                    self.most_chained = CHAINED;
                }
                for (one, outcome) in batch.into_iter().zip(outcomes) {
                    self.written(one, outcome);
                }
            }
            Done::Chained(batch, Err(trouble)) => {
                let company = batch.len() > 1;
                if trouble.kind() == TroubleKind::Statement {
                    self.most_chained = 1;
                }
                for one in batch.into_iter().rev() {
                    self.failed(one, &trouble, company, true);
                }
            }
            Done::Renewed(asked, result) => {
                self.renewing = false;
                match result {
                    Ok(()) => {
                        self.room.lapsed.set(false);
                        self.renew_at = asked + self.room.limits.lease / 3;
                    }
                    Err(trouble) => {
                        tracing::warn!(ledger = self.room.target.shown(), %trouble, "the lease is not renewed");
                        self.renew_at = Instant::now() + RENEW_AGAIN;
                        self.trouble = Some(trouble);
                    }
                }
            }
            Done::Looked(Ok(still)) => {
                for digest in self.looked_for.drain(..).filter(|digest| !still.contains(digest)) {
                    for claiming in self.parked.take(&digest) {
                        ask_again(&mut self.queue, claiming, self.room.limits.claim);
                    }
                }
            }
            Done::Looked(Err(_)) => self.looked_for.clear(),
            Done::Checked(Ok(Findings { lost, is_enrolled })) => {
                self.unchecked = false;
                if !is_enrolled {
                    tracing::warn!(ledger = self.room.target.shown(), "the ledger does not know this process any more");
                    self.room.lease.set(None);
                    self.room.owner.set(None);
                    self.renew_at = Instant::now();
                }
                // What has been settled meanwhile is on record.
                self.lost = lost;
                self.lost.retain(|grant| self.running.contains_key(&grant.request.attempt));
            }
            Done::Reasserted(batch, Ok(decided)) => {
                for (grant, decided) in batch.iter().zip(decided) {
                    self.lost.retain(|lost| lost.request.attempt != grant.request.attempt);
                    if decided == OnReassert::Overtaken {
                        self.overtaken.insert(grant.request.attempt);
                    }
                }
            }
            Done::Checked(Err(trouble)) | Done::Reasserted(_, Err(trouble)) => {
                tracing::warn!(ledger = self.room.target.shown(), %trouble, "whether the ledger still has this process's claims is not known");
                self.trouble = Some(trouble);
            }
        }
    }

    fn no_connection(&mut self, trouble: Trouble) {
        self.room.forget();
        if !trouble.passes() {
            tracing::error!(ledger = self.room.target.shown(), %trouble, "the ledger can't be used");
            let claims: Vec<_> = self.queue.claims.drain(..).collect();
            for claiming in claims {
                self.refuse_claim(claiming, &trouble);
            }
            let (hopeless, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.queue.chained)
                .into_iter()
                .partition(|one| matches!(one, Chained::Claim(_) | Chained::Note(_)));
            self.queue.chained = kept.into();
            for one in hopeless {
                self.refuse(one, &trouble);
            }
        }
        self.trouble = Some(trouble);
    }

    /// `chained`: the line to which it goes back if there is nothing to answer yet.
    fn claimed(&mut self, mut claiming: Box<Claiming>, answer: Answer, chained: bool) {
        let digest = claiming.request.digest;
        match answer {
            Answer::Run { epoch, first_ms } => {
                let grant = Grant::new(&claiming, self.room.limits.claim, epoch, first_ms);
                self.running.insert(claiming.request.attempt, Arc::new(grant));
                self.queue.done(&digest, None);
                claiming.reply.send(Claimed::Run { epoch });
            }
            Answer::Claimed(claimed) => {
                self.queue.done(&digest, None);
                claiming.reply.send(claimed);
            }
            Answer::Park(refused) => {
                self.queue.done(&digest, None);
                match claiming.request.wait_until {
                    // Its wait could outlive the process.
                    Some(_) if self.draining => {
                        let refused = messages::draining(&claiming.request.action);
                        claiming.reply.send(Claimed::Refuse(refused));
                    }
                    Some(until) if until > Instant::now() => {
                        // What it had found out has been heard, and may not hold for what comes now.
                        claiming.request.resolution = None;
                        claiming.uncertain = false;
                        self.parked.park(Waiter { claiming, until, refused });
                    }
                    Some(_) | None => claiming.reply.send(Claimed::Refuse(refused)),
                }
            }
            Answer::Write => self.queue.done(&digest, Some(Step::Chained(Chained::Claim(claiming)))),
            Answer::Again => {
                self.room.lapsed.set(true);
                self.renew_at = self.renew_at.min(Instant::now());
                claiming.request.resolution = None;
                let step = if chained { Step::Chained(Chained::Claim(claiming)) } else { Step::Claim(claiming) };
                self.queue.again(step);
            }
        }
    }

    fn ended(&mut self, attempt: &Attempt) {
        self.running.remove(attempt);
        self.overtaken.remove(attempt);
    }

    fn settled(&mut self, mut settling: Box<Settling>, settled: Settled) {
        let digest = settling.request.digest;
        // A body that is overdue runs on.
        if settling.request.settlement != Settlement::Overdue {
            self.ended(&settling.request.attempt);
        }
        settling.answer(settled);
        self.queue.done(&digest, None);
        for claiming in self.parked.take(&digest) {
            ask_again(&mut self.queue, claiming, self.room.limits.claim);
        }
    }

    fn written(&mut self, one: Chained, outcome: Outcome) {
        match (one, outcome) {
            (Chained::Claim(claiming), Outcome::Claim(answer)) => self.claimed(claiming, answer, true),
            (Chained::Settle(settling), Outcome::Settled(settled)) => self.settled(settling, settled),
            (Chained::Note(noting), Outcome::Done) => {
                self.queue.done(&noting.request.digest, None);
                noting.reply.send(Ok(()));
            }
            (Chained::Audit(auditing), Outcome::Done) => auditing.reply.send(()),
            (Chained::Release(digest, _), Outcome::Done) => self.queue.done(&digest, None),
            // Behind the others, which must not wait for it.
            (one, Outcome::Held) => {
                self.queue.chained.push_back(one);
                if let Some(lane) = &mut self.lanes[REST] {
                    lane.not_before = Instant::now() + HELD_AGAIN;
                }
            }
            // An outcome of another kind is a bug; dropping the operation resolves its ticket to "unknown".
            (one, outcome) => {
                debug_assert!(false, "{outcome:?} is no outcome of this operation");
                if let Some(digest) = one.digest() {
                    self.queue.done(&digest, None);
                }
            }
        }
    }

    /// It is tried again if that may help, and refused otherwise.
    fn failed(&mut self, one: Chained, trouble: &Trouble, company: bool, chained: bool) {
        let by_itself = company && trouble.kind() == TroubleKind::Statement;
        let hopeless = !(trouble.passes() || by_itself);
        let now = Instant::now();
        match one {
            Chained::Claim(mut claiming) => {
                claiming.uncertain |= trouble.certainty() == Certainty::Unknown;
                claiming.alone |= trouble.kind() == TroubleKind::Statement;
                if hopeless || claiming.until <= now {
                    self.refuse_claim(claiming, trouble);
                } else if chained {
                    self.queue.again(Step::Chained(Chained::Claim(claiming)));
                } else {
                    self.queue.again(Step::Claim(claiming));
                }
            }
            Chained::Settle(mut settling) => {
                settling.alone |= trouble.kind() == TroubleKind::Statement;
                let is_final = trouble.kind() == TroubleKind::Statement || settling.since.elapsed() >= PERSON;
                if hopeless && is_final {
                    settling.answer(Settled::Unsettled(self.say(trouble)));
                }
                // What was told to be unsettled is still better on record late than never.
                if hopeless && trouble.kind() == TroubleKind::Statement {
                    self.ended(&settling.request.attempt);
                    self.queue.done(&settling.request.digest, None);
                } else if chained {
                    self.queue.again(Step::Chained(Chained::Settle(settling)));
                } else {
                    self.queue.again(Step::Settle(settling));
                }
            }
            Chained::Release(digest, _) if hopeless && trouble.kind() == TroubleKind::Statement => {
                tracing::error!(%trouble, "a claim whose commit was in question stays pending until this process ends");
                self.queue.done(&digest, None);
            }
            Chained::Release(digest, attempt) => self.queue.again(Step::Chained(Chained::Release(digest, attempt))),
            Chained::Note(noting) if hopeless || noting.until <= now => self.refuse(Chained::Note(noting), trouble),
            // Its ticket resolves to "unknown".
            Chained::Audit(_) if hopeless => {}
            Chained::Note(_) | Chained::Audit(_) => self.queue.again(Step::Chained(one)),
        }
    }

    fn say(&self, trouble: &Trouble) -> String {
        format!("the ledger at {}: {trouble}", self.room.target.shown())
    }

    fn refuse_claim(&mut self, claiming: Box<Claiming>, trouble: &Trouble) {
        let Claiming { request, reply, uncertain, .. } = *claiming;
        let what = format!("the ledger at {} can't take the claim", self.room.target.shown());
        // Invariant 3 of the store.
        let release = uncertain.then_some(Step::Chained(Chained::Release(request.digest, request.attempt)));
        self.queue.done(&request.digest, release);
        reply.send(Claimed::Refuse(trouble.refuse(&request.action, &what)));
    }

    /// A claim or a note whose claim is its own.
    fn refuse(&mut self, one: Chained, trouble: &Trouble) {
        match one {
            Chained::Claim(claiming) => self.refuse_claim(claiming, trouble),
            Chained::Note(noting) => {
                let what = format!("the ledger at {} can't take the note", self.room.target.shown());
                self.queue.done(&noting.request.digest, None);
                noting.reply.send(Err(trouble.refuse(&noting.request.action, &what)));
            }
            Chained::Settle(_) | Chained::Audit(_) | Chained::Release(..) => {}
        }
    }

    /// Refuses what can't wait any longer, and tells those whose settlement takes too long.
    pub(super) fn sweep(&mut self, now: Instant) {
        if self.queue.is_idle() {
            return;
        }
        let slow = || Trouble::new(TroubleKind::Busy, "it has not come to it in time");
        let trouble = self.trouble.clone().unwrap_or_else(slow);
        for (step, own) in self.queue.take_overdue(now) {
            match step {
                Step::Claim(claiming) | Step::Chained(Chained::Claim(claiming)) if own => {
                    self.refuse_claim(claiming, &trouble);
                }
                // Nothing has been done for it, and others are before it.
                Step::Claim(claiming) | Step::Chained(Chained::Claim(claiming)) => {
                    let what = format!("the ledger at {} can't take the claim", self.room.target.shown());
                    claiming.reply.send(Claimed::Refuse(trouble.refuse(&claiming.request.action, &what)));
                }
                Step::Chained(Chained::Note(noting)) if own => self.refuse(Chained::Note(noting), &trouble),
                Step::Chained(Chained::Note(noting)) => {
                    let what = format!("the ledger at {} can't take the note", self.room.target.shown());
                    noting.reply.send(Err(trouble.refuse(&noting.request.action, &what)));
                }
                Step::Settle(_) | Step::Chained(_) => {}
            }
        }
        let (longest, said) = (self.room.limits.settle, self.say(&trouble));
        for settling in self.queue.waiting_settles() {
            if settling.since.elapsed() >= longest {
                settling.answer(Settled::Unsettled(said.clone()));
            }
        }
    }

    pub(super) fn look_at_drains(&mut self, now: Instant) {
        let is_written = self.queue.is_idle() && self.lanes[REST].is_some();
        if self.running.is_empty() && is_written {
            for drain in self.drains.drain(..) {
                drain.reply.send(true);
            }
        }
        for i in (0..self.drains.len()).rev() {
            if self.drains[i].until <= now {
                self.drains.swap_remove(i).reply.send(false);
            }
        }
    }
}

/// A waiter's claim is asked about once more.
fn ask_again(queue: &mut super::super::queue::Queue, mut claiming: Box<Claiming>, longest: Duration) {
    claiming.until = Instant::now() + longest;
    queue.push(Step::Claim(claiming));
}
