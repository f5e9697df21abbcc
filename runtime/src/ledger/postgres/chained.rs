//! Transactions of several statements: whatever leaves an event, and what the hot path could not decide.
//!
//! They lock the row, ask the rules, and write what these say, with the event in the chain of this process's owner. One at a
//! time, so that the chain has one writer.

use serde_json::json;
use tokio_postgres::types::Type;
use tokio_postgres::{IsolationLevel, Transaction};

use super::super::chain::{Entry, link};
use super::super::holder::OwnerId;
use super::super::rules::{self, OnClaim, OnSettle, State};
use super::super::{Attempt, ClaimRequest, Claimed, Digest, SettleRequest, Settled, Settlement, messages};
use super::lane::{Answer, Parameter, Room, answer_to};
use super::queue::Chained;
use super::rows::{Row, Written, bytes, evidence, text};
use super::session::Session;
use super::sql;
use super::trouble::{Trouble, TroubleKind};
use crate::clock::millis;

/// What became of one of them.
#[derive(Debug)]
pub(super) enum Outcome {
    Claim(Answer),
    Settled(Settled),
    /// An audit record or a release: done.
    Done,
}

/// All of them in one transaction.
pub(super) async fn run(session: &mut Session, room: &Room, batch: &[Chained]) -> Result<Vec<Outcome>, Trouble> {
    let Some(owner) = room.owner.get() else {
        return Err(Trouble::new(TroubleKind::Conflicting, "this process has no lease"));
    };
    // Before the transaction: an action that is made is made for good.
    for one in batch {
        if let Chained::Claim(claiming) = one {
            room.action(session, &claiming.request).await?;
        }
    }
    let transaction = session.client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    if batch.iter().all(|one| matches!(one, Chained::Audit(_))) {
        // It survives the end of this process; a record is never flushed for itself.
        transaction.batch_execute("SET LOCAL synchronous_commit = off").await?;
    }
    let mut desk = Desk { chain: Chain::of(&transaction, owner).await?, transaction, room, owner };
    // In the order of their digests: two such transactions wait for each other in one direction only.
    let mut order: Vec<usize> = (0..batch.len()).collect();
    order.sort_by_key(|&i| batch[i].digest());
    let mut outcomes: Vec<Option<Outcome>> = batch.iter().map(|_| None).collect();
    for i in order {
        outcomes[i] = Some(desk.one(&batch[i]).await?);
    }
    // Whatever is heard from here on that is no success may have been one.
    desk.transaction.commit().await.map_err(Trouble::from)?;
    Ok(outcomes.into_iter().flatten().collect())
}

struct Desk<'a> {
    transaction: Transaction<'a>,
    room: &'a Room,
    owner: OwnerId,
    chain: Chain,
}

/// The end of an owner's chain.
struct Chain {
    owner: OwnerId,
    seq: i64,
    hash: [u8; 32],
    now_ms: i64,
}

impl Chain {
    async fn of(transaction: &Transaction<'_>, owner: OwnerId) -> Result<Self, Trouble> {
        let rows = transaction.query_typed(sql::LAST_EVENT, &[(&owner.0, Type::INT8)]).await?;
        let row = rows.first().ok_or_else(|| Trouble::new(TroubleKind::Statement, "the server has no clock"))?;
        let seq: Option<i64> = row.try_get(0)?;
        let hash = if seq.is_some() { bytes(row, 1)? } else { [0; 32] };
        Ok(Chain { owner, seq: seq.unwrap_or(0), hash, now_ms: row.try_get(2)? })
    }
}

