//! One body for many claims.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use portcullis::ledger::{Batch, BatchItem, ClaimState, Filter, batch};
use portcullis::once;
use serde::Serialize;

use super::*;

#[derive(Clone, Debug, Serialize)]
struct Order {
    key: usize,
    cents: usize,
}

fn orders(keys: impl IntoIterator<Item = usize>) -> Vec<Order> {
    keys.into_iter().map(|key| Order { key, cents: 5 }).collect()
}

static ORDERS: Batch = batch!("orders");

/// What each body was given.
type Given = Mutex<Vec<Vec<usize>>>;

fn effect(room: &Room, key: usize) {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(room.effects_path());
    file.unwrap().write_all(format!("{key}\n").as_bytes()).unwrap();
}

fn order_each(room: &Room, given: &Given, granted: &[BatchItem<Order>]) -> Vec<Result<String, Error>> {
    given.lock().unwrap().push(granted.iter().map(|granted| granted.item.key).collect());
    let order = |BatchItem { item, .. }: &BatchItem<Order>| {
        effect(room, item.key);
        Ok(format!("{} for {}", item.cents, item.key))
    };
    granted.iter().map(order).collect()
}

fn run_batch(gate: &Portcullis, room: &Room, given: &Given, orders: Vec<Order>) -> Vec<Result<String, Error>> {
    let body = |granted: Vec<BatchItem<Order>>| order_each(room, given, &granted);
    gate.scope_sync(|| ORDERS.run_sync(orders, |order| order.key, body))
}

/// The same claim, alone: a batch's payload is that of a function with one parameter `item`.
#[once(action = "orders", key = "item.key", skip(gate), with = gate, wait = "20s")]
fn order_alone(gate: &Portcullis, item: &Order) -> Result<String, Error> {
    Ok(format!("{} alone", item.key))
}

fn states(room: &Room, state: ClaimState) -> usize {
    room.ledger().list(&Filter::new().action("orders").state(state).limit(10_000)).unwrap().len()
}

#[test]
fn of_a_batch_each_item_has_its_outcome_and_the_body_runs_once() {
    let Some(room) = Room::ready() else { return };
    let (gate, given) = (room.gate(), Given::default());
    let mut wanted = orders(0..1000);
    // Ten twice, three with another payload.
    wanted.extend(orders((0..10).map(|i| i * 7)));
    wanted.extend((0..3).map(|key| Order { key, cents: 6 }));
    let outcomes = run_batch(&gate, &room, &given, wanted.clone());
    let bodies = given.lock().unwrap().clone();
    assert_eq!((bodies.len(), &bodies[0]), (1, &(0..1000).collect()));
    for (order, outcome) in wanted.iter().zip(outcomes) {
        if order.cents == 6 {
            refused(outcome, Kind::KeyConflict);
        } else {
            assert_eq!(outcome.unwrap(), format!("5 for {}", order.key));
        }
    }
    let effects = room.effects();
    assert!(effects.len() == 1000 && effects.values().all(|count| *count == 1));
    assert_eq!(order_alone(&gate, &orders([3])[0]).unwrap(), "5 for 3");
    // Who comes later gets the receipts, and what is new runs.
    let outcomes = run_batch(&room.gate(), &room, &given, orders(990..1010));
    assert!(outcomes.into_iter().zip(990..).all(|(outcome, key)| outcome.unwrap() == format!("5 for {key}")));
    assert_eq!(given.lock().unwrap()[1..], [(1000..1010).collect::<Vec<_>>()]);
    // Nothing was granted: no body.
    run_batch(&gate, &room, &given, orders(0..1010));
    assert_eq!(given.lock().unwrap().len(), 2);
}

