//! The command `portcullis`: devices, the halt switch and the ledger from a shell; questions about tasks; the list of effects for clippy.
//!
//! Exit codes: 0 done; 1 refused, not found, or the output could not be written; 2 wrong usage.

mod args;
mod device;
mod halt;
mod ledger;
mod lint;
mod manual;
mod output;
mod task;
mod tasks;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use output::{Failure, Printed};

fn main() -> ExitCode {
    // clap itself ends with 2 on wrong usage.
    let args = Args::parse();
    let json = args.json;
    match run(args) {
        Ok(printed) => printed.to_stdout(json),
        Err(failure) => failure.to_stderr(json),
    }
}

fn run(args: Args) -> Result<Printed, Failure> {
    let Args { ledger, json: _, command } = args;
    match command {
        Command::Device { act } => device::run(&args::authority_url(ledger)?, act),
        Command::Halt { act } => halt::run(&args::authority_url(ledger)?, act),
        Command::Ledger { act } => ledger::run(&args::ledger_url(ledger)?, act),
        Command::Task { act } => task::run(&args::ledger_url(ledger)?, act),
        Command::Lint(act) => lint::run(&act),
        Command::Tasks(question) => tasks::run(question, ledger),
        Command::Manual(page) => manual::run(page),
    }
}
