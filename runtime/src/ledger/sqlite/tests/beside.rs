//! What lies beside the file: results that it could not record, and how far it has come.

use rusqlite::Connection;

use super::super::super::By;

use super::*;

#[test]
fn what_could_not_be_recorded_is_recorded_by_whoever_opens_the_ledger_next() {
    let limits = Limits { busy: Duration::from_millis(50), settle: Duration::from_millis(50) };
    let Room { dir, store } = room_with(limits);
    let path = dir.path().join("ledger.sqlite");
    let request = request("o-1");
    let Some(Claimed::Run { epoch }) = store.claim(request.clone()).wait() else { panic!("it must run") };
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let settled = store.settle(settlement_of(&request, epoch, committed("1"))).wait().unwrap();
    assert!(matches!(settled, Settled::Unsettled(why) if why.contains("kept beside it")));
    // Nobody tries any more.
    drop(store);
    other.execute_batch("ROLLBACK").unwrap();

    let next = open(&format!("sqlite:{}", path.display())).unwrap();
    assert_eq!(replayed(next.claim(super::request("o-1")).wait().unwrap()), "1");
    let spill = dir.path().join("ledger.sqlite-spill");
    assert_eq!(std::fs::read(spill).unwrap()[..4], [0; 4], "it is emptied");
}

#[test]
fn a_result_that_is_no_longer_wanted_is_kept_as_evidence() {
    let limits = Limits { busy: Duration::from_millis(50), settle: Duration::from_millis(50) };
    let room = room_with(limits);
    let (request, epoch) = room.run("o-1");
    let other = Connection::open(room.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let settled = room.settle(&request, epoch, committed("1"));
    assert!(matches!(settled, Settled::Unsettled(_)));
    // Meanwhile a person has decided, and another start was granted.
    other
        .execute_batch("UPDATE claim SET epoch = 2, attempt = randomblob(16), state = 0, settled_by = 0; COMMIT")
        .unwrap();
    let _ = room.run("o-2");
    let record = room.ledger().show("shop", "orders.refund", "o-1").unwrap().unwrap();
    assert_eq!((record.epoch, record.state), (2, ClaimState::Pending));
    let events = room.ledger().events(&record).unwrap();
    assert!(events.iter().any(|event| event.kind == "fenced" && event.detail["receipt"] == "1"), "{events:?}");
}

#[test]
fn a_person_can_not_release_what_has_happened_and_could_not_be_recorded() {
    let limits = Limits { busy: Duration::from_millis(50), settle: Duration::from_millis(50) };
    let Room { dir, store } = room_with(limits);
    let path = dir.path().join("ledger.sqlite");
    let request = request("o-1");
    let Some(Claimed::Run { epoch }) = store.claim(request.clone()).wait() else { panic!("it must run") };
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let settled = store.settle(settlement_of(&request, epoch, committed("1"))).wait().unwrap();
    assert!(matches!(settled, Settled::Unsettled(_)));
    drop(store);
    other.execute_batch("ROLLBACK").unwrap();

    let ledger = Ledger::open(&format!("sqlite:{}", path.display())).unwrap();
    let record = ledger.show("shop", "orders.refund", "o-1").unwrap().unwrap();
    let refused = ledger.release(&record, &By::new("op", "it surely did not happen").force()).unwrap_err();
    assert_eq!(refused.kind(), Kind::Fenced, "{refused}");
    let record = ledger.show("shop", "orders.refund", "o-1").unwrap().unwrap();
    assert_eq!((record.state, record.receipt), (ClaimState::Committed, Some(json!(1))));
}

/// As the next process finds it.
fn next(path: &std::path::Path, key: &str) -> Claimed {
    let store = open(&format!("sqlite:{}", path.display())).unwrap();
    store.claim(request(key)).wait().unwrap()
}

/// A copy of the ledger as it is now.
fn copy(path: &std::path::Path) -> std::path::PathBuf {
    let copy = path.with_extension("copy");
    let raw = Connection::open(path).unwrap();
    raw.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    copy
}

/// The file and its log.
fn remove(path: &std::path::Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        let _ = std::fs::remove_file(file);
    }
}

