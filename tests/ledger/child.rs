//! A process that uses a ledger, and may be killed while it does: `ledger-child LEDGER EFFECTS SITUATION [ARGUMENT …]`.
//!
//! It says on standard output what it has come to, one line each, and waits on standard input where the test is to decide.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::task::{Context, Waker};
use std::time::Duration;

use portcullis::ledger::{By, ClaimState, Ledger};
use portcullis::rusqlite::{self, Connection, TransactionBehavior};
use portcullis::{Portcullis, Refused, once};

static EFFECTS: OnceLock<PathBuf> = OnceLock::new();

/// The outside world: one line per effect.
fn effect(key: &str) {
    let path = EFFECTS.get().expect("the file of effects is set first");
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(format!("{key}\n").as_bytes())).expect("the effect is written");
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the test listens");
}

fn listen() -> String {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).expect("the test speaks");
    line.trim().to_owned()
}

#[once(action = "effect", key = "key", skip(gate), with = gate)]
fn run(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    effect(key);
    Ok(format!("receipt of {key}"))
}

/// The same claim, waiting for whoever runs it.
#[once(action = "effect", key = "key", skip(gate), with = gate, wait = "30s")]
fn run_or_wait(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    effect(key);
    Ok(format!("receipt of {key}"))
}

/// Takes as long as the test says.
#[once(action = "effect", key = "key", skip(gate), with = gate)]
fn run_slowly(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    effect(key);
    say("started");
    listen();
    Ok(format!("receipt of {key}"))
}

/// Leaves a fork behind that keeps every descriptor open.
#[once(action = "effect", key = "key", skip(gate), with = gate)]
fn run_and_fork(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    effect(key);
    // SAFETY: the child only sleeps.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            // SAFETY: `pause` has no preconditions.
            unsafe { libc::pause() };
        }
    }
    say(&format!("started {child}"));
    listen();
    Ok(format!("receipt of {key}"))
}

#[once(action = "slow", key = "key", skip(gate), with = gate, max_run = "50ms")]
fn overdue(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    say("started");
    listen();
    Ok(format!("receipt of {key}"))
}

#[once(action = "effect", key = "key", skip(gate), with = gate, claim = claim)]
fn note(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    claim.note(format!("sent {key}")).wait()?;
    say("noted");
    listen();
    Ok(format!("receipt of {key}"))
}

#[once(action = "lazy", key = "key", skip(gate), with = gate, settle = "lazy")]
fn run_lazily(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    effect(key);
    Ok(format!("receipt of {key}"))
}

#[once(action = "effect", key = "key", skip(gate), with = gate)]
async fn run_later(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    effect(key);
    Ok(format!("receipt of {key}"))
}

/// Claims, and never polls the body: says so as soon as the ledger has the claim.
fn claim_only(gate: &Portcullis, key: &str) {
    let mut future = std::pin::pin!(run_later(gate, key));
    // Dropped when the test kills this process, and not before: then it would be released.
    let claiming = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(claiming.is_pending(), "the first poll can't know yet");
    let url = format!("sqlite:{}", std::env::args().nth(1).expect("the ledger is named"));
    loop {
        // The file is being made.
        let found = Ledger::open(&url).ok().and_then(|ledger| ledger.show("tests", "effect", key).ok().flatten());
        if found.is_some_and(|record| record.state == ClaimState::Pending) {
            say("claimed");
            listen();
        }
    }
}

fn told(result: Result<String, Refused>) -> String {
    match result {
        Ok(receipt) => receipt,
        Err(refused) => format!("{} {}", refused.code(), refused.reason()),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (ledger, effects, situation, rest) = match arguments.as_slice() {
        [ledger, effects, situation, rest @ ..] => (ledger, effects, situation, rest),
        _ => panic!("ledger-child LEDGER EFFECTS SITUATION [ARGUMENT …]"),
    };
    EFFECTS.get_or_init(|| Path::new(effects).to_owned());
    let gate = Portcullis::builder()
        .ledger(format!("sqlite:{ledger}"))
        .namespace("tests")
        .build()
        .expect("the gate is configured");
    match (situation.as_str(), rest) {
        ("run", [key]) => {
            say("ready");
            listen();
            say(&told(run(&gate, key)));
        }
        ("wait", [key]) => {
            say("ready");
            listen();
            say(&told(run_or_wait(&gate, key)));
        }
        ("slowly", [key]) => say(&told(run_slowly(&gate, key))),
        ("claim-only", [key]) => claim_only(&gate, key),
        ("note", [key]) => say(&told(note(&gate, key))),
        ("lazily", [key]) => {
            say(&told(run_lazily(&gate, key)));
            listen();
        }
        ("overdue", [key]) => say(&told(overdue(&gate, key))),
        ("fork-behind", [key]) => say(&told(run_and_fork(&gate, key))),
        ("fork-and-use", [key]) => fork_and_use(&gate, key),
        ("many", [threads, keys]) => {
            let keys: usize = keys.parse().expect("a number of keys");
            say("ready");
            listen();
            say(&many(&gate, threads.parse().expect("a number of threads"), keys));
        }
        ("for-ever", [keys]) => for_ever(&gate, keys.parse().expect("a number of keys")),
        ("short-for-ever", [keys]) => short_for_ever(&gate, keys.parse().expect("a number of keys")),
        ("gc-for-ever", []) => gc_for_ever(ledger),
        ("book-until", [point, order]) => drop(book(&gate, ledger, order, point)),
        ("book-for-ever", [orders]) => {
            say("ready");
            let (start, orders) = (std::process::id() as usize, orders.parse().expect("a number of orders"));
            for i in 0..orders {
                let order = format!("o-{}", (start + i * 31) % orders);
                match book(&gate, ledger, &order, "never") {
                    Ok(_) | Err(Failed::Sql(_)) => {}
                    Err(Failed::Refused(refused)) => assert_eq!(refused.code(), "in_flight", "{refused}"),
                }
            }
            listen();
        }
        ("full-disk", []) => full_disk(&gate),
        _ => panic!("no such situation: {situation}"),
    }
}

/// Every thread runs every key, each beginning elsewhere; says how often which code was answered.
fn many(gate: &Portcullis, threads: usize, keys: usize) -> String {
    let codes = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let mut codes: HashMap<&str, usize> = HashMap::new();
                    for i in 0..keys {
                        let key = format!("k-{}", (i + thread * 7) % keys);
                        let code = match run_or_wait(gate, &key) {
                            Ok(receipt) if receipt == format!("receipt of {key}") => "ok",
                            Ok(_) => "wrong receipt",
                            Err(refused) => refused.code(),
                        };
                        *codes.entry(code).or_default() += 1;
                    }
                    codes
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect::<Vec<_>>()
    });
    let mut sum: HashMap<&str, usize> = HashMap::new();
    for (code, count) in codes.into_iter().flatten() {
        *sum.entry(code).or_default() += count;
    }
    format!("{sum:?}")
}

