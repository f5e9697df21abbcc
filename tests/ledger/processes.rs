//! Many processes on one file, some of which die.

use std::time::{Duration, Instant};

use portcullis::ledger::{ClaimState, Filter};
use portcullis::{Refused, once};

use super::*;

/// The children's function, here.
#[once(action = "effect", key = "key", skip(gate), with = gate)]
fn run(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    panic!("{key} must not run here")
}

#[test]
fn of_two_processes_with_one_key_one_runs() {
    let room = Room::new();
    for round in 0..10 {
        let key = format!("k-{round}");
        let mut children = [room.start(&["run", &key]), room.start(&["run", &key])];
        children.iter_mut().for_each(|child| child.expect("ready"));
        children.iter_mut().for_each(Process::go);
        let told = children.each_mut().map(Process::hear);
        assert_eq!(room.effects()[&key], 1, "{told:?}");
        let receipts = told.iter().filter(|told| **told == format!("receipt of {key}")).count();
        let refused = told.iter().filter(|told| told.starts_with("in_flight ")).count();
        assert!(receipts >= 1 && receipts + refused == 2, "{told:?}");
    }
}

#[test]
fn four_processes_of_four_threads_on_100_shared_keys_have_100_effects() {
    let room = Room::new();
    let mut children: Vec<_> = (0..4).map(|_| room.start(&["many", "4", "100"])).collect();
    children.iter_mut().for_each(|child| child.expect("ready"));
    children.iter_mut().for_each(Process::go);
    for child in &mut children {
        child.expect("{\"ok\": 400}");
    }
    let effects = room.effects();
    assert_eq!(effects.len(), 100);
    assert!(effects.values().all(|count| *count == 1), "{effects:?}");
}

#[test]
fn thirty_two_processes_open_a_fresh_file_at_once() {
    let room = Room::new();
    let mut children: Vec<_> = (0..32).map(|i| room.start(&["run", &format!("k-{i}")])).collect();
    children.iter_mut().for_each(|child| child.expect("ready"));
    children.iter_mut().for_each(Process::go);
    for (i, child) in children.iter_mut().enumerate() {
        child.expect(&format!("receipt of k-{i}"));
    }
    assert_eq!(room.ledger().list(&Filter::new().state(ClaimState::Committed)).unwrap().len(), 32);
}

#[test]
fn a_killed_process_is_seen_in_doubt_at_once() {
    let room = Room::new();
    let gate = room.gate();
    let mut child = room.start(&["slowly", "k"]);
    child.expect("started");
    let refused = run(&gate, "k").unwrap_err();
    assert_eq!(refused.code(), "in_flight");
    assert!(refused.reason().contains(&format!("process {} on ", child.id())), "{refused}");
    assert_eq!(room.record("k").state, ClaimState::Pending);

    child.kill();
    let dead = Instant::now();
    let refused = run(&gate, "k").unwrap_err();
    assert_eq!(refused.code(), "in_doubt");
    assert!(dead.elapsed() < Duration::from_secs(1), "{:?}", dead.elapsed());
    assert!(refused.reason().contains("now ended"), "{refused}");

    // And stays so, whoever asks.
    for _ in 0..3 {
        let mut other = room.start(&["run", "k"]);
        other.expect("ready");
        other.go();
        assert!(other.hear().starts_with("in_doubt "));
    }
    assert_eq!(room.effects()["k"], 1);
    let record = room.record("k");
    assert_eq!(record.state, ClaimState::InDoubt);
    assert_eq!(room.ledger().events(&record).unwrap()[0].kind, "owner_dead");
}

#[test]
fn a_dead_process_is_shown_as_in_doubt_before_anybody_asks_again() {
    let room = Room::new();
    let mut child = room.start(&["slowly", "k"]);
    child.expect("started");
    child.kill();
    let found = room.ledger().list(&Filter::new().state(ClaimState::InDoubt)).unwrap();
    assert_eq!(found.len(), 1);
    assert!(!found[0].owner.as_ref().unwrap().alive);
}

#[test]
fn a_waiter_in_another_process_gets_the_receipt() {
    let room = Room::new();
    let mut first = room.start(&["slowly", "k"]);
    first.expect("started");
    let mut waiter = room.start(&["wait", "k"]);
    waiter.expect("ready");
    waiter.go();
    first.go();
    first.expect("receipt of k");
    waiter.expect("receipt of k");
    assert_eq!(room.effects()["k"], 1);
}

#[test]
fn a_waiter_in_another_process_hears_of_the_death() {
    let room = Room::new();
    let mut first = room.start(&["slowly", "k"]);
    first.expect("started");
    let mut waiter = room.start(&["wait", "k"]);
    waiter.expect("ready");
    waiter.go();
    // Whether it waits already or not: it must not run.
    first.kill();
    assert!(waiter.hear().starts_with("in_doubt "));
    assert_eq!(room.effects()["k"], 1);
}

#[test]
fn a_fork_that_outlives_its_parent_does_not_keep_the_claim_alive() {
    let room = Room::new();
    let gate = room.gate();
    let mut child = room.start(&["fork-behind", "k"]);
    let started = child.hear();
    let grandchild: i32 = started.strip_prefix("started ").unwrap().parse().unwrap();
    child.kill();
    assert_eq!(run(&gate, "k").unwrap_err().code(), "in_doubt");
    // SAFETY: it is our own child's fork, which sleeps until it is killed.
    unsafe { libc::kill(grandchild, libc::SIGKILL) };
}

