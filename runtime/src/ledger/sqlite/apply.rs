//! One operation: read the row, ask the rules, write what they say.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;
use serde_json::json;

use super::super::rules::{self, Age, Asking, By, Life, Moment, OnAction, OnClaim, OnResolve, OnSettle, State, Why};
use super::super::{
    Attempt, ClaimRequest, Claimed, Digest, Evidence, Resolution, SettleRequest, Settled, Settlement, Verdict,
};
use super::super::{events, messages};
use super::queue::Op;
use super::rows::{self, Action, Circumstances, Found, Outcome, Row};
use super::spill::Spill;
use super::tasks;
use super::writer::{Answer, Waiting};
use crate::sqlite::{
    ChainEntry, Holder, OwnerId, Reached, SideFile, Trouble, TroubleKind, append, holder, millis, now_ms, origin_ms,
    time,
};

/// Actions by namespace and name, as they are on record: nobody ever changes them.
pub(super) type Actions = HashMap<String, HashMap<String, Arc<Action>>>;

const REMEMBERED: usize = 4096;

/// Where an operation is done.
pub(super) struct Context<'a> {
    pub(super) connection: &'a Connection,
    pub(super) side: Option<&'a SideFile>,
    /// This process.
    pub(super) owner: OwnerId,
    /// In a write transaction.
    pub(super) beside: Option<&'a Beside<'a>>,
}

/// What lies beside the file, and what a transaction means to it once it is committed.
#[derive(Debug, Default)]
pub(super) struct Beside<'a> {
    pub(super) spill: Option<&'a Spill>,
    /// How far the ledger had come before.
    pub(super) before: Reached,
    /// How far it has come in this transaction.
    pub(super) reached: Cell<Reached>,
    /// So much of the spill was brought in.
    pub(super) brought_in: Cell<Option<u64>>,
}

impl Context<'_> {
    fn holder(&self, owner: OwnerId) -> Result<Option<Holder>, Trouble> {
        Ok(holder(self.connection, self.side, owner)?)
    }

    /// Keeps how far the ledger has come with a start that was just written.
    fn started(&self, epoch: u64) -> Result<(), Trouble> {
        let Some(beside) = self.beside else { return Ok(()) };
        let mut reached = beside.reached.get();
        if epoch == 1 {
            reached.claims = self.connection.last_insert_rowid();
            // Rows are never deleted: this one had been given out.
            if reached.claims <= beside.before.claims {
                let what = "an older copy of it has been put in its place while it was open";
                return Err(Trouble::new(TroubleKind::RolledBack, what));
            }
        } else {
            let count = "UPDATE meta SET commit_seq = commit_seq + 1 RETURNING commit_seq";
            reached.starts = self.connection.prepare_cached(count)?.query_row([], |row| row.get(0))?;
        }
        beside.reached.set(reached);
        Ok(())
    }

    /// Records what others, or this process, could not record earlier. `true` if there was anything new.
    pub(super) fn bring_in(&self) -> Result<bool, Trouble> {
        let Some(beside) = self.beside else { return Ok(false) };
        let Some(spill) = beside.spill.filter(|spill| spill.is_used()) else { return Ok(false) };
        let (requests, end) = spill.read()?;
        if beside.brought_in.replace(Some(end)) == Some(end) {
            return Ok(false);
        }
        for request in &requests {
            let why = match settle(self, request) {
                Ok(Settled::Recorded | Settled::Fenced) => continue,
                Ok(Settled::Unsettled(why)) => why,
                // It must not keep everybody else from the ledger.
                Err(trouble) if trouble.kind() == TroubleKind::Statement => trouble.to_string(),
                Err(trouble) => return Err(trouble),
            };
            let detail = json!({ "why": why, "spilled": events::settlement(&request.settlement, true) });
            self.event("unsettled", &request.digest, request.epoch, &detail)?;
        }
        Ok(true)
    }

    /// Whether the owner of a claim lives, and how far back its moments lie.
    fn circumstances(&self, row: &Row) -> Result<Circumstances, Trouble> {
        let unknown = Circumstances { owner: Life::Alive, since: Age::Suspect, started: Age::Suspect };
        if row.owner == self.owner.0 && row.state == State::Pending {
            return Ok(unknown);
        }
        let holder = self.holder(OwnerId(row.owner))?;
        // An owner without a row was never committed: a claim can't have come from it, and nobody will settle it.
        let alive = row.owner == self.owner.0 || holder.as_ref().is_some_and(|holder| holder.alive);
        let owner = if alive { Life::Alive } else { Life::Dead };
        if row.state == State::Pending {
            return Ok(Circumstances { owner, ..unknown });
        }
        let now = Moment { at_ms: now_ms(), origin_ms: origin_ms() };
        let latest_ms = rows::latest_ms(self.connection)?;
        let origin_ms = holder.and_then(|holder| holder.origin_ms);
        let age = |at_ms| rules::age(Moment { at_ms, origin_ms }, now, latest_ms);
        let since_ms = row.settled_ms.unwrap_or(now.at_ms);
        Ok(Circumstances { owner, since: age(since_ms), started: age(row.first_ms()) })
    }

    fn event(&self, kind: &str, digest: &Digest, epoch: u64, detail: &serde_json::Value) -> Result<(), Trouble> {
        let action = rows::action_of(self.connection, digest)?.unwrap_or_default();
        let entry = ChainEntry {
            at_ms: now_ms(),
            kind,
            actor: "portcullis",
            action: &action,
            digest: Some(&digest.0),
            epoch: Some(epoch.cast_signed()),
            detail: &detail.to_string(),
        };
        append(self.connection, self.owner, &entry)
    }
}

