//! Opening, transactions, and what is left after a failure.

use super::*;

fn place() -> (tempfile::TempDir, Place) {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::File(dir.path().join("some/where/ledger.sqlite"));
    (dir, place)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

#[test]
fn the_bundled_sqlite_is_new_enough() {
    // Before 3.51.3 two connections could corrupt a WAL that is being reset.
    assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
}

#[test]
fn a_file_is_durable_and_nobody_elses() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, place) = place();
    let database = Database::open(&place, Create::Yes, soon()).unwrap();
    let connection = database.connection().unwrap();
    let pragma = |name: &str| -> String {
        connection.query_row(&format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!(pragma("journal_mode"), "wal");
    assert_eq!(pragma("synchronous"), "2");
    let mode = std::fs::metadata(dir.path().join("some/where")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    for suffix in ["", "-wal", "-shm", "-owners"] {
        let file = dir.path().join(format!("some/where/ledger.sqlite{suffix}"));
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{suffix}");
    }
}

#[test]
fn threads_that_open_a_fresh_file_at_once_make_one_ledger() {
    let (_dir, place) = place();
    let ledgers: Vec<Uuid> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| Database::open(&place, Create::Yes, soon()).map(|database| database.ledger)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
    });
    assert!(ledgers.iter().all(|ledger| *ledger == ledgers[0]));
}

#[test]
fn a_missing_file_is_made_only_on_purpose() {
    let (_dir, place) = place();
    let trouble = Database::open(&place, Create::No, soon()).unwrap_err();
    assert_eq!(trouble.kind(), TroubleKind::Missing);
    drop(Database::open(&place, Create::Yes, soon()).unwrap());
    Database::open(&place, Create::No, soon()).unwrap();
}

#[test]
fn a_body_that_fails_or_panics_leaves_no_transaction() {
    let (_dir, place) = place();
    let mut database = Database::open(&place, Create::Yes, soon()).unwrap();
    let insert = |connection: &Connection| {
        connection
            .execute("INSERT INTO action(namespace, name) VALUES('a', 'b')", [])
            .map(|_| ())
            .map_err(Trouble::from)
    };
    let failed = database.write(soon(), Flush::Disk, |connection| {
        insert(connection)?;
        Err::<(), _>(Trouble::new(TroubleKind::Io, "by chance"))
    });
    assert!(matches!(failed, Err(Failure::Nothing(trouble)) if trouble.kind() == TroubleKind::Io));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        database.write(soon(), Flush::Disk, |connection| {
            insert(connection)?;
            std::panic::resume_unwind(Box::new("quietly"));
            #[expect(unreachable_code, reason = "it gives the closure its type")]
            Ok(())
        })
    }));
    assert!(panicked.is_err());
    let count = |database: &Database| -> i64 {
        database.connection().unwrap().query_row("SELECT count(*) FROM action", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count(&database), 0);
    database.write(soon(), Flush::Disk, insert).unwrap();
    assert_eq!(count(&database), 1);
}

#[test]
fn a_commit_that_fails_is_unknown_and_costs_the_connection() {
    let (_dir, place) = place();
    let mut database = Database::open(&place, Create::Yes, soon()).unwrap();
    // A deferred constraint that only COMMIT checks stands in for a disk that fails.
    database
        .connection()
        .unwrap()
        .execute_batch(
            "PRAGMA foreign_keys = ON; CREATE TABLE parent(id INTEGER PRIMARY KEY);
             CREATE TABLE child(parent INTEGER REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED)",
        )
        .unwrap();
    let failed = database.write(soon(), Flush::Disk, |connection| {
        Ok(connection.execute("INSERT INTO child VALUES(1)", []).map(|_| ())?)
    });
    assert!(matches!(failed, Err(Failure::Unknown(_))));
    assert!(database.is_closed());
    assert!(database.connection().is_err());
    Database::open(&place, Create::No, soon()).unwrap().checkpoint(soon()).unwrap();
}

#[test]
fn a_lock_is_waited_for_until_the_deadline() {
    let (_dir, place) = place();
    let mut one = Database::open(&place, Create::Yes, soon()).unwrap();
    let mut other = Database::open(&place, Create::Yes, soon()).unwrap();
    let busy = one
        .write(soon(), Flush::Disk, |_| {
            Ok(other.write(Instant::now() + Duration::from_millis(20), Flush::Disk, |_| Ok(())))
        })
        .unwrap();
    assert!(matches!(busy, Err(Failure::Nothing(trouble)) if trouble.kind() == TroubleKind::Busy));
    other.write(soon(), Flush::System, |_| Ok(())).unwrap();
}

