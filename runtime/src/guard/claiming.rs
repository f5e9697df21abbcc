//! The part of a guarded call that claims and settles.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::call::Once;
use super::held::{ClaimState, Granted, Held, Keeping, Name};
use super::on_err::{ErrorPolicy, OnErr};
use super::site::{Passed, Settle};
use super::steps::{Begun, Finish, Layer, Next};
use crate::gate::OpenClaim;
use crate::ledger::{
    Attempt, ClaimRequest, Claimed, Digest, Doubt, Kept, Receipt, Reconciled, Resolution, Settled, Settlement, Store,
    Ticket, Verdict, Ways,
};
use crate::outcome::Replay;
use crate::refused::{Kind, Refused};
use crate::scope;

/// A claiming call, with what its errors mean.
pub(super) struct Claiming<P> {
    policy: P,
    keeping: Keeping,
    stage: Stage,
}

enum Stage {
    Wanted(Once),
    Asked(Box<Asked>),
    Held(Held),
    Over,
}

struct Asked {
    store: Arc<dyn Store>,
    digest: Digest,
    attempt: Attempt,
    open: OpenClaim,
    /// To ask again with, after a reconcile function was asked.
    again: Option<ClaimRequest>,
}

impl<P> Claiming<P> {
    pub(super) fn new(once: Once, policy: P) -> Self {
        Claiming { policy, keeping: Keeping::default(), stage: Stage::Wanted(once) }
    }

    fn take(&mut self) -> Stage {
        std::mem::replace(&mut self.stage, Stage::Over)
    }

    fn keep(&self, begun: &Begun, json: String) -> Receipt {
        self.keeping.keep(&begun.action, json)
    }

    fn read(&self, begun: &Begun, kept: Kept) -> Result<String, Refused> {
        self.keeping.read(&begun.action, kept).map_err(|why| unreadable(begun, &why))
    }

    /// The settlement of a result that counts as it is.
    fn committed<R: Replay>(
        &self,
        begun: &Begun,
        encoded: Result<(String, R::Value), String>,
        result: R,
    ) -> (Settlement, R) {
        match encoded {
            Ok((json, value)) => (Settlement::Committed(self.keep(begun, json)), R::from_value(value)),
            Err(error) => {
                tracing::warn!(target: "portcullis", action = &*begun.action, error, "the result can't be kept as a receipt: retries will get `receipt_unreadable`");
                (Settlement::Committed(Receipt::Unencodable), result)
            }
        }
    }

    /// The body has settled in a transaction of its own: what it returns is what it has put on record there.
    fn finish_inside<R: Replay>(&mut self, begun: &Begun, kept: Kept, result: R) -> Finish<R> {
        let read = self.keeping.read(&begun.action, kept.clone());
        let decoded = read.and_then(|json| serde_json::from_str(&json).map_err(|error| error.to_string()));
        let result = match decoded {
            Ok(value) => R::from_value(value),
            Err(error) => {
                tracing::warn!(target: "portcullis", action = &*begun.action, error, "what was settled in the transaction can't be read as the return type: retries will get `receipt_unreadable`");
                result
            }
        };
        let Stage::Held(held) = &mut self.stage else { unreachable!("a body runs under its claim") };
        Finish::Settling(held.settle(Settlement::Committed(Receipt::Kept(kept))), result)
    }
}

fn unreadable(begun: &Begun, why: &str) -> Refused {
    Refused::new(
        Kind::ReceiptUnreadable,
        &*begun.action,
        format!("it has happened, and its receipt can't be read: {why}"),
    )
    .advise("was the return type changed, or the seal? `portcullis ledger show` prints the receipt")
}

impl<R: Replay, P: ErrorPolicy<R::Error>> Layer<R> for Claiming<P> {
    type Value = R::Value;

