//! One operation: read the row, ask the rules, write what they say.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use rusqlite::Connection;
use serde_json::json;

use super::super::rules::{self, OnAction, OnClaim, OnSettle, Why};
use super::super::{Attempt, ClaimRequest, Claimed, Digest, ReceiptLoss, SettleRequest, Settled, Settlement, messages};
use super::queue::Op;
use super::rows::{self, Action, Row};
use super::writer::{Answer, Waiting};
use crate::sqlite::{ChainEntry, Holder, OwnerId, SideFile, Trouble, append, holder, millis, now_ms};

/// Actions by namespace and name, as they are on record: nobody ever changes them.
pub(super) type Actions = HashMap<String, HashMap<String, Rc<Action>>>;

const REMEMBERED: usize = 4096;

/// Where an operation is done.
pub(super) struct Context<'a> {
    pub(super) connection: &'a Connection,
    pub(super) side: Option<&'a SideFile>,
    /// This process.
    pub(super) owner: OwnerId,
    /// How large a receipt may be.
    pub(super) cap: usize,
}

impl Context<'_> {
    fn holder(&self, owner: OwnerId) -> Result<Option<Holder>, Trouble> {
        Ok(holder(self.connection, self.side, owner)?)
    }

    fn is_alive(&self, owner: OwnerId) -> Result<bool, Trouble> {
        if owner == self.owner {
            return Ok(true);
        }
        // An owner without a row was never committed: a claim can't have come from it, and nobody will settle it.
        Ok(self.holder(owner)?.is_some_and(|holder| holder.alive))
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
        Op::Drain(_) => Ok(Answer::Audited),
    }
}

