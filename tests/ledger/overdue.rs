//! `max_run`: a body that hangs is put in doubt by its own process, and what it returns late still counts.

use std::sync::mpsc;
use std::task::{Context, Waker};
use std::time::Instant;

use portcullis::ledger::ClaimState;
use portcullis::{Doubt, Reconciled, once};

use super::*;

/// How a test holds a body.
struct Gatekeeper {
    entered: mpsc::Sender<()>,
    go_on: mpsc::Receiver<&'static str>,
}

fn held() -> (Gatekeeper, mpsc::Receiver<()>, mpsc::Sender<&'static str>) {
    let (entered, is_in) = mpsc::channel();
    let (release, go_on) = mpsc::channel();
    (Gatekeeper { entered, go_on }, is_in, release)
}

impl Gatekeeper {
    fn pass(&self) -> String {
        self.entered.send(()).unwrap();
        self.go_on.recv().unwrap().to_owned()
    }
}

#[once(action = "slow", key = "key", skip(gate, keeper), with = gate, max_run = "50ms")]
fn slow(gate: &Portcullis, keeper: &Gatekeeper, key: &str) -> Result<String, Error> {
    Ok(keeper.pass())
}

fn unasked(_: &Doubt) -> Reconciled<String> {
    panic!("nobody is to be asked while the body runs")
}

/// Another caller, with every way out of a doubt.
#[once(action = "slow", key = "key", skip(gate), with = gate, provider_window = "1h", reconcile = unasked)]
fn impatient(gate: &Portcullis, key: &str) -> Result<String, Error> {
    panic!("{key} must not run beside the first")
}

#[once(action = "slow", key = "key", skip(gate), with = gate, wait = "20s")]
fn patient(gate: &Portcullis, key: &str) -> Result<String, Error> {
    panic!("{key} must not run beside the first")
}

/// Waits for the watchdog, which has no other sign than the ledger.
fn until_in_doubt(room: &Room, action: &str, key: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while room.record_of(action, key).state != ClaimState::InDoubt {
        assert!(Instant::now() < until, "it is not put in doubt");
        std::thread::yield_now();
    }
}

#[test]
fn a_hung_body_is_in_doubt_nothing_runs_beside_it_and_its_late_result_counts() {
    let room = Room::new();
    let gate = room.gate();
    let (keeper, is_in, release) = held();
    std::thread::scope(|threads| {
        let first = threads.spawn(|| slow(&gate, &{ keeper }, "k"));
        is_in.recv().unwrap();
        // Who waits for it is told as soon as it is in doubt.
        refused(patient(&gate, "k"), Kind::InDoubt);
        let record = room.record_of("slow", "k");
        assert_eq!((record.state, record.running), (ClaimState::InDoubt, true));
        let refusal = refused(impatient(&gate, "k"), Kind::InDoubt);
        assert!(refusal.reason().contains("may still be running"), "{refusal}");

        release.send("late").unwrap();
        assert_eq!(first.join().unwrap().unwrap(), "late");
    });
    assert_eq!(impatient(&gate, "k").unwrap(), "late");
    let record = room.record_of("slow", "k");
    assert_eq!((record.state, record.epoch, record.running), (ClaimState::Committed, 1, false));
    assert_eq!(room.kinds_of("slow", "k"), ["overdue", "settled_late"]);
}

#[once(action = "stalls", key = "key", skip(gate, entered), with = gate, max_run = "50ms")]
async fn stalls(gate: &Portcullis, key: &str, entered: &mpsc::Sender<()>) -> Result<String, Error> {
    entered.send(()).unwrap();
    std::future::pending().await
}

#[test]
fn a_leaked_future_is_put_in_doubt() {
    let room = Room::new();
    let gate = room.gate();
    let (entered, is_in) = mpsc::channel();
    let mut future = Box::pin(stalls(&gate, "k", &entered));
    while is_in.try_recv().is_err() {
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    std::mem::forget(future);
    until_in_doubt(&room, "stalls", "k");
    assert!(room.record_of("stalls", "k").running, "for all that anybody knows");
}

#[once(action = "quick", key = "key", skip(gate), with = gate, max_run = "20s")]
fn quick(gate: &Portcullis, key: &str) -> Result<String, Error> {
    Ok("in time".into())
}

#[test]
fn a_body_that_returns_in_time_is_not_touched() {
    let room = Room::new();
    let gate = room.gate();
    assert_eq!(quick(&gate, "k").unwrap(), "in time");
    assert_eq!(room.kinds_of("quick", "k"), Vec::<String>::new());
}

#[once(action = "slow", key = "key", skip(gate, says), with = gate, claim = claim, reconcile = |_| says.clone())]
fn knowing(gate: &Portcullis, key: &str, says: &Reconciled<String>) -> Result<String, Error> {
    Ok(format!("again in epoch {}", claim.epoch()))
}

#[test]
fn an_overdue_body_whose_process_dies_is_over() {
    let room = Room::new();
    let gate = room.gate();
    let mut child = room.start(&["overdue", "k"]);
    child.expect("started");
    until_in_doubt(&room, "slow", "k");
    refused(knowing(&gate, "k", &Reconciled::DidNotHappen), Kind::InDoubt);
    child.kill();
    assert!(!room.record_of("slow", "k").running);
    assert_eq!(knowing(&gate, "k", &Reconciled::DidNotHappen).unwrap(), "again in epoch 2");
    assert_eq!(room.kinds_of("slow", "k"), ["overdue", "owner_dead", "reconciled"]);
}

#[test]
fn a_body_that_ends_in_doubt_after_all_can_be_asked_about() {
    let room = Room::new();
    let gate = room.gate();
    let (keeper, is_in, release) = held();
    std::thread::scope(|threads| {
        let first = threads.spawn(|| slow_and_lost(&gate, &{ keeper }, "k"));
        is_in.recv().unwrap();
        until_in_doubt(&room, "slow", "k");
        release.send("lost").unwrap();
        assert!(matches!(first.join().unwrap(), Err(Error::Lost)));
    });
    let found = Reconciled::Happened("found".to_owned());
    assert_eq!(knowing(&gate, "k", &found).unwrap(), "found");
    assert_eq!(room.kinds_of("slow", "k"), ["overdue", "in_doubt", "reconciled"]);
}

#[once(action = "slow", key = "key", skip(gate, keeper), with = gate, max_run = "50ms")]
fn slow_and_lost(gate: &Portcullis, keeper: &Gatekeeper, key: &str) -> Result<String, Error> {
    keeper.pass();
    Err(Error::Lost)
}
