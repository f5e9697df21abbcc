//! What is settled is answered without the writer.

use rusqlite::Connection;

use super::super::super::{Resolution, Verdict};
use super::*;

/// A settled claim, and a store that nobody has asked for it yet.
fn settled() -> (Room, SqliteStore) {
    let room = room();
    let (first, epoch) = room.run("o-1");
    assert!(matches!(room.settle(&first, epoch, committed("1")), Settled::Recorded));
    let store = SqliteStore::new(Place::File(room.path()), Limits::default());
    // Opened by a first claim.
    assert!(matches!(store.claim(request("o-2")).wait(), Some(Claimed::Run { .. })));
    (room, store)
}

/// As an async caller waits: somebody else does the work.
fn awaited(store: &SqliteStore, request: ClaimRequest) -> Claimed {
    pollster::block_on(store.claim(request)).unwrap()
}

#[test]
fn a_replay_waits_for_no_writer_in_the_file_or_in_this_process() {
    let (room, store) = settled();
    let other = Connection::open(room.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(replayed(awaited(&store, request("o-1"))), "1");
    let _writer = store.engine.writer.lock().unwrap();
    // From the file, then from memory.
    store.engine.shared.front.forget();
    assert_eq!(replayed(store.claim(request("o-1")).wait().unwrap()), "1");
    assert_eq!(replayed(store.claim(request("o-1")).wait().unwrap()), "1");
    assert_eq!(replayed(awaited(&store, request("o-1"))), "1");
}

#[test]
fn what_is_remembered_answers_only_the_same_payload_from_the_same_place() {
    let (_room, store) = settled();
    assert_eq!(replayed(store.claim(request("o-1")).wait().unwrap()), "1");
    let other = ClaimRequest { fingerprint: Fingerprint([2; 32]), ..request("o-1") };
    refused(store.claim(other).wait().unwrap(), Kind::KeyConflict);
    let elsewhere = ClaimRequest { place: Some("src/lib.rs:1".to_owned()), ..request("o-1") };
    assert!(matches!(store.claim(elsewhere).wait(), Some(Claimed::Refuse(_))));
}

#[test]
fn what_is_remembered_does_not_outlive_its_retention() {
    let room = room();
    let first = ClaimRequest { retain: Some(Duration::from_millis(300)), ..request("o-1") };
    let before = Instant::now();
    let Some(Claimed::Run { epoch }) = room.store.claim(first.clone()).wait() else { panic!() };
    assert!(matches!(room.settle(&first, epoch, committed("1")), Settled::Recorded));
    loop {
        match room.claim("o-1") {
            Claimed::Replay(_) => assert!(before.elapsed() < Duration::from_secs(20)),
            claimed => {
                refused(claimed, Kind::ReceiptExpired);
                break;
            }
        }
    }
    assert!(before.elapsed() >= Duration::from_millis(300));
}

#[test]
fn what_a_reconcile_function_has_found_out_is_heard_although_a_receipt_is_remembered() {
    let (room, store) = settled();
    assert_eq!(replayed(store.claim(request("o-1")).wait().unwrap()), "1");
    let resolution = Resolution { epoch: 1, attempt: request("o-1").attempt, verdict: Verdict::DidNotHappen };
    let late = ClaimRequest { resolution: Some(resolution), ..request("o-1") };
    assert_eq!(replayed(store.claim(late).wait().unwrap()), "1");
    let record = room.ledger().show("shop", "orders.refund", "o-1").unwrap().unwrap();
    let events: Vec<_> = room.ledger().events(&record).unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(events, ["reconciled"]);
}

#[test]
fn a_ledger_that_has_gone_or_is_draining_answers_nothing_from_memory() {
    let (room, store) = settled();
    assert_eq!(replayed(store.claim(request("o-1")).wait().unwrap()), "1");
    let kept = room.dir.path().join("kept");
    std::fs::rename(room.path(), &kept).unwrap();
    refused(store.claim(request("o-1")).wait().unwrap(), Kind::LedgerUnavailable);
    std::fs::rename(&kept, room.path()).unwrap();
    assert_eq!(replayed(store.claim(request("o-1")).wait().unwrap()), "1");
    drop(store.drain(Instant::now()));
    refused(store.claim(request("o-1")).wait().unwrap(), Kind::Halted);
}

#[test]
fn a_lone_caller_that_blocks_commits_on_its_own_thread_and_starts_none() {
    let room = room();
    let store = SqliteStore::new(Place::File(room.path()), Limits::default());
    let first = request("o-1");
    let Some(Claimed::Run { epoch }) = store.claim(first.clone()).wait() else { panic!() };
    let settled = store.settle(settlement_of(&first, epoch, committed("1"))).wait();
    assert!(matches!(settled, Some(Settled::Recorded)));
    assert!(!store.engine.shared.is_served());
    // Who awaits is served by a thread.
    assert_eq!(replayed(awaited(&store, request("o-1"))), "1");
    assert!(matches!(awaited(&store, request("o-2")), Claimed::Run { .. }));
    assert!(store.engine.shared.is_served());
}

#[test]
fn what_queues_up_while_somebody_leads_is_done_in_the_order_of_the_calls() {
    let room = room();
    let store = SqliteStore::new(Place::File(room.path()), Limits::default());
    for round in 0..50 {
        let first = request(&format!("o-{round}"));
        let Some(Claimed::Run { epoch }) = store.claim(first.clone()).wait() else { panic!() };
        // Not waited for: it is on its way when the next call leads.
        drop(store.settle(settlement_of(&first, epoch, committed("1"))));
        let again = store.claim(request(&format!("o-{round}"))).wait().unwrap();
        assert_eq!(replayed(again), "1");
    }
}