/// Puts another file in the ledger's place.
fn put(copy: &std::path::Path, path: &std::path::Path) {
    remove(path);
    std::fs::rename(copy, path).unwrap();
}

#[test]
fn an_older_copy_of_a_ledger_is_refused_until_its_mark_is_removed() {
    let room = room();
    let (first, epoch) = room.run("o-1");
    assert!(matches!(room.settle(&first, epoch, committed("1")), Settled::Recorded));
    let older = copy(&room.path());
    let (second, epoch) = room.run("o-2");
    assert!(matches!(room.settle(&second, epoch, committed("2")), Settled::Recorded));
    put(&older, &room.path());
    for key in ["o-1", "o-2", "o-3"] {
        let message = refused(next(&room.path(), key), Kind::LedgerRolledBack).to_string();
        assert!(message.contains("older copy") && message.contains("ledger.sqlite-mark"), "{message}");
    }
    std::fs::remove_file(room.dir.path().join("ledger.sqlite-mark")).unwrap();
    assert_eq!(replayed(next(&room.path(), "o-1")), "1");
    assert!(matches!(next(&room.path(), "o-2"), Claimed::Run { .. }), "as a person has decided");
}

#[test]
fn an_older_copy_in_which_a_claim_is_free_that_has_run_since_is_refused() {
    let room = room();
    let (first, epoch) = room.run("o-1");
    assert!(matches!(room.settle(&first, epoch, Settlement::Released("err")), Settled::Recorded));
    let older = copy(&room.path());
    let (second, epoch) = room.run("o-1");
    assert!(epoch == 2 && matches!(room.settle(&second, epoch, committed("2")), Settled::Recorded));
    put(&older, &room.path());
    refused(next(&room.path(), "o-1"), Kind::LedgerRolledBack);
}

#[test]
fn a_copy_that_lacks_nothing_is_taken() {
    let room = room();
    let (first, epoch) = room.run("o-1");
    assert!(matches!(room.settle(&first, epoch, committed("1")), Settled::Recorded));
    let copy = copy(&room.path());
    put(&copy, &room.path());
    assert_eq!(replayed(next(&room.path(), "o-1")), "1");
}

#[test]
fn a_ledger_that_is_gone_is_not_made_anew() {
    let room = room();
    let _ = room.run("o-1");
    let kept = copy(&room.path());
    remove(&room.path());
    let message = refused(next(&room.path(), "o-2"), Kind::LedgerRolledBack).to_string();
    assert!(message.contains("gone") && !room.path().exists(), "{message}");
    // Nor does another one take its place.
    let other = super::room();
    let _ = other.run("o-1");
    std::fs::rename(copy(&other.path()), room.path()).unwrap();
    refused(next(&room.path(), "o-2"), Kind::LedgerRolledBack);
    put(&kept, &room.path());
    assert!(matches!(next(&room.path(), "o-2"), Claimed::Run { .. }));
}

#[test]
fn an_older_copy_written_over_an_open_ledger_is_noticed_at_the_next_claim() {
    let room = room();
    let _ = room.run("o-1");
    let raw = Connection::open(room.path()).unwrap();
    let _ = room.run("o-2");
    // As far as rows go, this is what an older copy looks like.
    raw.execute("DELETE FROM claim WHERE id = 2", []).unwrap();
    refused(room.claim("o-3"), Kind::LedgerRolledBack);
}

#[test]
fn a_result_of_which_the_ledger_knows_no_claim_is_kept_as_evidence_and_stops_nobody() {
    let limits = Limits { busy: Duration::from_millis(50), settle: Duration::from_millis(50) };
    let room = room_with(limits);
    let (request, epoch) = room.run("o-1");
    let other = Connection::open(room.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let settled = room.settle(&request, epoch, committed("1"));
    assert!(matches!(settled, Settled::Unsettled(_)));
    // As if an older copy had been accepted.
    other.execute_batch("UPDATE claim SET digest = randomblob(32); COMMIT").unwrap();
    let _ = room.run("o-2");
    let kept: String = other
        .query_row("SELECT detail FROM event WHERE kind = 'unsettled' AND digest = ?1", [request.digest.0], |row| {
            row.get(0)
        })
        .unwrap();
    assert!(kept.contains("\"receipt\":\"1\""), "{kept}");
}
