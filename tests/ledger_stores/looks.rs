//! Looking into a ledger from outside: lists, single claims, events, and everything at once.

use std::collections::HashSet;

use portcullis::ledger::{By, ClaimState, Filter};
use portcullis::once;
use serde_json::{Value, json};

use super::*;

#[once(action = "pay", key = "order", skip(gate), with = gate)]
fn pay(gate: &Portcullis, order: &str) -> Result<String, Error> {
    if order.starts_with("lost") { Err(Error::Lost) } else { Ok(format!("paid {order}")) }
}

#[once(action = "ship", key = "order", skip(gate), with = gate, claim = claim, retain = "1h", on_err = "record", refused = as_text)]
fn ship(gate: &Portcullis, order: &str) -> Result<u64, String> {
    claim.note(format!("parcel of {order}")).wait().map_err(|refused| refused.code().to_owned())?;
    if order == "nowhere" { Err("there is no such place".into()) } else { Ok(7) }
}

fn as_text(refused: Refused) -> Result<u64, String> {
    Err(refused.code().into())
}

fn keys(room: &Room, filter: &Filter) -> Vec<String> {
    room.ledger().list(filter).unwrap().into_iter().map(|record| record.key).collect()
}

#[test]
fn claims_are_listed_latest_first_by_state_action_and_namespace() {
    let Some(room) = Room::ready() else { return };
    let gate = room.gate();
    for order in ["o-1", "lost-1", "o-2", "lost-2"] {
        let _ = pay(&gate, order);
        // The order is that of their times.
        room.long_ago(Duration::from_secs(60));
    }
    ship(&gate, "nowhere").unwrap_err();
    room.long_ago(Duration::from_secs(60));
    ship(&gate, "here").unwrap();
    let other = Portcullis::builder().ledger(room.url()).namespace("others").build().unwrap();
    room.long_ago(Duration::from_secs(60));
    pay(&other, "o-1").unwrap();

    let all = Filter::new();
    assert_eq!(keys(&room, &all), ["o-1", "here", "nowhere", "lost-2", "o-2", "lost-1", "o-1"]);
    assert_eq!(keys(&room, &all.clone().limit(2)), ["o-1", "here"]);
    assert_eq!(keys(&room, &all.clone().namespace("others")), ["o-1"]);
    assert_eq!(keys(&room, &all.clone().action("pay").namespace("tests")), ["lost-2", "o-2", "lost-1", "o-1"]);
    assert_eq!(keys(&room, &all.clone().state(ClaimState::InDoubt)), ["lost-2", "lost-1"]);
    assert_eq!(keys(&room, &all.clone().state(ClaimState::InDoubt).limit(1)), ["lost-2"]);
    assert_eq!(keys(&room, &all.clone().state(ClaimState::Committed)), ["o-1", "here", "o-2", "o-1"]);
    assert_eq!(keys(&room, &all.clone().state(ClaimState::Failed)), ["nowhere"]);
    assert_eq!(keys(&room, &all.clone().state(ClaimState::Pending)), [""; 0]);
    // Over is over, whether it has been taken away or not.
    room.long_ago(Duration::from_secs(3600));
    assert_eq!(keys(&room, &all.clone().state(ClaimState::Expired)), ["here", "nowhere"]);
    assert_eq!(keys(&room, &all.clone().state(ClaimState::Failed)), [""; 0]);
}

#[test]
fn what_runs_is_pending_and_what_a_dead_process_has_left_is_in_doubt() {
    let Some(room) = Room::ready() else { return };
    let mut child = room.start(&["slowly", "k"]);
    child.expect("started");
    let record = room.record("k");
    let owner = record.owner.clone().unwrap();
    assert_eq!((record.state, owner.pid, owner.alive), (ClaimState::Pending, child.id(), true));
    assert_eq!(keys(&room, &Filter::new().state(ClaimState::Pending)), ["k"]);
    assert_eq!(keys(&room, &Filter::new().state(ClaimState::InDoubt)), [""; 0]);
    child.kill();
    let record = room.until("k", |record| record.state == ClaimState::InDoubt);
    assert!(!record.owner.unwrap().alive);
    assert_eq!(keys(&room, &Filter::new().state(ClaimState::Pending)), [""; 0]);
    assert_eq!(keys(&room, &Filter::new().state(ClaimState::InDoubt)), ["k"]);
}

