//! What is known of a guarded call when it is made.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use super::claim::Claim;
use super::held::ClaimState;
use super::site::{Asked, Facts, Passed, Site};
use super::values::{IntoAction, IntoGate, IntoText, IntoWidth};
use crate::budget::{Cost, IntoCost, InvalidCost};
use crate::gate::Portcullis;
use crate::ledger::fingerprint::Payload;
use crate::ledger::key::Key;
use crate::ledger::{Doubt, Reconciled};

/// One call of a guarded function. `L` is [`Plain`], or [`Once`] if it claims.
pub struct Call<K: 'static, L = Plain> {
    bare: Bare,
    layer: L,
    handover: Option<Arc<Handover>>,
    kind: PhantomData<fn() -> K>,
}

/// What the charging needs to know.
pub(super) struct Bare {
    pub(super) facts: &'static Facts,
    pub(super) claims: bool,
    pub(super) gate: Option<Portcullis>,
    /// What few calls have.
    pub(super) extras: Option<Box<Extras>>,
}

/// The arguments of an attribute that are expressions.
#[derive(Default)]
pub(super) struct Extras {
    pub(super) action: Option<String>,
    pub(super) resource: Option<String>,
    pub(super) width: Option<u64>,
    pub(super) cost: Option<Result<Cost, InvalidCost>>,
    pub(super) per: Option<String>,
    pub(super) task: Option<Naming>,
}

/// The task that the call opens.
pub(super) struct Naming {
    pub(super) id: Key,
    pub(super) kind: Option<String>,
    pub(super) agent: Option<String>,
}

/// The call claims nothing.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

/// The call claims `key` for `payload`.
#[derive(Debug)]
pub struct Once {
    pub(super) key: Key,
    pub(super) payload: Payload,
    pub(super) place: Option<fn() -> &'static str>,
}

impl<K: Asked> Call<K, Plain> {
    /// A call of `site`.
    #[inline]
    pub fn new(site: &'static Site<K>) -> Self {
        let bare = Bare { facts: &site.facts, claims: false, gate: None, extras: None };
        Call { bare, layer: Plain, handover: None, kind: PhantomData }
    }

    /// Adds the claim.
    pub fn once(self, key: Key, payload: Payload) -> Call<K, Once> {
        let Call { bare, layer: Plain, handover, kind } = self;
        Call { bare: Bare { claims: true, ..bare }, layer: Once { key, payload, place: None }, handover, kind }
    }

    /// The body of an async function that binds its permit.
    pub fn bind<F, R>(&mut self, body: F) -> impl Future<Output = R> + use<F, R, K>
    where
        F: AsyncFnOnce(Entered<'_, K>) -> R,
    {
        let handover = self.hand_over();
        async move {
            let (passed, _) = handover.passed();
            body(Entered { permit: K::grant(passed) }).await
        }
    }
}

impl<K: Asked> Call<K, Once> {
    /// Where an unnamed action is, as the name of a closure that stands there. Unlike that of an item it names the types
    /// of an `impl` around the function, so `Shop<Euro>::pay` is not `Shop<Dollar>::pay`.
    pub fn here<F>(mut self, _: &F) -> Self {
        self.layer.place = Some(std::any::type_name::<F>);
        self
    }

    /// The body of an async function that binds its permit or its claim.
    pub fn bind<F, R>(&mut self, body: F) -> impl Future<Output = R> + use<F, R, K>
    where
        F: AsyncFnOnce(EnteredOnce<'_, K>) -> R,
    {
        let handover = self.hand_over();
        async move {
            let (passed, claim) = handover.passed();
            let claim = claim.as_deref().unwrap_or_else(|| polled_too_early());
            body(EnteredOnce { permit: K::grant(passed), claim: Claim::of(claim) }).await
        }
    }
}

impl<K: Asked> Call<K, Once> {
    /// For a body of this crate's own: what it was granted, once it is polled.
    pub(super) fn claimed(&mut self) -> impl FnOnce() -> Arc<ClaimState> + use<K> {
        let handover = self.hand_over();
        move || handover.passed().1.clone().unwrap_or_else(|| polled_too_early())
    }

