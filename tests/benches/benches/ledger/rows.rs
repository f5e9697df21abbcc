//! Ledgers that hold a million and ten million receipts beside an empty one, and what taking a million away costs.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis::ledger::{By, Ledger};
use rusqlite::{Connection, params};

use crate::{bare, guarded, race, room};

const MILLION: u32 = 1_000_000;

pub fn run() {
    let room = room();
    let paths = ["empty", "million", "ten"].map(|name| room.path().join(format!("{name}.sqlite")));
    let [empty, million, ten] = paths.each_ref().map(|path| guarded::gate(path));
    [&empty, &million, &ten].into_iter().for_each(|gate| guarded::many(gate, 1));
    fill(&paths[1], 1, None);
    fill(&paths[2], 10, None);
    race::run(
        "one sync caller, effects a second, by the rows that the ledger holds",
        room.path(),
        200,
        vec![
            ("empty", Box::new(|calls| guarded::many(&empty, calls))),
            ("10^6 rows", Box::new(|calls| guarded::many(&million, calls))),
            ("10^7 rows", Box::new(|calls| guarded::many(&ten, calls))),
        ],
    );
}

/// A million receipts whose time is over, beside ten million that are kept; one sync caller goes on meanwhile.
pub fn sweep() {
    let room = room();
    let path = room.path().join("ledger.sqlite");
    let gate = guarded::gate(&path);
    guarded::many(&gate, 1);
    fill(&path, 10, None);
    fill(&path, 1, Some(1));
    let before = rate(&gate, |begun| begun.elapsed() > Duration::from_secs(3));
    let over = AtomicBool::new(false);
    let (swept, time, meanwhile) = std::thread::scope(|threads| {
        let sweeper = threads.spawn(|| {
            let ledger = Ledger::open(&format!("sqlite:{}", path.display())).expect("the ledger");
            let begun = Instant::now();
            let swept = ledger.gc(&By::new("bench", "their time is over")).expect("it is swept");
            over.store(true, Ordering::SeqCst);
            (swept.expired, begun.elapsed())
        });
        let meanwhile = rate(&gate, |_| over.load(Ordering::SeqCst));
        let (swept, time) = sweeper.join().expect("no panic");
        (swept, time, meanwhile)
    });
    println!("\ntaking away {swept} of 11 million receipts");
    println!("  receipts a second                              {:>9.0}", swept as f64 / time.as_secs_f64());
    println!("  one sync caller, effects a second: before      {:>9.0}  longest {:>4.0} ms", before.0, before.1);
    println!(
        "                                     meanwhile   {:>9.0}  longest {:>4.0} ms  {:.2}",
        meanwhile.0,
        meanwhile.1,
        meanwhile.0 / before.0
    );
}

/// Effects a second until it is over, and the longest call in milliseconds.
fn rate(gate: &portcullis::Portcullis, over: impl Fn(Instant) -> bool) -> (f64, f64) {
    let (begun, mut effects, mut longest) = (Instant::now(), 0_u32, Duration::ZERO);
    while !over(begun) {
        let call = Instant::now();
        guarded::many(gate, 1);
        longest = longest.max(call.elapsed());
        effects += 1;
    }
    (f64::from(effects) / begun.elapsed().as_secs_f64(), longest.as_secs_f64() * 1000.0)
}

/// Settled receipts, as old as can be.
fn fill(path: &Path, millions: u32, retain_ms: Option<i64>) {
    let mut connection = Connection::open(path).expect("the ledger");
    for _ in 0..millions {
        add_a_million(&mut connection, retain_ms);
    }
}

fn add_a_million(connection: &mut Connection, retain_ms: Option<i64>) {
    let transaction = connection.transaction().expect("a transaction");
    {
        let mut insert = transaction
            .prepare(
                "INSERT INTO claim(digest, action, key, fingerprint, state, epoch, attempt, owner, claimed_ms, settled_ms, retain_ms, receipt)
                 VALUES(?1, 1, ?2, ?3, 1, 1, ?4, 1, 1700000000000, 1700000000000, ?5, '{\"id\":1099511627776,\"status\":\"captured\"}')",
            )
            .expect("a statement");
        for row in 0..MILLION {
            insert.execute(params![bare::digest(), row.to_string(), [7_u8; 32], [9_u8; 16], retain_ms]).expect("a row");
        }
    }
    transaction.commit().expect("it is committed");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
}
