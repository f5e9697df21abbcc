//! The ledger under processes that share it, die, fork and run out of disk. Effects are counted outside, in a file.

mod acts;
mod broken;
mod disk;
mod doubt;
mod inside;
mod notes;
mod overdue;
mod power;
mod processes;
mod receipts;
mod retention;
mod schema;
mod threads;
mod window;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use portcullis::ledger::{Event, Ledger, Record};
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

    fn ledger(&self) -> Ledger {
        Ledger::open(&self.url()).unwrap()
    }

    fn record(&self, key: &str) -> Record {
        self.record_of("effect", key)
    }

    fn record_of(&self, action: &str, key: &str) -> Record {
        self.ledger().show("tests", action, key).unwrap().unwrap()
    }

    fn events_of(&self, action: &str, key: &str) -> Vec<Event> {
        self.ledger().events(&self.record_of(action, key)).unwrap()
    }

    fn kinds_of(&self, action: &str, key: &str) -> Vec<String> {
        self.events_of(action, key).into_iter().map(|event| event.kind).collect()
    }

    /// As if everything on record about claims had happened that much earlier.
    fn long_ago(&self, by: Duration) {
        self.shift(-i64::try_from(by.as_millis()).unwrap());
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