/// One operation, inside a write transaction.
pub(super) fn one(context: &Context<'_>, actions: &mut Actions, op: &Op) -> Result<Answer, Trouble> {
    match op {
        Op::Claim(claiming) => claim(context, actions, &claiming.request),
        Op::Settle(settling) => settle(context, &settling.request).map(Answer::Settled),
        Op::Audit(auditing) => {
            let record = &auditing.record;
            let entry = ChainEntry {
                at_ms: millis(record.at),
                kind: record.kind,
                actor: &record.actor,
                action: &record.action,
                digest: None,
                epoch: None,
                detail: &record.detail.to_string(),
            };
            append(context.connection, context.owner, &entry).map(|()| Answer::Audited)
        }
        Op::Note(noting) => rows::add_note(context.connection, &noting.request, now_ms()).map(|()| Answer::Noted),
        Op::Task(tasking) => tasks::one(context, &tasking.request).map(Answer::Task),
        Op::Drain(_) => Ok(Answer::Audited),
    }
}

/// The answer to a claim that needs no write, with the row that it comes from; `None` if it may need one.
pub(super) fn peek(
    context: &Context<'_>,
    actions: &mut Actions,
    request: &ClaimRequest,
) -> Result<Option<(Answer, Option<Row>)>, Trouble> {
    if request.resolution.is_some() {
        return Ok(None);
    }
    let Some(action) = known_action(context, actions, request)? else { return Ok(None) };
    if let Some(refused) = ambiguous(&action, request) {
        return Ok(Some((refused, None)));
    }
    let Some(row) = rows::find(context.connection, &request.digest)? else { return Ok(None) };
    match decide(context, Some(&row), request)? {
        OnClaim::Start { .. } | OnClaim::Again { .. } | OnClaim::Orphaned | OnClaim::RolledBack => Ok(None),
        // Only a commit of ours makes it ours.
        OnClaim::Granted { .. } => Ok(None),
        decided => answer(context, decided, &row, request).map(|answer| Some((answer, Some(row.into_row())))),
    }
}

