//! `settle_in`: the effect and its settlement are one transaction in the ledger's own database, so either both are there or
//! neither, at every isolation level.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use portcullis::Claim;
use portcullis::ledger::{By, ClaimState, Filter};
use portcullis::tokio_postgres::{self, Client, IsolationLevel, NoTls};
use serde_json::json;
use tokio::runtime::Runtime;

use super::*;

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Sql(#[from] tokio_postgres::Error),
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
    Hang,
    ForgetToCommit,
    ForgetToSettle,
    SettleTwice,
}

const LEVELS: [IsolationLevel; 3] =
    [IsolationLevel::ReadCommitted, IsolationLevel::RepeatableRead, IsolationLevel::Serializable];

/// A connection to a database with a table of bookings, and how its transactions are isolated.
struct Db {
    client: Client,
    level: IsolationLevel,
}

async fn book(db: &mut Db, claim: &Claim<'_>, order: &str, does: Does) -> Result<String, Failed> {
    let tx = db.client.build_transaction().isolation_level(db.level).start().await?;
    let epoch = claim.epoch().cast_signed();
    tx.execute("INSERT INTO booking(order_id, epoch) VALUES($1, $2)", &[&order, &epoch]).await?;
    let receipt = format!("booked in epoch {epoch}");
    if does != Does::ForgetToSettle {
        claim.settle_in(&tx, &receipt).await?;
    }
    match does {
        Does::Commit | Does::ForgetToSettle => tx.commit().await?,
        Does::CommitAndGiveUp => {
            tx.commit().await?;
            return Err(Failed::GaveUp);
        }
        Does::GiveUp => return Err(Failed::GaveUp),
        Does::Panic => panic!("in the transaction"),
        Does::Hang => std::future::pending().await,
        Does::ForgetToCommit => drop(tx),
        Does::SettleTwice => {
            claim.settle_in(&tx, "another receipt").await?;
            tx.commit().await?;
        }
    }
    Ok(receipt)
}

#[once(action = "book", key = "order", skip(gate, db, does), with = gate, claim = claim, settle = "transaction")]
async fn book_inside(gate: &Portcullis, db: &mut Db, order: &str, does: Does) -> Result<String, Failed> {
    book(db, &claim, order, does).await
}

/// The same without the promise that the transaction is all that happens.
#[once(action = "book", key = "order", skip(gate, db, does), with = gate, claim = claim)]
async fn book_also(gate: &Portcullis, db: &mut Db, order: &str, does: Does) -> Result<String, Failed> {
    book(db, &claim, order, does).await
}

/// A ledger, with a table of bookings in its database.
struct Bank {
    room: Room,
    gate: Portcullis,
    runtime: Runtime,
    db: Db,
}

const BOOKING: &str = "CREATE TABLE booking(id serial PRIMARY KEY, order_id text NOT NULL, epoch bigint NOT NULL)";

impl Bank {
    fn at(level: IsolationLevel) -> Option<Self> {
        let room = Room::new()?;
        let gate = room.gate();
        run(&gate, &room, "the tables are there").unwrap();
        room.sql(BOOKING);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = connect(&runtime, &room.url);
        Some(Bank { room, gate, runtime, db: Db { client, level } })
    }

    fn new() -> Option<Self> {
        Bank::at(IsolationLevel::ReadCommitted)
    }

    fn inside(&mut self, order: &str, does: Does) -> Result<String, Failed> {
        self.runtime.block_on(book_inside(&self.gate, &mut self.db, order, does))
    }

    fn also(&mut self, order: &str, does: Does) -> Result<String, Failed> {
        self.runtime.block_on(book_also(&self.gate, &mut self.db, order, does))
    }

    /// In which epochs an order was booked.
    fn bookings(&self, order: &str) -> Vec<String> {
        self.room.sql(&format!("SELECT epoch FROM booking WHERE order_id = '{order}' ORDER BY id"))
    }

