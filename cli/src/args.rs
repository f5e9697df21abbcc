//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use portcullis::authority::Device;
use portcullis::ledger::{ClaimState, Record};

use crate::output::Failure;
use crate::{manual, task, tasks};

/// Devices, the halt switch, the ledger and the lint of portcullis, and what it says of tasks.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, propagate_version = true)]
pub(crate) struct Args {
    /// Which ledger: `sqlite:PATH`, or `postgres://USER@HOST/DATABASE`. Default: the file in the user's state directory.
    #[arg(long, global = true, env = "PORTCULLIS_LEDGER", value_name = "URL", hide_env_values = true)]
    pub(crate) ledger: Option<String>,

    /// Print JSON, for programs.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Who may, by the local authority.
    Device {
        #[command(subcommand)]
        act: DeviceAct,
    },
    /// The switch that stops every device at its next boundary.
    Halt {
        #[command(subcommand)]
        act: HaltAct,
    },
    /// What was done once, and what is in doubt.
    Ledger {
        #[command(subcommand)]
        act: LedgerAct,
    },
    /// Durable tasks: where they stand, and what they have used.
    Task {
        #[command(subcommand)]
        act: task::TaskAct,
    },
    /// Make clippy refuse raw effects outside of guarded functions.
    ///
    /// Writes `disallowed-methods` for the crates in Cargo.lock to the workspace's clippy.toml, and the lint levels to its
    /// Cargo.toml files. Bodies behind `#[boundary(before_side_effect)]` and `#[boundary(before_cost)]` are exempt. Ends with 1
    /// if something still switches the list off.
    Lint(LintArgs),
    #[command(flatten)]
    Tasks(tasks::Question),
    #[command(flatten)]
    Manual(manual::Page),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceAct {
    /// List every device.
    List,
    /// Make a device known. Makes the ledger's file if there is none.
    Register(Named),
    /// Refuse a device at every boundary from now on.
    Revoke(Named),
    /// Take a revocation back.
    Restore(Named),
    /// Forget a device: it is unknown until it registers again, as every process does when it starts.
    Remove(Named),
}

#[derive(Debug, Parser)]
pub(crate) struct Named {
    /// `service:env:role:instance`
    #[arg(value_parser = Device::parse)]
    pub(crate) device: Device,
    #[command(flatten)]
    pub(crate) actor: Actor,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HaltAct {
    /// Stop everybody.
    On(Actor),
    /// Let everybody go on.
    Off(Actor),
    /// Is everybody stopped?
    Status,
}

#[derive(Debug, Parser)]
pub(crate) struct Actor {
    /// In whose name, for the audit.
    #[arg(long = "as", value_name = "NAME", env = "USER", default_value = "unknown", hide_env_values = true)]
    pub(crate) actor: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerAct {
    /// List claims, latest first.
    List {
        /// Only claims that stand here.
        #[arg(long)]
        state: Option<State>,
        /// Only this action.
        #[arg(long)]
        action: Option<String>,
        /// Only this namespace.
        #[arg(long)]
        namespace: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one claim, with everything that happened to it: by the beginning of its id, or by namespace, action and key.
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Say that a call in doubt has happened.
    Commit {
        #[command(flatten)]
        which: Which,
        /// What a retry is to get: JSON, of the function's return type. Without it, retries are refused.
        #[arg(long, value_name = "JSON", value_parser = json)]
        receipt: Option<serde_json::Value>,
        #[command(flatten)]
        decision: Decision,
    },
    /// Say that a call in doubt did not happen, and can't happen any more: the next retry runs it.
    Release {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        decision: Decision,
    },
    /// Take away the receipts whose time (`retain`) is over. Their keys are remembered.
    Gc {
        /// Why, for the audit.
        #[arg(long, default_value = "their time is over")]
        reason: String,
        #[command(flatten)]
        actor: Actor,
    },
    /// Write every claim and every event, one JSON object per line.
    Export,
}

#[derive(Debug, Parser)]
pub(crate) struct Which {
    /// ID, or NAMESPACE ACTION KEY
    #[arg(num_args = 1..=3, required = true, value_names = ["ID | NAMESPACE", "ACTION", "KEY"])]
    pub(crate) which: Vec<String>,
}

#[derive(Debug, Parser)]
pub(crate) struct Decision {
    /// The number of the attempt that you have looked at; `portcullis ledger show` prints it. If there is a later one by now,
    /// nothing is done.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) attempt: u64,
    /// Where the claim stood when you looked for its effect; `portcullis ledger show` prints it. If it stands anywhere else by
    /// now, nothing is done: what you saw while its body ran may be so no longer.
    #[arg(long, value_name = "STATE")]
    pub(crate) seen: Seen,
    /// What you have found out, and where, for the audit.
    #[arg(long)]
    pub(crate) reason: String,
    /// Decide although its process lives and may still do it, or although it has happened and only its receipt is gone. The
    /// effect may then happen twice.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) actor: Actor,
}

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is not JSON (a text needs its quotes): {error}"))
}

#[derive(Debug, Parser)]
pub(crate) struct LintArgs {
    /// The Cargo.toml of the workspace or of one of its members. Default: the nearest one.
    #[arg(long, value_name = "PATH")]
    pub(crate) manifest_path: Option<PathBuf>,
    /// Write nothing: end with 1 if a file is stale or something switches the list off. For CI.
    #[arg(long)]
    pub(crate) check: bool,
    /// Also make clippy refuse every `allow` and `expect` without a reason.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Then prove with clippy itself that the list is in force and that every path in it leads somewhere. Builds the listed
    /// crates, in the versions of Cargo.lock.
    #[arg(long)]
    pub(crate) canary: bool,
}

/// Where a claim was seen to stand.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Seen {
    /// Its body is running.
    Pending,
    /// In doubt, and its body is still running: it has taken longer than it may.
    Overdue,
    /// In doubt, and its body is over.
    InDoubt,
    Committed,
    Failed,
    Open,
    Expired,
}

impl Seen {
    /// Where this record shows the claim; `None` for what this release does not know.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        Some(match record.state {
            ClaimState::Pending => Seen::Pending,
            ClaimState::InDoubt if record.running => Seen::Overdue,
            ClaimState::InDoubt => Seen::InDoubt,
            ClaimState::Committed => Seen::Committed,
            ClaimState::Failed => Seen::Failed,
            ClaimState::Open => Seen::Open,
            ClaimState::Expired => Seen::Expired,
            _ => return None,
        })
    }

    /// Makes of the record as it is the one that was seen.
    pub(crate) fn put_into(self, record: &mut Record) {
        (record.state, record.running) = match self {
            Seen::Pending => (ClaimState::Pending, false),
            Seen::Overdue => (ClaimState::InDoubt, true),
            Seen::InDoubt => (ClaimState::InDoubt, false),
            Seen::Committed => (ClaimState::Committed, false),
            Seen::Failed => (ClaimState::Failed, false),
            Seen::Open => (ClaimState::Open, false),
            Seen::Expired => (ClaimState::Expired, false),
        };
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum State {
    Pending,
    Committed,
    Failed,
    InDoubt,
    Open,
    Expired,
}

impl From<State> for ClaimState {
    fn from(state: State) -> Self {
        match state {
            State::Pending => ClaimState::Pending,
            State::Committed => ClaimState::Committed,
            State::Failed => ClaimState::Failed,
            State::InDoubt => ClaimState::InDoubt,
            State::Open => ClaimState::Open,
            State::Expired => ClaimState::Expired,
        }
    }
}

/// The ledger that was named, or the user's own.
pub(crate) fn ledger_url(named: Option<String>) -> Result<String, Failure> {
    match named {
        Some(url) => match scheme(&url) {
            "sqlite" | "postgres" | "postgresql" => Ok(url),
            other => {
                Err(Failure::usage(format!("the ledger is named as `sqlite:PATH` or `postgres://…`, not by `{other}`")))
            }
        },
        None => match portcullis::ledger::default_path() {
            Some(path) => Ok(format!("sqlite:{}", path.display())),
            None => Err(Failure::usage(
                "this user has no state directory: name the ledger with `--ledger sqlite:PATH`".to_owned(),
            )),
        },
    }
}

/// The same, for the local authority, which lies in a file.
pub(crate) fn authority_url(named: Option<String>) -> Result<String, Failure> {
    let url = ledger_url(named)?;
    match scheme(&url) {
        "sqlite" => Ok(url),
        other => Err(Failure::usage(format!(
            "devices and the halt switch of the local authority are in a file, `--ledger sqlite:PATH`, not in `{other}`"
        ))),
    }
}

fn scheme(url: &str) -> &str {
    url.split_once(':').map_or("a name without a scheme", |(scheme, _)| scheme)
}
