//! A ledger that holds a million receipts beside an empty one.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::{bare, guarded, race, room};

const ROWS: u32 = 1_000_000;

pub fn run() {
    let room = room();
    let (empty, full) = (room.path().join("empty.sqlite"), room.path().join("full.sqlite"));
    let gates = [guarded::gate(&empty), guarded::gate(&full)];
    gates.iter().for_each(|gate| guarded::many(gate, 1));
    fill(&full);
    let [empty, full] = gates;
    race::run(
        "one sync caller, effects a second, by the rows that the ledger holds",
        room.path(),
        200,
        vec![
            ("empty", Box::new(|calls| guarded::many(&empty, calls))),
            ("10^6 rows", Box::new(|calls| guarded::many(&full, calls))),
        ],
    );
}

fn fill(path: &Path) {
    let mut connection = Connection::open(path).expect("the ledger");
    let transaction = connection.transaction().expect("a transaction");
    {
        let mut insert = transaction
            .prepare(
                "INSERT INTO claim(digest, action, key, fingerprint, state, epoch, attempt, owner, claimed_ms, settled_ms, receipt)
                 VALUES(?1, 1, ?2, ?3, 1, 1, ?4, 1, 1700000000000, 1700000000000, '{\"id\":1099511627776,\"status\":\"captured\"}')",
            )
            .expect("a statement");
        for row in 0..ROWS {
            insert.execute(params![bare::digest(), row.to_string(), [7_u8; 32], [9_u8; 16]]).expect("a row");
        }
    }
    transaction.commit().expect("it is committed");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
}
