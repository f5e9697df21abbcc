//! The file as an operator looks into it, decides about claims, and takes receipts away.

use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::super::admin::archive::{Archive, BATCH, Deed, Logged, Which};
use super::super::admin::{By, Event, Found, Owner, Record};
use super::super::rules::{self, Life, OnAct, State};
use super::super::{Digest, Note};
use super::rows;
use crate::refused::{Kind, Refused};
use crate::sqlite::{
    ChainEntry, Create, Database, Failure, Flush, Holder, OwnerId, Place, SideFile, Trouble, append, holder, now_ms,
    retry, time, verify,
};

/// How long to wait for a lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// Receipts whose time is over, as the partial index says it.
const DUE: &str = "SELECT id, digest, state, settled_ms + retain_ms FROM claim
    WHERE retain_ms IS NOT NULL AND state IN (1, 2) AND settled_ms + retain_ms <= ?1 LIMIT ?2";

/// Which claim and in which words, before what [`rows::read`] takes.
const NAMES: &str = "claim.digest, action.namespace, action.name, action.place, claim.key";
const NAMED: usize = 5;

#[derive(Debug)]
struct SqliteArchive {
    database: Database,
    shown: String,
}

/// Opens the ledger at `sqlite:PATH`, if there is one.
pub(in crate::ledger) fn open_archive(url: &str) -> Result<Box<dyn Archive>, Refused> {
    let place = Place::from_url(url).map_err(|trouble| {
        Refused::new(Kind::NotConfigured, "ledger", format!("the ledger's URL can't be used: {trouble}"))
    })?;
    let shown = place.shown();
    match Database::open(&place, Create::No, Instant::now() + PATIENCE) {
        Ok(database) => Ok(Box::new(SqliteArchive { database, shown })),
        Err(trouble) => Err(refuse(&shown, &trouble)),
    }
}

fn refuse(shown: &str, trouble: &Trouble) -> Refused {
    trouble.refuse("ledger", &format!("the ledger at {shown} can't be used"))
}

impl SqliteArchive {
    fn read<T>(&self, body: impl Fn(&Database) -> Result<T, Trouble>) -> Result<T, Refused> {
        retry(Instant::now() + PATIENCE, || body(&self.database)).map_err(|trouble| refuse(&self.shown, &trouble))
    }

    fn write<T>(
        &mut self,
        body: impl FnOnce(&Connection, Option<&SideFile>, OwnerId) -> Result<T, Trouble>,
    ) -> Result<T, Refused> {
        let until = Instant::now() + PATIENCE;
        let written = self.database.enrol(until).and_then(|owner| {
            super::bring_in(&mut self.database, owner, until)?;
            let side = self.database.side().cloned();
            self.database
                .write(until, Flush::Disk, |connection| body(connection, side.as_deref(), owner))
                .map_err(Failure::trouble)
        });
        written.map_err(|trouble| refuse(&self.shown, &trouble))
    }
}

impl Archive for SqliteArchive {
    fn claims(&mut self, which: &Which<'_>, limit: usize) -> Result<Vec<Record>, Refused> {
        let mut condition = String::new();
        let mut values = Vec::new();
        let wanted = match which {
            Which::Filtered(filter) => {
                condition.push_str(filter.states());
                let (namespace, action) = filter.names();
                for (column, text) in [("action.namespace", namespace), ("action.name", action)] {
                    if let Some(text) = text {
                        condition.push_str(&format!(" AND {column} = ?"));
                        values.push(Value::from(text.to_owned()));
                    }
                }
                filter.wanted()
            }
            Which::One(digest) => {
                condition.push_str("claim.digest = ?");
                values.push(Value::from(digest.0.to_vec()));
                None
            }
            Which::Between(from, to) => {
                condition.push_str("claim.digest BETWEEN ? AND ?");
                values.extend([from, to].map(|bound| Value::from(bound.0.to_vec())));
                None
            }
        };
        let rest = format!("WHERE {condition} ORDER BY claim.id DESC");
        self.read(|database| {
            records(database, &rest, &values, |record| wanted.is_none_or(|state| state == record.state), limit)
        })
    }

    fn events(&mut self, digest: &Digest) -> Result<Vec<Event>, Refused> {
        let rest = "WHERE digest = ? ORDER BY id";
        self.read(|database| logged(database.connection()?, rest, &[Value::from(digest.0.to_vec())]))
            .map(|lines| lines.into_iter().map(Event::from).collect())
    }

    fn notes(&mut self, digest: &Digest) -> Result<Vec<Note>, Refused> {
        self.read(|database| rows::notes(database.connection()?, digest))
    }

    fn verify(&mut self) -> Result<Option<(i64, i64)>, Refused> {
        self.read(|database| verify(database.connection()?))
    }

    fn act(&mut self, deed: &Deed<'_>) -> Result<OnAct, Refused> {
        self.write(|connection, side, owner| {
            let Some(row) = rows::find(connection, &deed.digest)? else { return Ok(OnAct::Changed) };
            let (alive, now) = (life(holder(connection, side, OwnerId(row.owner))?.as_ref()), now_ms());
            let decided = deed.decide(&row, alive, now);
            if let OnAct::Apply { to } = decided {
                rows::put(connection, row.id, &deed.outcome(to), now)?;
                let entry = ChainEntry {
                    at_ms: now,
                    kind: deed.event(),
                    actor: deed.by.actor(),
                    action: deed.action,
                    digest: Some(&deed.digest.0),
                    epoch: Some(row.epoch.cast_signed()),
                    detail: &deed.detail().to_string(),
                };
                append(connection, owner, &entry)?;
            }
            Ok(decided)
        })
    }

