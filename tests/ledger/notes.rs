//! `claim.note(…)`: on disk before the answer, and read by whoever has to find out what happened.

use std::sync::Mutex;

use portcullis::ledger::Note;
use portcullis::{Doubt, Reconciled, once};

use super::*;

#[once(action = "pay", key = "order", skip(gate), with = gate, claim = claim)]
async fn pay(gate: &Portcullis, order: &str) -> Result<String, Error> {
    claim.note(format!("pi_{}", claim.epoch())).await?;
    claim.note([0xff, 0x00]).await?;
    Err(Error::Lost)
}

/// What was told: epoch, idempotency key, notes.
type Told = Mutex<Vec<(u64, String, Vec<Note>)>>;

#[once(
    action = "pay",
    key = "order",
    skip(gate, told, says),
    with = gate,
    claim = claim,
    reconcile = |doubt| tell(told, doubt, says)
)]
fn pay_knowing(gate: &Portcullis, told: &Told, says: &Reconciled<String>, order: &str) -> Result<String, Error> {
    claim.note(format!("pi_{}", claim.epoch())).wait()?;
    Ok(claim.idempotency_key().to_owned())
}

fn tell(told: &Told, doubt: &Doubt, says: &Reconciled<String>) -> Reconciled<String> {
    assert_eq!((doubt.action(), doubt.key()), ("pay", "o-1"));
    told.lock().unwrap().push((doubt.epoch(), doubt.idempotency_key().to_owned(), doubt.notes().to_vec()));
    says.clone()
}

#[tokio::test]
async fn whoever_reconciles_reads_the_notes_and_the_idempotency_key() {
    let room = Room::new();
    let (gate, told) = (room.gate(), Told::default());
    pay(&gate, "o-1").await.unwrap_err();
    let key = pay_knowing(&gate, &told, &Reconciled::DidNotHappen, "o-1").unwrap();
    let told = told.into_inner().unwrap();
    let [(1, told_key, notes)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(*told_key, key, "every attempt sends the same key");
    let bytes: Vec<_> = notes.iter().map(|note| (note.epoch, note.bytes.as_slice())).collect();
    assert_eq!(bytes, [(1, &b"pi_1"[..]), (1, &[0xff, 0x00][..])]);

    // Those of all attempts are kept, each with its epoch.
    let notes = room.ledger().notes(&room.record_of("pay", "o-1")).unwrap();
    assert_eq!(notes.iter().map(|note| note.epoch).collect::<Vec<_>>(), [1, 1, 2]);
}

#[test]
fn a_note_survives_the_process_that_was_killed_right_after_it() {
    let room = Room::new();
    let mut child = room.start(&["note", "k"]);
    child.expect("noted");
    child.kill();
    let notes = room.ledger().notes(&room.record("k")).unwrap();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].bytes, b"sent k");
}

#[once(action = "long", key = "order", skip(gate, bytes), with = gate, claim = claim)]
fn note_of(gate: &Portcullis, bytes: usize, order: &str) -> Result<(), Error> {
    claim.note(vec![b'x'; bytes]).wait()?;
    Ok(())
}

#[test]
fn a_note_is_no_place_for_much() {
    let room = Room::new();
    let gate = room.gate();
    note_of(&gate, 4096, "o-1").unwrap();
    let refusal = refused(note_of(&gate, 4097, "o-2"), Kind::InvalidArgument);
    assert!(refusal.reason().contains("4097 bytes"), "{refusal}");
}

#[once(action = "gone", key = "order", skip(gate, path), with = gate, claim = claim)]
fn note_on_a_lost_file(gate: &Portcullis, path: &Path, order: &str) -> Result<(), Error> {
    std::fs::rename(path, path.with_extension("away")).unwrap();
    let noted = claim.note("pi_1").wait();
    std::fs::rename(path.with_extension("away"), path).unwrap();
    Ok(noted?)
}

#[test]
fn a_note_that_is_not_on_record_says_so_before_the_effect() {
    let room = Room::new();
    let gate = room.gate();
    let refusal = refused(note_on_a_lost_file(&gate, &room.ledger_path(), "o-1"), Kind::LedgerUnavailable);
    assert!(refusal.reason().contains("can't take the note"), "{refusal}");
    assert!(room.ledger().notes(&room.record_of("gone", "o-1")).unwrap().is_empty());
}

#[once(action = "unawaited", key = "order", skip(gate), with = gate, claim = claim)]
fn note_and_go_on(gate: &Portcullis, order: &str) -> Result<(), Error> {
    drop(claim.note("nobody waits"));
    Ok(())
}

#[test]
fn a_note_that_nobody_waits_for_is_written_all_the_same() {
    let room = Room::new();
    let gate = room.gate();
    note_and_go_on(&gate, "o-1").unwrap();
    assert_eq!(gate.drain(Duration::from_secs(20)).wait(), portcullis::Drained::All);
    assert_eq!(room.ledger().notes(&room.record_of("unawaited", "o-1")).unwrap().len(), 1);
}
