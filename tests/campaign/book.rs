//! What the ledger has on record, read beside it.

use std::collections::HashMap;
use std::path::Path;

use portcullis::ledger::Ledger;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

/// As `docs/ledger.md` says it.
pub type Digest = [u8; 32];

pub fn digest(action: &str, key: &str) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("portcullis 2026 claim identity v1");
    for part in ["campaign", action, key] {
        hasher.update(&(part.len() as u64).to_be_bytes()).update(part.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// The states that matter here, as the table spells them.
pub const PENDING: i64 = 0;
pub const COMMITTED: i64 = 1;
pub const IN_DOUBT: i64 = 3;
pub const OPEN: i64 = 4;

/// A claim.
#[derive(Debug)]
pub struct Row {
    pub key: String,
    pub state: i64,
    pub epoch: i64,
    pub receipt: Option<String>,
    /// The kinds of its events, in order.
    pub events: Vec<String>,
}

pub trait Book {
    /// Where a claim stands right now.
    fn state(&mut self, digest: &Digest) -> Option<i64>;
    fn rows(&mut self) -> HashMap<Digest, Row>;
    /// Why the store itself is broken, if it is.
    fn broken(&mut self) -> Option<String>;
}

type Claim = (Vec<u8>, String, i64, i64, Option<String>);

fn rows(claims: Vec<Claim>, events: Vec<(Vec<u8>, String)>) -> HashMap<Digest, Row> {
    let known = |digest: Vec<u8>| Digest::try_from(digest).expect("a digest has 32 bytes");
    let mut rows: HashMap<Digest, Row> = HashMap::new();
    for (digest, key, state, epoch, receipt) in claims {
        rows.insert(known(digest), Row { key, state, epoch, receipt, events: Vec::new() });
    }
    for (digest, kind) in events {
        rows.get_mut(&known(digest)).expect("an event has its claim").events.push(kind);
    }
    rows
}

/// In a file.
pub struct Sqlite {
    connection: rusqlite::Connection,
    url: String,
}

impl Sqlite {
    /// The file that is there.
    pub fn open(path: &Path) -> Self {
        let connection = rusqlite::Connection::open(path).expect("the file can be opened");
        connection.busy_timeout(std::time::Duration::from_secs(10)).expect("it can be told");
        Sqlite { connection, url: format!("sqlite:{}", path.display()) }
    }
}

impl Book for Sqlite {
    fn state(&mut self, digest: &Digest) -> Option<i64> {
        let mut statement =
            self.connection.prepare_cached("SELECT state FROM claim WHERE digest = ?1").expect("it can be read");
        statement.query_row([digest], |row| row.get(0)).ok()
    }

    fn rows(&mut self) -> HashMap<Digest, Row> {
        let mut claims = self
            .connection
            .prepare("SELECT digest, key, state, epoch, receipt FROM claim")
            .expect("the claims can be read");
        let claims = claims.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)));
        let claims = claims.and_then(Iterator::collect).expect("the claims can be read");
        let mut events = self
            .connection
            .prepare("SELECT digest, kind FROM event WHERE digest IS NOT NULL ORDER BY id")
            .expect("the events can be read");
        let events = events.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows(claims, events.and_then(Iterator::collect).expect("the events can be read"))
    }

    fn broken(&mut self) -> Option<String> {
        let found: String =
            self.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap_or_else(|e| e.to_string());
        if found != "ok" {
            return Some(format!("integrity_check: {found}"));
        }
        match Ledger::open(&self.url).and_then(|ledger| ledger.verify_events()) {
            Ok(None) => None,
            other => Some(format!("the chain of events: {other:?}")),
        }
    }
}

/// On a server.
pub struct Postgres {
    runtime: Runtime,
    client: Client,
}

impl Postgres {
    pub fn open(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be started");
        let (client, connection) =
            runtime.block_on(tokio_postgres::connect(url, NoTls)).expect("the server can be reached");
        runtime.spawn(connection);
        Postgres { runtime, client }
    }
}

impl Book for Postgres {
    fn state(&mut self, digest: &Digest) -> Option<i64> {
        let (sql, digest) = ("SELECT state::bigint FROM portcullis.claim WHERE digest = $1::bytea", digest.as_slice());
        let row = self.runtime.block_on(self.client.query_opt(sql, &[&digest]));
        row.expect("the claims can be read").map(|row| row.get(0))
    }

    fn rows(&mut self) -> HashMap<Digest, Row> {
        let claims =
            "SELECT digest, key, state::bigint, epoch::bigint, convert_from(receipt, 'UTF8') FROM portcullis.claim";
        let claims = self.runtime.block_on(self.client.query(claims, &[])).expect("the claims can be read");
        let events = "SELECT digest, kind FROM portcullis.event WHERE digest IS NOT NULL ORDER BY id";
        let events = self.runtime.block_on(self.client.query(events, &[])).expect("the events can be read");
        let claims = claims.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)));
        rows(claims.collect(), events.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    fn broken(&mut self) -> Option<String> {
        // None of its processes was killed.
        None
    }
}