    /// Waits until the ledger has heard how the claim of a process that was killed has ended.
    fn until_dead(&self, order: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.room.record_of("book", order).state == ClaimState::Pending {
            assert!(Instant::now() < until, "its lease does not run out");
        }
    }
}

fn connect(runtime: &Runtime, url: &str) -> Client {
    let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls)).unwrap();
    runtime.spawn(connection);
    client
}

const NONE: [&str; 0] = [];

#[test]
fn the_effect_and_its_receipt_are_committed_together() {
    for level in LEVELS {
        let Some(mut bank) = Bank::at(level) else { return };
        for _ in 0..3 {
            assert_eq!(bank.inside("o-1", Does::Commit).unwrap(), "booked in epoch 1");
            assert_eq!(bank.also("o-2", Does::Commit).unwrap(), "booked in epoch 1");
        }
        assert_eq!((bank.bookings("o-1"), bank.bookings("o-2")), (vec!["1".into()], vec!["1".into()]));
        let record = bank.room.record_of("book", "o-1");
        assert_eq!((record.state, record.transactional, &record.ended), (ClaimState::Committed, true, &None));
        assert_eq!(bank.room.kinds_of("book", "o-1"), NONE);
    }
}

#[test]
fn what_was_not_committed_has_not_happened_and_runs_again() {
    for level in LEVELS {
        let Some(mut bank) = Bank::at(level) else { return };
        for (order, does) in [("gives up", Does::GiveUp), ("panics", Does::Panic), ("is dropped", Does::Hang)] {
            match does {
                Does::Hang => {
                    let (gate, db) = (&bank.gate, &mut bank.db);
                    let call = async {
                        tokio::time::timeout(Duration::from_millis(200), book_inside(gate, db, order, does)).await
                    };
                    assert!(bank.runtime.block_on(call).is_err());
                }
                _ => {
                    let call = std::panic::AssertUnwindSafe(|| bank.inside(order, does));
                    let ended = std::panic::catch_unwind(call);
                    assert_eq!(matches!(ended, Ok(Err(Failed::GaveUp))), does == Does::GiveUp);
                }
            }
            assert_eq!(bank.bookings(order), NONE);
            assert_eq!(bank.inside(order, Does::Commit).unwrap(), "booked in epoch 2");
            assert_eq!(bank.bookings(order), ["2"]);
            assert_eq!(bank.room.kinds_of("book", order), ["rolled_back"]);
        }
    }
}

#[test]
fn without_the_promise_what_ends_otherwise_is_in_doubt_unless_it_was_committed() {
    let Some(mut bank) = Bank::new() else { return };
    assert!(matches!(bank.also("o-1", Does::GiveUp), Err(Failed::GaveUp)));
    refused(bank.also("o-1", Does::Commit), Kind::InDoubt);
    assert!(matches!(bank.also("o-2", Does::CommitAndGiveUp), Err(Failed::GaveUp)));
    assert_eq!(bank.also("o-2", Does::Commit).unwrap(), "booked in epoch 1");
}

#[test]
fn what_was_committed_has_happened_whatever_the_body_says_then() {
    let Some(mut bank) = Bank::new() else { return };
    assert!(matches!(bank.inside("o-1", Does::CommitAndGiveUp), Err(Failed::GaveUp)));
    assert_eq!(bank.inside("o-1", Does::Commit).unwrap(), "booked in epoch 1");
    assert_eq!(bank.bookings("o-1"), ["1"]);
    assert_eq!(bank.room.kinds_of("book", "o-1"), ["fenced"]);
}

#[test]
fn an_ok_that_no_transaction_bears_out_is_unsettled_and_in_doubt() {
    let Some(mut bank) = Bank::new() else { return };
    for (order, does) in [("not committed", Does::ForgetToCommit), ("not settled", Does::ForgetToSettle)] {
        let refusal = refused(bank.inside(order, does), Kind::Unsettled);
        assert!(refusal.reason().contains("claim.settle_in"), "{refusal}");
        assert_eq!(refusal.value(), Some(&json!("booked in epoch 1")));
        refused(bank.inside(order, Does::Commit), Kind::InDoubt);
        assert_eq!(bank.room.kinds_of("book", order), ["outside_transaction"]);
    }
    assert_eq!(bank.bookings("not settled"), ["1"], "so it must not be booked once more");
}

