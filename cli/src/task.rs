//! `portcullis task`.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use clap::Subcommand;
use portcullis::ledger::{TaskBook, TaskFilter, TaskRecord};
use portcullis::tasks::lifecycle::{Change, TaskState, UnknownState};
use serde_json::{Value, json};

use crate::output::{Failure, Printed, plain, table};

#[derive(Debug, Subcommand)]
pub(crate) enum TaskAct {
    /// List durable tasks, latest first.
    List {
        /// Only tasks that stand here: in_progress, blocked, done, cancelled, …
        #[arg(long, value_parser = state)]
        state: Option<TaskState>,
        /// Only this kind of work.
        #[arg(long)]
        kind: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show one task, with its account and everywhere it has been.
    Show {
        /// Its id.
        id: String,
    },
    /// Show what comes from what: everything, or one task and what is below it.
    Tree {
        /// Where to begin.
        id: Option<String>,
    },
}

fn state(text: &str) -> Result<TaskState, UnknownState> {
    text.parse()
}

pub(crate) fn run(url: &str, act: TaskAct) -> Result<Printed, Failure> {
    let book = TaskBook::open(url)?;
    match act {
        TaskAct::List { state, kind, limit } => {
            let mut filter = TaskFilter::new().limit(limit);
            if let Some(state) = state {
                filter = filter.state(state);
            }
            if let Some(kind) = kind {
                filter = filter.kind(kind);
            }
            list(&book.list(&filter)?, limit)
        }
        TaskAct::Show { id } => {
            let task = book.find(&id)?.ok_or_else(|| unknown(&id))?;
            show(&task, &book.history(&id)?)
        }
        TaskAct::Tree { id } => {
            let filter = id.as_ref().map_or_else(TaskFilter::new, |id| TaskFilter::new().below(id));
            let mut found = book.list(&filter)?;
            found.reverse();
            match id {
                Some(id) if found.is_empty() => Err(unknown(&id)),
                _ => tree(&found),
            }
        }
    }
}

fn unknown(id: &str) -> Failure {
    Failure::not_found(format!("there is no durable task {id:?}; `portcullis task list` lists them"))
}

fn list(tasks: &[TaskRecord], limit: u32) -> Result<Printed, Failure> {
    let rows = tasks.iter().map(|task| {
        let opened = humantime::format_rfc3339_seconds(task.opened_at).to_string();
        [standing(task), steps(task), opened, task.kind.clone(), task.agent.clone(), task.id.clone()]
    });
    let mut text = if tasks.is_empty() {
        "no tasks".to_owned()
    } else {
        table(["STATE", "STEPS", "OPENED", "KIND", "AGENT", "ID"], rows.collect())
    };
    if tasks.len() == limit as usize {
        let _ = writeln!(text, "(the latest {limit}; `--limit` shows more)");
    }
    Printed::new(text, tasks.iter().map(as_json).collect::<Vec<_>>())
}

/// Where it stands, and whether anybody is at it.
fn standing(task: &TaskRecord) -> String {
    if task.is_orphaned() { format!("{} (its process has ended)", task.state) } else { task.state.to_string() }
}

fn steps(task: &TaskRecord) -> String {
    task.limits.max_steps().map_or_else(|| task.steps.to_string(), |most| format!("{}/{most}", task.steps))
}

fn show(task: &TaskRecord, history: &[Change]) -> Result<Printed, Failure> {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {}", plain(&value));
    };
    line("id", task.id.clone());
    line("state", standing(task));
    line("kind", task.kind.clone());
    line("agent", task.agent.clone());
    if let Some(parent) = &task.parent {
        line("parent", parent.clone());
    }
    line("depth", task.depth.to_string());
    line("entered", format!("{} times", task.entries));
    if let Some(owner) = &task.owner {
        let life = if owner.alive { "" } else { ", which has ended" };
        line("owner", format!("process {} on {}{life}", owner.pid, owner.host));
    }
    line("steps", steps(task));
    if let (Some(cost), Some(most)) = (task.cost, task.limits.max_cost()) {
        line("money", format!("{cost} of {most}"));
    }
    let elapsed = std::time::Duration::from_secs(task.elapsed.as_secs());
    line(
        "open for",
        match task.limits.max_duration() {
            Some(most) => format!("{} of {}", humantime::format_duration(elapsed), humantime::format_duration(most)),
            None => humantime::format_duration(elapsed).to_string(),
        },
    );
    for change in history {
        let notes =
            if change.notes.is_empty() { String::new() } else { format!(" {}", Value::Object(change.notes.clone())) };
        let at = humantime::format_rfc3339_seconds(change.at);
        line(&at.to_string(), format!("{} -> {} by {}{notes}", change.from, change.to, change.actor));
    }
    Printed::new(text, json!({ "task": as_json(task), "history": history }))
}

/// Parents before children, which stand below them.
fn tree(tasks: &[TaskRecord]) -> Result<Printed, Failure> {
    let known: HashSet<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
    let mut children: HashMap<Option<&str>, Vec<&TaskRecord>> = HashMap::new();
    for task in tasks {
        let parent = task.parent.as_deref().filter(|parent| known.contains(parent));
        children.entry(parent).or_default().push(task);
    }
    let mut text = String::new();
    let mut open: Vec<(usize, &TaskRecord)> = Vec::new();
    let below = |parent: Option<&str>, level: usize| {
        children.get(&parent).into_iter().flatten().rev().map(move |task| (level, *task)).collect::<Vec<_>>()
    };
    open.extend(below(None, 0));
    let mut in_order = Vec::new();
    while let Some((level, task)) = open.pop() {
        let _ = writeln!(
            text,
            "{:indent$}{} {} ({}, {})",
            "",
            plain(&task.id),
            standing(task),
            plain(&task.kind),
            steps(task),
            indent = level * 2
        );
        in_order.push(task);
        open.extend(below(Some(&task.id), level + 1));
    }
    if in_order.is_empty() {
        text.push_str("no tasks");
    }
    Printed::new(text, in_order.into_iter().map(as_json).collect::<Vec<_>>())
}

fn as_json(task: &TaskRecord) -> Value {
    let limits = &task.limits;
    json!({
        "id": task.id, "kind": task.kind, "agent": task.agent, "parent": task.parent, "depth": task.depth,
        "state": task.state, "orphaned": task.is_orphaned(), "entries": task.entries,
        "opened_at": humantime::format_rfc3339_millis(task.opened_at).to_string(),
        "steps": task.steps, "max_steps": limits.max_steps(), "max_depth": limits.max_depth(),
        "elapsed_seconds": task.elapsed.as_secs_f64(),
        "max_duration_seconds": limits.max_duration().map(|most| most.as_secs_f64()),
        "cost": task.cost.map(|cost| cost.to_string()), "max_cost": limits.max_cost().map(|cost| cost.to_string()),
        "owner": task.owner.as_ref().map(|owner| json!({ "host": owner.host, "pid": owner.pid, "alive": owner.alive })),
    })
}
