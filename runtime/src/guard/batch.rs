//! One body for many claims.
//!
//! Every item is a guarded call of its own, so that no rule holds for one call and not for a batch. Their bodies meet: each one that
//! is reached takes a seat and waits for its outcome, and when every call is over or seated, the common body runs once, for those
//! that are seated.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use super::call::Call;
use super::claim::Claim;
use super::future::once;
use super::held::ClaimState;
use super::on_err::Hold;
use super::site::Site;
use crate::halt;
use crate::ledger::fingerprint::Payload;
use crate::ledger::key::Key;
use crate::refused::{Kind, Refused};

/// One body for many claims: for a provider that takes many orders in one request.
///
/// Made by [`batch!`](crate::ledger::batch), as a `static`. [`run`](Self::run) claims every item, runs the body once with those
/// that were granted, and settles each by its own outcome. Concurrent claims share statements on PostgreSQL and commits on SQLite,
/// and so do settlements: a batch of a thousand takes a few of each.
///
/// Each item is to the ledger what a call of a `#[once]` function is: it has its own key, epoch, receipt and doubt, is one step on the
/// budgets around it, and is claimed on the gate of the nearest [`scope`](crate::Portcullis::scope), or on the installed one. Its
/// payload is that of a function with one parameter, `item`.
///
/// A batch asks no authority: the function that runs it does, with `#[boundary(before_fan_out)]` or whatever fits. For `reconcile`,
/// `provider_window`, `max_run`, `settle_in` and other meanings of an error, use `#[once]` on a function and call it for each item; calls
/// that run at the same time share statements all the same.
///
/// ```
/// use portcullis::Refused;
/// use portcullis::ledger::Batch;
/// # use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize)]
/// struct Payout { id: u64, cents: u64 }
///
/// static PAYOUTS: Batch = portcullis::ledger::batch!("payouts");
///
/// async fn pay_out(payouts: Vec<Payout>) -> Vec<Result<String, Refused>> {
///     PAYOUTS
///         .run(payouts, |payout| payout.id, async |granted| {
///             // … one request to the bank, with `granted[i].claim().idempotency_key()` for each …
///             granted.iter().map(|payout| Ok(format!("paid {} cents", payout.item.cents))).collect()
///         })
///         .await
/// }
/// # let dir = tempfile::tempdir().unwrap();
/// # let gate = portcullis::Portcullis::builder().ledger(format!("sqlite:{}", dir.path().join("l").display())).build().unwrap();
/// # let paid = pollster::block_on(gate.scope(pay_out(vec![Payout { id: 1, cents: 5 }, Payout { id: 2, cents: 7 }])));
/// # assert_eq!(paid.into_iter().map(Result::unwrap).collect::<Vec<_>>(), ["paid 5 cents", "paid 7 cents"]);
/// ```
pub struct Batch {
    site: Site,
    /// The same, for who waits.
    waiting: Site,
    at_most: NonZeroUsize,
}

/// An item that was granted: its effect is the body's to bring about.
pub struct BatchItem<I> {
    /// What the batch was given.
    pub item: I,
    state: Arc<ClaimState>,
}

impl<I> BatchItem<I> {
    /// Its claim.
    #[must_use]
    pub fn claim(&self) -> Claim<'_> {
        Claim::of(&self.state)
    }
}

/// An item that is still to be claimed.
struct Wanted<I> {
    /// Where its outcome belongs.
    place: usize,
    item: I,
    key: Key,
    payload: Payload,
}

impl<I: Serialize> Wanted<I> {
    fn new<K: Serialize>(place: usize, item: I, key: &impl Fn(&I) -> K) -> Self {
        let (key, payload) = (Key::of(&key(&item)), Payload::new().arg("item", &item));
        Wanted { place, item, key, payload }
    }
}

/// What became of one: its own outcome, or why there is none.
type Answer<T, E> = Result<T, Failure<E>>;

enum Failure<E> {
    Own(E),
    Refused(Refused),
}

/// A call whose body was reached.
struct Seated<R> {
    seat: usize,
    state: Arc<ClaimState>,
    answer: oneshot::Sender<R>,
}

impl Batch {
    /// For [`batch!`](crate::ledger::batch).
    #[doc(hidden)]
    #[must_use]
    pub const fn named(package: &'static str, action: &'static str) -> Self {
        let (site, waiting) = (Site::named(package, action), Site::named(package, action));
        Batch { site, waiting, at_most: NonZeroUsize::MAX }
    }

    /// How long receipts are kept. Default: for ever.
    #[must_use]
    pub const fn retain(self, retain: Duration) -> Self {
        let Batch { site, waiting, at_most } = self;
        Batch { site: site.retain(retain), waiting: waiting.retain(retain), at_most }
    }

    /// How long an item that somebody else is at is waited for. Default: not at all, it is refused as `in_flight`. Such items are claimed
    /// again when the others are settled, one after the other and each with this much time: a batch that waits holds nothing that others wait for.
    #[must_use]
    pub const fn wait(self, wait: Duration) -> Self {
        let Batch { site, waiting, at_most } = self;
        Batch { site, waiting: waiting.wait(wait), at_most }
    }

