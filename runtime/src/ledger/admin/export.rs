//! Everything in a ledger, one JSON object per line.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::super::key::hex;
use super::Ledger;
use super::archive::{BATCH, Logged};
use crate::clock::time;
use crate::refused::{Kind, Refused};

/// What [`Ledger::export`] has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Exported {
    /// Lines with a claim.
    pub claims: u64,
    /// Lines with an event.
    pub events: u64,
}

impl Ledger {
    /// Writes every claim with its notes (`{"claim": {…}, "notes": […]}`), and then every event (`{"event": {…}}`), one JSON
    /// object per line. Claims come oldest first from SQLite, and in the order of their ids from PostgreSQL. Receipts are
    /// written as they are stored.
    ///
    /// Calls may go on meanwhile; what changes behind a line that was written is not in it.
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] if `out` can't be written to, with its error as the source; else as [`list`](Self::list).
    pub fn export(&self, out: &mut dyn Write) -> Result<Exported, Refused> {
        let mut exported = Exported::default();
        let mut after = None;
        loop {
            let page = self.with(|archive| archive.next_claims(after.as_ref()))?;
            for (record, notes) in &page {
                line(out, &json!({ "claim": record, "notes": notes }))?;
                exported.claims += 1;
            }
            after = page.last().map(|(record, _)| *record.digest());
            if page.len() < BATCH {
                break;
            }
        }
        let mut after = 0;
        loop {
            let page = self.with(|archive| archive.next_events(after))?;
            for logged in &page {
                line(out, &event(logged))?;
                after = logged.id;
                exported.events += 1;
            }
            if page.len() < BATCH {
                break;
            }
        }
        out.flush().map_err(unwritable)?;
        Ok(exported)
    }
}

fn line(out: &mut dyn Write, line: &Value) -> Result<(), Refused> {
    writeln!(out, "{line}").map_err(unwritable)
}

fn unwritable(error: io::Error) -> Refused {
    Refused::new(Kind::InvalidArgument, "ledger", format!("the export can't be written: {error}")).because(error)
}

fn event(logged: &Logged) -> Value {
    json!({ "event": {
        "owner": logged.owner,
        "seq": logged.seq,
        "at": humantime::format_rfc3339_millis(time(logged.at_ms)).to_string(),
        "kind": logged.kind,
        "actor": logged.actor,
        "action": logged.action,
        "claim": logged.digest.as_ref().map(|digest| hex(digest)),
        "epoch": logged.epoch,
        "detail": logged.detail(),
        "hash": hex(&logged.hash),
    }})
}
