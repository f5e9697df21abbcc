//! The steps of a guarded call, without a word about how they are waited for.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::call::{Bare, Extras, Once, Plain};
use super::claim::{ClaimState, Held};
use super::on_err::{ErrorPolicy, OnErr};
use super::site::{Asked, Facts, Passed};
use crate::authority::desk::{Answered, Ask};
use crate::boundary::OnRefusal;
use crate::gate::{OpenClaim, Portcullis};
use crate::halt;
use crate::ledger::{Attempt, ClaimRequest, Claimed, Digest, ReceiptLoss, Settled, Settlement, Store, Ticket};
use crate::outcome::{Outcome, Replay};
use crate::refused::{Kind, Refused};
use crate::scope::{self, CallFrame, Own};

/// The gate of a call. Nearly always the installed one, which needs no counting of references.
pub(super) enum Gate {
    Installed(&'static Portcullis),
    Other(Portcullis),
}

impl Deref for Gate {
    type Target = Portcullis;
    fn deref(&self) -> &Portcullis {
        match self {
            Gate::Installed(gate) => gate,
            Gate::Other(gate) => gate,
        }
    }
}

/// A call that has been charged.
pub(super) struct Begun {
    pub(super) gate: Gate,
    pub(super) frame: CallFrame,
    facts: &'static Facts,
    claims: bool,
    action: Cow<'static, str>,
    extras: Option<Box<Extras>>,
}

/// Budget charge.
#[inline]
pub(super) fn begin<K: Asked>(call: Bare<K>) -> Result<Begun, Refused> {
    let Bare { site, claims, gate, mut extras } = call;
    let action = match extras.as_mut().and_then(|extras| extras.action.take()) {
        Some(action) => Cow::Owned(action),
        None => Cow::Borrowed(site.facts.action),
    };
    charge(&site.facts, claims, action, gate, extras)
}

fn charge(
    facts: &'static Facts,
    claims: bool,
    action: Cow<'static, str>,
    gate: Option<Portcullis>,
    mut extras: Option<Box<Extras>>,
) -> Result<Begun, Refused> {
    let gate = find_gate(facts, claims, &action, gate)?;
    let per = extras.as_ref().and_then(|extras| extras.per.as_deref());
    let charged = scope::step(&gate, &action, own(facts, per)).and_then(|account| {
        let cost = extras.as_mut().and_then(|extras| extras.cost.take());
        let mut frame = CallFrame { account, rest: None };
        if let Some(cost) = cost {
            let cost = cost.map_err(|error| {
                Refused::new(Kind::InvalidArgument, &*action, format!("its cost is unusable: {error}"))
            })?;
            frame.set_purse(scope::reserve(&action, cost, frame.account.as_ref())?);
        }
        Ok(frame)
    });
    match charged {
        Ok(frame) => Ok(Begun { gate, frame, facts, claims, action, extras }),
        Err(refused) => Err(gate.refuse(facts.on_budget(claims), facts.boundary_name(), refused)),
    }
}

/// The whole way to the body of a call that has a budget and nothing else: what costs, in a loop, is moving a [`Begun`] about.
pub(super) fn enter<K: Asked>(call: Bare<K>) -> Result<scope::Pop, Refused> {
    let facts = &call.site.facts;
    let gate = find_gate(facts, call.claims, facts.action, call.gate)?;
    scope::enter_step(&gate, facts.action, own(facts, None))
        .map_err(|refused| gate.refuse(facts.on_budget(call.claims), facts.boundary_name(), refused))
}

impl<K> Bare<K> {
    /// May it go in by [`enter`]?
    pub(super) fn is_only_a_step(&self) -> bool {
        self.site.facts.boundaries.is_empty() && self.extras.is_none() && !self.claims
    }
}

#[inline]
fn find_gate(facts: &'static Facts, claims: bool, action: &str, gate: Option<Portcullis>) -> Result<Gate, Refused> {
    let gate = match gate.or_else(scope::ambient_gate) {
        Some(gate) => Gate::Other(gate),
        None => match Portcullis::installed() {
            Ok(gate) => Gate::Installed(gate),
            Err(error) => return Err(without_a_gate(facts, claims, error.refuse(action))),
        },
    };
    not_halted(&gate, facts, claims, action)?;
    Ok(gate)
}

#[inline]
fn not_halted(gate: &Gate, facts: &'static Facts, claims: bool, action: &str) -> Result<(), Refused> {
    if !halt::halted() {
        return Ok(());
    }
    let refused = Refused::new(Kind::Halted, action, "this process is ending");
    Err(gate.refuse(facts.otherwise(claims), facts.boundary_name(), refused))
}

#[inline]
fn own<'a>(facts: &'static Facts, key: Option<&'a str>) -> Option<Own<'a>> {
    let budget = facts.budget.as_ref()?;
    Some(Own { site: std::ptr::from_ref(facts).addr(), limits: &budget.limits, per: budget.per, key })
}

/// The configuration is unusable, so there is no gate that could carry out the refusal.
#[cold]
fn without_a_gate(facts: &Facts, claims: bool, refused: Refused) -> Refused {
    let asks = !facts.boundaries.is_empty();
    match if asks { facts.on_fault } else { facts.otherwise(claims) } {
        OnRefusal::Return => refused,
        OnRefusal::Exit => super::refuse_by_ending(refused),
    }
}

impl Begun {
    /// Authority. `None`: there is nothing to ask.
    #[inline]
    pub(super) fn ask(&mut self) -> Option<Ticket<Answered>> {
        if self.facts.boundaries.is_empty() { None } else { Some(self.put_question()) }
    }

