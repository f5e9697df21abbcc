//! `settle_in`: the effect and its settlement are one transaction in the ledger's own file, so either both are there or neither.

use std::sync::atomic::{AtomicU32, Ordering};

use portcullis::ledger::{By, ClaimState, Filter, Seal, Sealing};
use portcullis::rusqlite::{self, Connection, TransactionBehavior};
use portcullis::{Claim, once};
use serde_json::json;

use super::*;

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error("the body gave up")]
    GaveUp,
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Failed>, kind: Kind) -> Refused {
    match result {
        Err(Failed::Refused(refused)) => {
            assert_eq!(refused.kind(), kind, "{refused}");
            refused
        }
        other => panic!("it must be refused as {kind}: {other:?}"),
    }
}

/// What a body does in its transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Commit,
    CommitAndGiveUp,
    GiveUp,
    Panic,
    ForgetToCommit,
    ForgetToSettle,
    SettleTwice,
}

fn book(db: &mut Connection, claim: &Claim<'_>, order: &str, does: Does) -> Result<String, Failed> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute("INSERT INTO booking(order_id, epoch) VALUES(?1, ?2)", (order, claim.epoch().cast_signed()))?;
    let receipt = format!("booked in epoch {}", claim.epoch());
    if does != Does::ForgetToSettle {
        claim.settle_in(&tx, &receipt)?;
    }
    match does {
        Does::Commit | Does::ForgetToSettle => tx.commit()?,
        Does::CommitAndGiveUp => {
            tx.commit()?;
            return Err(Failed::GaveUp);
        }
        Does::GiveUp => return Err(Failed::GaveUp),
        Does::Panic => panic!("in the transaction"),
        Does::ForgetToCommit => drop(tx),
        Does::SettleTwice => {
            claim.settle_in(&tx, "another receipt")?;
            tx.commit()?;
        }
    }
    Ok(receipt)
}

#[once(action = "book", key = "order", skip(gate, db, does), with = gate, claim = claim, settle = "transaction")]
fn book_inside(gate: &Portcullis, db: &mut Connection, order: &str, does: Does) -> Result<String, Failed> {
    book(db, &claim, order, does)
}

/// The same without the promise that the transaction is all that happens.
#[once(action = "book", key = "order", skip(gate, db, does), with = gate, claim = claim)]
fn book_also(gate: &Portcullis, db: &mut Connection, order: &str, does: Does) -> Result<String, Failed> {
    book(db, &claim, order, does)
}

/// A ledger with a table of bookings in its file.
fn bank() -> (Room, Portcullis, Connection) {
    let room = Room::new();
    let gate = room.gate();
    ready(&gate, "the file is there").unwrap();
    let db = Connection::open(room.ledger_path()).unwrap();
    db.execute("CREATE TABLE booking(id INTEGER PRIMARY KEY, order_id TEXT NOT NULL, epoch INTEGER NOT NULL)", [])
        .unwrap();
    (room, gate, db)
}

#[once(action = "ready", key = "key", skip(gate), with = gate)]
fn ready(gate: &Portcullis, key: &str) -> Result<(), Error> {
    Ok(())
}