impl Desk<'_> {
    async fn one(&mut self, one: &Chained) -> Result<Outcome, Trouble> {
        match one {
            Chained::Claim(claiming) => self.claim(&claiming.request).await.map(Outcome::Claim),
            Chained::Settle(settling) => self.settle(&settling.request).await.map(Outcome::Settled),
            Chained::Release(digest, attempt) => self.release(digest, *attempt).await.map(|()| Outcome::Done),
            Chained::Audit(auditing) => {
                let record = &auditing.record;
                let (actor, action) = (text(&record.actor), text(&record.action));
                let entry = Entry {
                    at_ms: millis(record.at),
                    kind: record.kind,
                    actor: &actor,
                    action: &action,
                    digest: None,
                    epoch: None,
                    detail: &record.detail.to_string(),
                };
                self.append(&entry).await.map(|()| Outcome::Done)
            }
        }
    }

    async fn locked(&self, digest: &Digest) -> Result<Option<Row>, Trouble> {
        let digest = digest.0.as_slice();
        let rows = self.transaction.query_typed(sql::LOCK, &[(&digest, Type::BYTEA)]).await?;
        rows.first().map(Row::read).transpose()
    }

    async fn claim(&mut self, request: &ClaimRequest) -> Result<Answer, Trouble> {
        // A row that has gone since is the hot path's again.
        let Some(row) = self.locked(&request.digest).await? else { return Ok(Answer::Again) };
        let stored = row.stored(Some(self.owner))?;
        match rules::claim(Some(stored), request.fingerprint, request.attempt, row.now_ms) {
            OnClaim::Start { epoch } => {
                let digest = request.digest.0.as_slice();
                let retain = request.retain.map(|retain| i64::try_from(retain.as_millis()).unwrap_or(i64::MAX));
                let next = epoch.cast_signed();
                let values: [Parameter<'_>; 5] = [
                    (&digest, Type::BYTEA),
                    (&next, Type::INT8),
                    (&request.attempt.0, Type::UUID),
                    (&self.owner.0, Type::INT8),
                    (&retain, Type::INT8),
                ];
                match self.transaction.execute_typed(sql::START_AGAIN, &values).await? {
                    1 => Ok(Answer::Claimed(Claimed::Run { epoch })),
                    _ => Ok(Answer::Again),
                }
            }
            OnClaim::Orphaned => {
                let why = "its process ended, or lost its lease, before the outcome was on record";
                self.write(&request.digest, &Settlement::InDoubt(why)).await?;
                let holder = row.holder.clone();
                let detail = json!({
                    "ended": why,
                    "owner": holder.as_ref().map(|holder| holder.id.0),
                    "pid": holder.as_ref().map(|holder| holder.pid),
                });
                self.event("owner_dead", &request.digest, messages::Standing::epoch(&row), &detail).await?;
                let row = Row { ended: Some(why.to_owned()), ..row };
                Ok(Answer::Claimed(Claimed::Refuse(messages::in_doubt(request, &row, holder.as_ref()))))
            }
            OnClaim::Granted { .. }
            | OnClaim::Replay(_)
            | OnClaim::ReplayError(_)
            | OnClaim::InFlight
            | OnClaim::Refuse(_) => answer_to(request, &row, Some(self.owner), self.room.limits.receipt),
        }
    }

    async fn settle(&mut self, request: &SettleRequest) -> Result<Settled, Trouble> {
        let row = self.locked(&request.digest).await?;
        let stored = row.as_ref().map(Row::standing);
        match rules::settle(stored, request.epoch, request.attempt, &request.settlement) {
            OnSettle::Apply { to: _, event } => {
                self.write(&request.digest, &request.settlement).await?;
                if let Some(kind) = event {
                    let detail = evidence(&request.settlement, false);
                    self.event(kind, &request.digest, request.epoch, &detail).await?;
                }
                Ok(Settled::Recorded)
            }
            OnSettle::Already => Ok(Settled::Recorded),
            OnSettle::Fenced => {
                let detail = evidence(&request.settlement, true);
                self.event("fenced", &request.digest, request.epoch, &detail).await?;
                Ok(Settled::Fenced)
            }
            OnSettle::Unknown => Ok(Settled::Unsettled(
                "the ledger knows no such claim: it is not the ledger that granted it".to_owned(),
            )),
        }
    }

    async fn release(&mut self, digest: &Digest, attempt: Attempt) -> Result<(), Trouble> {
        match self.locked(digest).await?.as_ref().map(Row::standing) {
            Some((State::Pending, epoch, stored)) if stored == attempt => {
                let settlement = Settlement::Released("the claim's commit was in question, and the body was not run");
                self.settle(&SettleRequest { digest: *digest, epoch, attempt, settlement }).await.map(|_| ())
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn write(&self, digest: &Digest, settlement: &Settlement) -> Result<(), Trouble> {
        let written = Written::of(settlement);
        let digest = digest.0.as_slice();
        let values: [Parameter<'_>; 5] = [
            (&digest, Type::BYTEA),
            (&written.state, Type::INT2),
            (&written.loss, Type::INT2),
            (&written.receipt, Type::BYTEA),
            (&written.ended, Type::TEXT),
        ];
        self.transaction.execute_typed(sql::SETTLE, &values).await?;
        Ok(())
    }

    async fn event(
        &mut self,
        kind: &str,
        digest: &Digest,
        epoch: u64,
        detail: &serde_json::Value,
    ) -> Result<(), Trouble> {
        let shown = digest.0.as_slice();
        let rows = self.transaction.query_typed(sql::ACTION_OF, &[(&shown, Type::BYTEA)]).await?;
        let action: String = rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
        let entry = Entry {
            at_ms: self.chain.now_ms,
            kind,
            actor: "portcullis",
            action: &action,
            digest: Some(&digest.0),
            epoch: Some(epoch.cast_signed()),
            detail: &detail.to_string(),
        };
        self.append(&entry).await
    }

    async fn append(&mut self, entry: &Entry<'_>) -> Result<(), Trouble> {
        let chain = &mut self.chain;
        let seq = chain.seq + 1;
        let hash = link(&chain.hash, chain.owner, seq, entry);
        let (digest, shown) = (entry.digest.map(|digest| digest.as_slice()), hash.as_slice());
        let values: [Parameter<'_>; 10] = [
            (&chain.owner.0, Type::INT8),
            (&seq, Type::INT8),
            (&entry.at_ms, Type::INT8),
            (&entry.kind, Type::TEXT),
            (&entry.actor, Type::TEXT),
            (&entry.action, Type::TEXT),
            (&digest, Type::BYTEA),
            (&entry.epoch, Type::INT8),
            (&entry.detail, Type::TEXT),
            (&shown, Type::BYTEA),
        ];
        self.transaction.execute_typed(sql::APPEND, &values).await?;
        (chain.seq, chain.hash) = (seq, hash);
        Ok(())
    }
}
