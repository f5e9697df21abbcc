//! A process that uses a ledger, and may be killed while it does: `ledger-child LEDGER EFFECTS SITUATION [ARGUMENT …]`.
//! LEDGER is the path of a file, or the URL of a PostgreSQL database.
//!
//! It says on standard output what it has come to, one line each, and waits on standard input where the test is to decide.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use portcullis::{Portcullis, Refused, once};

mod batching;
mod booking;
mod broken;
mod stops;
mod sweeping;

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

/// A fork comes and goes in its body, by the ordinary way out.
#[once(action = "effect", key = "key", skip(gate), with = gate)]
fn run_while_a_fork_ends(gate: &Portcullis, key: &str) -> Result<String, Refused> {
    effect(key);
    // SAFETY: what the child does is what is being tested.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = match run(gate, "in the fork") {
            Err(refused) if refused.code() == "forked" => 42,
            Ok(_) | Err(_) => 1,
        };
        std::process::exit(code);
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call, and the child is ours.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    say(&format!("the fork ended with {}", libc::WEXITSTATUS(status)));
    listen();
    Ok(format!("receipt of {key}"))
}

/// Asks for one receipt again and again, from two threads; says by how many KiB this process has grown over it.
fn flood(gate: &Portcullis, replays: usize) {
    let kilobytes = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|number| number.parse::<i64>().ok()).unwrap_or_default()
    };
    say(&told(run(gate, "k")));
    listen();
    let replay = |times: usize| {
        for _ in 0..times {
            assert_eq!(told(run(gate, "k")), "receipt of k");
        }
    };
    replay(replays / 10);
    let before = kilobytes();
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(|| replay(replays / 2)))));
    say(&(kilobytes() - before).to_string());
    listen();
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
    let url = if ledger.starts_with("postgres:") { ledger.clone() } else { format!("sqlite:{ledger}") };
    let gate = Portcullis::builder().ledger(&*url).namespace("tests").build().expect("the gate is configured");
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
        ("fork-behind", [key]) => say(&told(run_and_fork(&gate, key))),
        ("fork-and-use", [key]) => fork_and_use(&gate, key),
        ("race", [threads, keys]) => {
            say("ready");
            listen();
            let keys = keys.parse().expect("a number of keys");
            say(&race(&gate, threads.parse().expect("a number of threads"), keys));
        }
        ("fork-and-exit", [key]) => say(&told(run_while_a_fork_ends(&gate, key))),
        ("flood", [replays]) => flood(&gate, replays.parse().expect("a number of replays")),
        ("many", [threads, keys]) => {
            let keys: usize = keys.parse().expect("a number of keys");
            say("ready");
            listen();
            say(&many(&gate, threads.parse().expect("a number of threads"), keys));
        }
        ("batch", [orders, kill_after]) => {
            let number = |text: &String| text.parse().expect("a number");
            say(&batching::run(&gate, number(orders), number(kill_after)));
        }
        ("serve", []) => broken::serve(&gate),
        ("full-disk", []) => full_disk(&gate),
        ("claim-only", [key]) => stops::claim_only(&gate, key),
        ("note", [key]) => stops::in_note(&gate, key),
        ("lazily", [key]) => stops::after_lazy_settlement(&gate, key),
        ("return", [key]) => stops::on_return(&gate, key),
        ("overdue", [key]) => stops::overdue(&gate, key),
        ("short-for-ever", [keys]) => sweeping::short_for_ever(&gate, keys.parse().expect("a number of keys")),
        ("gc-for-ever", []) => sweeping::gc_for_ever(&url),
        ("book-until", [point, order]) => booking::until(&gate, ledger, point, order),
        ("book-for-ever", [orders]) => booking::for_ever(&gate, ledger, orders.parse().expect("a number of orders")),
        _ => panic!("no such situation: {situation}"),
    }
}

/// Every thread runs every key, each beginning elsewhere; says how often which code was answered.
fn many(gate: &Portcullis, threads: usize, keys: usize) -> String {
    run_all(gate, threads, |thread| (0..keys).map(move |i| (i + thread * 7) % keys))
}

/// All threads run one key after the other, and begin with each at the same moment.
fn race(gate: &Portcullis, threads: usize, keys: usize) -> String {
    let together = std::sync::Barrier::new(threads);
    run_all(gate, threads, |_| {
        (0..keys).inspect(|_| {
            together.wait();
        })
    })
}

fn run_all<K: Iterator<Item = usize>>(gate: &Portcullis, threads: usize, keys: impl Fn(usize) -> K + Sync) -> String {
    let codes = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                let keys = &keys;
                scope.spawn(move || {
                    let mut codes: HashMap<&str, usize> = HashMap::new();
                    for i in keys(thread) {
                        let key = format!("k-{i}");
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