    /// How many items the body gets at once. What comes after them is claimed when they are settled: if the process dies, it is not in
    /// doubt, for nobody has started it. Default: all of them.
    #[must_use]
    pub const fn at_most(self, at_most: NonZeroUsize) -> Self {
        let Batch { site, waiting, at_most: _ } = self;
        Batch { site, waiting, at_most }
    }

    /// Claims every item, runs `body` with those that were granted, and settles each by its outcome. The answers come in the order of
    /// the items.
    ///
    /// `body` returns one outcome for each item it was given, in their order. It does not run if nothing was granted. It runs again
    /// for what comes after the first [`at_most`](Self::at_most), and for an item that was [waited](Self::wait) for and is granted after all. Of
    /// two items with one key the second is claimed when the first is settled: it gets the same receipt, or is a conflict if it is another
    /// payload, and it is given to the body only if the first one [did not happen](Claim::did_not_happen).
    ///
    /// # Errors
    /// Each item has its own, as a call of a `#[once]` function would. An `Err` of the body leaves its item in doubt, unless the body said
    /// [`did_not_happen`](Claim::did_not_happen). If the body returns more or fewer outcomes than it was given items, nobody knows which
    /// is whose, and all of them are in doubt.
    ///
    /// # Panics
    /// If `body` does; what it was given is in doubt then.
    ///
    /// # Cancel safety
    /// Dropped before the body runs, it releases what it has claimed; while the body runs, it leaves what that was given in doubt;
    /// later, what is not settled yet still is.
    pub async fn run<I, K, T, E, F>(
        &'static self,
        items: impl IntoIterator<Item = I>,
        key: impl Fn(&I) -> K,
        mut body: impl FnMut(Vec<BatchItem<I>>) -> F,
    ) -> Vec<Result<T, E>>
    where
        I: Serialize,
        K: Serialize,
        T: Serialize + DeserializeOwned,
        E: From<Refused>,
        F: Future<Output = Vec<Result<T, E>>>,
    {
        let items = items.into_iter().enumerate();
        let mut wanted: VecDeque<Wanted<I>> = items.map(|(place, item)| Wanted::new(place, item, &key)).collect();
        let mut answers: Vec<Option<Answer<T, E>>> = wanted.iter().map(|_| None).collect();
        let mut elsewhere = Vec::new();
        while !wanted.is_empty() {
            let round = next_round(&mut wanted, self.at_most.get());
            elsewhere.extend(round_of(&self.site, round, &mut answers, &mut body).await);
        }
        if !self.waiting.facts.wait.is_zero() {
            for (place, item) in elsewhere {
                let alone = vec![Wanted::new(place, item, &key)];
                drop(round_of(&self.waiting, alone, &mut answers, &mut body).await);
            }
        }
        let answers = answers.into_iter().map(|answer| match answer {
            Some(Ok(value)) => Ok(value),
            Some(Err(Failure::Own(error))) => Err(error),
            Some(Err(Failure::Refused(refused))) => Err(E::from(refused)),
            None => unreachable!("every item is in a round, and every call has its end"),
        });
        answers.collect()
    }

    /// The same where nothing awaits. Blocks the thread, also inside an async runtime.
    ///
    /// # Errors
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_sync<I, K, T, E>(
        &'static self,
        items: impl IntoIterator<Item = I>,
        key: impl Fn(&I) -> K,
        mut body: impl FnMut(Vec<BatchItem<I>>) -> Vec<Result<T, E>>,
    ) -> Vec<Result<T, E>>
    where
        I: Serialize,
        K: Serialize,
        T: Serialize + DeserializeOwned,
        E: From<Refused>,
    {
        pollster::block_on(self.run(items, key, |granted| ready(body(granted))))
    }
}

