//! `reconcile`: who is in doubt asks the provider, and never runs because of age alone.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Barrier, Mutex};
use std::task::{Context, Waker};

use portcullis::ledger::{ClaimState, Filter};
use portcullis::{Claim, Doubt, Reconciled, once};

use super::*;

/// A provider, and what it has seen.
#[derive(Default)]
struct Provider {
    /// How the next charges end; those after these succeed.
    ends: Mutex<VecDeque<Result<(), Error>>>,
    /// The epochs in which it was charged.
    charges: Mutex<Vec<u64>>,
    /// What it says when it is asked.
    says: Mutex<VecDeque<Reconciled<String>>>,
    /// What it was asked about: epoch and how that ended.
    asked: Mutex<Vec<(u64, Option<String>)>>,
}

impl Provider {
    fn losing() -> Self {
        let provider = Provider::default();
        provider.ends.lock().unwrap().push_back(Err(Error::Lost));
        provider
    }

    fn saying(self, says: impl IntoIterator<Item = Reconciled<String>>) -> Self {
        self.says.lock().unwrap().extend(says);
        self
    }

    fn charge(&self, claim: &Claim<'_>) -> Result<String, Error> {
        self.charges.lock().unwrap().push(claim.epoch());
        let end = self.ends.lock().unwrap().pop_front().unwrap_or(Ok(()));
        end.map(|()| format!("charged in epoch {}", claim.epoch()))
    }

    fn find(&self, doubt: &Doubt) -> Reconciled<String> {
        self.asked.lock().unwrap().push((doubt.epoch(), doubt.ended().map(str::to_owned)));
        self.says.lock().unwrap().pop_front().unwrap_or(Reconciled::Unknown)
    }

    fn charges(&self) -> Vec<u64> {
        self.charges.lock().unwrap().clone()
    }

    fn times_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[once(
    action = "charge",
    key = "order",
    skip(gate, provider),
    with = gate,
    claim = claim,
    reconcile = |doubt| provider.find(doubt)
)]
fn charge(gate: &Portcullis, provider: &Provider, order: &str, cents: u64) -> Result<String, Error> {
    provider.charge(&claim)
}

#[test]
fn what_has_happened_gives_its_receipt_to_everybody_and_runs_no_more() {
    let (room, provider) = (Room::new(), Provider::losing().saying([Reconciled::Happened("found".into())]));
    let gate = room.gate();
    assert!(matches!(charge(&gate, &provider, "o-1", 5), Err(Error::Lost)));
    for _ in 0..3 {
        assert_eq!(charge(&gate, &provider, "o-1", 5).unwrap(), "found");
    }
    assert_eq!(provider.charges(), [1]);
    assert_eq!(*provider.asked.lock().unwrap(), [(1, Some("err".to_owned()))], "it is asked once");
    let record = room.record_of("charge", "o-1");
    assert_eq!((record.state, record.settled_by.as_deref()), (ClaimState::Committed, Some("reconciliation")));
    assert_eq!(room.kinds_of("charge", "o-1"), ["in_doubt", "reconciled"]);
}

#[test]
fn what_has_not_happened_runs_under_the_next_epoch() {
    let (room, provider) = (Room::new(), Provider::losing().saying([Reconciled::DidNotHappen]));
    let gate = room.gate();
    charge(&gate, &provider, "o-1", 5).unwrap_err();
    for _ in 0..2 {
        assert_eq!(charge(&gate, &provider, "o-1", 5).unwrap(), "charged in epoch 2");
    }
    assert_eq!(provider.charges(), [1, 2]);
}

#[test]
fn of_what_nobody_knows_the_doubt_stays_and_is_asked_about_again() {
    let (room, provider) = (Room::new(), Provider::losing());
    let gate = room.gate();
    charge(&gate, &provider, "o-1", 5).unwrap_err();
    for asked in 1..=2 {
        refused(charge(&gate, &provider, "o-1", 5), Kind::InDoubt);
        assert_eq!(provider.times_asked(), asked);
    }
    assert_eq!(provider.charges(), [1]);
    assert_eq!(room.kinds_of("charge", "o-1"), ["in_doubt", "reconciled", "reconciled"]);
}

#[test]
fn nobody_is_asked_about_another_payload_or_where_there_is_no_doubt() {
    let (room, provider) = (Room::new(), Provider::default());
    let gate = room.gate();
    charge(&gate, &provider, "o-1", 5).unwrap();
    charge(&gate, &provider, "o-1", 5).unwrap();
    provider.ends.lock().unwrap().push_back(Err(Error::Lost));
    charge(&gate, &provider, "o-2", 5).unwrap_err();
    refused(charge(&gate, &provider, "o-2", 6), Kind::KeyConflict);
    assert_eq!(provider.times_asked(), 0);
}

#[once(
    action = "charge.late",
    key = "order",
    skip(gate, provider),
    with = gate,
    claim = claim,
    reconcile = |doubt| provider.find(doubt),
    reconcile_after = "1h"
)]
fn charge_and_wait(gate: &Portcullis, provider: &Provider, order: &str) -> Result<String, Error> {
    provider.charge(&claim)
}