    fn put_question(&mut self) -> Ticket<Answered> {
        let (resource, width) = match &mut self.extras {
            Some(extras) => (extras.resource.take(), extras.width),
            None => (None, None),
        };
        self.gate.ask(Ask {
            boundaries: self.facts.boundaries,
            action: self.action.clone(),
            resource,
            width,
            on_deny: self.facts.on_deny,
            on_fault: self.facts.on_fault,
        })
    }

    /// The last look before the body: while this call waited for its authority and its claim, another one may have been denied.
    pub(super) fn may_start(&self) -> Result<(), Refused> {
        not_halted(&self.gate, self.facts, self.claims, &self.action)
    }

    /// `None`: whoever should have answered is gone, which is no answer.
    pub(super) fn answered(&self, answered: Option<Answered>) -> Result<(), Refused> {
        match answered {
            Some(Answered::Allowed) => Ok(()),
            Some(Answered::Refused(refused)) => {
                self.gate.put_in_audit(self.facts.boundary_name(), &refused);
                Err(refused)
            }
            Some(Answered::End(notice)) => self.gate.end(&notice),
            None => {
                let refused = Refused::new(
                    Kind::AuthorityUnreachable,
                    &*self.action,
                    "the asking was given up without an answer",
                );
                Err(self.gate.refuse(self.facts.on_fault, self.facts.boundary_name(), refused))
            }
        }
    }
}

/// What the shell does next.
#[must_use = "it says whether the body may run"]
pub(super) enum Next<R> {
    /// Run the body.
    Run,
    /// The result is known already.
    Return(R),
}

/// The witness with which the shell makes the body's permit: the boundaries have been answered, and the claim granted.
pub(super) fn passed<R>(next: Next<R>) -> Result<Passed, R> {
    match next {
        Next::Run => Ok(Passed::every_boundary()),
        Next::Return(result) => Err(result),
    }
}

/// The same for a call that claims nothing.
pub(super) fn nothing_to_claim() -> Passed {
    Passed::every_boundary()
}

/// What there is to wait for after the body.
pub(super) enum Finish<R> {
    Done(R),
    Settling(Ticket<Settled>, R),
}

/// The part of a call that differs between plain and claiming ones.
pub(super) trait Layer<R> {
    /// Ledger claim. `None`: there is nothing to claim.
    fn claim(&mut self, begun: &mut Begun) -> Result<Option<Ticket<Claimed>>, Refused>;
    /// `None`: the ledger has died, so nothing is claimed.
    fn claimed(&mut self, begun: &Begun, claimed: Option<Claimed>) -> Result<Next<R>, Refused>;
    /// The body starts now.
    fn start(&mut self);
    /// What a body that binds its claim is handed.
    fn claim_state(&self) -> Option<&Arc<ClaimState>>;
    /// The body has returned.
    fn finish(&mut self, begun: &Begun, result: R) -> Finish<R>;
    /// `None`: the ledger has died, so nothing is settled.
    fn settled(&mut self, begun: &Begun, settled: Option<Settled>, result: R) -> Result<R, Refused>;
    /// The body has panicked.
    fn abandon(&mut self);
}

impl<R: Outcome> Layer<R> for Plain {
    fn claim(&mut self, _: &mut Begun) -> Result<Option<Ticket<Claimed>>, Refused> {
        Ok(None)
    }
    fn claimed(&mut self, _: &Begun, _: Option<Claimed>) -> Result<Next<R>, Refused> {
        Ok(Next::Run)
    }
    fn start(&mut self) {}
    fn claim_state(&self) -> Option<&Arc<ClaimState>> {
        None
    }
    fn finish(&mut self, _: &Begun, result: R) -> Finish<R> {
        Finish::Done(result)
    }
    fn settled(&mut self, _: &Begun, _: Option<Settled>, result: R) -> Result<R, Refused> {
        Ok(result)
    }
    fn abandon(&mut self) {}
}

/// A claiming call, with what its errors mean.
pub(super) struct Claiming<P> {
    policy: P,
    stage: ClaimStage,
}

enum ClaimStage {
    Wanted(Once),
    Asked { store: Arc<dyn Store>, digest: Digest, attempt: Attempt, open: OpenClaim },
    Held(Held),
    Over,
}

impl<P> Claiming<P> {
    pub(super) fn new(once: Once, policy: P) -> Self {
        Claiming { policy, stage: ClaimStage::Wanted(once) }
    }
}

impl<R: Replay, P: ErrorPolicy<R::Error>> Layer<R> for Claiming<P> {
    fn claim(&mut self, begun: &mut Begun) -> Result<Option<Ticket<Claimed>>, Refused> {
        let ClaimStage::Wanted(once) = std::mem::replace(&mut self.stage, ClaimStage::Over) else {
            unreachable!("a call claims once")
        };
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
        let ticket = store.claim(ClaimRequest {
            namespace: namespace.into(),
            action: action.to_string(),
            place: once.place.or(facts.place).map(|place| place().to_owned()),
            key,
            digest,
            fingerprint,
            attempt,
            wait_until: (!facts.wait.is_zero()).then(|| Instant::now() + facts.wait),
            retain: facts.retain,
        });
        frame.set_claim(digest);
        self.stage = ClaimStage::Asked { store, digest, attempt, open };
        Ok(Some(ticket))
    }

