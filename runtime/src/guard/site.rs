//! What is known of a guarded function at compile time.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::boundary::{Boundary, OnRefusal};
use crate::budget::{Limits, Per};
use crate::ledger::Ways;
use crate::permit::{BeforeCost, BeforeFanOut, BeforeJob, BeforeSideEffect, Kind, Permit, Startup};

/// A guarded function. `K` is the permit that its calls get.
pub struct Site<K = NoPermit> {
    pub(super) facts: Facts,
    kind: PhantomData<fn() -> K>,
}

/// The part of a [`Site`] that does not depend on its permit.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The default namespace.
    pub(super) package: &'static str,
    pub(super) action: &'static str,
    /// Where in the code the function stands, if its action is only its name.
    pub(super) place: Option<fn() -> &'static str>,
    pub(super) boundaries: &'static [Boundary],
    pub(super) on_deny: OnRefusal,
    pub(super) on_fault: OnRefusal,
    pub(super) budget: Option<Budget>,
    pub(super) task: Option<Task>,
    pub(super) wait: Duration,
    pub(super) retain: Option<Duration>,
    /// The ways out of a doubt.
    pub(super) ways: Ways,
    pub(super) max_run: Option<Duration>,
    pub(super) settle: Settle,
}

/// How a call settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settle {
    /// The settlement is on disk before the call returns.
    Durable,
    /// The settlement's flush is not waited for.
    Lazy,
    /// The settlement is in the transaction that has the effect.
    Transaction,
}

#[derive(Debug)]
pub(super) struct Budget {
    pub(super) limits: Limits,
    pub(super) per: Per,
    pub(super) on_exceed: OnRefusal,
}

#[derive(Debug)]
pub(super) struct Task {
    /// What the attribute states.
    pub(super) limits: Limits,
    pub(super) on_exceed: OnRefusal,
    pub(super) durable: bool,
}

impl Facts {
    /// What happens on a refusal that no attribute speaks of: returned if the function can, else the end.
    pub(super) fn otherwise(&self, claims: bool) -> OnRefusal {
        let returns = |on: OnRefusal| on == OnRefusal::Return;
        let asks = !self.boundaries.is_empty();
        let can_return = claims
            || self.task.as_ref().is_some_and(|task| returns(task.on_exceed))
            || self.budget.as_ref().is_some_and(|budget| returns(budget.on_exceed))
            || (asks && (returns(self.on_deny) || returns(self.on_fault)));
        if can_return { OnRefusal::Return } else { OnRefusal::Exit }
    }

    pub(super) fn on_budget(&self, claims: bool) -> OnRefusal {
        self.budget.as_ref().map_or_else(|| self.otherwise(claims), |budget| budget.on_exceed)
    }

    pub(super) fn on_task(&self) -> OnRefusal {
        self.task.as_ref().map_or(OnRefusal::Exit, |task| task.on_exceed)
    }

    pub(super) fn boundary_name(&self) -> &'static str {
        self.boundaries.first().map_or("-", |boundary| boundary.name())
    }
}

impl Site<NoPermit> {
    /// A function whose action is its name. `Here` is a type of its own, whose path is the function's.
    pub const fn unnamed<Here: 'static>(package: &'static str, action: &'static str) -> Self {
        Site::new(package, action, Some(std::any::type_name::<Here>))
    }

    /// A function that names its action.
    pub const fn named(package: &'static str, action: &'static str) -> Self {
        Site::new(package, action, None)
    }

    const fn new(package: &'static str, action: &'static str, place: Option<fn() -> &'static str>) -> Self {
        let facts = Facts {
            package,
            action,
            place,
            boundaries: &[],
            on_deny: OnRefusal::Exit,
            on_fault: OnRefusal::Exit,
            budget: None,
            task: None,
            wait: Duration::ZERO,
            retain: None,
            ways: Ways { reconcile: None, window: None },
            max_run: None,
            settle: Settle::Durable,
        };
        Site { facts, kind: PhantomData }
    }

    /// The boundaries to pass, in order.
    pub const fn boundary(self, boundaries: &'static [Boundary], on_deny: OnRefusal, on_fault: OnRefusal) -> Self {
        self.asking(boundaries, on_deny, on_fault)
    }

    /// The one boundary to pass, for a permit.
    pub const fn permit<K: Kind>(self, on_deny: OnRefusal, on_fault: OnRefusal) -> Site<K> {
        self.asking(Only::<K>::BOUNDARY, on_deny, on_fault)
    }

    const fn asking<K>(self, boundaries: &'static [Boundary], on_deny: OnRefusal, on_fault: OnRefusal) -> Site<K> {
        Site { facts: Facts { boundaries, on_deny, on_fault, ..self.facts }, kind: PhantomData }
    }
}