#[test]
fn a_fork_that_ends_in_the_middle_of_a_body_takes_nothing_of_its_parents_with_it() {
    let room = Room::new();
    let gate = room.gate();
    let mut child = room.start(&["fork-and-exit", "k"]);
    child.expect("the fork ended with 42");
    assert_eq!(run(&gate, "k").unwrap_err().code(), "in_flight");
    child.go();
    child.expect("receipt of k");
    assert_eq!(run(&gate, "k").unwrap(), "receipt of k");
    assert_eq!(room.effects(), HashMap::from([("k".to_owned(), 1)]));
}

#[test]
fn a_flood_of_replays_writes_nothing_takes_no_memory_and_stops_nobody() {
    let room = Room::new();
    let mut child = room.start(&["flood", "100000"]);
    child.expect("receipt of k");
    let raw = rusqlite::Connection::open(room.ledger_path()).unwrap();
    let version = || -> i64 { raw.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap() };
    let before = version();
    child.go();
    let grown: i64 = child.hear().parse().unwrap();
    assert!(grown < 4096, "it has grown by {grown} KiB");
    assert_eq!(version(), before, "something was written");

    let mut flooding = room.start(&["flood", "100000"]);
    flooding.expect("receipt of k");
    flooding.go();
    let mut working = room.start(&["many", "4", "100"]);
    working.expect("ready");
    working.go();
    working.expect("{\"ok\": 400}");
    assert!(flooding.hear().parse::<i64>().is_ok());
}

#[test]
fn a_fork_is_refused_and_its_parent_goes_on() {
    let room = Room::new();
    let mut child = room.start(&["fork-and-use", "k"]);
    child.expect("receipt of before");
    child.expect("the fork ended with 42");
    child.expect("receipt of k");
    assert_eq!(room.effects(), HashMap::from([("before".to_owned(), 1), ("k".to_owned(), 1)]));
}

#[test]
fn a_full_disk_refuses_claims_and_gives_unsettled_results_back() {
    let room = Room::new();
    let mut child = room.start(&["full-disk"]);
    child.expect("receipt of before");
    let refused = child.hear();
    assert!(refused.starts_with("ledger_unavailable "), "{refused}");
    // The body did not run; and the ledger serves again as soon as there is room.
    child.expect("receipt of while full");
    let unsettled = child.hear();
    assert!(unsettled.starts_with("unsettled "), "{unsettled}");
    child.expect("receipt of settle");
    let effects = room.effects();
    assert!(effects.len() == 3 && effects.values().all(|count| *count == 1), "{effects:?}");
}

#[once(action = "lazy", key = "key", skip(gate), with = gate, settle = "lazy")]
fn lazy(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    panic!("{key} has happened")
}

#[test]
fn what_was_settled_lazily_survives_the_process() {
    let room = Room::new();
    let mut child = room.start(&["lazily", "k"]);
    child.expect("receipt of k");
    child.kill();
    assert_eq!(lazy(&room.gate(), "k").unwrap(), "receipt of k");
    assert_eq!(room.effects()["k"], 1);
}

/// Nobody else can write while this lives.
fn write_lock(room: &Room) -> rusqlite::Connection {
    let raw = rusqlite::Connection::open(room.ledger_path()).unwrap();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    raw
}

#[test]
fn a_process_killed_before_its_claim_is_committed_leaves_nothing() {
    let room = Room::new();
    let gate = room.gate();
    assert_eq!(run_here(&gate, "the file is there").unwrap(), "here");
    let mut child = room.start(&["run", "k"]);
    child.expect("ready");
    let locked = write_lock(&room);
    child.go();
    child.kill();
    drop(locked);
    assert_eq!(run_here(&gate, "k").unwrap(), "here");
    assert_eq!(room.effects().get("k"), None);
}

#[once(action = "effect", key = "key", skip(gate), with = gate)]
fn run_here(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    Ok("here".into())
}

#[test]
fn a_process_killed_between_its_body_and_its_settlement_is_in_doubt_and_after_it_has_a_receipt() {
    let room = Room::new();
    let gate = room.gate();
    let mut child = room.start(&["return", "k-1"]);
    child.expect("started");
    let locked = write_lock(&room);
    child.go();
    child.expect("returning");
    child.kill();
    drop(locked);
    assert_eq!(run(&gate, "k-1").unwrap_err().code(), "in_doubt");

    let mut child = room.start(&["return", "k-2"]);
    child.expect("started");
    child.go();
    child.expect("returning");
    child.expect("receipt of k-2");
    child.kill();
    assert_eq!(run(&gate, "k-2").unwrap(), "receipt of k-2");
    assert_eq!(room.effects(), HashMap::from([("k-1".to_owned(), 1), ("k-2".to_owned(), 1)]));
}

/// The campaign in `docs/faults.md`, small.
#[test]
fn of_300_processes_killed_in_every_part_of_a_call_none_leaves_an_effect_twice_or_a_receipt_lost() {
    let room = Room::new();
    let campaign = Command::new(env!("CARGO_BIN_EXE_campaign"))
        .args(["--store=sqlite", "--kills=300", "--longest-silence-ms=20000", "--dir"])
        .arg(room.dir.path())
        .output()
        .unwrap();
    assert!(campaign.status.success(), "{}", String::from_utf8_lossy(&campaign.stdout));
}
