//! On PostgreSQL, beside bare tokio-postgres: a server of its own that flushes, its data on the disk.

use std::path::Path;

use tokio::runtime::Runtime;

use crate::{bare_postgres as bare, guarded, many, race};

#[path = "../../../ledger_postgres/server.rs"]
#[expect(dead_code, reason = "the tests of the ledger use more of it")]
mod server;

fn current() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub fn run() {
    let disk = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let Some(server) = server::Server::start_in(disk, &["fsync=on"], |_| {}) else { return };
    let database = || server::new_database(&server.url());
    one(disk, &database(), &database());
    many(disk, &database(), &database());
}

/// A batch beside as many calls, one after the other.
pub fn batch() {
    let disk = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let Some(server) = server::Server::start_in(disk, &["fsync=on"], |_| {}) else { return };
    let gate = guarded::gate_at(&server::new_database(&server.url()));
    race::run("PostgreSQL: a batch of 1,000, effects a second", disk, 1000, crate::batches(&gate));
}

/// One caller, who waits for each claim and each settlement.
fn one(disk: &Path, bare: &str, ours: &str) {
    let (runtime, current) = (current(), current());
    let client = runtime.block_on(bare::Sequential::open(bare));
    let gate = guarded::gate_at(ours);
    race::run(
        "PostgreSQL: one caller, effects a second",
        disk,
        200,
        vec![
            (
                "bare tokio-postgres, two prepared statements",
                Box::new(|calls| {
                    runtime.block_on(async {
                        for _ in 0..calls {
                            client.effect().await;
                        }
                    });
                }),
            ),
            ("sync, through the attribute", Box::new(|calls| guarded::many(&gate, calls))),
            (
                "async, through the attribute, current-thread runtime",
                Box::new(|calls| current.block_on(guarded::many_async(&gate, calls))),
            ),
        ],
    );
}

/// 64 callers at once.
fn many(disk: &Path, bare: &str, ours: &str) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let batches = runtime.block_on(bare::Batches::open(bare));
    let gate = guarded::gate_at(ours);
    race::run(
        "PostgreSQL: 64 callers, effects a second",
        disk,
        3_200,
        vec![
            (
                "bare tokio-postgres, unnest batches on two connections",
                Box::new(|calls| many::bare_tasks(&runtime, &batches, calls)),
            ),
            ("64 tasks, through the attribute", Box::new(|calls| many::guarded_tasks(&runtime, &gate, calls))),
            ("64 threads, through the attribute", Box::new(|calls| many::guarded_threads(&gate, calls))),
        ],
    );
}