struct Only<K>(PhantomData<K>);

impl<K: Kind> Only<K> {
    const BOUNDARY: &'static [Boundary] = &[K::BOUNDARY];
}

impl<K> Site<K> {
    /// The function's own budget.
    pub const fn budget(mut self, limits: Limits, per: Per, on_exceed: OnRefusal) -> Self {
        self.facts.budget = Some(Budget { limits, per, on_exceed });
        self
    }

    /// The function opens a task.
    pub const fn task(mut self, limits: Limits, on_exceed: OnRefusal) -> Self {
        self.facts.task = Some(Task { limits, on_exceed, durable: false });
        self
    }

    /// The task that the function opens is kept in the ledger.
    pub const fn durable(mut self) -> Self {
        if let Some(task) = &mut self.facts.task {
            task.durable = true;
        }
        self
    }

    /// How long a duplicate waits for the first one's receipt.
    pub const fn wait(mut self, wait: Duration) -> Self {
        self.facts.wait = wait;
        self
    }

    /// How long a receipt is kept.
    pub const fn retain(mut self, retain: Duration) -> Self {
        self.facts.retain = Some(retain);
        self
    }

    /// There is a reconcile function, which may be asked this long after the body was over.
    pub const fn reconcile(mut self, after: Duration) -> Self {
        self.facts.ways.reconcile = Some(after);
        self
    }

    /// How long the provider deduplicates the idempotency key.
    pub const fn provider_window(mut self, window: Duration) -> Self {
        self.facts.ways.window = Some(window);
        self
    }

    /// How long a body may run before it is put in doubt.
    pub const fn max_run(mut self, max_run: Duration) -> Self {
        self.facts.max_run = Some(max_run);
        self
    }

    /// The whole effect is in the transaction in which the body settles.
    pub const fn settle_in_transaction(mut self) -> Self {
        self.facts.settle = Settle::Transaction;
        self
    }

    /// The settlement's flush is not waited for.
    pub const fn settle_lazily(mut self) -> Self {
        self.facts.settle = Settle::Lazy;
        self
    }
}

impl<K> fmt::Debug for Site<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.fmt(f)
    }
}

/// A call that gets no permit.
#[derive(Clone, Copy, Debug)]
pub enum NoPermit {}

/// The permit that a call gets: [`Permit`] of a boundary, or `()`. Implemented for the five kinds and for [`NoPermit`].
pub trait Asked: Sized + 'static {
    /// What the body is handed.
    type Permit<'call>;
    /// Makes the permit out of the witness of an allow, which only the checked path has.
    fn grant<'call>(passed: &'call Passed) -> Self::Permit<'call>;
}

impl Asked for NoPermit {
    type Permit<'call> = ();
    fn grant(_: &Passed) {}
}

macro_rules! grants {
    ($($kind:ident)*) => {$(
        impl Asked for $kind {
            type Permit<'call> = Permit<'call, $kind>;
            fn grant<'call>(_: &'call Passed) -> Permit<'call, $kind> {
                Permit::granted()
            }
        }
    )*};
}

grants!(Startup BeforeJob BeforeCost BeforeSideEffect BeforeFanOut);

/// Every boundary of this call has been allowed. Made by `steps`, and by nothing outside this module.
#[derive(Debug)]
pub struct Passed(());

impl Passed {
    /// For [`steps`](super::steps) alone.
    pub(super) const fn every_boundary() -> Self {
        Passed(())
    }
}