#[test]
fn a_batch_that_is_killed_half_way_leaves_in_doubt_what_its_body_was_given_and_nothing_else() {
    let Some(room) = Room::ready() else { return };
    let mut first = room.start(&["batch", "1000", "525"]);
    first.end();
    assert_eq!(room.effects().len(), 525);
    // Ten rounds of 50 items are settled, 13 of which were no new keys, and 38 effects of the eleventh had happened.
    let mut second = room.start(&["batch", "1000", "0"]);
    second.expect(r#"{"in_doubt": 50, "key_conflict": 3, "ok": 947}"#);
    let effects = room.effects();
    assert!(effects.values().all(|count| *count == 1), "{effects:?}");
    // 987 keys, but those 12 whose effects the first body had not come to.
    assert_eq!((effects.len(), states(&room, ClaimState::InDoubt)), (987 - 12, 50));
}

#[test]
fn what_a_batch_was_granted_is_in_doubt_after_a_panic_and_after_outcomes_that_fit_nobody() {
    let Some(room) = Room::ready() else { return };
    let gate = room.gate();
    let panics = |_: Vec<BatchItem<Order>>| -> Vec<Result<String, Error>> { panic!("the body panics") };
    let run = || gate.scope_sync(|| ORDERS.run_sync(orders(0..3), |order| order.key, panics));
    catch_unwind(AssertUnwindSafe(run)).unwrap_err();
    // Who lets go waits for nobody.
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while states(&room, ClaimState::InDoubt) < 3 {
        assert!(std::time::Instant::now() < until);
    }
    assert_eq!(room.kinds_of("orders", "1"), ["in_doubt"]);
    assert_eq!(room.record_of("orders", "1").ended.as_deref(), Some("panic"));
    // One too few: whose is which?
    let too_few = |granted: Vec<BatchItem<Order>>| {
        granted.iter().skip(1).map(|_| Ok::<_, Error>("done".to_owned())).collect::<Vec<_>>()
    };
    for outcome in gate.scope_sync(|| ORDERS.run_sync(orders(3..6), |order| order.key, too_few)) {
        let refused = refused(outcome, Kind::InDoubt);
        assert!(refused.reason().contains("another number of outcomes"), "{refused}");
    }
    assert_eq!(states(&room, ClaimState::InDoubt), 6);
    // And they stay so, while others run.
    let given = Given::default();
    let outcomes = run_batch(&gate, &room, &given, orders(0..7));
    for (key, outcome) in outcomes.into_iter().enumerate() {
        if key == 6 { assert_eq!(outcome.unwrap(), "5 for 6") } else { drop(refused(outcome, Kind::InDoubt)) }
    }
    assert_eq!(*given.lock().unwrap(), [[6]]);
}

#[test]
fn each_item_of_a_batch_says_for_itself_what_its_error_means() {
    let Some(room) = Room::ready() else { return };
    let gate = room.gate();
    let body = |granted: Vec<BatchItem<Order>>| {
        let order = |one: &BatchItem<Order>| match one.item.key {
            0 => Ok("done".to_owned()),
            1 => Err(Error::Lost),
            _ => {
                one.claim().did_not_happen();
                Err(Error::Lost)
            }
        };
        let keys: std::collections::HashSet<String> =
            granted.iter().map(|one| one.claim().idempotency_key().to_owned()).collect();
        assert_eq!(keys.len(), granted.len());
        granted.iter().map(order).collect::<Vec<_>>()
    };
    let outcomes = gate.scope_sync(|| ORDERS.run_sync(orders(0..3), |order| order.key, body));
    assert!(matches!(outcomes.as_slice(), [Ok(_), Err(Error::Lost), Err(Error::Lost)]), "{outcomes:?}");
    let state = |key: &str| room.record_of("orders", key).state;
    assert_eq!([state("0"), state("1"), state("2")], [ClaimState::Committed, ClaimState::InDoubt, ClaimState::Open]);
    // The one that is free runs again, with the next epoch; it is the same payload, as the same parameter of a function.
    let again = |granted: Vec<BatchItem<Order>>| {
        granted.iter().map(|one| Ok::<_, Error>(format!("epoch {}", one.claim().epoch()))).collect::<Vec<_>>()
    };
    let mut outcomes = gate.scope_sync(|| ORDERS.run_sync(orders([2]), |order| order.key, again));
    assert_eq!(outcomes.pop().unwrap().unwrap(), "epoch 2");
}

#[test]
fn a_batch_that_is_dropped_releases_what_nobody_has_started_and_leaves_the_rest_in_doubt() {
    let Some(room) = Room::ready() else { return };
    let gate = room.gate();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let is_in = tokio::sync::Notify::new();
        let body = |_: Vec<BatchItem<Order>>| async {
            is_in.notify_one();
            std::future::pending::<Vec<Result<String, Error>>>().await
        };
        let running = gate.scope(ORDERS.run(orders(0..3), |order| order.key, body));
        tokio::select! {
            _ = running => unreachable!("its body never ends"),
            () = is_in.notified() => {}
        }
    });
    let given = Given::default();
    for outcome in run_batch(&gate, &room, &given, orders(0..3)) {
        refused(outcome, Kind::InDoubt);
    }
    // Before its claims are granted.
    let body = |granted: Vec<BatchItem<Order>>| std::future::ready(order_each(&room, &given, &granted));
    let mut running = Box::pin(gate.scope(ORDERS.run(orders(3..6), |order| order.key, body)));
    let waker = std::task::Waker::noop();
    assert!(running.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending());
    drop(running);
    for order in orders(3..6) {
        assert_eq!(order_alone(&gate, &order).unwrap(), format!("{} alone", order.key));
    }
    assert!(given.lock().unwrap().is_empty());
    assert_eq!(states(&room, ClaimState::InDoubt), 3);
}

#[test]
fn batches_that_overlap_in_opposite_order_have_each_effect_once() {
    static WAITING: Batch = batch!("orders").wait(Duration::from_secs(30));
    let Some(room) = Room::ready() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let room = std::sync::Arc::new(room);
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let (gate, room) = (room.gate(), room.clone());
            let keys: Vec<usize> = if task % 2 == 0 { (0..200).collect() } else { (0..200).rev().collect() };
            runtime.spawn(async move {
                let body =
                    |granted: Vec<BatchItem<Order>>| std::future::ready(order_each(&room, &Given::default(), &granted));
                gate.scope(WAITING.run(orders(keys.clone()), |order| order.key, body)).await
            })
        })
        .collect();
    for task in tasks {
        let outcomes = runtime.block_on(task).unwrap();
        assert_eq!(outcomes.len(), 200);
        outcomes.into_iter().for_each(|outcome| drop(outcome.unwrap()));
    }
    let effects = room.effects();
    assert!(effects.len() == 200 && effects.values().all(|count| *count == 1), "{effects:?}");
}
