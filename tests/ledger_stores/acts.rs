//! What a person decides about a claim: by name and for a reason, only about what was looked at, and nothing is deleted.

use std::sync::mpsc;

use portcullis::ledger::{By, ClaimState};
use portcullis::{Claim, once};
use serde_json::json;

use super::*;

/// A body that a test holds, and lets end as it says.
struct Held {
    entered: mpsc::Sender<u64>,
    ends: mpsc::Receiver<Result<String, Error>>,
}

type Control = (Held, mpsc::Receiver<u64>, mpsc::Sender<Result<String, Error>>);

fn held() -> Control {
    let (entered, is_in) = mpsc::channel();
    let (end, ends) = mpsc::channel();
    (Held { entered, ends }, is_in, end)
}

impl Held {
    fn run(&self, claim: &Claim<'_>) -> Result<String, Error> {
        self.entered.send(claim.epoch()).unwrap();
        self.ends.recv().unwrap()
    }
}

#[once(action = "charge", key = "order", skip(gate, held), with = gate, claim = claim)]
fn charge_held(gate: &Portcullis, held: &Held, order: &str, cents: u64) -> Result<String, Error> {
    held.run(&claim)
}

/// Who comes next: loses the answer of the first epoch.
#[once(action = "charge", key = "order", skip(gate), with = gate, claim = claim)]
fn charge(gate: &Portcullis, order: &str, cents: u64) -> Result<String, Error> {
    if claim.epoch() == 1 { Err(Error::Lost) } else { Ok(format!("charged in epoch {}", claim.epoch())) }
}

fn alice() -> By {
    By::new("alice", "looked at the provider's console")
}

/// A ledger with one call in doubt.
fn in_doubt() -> Option<(Room, Portcullis)> {
    let room = Room::ready()?;
    let gate = room.gate();
    charge(&gate, "o-1", 5).unwrap_err();
    Some((room, gate))
}

#[test]
fn what_a_person_commits_is_given_to_every_retry() {
    let Some((room, gate)) = in_doubt() else { return };
    let seen = room.record_of("charge", "o-1");
    let record = room.ledger().commit(&seen, Some(&json!("found by hand")), &alice()).unwrap();
    assert_eq!((record.state, record.settled_by.as_deref()), (ClaimState::Committed, Some("person")));
    assert_eq!(charge(&gate, "o-1", 5).unwrap(), "found by hand");
    refused(charge(&gate, "o-1", 6), Kind::KeyConflict);

    let event = room.events_of("charge", "o-1").pop().unwrap();
    assert_eq!((event.kind.as_str(), event.actor.as_str()), ("committed_by_hand", "alice"));
    assert_eq!(event.detail["reason"], "looked at the provider's console");
    assert_eq!(event.detail["from"], "in_doubt");
    assert_eq!(room.ledger().verify_events().unwrap(), None);
}

#[test]
fn what_is_committed_without_a_receipt_never_runs_and_can_be_given_one_later() {
    let Some((room, gate)) = in_doubt() else { return };
    let ledger = room.ledger();
    let committed = ledger.commit(&room.record_of("charge", "o-1"), None, &alice()).unwrap();
    let refusal = refused(charge(&gate, "o-1", 5), Kind::ReceiptUnreadable);
    assert!(refusal.to_string().contains("ledger commit --receipt"), "{refusal}");

    let complete = ledger.commit(&committed, Some(&json!("found later")), &alice()).unwrap();
    assert_eq!(charge(&gate, "o-1", 5).unwrap(), "found later");
    // From here on somebody has had it, and it does not change any more.
    let refusal = ledger.commit(&complete, Some(&json!("another")), &alice()).unwrap_err();
    assert_eq!(refusal.kind(), Kind::InvalidTransition);
    assert_eq!(charge(&gate, "o-1", 5).unwrap(), "found later");
}

#[test]
fn what_a_person_releases_runs_again_for_the_same_payload() {
    let Some((room, gate)) = in_doubt() else { return };
    let record = room.ledger().release(&room.record_of("charge", "o-1"), &alice()).unwrap();
    assert_eq!((record.state, record.epoch), (ClaimState::Open, 1));
    refused(charge(&gate, "o-1", 6), Kind::KeyConflict);
    assert_eq!(charge(&gate, "o-1", 5).unwrap(), "charged in epoch 2");
    assert_eq!(room.kinds_of("charge", "o-1"), ["in_doubt", "released_by_hand"]);
}

