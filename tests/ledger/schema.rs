//! The schema: a file of an older release is brought forward in place, and one of a newer release is left alone.

use portcullis::ledger::{ClaimState, Filter, Ledger};
use portcullis::{Doubt, Reconciled, once};
use rusqlite::Connection;

use super::*;

const NEWEST: i64 = 3;

#[once(action = "effect", key = "key", skip(gate), with = gate, claim = claim, reconcile = did_not_happen)]
fn effect(gate: &Portcullis, key: &str) -> Result<String, Error> {
    if key == "lost" && claim.epoch() == 1 { Err(Error::Lost) } else { Ok(format!("{key} in epoch {}", claim.epoch())) }
}

fn did_not_happen(_: &Doubt) -> Reconciled<String> {
    Reconciled::DidNotHappen
}

/// A ledger as the first release has left it: a committed call, one in doubt, and one whose process is dead.
fn old_room() -> Room {
    let (old, new) = (Room::new(), Room::new());
    let gate = new.gate();
    effect(&gate, "kept").unwrap();
    effect(&gate, "lost").unwrap_err();
    let mut child = new.start(&["slowly", "killed"]);
    child.expect("started");
    child.kill();

    let raw = Connection::open(old.ledger_path()).unwrap();
    raw.execute_batch(include_str!("v1.sql")).unwrap();
    raw.execute("ATTACH ?1 AS new", [new.ledger_path().to_str().unwrap()]).unwrap();
    for table in ["meta", "owner", "action", "claim", "event", "halt"] {
        let columns: Vec<String> = raw
            .prepare(&format!("SELECT name FROM pragma_table_info('{table}', 'main')"))
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let columns = columns.join(", ");
        raw.execute(&format!("INSERT INTO main.{table}({columns}) SELECT {columns} FROM new.{table}"), []).unwrap();
    }
    old
}

fn version(room: &Room) -> i64 {
    let raw = Connection::open(room.ledger_path()).unwrap();
    raw.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

#[test]
fn an_old_file_is_brought_forward_in_place_and_keeps_everything() {
    let room = old_room();
    assert_eq!(version(&room), 1);
    let before =
        room.dir.path().join("ledger.sqlite").metadata().map(|file| std::os::unix::fs::MetadataExt::ino(&file));
    let gate = room.gate();
    assert_eq!(effect(&gate, "kept").unwrap(), "kept in epoch 1");
    assert_eq!(version(&room), NEWEST);
    let after = room.dir.path().join("ledger.sqlite").metadata().map(|file| std::os::unix::fs::MetadataExt::ino(&file));
    assert_eq!(before.unwrap(), after.unwrap(), "it is the same file");
    // The ways out of a doubt are there for what an older release has left.
    assert_eq!(effect(&gate, "lost").unwrap(), "lost in epoch 2");
    assert_eq!(effect(&gate, "killed").unwrap(), "killed in epoch 2");
    assert_eq!(room.kinds_of("effect", "lost"), ["in_doubt", "reconciled"]);
    assert_eq!(room.ledger().verify_events().unwrap(), None);
}

#[test]
fn looking_into_an_old_file_brings_it_forward_too() {
    let room = old_room();
    let found = room.ledger().list(&Filter::new().state(ClaimState::InDoubt)).unwrap();
    let keys: Vec<_> = found.iter().map(|record| record.key.as_str()).collect();
    assert_eq!(keys, ["killed", "lost"]);
    assert_eq!(version(&room), NEWEST);
}

#[test]
fn thirty_two_processes_bring_an_old_file_forward_at_once() {
    let room = old_room();
    let mut children: Vec<_> = (0..32).map(|i| room.start(&["run", &format!("k-{i}")])).collect();
    children.iter_mut().for_each(|child| child.expect("ready"));
    children.iter_mut().for_each(Process::go);
    for (i, child) in children.iter_mut().enumerate() {
        child.expect(&format!("receipt of k-{i}"));
    }
    assert_eq!(version(&room), NEWEST);
    assert_eq!(effect(&room.gate(), "kept").unwrap(), "kept in epoch 1");
    let raw = Connection::open(room.ledger_path()).unwrap();
    let integrity: String = raw.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
}

#[test]
fn a_file_of_a_newer_release_is_refused_and_left_alone_also_where_it_is_open_already() {
    let room = Room::new();
    let open = room.gate();
    effect(&open, "kept").unwrap();
    let raw = Connection::open(room.ledger_path()).unwrap();
    raw.pragma_update(None, "user_version", NEWEST + 1).unwrap();
    for gate in [&open, &room.gate()] {
        let refusal = refused(effect(gate, "another"), Kind::LedgerUnavailable);
        assert!(refusal.to_string().contains("update portcullis"), "{refusal}");
    }
    let refusal = Ledger::open(&room.url()).unwrap_err();
    assert_eq!(refusal.kind(), Kind::LedgerUnavailable);
    assert_eq!(version(&room), NEWEST + 1);
    let claims: i64 = raw.query_row("SELECT count(*) FROM claim", [], |row| row.get(0)).unwrap();
    assert_eq!(claims, 1);
}
