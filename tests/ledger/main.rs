//! The ledger under processes that share it, die, fork and run out of disk. Effects are counted outside, in a file.

#[path = "../ledger_stores/acts.rs"]
mod acts;
#[path = "../ledger_stores/batches.rs"]
mod batches;
mod broken;
mod disk;
mod doubt;
mod dropped;
mod inside;
#[path = "../ledger_stores/looks.rs"]
mod looks;
mod notes;
mod overdue;
mod power;
mod processes;
#[path = "../ledger_stores/race.rs"]
mod race;
mod receipts;
#[path = "../ledger_stores/retention.rs"]
mod retention;
#[path = "../ledger_stores/room.rs"]
mod room;
mod schema;
mod threads;
mod window;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use portcullis::{Builder, Kind, Portcullis, Refused};
use portcullis_tests::process::Process;
use tempfile::TempDir;

/// What a call can end with.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The provider's answer was lost.
    #[error("the answer was lost")]
    Lost,
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, kind: Kind) -> Refused {
    match result {
        Err(Error::Refused(refused)) => {
            assert_eq!(refused.kind(), kind, "{refused}");
            refused
        }
        other => panic!("it must be refused as {kind}: {other:?}"),
    }
}

struct Room {
    dir: TempDir,
}

impl Room {
    fn new() -> Self {
        // In memory where there is such a place: what is tested is who may run, and a disk that stalls for seconds while
        // others build on it would have claims refused, as it should.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Room { dir: dir.unwrap() }
    }

    /// As the tests of both stores get one.
    fn ready() -> Option<Self> {
        Some(Room::new())
    }

    fn ledger_path(&self) -> PathBuf {
        self.dir.path().join("ledger.sqlite")
    }

    fn effects_path(&self) -> PathBuf {
        self.dir.path().join("effects")
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.ledger_path().display())
    }

    fn gate(&self) -> Portcullis {
        self.builder().build().unwrap()
    }

    fn builder(&self) -> Builder {
        Portcullis::builder().ledger(self.url()).namespace("tests")
    }

    /// As if the clock had been set back by so much since everything that is on record.
    fn set_clock_back(&self, by: Duration) {
        self.shift(i64::try_from(by.as_millis()).unwrap());
    }

    fn shift(&self, by_ms: i64) {
        let raw = rusqlite::Connection::open(self.ledger_path()).unwrap();
        let sql =
            "UPDATE claim SET claimed_ms = claimed_ms + ?1, settled_ms = settled_ms + ?1, first_ms = first_ms + ?1";
        raw.execute(sql, [by_ms]).unwrap();
    }

    /// So many claims that are like this one.
    fn copies(&self, key: &str, count: u32) {
        let raw = rusqlite::Connection::open(self.ledger_path()).unwrap();
        let sql = "INSERT INTO claim(digest, action, key, fingerprint, state, epoch, attempt, owner, claimed_ms, settled_ms, retain_ms, receipt)
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
             SELECT randomblob(32), action, 'copy-' || i, fingerprint, state, epoch, attempt, owner, claimed_ms, settled_ms, retain_ms, receipt
             FROM n, (SELECT * FROM claim WHERE key = ?1)";
        raw.execute(sql, (key, count)).unwrap();
    }

    /// How many receipts are kept.
    fn receipts(&self) -> i64 {
        let raw = rusqlite::Connection::open(self.ledger_path()).unwrap();
        raw.query_row("SELECT count(receipt) FROM claim", [], |row| row.get(0)).unwrap()
    }

    /// How often each effect has happened.
    fn effects(&self) -> HashMap<String, usize> {
        let text = std::fs::read_to_string(self.effects_path()).unwrap_or_default();
        text.lines().fold(HashMap::new(), |mut counts, key| {
            *counts.entry(key.to_owned()).or_default() += 1;
            counts
        })
    }

    fn start(&self, situation: &[&str]) -> Process {
        Process::start(
            Command::new(env!("CARGO_BIN_EXE_ledger-child"))
                .arg(self.ledger_path())
                .arg(self.effects_path())
                .args(situation),
        )
    }
}