#[test]
fn a_claim_is_found_by_the_beginning_of_its_id() {
    let Some(room) = Room::ready() else { return };
    let gate = room.gate();
    for i in 0..20 {
        pay(&gate, &format!("o-{i}")).unwrap();
    }
    let ledger = room.ledger();
    let record = room.record_of("pay", "o-7");
    for digits in [4, 15, 16, 64] {
        let found = ledger.find(&record.id[..digits].to_ascii_uppercase()).unwrap();
        assert!(found.contains(&record), "{digits} digits");
        assert!(found.iter().all(|found| found.id.starts_with(&record.id[..digits])));
    }
    assert_eq!(ledger.show("tests", "pay", "o-99").unwrap(), None);
    for bad in ["abc", "xyzw", "0123456789012345678901234567890123456789012345678901234567890123456789"] {
        assert_eq!(ledger.find(bad).unwrap_err().kind(), Kind::InvalidArgument, "{bad}");
    }
}

/// What PostgreSQL's text can't hold must not keep anybody from looking.
#[test]
fn a_key_of_any_characters_can_be_looked_at_and_decided_about() {
    let Some(room) = Room::ready() else { return };
    let gate = room.gate();
    let key = "lost \u{0} \u{1f5dd} '); DROP TABLE claim; --";
    pay(&gate, key).unwrap_err();
    let record = room.record_of("pay", key);
    assert_eq!(room.ledger().events(&record).unwrap().len(), 1);
    let by = By::new("al\u{0}ice", "no trace of \u{0} it");
    let record = room.ledger().release(&record, &by).unwrap();
    assert_eq!(record.state, ClaimState::Open);
    assert_eq!(room.ledger().events(&record).unwrap().len(), 2);
    assert_eq!(room.ledger().verify_events().unwrap(), None);
}

#[test]
fn an_export_has_every_claim_with_its_notes_and_every_event() {
    let Some(room) = Room::ready() else { return };
    let gate = room.gate();
    pay(&gate, "lost-0").unwrap_err();
    for i in 1..600 {
        pay(&gate, &format!("lost-{i}")).unwrap_err();
    }
    ship(&gate, "here").unwrap();
    let by = By::new("alice", "looked at the provider's console");
    let seen = room.record_of("pay", "lost-0");
    room.ledger().commit(&seen, Some(&json!({ "by": "hand" })), &by).unwrap();
    let mut out = Vec::new();
    let exported = room.ledger().export(&mut out).unwrap();
    assert_eq!((exported.claims, exported.events), (601, 601));
    let lines: Vec<Value> = out
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1202);
    let (claims, events) = lines.split_at(601);
    let ids: HashSet<&str> = claims.iter().map(|line| line["claim"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 601, "each once");
    let of = |key: &str| claims.iter().find(|line| line["claim"]["key"] == key).unwrap();
    assert_eq!(of("lost-0")["claim"]["receipt"], json!({ "by": "hand" }));
    assert_eq!((&of("here")["notes"][0]["text"], &of("lost-1")["notes"]), (&json!("parcel of here"), &json!([])));
    let last = &events[600]["event"];
    assert_eq!((last["kind"].as_str(), last["actor"].as_str()), (Some("committed_by_hand"), Some("alice")));
    assert_eq!(last["claim"], of("lost-0")["claim"]["id"]);
    assert_eq!(room.ledger().verify_events().unwrap(), None);
}