    fn sweep(&mut self, by: &By) -> Result<usize, Refused> {
        self.write(|connection, _, owner| sweep(connection, owner, by))
    }

    fn next_claims(&mut self, after: Option<&Digest>) -> Result<Vec<(Record, Vec<Note>)>, Refused> {
        let rest = "WHERE claim.id > coalesce((SELECT id FROM claim WHERE digest = ?), 0) ORDER BY claim.id";
        let values = [after.map_or(Value::Null, |digest| Value::from(digest.0.to_vec()))];
        self.read(|database| {
            let found = records(database, rest, &values, |_| true, BATCH)?;
            let connection = database.connection()?;
            found
                .into_iter()
                .map(|record| {
                    let notes = rows::notes(connection, record.digest())?;
                    Ok((record, notes))
                })
                .collect()
        })
    }

    fn next_events(&mut self, after: i64) -> Result<Vec<Logged>, Refused> {
        let values = [Value::from(after), Value::from(BATCH as i64)];
        self.read(|database| logged(database.connection()?, "WHERE id > ? ORDER BY id LIMIT ?", &values))
    }
}

fn life(holder: Option<&Holder>) -> Life {
    if holder.is_some_and(|holder| holder.alive) { Life::Alive } else { Life::Dead }
}

fn records(
    database: &Database,
    rest: &str,
    values: &[Value],
    wanted: impl Fn(&Record) -> bool,
    limit: usize,
) -> Result<Vec<Record>, Trouble> {
    let connection = database.connection()?;
    let sql = format!("SELECT {NAMES}, {} FROM claim JOIN action ON action.id = claim.action {rest}", rows::COLUMNS);
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        let record = record(database, row)?;
        if wanted(&record) {
            found.push(record);
        }
    }
    Ok(found)
}

fn record(database: &Database, row: &Row<'_>) -> Result<Record, Trouble> {
    let claim = rows::read(row, NAMED)?.into_row();
    let side = database.side().map(|side| &**side);
    let owner = holder(database.connection()?, side, OwnerId(claim.owner))?.map(Owner::from);
    Ok(Record::from(Found {
        digest: Digest(row.get(0)?),
        namespace: row.get(1)?,
        action: row.get(2)?,
        place: row.get(3)?,
        key: row.get(4)?,
        row: claim,
        owner,
        now_ms: now_ms(),
    }))
}

impl From<Holder> for Owner {
    fn from(holder: Holder) -> Self {
        Owner {
            id: holder.id.0,
            host: holder.host,
            pid: holder.pid,
            program: holder.program,
            since: time(holder.since_ms),
            alive: holder.alive,
        }
    }
}

fn logged(connection: &Connection, rest: &str, values: &[Value]) -> Result<Vec<Logged>, Trouble> {
    let mut statement = connection.prepare(&format!(
        "SELECT id, owner, seq, at_ms, kind, actor, action, digest, epoch, detail, hash FROM event {rest}"
    ))?;
    let lines = statement.query_map(params_from_iter(values), |row| {
        Ok(Logged {
            id: row.get(0)?,
            owner: row.get(1)?,
            seq: row.get(2)?,
            at_ms: row.get(3)?,
            kind: row.get(4)?,
            actor: row.get(5)?,
            action: row.get(6)?,
            digest: row.get(7)?,
            epoch: row.get(8)?,
            detail: row.get(9)?,
            hash: row.get(10)?,
        })
    })?;
    Ok(lines.collect::<Result<_, _>>()?)
}

fn sweep(connection: &Connection, owner: OwnerId, by: &By) -> Result<usize, Trouble> {
    let now = now_ms();
    let mut found = connection.prepare_cached(DUE)?;
    let rows = found.query_map(params![now, BATCH as i64], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
    })?;
    let mut expired = 0;
    for row in rows.collect::<Result<Vec<_>, _>>()? {
        let (id, digest, state, kept_until) = row;
        if !rules::expires(rows::state(state)?, Some(kept_until), now) {
            continue;
        }
        connection
            .prepare_cached("UPDATE claim SET state = ?2, receipt = NULL, sealed = 0, loss = 0 WHERE id = ?1")?
            .execute(params![id, State::Expired.code()])?;
        connection.prepare_cached("DELETE FROM note WHERE digest = ?1")?.execute([digest])?;
        expired += 1;
    }
    if expired > 0 {
        let entry = ChainEntry {
            at_ms: now,
            kind: "gc",
            actor: by.actor(),
            action: "",
            digest: None,
            epoch: None,
            detail: &by.swept(expired).to_string(),
        };
        append(connection, owner, &entry)?;
    }
    Ok(expired)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_found_without_looking_at_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::File(dir.path().join("ledger.sqlite"));
        let database = Database::open(&place, Create::Yes, Instant::now() + PATIENCE).unwrap();
        let explain = format!("EXPLAIN QUERY PLAN {DUE}");
        let plan: String = database.connection().unwrap().query_row(&explain, params![0, 1], |row| row.get(3)).unwrap();
        assert!(plan.starts_with("SEARCH claim USING INDEX claim_expiry"), "{plan}");
    }
}
