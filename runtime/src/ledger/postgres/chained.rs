//! Transactions of several statements: whatever leaves an event, and what the hot path could not decide.
//!
//! They lock the row, ask the rules, and write what these say, with the event in the chain of this process's owner. One at a
//! time, so that the chain has one writer. What another transaction is at is left for later: it may be a user's own, which has
//! [settled](super::inside) and takes its time to commit.

use std::collections::HashSet;

use serde_json::json;
use tokio_postgres::IsolationLevel;
use tokio_postgres::types::Type;

use super::super::row::{Outcome as Written, Row};
use super::super::rules::{self, By, OnClaim, OnReassert, OnResolve, OnSettle, State};
use super::super::{
    Attempt, ClaimRequest, Claimed, Digest, Evidence, NoteRequest, Resolution, SettleRequest, Settled, Settlement,
    Verdict, events,
};
use super::desk::Desk;
use super::hot::{Answer, asking, plain_answer};
use super::queue::Chained;
use super::room::{Action, Parameter, Room};
use super::rows::{Seen, bytes, retain_ms, text};
use super::session::Session;
use super::sql;
use super::trouble::{Trouble, TroubleKind};
use crate::clock::{millis, time};

/// What became of one of them.
#[derive(Debug)]
pub(super) enum Outcome {
    Claim(Answer),
    Settled(Settled),
    /// A note, an audit record or a release: done.
    Done,
    /// Nothing was done: another transaction is at the claim.
    Held,
}

/// All of them in one transaction.
pub(super) async fn run(session: &mut Session, room: &Room, batch: &[Chained]) -> Result<Vec<Outcome>, Trouble> {
    let Some(owner) = room.owner.get() else {
        return Err(Trouble::new(TroubleKind::Conflicting, "this process has no lease"));
    };
    let committed = committed(session, batch).await?;
    let is_done = |one: &Chained| one.digest().is_some_and(|digest| committed.contains(&digest));
    if batch.iter().all(is_done) {
        return Ok(batch.iter().map(|_| Outcome::Settled(Settled::Recorded)).collect());
    }
    // Before the transaction: an action that is made is made for good.
    let mut actions = Vec::with_capacity(batch.len());
    for one in batch {
        actions.push(match one {
            Chained::Claim(claiming) => Some(room.action(session, &claiming.request).await?),
            Chained::Settle(settling) => match &settling.grant {
                Some(grant) => Some(room.action(session, &grant.request).await?),
                None => None,
            },
            Chained::Note(_) | Chained::Audit(_) | Chained::Release(..) => None,
        });
    }
    let transaction = session.client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    if batch.iter().all(|one| matches!(one, Chained::Audit(_))) {
        // It survives the end of this process; a record is never flushed for itself.
        transaction.batch_execute("SET LOCAL synchronous_commit = off").await?;
    }
    let mut desk = Desk::open(transaction, owner).await?;
    // In the order of their digests: two such transactions wait for each other in one direction only.
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_by_key(|&i| batch[i].digest());
    let mut outcomes: Vec<Option<Outcome>> = batch.iter().map(|_| None).collect();
    // Nobody waits for a transaction of somebody else's, which may take any time.
    let changed = batch.iter().filter(|one| !matches!(one, Chained::Note(_)) && !is_done(one));
    let digests: Vec<Digest> = changed.filter_map(Chained::digest).collect();
    let held = desk.held(&digests).await?;
    let mut written_again = Vec::new();
    for i in order {
        outcomes[i] = Some(match batch[i].digest() {
            Some(digest) if committed.contains(&digest) => Outcome::Settled(Settled::Recorded),
            Some(digest) if held.contains(&digest) => Outcome::Held,
            Some(_) | None => {
                let action = actions[i].as_deref();
                if let (Chained::Settle(settling), Some(action)) = (&batch[i], action)
                    && let Some(grant) = &settling.grant
                    // A server that took over may lack the claim itself.
                    && desk.reassert(grant, action).await? == OnReassert::Write
                {
                    written_again.push(grant);
                }
                desk.one(&batch[i], action).await?
            }
        });
    }
    desk.commit().await?;
    written_again.into_iter().for_each(|grant| grant.was_written_again(room));
    Ok(outcomes.into_iter().flatten().collect())
}