    fn claim(&mut self, begun: &mut Begun) -> Result<Option<Ticket<Claimed>>, Refused> {
        let Stage::Wanted(once) = self.take() else { unreachable!("a call claims once") };
        let Begun { gate, facts, action, frame, .. } = begun;
        let key = once.key.into_text(action)?;
        let fingerprint = once.payload.into_fingerprint(action)?;
        let namespace = gate.namespace().unwrap_or(facts.package);
        let digest = Digest::new(namespace, action, &key);
        if scope::is_claimed_above(&digest) {
            return Err(Refused::new(
                Kind::Reentrant,
                &**action,
                "the call is waiting for itself, further up in this very call chain",
            )
            .advise("a once function must not call itself with its own key"));
        }
        let open = gate.open_claim(action)?;
        let store = Arc::clone(gate.ledger()?);
        let attempt = Attempt(Uuid::now_v7());
        let asks = facts.ways.reconcile.is_some();
        let receipts = gate.receipts().clone();
        let name = (asks || receipts.seal.is_some())
            .then(|| Arc::new(Name { namespace: namespace.to_owned(), key: key.clone() }));
        self.keeping = Keeping { receipts, name };
        let request = ClaimRequest {
            namespace: namespace.into(),
            action: action.to_string(),
            place: once.place.or(facts.place).map(|place| place().to_owned()),
            key,
            digest,
            fingerprint,
            attempt,
            wait_until: (!facts.wait.is_zero()).then(|| Instant::now() + facts.wait),
            retain: facts.retain,
            transactional: facts.settle == Settle::Transaction,
            ways: facts.ways,
            resolution: None,
        };
        frame.set_claim(digest);
        let again = asks.then(|| request.clone());
        let ticket = store.claim(request);
        self.stage = Stage::Asked(Box::new(Asked { store, digest, attempt, open, again }));
        Ok(Some(ticket))
    }

    fn claimed(&mut self, begun: &Begun, claimed: Option<Claimed>) -> Result<Next<R>, Refused> {
        let Stage::Asked(asked) = self.take() else { unreachable!("a claim is answered once") };
        match claimed {
            Some(Claimed::Run { epoch }) => {
                let Asked { store, digest, attempt, open, .. } = *asked;
                let lazy = begun.facts.settle == Settle::Lazy;
                let granted = Granted { store, digest, attempt, epoch, lazy };
                self.stage = Stage::Held(Held::new(granted, self.keeping.clone(), begun.action.clone(), open));
                Ok(Next::Run(Passed::every_boundary()))
            }
            Some(Claimed::Replay(kept)) => {
                let json = self.read(begun, kept)?;
                let value = serde_json::from_str(&json)
                    .map_err(|error| unreadable(begun, "it is not of this return type").because(error))?;
                Ok(Next::Return(R::from_value(value)))
            }
            Some(Claimed::ReplayError(kept)) => {
                let json = self.read(begun, kept)?;
                let error = self.policy.decode(json.as_bytes());
                error
                    .map(|error| Next::Return(R::from_error(error)))
                    .ok_or_else(|| unreadable(begun, "it is an error, and not of this error type"))
            }
            Some(Claimed::Reconcile(evidence)) => {
                let key = self.keeping.name.as_ref().map_or("", |name| &name.key);
                let doubt = Doubt::new(&begun.action, key, &asked.digest, *evidence);
                self.stage = Stage::Asked(asked);
                Ok(Next::Reconcile(Box::new(doubt)))
            }
            Some(Claimed::Refuse(refused)) => Err(refused),
            None => {
                Err(Refused::new(Kind::LedgerUnavailable, &*begun.action, "the ledger has stopped without an answer")
                    .advise("the body has not run; the log says why the ledger stopped"))
            }
        }
    }

    fn reconciled(
        &mut self,
        begun: &Begun,
        doubt: &Doubt,
        answer: Reconciled<R::Value>,
    ) -> Result<Ticket<Claimed>, Refused> {
        let verdict = match answer {
            Reconciled::Happened(value) => Verdict::Happened(match encode::<R>(&value) {
                Ok((json, _)) => self.keep(begun, json),
                Err(_) => Receipt::Unencodable,
            }),
            Reconciled::DidNotHappen => Verdict::DidNotHappen,
            Reconciled::Unknown => Verdict::Unknown,
        };
        let Stage::Asked(asked) = &mut self.stage else { unreachable!("a doubt is asked about while claiming") };
        // Without it nothing was in doubt: a ledger gives a doubt only to who can ask.
        let Some(request) = asked.again.take() else {
            let why = "the ledger gave a doubt twice";
            return Err(Refused::new(Kind::InDoubt, &*begun.action, why));
        };
        let resolution = Some(Resolution { epoch: doubt.epoch(), attempt: doubt.attempt(), verdict });
        let ways = Ways { reconcile: None, ..request.ways };
        Ok(asked.store.claim(ClaimRequest { ways, resolution, ..request }))
    }

    fn start(&mut self, begun: &Begun) {
        if let Stage::Held(held) = &mut self.stage {
            held.start(begun.facts.max_run);
        }
    }