#[test]
fn an_act_applies_to_what_was_looked_at_and_to_no_later_start() {
    let Some((room, gate)) = in_doubt() else { return };
    let ledger = room.ledger();
    let seen = room.record_of("charge", "o-1");
    ledger.release(&seen, &alice()).unwrap();
    charge(&gate, "o-1", 5).unwrap();
    for refusal in [ledger.release(&seen, &alice().force()), ledger.commit(&seen, None, &alice().force())] {
        let refusal = refusal.unwrap_err();
        assert_eq!(refusal.kind(), Kind::Fenced);
        assert!(refusal.to_string().contains("look at the claim again"), "{refusal}");
    }
    assert_eq!(charge(&gate, "o-1", 5).unwrap(), "charged in epoch 2");
}

/// Somebody looked for the effect while the body ran: it had not happened, then.
#[test]
fn what_was_seen_while_the_body_ran_is_no_base_for_a_decision_once_it_is_in_doubt() {
    let Some(room) = Room::ready() else { return };
    let gate = room.gate();
    let (held, is_in, end) = held();
    let (pending, ledger) = std::thread::scope(|threads| {
        let running = threads.spawn(|| charge_held(&gate, &{ held }, "o-1", 5));
        is_in.recv().unwrap();
        let seen = room.record_of("charge", "o-1");
        assert_eq!(seen.state, ClaimState::Pending);
        end.send(Err(Error::Lost)).unwrap();
        running.join().unwrap().unwrap_err();
        (seen, room.ledger())
    });
    for refusal in [ledger.release(&pending, &alice()), ledger.release(&pending, &alice().force())] {
        assert_eq!(refusal.unwrap_err().kind(), Kind::Fenced);
    }
    assert_eq!(room.kinds_of("charge", "o-1"), ["in_doubt"]);
    ledger.release(&room.record_of("charge", "o-1"), &alice()).unwrap();
}

#[test]
fn of_two_people_who_saw_the_same_the_second_hears_of_the_first() {
    let Some((room, _)) = in_doubt() else { return };
    let seen = room.record_of("charge", "o-1");
    room.ledger().release(&seen, &alice()).unwrap();
    let refusal = room.ledger().commit(&seen, None, &By::new("bob", "it is in the console")).unwrap_err();
    assert_eq!(refusal.kind(), Kind::Fenced);
    assert_eq!(room.record_of("charge", "o-1").state, ClaimState::Open);
}

#[test]
fn what_is_known_to_have_happened_can_not_be_undone() {
    let Some((room, gate)) = in_doubt() else { return };
    let ledger = room.ledger();
    ledger.release(&room.record_of("charge", "o-1"), &alice()).unwrap();
    charge(&gate, "o-1", 5).unwrap();
    let seen = room.record_of("charge", "o-1");
    for by in [alice(), alice().force()] {
        assert_eq!(ledger.release(&seen, &by).unwrap_err().kind(), Kind::InvalidTransition);
        assert_eq!(ledger.commit(&seen, Some(&json!("other")), &by).unwrap_err().kind(), Kind::InvalidTransition);
    }
    assert_eq!(room.record_of("charge", "o-1"), seen);
}

#[test]
fn nobody_acts_without_a_name_and_a_reason() {
    let Some((room, _)) = in_doubt() else { return };
    let ledger = room.ledger();
    let seen = room.record_of("charge", "o-1");
    for by in [By::new("", "why"), By::new("alice", " ")] {
        assert_eq!(ledger.release(&seen, &by).unwrap_err().kind(), Kind::InvalidArgument);
        assert_eq!(ledger.commit(&seen, None, &by).unwrap_err().kind(), Kind::InvalidArgument);
        assert_eq!(ledger.gc(&by).unwrap_err().kind(), Kind::InvalidArgument);
    }
    assert_eq!(room.record_of("charge", "o-1"), seen);
}

#[test]
fn a_body_that_runs_is_decided_about_only_by_force() {
    let Some(room) = Room::ready() else { return };
    let gate = room.gate();
    let (held, is_in, end) = held();
    std::thread::scope(|threads| {
        let running = threads.spawn(|| charge_held(&gate, &{ held }, "o-1", 5));
        is_in.recv().unwrap();
        let refusal = room.ledger().release(&room.record_of("charge", "o-1"), &alice()).unwrap_err();
        assert_eq!(refusal.kind(), Kind::InFlight);
        end.send(Ok("charged".into())).unwrap();
        assert_eq!(running.join().unwrap().unwrap(), "charged");
    });
    assert_eq!(room.kinds_of("charge", "o-1"), Vec::<String>::new());
}