    /// `reconcile = …` of an async function: asked only if the claim is in doubt.
    pub fn reconcile<F, T>(&mut self, reconcile: F) -> impl Future<Output = Reconciled<T>> + use<F, T, K>
    where
        F: AsyncFnOnce(&Doubt) -> Reconciled<T>,
    {
        let handover = self.hand_over();
        async move {
            match handover.doubt.get() {
                Some(doubt) => reconcile(doubt).await,
                // Nobody was in doubt, so nothing is known.
                None => Reconciled::Unknown,
            }
        }
    }
}

impl<K: Asked, L> Call<K, L> {
    fn hand_over(&mut self) -> Arc<Handover> {
        Arc::clone(self.handover.get_or_insert_default())
    }

    fn extras(&mut self) -> &mut Extras {
        self.bare.extras.get_or_insert_default()
    }

    pub(super) fn split(self) -> (Bare, L, Option<Arc<Handover>>) {
        (self.bare, self.layer, self.handover)
    }

    /// `with = …`
    pub fn with(mut self, gate: &(impl IntoGate + ?Sized)) -> Self {
        self.bare.gate = Some(gate.gate());
        self
    }

    /// `action = …`, where it is no literal.
    pub fn action(mut self, action: impl IntoAction) -> Self {
        self.extras().action = Some(action.into_action());
        self
    }

    /// The call opens the task `id`.
    pub fn task(mut self, id: Key) -> Self {
        self.extras().task = Some(Naming { id, kind: None, agent: None });
        self
    }

    /// `kind = …`
    pub fn kind(mut self, kind: &(impl IntoText + ?Sized)) -> Self {
        if let Some(task) = &mut self.extras().task {
            task.kind = Some(kind.text());
        }
        self
    }

    /// `agent = …`
    pub fn agent(mut self, agent: &(impl IntoText + ?Sized)) -> Self {
        if let Some(task) = &mut self.extras().task {
            task.agent = Some(agent.text());
        }
        self
    }

    /// `resource = …`
    pub fn resource(mut self, resource: &(impl IntoText + ?Sized)) -> Self {
        self.extras().resource = Some(resource.text());
        self
    }

    /// `width = …`
    pub fn width(mut self, width: impl IntoWidth) -> Self {
        self.extras().width = Some(width.into_width());
        self
    }

    /// `cost = …`
    pub fn cost(mut self, cost: impl IntoCost) -> Self {
        self.extras().cost = Some(cost.into_cost());
        self
    }

    /// `per = …`, where it is an expression.
    pub fn per(mut self, key: &(impl IntoText + ?Sized)) -> Self {
        self.extras().per = Some(key.text());
        self
    }
}

impl<K, L> fmt::Debug for Call<K, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("site", &self.bare.facts).finish_non_exhaustive()
    }
}

/// What the body of a call is handed. Only the checked path makes one.
pub struct Entered<'call, K: Asked> {
    /// The permit, or `()`.
    pub permit: K::Permit<'call>,
}

/// What the body of a claiming call is handed. Only the checked path makes one.
pub struct EnteredOnce<'call, K: Asked> {
    /// The permit, or `()`.
    pub permit: K::Permit<'call>,
    /// The claim.
    pub claim: Claim<'call>,
}

impl<K: Asked> fmt::Debug for Entered<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered").finish_non_exhaustive()
    }
}

impl<K: Asked> fmt::Debug for EnteredOnce<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnteredOnce").finish_non_exhaustive()
    }
}

/// How an async body that binds something learns that the checked path let it start.
///
/// The body is one future and the checks are another one around it. A body that is polled by anybody else finds the handover
/// empty and ends the process: it must not have a permit, and there is nobody to refuse to.
#[derive(Debug, Default)]
pub(super) struct Handover {
    passed: OnceLock<(Passed, Option<Arc<ClaimState>>)>,
    doubt: OnceLock<Doubt>,
}

impl Handover {
    /// For the shell: just before the body's first poll.
    pub(super) fn pass(&self, passed: Passed, claim: Option<Arc<ClaimState>>) {
        // A call is driven once, so this is the first.
        let _ = self.passed.set((passed, claim));
    }

    /// For the shell: what the reconcile function is to be asked about.
    pub(super) fn ask_about(&self, doubt: Doubt) {
        // A call asks at most once.
        let _ = self.doubt.set(doubt);
    }

    fn passed(&self) -> &(Passed, Option<Arc<ClaimState>>) {
        self.passed.get().unwrap_or_else(|| polled_too_early())
    }
}

#[cold]
fn polled_too_early() -> ! {
    super::refuse_by_ending(crate::refused::Refused::new(
        crate::refused::Kind::Denied,
        "portcullis::__private",
        "a guarded body was polled outside of its guarded call",
    ))
}