#[test]
fn a_receipt_that_is_settled_does_not_change() {
    let Some(mut bank) = Bank::new() else { return };
    refused(bank.inside("o-1", Does::SettleTwice), Kind::InvalidTransition);
    assert_eq!(bank.bookings("o-1"), NONE, "the body has returned the error, so nothing was committed");
    assert_eq!(bank.inside("o-1", Does::Commit).unwrap(), "booked in epoch 2");
}

#[test]
fn a_transaction_on_another_database_is_refused_before_it_is_committed() {
    let Some(mut bank) = Bank::new() else { return };
    let (Some(other), Some(plain)) = (Bank::new(), Room::new()) else { return };
    plain.sql(BOOKING);
    // Another program's, and no ledger at all.
    let Some(strange) = Room::new() else { return };
    strange.sql(&format!("{BOOKING}; CREATE SCHEMA portcullis; CREATE TABLE portcullis.claim(id int)"));
    for (order, room) in [("o-1", &plain), ("o-2", &other.room), ("o-3", &strange)] {
        bank.db.client = connect(&bank.runtime, &room.url);
        let refusal = refused(bank.inside(order, Does::Commit), Kind::InvalidArgument);
        assert!(refusal.to_string().contains("the ledger's own database"), "{refusal}");
        assert_eq!(room.sql("SELECT count(*) FROM booking"), ["0"]);
    }
}

#[test]
fn a_receipt_that_can_not_be_kept_is_refused_before_the_effect() {
    let Some(mut bank) = Bank::new() else { return };
    bank.gate = bank.room.builder().max_receipt(10).build().unwrap();
    let refusal = refused(bank.inside("o-1", Does::Commit), Kind::InvalidArgument);
    assert!(refusal.reason().contains("larger than a receipt may be"), "{refusal}");
    assert_eq!(bank.bookings("o-1"), NONE);
}

#[once(action = "other", key = "order", skip(gate, db), with = gate, claim = claim, settle = "transaction")]
async fn returns_something_else(gate: &Portcullis, db: &mut Db, order: &str) -> Result<String, Failed> {
    // Whoever set this has accepted to lose transactions; a receipt that was given out is not lost.
    db.client.batch_execute("SET synchronous_commit = off").await?;
    let tx = db.client.transaction().await?;
    claim.settle_in(&tx, "on record").await?;
    let row = tx.query_one("SHOW synchronous_commit", &[]).await?;
    assert_eq!(row.get::<_, &str>(0), "on");
    tx.commit().await?;
    Ok("not on record".into())
}

#[test]
fn the_first_caller_gets_what_every_retry_gets_and_it_is_on_disk() {
    let Some(mut bank) = Bank::new() else { return };
    for _ in 0..2 {
        let told = bank.runtime.block_on(returns_something_else(&bank.gate, &mut bank.db, "o-1"));
        assert_eq!(told.unwrap(), "on record");
    }
}

type Meanwhile<'a> = &'a (dyn Fn() + Sync);

#[once(action = "slow", key = "order", skip(gate, db, meanwhile), with = gate, claim = claim, settle = "transaction", max_run = "20ms")]
async fn slow(gate: &Portcullis, db: &mut Db, meanwhile: Meanwhile<'_>, order: &str) -> Result<String, Failed> {
    meanwhile();
    book(db, &claim, order, Does::Commit).await
}