#[test]
fn a_provider_whose_reads_lag_is_not_asked_too_soon() {
    let (room, provider) = (Room::new(), Provider::losing().saying([Reconciled::DidNotHappen]));
    let gate = room.gate();
    charge_and_wait(&gate, &provider, "o-1").unwrap_err();
    room.long_ago(Duration::from_secs(3599));
    let refusal = refused(charge_and_wait(&gate, &provider, "o-1"), Kind::InDoubt);
    assert!(refusal.reason().contains("too soon to ask"), "{refusal}");
    assert_eq!(provider.times_asked(), 0);

    room.long_ago(Duration::from_secs(2));
    assert_eq!(charge_and_wait(&gate, &provider, "o-1").unwrap(), "charged in epoch 2");
}

#[test]
fn a_clock_that_was_set_back_asks_nobody_too_soon() {
    let (room, provider) = (Room::new(), Provider::losing().saying([Reconciled::DidNotHappen]));
    let gate = room.gate();
    charge_and_wait(&gate, &provider, "o-1").unwrap_err();
    room.set_clock_back(Duration::from_secs(60));
    let refusal = refused(charge_and_wait(&gate, &provider, "o-1"), Kind::InDoubt);
    assert!(refusal.reason().contains("clock has gone backwards"), "{refusal}");
    assert_eq!(provider.times_asked(), 0);
}

/// The children's function, as seen by somebody who can ask.
#[once(action = "effect", key = "key", skip(gate, says), with = gate, claim = claim, reconcile = says)]
fn effect(gate: &Portcullis, key: &str, says: fn(&Doubt) -> Reconciled<String>) -> Result<String, Error> {
    Ok(format!("again in epoch {}", claim.epoch()))
}

#[test]
fn a_killed_process_is_reconciled_by_the_next_and_not_while_it_lives() {
    let room = Room::new();
    let gate = room.gate();
    let happened: fn(&Doubt) -> _ = |doubt| Reconciled::Happened(format!("found {}", doubt.key()));
    let did_not: fn(&Doubt) -> _ = |_| Reconciled::DidNotHappen;
    let unasked: fn(&Doubt) -> _ = |_| panic!("nobody is to be asked while it runs");
    for (key, says, expected) in
        [("k-1", happened, "found k-1".to_owned()), ("k-2", did_not, "again in epoch 2".to_owned())]
    {
        let mut child = room.start(&["slowly", key]);
        child.expect("started");
        refused(effect(&gate, key, unasked), Kind::InFlight);
        child.kill();
        assert_eq!(effect(&gate, key, says).unwrap(), expected);
        assert_eq!(effect(&gate, key, unasked).unwrap(), expected);
        assert_eq!(room.effects()[key], 1, "of the child's own");
    }
}

#[test]
fn a_process_killed_between_its_claim_and_its_body_is_in_doubt_and_without_an_effect() {
    let room = Room::new();
    let gate = room.gate();
    let mut child = room.start(&["claim-only", "k"]);
    child.expect("claimed");
    child.kill();
    let unknown: fn(&Doubt) -> _ = |_| Reconciled::Unknown;
    refused(effect(&gate, "k", unknown), Kind::InDoubt);
    assert_eq!(room.effects().get("k"), None);
    assert_eq!(effect(&gate, "k", |_| Reconciled::DidNotHappen).unwrap(), "again in epoch 2");
}

/// Two who ask at once, and are answered at once.
#[once(
    action = "charge.race",
    key = "order",
    skip(gate, provider, both),
    with = gate,
    claim = claim,
    wait = "20s",
    reconcile = |_| { both.wait(); Reconciled::DidNotHappen }
)]
fn race(gate: &Portcullis, provider: &Provider, both: &Barrier, order: &str) -> Result<String, Error> {
    provider.charge(&claim)
}

