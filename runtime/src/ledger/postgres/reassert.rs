//! Claims of bodies that run, looked for in a ledger that may have lost them.
//!
//! A standby that was not waited for may lack the last of what its primary had acknowledged, and takes its place all the same.
//! So after every new connection, and before anything else is granted, the claims that this process was granted and has not settled
//! are looked up; those that are missing are written again. A settlement does the same for its own claim.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use tokio_postgres::IsolationLevel;
use tokio_postgres::types::Type;

use super::super::row::Row;
use super::super::rules::{self, OnReassert};
use super::super::{ClaimRequest, Digest};
use super::desk::Desk;
use super::hot;
use super::queue::Claiming;
use super::room::{Action, Parameter, Room};
use super::rows::{retain_ms, text};
use super::session::Session;
use super::sql;
use super::trouble::{Trouble, TroubleKind};

/// A claim that was granted here and is not settled yet: what it takes to write it again.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) request: ClaimRequest,
    epoch: u64,
    /// When the first of the starts whose outcome is unknown began, if that was not this one.
    first_ms: Option<i64>,
    /// Not after it was granted.
    since: Instant,
}

impl Grant {
    pub(super) fn new(claiming: &Claiming, longest: std::time::Duration, epoch: u64, first_ms: Option<i64>) -> Self {
        let request = ClaimRequest { resolution: None, ..claiming.request.clone() };
        let now = Instant::now();
        Grant { request, epoch, first_ms, since: claiming.until.checked_sub(longest).unwrap_or(now).min(now) }
    }

    pub(super) fn was_written_again(&self, room: &Room) {
        tracing::warn!(
            ledger = room.target.shown(),
            action = self.request.action,
            key = self.request.key,
            "the ledger has lost a claim that it had acknowledged, and its body runs here: it is on record again; another process may \
             have run it meanwhile"
        );
    }

    fn was_overtaken(&self, room: &Room) {
        tracing::error!(
            ledger = room.target.shown(),
            action = self.request.action,
            key = self.request.key,
            "the ledger has lost a claim that it had acknowledged, and granted it to somebody else while its body runs here: its \
             effect may happen twice; what comes of it here is kept as evidence"
        );
    }
}

/// What a new connection has shown.
pub(super) struct Findings {
    /// These claims are not on record as they were granted.
    pub(super) lost: Vec<Arc<Grant>>,
    /// This process's row in `owner` is there, and is its own.
    pub(super) is_enrolled: bool,
}

/// Of each claim the latest start.
pub(super) fn latest<'a>(grants: impl Iterator<Item = &'a Arc<Grant>>) -> Vec<Arc<Grant>> {
    let mut latest: HashMap<Digest, &Arc<Grant>> = HashMap::new();
    for grant in grants {
        let known = latest.entry(grant.request.digest).or_insert(grant);
        if known.epoch < grant.epoch {
            *known = grant;
        }
    }
    latest.into_values().cloned().collect()
}

/// Which of these are lost? Writes nothing.
pub(super) async fn check(session: &Session, room: &Room, grants: &[Arc<Grant>]) -> Result<Findings, Trouble> {
    let digests: Vec<Digest> = grants.iter().map(|grant| grant.request.digest).collect();
    let (is_enrolled, seen) =
        futures_util::future::try_join(is_enrolled(session, room), hot::read(session, &digests)).await?;
    let stands = |grant: &&Arc<Grant>| {
        let known = seen.get(&grant.request.digest).map(|seen| seen.row.known());
        rules::reassert(known, grant.epoch, grant.request.attempt) == OnReassert::Stands
    };
    let lost = grants.iter().filter(|grant| !stands(grant)).cloned().collect();
    Ok(Findings { lost, is_enrolled })
}

