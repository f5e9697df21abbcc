//! The ledger on SQLite beside bare rusqlite and beside agent-effects, and on PostgreSQL beside bare tokio-postgres: throughput,
//! flushes, processes, growth, replays.
//!
//! Each part runs in rounds in which everybody has turns, and gives the medians of the rounds. A round in which the disk gave
//! fewer than 3 000 flushes a second measures the disk's bad minute: it is marked, and says nothing.
//!
//! ```sh
//! cargo bench -p portcullis-benches --bench ledger                 # everything
//! cargo bench -p portcullis-benches --bench ledger -- one many     # these parts only
//! ```
//! Parts: `one`, `flushes`, `many`, `batch` (of 1,000), `processes`, `rows`, `sweep`, `replays`, `peer` (agent-effects), `postgres`. The ledgers lie in `target/tmp`, which must be a disk.

mod bare;
mod bare_postgres;
mod disk;
mod guarded;
mod many;
mod peer;
mod postgres;
mod processes;
mod race;
mod rows;

use std::path::Path;

use tempfile::TempDir;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [child, ledger, millis] = arguments.as_slice()
        && child == processes::CHILD
    {
        return processes::child(ledger, millis);
    }
    let wanted = |part: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == part);
    let parts: [(&str, fn()); 10] = [
        ("one", one),
        ("flushes", flushes),
        ("many", many::run),
        ("batch", batch),
        ("processes", processes::run),
        ("rows", rows::run),
        ("sweep", rows::sweep),
        ("replays", replays),
        ("peer", peer::run),
        ("postgres", postgres::run),
    ];
    for (name, part) in parts {
        if wanted(name) {
            part();
        }
    }
}

/// A directory on a disk, gone with the value.
fn room() -> TempDir {
    tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a directory")
}

/// A batch beside as many calls, one after the other.
fn batch() {
    let room = room();
    let gate = guarded::gate(&room.path().join("ledger.sqlite"));
    race::run("SQLite: a batch of 1,000, effects a second", room.path(), 1000, batches(&gate));
    postgres::batch();
}

fn batches(gate: &portcullis::Portcullis) -> Vec<race::Turn<'_>> {
    vec![
        ("one sync call after the other", Box::new(|calls| guarded::many(gate, calls))),
        ("in one batch", Box::new(|calls| guarded::batch(gate, calls))),
    ]
}

/// One caller, who waits for each claim and each settlement.
fn one() {
    let room = room();
    let mut bare = bare::Ledger::open(&room.path().join("bare.sqlite"));
    let gate = guarded::gate(&room.path().join("ledger.sqlite"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    race::run(
        "one caller, effects a second",
        room.path(),
        200,
        vec![
            ("bare rusqlite", Box::new(|calls| (0..calls).for_each(|_| bare.effect()))),
            ("sync, through the attribute", Box::new(|calls| guarded::many(&gate, calls))),
            (
                "async, through the attribute, current-thread runtime",
                Box::new(|calls| runtime.block_on(guarded::many_async(&gate, calls))),
            ),
            (
                "async, through the attribute, spawned on a multi-thread runtime",
                Box::new(|calls| {
                    let gate = gate.clone();
                    let task = multi.spawn(async move { guarded::many_async(&gate, calls).await });
                    multi.block_on(task).expect("no panic");
                }),
            ),
        ],
    );
}

/// Counted where the process calls `fdatasync` and `fsync`, by the file that is flushed.
fn flushes() {
    const EFFECTS: u32 = 20_000;
    println!("\nflushes per effect ({EFFECTS} effects): of the log, of the database, of other files, in all");
    let count = |name: &str, work: &dyn Fn()| {
        let counted = disk::counting(work);
        let per = |count: u64| count as f64 / f64::from(EFFECTS);
        println!(
            "  {name:58} {:.3}  {:.3}  {:.3}  {:.3}",
            per(counted.log),
            per(counted.database),
            per(counted.other),
            per(counted.log + counted.database + counted.other)
        );
    };
    let room = room();
    assert!(disk::is_counting(room.path()), "flushes are counted");
    let gate = guarded::gate(&room.path().join("one.sqlite"));
    guarded::many(&gate, 1);
    count("one sync caller", &|| guarded::many(&gate, EFFECTS));
    let gate = guarded::gate(&room.path().join("async.sqlite"));
    guarded::many(&gate, 1);
    count("one async caller", &|| pollster::block_on(guarded::many_async(&gate, EFFECTS)));
    let gate = guarded::gate(&room.path().join("many.sqlite"));
    guarded::many(&gate, 1);
    let runtime = many::runtime();
    count("64 async callers", &|| many::guarded_tasks(&runtime, &gate, EFFECTS));
    let gate = guarded::gate(&room.path().join("threads.sqlite"));
    guarded::many(&gate, 1);
    count("64 threads", &|| many::guarded_threads(&gate, EFFECTS));
}

/// Receipts that are there already.
fn replays() {
    const KEYS: u64 = 10_000;
    let room = room();
    let gate = guarded::gate(&room.path().join("ledger.sqlite"));
    let runtime = many::runtime();
    runtime.block_on(guarded::fill(&gate, KEYS));
    let bare = bare::Reader::open(&room.path().join("ledger.sqlite"));
    let current = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    race::run(
        "replays a second, one thread",
        room.path(),
        20_000,
        vec![
            ("bare rusqlite, one SELECT each, 10 000 keys in turn", Box::new(|calls| bare.look(calls))),
            ("sync, the same key", Box::new(|calls| guarded::replay(&gate, calls, 1))),
            ("sync, 10 000 keys in turn", Box::new(|calls| guarded::replay(&gate, calls, KEYS))),
            ("async, the same key", Box::new(|calls| current.block_on(guarded::replay_async(&gate, calls, 1)))),
            (
                "async, 10 000 keys in turn",
                Box::new(|calls| current.block_on(guarded::replay_async(&gate, calls, KEYS))),
            ),
        ],
    );
}
