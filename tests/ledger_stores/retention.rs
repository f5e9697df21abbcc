//! `retain` and `gc`: receipts go, their keys stay, and what is not settled is never touched.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use portcullis::ledger::{By, ClaimState, Filter};
use portcullis::once;

use super::*;

#[once(action = "kept", key = "order", skip(gate, ran), with = gate, claim = claim, retain = "1h")]
fn kept(gate: &Portcullis, ran: &AtomicU32, order: &str, cents: u64) -> Result<u64, Error> {
    ran.fetch_add(1, Ordering::SeqCst);
    claim.note("a note").wait()?;
    if order == "in doubt" { Err(Error::Lost) } else { Ok(cents) }
}

#[once(action = "declined", key = "order", skip(gate), with = gate, on_err = "record", retain = "1h", refused = as_text)]
fn declined(gate: &Portcullis, order: &str) -> Result<u64, String> {
    Err(format!("{order} is declined"))
}

#[once(action = "for.ever", key = "order", skip(gate), with = gate)]
fn for_ever(gate: &Portcullis, order: &str) -> Result<u64, Error> {
    Ok(7)
}

fn as_text(refused: Refused) -> Result<u64, String> {
    Err(refused.code().into())
}

fn cron() -> By {
    By::new("cron", "their time is over")
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_receipt_is_taken_away_after_its_time_and_its_key_is_remembered() {
    let Some(room) = Room::ready() else { return };
    let (gate, ran) = (room.gate(), AtomicU32::new(0));
    kept(&gate, &ran, "o-1", 5).unwrap();
    declined(&gate, "o-2").unwrap_err();
    for_ever(&gate, "o-3").unwrap();
    assert_eq!(room.ledger().gc(&cron()).unwrap().expired, 0, "before its time");

    room.long_ago(HOUR);
    // Over is over, whether it has been taken away or not.
    refused(kept(&gate, &ran, "o-1", 5), Kind::ReceiptExpired);
    assert_eq!(room.ledger().gc(&cron()).unwrap().expired, 2);
    assert_eq!(room.ledger().gc(&cron()).unwrap().expired, 0);

    let record = room.record_of("kept", "o-1");
    assert_eq!((record.state, &record.receipt, record.epoch), (ClaimState::Expired, &None, 1));
    assert!(room.ledger().notes(&record).unwrap().is_empty());
    refused(kept(&gate, &ran, "o-1", 5), Kind::ReceiptExpired);
    refused(kept(&gate, &ran, "o-1", 6), Kind::KeyConflict);
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert_eq!(declined(&gate, "o-2").unwrap_err(), "receipt_expired");
    assert_eq!(for_ever(&gate, "o-3").unwrap(), 7);
    assert_eq!(room.ledger().list(&Filter::new().state(ClaimState::Expired)).unwrap().len(), 2);
    assert_eq!(room.ledger().verify_events().unwrap(), None);
}

#[test]
fn what_is_running_in_doubt_or_open_is_never_taken_away() {
    let Some(room) = Room::ready() else { return };
    let (gate, ran) = (room.gate(), AtomicU32::new(0));
    kept(&gate, &ran, "in doubt", 5).unwrap_err();
    let mut child = room.start(&["slowly", "k"]);
    child.expect("started");
    room.long_ago(100_000 * HOUR);
    assert_eq!(room.ledger().gc(&cron()).unwrap().expired, 0);
    let record = room.record_of("kept", "in doubt");
    assert_eq!(record.state, ClaimState::InDoubt);
    assert_eq!(room.ledger().notes(&record).unwrap().len(), 1);
    assert_eq!(room.record("k").state, ClaimState::Pending);

    room.ledger().release(&record, &cron()).unwrap();
    room.long_ago(100_000 * HOUR);
    assert_eq!(room.ledger().gc(&cron()).unwrap().expired, 0);
    assert_eq!(room.record_of("kept", "in doubt").state, ClaimState::Open);
}

#[test]
fn only_a_persons_force_lets_a_remembered_key_run_again() {
    let Some(room) = Room::ready() else { return };
    let (gate, ran) = (room.gate(), AtomicU32::new(0));
    kept(&gate, &ran, "o-1", 5).unwrap();
    room.long_ago(HOUR);
    room.ledger().gc(&cron()).unwrap();
    let record = room.record_of("kept", "o-1");
    assert_eq!(room.ledger().release(&record, &cron()).unwrap_err().kind(), Kind::InvalidTransition);
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    room.ledger().release(&record, &cron().force()).unwrap();
    assert_eq!(kept(&gate, &ran, "o-1", 5).unwrap(), 5);
    assert_eq!(ran.load(Ordering::SeqCst), 2);
}

/// Gone at once.
#[once(action = "effect", key = "key", skip(gate), with = gate, retain = "1ms")]
fn short(gate: &Portcullis, key: &str) -> Result<String, Error> {
    panic!("{key} ran in another process")
}

#[test]
fn calls_go_on_while_receipts_are_taken_away_also_by_processes_that_are_killed() {
    let Some(room) = Room::ready() else { return };
    let gate = room.gate();
    for_ever(&gate, "the file is there").unwrap();
    // Children that run short-lived receipts and take them away, and are killed half way.
    let mut writer = room.start(&["short-for-ever", "400"]);
    writer.expect("ready");
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let _ = room.ledger().gc(&cron()).unwrap();
            }
        });
        for _ in 0..20 {
            let mut sweeper = room.start(&["gc-for-ever"]);
            sweeper.expect("swept");
            sweeper.kill();
        }
        over.store(true, Ordering::SeqCst);
    });
    writer.kill();
    let pending = Filter::new().state(ClaimState::Pending);
    while !room.ledger().list(&pending).unwrap().is_empty() {}
    room.long_ago(Duration::from_millis(2));
    room.ledger().gc(&cron()).unwrap();

    let effects = room.effects();
    assert!(!effects.is_empty());
    assert!(effects.values().all(|count| *count == 1), "a key that is gone does not run again: {effects:?}");
    for record in room.ledger().list(&Filter::new().action("effect")).unwrap() {
        // The one that was hit, if any, is in doubt.
        assert!(matches!(record.state, ClaimState::Expired | ClaimState::InDoubt), "{}: {}", record.key, record.state);
        if record.state == ClaimState::Expired {
            refused(short(&gate, &record.key), Kind::ReceiptExpired);
        }
    }
    assert_eq!(room.ledger().verify_events().unwrap(), None);
}

#[test]
fn a_great_many_are_taken_away_in_batches() {
    let Some(room) = Room::ready() else { return };
    let (gate, ran) = (room.gate(), AtomicU32::new(0));
    for i in 0..3 {
        kept(&gate, &ran, &format!("o-{i}"), 5).unwrap();
    }
    room.copies("o-0", 2000);
    room.long_ago(HOUR);
    assert_eq!(room.ledger().gc(&cron()).unwrap().expired, 2003);
    assert_eq!(room.receipts(), 0);
    let records = room.ledger().list(&Filter::new()).unwrap();
    assert!(records.len() == 2003 && records.iter().all(|record| record.state == ClaimState::Expired));
}