    fn claimed(&mut self, begun: &Begun, claimed: Option<Claimed>) -> Result<Next<R>, Refused> {
        let ClaimStage::Asked { store, digest, attempt, open } = std::mem::replace(&mut self.stage, ClaimStage::Over)
        else {
            unreachable!("a claim is answered once")
        };
        let unreadable = || {
            Refused::new(
                Kind::ReceiptUnreadable,
                &*begun.action,
                "it has happened, and its receipt can't be read as this return type",
            )
            .advise("was the return type changed? `portcullis ledger show` prints the receipt")
        };
        match claimed {
            Some(Claimed::Run { epoch }) => {
                self.stage = ClaimStage::Held(Held::new(store, digest, attempt, epoch, open));
                Ok(Next::Run)
            }
            Some(Claimed::Replay(Some(receipt))) => {
                let value = serde_json::from_slice(&receipt).map_err(|error| unreadable().because(error))?;
                Ok(Next::Return(R::from_value(value)))
            }
            Some(Claimed::Replay(None)) => Err(unreadable()),
            Some(Claimed::ReplayError(stored)) => {
                self.policy.decode(&stored).map(|error| Next::Return(R::from_error(error))).ok_or_else(unreadable)
            }
            Some(Claimed::Refuse(refused)) => Err(refused),
            None => {
                Err(Refused::new(Kind::LedgerUnavailable, &*begun.action, "the ledger has stopped without an answer")
                    .advise("the body has not run; the log says why the ledger stopped"))
            }
        }
    }