async fn is_enrolled(session: &Session, room: &Room) -> Result<bool, Trouble> {
    let Some(lease) = room.lease.get() else { return Ok(true) };
    let values: [Parameter<'_>; 2] = [(&lease.owner, Type::INT8), (&lease.since_ms, Type::INT8)];
    let rows = session.client.query_typed(sql::IS_OURS, &values).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false))
}

/// Writes those again that are lost, in one transaction.
pub(super) async fn run(session: &mut Session, room: &Room, grants: &[Arc<Grant>]) -> Result<Vec<OnReassert>, Trouble> {
    let Some(owner) = room.owner.get() else {
        return Err(Trouble::new(TroubleKind::Conflicting, "this process has no lease"));
    };
    // Before the transaction: an action that is made is made for good.
    let mut actions = Vec::with_capacity(grants.len());
    for grant in grants {
        actions.push(room.action(session, &grant.request).await?);
    }
    let transaction = session.client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    let mut desk = Desk::open(transaction, owner).await?;
    let digests: Vec<Digest> = grants.iter().map(|grant| grant.request.digest).collect();
    // A transaction that takes its time is at a claim that is there.
    let held = desk.held(&digests).await?;
    let mut order: Vec<usize> = (0..grants.len()).collect();
    order.sort_by_key(|&i| digests[i]);
    let mut decided = vec![OnReassert::Overtaken; grants.len()];
    for i in order {
        if !held.contains(&digests[i]) {
            decided[i] = desk.reassert(&grants[i], &actions[i]).await?;
        }
        if decided[i] == OnReassert::Overtaken {
            let detail =
                json!({ "attempt": grants[i].request.attempt.0.to_string(), "why": "another_start_is_on_record" });
            desk.event("overtaken", &digests[i], grants[i].epoch, &detail).await?;
        }
    }
    desk.commit().await?;
    for (grant, decided) in grants.iter().zip(&decided) {
        match decided {
            OnReassert::Stands => {}
            OnReassert::Write => grant.was_written_again(room),
            OnReassert::Overtaken => grant.was_overtaken(room),
        }
    }
    Ok(decided)
}

impl Desk<'_> {
    /// Writes a claim again if it is lost, with an event.
    pub(super) async fn reassert(&mut self, grant: &Grant, action: &Action) -> Result<OnReassert, Trouble> {
        loop {
            let row = self.locked(&grant.request.digest).await?.map(|seen| seen.row);
            let decided = rules::reassert(row.as_ref().map(Row::known), grant.epoch, grant.request.attempt);
            if decided != OnReassert::Write {
                return Ok(decided);
            }
            // If somebody was faster, that is to be decided about.
            if self.write_again(grant, action).await? == 1 {
                let detail =
                    json!({ "attempt": grant.request.attempt.0.to_string(), "found": row.map(|row| row.epoch) });
                self.event("reasserted", &grant.request.digest, grant.epoch, &detail).await?;
                return Ok(decided);
            }
        }
    }

    async fn write_again(&self, grant: &Grant, action: &Action) -> Result<u64, Trouble> {
        let request = &grant.request;
        let (digest, fingerprint) = (request.digest.0.as_slice(), request.fingerprint.0.as_slice());
        let (key, retain, epoch) = (text(&request.key), retain_ms(request), grant.epoch.cast_signed());
        let age = i64::try_from(grant.since.elapsed().as_millis()).unwrap_or(i64::MAX);
        let values: [Parameter<'_>; 11] = [
            (&digest, Type::BYTEA),
            (&action.id, Type::INT8),
            (&key, Type::TEXT),
            (&fingerprint, Type::BYTEA),
            (&epoch, Type::INT8),
            (&request.attempt.0, Type::UUID),
            (&self.owner, Type::INT8),
            (&age, Type::INT8),
            (&retain, Type::INT8),
            (&grant.first_ms, Type::INT8),
            (&request.transactional, Type::BOOL),
        ];
        Ok(self.transaction.execute_typed(sql::REASSERT, &values).await?)
    }
}
