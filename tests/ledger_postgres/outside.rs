//! `Ledger` where PostgreSQL differs from the file: a server that goes away, a database without a ledger, and what is read.

use portcullis::ledger::{By, ClaimState, Filter, Ledger};
use server::Server;

use super::*;

#[once(action = "charge", key = "order", skip(gate), with = gate, retain = "1h")]
fn charge(gate: &Portcullis, order: &str) -> Result<String, Error> {
    if order.starts_with("lost") { Err(Error::Lost) } else { Ok("charged".into()) }
}

fn alice() -> By {
    By::new("alice", "looked at the provider's console")
}

#[test]
fn a_database_without_a_ledger_is_refused_and_none_is_made() {
    let Some(room) = Room::new() else { return };
    let refusal = Ledger::open(&room.url).unwrap_err();
    assert_eq!(refusal.kind(), Kind::LedgerUnavailable);
    assert!(refusal.to_string().contains("there is no ledger in this database"), "{refusal}");
    assert_eq!(room.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'portcullis'"), ["0"]);

    room.sql("CREATE SCHEMA portcullis");
    let refusal = Ledger::open(&room.url).unwrap_err();
    assert!(refusal.to_string().contains("another program's"), "{refusal}");
    let (server, _) = room.url.rsplit_once('/').unwrap();
    let refusal = Ledger::open(&format!("{server}/nowhere_at_all")).unwrap_err();
    assert!(refusal.to_string().contains("there is no such database"), "{refusal}");
    let refusal = Ledger::open("postgres://pay:s3cret@127.0.0.1:1/shop").unwrap_err();
    assert!(!refusal.to_string().contains("s3cret"), "{refusal}");
}

#[test]
fn an_open_ledger_goes_on_after_the_server_was_started_again() {
    let Some(server) = Server::start(&[], |_| {}) else { return };
    let room = Room::on(&server.url());
    charge(&room.gate(), "lost").unwrap_err();
    let ledger = room.ledger();
    let seen = ledger.show("tests", "charge", "lost").unwrap().unwrap();
    server.restart();
    assert_eq!(ledger.show("tests", "charge", "lost").unwrap().unwrap(), seen);
    server.restart();
    assert_eq!(ledger.release(&seen, &alice()).unwrap().state, ClaimState::Open);
    assert_eq!(ledger.verify_events().unwrap(), None);
}

#[test]
fn another_ledger_at_the_same_place_is_not_the_one_that_was_opened() {
    let Some(room) = Room::new() else { return };
    charge(&room.gate(), "lost").unwrap_err();
    let ledger = room.ledger();
    room.sql("DROP SCHEMA portcullis CASCADE");
    charge(&room.gate(), "lost").unwrap_err();
    room.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()");
    let refusal = ledger.list(&Filter::new()).unwrap_err();
    assert!(refusal.to_string().contains("another ledger has taken its place"), "{refusal}");
}

#[test]
fn an_event_that_was_changed_or_taken_out_shows() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    for i in 0..600 {
        charge(&gate, &format!("lost-{i}")).unwrap_err();
    }
    let seen = room.record_of("charge", "lost-0");
    room.ledger().release(&seen, &alice()).unwrap();
    assert_eq!(room.ledger().verify_events().unwrap(), None);
    room.sql("UPDATE portcullis.event SET actor = 'bob' WHERE kind = 'released_by_hand'");
    let (owner, seq) = room.ledger().verify_events().unwrap().unwrap();
    assert_eq!(
        room.sql(&format!("SELECT kind FROM portcullis.event WHERE owner = {owner} AND seq = {seq}")),
        ["released_by_hand"]
    );
    room.sql("DELETE FROM portcullis.event WHERE seq = 505");
    assert_eq!(room.ledger().verify_events().unwrap().unwrap().1, 506);
}

