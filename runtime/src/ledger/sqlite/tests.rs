//! The store against real files, in one process.

use std::path::PathBuf;
use std::sync::{Arc, Barrier};

use serde_json::json;
use tempfile::TempDir;

use super::super::key::Key;
use super::super::{
    Attempt, AuditRecord, ClaimState, Digest, Filter, Fingerprint, Kept, Ledger, Receipt, Settlement, Ways,
};
use super::*;

mod beside;
mod faults;
mod many;
mod replays;
mod waiting;

struct Room {
    dir: TempDir,
    store: Arc<dyn Store>,
}

fn room() -> Room {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&format!("sqlite:{}", dir.path().join("ledger.sqlite").display())).unwrap();
    Room { dir, store }
}

fn room_with(limits: Limits) -> Room {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::new(Place::File(dir.path().join("ledger.sqlite")), limits));
    Room { dir, store }
}

/// With others at work on it.
fn begun<T>(mut ticket: Ticket<T>) -> Ticket<T> {
    let _ = ticket.is_pending();
    ticket
}

impl Room {
    fn path(&self) -> PathBuf {
        self.dir.path().join("ledger.sqlite")
    }

    fn ledger(&self) -> Ledger {
        Ledger::open(&format!("sqlite:{}", self.path().display())).unwrap()
    }

    fn claim(&self, key: &str) -> Claimed {
        self.store.claim(request(key)).wait().unwrap()
    }

    fn settle(&self, request: &ClaimRequest, epoch: u64, settlement: Settlement) -> Settled {
        self.store.settle(settlement_of(request, epoch, settlement)).wait().unwrap()
    }

    /// Claims, and says how.
    fn run(&self, key: &str) -> (ClaimRequest, u64) {
        let request = request(key);
        match self.store.claim(request.clone()).wait().unwrap() {
            Claimed::Run { epoch } => (request, epoch),
            other => panic!("{key} did not run: {other:?}"),
        }
    }
}

fn request(key: &str) -> ClaimRequest {
    let (namespace, action) = ("shop", "orders.refund");
    ClaimRequest {
        namespace: namespace.into(),
        action: action.into(),
        place: None,
        key: Key::of(key).into_text(action).unwrap(),
        digest: Digest::new(namespace, action, key),
        fingerprint: Fingerprint([1; 32]),
        attempt: Attempt(uuid::Uuid::now_v7()),
        wait_until: None,
        retain: None,
        transactional: false,
        ways: Ways::default(),
        resolution: None,
    }
}

fn kept(text: &str) -> Kept {
    Kept { text: text.to_owned(), sealed: false }
}

fn settlement_of(request: &ClaimRequest, epoch: u64, settlement: Settlement) -> SettleRequest {
    SettleRequest { digest: request.digest, epoch, attempt: request.attempt, settlement, lazy: false }
}

fn committed(json: &str) -> Settlement {
    Settlement::Committed(Receipt::Kept(kept(json)))
}

