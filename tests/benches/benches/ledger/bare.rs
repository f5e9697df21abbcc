//! The limit: the same two transactions by hand.

use std::path::Path;
use std::sync::mpsc;

use rusqlite::{Connection, OpenFlags, params};
use tokio::sync::oneshot;

use crate::many;

/// As the ledger's own table of claims.
const TABLES: &str = "
CREATE TABLE claim(
  id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, action INTEGER NOT NULL, key TEXT NOT NULL, fingerprint BLOB NOT NULL,
  state INTEGER NOT NULL, epoch INTEGER NOT NULL, attempt BLOB NOT NULL, owner INTEGER NOT NULL, claimed_ms INTEGER NOT NULL,
  settled_ms INTEGER, retain_ms INTEGER, loss INTEGER NOT NULL DEFAULT 0, receipt TEXT, ended TEXT
) STRICT;
CREATE INDEX claim_unsettled ON claim(owner) WHERE state IN (0, 3);";

const CLAIM: &str = "INSERT INTO claim(digest, action, key, fingerprint, state, epoch, attempt, owner, claimed_ms)
    VALUES(?1, 1, ?2, ?3, 0, 1, ?4, 1, ?5)";
const SETTLE: &str = "UPDATE claim SET state = 1, settled_ms = ?2, receipt = ?3 WHERE digest = ?1";
const RECEIPT: &str = "{\"id\":1099511627776,\"status\":\"captured\"}";

/// Bytes of the log that are written before anything is measured, so that commits overwrite and the file need not grow.
const LOG: usize = 8 << 20;

pub struct Ledger(Connection);

impl Ledger {
    pub fn open(path: &Path) -> Self {
        let connection = Connection::open(path).expect("a database");
        connection.pragma_update(None, "journal_mode", "WAL").expect("WAL");
        connection.pragma_update(None, "synchronous", "FULL").expect("FULL");
        connection.execute_batch(TABLES).expect("tables");
        connection
            .execute_batch(&format!(
                "CREATE TABLE pad(x); INSERT INTO pad VALUES(zeroblob({LOG})); DROP TABLE pad; PRAGMA wal_checkpoint(RESTART)"
            ))
            .expect("a log of full length");
        Ledger(connection)
    }

    /// Two transactions, each of which is flushed.
    pub fn effect(&mut self) {
        let digest = digest();
        self.transaction(|connection| claim(connection, &digest));
        self.transaction(|connection| settle(connection, &digest));
    }

    fn transaction(&mut self, body: impl FnOnce(&Connection)) {
        let run = |sql| self.0.prepare_cached(sql).and_then(|mut statement| statement.execute([])).expect("it runs");
        run("BEGIN IMMEDIATE");
        body(&self.0);
        run("COMMIT");
    }
}

pub fn digest() -> [u8; 32] {
    let mut digest = [0; 32];
    fastrand::fill(&mut digest);
    digest
}

fn claim(connection: &Connection, digest: &[u8; 32]) {
    let mut claim = connection.prepare_cached(CLAIM).expect("a statement");
    claim.execute(params![digest, "1099511627776", [7_u8; 32], [9_u8; 16], 1_700_000_000_000_i64]).expect("a claim");
}

fn settle(connection: &Connection, digest: &[u8; 32]) {
    let mut settle = connection.prepare_cached(SETTLE).expect("a statement");
    settle.execute(params![digest, 1_700_000_000_000_i64, RECEIPT]).expect("a settlement");
}

enum Op {
    Claim([u8; 32]),
    Settle([u8; 32]),
}

/// A thread that puts whatever has come in meanwhile into one transaction.
#[derive(Clone)]
pub struct Group(mpsc::Sender<(Op, oneshot::Sender<()>)>);

impl Group {
    pub fn open(path: &Path) -> Self {
        let mut ledger = Ledger::open(path);
        let (sender, receiver) = mpsc::channel::<(Op, oneshot::Sender<()>)>();
        std::thread::spawn(move || {
            while let Ok(first) = receiver.recv() {
                let mut batch = vec![first];
                batch.extend(receiver.try_iter().take(511));
                ledger.transaction(|connection| {
                    for (op, _) in &batch {
                        match op {
                            Op::Claim(digest) => claim(connection, digest),
                            Op::Settle(digest) => settle(connection, digest),
                        }
                    }
                });
                for (_, reply) in batch {
                    let _ = reply.send(());
                }
            }
        });
        Group(sender)
    }
}

impl many::Group for Group {
    async fn effect(&self) {
        let digest = digest();
        for op in [Op::Claim(digest), Op::Settle(digest)] {
            let (reply, done) = oneshot::channel();
            self.0.send((op, reply)).expect("the thread lives");
            done.await.expect("it is done");
        }
    }
}

/// Reads the ledger's own file.
pub struct Reader {
    connection: Connection,
    digests: Vec<[u8; 32]>,
}

impl Reader {
    pub fn open(path: &Path) -> Self {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).expect("the ledger");
        let digests = connection
            .prepare("SELECT digest FROM claim ORDER BY random() LIMIT 10000")
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .expect("digests");
        Reader { connection, digests }
    }

    pub fn look(&self, calls: u32) {
        for digest in self.digests.iter().cycle().take(calls as usize) {
            let mut find = self
                .connection
                .prepare_cached("SELECT fingerprint, state, receipt FROM claim WHERE digest = ?1")
                .expect("a statement");
            let _: ([u8; 32], i64, String) =
                find.query_row([digest], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("a receipt");
        }
    }
}
