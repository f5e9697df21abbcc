//! `portcullis ledger`.

use std::fmt::Write;
use std::time::SystemTime;

use portcullis::ledger::{ClaimState, Event, Filter, Ledger, Owner, Record};
use serde_json::json;

use crate::args::LedgerAct;
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
            let found = match which.as_slice() {
                [id] => ledger.find(id)?,
                [namespace, action, key] => ledger.show(namespace, action, key)?.into_iter().collect(),
                _ => return Err(Failure::usage("name a claim by its ID, or by NAMESPACE ACTION KEY".to_owned())),
            };
            match found.as_slice() {
                [record] => show(record, &ledger.events(record)?),
                [] => Err(Failure::not_found("there is no such claim; `portcullis ledger list` lists them".to_owned())),
                several => {
                    Err(Failure::usage(format!("{} claims begin like this: give more of the id", several.len())))
                }
            }
        }
    }
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

fn show(record: &Record, events: &[Event]) -> Result<Printed, Failure> {
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
    if let Some(ended) = &record.ended {
        line("ended", ended.clone());
    }
    if let Some(receipt) = &record.receipt {
        line("receipt", receipt.to_string());
    }
    line("fingerprint", record.fingerprint.clone());
    for event in events {
        line("event", format!("{} {} by {} {}", when(event.at), event.kind, event.actor, event.detail));
    }
    Printed::new(text, json!({ "claim": record, "events": events }))
}

fn explained(record: &Record) -> String {
    let what = match record.state {
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
