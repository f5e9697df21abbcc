//! Many processes on one database, some of which die.

use std::time::Instant;

use super::*;

#[test]
fn of_two_processes_with_one_key_one_runs() {
    let Some(room) = Room::new() else { return };
    for round in 0..5 {
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
    let Some(room) = Room::new() else { return };
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
fn a_killed_process_is_in_doubt_after_its_lease_and_never_runs_again_by_age() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    let mut child = room.start(&["slowly", "k"]);
    child.expect("started");
    // Longer than the lease: it is renewed while the process lives.
    let alive = Instant::now();
    while alive.elapsed() < Duration::from_millis(2500) {
        refused(run(&gate, &room, "k"), Kind::InFlight);
    }
    child.kill();
    let dead = Instant::now();
    let refusal = loop {
        match run(&gate, &room, "k") {
            Err(Error::Refused(refused)) if refused.kind() == Kind::InFlight => {
                assert!(dead.elapsed() < Duration::from_secs(3), "a lease of 1 s has not lapsed");
            }
            other => break refused(other, Kind::InDoubt),
        }
    };
    assert!(refusal.to_string().contains(&format!("process {} on ", child.id())), "{refusal}");
    assert_eq!((room.state("k").as_str(), room.events("k")), ("3 1", vec!["owner_dead".to_owned()]));
    room.sql("UPDATE portcullis.claim SET claimed_ms = 0, settled_ms = 0; UPDATE portcullis.owner SET renewed_ms = 0");
    for _ in 0..3 {
        refused(run(&gate, &room, "k"), Kind::InDoubt);
    }
    assert_eq!(room.effects()["k"], 1);
}

#[test]
fn a_process_that_was_stopped_longer_than_its_lease_settles_late_unless_somebody_decided() {
    let Some(room) = Room::new() else { return };
    let gate = room.gate();
    let mut child = room.start(&["slowly", "k"]);
    child.expect("started");
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: it is our own child.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    let until = Instant::now() + Duration::from_secs(10);
    while !matches!(run(&gate, &room, "k"), Err(Error::Refused(refused)) if refused.kind() == Kind::InDoubt) {
        assert!(Instant::now() < until, "its lease has not lapsed");
    }
    // SAFETY: as above.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGCONT) }, 0);
    child.go();
    child.expect("receipt of k");
    assert_eq!(run(&gate, &room, "k").unwrap(), "receipt of k");
    assert_eq!(room.events("k"), ["owner_dead", "settled_late"]);
    assert_eq!(room.effects()["k"], 1);
}

#[test]
fn a_waiter_in_another_process_gets_the_receipt_or_hears_of_the_death() {
    let Some(room) = Room::new() else { return };
    let mut first = room.start(&["slowly", "k"]);
    first.expect("started");
    let mut waiter = room.start(&["wait", "k"]);
    waiter.expect("ready");
    waiter.go();
    first.go();
    first.expect("receipt of k");
    waiter.expect("receipt of k");

    let mut first = room.start(&["slowly", "dies"]);
    first.expect("started");
    let mut waiter = room.start(&["wait", "dies"]);
    waiter.expect("ready");
    waiter.go();
    first.kill();
    assert!(waiter.hear().starts_with("in_doubt "));
    assert!(room.effects().values().all(|count| *count == 1));
}

#[test]
fn a_fork_is_refused_and_its_parent_goes_on() {
    let Some(room) = Room::new() else { return };
    let mut child = room.start(&["fork-and-use", "k"]);
    child.expect("receipt of before");
    child.expect("the fork ended with 42");
    child.expect("receipt of k");
    assert_eq!(room.effects(), HashMap::from([("before".to_owned(), 1), ("k".to_owned(), 1)]));
}

/// The campaign in `docs/faults.md`, small.
#[test]
fn of_100_processes_killed_in_every_part_of_a_call_none_leaves_an_effect_twice_or_a_receipt_lost() {
    let Some(room) = Room::new() else { return };
    let campaign = Command::new(env!("CARGO_BIN_EXE_campaign"))
        .args(["--store=postgres", "--kills=100", "--longest-silence-ms=20000", "--database", &room.url, "--dir"])
        .arg(room.dir.path())
        .output()
        .unwrap();
    assert!(campaign.status.success(), "{}", String::from_utf8_lossy(&campaign.stdout));
}