/// The answer to a claim that needs no write; `None` if it may need one.
pub(super) fn peek(
    context: &Context<'_>,
    actions: &mut Actions,
    request: &ClaimRequest,
) -> Result<Option<Answer>, Trouble> {
    let Some(action) = known_action(context, actions, request)? else { return Ok(None) };
    if let Some(refused) = ambiguous(&action, request) {
        return Ok(Some(refused));
    }
    let Some(row) = rows::find(context.connection, &request.digest)? else { return Ok(None) };
    match decide(context, Some(&row), request)? {
        OnClaim::Start { .. } | OnClaim::Orphaned => Ok(None),
        // Only a commit of ours makes it ours.
        OnClaim::Granted { .. } => Ok(None),
        decided => answer(context, decided, &row, request).map(Some),
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
    let row = rows::find(context.connection, &request.digest)?;
    let decided = decide(context, row.as_ref(), request)?;
    match (decided, row) {
        (OnClaim::Start { epoch }, _) => {
            rows::start(context.connection, request, action.id, context.owner, epoch, now_ms())?;
            Ok(Answer::Claimed(Claimed::Run { epoch }))
        }
        (OnClaim::Orphaned, Some(mut row)) => {
            let ended = "its process ended before the outcome was on record";
            rows::settle(context.connection, row.id, &Settlement::InDoubt(ended), now_ms())?;
            let holder = context.holder(row.owner)?;
            let detail =
                json!({ "ended": ended, "owner": row.owner.0, "pid": holder.as_ref().map(|holder| holder.pid) });
            context.event("owner_dead", &request.digest, row.epoch, &detail)?;
            row.ended = Some(ended.to_owned());
            Ok(Answer::Claimed(Claimed::Refuse(messages::in_doubt(request, &row, holder.as_ref()))))
        }
        (decided, Some(row)) => answer(context, decided, &row, request),
        (decided, None) => Err(Trouble::new(
            crate::sqlite::TroubleKind::Statement,
            format!("the rules answered {decided:?} to a claim that is not stored"),
        )),
    }
}

fn known_action(
    context: &Context<'_>,
    actions: &mut Actions,
    request: &ClaimRequest,
) -> Result<Option<Rc<Action>>, Trouble> {
    let known = actions.get(&request.namespace).and_then(|names| names.get(&request.action));
    if let Some(action) = known {
        return Ok(Some(Rc::clone(action)));
    }
    let found = rows::find_action(context.connection, &request.namespace, &request.action)?;
    Ok(found.map(|action| remember(actions, request, action)))
}

fn remember(actions: &mut Actions, request: &ClaimRequest, action: Action) -> Rc<Action> {
    let action = Rc::new(action);
    // A name may be computed at run time: what is remembered must not grow with the data.
    if actions.values().map(HashMap::len).sum::<usize>() >= REMEMBERED {
        actions.clear();
    }
    let names = actions.entry(request.namespace.clone()).or_default();
    names.insert(request.action.clone(), Rc::clone(&action));
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
    let stored = row.map(|row| row.stored(|owner| context.is_alive(owner))).transpose()?;
    Ok(rules::claim(stored, request.fingerprint, request.attempt, now_ms()))
}

/// What the caller is told; nothing is written for it.
fn answer(context: &Context<'_>, decided: OnClaim, row: &Row, request: &ClaimRequest) -> Result<Answer, Trouble> {
    Ok(Answer::Claimed(match decided {
        OnClaim::Granted { epoch } => Claimed::Run { epoch },
        OnClaim::Replay(receipt) => Claimed::Replay(receipt),
        OnClaim::ReplayError(error) => Claimed::ReplayError(error),
        OnClaim::InFlight => {
            let holder = context.holder(row.owner)?;
            let refused = messages::in_flight(request, row, holder.as_ref());
            return Ok(Answer::Park(Waiting { owner: row.owner, refused }));
        }
        OnClaim::Refuse(why) => Claimed::Refuse(match why {
            Why::Conflict => messages::conflict(request, row),
            Why::InDoubt => messages::in_doubt(request, row, context.holder(row.owner)?.as_ref()),
            Why::Expired => messages::expired(request, row),
            Why::Unreadable => messages::unreadable(request),
            Why::TooLarge => messages::too_large(request, context.cap),
        }),
        OnClaim::Start { .. } | OnClaim::Orphaned => {
            return Err(Trouble::new(
                crate::sqlite::TroubleKind::Statement,
                "a claim was to be answered before it was written",
            ));
        }
    }))
}

fn settle(context: &Context<'_>, request: &SettleRequest) -> Result<Settled, Trouble> {
    let found = rows::find_attempt(context.connection, &request.digest)?;
    let stored = found.map(|(_, state, epoch, attempt)| (state, epoch, attempt));
    let decided = rules::settle(stored, request.epoch, request.attempt, &request.settlement);
    match (decided, found) {
        (OnSettle::Apply { to: _, event }, Some((id, ..))) => {
            rows::settle(context.connection, id, &capped(&request.settlement, context.cap), now_ms())?;
            if let Some(kind) = event {
                context.event(kind, &request.digest, request.epoch, &evidence(&request.settlement, false))?;
            }
            Ok(Settled::Recorded)
        }
        (OnSettle::Already, _) => Ok(Settled::Recorded),
        (OnSettle::Fenced, _) => {
            context.event("fenced", &request.digest, request.epoch, &evidence(&request.settlement, true))?;
            Ok(Settled::Fenced)
        }
        (OnSettle::Unknown | OnSettle::Apply { .. }, _) => {
            Ok(Settled::Unsettled("the ledger knows no such claim: it is not the ledger that granted it".to_owned()))
        }
    }
}

/// Without a receipt that is too large, or no text.
fn capped(settlement: &Settlement, cap: usize) -> Cow<'_, Settlement> {
    match settlement {
        Settlement::Committed(Some(receipt), _) if receipt.len() > cap => {
            Cow::Owned(Settlement::Committed(None, ReceiptLoss::TooLarge))
        }
        Settlement::Committed(Some(receipt), _) if str::from_utf8(receipt).is_err() => {
            Cow::Owned(Settlement::Committed(None, ReceiptLoss::Unencodable))
        }
        Settlement::Committed(..) | Settlement::Failed(_) | Settlement::InDoubt(_) | Settlement::Released(_) => {
            Cow::Borrowed(settlement)
        }
    }
}

/// What an event says of a settlement; with its receipt if the claim's own row will not have it.
fn evidence(settlement: &Settlement, with_receipt: bool) -> serde_json::Value {
    let text = |bytes: &[u8]| with_receipt.then(|| String::from_utf8_lossy(bytes).into_owned());
    match settlement {
        Settlement::Committed(receipt, _) => {
            json!({ "settlement": "committed", "receipt": receipt.as_deref().and_then(text) })
        }
        Settlement::Failed(error) => json!({ "settlement": "failed", "error": text(error) }),
        Settlement::InDoubt(ended) => json!({ "settlement": "in_doubt", "ended": ended }),
        Settlement::Released(ended) => json!({ "settlement": "released", "ended": ended }),
    }
}

/// Releases a claim whose caller was refused although it may have been committed.
pub(super) fn release(context: &Context<'_>, digest: &Digest, attempt: Attempt) -> Result<(), Trouble> {
    match rows::find_attempt(context.connection, digest)? {
        Some((_, rules::State::Pending, epoch, stored)) if stored == attempt => {
            let settlement = Settlement::Released("the claim's commit was in question, and the body was not run");
            settle(context, &SettleRequest { digest: *digest, epoch, attempt, settlement }).map(|_| ())
        }
        Some(_) | None => Ok(()),
    }
}