fn claim(context: &Context<'_>, actions: &mut Actions, request: &ClaimRequest) -> Result<Answer, Trouble> {
    let action = match known_action(context, actions, request)? {
        Some(action) => action,
        None => {
            let place = request.place.as_deref();
            let action = rows::add_action(context.connection, &request.namespace, &request.action, place)?;
            remember(actions, request, action)
        }
    };
    if let Some(refused) = ambiguous(&action, request) {
        return Ok(refused);
    }
    if let Some(resolution) = &request.resolution {
        resolve(context, request, resolution)?;
    }
    loop {
        let row = rows::find(context.connection, &request.digest)?;
        let decided = decide(context, row.as_deref(), request)?;
        let start = |epoch, first_ms| {
            rows::start(context.connection, request, action.id, context.owner, epoch, first_ms, now_ms())?;
            context.started(epoch)?;
            Ok(Answer::Claimed(Claimed::Run { epoch }))
        };
        match (decided, row) {
            (OnClaim::Start { epoch }, _) => return start(epoch, None),
            (OnClaim::Again { epoch }, Some(row)) => {
                let detail = json!({ "within": "provider_window", "first_ms": row.first_ms(), "ended": row.ended });
                context.event("ran_again", &request.digest, epoch, &detail)?;
                return start(epoch, Some(row.first_ms()));
            }
            // Its owner may have left word before it died, and after this transaction began.
            (OnClaim::Orphaned | OnClaim::RolledBack, Some(_)) if context.bring_in()? => {}
            // Both lead to another state of the same row, about which is decided in the next round.
            (OnClaim::Orphaned, Some(row)) => lose_owner(context, request, &row, State::InDoubt, "owner_dead")?,
            (OnClaim::RolledBack, Some(row)) => lose_owner(context, request, &row, State::Open, "rolled_back")?,
            (decided, Some(row)) => return answer(context, decided, &row, request),
            (decided, None) => {
                return Err(Trouble::new(
                    TroubleKind::Statement,
                    format!("the rules answered {decided:?} to a claim that is not stored"),
                ));
            }
        }
    }
}

/// Writes what the death of a pending claim's owner means.
fn lose_owner(
    context: &Context<'_>,
    request: &ClaimRequest,
    row: &Found,
    to: State,
    event: &'static str,
) -> Result<(), Trouble> {
    let ended = events::OWNER_DIED;
    rows::put(context.connection, row.id, &Outcome::ended(to, ended), now_ms())?;
    let pid = context.holder(OwnerId(row.owner))?.map(|holder| holder.pid);
    let detail = json!({ "ended": ended, "owner": row.owner, "pid": pid });
    context.event(event, &request.digest, row.epoch, &detail)
}

/// Applies what a reconcile function has found out, unless it comes too late. That it was asked for this payload is known:
/// it was asked after the fingerprints were compared, and a claim's payload never changes.
fn resolve(context: &Context<'_>, request: &ClaimRequest, resolution: &Resolution) -> Result<(), Trouble> {
    let row = rows::find(context.connection, &request.digest)?;
    let decided = rules::resolve(row.as_ref().map(|row| row.known()), resolution);
    let applied = match (decided, &row) {
        (OnResolve::Apply { to }, Some(row)) => {
            let outcome = match &resolution.verdict {
                Verdict::Happened(receipt) => Outcome::committed(receipt, By::Reconciliation),
                Verdict::DidNotHappen | Verdict::Unknown => {
                    Outcome { ended: row.ended.as_deref(), ..Outcome::new(to, By::Reconciliation) }
                }
            };
            rows::put(context.connection, row.id, &outcome, now_ms())?;
            true
        }
        (OnResolve::Unknown, _) => true,
        (OnResolve::Late, _) | (OnResolve::Apply { .. }, None) => false,
    };
    let detail = events::reconciliation(&resolution.verdict, applied);
    context.event("reconciled", &request.digest, resolution.epoch, &detail)
}

fn known_action(
    context: &Context<'_>,
    actions: &mut Actions,
    request: &ClaimRequest,
) -> Result<Option<Arc<Action>>, Trouble> {
    let known = actions.get(&request.namespace).and_then(|names| names.get(&request.action));
    if let Some(action) = known {
        return Ok(Some(Arc::clone(action)));
    }
    let found = rows::find_action(context.connection, &request.namespace, &request.action)?;
    Ok(found.map(|action| remember(actions, request, action)))
}

fn remember(actions: &mut Actions, request: &ClaimRequest, action: Action) -> Arc<Action> {
    let action = Arc::new(action);
    // A name may be computed at run time: what is remembered must not grow with the data.
    if actions.values().map(HashMap::len).sum::<usize>() >= REMEMBERED {
        actions.clear();
    }
    let names = actions.entry(request.namespace.clone()).or_default();
    names.insert(request.action.clone(), Arc::clone(&action));
    action
}

fn ambiguous(action: &Action, request: &ClaimRequest) -> Option<Answer> {
    match rules::action(action.place.as_deref(), request.place.as_deref()) {
        OnAction::Accept => None,
        OnAction::Ambiguous => {
            Some(Answer::Claimed(Claimed::Refuse(messages::ambiguous(request, action.place.as_deref()))))
        }
    }
}

