//! Messages on an SQLite ledger.

use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::mail::{Columns, KeepMail, MOST_DELIVERIES, attempt};
use super::super::tasks::not_a_url;
use crate::refused::Refused;
use crate::sqlite::{Create, Database, Flush, Place, Trouble, TroubleKind, now_ms, retry};
use crate::tasks::escalation::{Delivery, Message};

/// How long to wait for a lock.
const PATIENCE: Duration = Duration::from_secs(5);

struct Mail {
    database: Database,
    shown: String,
    pid: u32,
}

pub(in crate::ledger) fn open(url: &str) -> Result<Box<dyn KeepMail>, Refused> {
    let place = Place::from_url(url).map_err(|trouble| not_a_url(&trouble.to_string()))?;
    let shown = place.shown();
    match Database::open(&place, Create::Yes, Instant::now() + PATIENCE) {
        Ok(database) => Ok(Box::new(Mail { database, shown, pid: std::process::id() })),
        Err(trouble) => Err(refuse(&shown, &trouble)),
    }
}

fn refuse(shown: &str, trouble: &Trouble) -> Refused {
    trouble.refuse("queue", &format!("the ledger at {shown} can't be used"))
}

impl Mail {
    fn not_forked(&self) -> Result<(), Refused> {
        if self.pid == std::process::id() {
            return Ok(());
        }
        let forked = Trouble::new(TroubleKind::Forked, "this process is a fork of the one that opened it");
        Err(refuse(&self.shown, &forked))
    }

    fn write<T>(&mut self, body: impl FnOnce(&Connection) -> Result<T, Trouble>) -> Result<T, Refused> {
        self.not_forked()?;
        let written = self.database.write(Instant::now() + PATIENCE, Flush::Disk, body);
        written.map_err(|failure| refuse(&self.shown, &failure.trouble()))
    }
}

impl KeepMail for Mail {
    fn put(&mut self, message: &Message) -> Result<i64, Refused> {
        let Columns { sender, target, action, payload, ttl_s } = Columns::of(message);
        let worth_until = now_ms().saturating_add(ttl_s.saturating_mul(1000));
        self.write(|connection| {
            connection.execute(
                "INSERT INTO message(sender, target, action, payload, ttl_s, worth_until_ms) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                params![sender, target, action, payload, ttl_s, worth_until],
            )?;
            Ok(connection.last_insert_rowid())
        })
    }

    fn take(&mut self, agent: &str, lease: Duration) -> Result<Option<Delivery>, Refused> {
        let now = now_ms();
        let until = now.saturating_add(i64::try_from(lease.as_millis()).unwrap_or(i64::MAX));
        let found = self.write(|connection| {
            connection.execute(
                "UPDATE message SET dead = 1 WHERE target = ?1 AND dead = 0 AND leased_until_ms <= ?2
                   AND (attempts >= ?3 OR worth_until_ms <= ?2)",
                params![agent, now, MOST_DELIVERIES],
            )?;
            let taken = connection
                .prepare(
                    "UPDATE message SET attempts = attempts + 1, leased_until_ms = ?3
                     WHERE id = (SELECT id FROM message WHERE target = ?1 AND dead = 0 AND leased_until_ms <= ?2 ORDER BY id LIMIT 1)
                     RETURNING sender, target, action, payload, ttl_s, id, attempts",
                )?
                .query_row(params![agent, now, until], |row| Ok((columns(row)?, row.get(5)?, row.get(6)?)))
                .optional()?;
            Ok(taken)
        })?;
        let Some((columns, number, count)): Option<(Columns, i64, i64)> = found else { return Ok(None) };
        let message = columns.read().map_err(|why| refuse(&self.shown, &Trouble::new(TroubleKind::Statement, why)))?;
        Ok(Some(Delivery::new(format!("m-{number}"), attempt(count), message)))
    }

    fn answer(&mut self, number: i64, delivery: &Delivery, done: bool) -> Result<bool, Refused> {
        let sql = if done {
            "DELETE FROM message WHERE id = ?1 AND target = ?2 AND attempts = ?3 AND leased_until_ms > ?4 AND dead = 0"
        } else {
            "UPDATE message SET leased_until_ms = 0
             WHERE id = ?1 AND target = ?2 AND attempts = ?3 AND leased_until_ms > ?4 AND dead = 0"
        };
        let values = params![number, delivery.message.target, delivery.attempt, now_ms()];
        self.write(|connection| Ok(connection.execute(sql, values)? == 1))
    }

    fn dead(&mut self) -> Result<Vec<Message>, Refused> {
        self.not_forked()?;
        let read = || -> Result<Vec<Message>, Trouble> {
            let mut statement = self
                .database
                .connection()?
                .prepare("SELECT sender, target, action, payload, ttl_s FROM message WHERE dead = 1 ORDER BY id")?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(columns(row)?.read().map_err(|why| Trouble::new(TroubleKind::Statement, why))?);
            }
            Ok(found)
        };
        retry(Instant::now() + PATIENCE, read).map_err(|trouble| refuse(&self.shown, &trouble))
    }
}

fn columns(row: &Row<'_>) -> Result<Columns, rusqlite::Error> {
    Ok(Columns {
        sender: row.get(0)?,
        target: row.get(1)?,
        action: row.get(2)?,
        payload: row.get(3)?,
        ttl_s: row.get(4)?,
    })
}
