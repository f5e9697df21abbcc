//! The tables: made once, and never touched where they are not ours.

use super::*;

#[test]
fn thirty_two_processes_start_at_once_on_an_empty_database() {
    let Some(room) = Room::new() else { return };
    let mut children: Vec<_> = (0..32).map(|i| room.start(&["run", &format!("k-{i}")])).collect();
    children.iter_mut().for_each(|child| child.expect("ready"));
    children.iter_mut().for_each(Process::go);
    for (i, child) in children.iter_mut().enumerate() {
        child.expect(&format!("receipt of k-{i}"));
    }
    assert_eq!(room.sql("SELECT count(*) FROM portcullis.claim WHERE state = 1"), ["32"]);
    assert_eq!(room.sql("SELECT version FROM portcullis.meta"), ["2"]);
}

#[test]
fn a_newer_schema_is_refused_and_not_touched() {
    let Some(room) = Room::new() else { return };
    run(&room.gate(), &room, "before").unwrap();
    room.sql("UPDATE portcullis.meta SET version = 99");
    let message = refused(run(&room.gate(), &room, "k"), Kind::LedgerUnavailable).to_string();
    assert!(message.contains("version 99") && message.contains("update portcullis"), "{message}");
    assert_eq!((room.state("k").as_str(), room.effects().contains_key("k")), ("absent", false));
}

#[test]
fn another_programs_schema_is_refused() {
    let Some(room) = Room::new() else { return };
    room.sql("CREATE SCHEMA portcullis; CREATE TABLE portcullis.doors(id int)");
    let message = refused(run(&room.gate(), &room, "k"), Kind::LedgerUnavailable).to_string();
    assert!(message.contains("another program's"), "{message}");
}

#[test]
fn a_ledger_that_was_replaced_while_it_is_used_grants_nothing() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    run(&gate, &room, "before").unwrap();
    room.sql("DROP SCHEMA portcullis CASCADE");
    refused(run(&gate, &room, "before"), Kind::LedgerUnavailable);
    refused(run(&gate, &room, "k"), Kind::LedgerUnavailable);
    assert_eq!(room.effects(), HashMap::from([("before".to_owned(), 1)]));
}

#[test]
fn a_database_that_can_not_hold_every_key_is_refused() {
    let Some(room) = Room::new() else { return };
    let (server, name) = room.url.rsplit_once('/').unwrap();
    room.sql(&format!("CREATE DATABASE {name}_latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'"));
    let latin = Portcullis::builder().ledger(format!("{server}/{name}_latin")).namespace("tests").build().unwrap();
    let message = refused(run(&latin, &room, "k"), Kind::LedgerUnavailable).to_string();
    assert!(message.contains("LATIN1") && message.contains("UTF8"), "{message}");
}