#[track_caller]
fn refused(claimed: Claimed, kind: Kind) -> Refused {
    match claimed {
        Claimed::Refuse(refused) => {
            assert_eq!(refused.kind(), kind, "{refused}");
            refused
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
fn replayed(claimed: Claimed) -> String {
    match claimed {
        Claimed::Replay(Kept { text, .. }) => text,
        other => panic!("no receipt: {other:?}"),
    }
}

#[test]
fn the_first_claim_runs_and_the_next_gets_its_receipt() {
    let room = room();
    let (first, epoch) = room.run("o-1");
    assert_eq!(epoch, 1);
    assert!(matches!(room.settle(&first, epoch, committed("{\"id\":7}")), Settled::Recorded));
    assert_eq!(replayed(room.claim("o-1")), "{\"id\":7}");

    // Also for whoever opens the file next.
    let again = open(&format!("sqlite:{}", room.path().display())).unwrap();
    assert_eq!(replayed(again.claim(request("o-1")).wait().unwrap()), "{\"id\":7}");
}

#[test]
fn the_same_store_in_memory() {
    let store = open_in_memory();
    let request = request("o-1");
    let Some(Claimed::Run { epoch }) = store.claim(request.clone()).wait() else { panic!() };
    let settled = store.settle(settlement_of(&request, epoch, committed("1"))).wait().unwrap();
    assert!(matches!(settled, Settled::Recorded));
    assert_eq!(replayed(store.claim(request).wait().unwrap()), "1");
    assert_eq!(store.drain(Instant::now() + Duration::from_secs(5)).wait(), Some(true));
}

#[test]
fn another_payload_is_a_conflict_in_every_state() {
    let room = room();
    let other = |key: &str| {
        let request = ClaimRequest { fingerprint: Fingerprint([2; 32]), ..request(key) };
        refused(room.store.claim(request).wait().unwrap(), Kind::KeyConflict)
    };
    for (key, settlement) in [
        ("committed", Some(committed("1"))),
        ("failed", Some(Settlement::Failed(kept("\"no\"")))),
        ("in doubt", Some(Settlement::InDoubt("panic"))),
        ("open", Some(Settlement::Released("err"))),
        ("pending", None),
    ] {
        let (request, epoch) = room.run(key);
        if let Some(settlement) = settlement {
            assert!(matches!(room.settle(&request, epoch, settlement), Settled::Recorded));
        }
        let refused = other(key);
        assert!(
            refused.reason().contains(&request.digest.hex()[..16]) && !refused.to_string().contains(key),
            "{refused}"
        );
    }
}

#[test]
fn a_duplicate_of_what_runs_is_in_flight_and_says_where() {
    let room = room();
    let (request, epoch) = room.run("o-1");
    let refused = refused(room.claim("o-1"), Kind::InFlight);
    assert!(refused.reason().contains(&format!("process {} on ", std::process::id())), "{refused}");
    assert!(matches!(room.settle(&request, epoch, committed("1")), Settled::Recorded));
}

#[test]
fn in_doubt_stays_in_doubt_until_its_own_attempt_says_more() {
    let room = room();
    let (request, epoch) = room.run("o-1");
    assert!(matches!(room.settle(&request, epoch, Settlement::InDoubt("panic")), Settled::Recorded));
    let message = refused(room.claim("o-1"), Kind::InDoubt).to_string();
    assert!(message.contains("panic") && message.contains("portcullis ledger show"), "{message}");

    assert!(matches!(room.settle(&request, epoch, committed("1")), Settled::Recorded));
    assert_eq!(replayed(room.claim("o-1")), "1");
    let record = room.ledger().show("shop", "orders.refund", "o-1").unwrap().unwrap();
    let kinds: Vec<_> = room.ledger().events(&record).unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["in_doubt", "settled_late"]);
}

#[test]
fn a_released_key_runs_again_under_the_next_epoch() {
    let room = room();
    let (first, epoch) = room.run("o-1");
    assert!(matches!(room.settle(&first, epoch, Settlement::Released("err")), Settled::Recorded));
    let (second, epoch) = room.run("o-1");
    assert_eq!(epoch, 2);
    // The first one is a zombie now: what it says is kept, and changes nothing.
    assert!(matches!(room.settle(&first, 1, committed("\"zombie\"")), Settled::Fenced));
    assert!(matches!(room.settle(&second, epoch, committed("\"second\"")), Settled::Recorded));
    assert_eq!(replayed(room.claim("o-1")), "\"second\"");
    let record = room.ledger().show("shop", "orders.refund", "o-1").unwrap().unwrap();
    let events = room.ledger().events(&record).unwrap();
    assert_eq!(events.last().unwrap().kind, "fenced");
    assert_eq!(events.last().unwrap().detail["receipt"], "\"zombie\"");
}

#[test]
fn a_recorded_error_is_given_again() {
    let room = room();
    let (request, epoch) = room.run("o-1");
    assert!(matches!(room.settle(&request, epoch, Settlement::Failed(kept("\"no\""))), Settled::Recorded));
    assert!(matches!(room.claim("o-1"), Claimed::ReplayError(error) if error == kept("\"no\"")));
}

#[test]
fn a_lost_acknowledgement_is_asked_again() {
    let room = room();
    let (request, epoch) = room.run("o-1");
    assert!(matches!(room.store.claim(request.clone()).wait(), Some(Claimed::Run { epoch: 1 })));
    assert!(matches!(room.settle(&request, epoch, committed("1")), Settled::Recorded));
    assert!(matches!(room.settle(&request, epoch, committed("1")), Settled::Recorded));
    assert!(matches!(room.settle(&request, epoch, Settlement::Released("err")), Settled::Fenced));
}

#[test]
fn a_result_of_which_nothing_is_kept_is_committed_all_the_same() {
    let room = room();
    for (key, receipt, kind) in [
        ("large", Receipt::TooLarge, Kind::ReceiptTooLarge),
        ("unencodable", Receipt::Unencodable, Kind::ReceiptUnreadable),
        ("unsealed", Receipt::Unsealed, Kind::ReceiptUnreadable),
        ("absent", Receipt::Absent, Kind::ReceiptUnreadable),
    ] {
        let (request, epoch) = room.run(key);
        assert!(matches!(room.settle(&request, epoch, Settlement::Committed(receipt)), Settled::Recorded));
        refused(room.claim(key), kind);
    }
}

#[test]
fn a_receipt_past_its_time_is_expired_and_never_a_new_run() {
    let room = room();
    let mut first = request("o-1");
    first.retain = Some(Duration::ZERO);
    let Some(Claimed::Run { epoch }) = room.store.claim(first.clone()).wait() else { panic!() };
    refused(room.claim("o-1"), Kind::InFlight);
    assert!(matches!(room.settle(&first, epoch, committed("1")), Settled::Recorded));
    refused(room.claim("o-1"), Kind::ReceiptExpired);
}

#[test]
fn a_defaulted_action_belongs_to_one_place() {
    let room = room();
    let at = |key: &str, place: Option<&str>| {
        let request = ClaimRequest { place: place.map(str::to_owned), ..request(key) };
        room.store.claim(request).wait().unwrap()
    };
    assert!(matches!(at("1", Some("shop::a::refund")), Claimed::Run { .. }));
    assert!(matches!(at("2", Some("shop::a::refund")), Claimed::Run { .. }));
    let message = refused(at("3", Some("shop::b::refund")), Kind::ActionAmbiguous).to_string();
    assert!(message.contains("shop::a::refund") && message.contains("shop::b::refund"), "{message}");
    assert!(matches!(at("4", None), Claimed::Run { .. }));

    let named = super::open(&format!("sqlite:{}", room.dir.path().join("other.sqlite").display())).unwrap();
    assert!(matches!(named.claim(request("1")).wait(), Some(Claimed::Run { .. })));
    let defaulted = ClaimRequest { place: Some("shop::a::refund".into()), ..request("2") };
    refused(named.claim(defaulted).wait().unwrap(), Kind::ActionAmbiguous);
}

#[test]
fn a_claim_whose_caller_has_gone_leaves_the_key_free_at_once() {
    let room = room();
    for key in 0..50 {
        let key = format!("o-{key}");
        drop(room.store.claim(request(&key)));
        // Without waiting: who comes after it does not meet it.
        let (request, epoch) = room.run(&key);
        assert!(epoch <= 2);
        assert!(matches!(room.settle(&request, epoch, committed("1")), Settled::Recorded));
    }
}

#[test]
fn audit_records_form_a_chain_that_shows_what_was_changed() {
    let room = room();
    for kind in ["denied", "refused", "denied"] {
        let record = AuditRecord {
            kind,
            actor: "pay:prod:worker:1".into(),
            action: "orders.refund".into(),
            detail: json!({"code": "DEVICE_REVOKED"}),
            at: std::time::SystemTime::now(),
        };
        assert_eq!(room.store.audit(record).wait(), Some(()));
    }
    assert_eq!(room.ledger().verify_events().unwrap(), None);
    let raw = rusqlite::Connection::open(room.path()).unwrap();
    raw.execute("UPDATE event SET kind = 'allowed' WHERE seq = 2", []).unwrap();
    assert_eq!(room.ledger().verify_events().unwrap(), Some((1, 2)));
}

#[test]
fn draining_refuses_new_claims_and_waits_for_the_running() {
    let room = room();
    let (request, epoch) = room.run("o-1");
    let drained = room.store.drain(Instant::now() + Duration::from_secs(20));
    let message = refused(room.claim("o-2"), Kind::Halted).to_string();
    assert!(message.contains("draining"), "{message}");
    let settled = begun(room.store.settle(settlement_of(&request, epoch, committed("1"))));
    assert_eq!(drained.wait(), Some(true));
    assert!(matches!(settled.wait(), Some(Settled::Recorded)));
}

#[test]
fn draining_ends_at_its_deadline() {
    let room = room();
    let _running = room.run("o-1");
    assert_eq!(room.store.drain(Instant::now()).wait(), Some(false));
}

#[test]
fn a_ledger_can_be_listed_and_looked_into() {
    let room = room();
    let (first, epoch) = room.run("o-1");
    assert!(matches!(room.settle(&first, epoch, committed("{\"id\":7}")), Settled::Recorded));
    let (second, epoch) = room.run("o-2");
    assert!(matches!(room.settle(&second, epoch, Settlement::InDoubt("cancelled")), Settled::Recorded));
    let _running = room.run("o-3");

    let ledger = room.ledger();
    let keys = |filter: Filter| ledger.list(&filter).unwrap().into_iter().map(|record| record.key).collect::<Vec<_>>();
    assert_eq!(keys(Filter::new()), ["o-3", "o-2", "o-1"]);
    assert_eq!(keys(Filter::new().limit(1)), ["o-3"]);
    assert_eq!(keys(Filter::new().state(ClaimState::InDoubt)), ["o-2"]);
    assert_eq!(keys(Filter::new().state(ClaimState::Pending)), ["o-3"]);
    assert_eq!(keys(Filter::new().state(ClaimState::Committed).action("orders.refund").namespace("shop")), ["o-1"]);
    assert!(keys(Filter::new().action("other")).is_empty());

    let record = ledger.show("shop", "orders.refund", "o-1").unwrap().unwrap();
    assert_eq!(record.receipt, Some(json!({"id": 7})));
    assert_eq!(record.owner.as_ref().unwrap().pid, std::process::id());
    assert_eq!(ledger.find(&record.id[..16]).unwrap(), std::slice::from_ref(&record));
    assert_eq!(ledger.find(&record.id).unwrap().len(), 1);
    assert_eq!(ledger.find("xyz").unwrap_err().kind(), Kind::InvalidArgument);
    assert!(ledger.show("shop", "orders.refund", "o-9").unwrap().is_none());
}
