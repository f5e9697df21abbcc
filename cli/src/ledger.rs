//! `portcullis ledger`.

use std::error::Error;
use std::fmt::Write;
use std::io::{BufWriter, ErrorKind};
use std::time::SystemTime;

use clap::ValueEnum;
use portcullis::Refused;
use portcullis::ledger::{By, ClaimState, Event, Filter, Ledger, Note, Owner, Record};
use serde_json::json;

use crate::args::{Decision, LedgerAct, Seen, Which};
use crate::output::{Failure, Printed, plain, table};

pub(crate) fn run(url: &str, act: LedgerAct) -> Result<Printed, Failure> {
    match act {
        LedgerAct::List { state, action, namespace, limit } => {
            let mut filter = Filter::new().limit(limit);
            if let Some(state) = state {
                filter = filter.state(state.into());
            }
            if let Some(action) = action {
                filter = filter.action(action);
            }
            if let Some(namespace) = namespace {
                filter = filter.namespace(namespace);
            }
            list(&Ledger::open(url)?.list(&filter)?, limit)
        }
        LedgerAct::Show { which } => {
            let ledger = Ledger::open(url)?;
            let record = the_one(&ledger, which)?;
            show(&record, &ledger.notes(&record)?, &ledger.events(&record)?)
        }
        LedgerAct::Commit { which, receipt, decision } => {
            let ledger = Ledger::open(url)?;
            let (record, by) = decided(&ledger, which, decision)?;
            said(&ledger.commit(&record, receipt.as_ref(), &by)?)
        }
        LedgerAct::Release { which, decision } => {
            let ledger = Ledger::open(url)?;
            let (record, by) = decided(&ledger, which, decision)?;
            said(&ledger.release(&record, &by)?)
        }
        LedgerAct::Gc { reason, actor } => {
            let swept = Ledger::open(url)?.gc(&By::new(actor.actor, reason))?;
            Printed::new(format!("{} receipts were taken away; their keys are remembered", swept.expired), swept)
        }
        LedgerAct::Export => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            match Ledger::open(url)?.export(&mut out) {
                Err(refused) if !is_broken_pipe(&refused) => Err(refused.into()),
                // `portcullis … | head` has seen enough.
                Ok(_) | Err(_) => Ok(Printed::already()),
            }
        }
    }
}

fn is_broken_pipe(refused: &Refused) -> bool {
    let cause = refused.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    cause.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// The claim that was named, if there is exactly one.
fn the_one(ledger: &Ledger, which: Which) -> Result<Record, Failure> {
    let mut found = match which.which.as_slice() {
        [id] => ledger.find(id)?,
        [namespace, action, key] => ledger.show(namespace, action, key)?.into_iter().collect(),
        _ => return Err(Failure::usage("name a claim by its ID, or by NAMESPACE ACTION KEY".to_owned())),
    };
    match (found.pop(), found.len()) {
        (Some(record), 0) => Ok(record),
        (Some(_), others) => Err(Failure::usage(format!("{} claims begin like this: give more of the id", others + 1))),
        (None, _) => Err(Failure::not_found("there is no such claim; `portcullis ledger list` lists them".to_owned())),
    }
}

/// The claim as the person has seen it, and in whose name it is decided about.
fn decided(ledger: &Ledger, which: Which, decision: Decision) -> Result<(Record, By), Failure> {
    let mut record = the_one(ledger, which)?;
    record.epoch = decision.attempt;
    decision.seen.put_into(&mut record);
    let by = By::new(decision.actor.actor, decision.reason);
    Ok((record, if decision.force { by.force() } else { by }))
}

fn said(record: &Record) -> Result<Printed, Failure> {
    Printed::new(explained(record), json!({ "claim": record }))
}

fn list(records: &[Record], limit: usize) -> Result<Printed, Failure> {
    let rows = records.iter().map(|record| {
        [
            record.id[..16].to_owned(),
            record.state.to_string(),
            when(record.claimed_at),
            record.namespace.clone(),
            record.action.clone(),
            record.key.clone(),
        ]
    });
    let mut text = if records.is_empty() {
        "no claims".to_owned()
    } else {
        table(["ID", "STATE", "CLAIMED", "NAMESPACE", "ACTION", "KEY"], rows.collect())
    };
    if records.len() == limit {
        let _ = writeln!(text, "(the latest {limit}; `--limit` shows more)");
    }
    Printed::new(text, records)
}

fn show(record: &Record, notes: &[Note], events: &[Event]) -> Result<Printed, Failure> {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {}", plain(&value));
    };
    line("id", record.id.clone());
    line("namespace", record.namespace.clone());
    line("action", record.action.clone());
    if let Some(place) = &record.place {
        line("place", place.clone());
    }
    line("key", record.key.clone());
    line("state", explained(record));
    line("attempt", format!("{} (number {})", record.attempt, record.epoch));
    line("claimed", when(record.claimed_at));
    if let Some(owner) = &record.owner {
        line("by", process(owner));
    }
    if let Some(at) = record.settled_at {
        line("settled", when(at));
    }
    if let Some(at) = record.kept_until {
        line("kept until", when(at));
    }
    if let Some(by) = &record.settled_by {
        line("decided by", by.clone());
    }
    if let Some(ended) = &record.ended {
        line("ended", ended.clone());
    }
    if let Some(receipt) = &record.receipt {
        line("receipt", receipt.to_string());
    }
    line("fingerprint", record.fingerprint.clone());
    if let Some(seen) = Seen::of(record).and_then(|seen| seen.to_possible_value()) {
        line("to decide", format!("--attempt {} --seen {}", record.epoch, seen.get_name()));
    }
    for note in notes {
        line("note", format!("{} {} (attempt {})", when(note.at), String::from_utf8_lossy(&note.bytes), note.epoch));
    }
    for event in events {
        line("event", format!("{} {} by {} {}", when(event.at), event.kind, event.actor, event.detail));
    }
    Printed::new(text, json!({ "claim": record, "notes": notes, "events": events }))
}

fn explained(record: &Record) -> String {
    let what = match record.state {
        ClaimState::InDoubt if record.running => {
            "it has been running for longer than it may, in a process that lives; what it returns still counts"
        }
        ClaimState::Pending => "its body is running",
        ClaimState::Committed => "it happened; a retry gets the receipt",
        ClaimState::Failed => "its error is the outcome; a retry gets it",
        ClaimState::InDoubt => "it was started, and nobody knows how that ended; it is never run again by itself",
        ClaimState::Open => "it did not happen; a retry with the same parameters runs it",
        ClaimState::Expired => "it happened; its receipt is no longer kept",
        _ => "unknown to this release",
    };
    format!("{}: {what}", record.state)
}

fn process(owner: &Owner) -> String {
    let life = if owner.alive { "running" } else { "ended" };
    format!("process {} ({}) on {}, {life}", owner.pid, owner.program, owner.host)
}

/// `2026-11-24T02:30:00Z`
pub(crate) fn when(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}
