//! Everything in a ledger, one JSON object per line.

use std::io::{self, Write};

use rusqlite::Row;
use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::super::Digest;
use super::super::key::hex;
use super::super::sqlite::rows;
use super::record::{self, COLUMNS};
use super::{Ledger, Record};
use crate::refused::{Kind, Refused};
use crate::sqlite::{Database, Trouble, time};

/// How many lines are read at once: a long read keeps SQLite's log from being emptied.
const PAGE: usize = 500;

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
    /// Writes every claim with its notes (`{"claim": {…}, "notes": […]}`), oldest first, and then every event (`{"event": {…}}`),
    /// one JSON object per line. Receipts are written as they are stored.
    ///
    /// Calls may go on meanwhile; what changes behind a line that was written is not in it.
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] if `out` can't be written to, with its error as the source; else as [`list`](Self::list).
    pub fn export(&self, out: &mut dyn Write) -> Result<Exported, Refused> {
        let mut exported = Exported::default();
        self.pages(out, &mut exported.claims, claims)?;
        self.pages(out, &mut exported.events, events)?;
        out.flush().map_err(unwritable)?;
        Ok(exported)
    }

    fn pages(
        &self,
        out: &mut dyn Write,
        count: &mut u64,
        page: impl Fn(&Database, i64) -> Result<Vec<(i64, Value)>, Trouble>,
    ) -> Result<(), Refused> {
        let mut after = 0;
        loop {
            let lines = self.read(|database| page(database, after))?;
            for (id, line) in &lines {
                writeln!(out, "{line}").map_err(unwritable)?;
                after = *id;
                *count += 1;
            }
            if lines.len() < PAGE {
                return Ok(());
            }
        }
    }
}

fn unwritable(error: io::Error) -> Refused {
    Refused::new(Kind::InvalidArgument, "ledger", format!("the export can't be written: {error}")).because(error)
}

fn claims(database: &Database, after: i64) -> Result<Vec<(i64, Value)>, Trouble> {
    let connection = database.connection()?;
    let mut statement = connection.prepare(&format!("{COLUMNS} WHERE claim.id > ? ORDER BY claim.id LIMIT ?"))?;
    let mut found = statement.query([after, PAGE as i64])?;
    let mut lines = Vec::new();
    while let Some(row) = found.next()? {
        let record: Record = record::read(database, row)?;
        let notes = rows::notes(connection, &Digest::new(&record.namespace, &record.action, &record.key))?;
        lines.push((record::row_id(row)?, json!({ "claim": record, "notes": notes })));
    }
    Ok(lines)
}

fn events(database: &Database, after: i64) -> Result<Vec<(i64, Value)>, Trouble> {
    let mut statement = database.connection()?.prepare(
        "SELECT id, owner, seq, at_ms, kind, actor, action, digest, epoch, detail, hash FROM event
         WHERE id > ? ORDER BY id LIMIT ?",
    )?;
    let lines = statement.query_map([after, PAGE as i64], event)?;
    Ok(lines.collect::<Result<_, _>>()?)
}

fn event(row: &Row<'_>) -> Result<(i64, Value), rusqlite::Error> {
    let detail: String = row.get(9)?;
    let digest: Option<[u8; 32]> = row.get(7)?;
    let (kind, actor, action): (String, String, String) = (row.get(4)?, row.get(5)?, row.get(6)?);
    let number = |index| -> Result<Option<i64>, rusqlite::Error> {
        Ok(match row.get(index)? {
            Sql::Integer(number) => Some(number),
            Sql::Null | Sql::Real(_) | Sql::Text(_) | Sql::Blob(_) => None,
        })
    };
    let line = json!({ "event": {
        "owner": number(1)?,
        "seq": number(2)?,
        "at": humantime::format_rfc3339_millis(time(row.get(3)?)).to_string(),
        "kind": kind,
        "actor": actor,
        "action": action,
        "claim": digest.map(|digest| hex(&digest)),
        "epoch": number(8)?,
        "detail": serde_json::from_str(&detail).unwrap_or(Value::String(detail)),
        "hash": hex(&row.get::<_, [u8; 32]>(10)?),
    }});
    Ok((row.get(0)?, line))
}