/// Runs one key after the other until it is killed.
fn for_ever(gate: &Portcullis, keys: usize) {
    say("ready");
    let start = std::process::id() as usize;
    for i in 0.. {
        let key = format!("k-{}", (start + i * 31) % keys);
        match run(gate, &key) {
            Ok(receipt) => assert_eq!(receipt, format!("receipt of {key}")),
            Err(refused) => {
                let code = refused.code();
                assert!(matches!(code, "in_flight" | "in_doubt"), "{refused}");
            }
        }
    }
}

#[once(action = "effect", key = "key", skip(gate), with = gate, retain = "1ms")]
fn run_short(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    effect(key);
    Ok(format!("receipt of {key}"))
}

#[derive(Debug)]
enum Failed {
    Refused(Refused),
    Sql(#[expect(dead_code, reason = "for who reads the panic")] rusqlite::Error),
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Failed::Refused(refused)
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Failed::Sql(error)
    }
}

/// Books in the ledger's own file, and stops where the test wants to kill it.
#[once(action = "book", key = "order", skip(gate, ledger, point), with = gate, claim = claim, settle = "transaction")]
fn book(gate: &Portcullis, ledger: &str, order: &str, point: &str) -> Result<String, Failed> {
    let reached = |here| {
        if here == point {
            say(here);
            listen();
        }
    };
    let mut db = Connection::open(ledger)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute("INSERT INTO booking(order_id, epoch) VALUES(?1, ?2)", (order, claim.epoch().cast_signed()))?;
    let receipt = format!("booked in epoch {}", claim.epoch());
    claim.settle_in(&tx, &receipt)?;
    reached("inside");
    tx.commit()?;
    reached("committed");
    Ok(receipt)
}

/// Runs keys whose receipts are over at once, again and again.
fn short_for_ever(gate: &Portcullis, keys: usize) {
    say("ready");
    for i in 0.. {
        let key = format!("k-{}", i % keys);
        match run_short(gate, &key) {
            Ok(receipt) => assert_eq!(receipt, format!("receipt of {key}")),
            Err(refused) => assert_eq!(refused.code(), "receipt_expired", "{refused}"),
        }
    }
}

/// Takes receipts away until it is killed.
fn gc_for_ever(ledger: &str) {
    let by = By::new("child", "their time is over");
    for i in 0.. {
        let swept = Ledger::open(&format!("sqlite:{ledger}")).and_then(|ledger| ledger.gc(&by));
        swept.expect("it can be swept");
        if i == 0 {
            say("swept");
        }
    }
}

fn fork_and_use(gate: &Portcullis, key: &str) {
    say(&told(run(gate, "before")));
    // SAFETY: what the child does is what is being tested; it ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = match run(gate, key) {
            Err(refused) if refused.code() == "forked" => 42,
            Ok(_) | Err(_) => 1,
        };
        // SAFETY: nothing of the parent's is to be run at exit.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call, and the child is ours.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    say(&format!("the fork ended with {}", libc::WEXITSTATUS(status)));
    say(&told(run(gate, key)));
}

/// No file may grow any more: first beyond what there is, then, in the middle of a body, not at all.
fn full_disk(gate: &Portcullis) {
    // SAFETY: ignoring a signal has no preconditions; without it the first write too many would end the process.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let limit = |bytes: libc::rlim_t| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the structure is a valid one.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
    };
    say(&told(run(gate, "before")));
    limit(4096);
    say(&told(run(gate, "while full")));
    limit(libc::RLIM_INFINITY);
    say(&told(run(gate, "while full")));
    say(&told(run_with_full_disk(gate, "settle", &limit)));
    limit(libc::RLIM_INFINITY);
    // What could not be recorded is recorded as soon as that is possible.
    for _ in 0..100 {
        match run(gate, "settle") {
            Err(refused) if refused.code() == "in_flight" => std::thread::sleep(Duration::from_millis(100)),
            other => return say(&told(other)),
        }
    }
    say("never recorded");
}

#[once(action = "effect", key = "key", skip(gate, limit), with = gate)]
fn run_with_full_disk(gate: &Portcullis, key: &str, limit: &dyn Fn(libc::rlim_t)) -> Result<String, Refused> {
    effect(key);
    limit(4096);
    Ok(format!("receipt of {key}"))
}
