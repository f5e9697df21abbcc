//! Tasks of a PostgreSQL ledger, looked at from outside.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::super::super::tasks::{
    Columns, ReadTasks, TaskFilter, TaskOwner, TaskRecord, change, not_a_url, read_notes,
};
use super::super::room::Parameter;
use super::super::schema::Create;
use super::super::session::Session;
use super::super::target::Target;
use super::super::tls::Tls;
use super::super::trouble::{Trouble, TroubleKind};
use super::rows::{code, state};
use crate::clock::time;
use crate::refused::{Kind, Refused};
use crate::tasks::lifecycle::Change;
use tokio_postgres::config::SslMode;

/// How long the server may take for one statement.
const PATIENCE: Duration = Duration::from_secs(5);

const LIST: &str = "WITH RECURSIVE below(name) AS (
       SELECT $2::text UNION SELECT task.name FROM portcullis.task JOIN below ON task.parent = below.name)
     SELECT task.name, task.kind, task.agent, task.parent, task.depth, task.state, task.epoch, task.opened_ms, task.max_steps,
       task.max_depth, task.max_ms, task.max_micros, task.currency, task.steps, task.micros,
       greatest(0, (extract(epoch FROM clock_timestamp()) * 1000)::bigint - task.opened_ms),
       owner.host, owner.pid, coalesce(owner.lease_until > clock_timestamp(), false)
     FROM portcullis.task LEFT JOIN portcullis.owner ON owner.id = task.owner
     WHERE ($1::text IS NULL OR task.name = $1) AND ($2 IS NULL OR task.name IN (SELECT name FROM below))
       AND ($3::smallint IS NULL OR task.state = $3) AND ($4::text IS NULL OR task.kind = $4)
     ORDER BY task.id DESC LIMIT $5";

const HISTORY: &str = "SELECT from_state, to_state, actor, at_ms, notes
     FROM portcullis.task_change JOIN portcullis.task ON task.id = task_change.task WHERE task.name = $1 ORDER BY task_change.id";

/// Agent, seconds.
const SLEEP: &str =
    "INSERT INTO portcullis.agent(id, idle_until) VALUES($1, clock_timestamp() + $2 * interval '1 second')
     ON CONFLICT (id) DO UPDATE SET idle_until = excluded.idle_until";

/// Agent.
const WAKE: &str = "DELETE FROM portcullis.agent WHERE id = $1";

struct Book {
    runtime: Runtime,
    session: Session,
    shown: String,
    pid: u32,
}

pub(in crate::ledger) fn open(url: &str) -> Result<Box<dyn ReadTasks>, Refused> {
    let target = Target::from_url(url).map_err(|trouble| not_a_url(&trouble.to_string()))?;
    let shown = target.shown().to_owned();
    let refused = |trouble: Trouble| refuse(&shown, &trouble);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Refused::new(Kind::LedgerUnavailable, "ledger", "no runtime for a connection could be made").because(error)
    })?;
    let tls = match target.config.get_ssl_mode() {
        SslMode::Disable => None,
        _ => Some(Tls::new(target.roots.as_deref()).map_err(refused)?),
    };
    let opening = Session::open(&target, tls.as_ref(), Create::No, PATIENCE, None);
    let session = runtime.block_on(opening).map_err(refused)?;
    Ok(Box::new(Book { runtime, session, shown: shown.clone(), pid: std::process::id() }))
}

fn refuse(shown: &str, trouble: &Trouble) -> Refused {
    trouble.refuse("ledger", &format!("the ledger at {shown} can't be used"))
}

impl Book {
    fn query<T>(
        &self,
        statement: &str,
        values: &[Parameter<'_>],
        read: impl Fn(&Row) -> Result<T, Trouble>,
    ) -> Result<Vec<T>, Refused> {
        if self.pid != std::process::id() {
            let forked = Trouble::new(TroubleKind::Forked, "this process is a fork of the one that opened it");
            return Err(refuse(&self.shown, &forked));
        }
        let asked = self.runtime.block_on(self.session.client.query_typed(statement, values));
        let rows = asked.map_err(|error| refuse(&self.shown, &Trouble::from(error)))?;
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|trouble| refuse(&self.shown, &trouble))
    }
}

impl ReadTasks for Book {
    fn list(&mut self, filter: &TaskFilter) -> Result<Vec<TaskRecord>, Refused> {
        let TaskFilter { id, root, state, kind, .. } = filter;
        let (state, most) = (state.map(code), filter.most());
        let values: [Parameter<'_>; 5] =
            [(id, Type::TEXT), (root, Type::TEXT), (&state, Type::INT2), (kind, Type::TEXT), (&most, Type::INT8)];
        self.query(LIST, &values, record)
    }

    fn sleep(&mut self, agent: &str, time: Option<Duration>) -> Result<(), Refused> {
        let seconds = time.map(|time| time.as_secs_f64());
        let statement = if time.is_some() { SLEEP } else { WAKE };
        let values: [Parameter<'_>; 2] = [(&agent, Type::TEXT), (&seconds, Type::FLOAT8)];
        self.query(statement, &values[..if time.is_some() { 2 } else { 1 }], |_| Ok(())).map(drop)
    }

    fn history(&mut self, id: &str) -> Result<Vec<Change>, Refused> {
        self.query(HISTORY, &[(&id, Type::TEXT)], |row| {
            let (from, to) = (state(row.try_get(0)?)?, state(row.try_get(1)?)?);
            let notes: Option<String> = row.try_get(4)?;
            Ok(change((from, to), row.try_get(2)?, time(row.try_get(3)?), read_notes(notes.as_deref())))
        })
    }
}

fn record(row: &Row) -> Result<TaskRecord, Trouble> {
    let columns = Columns {
        max_steps: row.try_get(8)?,
        max_depth: row.try_get(9)?,
        max_ms: row.try_get(10)?,
        max_micros: row.try_get(11)?,
        currency: row.try_get(12)?,
        micros: row.try_get(14)?,
    };
    let (limits, cost) = columns.read().map_err(|why| Trouble::new(TroubleKind::Statement, why))?;
    let host: Option<String> = row.try_get(16)?;
    let owner = match host {
        Some(host) => Some(TaskOwner::new(host, row.try_get::<_, i32>(17)?.cast_unsigned(), row.try_get(18)?)),
        None => None,
    };
    let unsigned = |column: usize| row.try_get::<_, i64>(column).map(i64::unsigned_abs);
    Ok(TaskRecord {
        id: row.try_get(0)?,
        kind: row.try_get(1)?,
        agent: row.try_get(2)?,
        parent: row.try_get(3)?,
        depth: unsigned(4)?,
        state: state(row.try_get(5)?)?,
        entries: unsigned(6)?,
        opened_at: time(row.try_get(7)?),
        limits,
        steps: unsigned(13)?,
        cost,
        elapsed: Duration::from_millis(unsigned(15)?),
        owner,
    })
}