    fn start(&mut self) {
        if let ClaimStage::Held(held) = &mut self.stage {
            held.start();
        }
    }

    fn claim_state(&self) -> Option<&Arc<ClaimState>> {
        match &self.stage {
            ClaimStage::Held(held) => Some(held.state()),
            ClaimStage::Wanted(_) | ClaimStage::Asked { .. } | ClaimStage::Over => None,
        }
    }

    fn finish(&mut self, begun: &Begun, result: R) -> Finish<R> {
        let ClaimStage::Held(held) = &mut self.stage else { unreachable!("a body runs under its claim") };
        let (settlement, result) = match result.as_result() {
            Ok(value) if !result.is_failed_value() => {
                if held.did_not_happen() {
                    tracing::warn!(target: "portcullis", action = &*begun.action, "did_not_happen() was said, and Ok returned: Ok counts");
                    held.put_in_audit("did_not_happen_ignored", &begun.action);
                }
                committed(begun, receipt::<R>(value), result)
            }
            Ok(_) | Err(_) if held.did_not_happen() => (Settlement::Released("did_not_happen"), result),
            Ok(value) => match self.policy.decide_value() {
                OnErr::Hold => (Settlement::InDoubt("err"), result),
                OnErr::Release => (Settlement::Released("err"), result),
                OnErr::Record => committed(begun, receipt::<R>(value), result),
            },
            Err(error) => {
                let settlement = match self.policy.decide(error) {
                    OnErr::Hold => Settlement::InDoubt("err"),
                    OnErr::Release => Settlement::Released("err"),
                    OnErr::Record => match self.policy.encode(error) {
                        Some(bytes) => Settlement::Failed(bytes),
                        None => {
                            tracing::warn!(target: "portcullis", action = &*begun.action, "the error can't be put on record: the call stays in doubt");
                            Settlement::InDoubt("err")
                        }
                    },
                };
                (settlement, result)
            }
        };
        Finish::Settling(held.settle(settlement), result)
    }

    fn settled(&mut self, begun: &Begun, settled: Option<Settled>, result: R) -> Result<R, Refused> {
        self.stage = ClaimStage::Over;
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
            Ok(value) if !result.is_failed_value() => Err(refusal.carrying(serde_json::to_value(value).ok())),
            // The body's own error says more than that the ledger did not hear of it: unheard of, the claim is in doubt, at most.
            Ok(_) | Err(_) => {
                tracing::warn!(target: "portcullis", action = &*begun.action, code = refusal.code(), reason = refusal.reason(), "the error was not settled");
                Ok(result)
            }
        }
    }

    fn abandon(&mut self) {
        if let ClaimStage::Held(held) = &mut self.stage {
            held.abandon("panic");
        }
    }
}

fn unsettled(begun: &Begun, why: &str) -> Refused {
    Refused::new(Kind::Unsettled, &*begun.action, format!("it ran, and its result is not on record: {why}")).advise(
        "the effect happened: keep `Refused::value`, do not run it again; a retry will be refused as `in_doubt`",
    )
}

/// The settlement of a result that counts as it is.
fn committed<R: Replay>(begun: &Begun, kept: Result<(Vec<u8>, R::Value), String>, result: R) -> (Settlement, R) {
    match kept {
        Ok((bytes, value)) => (Settlement::Committed(Some(bytes), ReceiptLoss::None), R::from_value(value)),
        Err(error) => {
            tracing::warn!(target: "portcullis", action = &*begun.action, error, "the result can't be kept as a receipt: retries will get `receipt_unreadable`");
            (Settlement::Committed(None, ReceiptLoss::Unencodable), result)
        }
    }
}

/// The receipt, and the value as a replay would give it: so the first caller and every later one get the same.
fn receipt<R: Replay>(value: &R::Value) -> Result<(Vec<u8>, R::Value), String> {
    let bytes = serde_json::to_vec(value).map_err(|error| error.to_string())?;
    let decoded = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    Ok((bytes, decoded))
}
