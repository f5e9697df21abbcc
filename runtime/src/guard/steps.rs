//! The steps of a guarded call, without a word about how they are waited for.

use std::borrow::Cow;
use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;

use super::call::{Bare, Extras, Plain};
use super::held::ClaimState;
use super::run::{self, Asked, Entry, Run};
use super::site::{Facts, Passed};
use crate::authority::desk::{Answered, Ask};
use crate::boundary::OnRefusal;
use crate::gate::Portcullis;
use crate::halt;
use crate::ledger::{Claimed, Doubt, Reconciled, Settled, TaskAnswer, Ticket};
use crate::outcome::Outcome;
use crate::refused::{Kind, Refused};
use crate::scope::{self, CallFrame, Owed, Own, Payment, Scope, Step};

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

/// A call on its way: its task is entered, and then it is charged.
pub(super) struct Begun {
    pub(super) gate: Gate,
    pub(super) frame: CallFrame,
    pub(super) facts: &'static Facts,
    claims: bool,
    pub(super) action: Cow<'static, str>,
    extras: Option<Box<Extras>>,
    /// A durable task that is being entered.
    asked: Option<Box<Asked>>,
    /// What is to be put on record before anything else.
    owed: Owed,
    /// Left by the shell.
    run: Option<Box<Run>>,
}

/// Task entry and budget charge.
#[inline]
pub(super) fn begin(call: Bare) -> Result<Begun, Refused> {
    let Bare { facts, claims, gate, mut extras } = call;
    let action = match extras.as_mut().and_then(|extras| extras.action.take()) {
        Some(action) => Cow::Owned(action),
        None => Cow::Borrowed(facts.action),
    };
    charge(facts, claims, action, gate, extras)
}

fn charge(
    facts: &'static Facts,
    claims: bool,
    action: Cow<'static, str>,
    gate: Option<Portcullis>,
    mut extras: Option<Box<Extras>>,
) -> Result<Begun, Refused> {
    let gate = find_gate(facts, claims, &action, gate)?;
    let naming = extras.as_mut().and_then(|extras| extras.task.take());
    let (frame, owed) = (CallFrame::default(), Owed::default());
    let mut begun = Begun { gate, frame, facts, claims, action, extras, asked: None, owed, run: None };
    match naming {
        None => begun.charge()?,
        Some(naming) => match run::enter(&begun.gate, facts, &begun.action, naming) {
            Ok(Entry::Entered(run)) => {
                begun.run = Some(run);
                begun.charge()?;
            }
            Ok(Entry::Asked(asked)) => begun.asked = Some(asked),
            Err(refused) => return Err(begun.refuse_task(refused)),
        },
    }
    Ok(begun)
}

/// The whole way to the body of a call that has a budget and nothing else: what costs, in a loop, is moving a [`Begun`] about.
pub(super) fn enter(call: Bare) -> Result<scope::Pop, Refused> {
    let facts = call.facts;
    let gate = find_gate(facts, call.claims, facts.action, call.gate)?;
    let refuse = |refused| gate.refuse(facts.on_budget(call.claims), facts.boundary_name(), refused);
    match scope::enter_step(&gate, facts.action, own(facts, None, None)).map_err(refuse)? {
        Step::Taken(pop) => Ok(pop),
        Step::Owes(frame, owed) => {
            owed.pay(facts.action).wait().map_err(refuse)?;
            Ok(scope::pushed(frame))
        }
    }
}

