//! When the file can't be used.

use rusqlite::Connection;

use super::*;

fn quick() -> Limits {
    Limits { busy: Duration::from_millis(100), settle: Duration::from_secs(20) }
}

#[test]
fn a_url_that_names_no_file_is_not_configured() {
    for url in ["postgres://x", "sqlite:", "sqlite: ", "sqlite::memory:", "ledger.sqlite", "sqlite://relative"] {
        let refused = open(url).unwrap_err();
        assert_eq!(refused.kind(), Kind::NotConfigured, "{url}");
    }
}

#[test]
fn what_is_no_ledger_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let claim = |name: &str| {
        let store = open(&format!("sqlite:{}", dir.path().join(name).display())).unwrap();
        refused(store.claim(request("o-1")).wait().unwrap(), Kind::LedgerUnavailable).to_string()
    };
    std::fs::write(dir.path().join("text"), "This is a long enough text that is not a database.".repeat(50)).unwrap();
    assert!(claim("text").contains("not an SQLite database"));

    let other = Connection::open(dir.path().join("other")).unwrap();
    other.execute_batch("CREATE TABLE users(name TEXT)").unwrap();
    assert!(claim("other").contains("another program's database"));
    let mode: String = other.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete");
    assert!(!dir.path().join("other-owners").exists());

    std::fs::create_dir(dir.path().join("directory")).unwrap();
    assert!(claim("directory").contains("can't be opened"));
}

#[test]
fn a_newer_schema_is_refused() {
    let room = room();
    let _ = room.run("o-1");
    Connection::open(room.path()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let store = open(&format!("sqlite:{}", room.path().display())).unwrap();
    let message = refused(store.claim(request("o-2")).wait().unwrap(), Kind::LedgerUnavailable).to_string();
    assert!(message.contains("version 99") && message.contains("update portcullis"), "{message}");
}

#[test]
fn a_lock_held_too_long_refuses_claims_and_delays_settlements() {
    let room = room_with(quick());
    let (request, epoch) = room.run("o-1");
    let other = Connection::open(room.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let message = refused(room.claim("o-2"), Kind::LedgerUnavailable).to_string();
    assert!(message.contains("another process holds its lock"), "{message}");
    let settled = room.store.settle(settlement_of(&request, epoch, committed("1")));
    // Replays need no write.
    refused(room.claim("o-1"), Kind::InFlight);
    other.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(settled.wait(), Some(Settled::Recorded)));
    assert!(matches!(room.claim("o-2"), Claimed::Run { epoch: 1 }));
}

#[test]
fn a_settlement_that_can_not_be_recorded_says_so() {
    let room = room_with(Limits { settle: Duration::from_millis(150), ..quick() });
    let (request, epoch) = room.run("o-1");
    let other = Connection::open(room.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let settled = room.settle(&request, epoch, committed("1"));
    assert!(matches!(settled, Settled::Unsettled(why) if why.contains("another process holds its lock")));
    // Better late than never: it is tried again for as long as the process lives.
    other.execute_batch("ROLLBACK").unwrap();
    let waiting = ClaimRequest { wait_until: Some(Instant::now() + Duration::from_secs(20)), ..super::request("o-1") };
    assert_eq!(replayed(room.store.claim(waiting).wait().unwrap()), "1");
}

#[test]
fn a_settlement_of_nothing_is_unsettled() {
    let room = room();
    let settled = room.settle(&request("o-1"), 1, committed("1"));
    assert!(matches!(settled, Settled::Unsettled(why) if why.contains("no such claim")));
}

#[test]
fn a_file_that_was_removed_or_exchanged_is_not_made_anew() {
    let room = room();
    let (request, epoch) = room.run("o-1");
    let kept = room.dir.path().join("kept");
    std::fs::rename(room.path(), &kept).unwrap();
    let message = refused(room.claim("o-2"), Kind::LedgerUnavailable).to_string();
    assert!(message.contains("removed while it was open"), "{message}");
    std::fs::copy(&kept, room.path()).unwrap();
    refused(room.claim("o-2"), Kind::LedgerUnavailable);
    // Back in its place, it serves again.
    std::fs::rename(&kept, room.path()).unwrap();
    assert!(matches!(room.settle(&request, epoch, committed("1")), Settled::Recorded));
    assert!(matches!(room.claim("o-2"), Claimed::Run { .. }));
}

#[test]
fn one_bad_operation_does_not_fail_its_batch() {
    let room = room();
    let _ = room.run("first");
    // Another connection holds the lock, so that everything below comes to lie in one batch.
    let raw = Connection::open(room.path()).unwrap();
    raw.execute_batch("CREATE TRIGGER bad BEFORE INSERT ON claim WHEN NEW.key = 'bad' BEGIN SELECT RAISE(ABORT, 'bad'); END; BEGIN IMMEDIATE")
        .unwrap();
    let tickets: Vec<_> = ["a", "bad", "b"].into_iter().map(|key| (key, room.store.claim(request(key)))).collect();
    raw.execute_batch("ROLLBACK").unwrap();
    for (key, ticket) in tickets {
        let claimed = ticket.wait().unwrap();
        if key == "bad" {
            refused(claimed, Kind::LedgerUnavailable);
        } else {
            assert!(matches!(claimed, Claimed::Run { epoch: 1 }), "{key}");
        }
    }
}

#[test]
fn a_commit_that_fails_is_asked_again_and_leaves_the_key_free() {
    let room = room();
    let _ = room.run("first");
    // Only COMMIT checks a deferred constraint: it stands in for a disk that fails.
    let raw = Connection::open(room.path()).unwrap();
    raw.execute_batch(
        "CREATE TABLE parent(id INTEGER PRIMARY KEY);
         CREATE TABLE child(parent INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER bad AFTER INSERT ON claim WHEN NEW.key = 'bad' BEGIN INSERT INTO child VALUES(1); END;",
    )
    .unwrap();
    refused(room.claim("bad"), Kind::LedgerUnavailable);
    assert!(matches!(room.claim("good"), Claimed::Run { epoch: 1 }));
    raw.execute_batch("DROP TRIGGER bad").unwrap();
    assert!(matches!(room.claim("bad"), Claimed::Run { epoch: 1 }));
    assert_eq!(room.ledger().verify_events().unwrap(), None);
}

#[test]
fn a_directory_that_can_not_be_made_refuses() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let store = open(&format!("sqlite:{}", dir.path().join("file/ledger.sqlite").display())).unwrap();
    refused(store.claim(request("o-1")).wait().unwrap(), Kind::LedgerUnavailable);
}
