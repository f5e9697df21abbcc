//! Tasks of an SQLite ledger, looked at from outside.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Row, params};

use super::super::super::tasks::{
    Columns, ReadTasks, TaskFilter, TaskOwner, TaskRecord, change, not_a_url, read_notes, state_code,
};
use super::{elapsed, ms, state};
use crate::refused::Refused;
use crate::sqlite::{Create, Database, Flush, OwnerId, Place, Trouble, TroubleKind, holder, now_ms, retry, time};
use crate::tasks::lifecycle::{Change, TaskState};

/// How long to wait for a lock.
const PATIENCE: Duration = Duration::from_secs(5);

struct Book {
    database: Database,
    shown: String,
    pid: u32,
}

pub(in crate::ledger) fn open(url: &str) -> Result<Box<dyn ReadTasks>, Refused> {
    let place = Place::from_url(url).map_err(|trouble| not_a_url(&trouble.to_string()))?;
    let shown = place.shown();
    match Database::open(&place, Create::No, Instant::now() + PATIENCE) {
        Ok(database) => Ok(Box::new(Book { database, shown, pid: std::process::id() })),
        Err(trouble) => Err(refuse(&shown, &trouble)),
    }
}

fn refuse(shown: &str, trouble: &Trouble) -> Refused {
    trouble.refuse("ledger", &format!("the ledger at {shown} can't be used"))
}

impl Book {
    fn not_forked(&self) -> Result<(), Refused> {
        if self.pid == std::process::id() {
            return Ok(());
        }
        let forked = Trouble::new(TroubleKind::Forked, "this process is a fork of the one that opened it");
        Err(refuse(&self.shown, &forked))
    }

    fn read<T>(&self, body: impl Fn(&Database) -> Result<T, Trouble>) -> Result<T, Refused> {
        self.not_forked()?;
        retry(Instant::now() + PATIENCE, || body(&self.database)).map_err(|trouble| refuse(&self.shown, &trouble))
    }
}

impl ReadTasks for Book {
    fn list(&mut self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, Refused> {
        self.read(|database| {
            let mut statement = database.connection()?.prepare(
                "WITH RECURSIVE below(name) AS (VALUES(?2) UNION SELECT task.name FROM task JOIN below ON task.parent = below.name)
                 SELECT name, kind, agent, parent, depth, state, epoch, opened_ms, max_steps, max_depth, max_ms, max_micros, currency,
                   steps, micros, owner, elapsed_ms, boot, up_ms, wall_ms
                 FROM task
                 WHERE (?1 IS NULL OR name = ?1) AND (?2 IS NULL OR name IN (SELECT name FROM below))
                   AND (?3 IS NULL OR state = ?3) AND (?4 IS NULL OR kind = ?4)
                 ORDER BY id DESC LIMIT ?5",
            )?;
            let TaskFilter { id, root, state, kind, .. } = filter;
            let mut rows = statement.query(params![id, root, state.map(state_code), kind, filter.most()])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(record(database, row)?);
            }
            Ok(found)
        })
    }

    fn sleep(&mut self, agent: &str, time: Option<Duration>) -> Result<(), Refused> {
        self.not_forked()?;
        let until = Instant::now() + PATIENCE;
        let written = self.database.write(until, Flush::Disk, |connection| set_idle(connection, agent, time));
        written.map_err(|failure| refuse(&self.shown, &failure.trouble()))
    }

    fn history(&mut self, id: &str) -> Result<Vec<Change>, Refused> {
        self.read(|database| {
            let mut statement = database.connection()?.prepare(
                "SELECT from_state, to_state, actor, task_change.at_ms, notes FROM task_change JOIN task ON task.id = task
                 WHERE task.name = ?1 ORDER BY task_change.id",
            )?;
            let mut rows = statement.query([id])?;
            let mut changes = Vec::new();
            while let Some(row) = rows.next()? {
                let (from, to) = (state(row.get(0)?)?, state(row.get(1)?)?);
                let notes: Option<String> = row.get(4)?;
                changes.push(change((from, to), row.get(2)?, time(row.get(3)?), read_notes(notes.as_deref())));
            }
            Ok(changes)
        })
    }
}

fn set_idle(connection: &Connection, agent: &str, time: Option<Duration>) -> Result<(), Trouble> {
    match time {
        Some(time) => connection.execute(
            "INSERT INTO agent(id, idle_until_ms) VALUES(?1, ?2) ON CONFLICT(id) DO UPDATE SET idle_until_ms = excluded.idle_until_ms",
            params![agent, now_ms().saturating_add(ms(time))],
        )?,
        None => connection.execute("DELETE FROM agent WHERE id = ?1", [agent])?,
    };
    Ok(())
}

fn record(database: &Database, row: &Row<'_>) -> Result<TaskRecord, Trouble> {
    let columns = Columns {
        max_steps: row.get(8)?,
        max_depth: row.get(9)?,
        max_ms: row.get(10)?,
        max_micros: row.get(11)?,
        currency: row.get(12)?,
        micros: row.get(14)?,
    };
    let (limits, cost) = columns.read().map_err(|why| Trouble::new(TroubleKind::Statement, why))?;
    let side = database.side().map(|side| &**side);
    let owner = holder(database.connection()?, side, OwnerId(row.get(15)?))?;
    let state: TaskState = state(row.get(5)?)?;
    Ok(TaskRecord {
        id: row.get(0)?,
        kind: row.get(1)?,
        agent: row.get(2)?,
        parent: row.get(3)?,
        depth: row.get::<_, i64>(4)?.unsigned_abs(),
        state,
        entries: row.get::<_, i64>(6)?.unsigned_abs(),
        opened_at: time(row.get(7)?),
        limits,
        steps: row.get::<_, i64>(13)?.unsigned_abs(),
        cost,
        elapsed: elapsed(row, 16)?,
        owner: owner.map(|holder| TaskOwner::new(holder.host, holder.pid, holder.alive)),
    })
}