/// Has its transaction begun, and its snapshot taken, when the rest of the world goes on.
#[once(action = "slow", key = "order", skip(gate, db, meanwhile), with = gate, claim = claim, settle = "transaction")]
async fn begun(gate: &Portcullis, db: &mut Db, meanwhile: Meanwhile<'_>, order: &str) -> Result<String, Failed> {
    let tx = db.client.build_transaction().isolation_level(db.level).start().await?;
    tx.execute("INSERT INTO booking(order_id, epoch) VALUES($1, 1)", &[&order]).await?;
    meanwhile();
    claim.settle_in(&tx, "booked").await?;
    tx.commit().await?;
    Ok("booked".into())
}

#[test]
fn an_overdue_body_may_still_commit() {
    let Some(mut bank) = Bank::new() else { return };
    let room = &bank.room;
    // From a thread of its own: what looks into the ledger here has a runtime of its own.
    let until_overdue = || elsewhere(|| while room.record_of("slow", "o-1").state != ClaimState::InDoubt {});
    let booked = bank.runtime.block_on(slow(&bank.gate, &mut bank.db, &until_overdue, "o-1"));
    assert_eq!(booked.unwrap(), "booked in epoch 1");
    assert_eq!(bank.room.kinds_of("slow", "o-1"), ["overdue", "settled_late"]);
    assert_eq!(bank.room.record_of("slow", "o-1").ended, None);
    assert_eq!(bank.bookings("o-1"), ["1"]);
    assert_eq!(bank.room.ledger().verify_events().unwrap(), None);
}

fn elsewhere(call: impl FnOnce() + Send) {
    std::thread::scope(|scope| scope.spawn(call).join().unwrap());
}

#[test]
fn what_a_person_has_decided_meanwhile_keeps_the_transaction_from_being_committed() {
    for level in LEVELS {
        let Some(mut bank) = Bank::at(level) else { return };
        let (ran, by, room) = (AtomicU32::new(0), By::new("alice", "it hangs").force(), &bank.room);
        let release = || {
            elsewhere(|| {
                ran.fetch_add(1, Ordering::SeqCst);
                room.ledger().release(&room.record_of("slow", "o-1"), &by).unwrap();
            });
        };
        // Where the snapshot is older than the decision, the server itself says that it can't be.
        let kind = if matches!(level, IsolationLevel::ReadCommitted) {
            Kind::InvalidTransition
        } else {
            Kind::LedgerUnavailable
        };
        refused(bank.runtime.block_on(begun(&bank.gate, &mut bank.db, &release, "o-1")), kind);
        assert_eq!(bank.bookings("o-1"), NONE);
        let again = bank.runtime.block_on(begun(&bank.gate, &mut bank.db, &|| {}, "o-1"));
        assert_eq!((again.unwrap().as_str(), ran.load(Ordering::SeqCst)), ("booked", 1));
    }
}

/// The statement's condition and the rules: the same, for everything that a claim may have become.
#[test]
fn nothing_is_settled_but_what_the_very_start_still_holds() {
    let Some(mut bank) = Bank::new() else { return };
    let attempt = "attempt = gen_random_uuid()";
    for (i, (change, expected)) in [
        ("running = false", None),
        ("state = 3, running = true", None),
        ("state = 3", Some(Kind::InvalidTransition)),
        ("state = 4, settled_by = 2", Some(Kind::InvalidTransition)),
        ("state = 1, settled_by = 2, receipt = '1'", Some(Kind::InvalidTransition)),
        ("state = 1, settled_by = 1, receipt = '1'", Some(Kind::InvalidTransition)),
        ("state = 1, receipt = '\"mine\"'", Some(Kind::InvalidTransition)),
        ("state = 2, receipt = '1'", Some(Kind::InvalidTransition)),
        ("state = 5", Some(Kind::InvalidTransition)),
        ("epoch = 2", Some(Kind::InvalidTransition)),
        (attempt, Some(Kind::InvalidTransition)),
        ("digest = sha256('another')", Some(Kind::InvalidArgument)),
        ("state = 99", Some(Kind::LedgerUnavailable)),
    ]
    .into_iter()
    .enumerate()
    {
        let (order, room) = (format!("o-{i}"), &bank.room);
        let meanwhile = || {
            elsewhere(|| drop(room.sql(&format!("UPDATE portcullis.claim SET {change} WHERE key = '{order}'"))));
        };
        let ended = bank.runtime.block_on(begun(&bank.gate, &mut bank.db, &meanwhile, &order));
        match expected {
            None => assert_eq!(ended.unwrap(), "booked", "{change}"),
            Some(kind) => drop(refused(ended, kind)),
        }
        assert_eq!(bank.bookings(&order).len(), usize::from(expected.is_none()), "{change}");
    }
}

