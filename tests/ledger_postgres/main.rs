//! The ledger on PostgreSQL, on a real server, under processes that share it and die, and connections that break. Effects are
//! counted outside, in a file.

#[path = "../ledger_stores/acts.rs"]
mod acts;
mod basics;
#[path = "../ledger_stores/batches.rs"]
mod batches;
mod faults;
mod inside;
mod inside_sqlx;
#[path = "../ledger_stores/looks.rs"]
mod looks;
mod outside;
mod processes;
mod proxy;
#[path = "../ledger_stores/race.rs"]
mod race;
#[path = "../ledger_stores/retention.rs"]
mod retention;
#[path = "../ledger_stores/room.rs"]
mod room;
mod schema;
mod server;
mod standby;
mod tasks;
mod tls;

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use portcullis::{Builder, Kind, Portcullis, Refused, once};
use portcullis_tests::process::Process;
use server::{Room, sql};

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

impl Room {
    fn gate(&self) -> Portcullis {
        self.builder().build().unwrap()
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn builder(&self) -> Builder {
        Portcullis::builder().ledger(self.url.as_str()).namespace("tests")
    }

    #[track_caller]
    fn sql(&self, statements: &str) -> Vec<String> {
        sql(&self.url, statements)
    }

    /// `state epoch` of the claim with this key.
    #[track_caller]
    fn state(&self, key: &str) -> String {
        let query = format!("SELECT state || ' ' || epoch FROM portcullis.claim WHERE key = '{key}'");
        self.sql(&query).pop().unwrap_or_else(|| "absent".into())
    }

    /// The kinds of a claim's events.
    #[track_caller]
    fn events(&self, key: &str) -> Vec<String> {
        self.sql(&format!(
            "SELECT kind FROM portcullis.event JOIN portcullis.claim USING (digest) WHERE key = '{key}' ORDER BY event.id"
        ))
    }

    fn shift(&self, by_ms: i64) {
        self.sql(&format!(
            "UPDATE portcullis.claim SET claimed_ms = claimed_ms + {by_ms}, settled_ms = settled_ms + {by_ms},
               first_ms = first_ms + {by_ms}"
        ));
    }

    /// So many claims that are like this one.
    fn copies(&self, key: &str, count: u32) {
        let columns = "action, fingerprint, state, epoch, attempt, owner, claimed_ms, settled_ms, retain_ms, receipt, transactional";
        self.sql(&format!(
            "INSERT INTO portcullis.claim(digest, key, {columns})
             SELECT sha256(('copy-' || i)::bytea), 'copy-' || i, {columns}
             FROM portcullis.claim, generate_series(1, {count}) AS i WHERE key = '{key}'"
        ));
    }

    /// How many receipts are kept.
    fn receipts(&self) -> i64 {
        self.sql("SELECT count(receipt) FROM portcullis.claim")[0].parse().unwrap()
    }

    fn effects_path(&self) -> PathBuf {
        self.dir.path().join("effects")
    }

    /// How often each effect has happened.
    fn effects(&self) -> HashMap<String, usize> {
        let text = std::fs::read_to_string(self.effects_path()).unwrap_or_default();
        text.lines().fold(HashMap::new(), |mut counts, key| {
            *counts.entry(key.to_owned()).or_default() += 1;
            counts
        })
    }

    fn effect(&self, key: &str) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.effects_path());
        file.unwrap().write_all(format!("{key}\n").as_bytes()).unwrap();
    }

    /// A process on the ledger at `url`.
    fn start_at(&self, url: &str, situation: &[&str]) -> Process {
        Process::start(
            Command::new(env!("CARGO_BIN_EXE_ledger-child"))
                .arg(url)
                .arg(self.effects_path())
                .args(situation)
                // The shortest there is: a test waits for it.
                .env("PORTCULLIS_LEASE", "1s"),
        )
    }

    /// A process that works on durable tasks.
    fn start_tasks(&self, situation: &[&str]) -> Process {
        Process::start(
            Command::new(env!("CARGO_BIN_EXE_task-child"))
                .arg(&self.url)
                .arg(self.effects_path())
                .args(situation)
                .env("PORTCULLIS_LEASE", "1s"),
        )
    }

    fn start(&self, situation: &[&str]) -> Process {
        self.start_at(&self.url, situation)
    }
}

/// The children's function, here.
#[once(action = "effect", key = "key", skip(gate, room), with = gate)]
fn run(gate: &Portcullis, room: &Room, key: &str) -> Result<String, Error> {
    room.effect(key);
    Ok(format!("receipt of {key}"))
}