fn decide(context: &Context<'_>, row: Option<&Row>, request: &ClaimRequest) -> Result<OnClaim, Trouble> {
    let stored = row.map(|row| row.stored(|| context.circumstances(row))).transpose()?;
    let ClaimRequest { fingerprint, attempt, ways, .. } = *request;
    Ok(rules::claim(stored, &Asking { fingerprint, attempt, ways }, now_ms()))
}

/// What the caller is told; nothing is written for it.
fn answer(context: &Context<'_>, decided: OnClaim, row: &Row, request: &ClaimRequest) -> Result<Answer, Trouble> {
    Ok(Answer::Claimed(match decided {
        OnClaim::Granted { epoch } => Claimed::Run { epoch },
        OnClaim::Replay(receipt) => Claimed::Replay(receipt),
        OnClaim::ReplayError(error) => Claimed::ReplayError(error),
        OnClaim::Reconcile => Claimed::Reconcile(Box::new(Evidence {
            epoch: row.epoch,
            attempt: row.attempt,
            started_at: time(row.first_ms()),
            ended: row.ended.clone(),
            notes: rows::notes(context.connection, &request.digest)?,
        })),
        OnClaim::InFlight => {
            let holder = context.holder(OwnerId(row.owner))?;
            let refused = messages::in_flight(request, row, holder.as_ref());
            return Ok(Answer::Park(Waiting { owner: OwnerId(row.owner), refused }));
        }
        OnClaim::Refuse(why) => {
            let holder = match why {
                Why::InDoubt(_) => context.holder(OwnerId(row.owner))?,
                Why::Conflict | Why::Expired | Why::Absent | Why::Unreadable | Why::TooLarge => None,
            };
            Claimed::Refuse(messages::refused(request, why, row, holder.as_ref()))
        }
        OnClaim::Start { .. } | OnClaim::Again { .. } | OnClaim::Orphaned | OnClaim::RolledBack => {
            return Err(Trouble::new(TroubleKind::Statement, "a claim was to be answered before it was written"));
        }
    }))
}

fn settle(context: &Context<'_>, request: &SettleRequest) -> Result<Settled, Trouble> {
    let found = rows::find_attempt(context.connection, &request.digest)?;
    let known = found.map(|(_, known)| known);
    match (rules::settle(known, request.epoch, request.attempt, &request.settlement), found) {
        (OnSettle::Apply { to, event }, Some((id, _))) => {
            let outcome = Outcome { state: to, ..Outcome::of(&request.settlement) };
            rows::put(context.connection, id, &outcome, now_ms())?;
            if let Some(kind) = event {
                context.event(kind, &request.digest, request.epoch, &events::settlement(&request.settlement, false))?;
            }
            Ok(Settled::Recorded)
        }
        (OnSettle::Already, _) => Ok(Settled::Recorded),
        (OnSettle::Fenced, _) => {
            context.event("fenced", &request.digest, request.epoch, &events::settlement(&request.settlement, true))?;
            Ok(Settled::Fenced)
        }
        (OnSettle::OutsideTransaction, Some((id, _))) => {
            let ended = events::OUTSIDE_TRANSACTION;
            rows::put(context.connection, id, &Outcome::ended(State::InDoubt, ended), now_ms())?;
            let detail = events::settlement(&request.settlement, true);
            context.event("outside_transaction", &request.digest, request.epoch, &detail)?;
            Ok(Settled::Unsettled(format!("{ended}: call `claim.settle_in(&tx, …)` before `tx.commit()`")))
        }
        (OnSettle::Unknown | OnSettle::OutsideTransaction | OnSettle::Apply { .. }, _) => {
            Ok(Settled::Unsettled("the ledger knows no such claim: it is not the ledger that granted it".to_owned()))
        }
    }
}

/// Releases a claim whose caller was refused although it may have been committed.
pub(super) fn release(context: &Context<'_>, digest: &Digest, attempt: Attempt) -> Result<(), Trouble> {
    match rows::find_attempt(context.connection, digest)? {
        Some((_, known)) if known.state == State::Pending && known.attempt == attempt => {
            let settlement = Settlement::Released("the claim's commit was in question, and the body was not run");
            let request = SettleRequest { digest: *digest, epoch: known.epoch, attempt, settlement, lazy: false };
            settle(context, &request).map(|_| ())
        }
        Some(_) | None => Ok(()),
    }
}