#[once(action = "old", key = "order", skip(gate, tx), with = gate, claim = claim, settle = "transaction")]
async fn in_an_old_transaction(
    gate: &Portcullis,
    tx: &mut Option<tokio_postgres::Transaction<'_>>,
    order: &str,
) -> Result<String, Failed> {
    let tx = tx.take().unwrap();
    claim.settle_in(&tx, "booked").await?;
    tx.commit().await?;
    Ok("booked".into())
}

#[test]
fn a_snapshot_from_before_the_claim_is_refused_and_no_other() {
    for level in LEVELS {
        let Some(mut bank) = Bank::at(level) else { return };
        let ended = bank.runtime.block_on(async {
            let tx = bank.db.client.build_transaction().isolation_level(level).start().await.unwrap();
            tx.execute("INSERT INTO booking(order_id, epoch) VALUES('o-1', 1)", &[]).await.unwrap();
            in_an_old_transaction(&bank.gate, &mut Some(tx), "o-1").await
        });
        if matches!(level, IsolationLevel::ReadCommitted) {
            assert_eq!((ended.unwrap().as_str(), bank.bookings("o-1").len()), ("booked", 1));
        } else {
            let refusal = refused(ended, Kind::InvalidArgument);
            assert!(refusal.to_string().contains("begin the transaction"), "{refusal}");
            assert_eq!(bank.bookings("o-1"), NONE);
        }
    }
}

#[test]
fn a_process_that_is_killed_before_its_commit_has_done_nothing_and_after_it_all() {
    let Some(mut bank) = Bank::new() else { return };
    for (order, point, epoch) in [("o-0", "begun", 2), ("o-1", "inside", 2), ("o-2", "committed", 1)] {
        let mut child = bank.room.start(&["book-until", point, order]);
        child.expect(point);
        child.kill();
        bank.until_dead(order);
        // Never in doubt.
        assert_eq!(bank.inside(order, Does::Commit).unwrap(), format!("booked in epoch {epoch}"));
        assert_eq!(bank.bookings(order), [epoch.to_string()]);
    }
    assert_eq!(bank.room.kinds_of("book", "o-1"), ["rolled_back"]);
}

fn signal(process: &Process, signal: libc::c_int) {
    // SAFETY: it is our own child.
    assert_eq!(unsafe { libc::kill(i32::try_from(process.id()).unwrap(), signal) }, 0);
}

/// Its lease runs out while it stands still, and somebody else goes on in its place.
#[test]
fn a_transaction_that_goes_on_after_another_process_took_its_place_is_not_committed() {
    let Some(mut bank) = Bank::new() else { return };
    let mut child = bank.room.start(&["book-until", "begun", "o-1"]);
    child.expect("begun");
    signal(&child, libc::SIGSTOP);
    bank.until_dead("o-1");
    assert_eq!(bank.inside("o-1", Does::Commit).unwrap(), "booked in epoch 2");
    signal(&child, libc::SIGCONT);
    child.go();
    assert!(child.hear().starts_with("invalid_transition "));
    assert_eq!(bank.bookings("o-1"), ["2"]);
    assert_eq!(bank.inside("o-1", Does::Commit).unwrap(), "booked in epoch 2");
}