    fn claim_state(&self) -> Option<&Arc<ClaimState>> {
        match &self.stage {
            Stage::Held(held) => Some(held.state()),
            Stage::Wanted(_) | Stage::Asked(_) | Stage::Over => None,
        }
    }

    fn finish(&mut self, begun: &Begun, result: R) -> Finish<R> {
        let action = &*begun.action;
        let Stage::Held(held) = &self.stage else { unreachable!("a body runs under its claim") };
        let (settlement, result) = match result.as_result() {
            Ok(value) if !result.is_failed_value() => {
                if held.did_not_happen() {
                    tracing::warn!(target: "portcullis", action, "did_not_happen() was said, and Ok returned: Ok counts");
                    held.put_in_audit("did_not_happen_ignored", action);
                }
                if let Some(kept) = held.settled_inside() {
                    return self.finish_inside(begun, kept, result);
                }
                self.committed(begun, encode::<R>(value), result)
            }
            Ok(_) | Err(_) if held.did_not_happen() => (Settlement::Released("did_not_happen"), result),
            Ok(value) => match self.policy.decide_value() {
                OnErr::Hold => (Settlement::InDoubt("err"), result),
                OnErr::Release => (Settlement::Released("err"), result),
                OnErr::Record => self.committed(begun, encode::<R>(value), result),
            },
            Err(error) => {
                let settlement = match self.policy.decide(error) {
                    OnErr::Hold => Settlement::InDoubt("err"),
                    OnErr::Release => Settlement::Released("err"),
                    OnErr::Record => {
                        let text = self.policy.encode(error).and_then(|bytes| String::from_utf8(bytes).ok());
                        match text.map(|text| self.keep(begun, text)) {
                            Some(Receipt::Kept(kept)) => Settlement::Failed(kept),
                            Some(_) | None => {
                                tracing::warn!(target: "portcullis", action, "the error can't be put on record: the call stays in doubt");
                                Settlement::InDoubt("err")
                            }
                        }
                    }
                };
                (settlement, result)
            }
        };
        let Stage::Held(held) = &mut self.stage else { unreachable!("it was held just now") };
        Finish::Settling(held.settle(settlement), result)
    }

    fn settled(&mut self, begun: &Begun, settled: Option<Settled>, result: R) -> Result<R, Refused> {
        self.stage = Stage::Over;
        let refusal = match settled {
            Some(Settled::Recorded) => return Ok(result),
            Some(Settled::Fenced) => Refused::new(
                Kind::Fenced,
                &*begun.action,
                "it ran, but a newer attempt or a person had decided about the claim in the meantime; the result is kept as evidence",
            ),
            Some(Settled::Unsettled(why)) => unsettled(begun, &why),
            None => unsettled(begun, "the ledger has stopped without an answer"),
        };
        match result.as_result() {
            Ok(value) if !result.is_failed_value() => Err(refusal.carrying(carried(value))),
            // The body's own error says more than that the ledger did not hear of it: unheard of, the claim is in doubt, at most.
            Ok(_) | Err(_) => {
                tracing::warn!(target: "portcullis", action = &*begun.action, code = refusal.code(), reason = refusal.reason(), "the error was not settled");
                Ok(result)
            }
        }
    }

    fn abandon(&mut self) {
        if let Stage::Held(held) = &mut self.stage {
            held.abandon("panic");
        }
    }
}

fn unsettled(begun: &Begun, why: &str) -> Refused {
    Refused::new(Kind::Unsettled, &*begun.action, format!("it ran, and its result is not on record: {why}")).advise(
        "the effect happened: keep `Refused::value`, do not run it again; a retry will be refused as `in_doubt`",
    )
}

/// A result that only its caller knows, as JSON. What a JSON value can't hold, such as a `u128`, comes as its text.
fn carried(value: &impl serde::Serialize) -> Option<serde_json::Value> {
    let text = || serde_json::to_string(value).ok().map(serde_json::Value::String);
    serde_json::to_value(value).ok().or_else(text)
}

/// The receipt, and the value as a replay would give it: so the first caller and every later one get the same.
fn encode<R: Replay>(value: &R::Value) -> Result<(String, R::Value), String> {
    let work = || {
        let json = serde_json::to_string(value).map_err(|error| error.to_string())?;
        let decoded = serde_json::from_str(&json).map_err(|error| error.to_string())?;
        Ok((json, decoded))
    };
    // A `Serialize` is somebody else's code, and the effect has happened.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("its `Serialize` or `Deserialize` panicked".to_owned()))
}
