//! What the writer does beside its batches: refuse, look after who waits, drain.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::super::super::{Claimed, Settled, TaskAnswer};
use super::super::queue::{Op, Settling};
use super::super::spill::{Spill, is_worth};
use super::{RETRY, Writer};
use crate::sqlite::{Flush, OwnerId, Trouble, TroubleKind, holder};

/// A settlement whose caller was told that it is unsettled is tried again this soon, for as long as the process lives, …
const RETRY_LATER: Duration = Duration::from_millis(500);

/// … if there are not more of them than this.
const UNSETTLED: usize = 10_000;

impl Writer {
    /// Tells every caller why not; settlements are tried again for a while.
    pub(super) fn refuse(&mut self, ops: Vec<Op>, trouble: &Trouble) {
        let place = self.shared.place.shown();
        let mut ops = ops;
        if trouble.kind() != TroubleKind::Statement {
            self.spill(&mut ops);
        }
        for op in ops {
            match op {
                Op::Claim(claiming) => {
                    let what = format!("the ledger at {place} can't take the claim");
                    claiming.reply.send(Claimed::Refuse(trouble.refuse(&claiming.request.action, &what)));
                }
                Op::Settle(mut settling) => {
                    let hopeless = trouble.kind() == TroubleKind::Statement;
                    if hopeless || settling.since.elapsed() >= self.patience(trouble.kind()) {
                        let kept = if settling.spilled { "; it is kept beside it, to be recorded later" } else { "" };
                        settling.answer(Settled::Unsettled(format!("the ledger at {place}: {trouble}{kept}")));
                    }
                    // What was told to be unsettled is still better on record late than never.
                    if !hopeless && (settling.reply.is_some() || self.deferred.len() < UNSETTLED) {
                        self.retry_after(if settling.reply.is_some() { RETRY } else { RETRY_LATER });
                        self.deferred.push(*settling);
                    }
                }
                Op::Note(noting) => {
                    let what = format!("the ledger at {place} can't take the note");
                    noting.reply.send(Err(trouble.refuse(&noting.request.action, &what)));
                }
                Op::Task(tasking) => {
                    let what = format!("the ledger at {place} can't keep the task");
                    let refused = trouble.refuse(tasking.request.id(), &what);
                    tasking.reply.send(TaskAnswer::Refused(refused));
                }
                // Their tickets resolve to "unknown".
                Op::Audit(_) | Op::Drain(_) => {}
            }
        }
    }

    /// Is there anything to bring in?
    pub(super) fn has_spilled(&self) -> bool {
        self.spill.as_ref().is_some_and(Spill::is_used)
    }

    /// Keeps what has happened, in case this process ends before the ledger can be written.
    fn spill(&self, ops: &mut [Op]) {
        let settlements = ops.iter_mut().filter_map(|op| match op {
            Op::Settle(settling) => Some(settling),
            Op::Claim(_) | Op::Note(_) | Op::Task(_) | Op::Audit(_) | Op::Drain(_) => None,
        });
        let worth = |settling: &&mut Box<Settling>| !settling.spilled && is_worth(&settling.request.settlement);
        let mut settling: Vec<_> = settlements.filter(worth).collect();
        let Some(spill) = self.spill.as_ref().filter(|_| !settling.is_empty()) else { return };
        let requests: Vec<_> = settling.iter().map(|settling| &settling.request).collect();
        match spill.append(&requests) {
            Ok(taken) => {
                for (settling, taken) in settling.iter_mut().zip(taken) {
                    settling.spilled = taken;
                }
            }
            Err(error) => {
                tracing::error!(%error, path = %spill.path().display(), "what the ledger can't record can't be kept beside it either");
            }
        }
    }

    fn patience(&self, kind: TroubleKind) -> Duration {
        let longest = self.shared.limits.settle;
        // A lock is given up sooner or later; a full disk or a lost file takes a person.
        if kind == TroubleKind::Busy { longest } else { longest.min(Duration::from_secs(2)) }
    }

    pub(super) fn look_at_parked(&mut self) {
        self.parked.expire();
        if !self.parked.is_due() {
            return;
        }
        let Some(database) = &self.database else { return };
        let (Ok(connection), Some(own)) = (database.connection(), self.owner) else { return };
        let side = database.side().map(|side| &**side);
        let version = data_version(connection);
        let changed = version != self.parked.version;
        self.parked.version = version;
        // Without a change in the file, only a death can have changed anything.
        let mut dead: HashMap<OwnerId, bool> = HashMap::new();
        let again = self.parked.take_if(|owner| {
            changed
                || (owner != own
                    && *dead.entry(owner).or_insert_with(|| {
                        let holder = holder(connection, side, owner);
                        !matches!(holder, Ok(Some(holder)) if holder.alive)
                    }))
        });
        self.shared.put_back(again.into_iter());
    }

    pub(super) fn look_at_drains(&mut self) {
        if self.drains.is_empty() {
            return;
        }
        let settled =
            self.running.is_empty() && self.deferred.is_empty() && self.unsure.is_empty() && self.shared.is_idle();
        if settled && (!self.unflushed || self.flush()) {
            for drain in self.drains.drain(..) {
                drain.reply.send(true);
            }
        }
        let now = Instant::now();
        for i in (0..self.drains.len()).rev() {
            if self.drains[i].until <= now {
                self.drains.swap_remove(i).reply.send(false);
            }
        }
    }

    /// Flushes what was committed without a flush.
    fn flush(&mut self) -> bool {
        let Some(database) = &mut self.database else { return false };
        let until = Instant::now() + RETRY;
        let flushed = database.write(until, Flush::Disk, |connection| {
            connection.execute("UPDATE meta SET commit_seq = commit_seq + 1", [])?;
            Ok(())
        });
        self.unflushed = flushed.is_err();
        !self.unflushed
    }
}

/// Changes whenever another connection has committed.
fn data_version(connection: &Connection) -> Option<i64> {
    connection.prepare_cached("PRAGMA data_version").ok()?.query_row([], |row| row.get(0)).ok()
}