/// It holds the claim's row: whoever wants its place has to wait for what becomes of the transaction.
#[test]
fn nobody_takes_the_place_of_a_transaction_that_has_settled_and_may_still_commit() {
    let Some(mut bank) = Bank::new() else { return };
    let mut child = bank.room.start(&["book-until", "inside", "o-1"]);
    child.expect("inside");
    signal(&child, libc::SIGSTOP);
    bank.until_dead("o-1");
    refused(bank.inside("o-1", Does::Commit), Kind::LedgerUnavailable);
    assert_eq!(bank.bookings("o-1"), NONE);
    signal(&child, libc::SIGCONT);
    child.go();
    child.expect("booked in epoch 1");
    assert_eq!(bank.inside("o-1", Does::Commit).unwrap(), "booked in epoch 1");
    assert_eq!(bank.bookings("o-1"), ["1"]);
}

#[test]
fn processes_killed_at_random_book_every_order_exactly_once() {
    let Some(mut bank) = Bank::new() else { return };
    let start = |bank: &Bank| {
        let mut child = bank.room.start(&["book-for-ever", "1000"]);
        child.expect("ready");
        child
    };
    let mut children: Vec<Process> = (0..2).map(|_| start(&bank)).collect();
    for round in 0..20_u64 {
        // The time is what decides where in its work it is hit.
        std::thread::sleep(Duration::from_millis(20 + round * 13 % 40));
        let victim = usize::try_from(round).unwrap() % children.len();
        children[victim].kill();
        children[victim] = start(&bank);
    }
    children.iter_mut().for_each(Process::kill);
    let pending = Filter::new().state(ClaimState::Pending);
    while !bank.room.ledger().list(&pending).unwrap().is_empty() {}
    let booked: usize = bank.room.sql("SELECT count(*) FROM booking")[0].parse().unwrap();
    assert!(booked > 20, "{booked}");
    for i in 0..1000 {
        bank.inside(&format!("o-{i}"), Does::Commit).unwrap();
    }
    let twice = "SELECT order_id FROM booking GROUP BY order_id HAVING count(*) <> 1";
    assert_eq!(
        (bank.room.sql(twice), bank.room.sql("SELECT count(*) FROM booking")),
        (vec![], vec!["1000".to_owned()])
    );
    assert_eq!(bank.room.ledger().list(&Filter::new().state(ClaimState::InDoubt)).unwrap(), []);
    assert_eq!(bank.room.ledger().verify_events().unwrap(), None);
}

#[once(action = "lost", key = "order", skip(gate), with = gate)]
fn lost(gate: &Portcullis, order: &str) -> Result<String, Failed> {
    Err(Failed::GaveUp)
}

#[once(action = "slow", key = "order", skip(gate, db, meanwhile), with = gate, claim = claim, settle = "transaction", max_run = "20ms")]
async fn slow_to_commit(
    gate: &Portcullis,
    db: &mut Db,
    meanwhile: Meanwhile<'_>,
    order: &str,
) -> Result<String, Failed> {
    let tx = db.client.transaction().await?;
    claim.settle_in(&tx, "booked").await?;
    meanwhile();
    tx.commit().await?;
    Ok("booked".into())
}

#[test]
fn a_transaction_that_takes_long_to_commit_keeps_nobody_but_its_own_claim_waiting() {
    let Some(mut bank) = Bank::new() else { return };
    let (gate, room) = (&bank.gate, &bank.room);
    let others = || {
        elsewhere(|| {
            // Time is what `max_run` is about: by now its watchdog wants to put it in doubt.
            std::thread::sleep(Duration::from_millis(200));
            let begun = Instant::now();
            for i in 0..20 {
                assert!(matches!(lost(gate, &format!("lost-{i}")), Err(Failed::GaveUp)));
                assert!(begun.elapsed() < Duration::from_secs(10), "the others' ends are not heard");
            }
            assert_eq!(room.ledger().list(&Filter::new().action("lost").state(ClaimState::InDoubt)).unwrap().len(), 20);
        });
    };
    let booked = bank.runtime.block_on(slow_to_commit(gate, &mut bank.db, &others, "o-1"));
    assert_eq!(booked.unwrap(), "booked");
}