/// Claims these, runs the body with those that are granted, and settles them. Gives back what somebody else is at.
async fn round_of<I, T, E, F>(
    site: &'static Site,
    round: Vec<Wanted<I>>,
    answers: &mut [Option<Answer<T, E>>],
    body: &mut impl FnMut(Vec<BatchItem<I>>) -> F,
) -> Vec<(usize, I)>
where
    T: Serialize + DeserializeOwned,
    F: Future<Output = Vec<Result<T, E>>>,
{
    let (arrive, mut arrivals) = mpsc::unbounded_channel();
    let (mut places, mut items) = (Vec::new(), Vec::new());
    let mut calls = FuturesUnordered::new();
    for (seat, Wanted { place, item, key, payload }) in round.into_iter().enumerate() {
        places.push(place);
        items.push(Some(item));
        calls.push(call(site, key, payload, seat, arrive.clone()));
    }
    let mut elsewhere = Vec::new();
    let (mut open, mut seated) = (places.len(), Vec::new());
    poll_fn(|cx| {
        loop {
            let polled = calls.poll_next_unpin(cx);
            while let Ok(one) = arrivals.try_recv() {
                seated.push(one);
            }
            match polled {
                Poll::Ready(Some((seat, answer))) => {
                    if let Err(Failure::Refused(refused)) = &answer
                        && refused.kind() == Kind::InFlight
                    {
                        elsewhere.extend(items[seat].take().map(|item| (places[seat], item)));
                    }
                    answers[places[seat]] = Some(answer);
                    open -= 1;
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending if seated.len() == open => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    if !seated.is_empty() {
        seated.sort_unstable_by_key(|one| one.seat);
        run_body(site, seated, &mut items, body).await;
        while let Some((seat, answer)) = calls.next().await {
            answers[places[seat]] = Some(answer);
        }
    }
    elsewhere
}

/// Runs the common body, and hands its outcomes out. If it does not come to that, the calls are dropped with their claims armed.
async fn run_body<I, T, E, F>(
    site: &'static Site,
    seated: Vec<Seated<Answer<T, E>>>,
    items: &mut [Option<I>],
    body: &mut impl FnMut(Vec<BatchItem<I>>) -> F,
) where
    F: Future<Output = Vec<Result<T, E>>>,
{
    // The last look before the body, as every call has it.
    if halt::halted() {
        for Seated { state, answer, .. } in seated {
            state.did_not_happen.store(true, Ordering::Release);
            let refused = Refused::new(Kind::Halted, &*state.action, "this process is ending");
            let _ = answer.send(Err(Failure::Refused(refused)));
        }
        return;
    }
    let (mut granted, mut waiting) = (Vec::with_capacity(seated.len()), Vec::with_capacity(seated.len()));
    for Seated { seat, state, answer } in seated {
        if let Some(item) = items[seat].take() {
            // From here on, nobody can say that nothing happened but the body.
            state.seated.store(false, Ordering::Release);
            granted.push(BatchItem { item, state });
            waiting.push(answer);
        }
    }
    let outcomes = body(granted).await;
    if outcomes.len() != waiting.len() {
        // Their answers are dropped.
        let (given, returned) = (waiting.len(), outcomes.len());
        tracing::error!(target: "portcullis", action = site.facts.action, given, returned, "a batch's body returned another number of outcomes than it was given items: all of them are in doubt");
        return;
    }
    for (answer, outcome) in waiting.into_iter().zip(outcomes) {
        // Its call waits for it.
        let _ = answer.send(outcome.map_err(Failure::Own));
    }
}

/// The guarded call of one item. Its body waits for what the common one makes of it.
fn call<T, E>(
    site: &'static Site,
    key: Key,
    payload: Payload,
    seat: usize,
    arrive: mpsc::UnboundedSender<Seated<Answer<T, E>>>,
) -> impl Future<Output = (usize, Answer<T, E>)>
where
    T: Serialize + DeserializeOwned,
{
    let mut call = Call::new(site).once(key, payload);
    let claimed = call.claimed();
    let body = async move {
        let state = claimed();
        state.seated.store(true, Ordering::Release);
        let (answer, answered) = oneshot::channel();
        // Who drives this call hears it.
        let _ = arrive.send(Seated { seat, state, answer });
        answered.await.unwrap_or_else(|_| Err(Failure::Refused(no_outcome(site))))
    };
    let guarded = once(call, |refused| Err(Failure::Refused(refused)), Hold, body);
    async move { (seat, guarded.await) }
}

fn no_outcome(site: &Site) -> Refused {
    let why =
        "the batch's body returned another number of outcomes than it was given items, so nobody knows which is whose";
    Refused::new(Kind::InDoubt, site.facts.action, why).advise("return one outcome for each item, in their order")
}

/// The next ones, of each key one: the second of a key is claimed when the first is settled.
fn next_round<I>(wanted: &mut VecDeque<Wanted<I>>, at_most: usize) -> Vec<Wanted<I>> {
    let (mut round, mut later) = (Vec::new(), Vec::new());
    let mut keys: HashSet<String> = HashSet::new();
    while round.len() < at_most
        && let Some(one) = wanted.pop_front()
    {
        // A key that can't be one is refused by its own call.
        match one.key.text() {
            Some(key) if keys.contains(key) => later.push(one),
            Some(key) => {
                keys.insert(key.to_owned());
                round.push(one);
            }
            None => round.push(one),
        }
    }
    later.into_iter().rev().for_each(|one| wanted.push_front(one));
    round
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("site", &self.site).field("at_most", &self.at_most).finish()
    }
}

impl<I: fmt::Debug> fmt::Debug for BatchItem<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchItem").field("item", &self.item).finish_non_exhaustive()
    }
}

/// A [`Batch`](crate::ledger::Batch) with this action, for a `static`. The action is the claims' name in the ledger, as `action = …` is
/// for `#[once]`; their default namespace is the package in which this is written.
#[doc(hidden)]
#[macro_export]
macro_rules! __batch {
    ($action:literal) => {
        $crate::ledger::Batch::named(env!("CARGO_PKG_NAME"), $action)
    };
}