impl Bare {
    /// May it go in by [`enter`]?
    pub(super) fn is_only_a_step(&self) -> bool {
        self.facts.boundaries.is_empty() && self.extras.is_none() && !self.claims
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
fn own<'a>(facts: &'static Facts, key: Option<&'a str>, task: Option<&'a Arc<Scope>>) -> Option<Own<'a>> {
    let budget = facts.budget.as_ref()?;
    let task = task.map(|task| &**task);
    Some(Own { site: std::ptr::from_ref(facts).addr(), limits: &budget.limits, per: budget.per, key, task })
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
    /// Budget charge.
    fn charge(&mut self) -> Result<(), Refused> {
        let Begun { gate, frame, facts, action, extras, owed, run, .. } = self;
        let task = run.as_ref().map(|run| run.scope());
        let per = extras.as_ref().and_then(|extras| extras.per.as_deref());
        let charged = scope::step(gate, action, own(facts, per, task)).and_then(|stepped| {
            frame.account = stepped.account;
            *owed = stepped.owed;
            if let Some(task) = task {
                frame.set_task(Arc::clone(task));
            }
            let Some(cost) = extras.as_mut().and_then(|extras| extras.cost.take()) else { return Ok(()) };
            let cost = cost.map_err(|error| {
                Refused::new(Kind::InvalidArgument, &**action, format!("its cost is unusable: {error}"))
            })?;
            let own = frame.account.as_ref().into_iter().chain(task.and_then(|task| task.own()));
            let purse = scope::reserve(action, cost, own)?;
            purse.owe(owed);
            frame.set_purse(purse);
            Ok(())
        });
        charged.map_err(|refused| self.refuse_budget(refused))
    }

    fn refuse_budget(&self, refused: Refused) -> Refused {
        self.gate.refuse(self.facts.on_budget(self.claims), self.facts.boundary_name(), refused)
    }

    fn refuse_task(&self, refused: Refused) -> Refused {
        self.gate.refuse(self.facts.on_task(), self.facts.boundary_name(), refused)
    }

    /// A durable task that is being entered. `None`: there is nothing to wait for.
    #[inline]
    pub(super) fn entering(&mut self) -> Option<Ticket<TaskAnswer>> {
        self.asked.as_mut()?.ticket.take()
    }

    /// `None`: the ledger has died, so nothing is entered.
    pub(super) fn entered(&mut self, answer: Option<TaskAnswer>) -> Result<(), Refused> {
        let Some(asked) = self.asked.take() else { return Ok(()) };
        self.run = Some(asked.entered(&self.gate, answer).map_err(|refused| self.refuse_task(refused))?);
        self.charge()
    }

    /// What is to be put on record before the body starts. `None`: nothing.
    #[inline]
    pub(super) fn owed(&mut self) -> Option<Payment> {
        if self.owed.is_nothing() { None } else { Some(std::mem::take(&mut self.owed).pay(&self.action)) }
    }

    pub(super) fn paid(&self, paid: Result<(), Refused>) -> Result<(), Refused> {
        paid.map_err(|refused| self.refuse_budget(refused))?;
        if let Some(purse) = self.frame.purse() {
            purse.is_recorded();
        }
        Ok(())
    }

    /// The task that the call has entered, for the shell to leave.
    pub(super) fn take_run(&mut self) -> Option<Box<Run>> {
        self.run.take()
    }

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
    /// Run the body. The witness is that with which the shell makes the body's permit: the boundaries have been answered,
    /// and the claim granted.
    Run(Passed),
    /// The result is known already.
    Return(R),
    /// Ask the reconcile function about this doubt, and say what it answers.
    Reconcile(Box<Doubt>),
}

/// The witness for a call that claims nothing.
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
    /// What a reconcile function may find.
    type Value;
    /// Ledger claim. `None`: there is nothing to claim.
    fn claim(&mut self, begun: &mut Begun) -> Result<Option<Ticket<Claimed>>, Refused>;
    /// `None`: the ledger has died, so nothing is claimed.
    fn claimed(&mut self, begun: &Begun, claimed: Option<Claimed>) -> Result<Next<R>, Refused>;
    /// A reconcile function has answered: claims again, and says so.
    fn reconciled(
        &mut self,
        begun: &Begun,
        doubt: &Doubt,
        answer: Reconciled<Self::Value>,
    ) -> Result<Ticket<Claimed>, Refused>;
    /// The body starts now.
    fn start(&mut self, begun: &Begun);
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
    type Value = Infallible;
    fn claim(&mut self, _: &mut Begun) -> Result<Option<Ticket<Claimed>>, Refused> {
        Ok(None)
    }
    fn claimed(&mut self, _: &Begun, _: Option<Claimed>) -> Result<Next<R>, Refused> {
        Ok(Next::Run(nothing_to_claim()))
    }
    fn reconciled(&mut self, _: &Begun, _: &Doubt, _: Reconciled<Infallible>) -> Result<Ticket<Claimed>, Refused> {
        unreachable!("what claims nothing is never in doubt")
    }
    fn start(&mut self, _: &Begun) {}
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
