//! Futures that are dropped, wherever they are. While somebody else holds the file's lock, too: letting go must wait for nobody.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use portcullis::ledger::{ClaimState, Ledger};
use portcullis::{Refused, once};
use tokio::sync::Notify;

use super::*;

/// How often the body was begun, and where it stops.
#[derive(Default)]
struct Body {
    begun: AtomicUsize,
    stop: Notify,
    is_in: Notify,
}

#[once(action = "effect", key = "key", skip(gate, body), with = gate)]
async fn stopping(gate: &Portcullis, body: &Body, key: &str) -> Result<usize, Refused> {
    let begun = body.begun.fetch_add(1, Ordering::SeqCst) + 1;
    body.is_in.notify_one();
    body.stop.notified().await;
    Ok(begun)
}

#[once(action = "effect", key = "key", skip(gate, body), with = gate, wait = "20s")]
async fn straight(gate: &Portcullis, body: &Body, key: &str) -> Result<usize, Refused> {
    Ok(body.begun.fetch_add(1, Ordering::SeqCst) + 1)
}

/// Once, and nobody is woken.
fn poll<F: Future>(future: std::pin::Pin<&mut F>) {
    let polled = future.poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
}

impl Room {
    /// Waits until the ledger has come to this about the key.
    fn await_state(&self, key: &str, state: ClaimState) {
        let until = Instant::now() + Duration::from_secs(20);
        let url = self.url();
        // The file itself may be in the making.
        let found = || Ledger::open(&url).ok()?.show("tests", "effect", key).ok()?;
        while found().is_none_or(|record| record.state != state) {
            assert!(Instant::now() < until, "{key} is not {state}");
        }
    }
}

/// Drops while the file is locked, and says whether that took a moment only.
#[track_caller]
fn drop_at_once<T>(room: &Room, dropped: T) {
    let other = rusqlite::Connection::open(room.ledger_path()).unwrap();
    other.busy_timeout(Duration::from_secs(10)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    drop(dropped);
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    other.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn dropped_when_its_claim_is_granted_and_its_body_was_not_polled_it_leaves_the_key_free() {
    let (room, body) = (Room::new(), Body::default());
    let gate = room.gate();
    let mut call = Box::pin(stopping(&gate, &body, "k"));
    poll(call.as_mut());
    room.await_state("k", ClaimState::Pending);
    drop_at_once(&room, call);
    room.await_state("k", ClaimState::Open);
    assert_eq!(pollster::block_on(straight(&gate, &body, "k")).unwrap(), 1);
    assert_eq!(room.record("k").epoch, 2);
}

#[test]
fn dropped_in_its_body_it_is_in_doubt() {
    let (room, body) = (Room::new(), Body::default());
    let gate = room.gate();
    let mut call = Box::pin(stopping(&gate, &body, "k"));
    pollster::block_on(async {
        tokio::select! {
            ended = &mut call => panic!("it ended: {ended:?}"),
            () = body.is_in.notified() => {}
        }
    });
    drop_at_once(&room, call);
    let refused = pollster::block_on(straight(&gate, &body, "k")).unwrap_err();
    assert_eq!((refused.code(), body.begun.load(Ordering::SeqCst)), ("in_doubt", 1));
}

#[test]
fn dropped_while_it_settles_it_has_its_receipt() {
    let (room, body) = (Room::new(), Body::default());
    let gate = room.gate();
    let mut call = Box::pin(stopping(&gate, &body, "k"));
    pollster::block_on(async {
        tokio::select! {
            ended = &mut call => panic!("it ended: {ended:?}"),
            () = body.is_in.notified() => {}
        }
    });
    let other = rusqlite::Connection::open(room.ledger_path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    body.stop.notify_one();
    // The body ends here, and the ledger can't be written.
    poll(call.as_mut());
    let begun = Instant::now();
    drop(call);
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(pollster::block_on(straight(&gate, &body, "k")).unwrap(), 1);
    assert_eq!(body.begun.load(Ordering::SeqCst), 1);
}

#[test]
fn a_timeout_and_the_end_of_the_runtime_leave_a_doubt() {
    let (room, body) = (Room::new(), std::sync::Arc::new(Body::default()));
    let gate = room.gate();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let timed = tokio::time::timeout(Duration::from_millis(50), stopping(&gate, &body, "timeout"));
        // Time may have run out before the body began.
        let ended = timed.await;
        assert!(ended.is_err(), "{ended:?}");
    });
    let spawned = runtime.spawn({
        let (gate, body) = (gate.clone(), body.clone());
        async move { stopping(&gate, &body, "shutdown").await }
    });
    let begun = body.begun.load(Ordering::SeqCst);
    let until = Instant::now() + Duration::from_secs(20);
    while body.begun.load(Ordering::SeqCst) == begun {
        assert!(Instant::now() < until, "its body does not begin");
    }
    drop(runtime);
    assert!(spawned.is_finished());
    for key in ["timeout", "shutdown"] {
        let before = body.begun.load(Ordering::SeqCst);
        match pollster::block_on(straight(&gate, &body, key)) {
            Err(refused) => assert_eq!(refused.code(), "in_doubt"),
            // Only where nothing had begun.
            Ok(_) => assert!(key == "timeout" && before == 1),
        }
    }
}

#[test]
fn a_future_that_is_dropped_without_any_runtime_needs_none() {
    let (room, body) = (Room::new(), Body::default());
    let gate = room.gate();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut call = pin!(stopping(&gate, &body, "k"));
            poll(call.as_mut());
            room.await_state("k", ClaimState::Pending);
        });
    });
    room.await_state("k", ClaimState::Open);
}