#[test]
fn of_two_who_reconcile_at_once_one_is_heard() {
    let room = Room::new();
    let gate = room.gate();
    for round in 0..20 {
        let (order, provider, both) = (format!("o-{round}"), Provider::losing(), Barrier::new(2));
        race(&gate, &provider, &both, &order).unwrap_err();
        let told = std::thread::scope(|threads| {
            let calls = [(); 2].map(|()| threads.spawn(|| race(&gate, &provider, &both, &order).unwrap()));
            calls.map(|call| call.join().unwrap())
        });
        assert_eq!(told, ["charged in epoch 2", "charged in epoch 2"]);
        assert_eq!(provider.charges(), [1, 2]);
        let applied: Vec<_> = room
            .events_of("charge.race", &order)
            .into_iter()
            .filter(|event| event.kind == "reconciled")
            .map(|event| event.detail["applied"].as_bool().unwrap())
            .collect();
        assert_eq!(applied, [true, false]);
    }
}

#[once(action = "asks.itself", key = "order", skip(gate), with = gate, reconcile = |_| asks_itself_again(gate, order))]
fn asks_itself(gate: &Portcullis, order: &str) -> Result<String, Error> {
    Err(Error::Lost)
}

fn asks_itself_again(gate: &Portcullis, order: &str) -> Reconciled<String> {
    refused(asks_itself(gate, order), Kind::Reentrant);
    Reconciled::Unknown
}

#[test]
fn who_asks_for_its_own_claim_while_reconciling_it_is_refused() {
    let room = Room::new();
    let gate = room.gate();
    asks_itself(&gate, "o-1").unwrap_err();
    refused(asks_itself(&gate, "o-1"), Kind::InDoubt);
}

#[once(action = "asks.badly", key = "order", skip(gate), with = gate, reconcile = |_| panic!("while asking"))]
fn asks_badly(gate: &Portcullis, order: &str) -> Result<String, Error> {
    Err(Error::Lost)
}

#[test]
fn a_reconciliation_that_panics_says_nothing() {
    let room = Room::new();
    let gate = room.gate();
    asks_badly(&gate, "o-1").unwrap_err();
    let call = || asks_badly(&gate, "o-1");
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"while asking"));
    assert_eq!(room.record_of("asks.badly", "o-1").state, ClaimState::InDoubt);
    assert_eq!(room.kinds_of("asks.badly", "o-1"), ["in_doubt"]);
}

struct Shop {
    gate: Portcullis,
    provider: Provider,
}

impl Shop {
    async fn find(&self, doubt: &Doubt) -> Reconciled<String> {
        tokio::task::yield_now().await;
        self.provider.find(doubt)
    }

    #[once(action = "shop.charge", key = "order", with = self.gate, claim = claim, reconcile = async |doubt| self.find(doubt).await)]
    async fn charge(&self, order: &str) -> Result<String, Error> {
        tokio::task::yield_now().await;
        self.provider.charge(&claim)
    }

    async fn never(_: &Doubt) -> Reconciled<String> {
        std::future::pending().await
    }

    #[once(action = "shop.charge", key = "order", with = self.gate, reconcile = Shop::never)]
    async fn charge_and_never_know(&self, order: &str) -> Result<String, Error> {
        Ok("without asking".into())
    }
}

#[tokio::test]
async fn an_async_function_awaits_what_it_asks() {
    let room = Room::new();
    let provider = Provider::losing().saying([Reconciled::Unknown, Reconciled::DidNotHappen]);
    let shop = Shop { gate: room.gate(), provider };
    assert!(matches!(shop.charge("o-1").await, Err(Error::Lost)));
    refused(shop.charge("o-1").await, Kind::InDoubt);
    assert_eq!(shop.charge("o-1").await.unwrap(), "charged in epoch 2");
    assert_eq!(shop.charge("o-1").await.unwrap(), "charged in epoch 2");
    assert_eq!(shop.provider.charges(), [1, 2]);
}

#[tokio::test]
async fn a_future_that_is_dropped_while_it_asks_changes_nothing() {
    let room = Room::new();
    let provider = Provider::losing().saying([Reconciled::DidNotHappen]);
    let shop = Shop { gate: room.gate(), provider };
    shop.charge("o-1").await.unwrap_err();
    {
        let mut asking = pin!(shop.charge_and_never_know("o-1"));
        for _ in 0..1000 {
            assert!(asking.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            std::thread::yield_now();
        }
    }
    let found = room.ledger().list(&Filter::new().state(ClaimState::InDoubt)).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(shop.charge("o-1").await.unwrap(), "charged in epoch 2");
}