/// The settlements that say what is on record already: those of bodies that have [settled](super::inside) in a transaction of their
/// own. One look, where a transaction would write nothing.
async fn committed(session: &Session, batch: &[Chained]) -> Result<HashSet<Digest>, Trouble> {
    let (mut digests, mut epochs, mut attempts) = (Vec::new(), Vec::new(), Vec::new());
    for one in batch {
        if let Chained::Settle(settling) = one
            && let SettleRequest { digest, epoch, attempt, settlement: Settlement::Committed(_), .. } =
                &settling.request
        {
            digests.push(digest.0.as_slice());
            epochs.push(epoch.cast_signed());
            attempts.push(attempt.0);
        }
    }
    if digests.is_empty() {
        return Ok(HashSet::new());
    }
    let values: [Parameter<'_>; 3] =
        [(&digests, Type::BYTEA_ARRAY), (&epochs, Type::INT8_ARRAY), (&attempts, Type::UUID_ARRAY)];
    let rows = session.client.query_typed(sql::COMMITTED, &values).await?;
    rows.iter().map(|row| bytes(row, 0).map(Digest)).collect()
}

impl Desk<'_> {
    async fn one(&mut self, one: &Chained, action: Option<&Action>) -> Result<Outcome, Trouble> {
        match (one, action) {
            (Chained::Claim(claiming), Some(action)) => self.claim(&claiming.request, action).await.map(Outcome::Claim),
            (Chained::Claim(_), None) => Err(Trouble::new(TroubleKind::Statement, "a claim has no action")),
            (Chained::Settle(settling), _) => self.settle(&settling.request).await.map(Outcome::Settled),
            (Chained::Release(digest, attempt), _) => self.release(digest, *attempt).await.map(|()| Outcome::Done),
            (Chained::Note(noting), _) => self.note(&noting.request).await.map(|()| Outcome::Done),
            (Chained::Audit(auditing), _) => {
                let record = &auditing.record;
                let (actor, action, detail) = (&record.actor, &record.action, record.detail.to_string());
                self.append(millis(record.at), record.kind, actor, action, None, &detail).await.map(|()| Outcome::Done)
            }
        }
    }

    async fn claim(&mut self, request: &ClaimRequest, action: &Action) -> Result<Answer, Trouble> {
        if let Some(refused) = action.ambiguous(request) {
            return Ok(Answer::Claimed(refused));
        }
        if let Some(resolution) = &request.resolution {
            self.resolve(request, resolution).await?;
        }
        loop {
            let Some(seen) = self.locked(&request.digest).await? else {
                return match self.start(request, action).await? {
                    1 => Ok(Answer::Run { epoch: 1, first_ms: None }),
                    _ => Ok(Answer::Again),
                };
            };
            let row = &seen.row;
            match rules::claim(Some(seen.stored(self.owner)?), &asking(request), seen.now_ms) {
                OnClaim::Start { epoch } => return self.start_again(request, epoch, None).await,
                OnClaim::Again { epoch } => {
                    let first_ms = row.first_ms();
                    let answer = self.start_again(request, epoch, Some(first_ms)).await?;
                    if let Answer::Run { .. } = answer {
                        let detail = json!({ "within": "provider_window", "first_ms": first_ms, "ended": row.ended });
                        self.event("ran_again", &request.digest, epoch, &detail).await?;
                    }
                    return Ok(answer);
                }
                // Both lead to another state of the same row, about which is decided in the next round.
                OnClaim::Orphaned => self.lose_owner(request, &seen, State::InDoubt, "owner_dead").await?,
                OnClaim::RolledBack => self.lose_owner(request, &seen, State::Open, "rolled_back").await?,
                OnClaim::Reconcile => {
                    return Ok(Answer::Claimed(Claimed::Reconcile(Box::new(Evidence {
                        epoch: row.epoch,
                        attempt: row.attempt,
                        started_at: time(row.first_ms()),
                        ended: row.ended.clone(),
                        notes: self.notes(&request.digest).await?,
                    }))));
                }
                decided => {
                    return plain_answer(request, &seen, decided).ok_or_else(|| {
                        Trouble::new(TroubleKind::Statement, "a claim was to be answered before it was written")
                    });
                }
            }
        }
    }

    /// The first start of a claim; says whether it was written.
    async fn start(&self, request: &ClaimRequest, action: &Action) -> Result<u64, Trouble> {
        let (digest, fingerprint) = (request.digest.0.as_slice(), request.fingerprint.0.as_slice());
        let (key, retain) = (text(&request.key), retain_ms(request));
        let values: [Parameter<'_>; 8] = [
            (&digest, Type::BYTEA),
            (&action.id, Type::INT8),
            (&key, Type::TEXT),
            (&fingerprint, Type::BYTEA),
            (&request.attempt.0, Type::UUID),
            (&self.owner, Type::INT8),
            (&retain, Type::INT8),
            (&request.transactional, Type::BOOL),
        ];
        Ok(self.transaction.execute_typed(sql::CLAIM_LOOKING, &values).await?)
    }

    async fn start_again(&self, request: &ClaimRequest, epoch: u64, first_ms: Option<i64>) -> Result<Answer, Trouble> {
        let (digest, next, retain) = (request.digest.0.as_slice(), epoch.cast_signed(), retain_ms(request));
        let values: [Parameter<'_>; 7] = [
            (&digest, Type::BYTEA),
            (&next, Type::INT8),
            (&request.attempt.0, Type::UUID),
            (&self.owner, Type::INT8),
            (&retain, Type::INT8),
            (&first_ms, Type::INT8),
            (&request.transactional, Type::BOOL),
        ];
        match self.transaction.execute_typed(sql::START_AGAIN, &values).await? {
            1 => Ok(Answer::Run { epoch, first_ms }),
            _ => Ok(Answer::Again),
        }
    }

    /// Writes what the death of a pending claim's owner means.
    async fn lose_owner(
        &mut self,
        request: &ClaimRequest,
        seen: &Seen,
        to: State,
        event: &'static str,
    ) -> Result<(), Trouble> {
        let ended = events::OWNER_DIED;
        self.put(&request.digest, &Written::ended(to, ended)).await?;
        let pid = seen.holder.as_ref().map(|holder| holder.pid);
        let detail = json!({ "ended": ended, "owner": seen.row.owner, "pid": pid });
        self.event(event, &request.digest, seen.row.epoch, &detail).await
    }

    /// Applies what a reconcile function has found out, unless it comes too late. That it was asked for this payload is known:
    /// it was asked after the fingerprints were compared, and a claim's payload never changes.
    async fn resolve(&mut self, request: &ClaimRequest, resolution: &Resolution) -> Result<(), Trouble> {
        let seen = self.locked(&request.digest).await?;
        let decided = rules::resolve(seen.as_ref().map(|seen| seen.row.known()), resolution);
        let applied = match (decided, &seen) {
            (OnResolve::Apply { to }, Some(seen)) => {
                let outcome = match &resolution.verdict {
                    Verdict::Happened(receipt) => Written::committed(receipt, By::Reconciliation),
                    Verdict::DidNotHappen | Verdict::Unknown => {
                        Written { ended: seen.row.ended.as_deref(), ..Written::new(to, By::Reconciliation) }
                    }
                };
                self.put(&request.digest, &outcome).await?;
                true
            }
            (OnResolve::Unknown, _) => true,
            (OnResolve::Late, _) | (OnResolve::Apply { .. }, None) => false,
        };
        let detail = events::reconciliation(&resolution.verdict, applied);
        self.event("reconciled", &request.digest, resolution.epoch, &detail).await
    }

    async fn settle(&mut self, request: &SettleRequest) -> Result<Settled, Trouble> {
        let row = self.locked(&request.digest).await?.map(|seen| seen.row);
        let known = row.as_ref().map(Row::known);
        match rules::settle(known, request.epoch, request.attempt, &request.settlement) {
            OnSettle::Apply { to, event } => {
                self.put(&request.digest, &Written { state: to, ..Written::of(&request.settlement) }).await?;
                if let Some(kind) = event {
                    let detail = events::settlement(&request.settlement, false);
                    self.event(kind, &request.digest, request.epoch, &detail).await?;
                }
                Ok(Settled::Recorded)
            }
            OnSettle::Already => {
                // It was overdue, and has settled in a transaction since, which has no place in the chain.
                if row.is_some_and(|row| row.state == State::Committed && row.ended.is_some()) {
                    let digest = request.digest.0.as_slice();
                    self.transaction.execute_typed(sql::NOT_OVERDUE, &[(&digest, Type::BYTEA)]).await?;
                    let detail = json!({ "settlement": "committed", "in_transaction": true });
                    self.event("settled_late", &request.digest, request.epoch, &detail).await?;
                }
                Ok(Settled::Recorded)
            }
            OnSettle::Fenced => {
                let detail = events::settlement(&request.settlement, true);
                self.event("fenced", &request.digest, request.epoch, &detail).await?;
                Ok(Settled::Fenced)
            }
            OnSettle::OutsideTransaction => {
                let ended = events::OUTSIDE_TRANSACTION;
                self.put(&request.digest, &Written::ended(State::InDoubt, ended)).await?;
                let detail = events::settlement(&request.settlement, true);
                self.event("outside_transaction", &request.digest, request.epoch, &detail).await?;
                Ok(Settled::Unsettled(format!("{ended}: call `claim.settle_in(&tx, …)` before `tx.commit()`")))
            }
            OnSettle::Unknown => Ok(Settled::Unsettled(
                "the ledger knows no such claim: it is not the ledger that granted it".to_owned(),
            )),
        }
    }

    async fn release(&mut self, digest: &Digest, attempt: Attempt) -> Result<(), Trouble> {
        match self.locked(digest).await?.map(|seen| seen.row.known()) {
            Some(known) if known.state == State::Pending && known.attempt == attempt => {
                let settlement = Settlement::Released("the claim's commit was in question, and the body was not run");
                let request = SettleRequest { digest: *digest, epoch: known.epoch, attempt, settlement, lazy: false };
                self.settle(&request).await.map(|_| ())
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn note(&self, request: &NoteRequest) -> Result<(), Trouble> {
        let (digest, epoch) = (request.digest.0.as_slice(), request.epoch.cast_signed());
        let values: [Parameter<'_>; 3] = [(&digest, Type::BYTEA), (&epoch, Type::INT8), (&request.note, Type::BYTEA)];
        self.transaction.execute_typed(sql::ADD_NOTE, &values).await?;
        Ok(())
    }

    pub(super) async fn event(
        &mut self,
        kind: &str,
        digest: &Digest,
        epoch: u64,
        detail: &serde_json::Value,
    ) -> Result<(), Trouble> {
        let shown = digest.0.as_slice();
        let rows = self.transaction.query_typed(sql::ACTION_OF, &[(&shown, Type::BYTEA)]).await?;
        let action: String = rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
        let (now_ms, about) = (self.now_ms(), Some((digest, epoch)));
        self.append(now_ms, kind, "portcullis", &action, about, &detail.to_string()).await
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::super::rules::Known;
    use super::super::super::{Kept, Receipt};
    use super::*;

    #[test]
    fn the_rules_find_nothing_new_in_what_is_committed_by_its_own_attempt() {
        let attempt = Attempt(Uuid::from_u128(7));
        let kept = Kept { text: "1".into(), sealed: false };
        for bits in 0..4_u8 {
            let [transactional, earlier_doubt] = [1, 2].map(|bit| bits & bit != 0);
            let (state, by, running) = (State::Committed, By::Attempt, false);
            let known = Known { state, epoch: 3, attempt, running, by, transactional, earlier_doubt };
            let decided = rules::settle(Some(known), 3, attempt, &Settlement::Committed(Receipt::Kept(kept.clone())));
            assert_eq!(decided, OnSettle::Already);
        }
    }
}