#[test]
fn a_process_has_one_row_however_often_it_opens_the_file() {
    let (_dir, place) = place();
    let owners: Vec<_> =
        (0..3).map(|_| Database::open(&place, Create::Yes, soon()).unwrap().enrol(soon()).unwrap()).collect();
    assert_eq!(owners, [OwnerId(1); 3]);
    let database = Database::open(&place, Create::Yes, soon()).unwrap();
    let side = database.side().map(|side| &**side);
    let found = holder(database.connection().unwrap(), side, owners[0]).unwrap().unwrap();
    assert!(found.alive && found.pid == std::process::id());
}

#[test]
fn a_row_without_a_lock_is_a_dead_process() {
    let (_dir, place) = place();
    let mut database = Database::open(&place, Create::Yes, soon()).unwrap();
    let owner = database.write(soon(), Flush::Disk, owners::insert).unwrap();
    let side = database.side().map(|side| &**side);
    assert!(!holder(database.connection().unwrap(), side, owner).unwrap().unwrap().alive);
}

#[test]
fn times_are_shown_in_utc() {
    assert_eq!(when(0), "1970-01-01T00:00:00Z");
    assert_eq!(when(i64::MAX), "9999-12-31T23:59:59Z");
    assert_eq!(when(-1), "1970-01-01T00:00:00Z");
    assert_eq!(millis(time(1_700_000_000_123)), 1_700_000_000_123);
}

#[test]
fn a_log_that_is_looked_after_is_grown_ahead_emptied_and_read_again_after_a_crash() {
    let (dir, place) = place();
    let mut database = Database::open(&place, Create::Yes, soon()).unwrap();
    database.keep_log().unwrap();
    let log = dir.path().join("some/where/ledger.sqlite-wal");
    let until = Instant::now() + Duration::from_secs(60);
    let (mut rows, mut used, mut begun_anew, mut longest) = (0_i64, 0, 0, 0);
    while begun_anew < 2 {
        assert!(Instant::now() < until, "the log was begun anew {begun_anew} times in {rows} commits");
        database
            .write(soon(), Flush::System, |connection| {
                connection.execute("INSERT INTO action(namespace, name) VALUES('a', ?1)", [rows.to_string()])?;
                Ok(())
            })
            .unwrap();
        rows += 1;
        database.tend();
        let now_used = database.log.as_ref().unwrap().used();
        begun_anew += i32::from(now_used < used);
        used = now_used;
        longest = longest.max(used);
        assert!(std::fs::metadata(&log).unwrap().len() > used);
    }
    // Grown ahead by steps, and not again once it is long enough.
    let length = std::fs::metadata(&log).unwrap().len();
    assert!(length < longest + (2 << 20), "{length} bytes for {longest}");

    // As a crash would leave them: with what is in the log, and zeros or an old log behind it.
    let copy = dir.path().join("copy.sqlite");
    std::fs::copy(dir.path().join("some/where/ledger.sqlite"), &copy).unwrap();
    std::fs::copy(&log, dir.path().join("copy.sqlite-wal")).unwrap();
    let found: (i64, String) = Connection::open(&copy)
        .unwrap()
        .query_row("SELECT count(*), (SELECT integrity_check FROM pragma_integrity_check) FROM action", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(found, (rows, "ok".to_owned()));
}

#[test]
fn the_zeros_behind_a_log_are_no_part_of_it() {
    let (dir, place) = place();
    let mut database = Database::open(&place, Create::Yes, soon()).unwrap();
    database.keep_log().unwrap();
    for name in ["a", "b"] {
        database
            .write(soon(), Flush::Disk, |connection| {
                connection.execute("INSERT INTO action(namespace, name) VALUES('a', ?1)", [name])?;
                Ok(())
            })
            .unwrap();
    }
    let log = dir.path().join("some/where/ledger.sqlite-wal");
    let bytes = std::fs::read(&log).unwrap();
    assert!(bytes.len() > 512 << 10 && bytes.ends_with(&[0; 4096]));
    let copy = dir.path().join("copy.sqlite");
    std::fs::copy(dir.path().join("some/where/ledger.sqlite"), &copy).unwrap();
    std::fs::write(dir.path().join("copy.sqlite-wal"), bytes).unwrap();
    let count: i64 =
        Connection::open(&copy).unwrap().query_row("SELECT count(*) FROM action", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 2);
}
