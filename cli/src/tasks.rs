//! `portcullis validate`, `check-loop`, `check-budget`, `sleep`, `wake`: questions that scripts ask about tasks.
//!
//! Verdicts are one line each, in words that scripts know: `VALID:`, `INVALID:`, `ALLOWED:`, `DENIED:`, `OK:`, `EXCEEDED:`, `SLEEP:`, `WAKE:`.
//! They go to standard output; a no also says on standard error what to do, and ends with 1.

use std::time::Duration;

use clap::Subcommand;
use portcullis::ledger::TaskBook;
use portcullis::tasks::lifecycle::TaskState;
use portcullis::tasks::loops::{Detector, Proposal};
use portcullis::tasks::settings::{BudgetSettings, Settings};
use portcullis::tasks::{InvalidName, check_name};
use serde_json::json;

use crate::args::ledger_url;
use crate::output::{Failure, Printed};

#[derive(Debug, Subcommand)]
pub(crate) enum Question {
    /// May a task go from one state to another?
    Validate {
        /// Where it stands: backlog, todo, in_progress, in_review, blocked, done or cancelled.
        current: String,
        /// Where it is to go.
        target: String,
    },
    /// May this task come into being, or is it a loop?
    CheckLoop {
        /// Its id.
        #[arg(value_parser = name)]
        task_id: String,
        /// Who works on it.
        #[arg(value_parser = name)]
        agent_id: String,
        /// What kind of work it is.
        #[arg(value_parser = name)]
        task_type: String,
        /// The task of which it is a part. Nothing is on record here, so any other task is unknown, and refused.
        #[arg(long, value_name = "ID", value_parser = name)]
        parent_task_id: Option<String>,
        /// The task in whose course it is created.
        #[arg(long, value_name = "ID", value_parser = name)]
        created_by_task_id: Option<String>,
        /// How deep the tree of tasks may be. Default: by configuration, else 10.
        #[arg(long, value_name = "N")]
        max_depth: Option<u64>,
    },
    /// Is a task still within its budget?
    CheckBudget {
        /// Its id.
        #[arg(value_parser = name)]
        task_id: String,
        /// How many steps it has taken.
        #[arg(long, value_name = "N", default_value_t = 0)]
        steps: u64,
        /// How many it may take. Default: by configuration, else 50.
        #[arg(long, value_name = "N")]
        max_steps: Option<u64>,
        /// For how many seconds it has run.
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        duration: u64,
        /// For how many it may run. Default: by configuration, else 1800.
        #[arg(long, value_name = "SECONDS")]
        max_duration: Option<u64>,
    },
    /// Say that an agent goes idle because there is no work for it. Returns at once.
    ///
    /// Until then, or until it wakes, it enters no durable task of the ledger: of the one that is named, or else of the user's own if there is
    /// one.
    Sleep {
        /// For how many seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        timeout: u64,
        /// Who. Default: PAPERCLIP_AGENT_ID.
        #[arg(long, value_name = "ID", value_parser = name)]
        agent_id: Option<String>,
    },
    /// Wake an agent up that was put to sleep.
    Wake {
        /// Who. Default: PAPERCLIP_AGENT_ID.
        #[arg(long, value_name = "ID", value_parser = name)]
        agent_id: Option<String>,
    },
}

fn name(text: &str) -> Result<String, InvalidName> {
    check_name(text).map(|()| text.to_owned())
}

pub(crate) fn run(question: Question, ledger: Option<String>) -> Result<Printed, Failure> {
    match question {
        Question::Validate { current, target } => validate(&current, &target),
        Question::CheckLoop { task_id, agent_id, task_type, parent_task_id, created_by_task_id, max_depth } => {
            let mut proposal = Proposal::new(&task_id, &agent_id, &task_type);
            if let Some(parent) = &parent_task_id {
                proposal = proposal.parent(parent);
            }
            if let Some(creator) = &created_by_task_id {
                proposal = proposal.creator(creator);
            }
            let max_depth = match max_depth {
                Some(depth) => depth,
                None => settings()?.lifecycle.max_depth,
            };
            check_loop(&proposal, max_depth)
        }
        Question::CheckBudget { task_id, steps, max_steps, duration, max_duration } => {
            let mut limits = settings()?.budget;
            if let Some(steps) = max_steps {
                limits.max_steps = steps;
            }
            if let Some(seconds) = max_duration {
                limits.max_duration = Duration::from_secs(seconds);
            }
            check_budget(&task_id, steps, duration, &limits)
        }
        Question::Sleep { timeout, agent_id } => sleep(timeout, agent_id, ledger),
        Question::Wake { agent_id } => wake(agent_id, ledger),
    }
}

/// What is configured stands where the command line says nothing.
fn settings() -> Result<Settings, Failure> {
    Settings::gather().map_err(|error| Failure::usage(error.to_string()))
}