#[test]
fn an_act_waits_for_whoever_is_at_the_claim_and_decides_about_what_is_then() {
    let Some(room) = Room::new() else { return };
    charge(&room.gate(), "lost").unwrap_err();
    let seen = room.record_of("charge", "lost");
    std::thread::scope(|threads| {
        // Another program's transaction that is at the claim, until somebody waits for it.
        let other = threads.spawn(|| {
            room.sql(
                "BEGIN; UPDATE portcullis.claim SET epoch = 2;
                 DO $$ BEGIN
                   WHILE NOT EXISTS(SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())
                   LOOP PERFORM pg_stat_clear_snapshot(); END LOOP;
                 END $$;
                 COMMIT",
            )
        });
        while room.sql(
            "SELECT count(*) FROM pg_locks WHERE mode = 'RowExclusiveLock' AND relation = 'portcullis.claim'::regclass",
        ) == ["0"]
        {}
        assert_eq!(room.ledger().release(&seen, &alice()).unwrap_err().kind(), Kind::Fenced);
        other.join().unwrap();
    });
    assert_eq!(room.state("lost"), "3 2");
}

#[test]
fn an_act_that_fails_changes_nothing_and_no_transaction_is_left_open() {
    let Some(room) = Room::new() else { return };
    charge(&room.gate(), "lost").unwrap_err();
    let seen = room.record_of("charge", "lost");
    let ledger = room.ledger();
    let left_open =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    ledger.list(&Filter::new()).unwrap();
    assert_eq!(room.sql(left_open), ["0"]);
    room.sql("ALTER TABLE portcullis.event ADD CONSTRAINT none CHECK (kind <> 'released_by_hand')");
    assert_eq!(ledger.release(&seen, &alice()).unwrap_err().kind(), Kind::LedgerUnavailable);
    assert_eq!((room.sql(left_open), room.state("lost").as_str()), (vec!["0".to_owned()], "3 1"));
    room.sql("ALTER TABLE portcullis.event DROP CONSTRAINT none");
    ledger.release(&seen, &alice()).unwrap();
    assert_eq!(ledger.verify_events().unwrap(), None);
}

/// How many rows of `claim` were read in full scans, and how many by an index, in this database so far.
fn rows_read(room: &Room) -> (i64, i64) {
    // A session's figures are there when it has ended.
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    while room.sql(ours) != ["0"] {}
    let counts = "SELECT seq_scan || ' ' || idx_tup_fetch FROM pg_stat_user_tables WHERE schemaname = 'portcullis' AND relname = 'claim'";
    let row = room.sql(counts).pop().unwrap();
    let (whole, fetched) = row.split_once(' ').unwrap();
    (whole.parse().unwrap(), fetched.parse().unwrap())
}

#[test]
fn what_an_operator_asks_for_is_found_without_looking_at_the_rest() {
    let Some(room) = Room::new() else { return };
    {
        let gate = room.gate();
        charge(&gate, "o-1").unwrap();
        charge(&gate, "lost").unwrap_err();
    }
    room.copies("o-1", 5000);
    room.sql("UPDATE portcullis.claim SET settled_ms = 0 WHERE key IN ('copy-1', 'copy-2', 'copy-3'); ANALYZE portcullis.claim");
    let before = rows_read(&room);
    let ledger = room.ledger();
    let lost = ledger.list(&Filter::new().state(ClaimState::InDoubt)).unwrap().pop().unwrap();
    assert!(ledger.list(&Filter::new().state(ClaimState::Pending)).unwrap().is_empty());
    assert_eq!(ledger.find(&lost.id[..16]).unwrap().len(), 1);
    ledger.release(&lost, &alice()).unwrap();
    assert_eq!(ledger.notes(&lost).unwrap().len(), 0);
    assert_eq!(ledger.events(&lost).unwrap().len(), 2);
    assert_eq!(ledger.gc(&alice()).unwrap().expired, 3);
    drop(ledger);
    let after = rows_read(&room);
    assert_eq!(after.0, before.0, "no scan of the whole table");
    assert!(after.1 - before.1 < 40, "{} rows of 5002", after.1 - before.1);
}