/// Runs one body, has a person release it meanwhile, runs another, and lets the first end then.
fn zombie(end_of_the_first: Result<String, Error>) -> Option<(Room, Result<String, Error>)> {
    let room = Room::ready()?;
    let gate = room.gate();
    let ((first, first_in, end_first), (second, second_in, end_second)) = (held(), held());
    let told = std::thread::scope(|threads| {
        let zombie = threads.spawn(|| charge_held(&gate, &{ first }, "o-1", 5));
        assert_eq!(first_in.recv().unwrap(), 1);
        room.ledger().release(&room.record_of("charge", "o-1"), &alice().force()).unwrap();
        let next = threads.spawn(|| charge_held(&gate, &{ second }, "o-1", 5));
        assert_eq!(second_in.recv().unwrap(), 2);
        end_first.send(end_of_the_first).unwrap();
        let told = zombie.join().unwrap();
        // The zombie has ended, and the next one still holds the claim.
        assert_eq!(room.record_of("charge", "o-1").state, ClaimState::Pending);
        end_second.send(Ok("of the second".into())).unwrap();
        assert_eq!(next.join().unwrap().unwrap(), "of the second");
        told
    });
    assert_eq!(charge(&gate, "o-1", 5).unwrap(), "of the second");
    Some((room, told))
}

#[test]
fn what_a_zombie_settles_after_the_next_start_is_evidence_and_changes_nothing() {
    let Some((room, told)) = zombie(Ok("of the first".into())) else { return };
    let refusal = refused(told, Kind::Fenced);
    assert_eq!(refusal.value(), Some(&json!("of the first")));
    let events = room.events_of("charge", "o-1");
    let fenced = events.iter().find(|event| event.kind == "fenced").unwrap();
    assert_eq!((fenced.epoch, &fenced.detail["receipt"]), (Some(1), &json!("\"of the first\"")));
}

#[test]
fn a_zombies_error_is_its_own_and_evidence_all_the_same() {
    let Some((room, told)) = zombie(Err(Error::Lost)) else { return };
    assert!(matches!(told, Err(Error::Lost)));
    assert_eq!(room.kinds_of("charge", "o-1"), ["released_by_hand", "fenced"]);
}

#[test]
fn what_the_body_knows_counts_if_nobody_has_started_again() {
    let Some(room) = Room::ready() else { return };
    let gate = room.gate();
    let (held, is_in, end) = held();
    std::thread::scope(|threads| {
        let running = threads.spawn(|| charge_held(&gate, &{ held }, "o-1", 5));
        is_in.recv().unwrap();
        room.ledger().release(&room.record_of("charge", "o-1"), &alice().force()).unwrap();
        end.send(Ok("charged".into())).unwrap();
        assert_eq!(running.join().unwrap().unwrap(), "charged");
    });
    // It happened, whatever the person thought: it must not run again.
    assert_eq!(charge(&gate, "o-1", 5).unwrap(), "charged");
    assert_eq!(room.kinds_of("charge", "o-1"), ["released_by_hand", "settled_late"]);
}

#[test]
fn a_killed_process_can_be_released_as_soon_as_it_is_known_to_be_dead() {
    let Some(room) = Room::ready() else { return };
    let mut child = room.start(&["slowly", "k"]);
    child.expect("started");
    let seen = room.record("k");
    assert_eq!(room.ledger().release(&seen, &alice()).unwrap_err().kind(), Kind::InFlight);
    child.kill();
    room.until("k", |record| record.state == ClaimState::InDoubt);
    assert_eq!(room.ledger().release(&seen, &alice()).unwrap_err().kind(), Kind::Fenced, "it ran when it was seen");
    room.ledger().release(&room.record("k"), &alice()).unwrap();
    let mut next = room.start(&["run", "k"]);
    next.expect("ready");
    next.go();
    next.expect("receipt of k");
    assert_eq!(room.effects()["k"], 2, "by the person's word the first did not happen");
}

#[once(action = "charge", key = "order", skip(gate), with = gate, wait = "30s")]
fn patient(gate: &Portcullis, order: &str, cents: u64) -> Result<String, Error> {
    panic!("{order} must not run: a person says that it happened")
}

#[test]
fn who_waits_hears_of_what_a_person_says() {
    let Some(room) = Room::ready() else { return };
    let gate = room.gate();
    let (held, is_in, end) = held();
    std::thread::scope(|threads| {
        let running = threads.spawn(|| charge_held(&gate, &{ held }, "o-1", 5));
        is_in.recv().unwrap();
        let waiting = threads.spawn(|| patient(&gate, "o-1", 5));
        let by_hand = json!("by hand");
        room.ledger().commit(&room.record_of("charge", "o-1"), Some(&by_hand), &alice().force()).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), "by hand");
        end.send(Ok("by the body".into())).unwrap();
        refused(running.join().unwrap(), Kind::Fenced);
    });
}

/// Somebody's async program may look as well.
#[test]
fn a_ledger_works_inside_of_an_async_runtime() {
    let Some((room, _)) = in_doubt() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ledger = room.ledger();
        let seen = ledger.show("tests", "charge", "o-1").unwrap().unwrap();
        assert_eq!(ledger.release(&seen, &alice()).unwrap().state, ClaimState::Open);
        assert_eq!(ledger.gc(&alice()).unwrap().expired, 0);
        drop(ledger);
    });
}