fn validate(current: &str, target: &str) -> Result<Printed, Failure> {
    let state = |text: &str| text.parse::<TaskState>().map_err(|error| Failure::unknown_state(error.to_string()));
    let (from, to) = (state(current)?, state(target)?);
    match from.transition(to) {
        Ok(way) => Printed::new(
            format!("VALID: {}", way.reason),
            json!({ "verdict": "valid", "from": from, "to": to, "reason": way.reason }),
        ),
        Err(no) => {
            let reason = no.reason();
            let allowed: Vec<TaskState> = from.ways().map(|way| way.to).collect();
            let json = json!({ "verdict": "invalid", "from": from, "to": to, "reason": reason, "allowed": allowed });
            Printed::no(format!("INVALID: {reason}"), json, no.advice().to_owned())
        }
    }
}

fn check_loop(proposal: &Proposal<'_>, max_depth: u64) -> Result<Printed, Failure> {
    match Detector::new(max_depth).check(proposal) {
        Ok(depth) => Printed::new(
            format!("ALLOWED: depth={depth}"),
            json!({ "verdict": "allowed", "task_id": proposal.id(), "depth": depth }),
        ),
        Err(refused) => {
            let code = refused.code();
            let kind = code.strip_prefix("loop_").unwrap_or(code);
            let json = json!({
                "verdict": "denied", "task_id": proposal.id(), "loop_type": kind, "code": code, "reason": refused.reason(),
            });
            Printed::no(format!("DENIED: [{kind}] {}", refused.reason()), json, refused.to_string())
        }
    }
}

fn check_budget(task: &str, steps: u64, duration: u64, limits: &BudgetSettings) -> Result<Printed, Failure> {
    let (max_steps, max_duration) = (limits.max_steps, limits.max_duration.as_secs_f64());
    let mut json = json!({
        "verdict": "ok", "task_id": task,
        "steps": steps, "max_steps": max_steps, "duration_seconds": duration, "max_duration_seconds": max_duration,
    });
    match limits.limits().judge(steps, 0, Duration::from_secs(duration)) {
        Ok(()) => Printed::new(
            format!("OK: {steps} steps, {duration}s elapsed (max {max_steps} steps, {max_duration}s)"),
            json,
        ),
        Err(spent) => {
            let code = spent.kind().code();
            let (kind, reason) = (code.strip_prefix("budget_").unwrap_or(code), spent.of_task(task));
            json["verdict"] = "exceeded".into();
            json["budget_type"] = kind.into();
            json["code"] = code.into();
            json["reason"] = reason.as_str().into();
            Printed::no(format!("EXCEEDED: [{kind}] {reason}"), json, format!("{code}: task {task} must stop here"))
        }
    }
}

fn agent(named: Option<String>) -> Result<String, Failure> {
    Ok(match named {
        Some(agent) => agent,
        None => match std::env::var("PAPERCLIP_AGENT_ID") {
            Ok(agent) if !agent.is_empty() => name(&agent)
                .map_err(|flaw| Failure::usage(format!("PAPERCLIP_AGENT_ID={agent:?} is no name: {flaw}")))?,
            Ok(_) | Err(std::env::VarError::NotPresent) => String::new(),
            Err(error) => return Err(Failure::usage(format!("PAPERCLIP_AGENT_ID: {error}"))),
        },
    })
}

/// Where sleep is kept; `None`: nobody has named a ledger, and the user's own is not there yet.
fn book(ledger: Option<String>) -> Result<Option<TaskBook>, Failure> {
    let none = ledger.is_none() && !portcullis::ledger::default_path().is_some_and(|path| path.exists());
    if none {
        return Ok(None);
    }
    Ok(Some(TaskBook::open(&ledger_url(ledger)?)?))
}

fn sleep(timeout: u64, named: Option<String>, ledger: Option<String>) -> Result<Printed, Failure> {
    let agent = agent(named)?;
    // Of an agent without a name nothing can be kept.
    if !agent.is_empty()
        && let Some(book) = book(ledger)?
    {
        book.sleep(&agent, Duration::from_secs(timeout))?;
    }
    Printed::new(
        format!("SLEEP:idle agent={agent} reason=no_tasks timeout={timeout}s"),
        json!({ "status": "idle", "agent_id": agent, "reason": "no_tasks", "sleep_seconds": timeout }),
    )
}

fn wake(named: Option<String>, ledger: Option<String>) -> Result<Printed, Failure> {
    let agent = agent(named)?;
    if agent.is_empty() {
        return Err(Failure::usage("name the agent: `--agent-id ID`".to_owned()));
    }
    if let Some(book) = book(ledger)? {
        book.wake(&agent)?;
    }
    Printed::new(format!("WAKE: agent={agent}"), json!({ "status": "awake", "agent_id": agent }))
}
