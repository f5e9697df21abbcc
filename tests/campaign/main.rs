//! The kill campaign: processes that use one ledger are ended by SIGKILL, thousands of them, and nothing may happen twice.
//!
//! ```sh
//! cargo run --release -p portcullis-tests --bin campaign -- --store sqlite --kills 10000
//! cargo run --release -p portcullis-tests --bin campaign -- --store postgres --kills 10000
//! ```
//!
//! Effects are counted outside, in a file. Ends with 0 if everything that `verdict.rs` names held, and every part of a call was
//! hit often enough.

mod book;
mod killer;
#[path = "../ledger_postgres/server.rs"]
#[allow(dead_code, reason = "it is the tests' own")]
mod server;
mod slots;
mod verdict;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use book::{Book, Postgres, Sqlite};
use clap::Parser;
use killer::{Killed, Plan};
use server::Server;
use verdict::Verdict;

#[derive(Debug, clap::Parser)]
#[command(name = "campaign", about = "Kills processes that use one ledger, and looks at what is left")]
struct Arguments {
    #[arg(long, value_enum)]
    store: Store,
    #[arg(long, default_value_t = 10_000)]
    kills: u64,
    /// How many processes are at work at a time, each with one to four threads.
    #[arg(long, default_value_t = 6)]
    processes: usize,
    /// Decides what they do and when they are killed, as far as that is ours to decide.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the files are made; a directory that is removed afterwards, unless something was wrong.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A database for this alone, instead of a server that is started for it.
    #[arg(long)]
    database: Option<String>,
    /// How long nobody at all may get on.
    #[arg(long, default_value = "1000")]
    longest_silence_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Store {
    Sqlite,
    Postgres,
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        worker::main(&worker::Arguments::parse_from(std::env::args().skip(1)));
        return ExitCode::FAILURE;
    }
    let arguments = Arguments::parse();
    let dir = match &arguments.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let dir = dir.expect("a directory can be made");
    let mut server = None;
    let ledger = match (arguments.store, &arguments.database) {
        (Store::Sqlite, _) => format!("sqlite:{}", dir.path().join("ledger.sqlite").display()),
        (Store::Postgres, Some(url)) => url.clone(),
        (Store::Postgres, None) => match Server::start(&[], |_| {}) {
            Some(started) => format!("{}/postgres", server.insert(started).url()),
            None => return ExitCode::FAILURE,
        },
    };
    let is_sound = carry_out(&arguments, &ledger, &dir);
    if is_sound {
        ExitCode::SUCCESS
    } else {
        println!("what is left of it: {}", dir.keep().display());
        ExitCode::FAILURE
    }
}

fn carry_out(arguments: &Arguments, ledger: &str, dir: &tempfile::TempDir) -> bool {
    let Arguments { store, kills, processes, seed, .. } = *arguments;
    let begun = Instant::now();
    // Makes the tables.
    let first = verdict::one_call(ledger, dir.path());
    assert!(first.is_ok(), "the ledger can be used: {first:?}");
    let mut book: Box<dyn Book> = match store {
        Store::Sqlite => Box::new(Sqlite::open(&dir.path().join("ledger.sqlite"))),
        Store::Postgres => Box::new(Postgres::open(ledger)),
    };
    let plan = Plan { ledger, dir: dir.path(), kills, processes, seed };
    let killed = plan.carry_out(&mut *book);
    let took = begun.elapsed();
    let verdict = Verdict::of(ledger, dir.path(), &killed.keys, &mut *book);
    println!("{kills} kills of processes on {store:?} in {:.0} s, seed {seed}", took.as_secs_f64());
    let is_wide = report(&killed, kills);
    println!("{} calls were under way in all that was killed", killed.calls);
    println!("{} effects, {} answers, {} in doubt", verdict.effects, verdict.told, verdict.in_doubt);
    println!("refused: {:?}", verdict.refusals.iter().collect::<BTreeMap<_, _>>());
    println!("effects that happened twice: {}; receipts lost: {}", verdict.twice, verdict.lost);
    println!("the longest time without any progress: {} ms", killed.silence.as_millis());
    for problem in verdict.problems.iter().take(20) {
        println!("WRONG: {problem}");
    }
    let longest = Duration::from_millis(arguments.longest_silence_ms);
    if killed.silence > longest {
        println!("WRONG: nobody got on for longer than {longest:?}");
    }
    verdict.problems.is_empty() && verdict.twice + verdict.lost == 0 && is_wide && killed.silence <= longest
}

/// Where the kills have hit; `true` if each part of a call was hit in at least a twentieth of them.
fn report(killed: &Killed, kills: u64) -> bool {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (hit, count) in &killed.hits {
        let (part, where_) = hit.shown();
        *sums.entry(part).or_default() += count;
        println!("{count:>8}  {part}: {where_}");
    }
    let mut is_wide = true;
    for part in ["claim", "body", "settle", "reply"] {
        let sum = sums.get(part).copied().unwrap_or_default();
        println!("{sum:>8}  {part}, in all");
        if sum < kills / 20 {
            println!("WRONG: too few kills in {part}");
            is_wide = false;
        }
    }
    is_wide
}