/// In which epochs an order was booked.
fn bookings(db: &Connection, order: &str) -> Vec<i64> {
    let mut statement = db.prepare("SELECT epoch FROM booking WHERE order_id = ?1 ORDER BY id").unwrap();
    statement.query_map([order], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_effect_and_its_receipt_are_committed_together() {
    let (room, gate, mut db) = bank();
    for _ in 0..3 {
        assert_eq!(book_inside(&gate, &mut db, "o-1", Does::Commit).unwrap(), "booked in epoch 1");
        assert_eq!(book_also(&gate, &mut db, "o-2", Does::Commit).unwrap(), "booked in epoch 1");
    }
    assert_eq!((bookings(&db, "o-1"), bookings(&db, "o-2")), (vec![1], vec![1]));
    let record = room.record_of("book", "o-1");
    assert_eq!((record.state, record.transactional), (ClaimState::Committed, true));
    assert_eq!(room.kinds_of("book", "o-1"), Vec::<String>::new());
}

#[test]
fn what_was_not_committed_has_not_happened_and_runs_again() {
    let (room, gate, mut db) = bank();
    for (order, does) in [("gives up", Does::GiveUp), ("panics", Does::Panic)] {
        let call = std::panic::AssertUnwindSafe(|| book_inside(&gate, &mut db, order, does));
        let ended = std::panic::catch_unwind(call);
        assert_eq!(matches!(ended, Ok(Err(Failed::GaveUp))), does == Does::GiveUp);
        assert_eq!(bookings(&db, order), [0_i64; 0]);
        assert_eq!(book_inside(&gate, &mut db, order, Does::Commit).unwrap(), "booked in epoch 2");
        assert_eq!(bookings(&db, order), [2]);
        assert_eq!(room.kinds_of("book", order), ["rolled_back"]);
    }
}

#[test]
fn without_the_promise_what_ends_otherwise_is_in_doubt_unless_it_was_committed() {
    let (room, gate, mut db) = bank();
    assert!(matches!(book_also(&gate, &mut db, "o-1", Does::GiveUp), Err(Failed::GaveUp)));
    refused(book_also(&gate, &mut db, "o-1", Does::Commit), Kind::InDoubt);
    assert_eq!(room.record_of("book", "o-1").state, ClaimState::InDoubt);
}

#[test]
fn what_was_committed_has_happened_whatever_the_body_says_then() {
    let (room, gate, mut db) = bank();
    assert!(matches!(book_inside(&gate, &mut db, "o-1", Does::CommitAndGiveUp), Err(Failed::GaveUp)));
    assert_eq!(book_inside(&gate, &mut db, "o-1", Does::Commit).unwrap(), "booked in epoch 1");
    assert_eq!(bookings(&db, "o-1"), [1]);
    assert_eq!(room.kinds_of("book", "o-1"), ["fenced"]);
}

#[test]
fn an_ok_that_no_transaction_bears_out_is_unsettled_and_in_doubt() {
    let (room, gate, mut db) = bank();
    for (order, does) in [("not committed", Does::ForgetToCommit), ("not settled", Does::ForgetToSettle)] {
        let refusal = refused(book_inside(&gate, &mut db, order, does), Kind::Unsettled);
        assert!(refusal.reason().contains("claim.settle_in"), "{refusal}");
        assert_eq!(refusal.value(), Some(&json!("booked in epoch 1")));
        refused(book_inside(&gate, &mut db, order, Does::Commit), Kind::InDoubt);
        assert_eq!(room.kinds_of("book", order), ["outside_transaction"]);
    }
    assert_eq!(bookings(&db, "not settled"), [1], "so it must not be booked once more");
}

#[test]
fn a_receipt_that_is_settled_does_not_change() {
    let (_room, gate, mut db) = bank();
    refused(book_inside(&gate, &mut db, "o-1", Does::SettleTwice), Kind::InvalidTransition);
    assert_eq!(bookings(&db, "o-1"), [0_i64; 0], "the body has returned the error, so nothing was committed");
    assert_eq!(book_inside(&gate, &mut db, "o-1", Does::Commit).unwrap(), "booked in epoch 2");
}

#[test]
fn a_transaction_on_another_database_is_refused_before_it_is_committed() {
    let (_room, gate, _) = bank();
    let (other, _, _) = bank();
    let dir = tempfile::tempdir().unwrap();
    let mut plain = Connection::open(dir.path().join("app.sqlite")).unwrap();
    plain
        .execute("CREATE TABLE booking(id INTEGER PRIMARY KEY, order_id TEXT NOT NULL, epoch INTEGER NOT NULL)", [])
        .unwrap();
    let mut another_ledger = Connection::open(other.ledger_path()).unwrap();
    for (order, db) in [("o-1", &mut plain), ("o-2", &mut another_ledger)] {
        let refusal = refused(book_inside(&gate, db, order, Does::Commit), Kind::InvalidArgument);
        assert!(refusal.to_string().contains("the ledger's own file"), "{refusal}");
        assert_eq!(bookings(db, order), [0_i64; 0]);
    }
}

#[test]
fn a_receipt_that_can_not_be_kept_is_refused_before_the_effect() {
    let (room, _, mut db) = bank();
    let gate = room.builder().max_receipt(10).build().unwrap();
    let refusal = refused(book_inside(&gate, &mut db, "o-1", Does::Commit), Kind::InvalidArgument);
    assert!(refusal.reason().contains("larger than a receipt may be"), "{refusal}");
    assert_eq!(bookings(&db, "o-1"), [0_i64; 0]);
}

/// Turns a receipt around.
struct Backwards;

impl Seal for Backwards {
    fn seal(&self, of: Sealing<'_>, json: String) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        assert_eq!((of.namespace, of.action, of.key), ("tests", "book", "o-1"));
        Ok(json.chars().rev().collect())
    }
    fn open(&self, _: Sealing<'_>, sealed: String) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
        Ok(sealed.chars().rev().collect())
    }
}

#[test]
fn a_receipt_is_sealed_in_a_transaction_too() {
    let (room, _, mut db) = bank();
    let gate = room.builder().seal(Backwards).build().unwrap();
    for _ in 0..2 {
        assert_eq!(book_inside(&gate, &mut db, "o-1", Does::Commit).unwrap(), "booked in epoch 1");
    }
    assert_eq!(room.record_of("book", "o-1").receipt, Some(json!("1 hcope ni dekoob")));
}

#[once(action = "other", key = "order", skip(gate, db), with = gate, claim = claim, settle = "transaction")]
fn returns_something_else(gate: &Portcullis, db: &mut Connection, order: &str) -> Result<String, Failed> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    claim.settle_in(&tx, "on record")?;
    tx.commit()?;
    Ok("not on record".into())
}

#[test]
fn the_first_caller_gets_what_every_retry_gets() {
    let (_room, gate, mut db) = bank();
    for _ in 0..2 {
        assert_eq!(returns_something_else(&gate, &mut db, "o-1").unwrap(), "on record");
    }
}

#[once(action = "slow", key = "order", skip(gate, db, meanwhile), with = gate, claim = claim, settle = "transaction", max_run = "20ms")]
fn slow(gate: &Portcullis, db: &mut Connection, meanwhile: &dyn Fn(), order: &str) -> Result<String, Failed> {
    meanwhile();
    book(db, &claim, order, Does::Commit)
}

#[test]
fn an_overdue_body_may_still_commit() {
    let (room, gate, mut db) = bank();
    let until_overdue = || while room.record_of("slow", "o-1").state != ClaimState::InDoubt {};
    assert_eq!(slow(&gate, &mut db, &until_overdue, "o-1").unwrap(), "booked in epoch 1");
    assert_eq!(room.kinds_of("slow", "o-1"), ["overdue", "settled_late"]);
    assert_eq!(bookings(&db, "o-1"), [1]);
    assert_eq!(room.ledger().verify_events().unwrap(), None);
}

#[test]
fn what_a_person_has_decided_meanwhile_keeps_the_transaction_from_being_committed() {
    let (room, gate, mut db) = bank();
    let (ran, by) = (AtomicU32::new(0), By::new("alice", "it hangs").force());
    let release = || {
        ran.fetch_add(1, Ordering::SeqCst);
        room.ledger().release(&room.record_of("slow", "o-1"), &by).unwrap();
    };
    refused(slow(&gate, &mut db, &release, "o-1"), Kind::InvalidTransition);
    assert_eq!(bookings(&db, "o-1"), [0_i64; 0]);
    assert_eq!(slow(&gate, &mut db, &|| {}, "o-1").unwrap(), "booked in epoch 2");
    assert_eq!((bookings(&db, "o-1"), ran.load(Ordering::SeqCst)), (vec![2], 1));
}

#[test]
fn a_process_that_is_killed_before_its_commit_has_done_nothing_and_after_it_all() {
    let (room, gate, mut db) = bank();
    for (order, point, epoch) in [("o-1", "inside", 2), ("o-2", "committed", 1)] {
        let mut child = room.start(&["book-until", point, order]);
        child.expect(point);
        child.kill();
        // Never in doubt.
        assert_eq!(book_inside(&gate, &mut db, order, Does::Commit).unwrap(), format!("booked in epoch {epoch}"));
        assert_eq!(bookings(&db, order), [epoch]);
    }
    assert_eq!(room.kinds_of("book", "o-1"), ["rolled_back"]);
}

#[test]
fn processes_killed_at_random_book_every_order_exactly_once() {
    let (room, gate, mut db) = bank();
    let start = || {
        let mut child = room.start(&["book-for-ever", "2000"]);
        child.expect("ready");
        child
    };
    let mut children: Vec<Process> = (0..2).map(|_| start()).collect();
    for round in 0..40 {
        // The time is what decides where in its work it is hit.
        std::thread::sleep(Duration::from_millis(5 + round * 13 % 40));
        let victim = usize::try_from(round).unwrap() % children.len();
        children[victim].kill();
        children[victim] = start();
    }
    children.iter_mut().for_each(Process::kill);
    for i in 0..2000 {
        let order = format!("o-{i}");
        book_inside(&gate, &mut db, &order, Does::Commit).unwrap();
        assert_eq!(bookings(&db, &order).len(), 1, "{order}");
    }
    assert_eq!(room.ledger().list(&Filter::new().state(ClaimState::InDoubt)).unwrap(), []);
    assert_eq!(room.ledger().verify_events().unwrap(), None);
}
