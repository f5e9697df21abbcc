//! The database as an operator looks into it, decides about claims, and takes receipts away.
//!
//! # Invariants
//! 1. An act is decided about by what is read after its claim is locked, and written before that lock is given back.
//! 2. Each connection is an owner of its own, so that a chain of events has one writer.

mod visit;

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_postgres::types::{ToSql, Type};

use super::super::admin::archive::{Archive, BATCH, Deed, Logged, Which};
use super::super::admin::{By, ClaimState, Event, Found, Owner, Record};
use super::super::chain::Checked;
use super::super::rules::{self, Life, OnAct, State};
use super::super::{Digest, Note, row};
use super::desk::Desk;
use super::room::Parameter;
use super::rows::{self, Seen, bytes, text};
use super::target::Target;
use super::trouble::{Certainty, Trouble, TroubleKind};
use super::{sql, unusable};
use crate::clock::time;
use crate::refused::Refused;
use visit::Visit;

/// How long to try again what may be over in a moment, and how long the server may take for a statement.
const PATIENCE: Duration = Duration::from_secs(5);

struct PostgresArchive {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    visit: Visit,
}

/// Opens the ledger at `postgres://…`, if there is one.
pub(in crate::ledger) fn open_archive(url: &str) -> Result<Box<dyn Archive>, Refused> {
    let target = Target::from_url(url).map_err(|trouble| unusable(&trouble))?;
    let refuse = |trouble: &Trouble| refuse(target.shown(), trouble);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| refuse(&Trouble::new(TroubleKind::Unreachable, format!("no runtime for it: {error}"))))?;
    let mut archive = PostgresArchive { runtime: Some(runtime), visit: Visit::new(target.clone()) };
    archive.drive(Duration::ZERO, async |visit| visit.session().await.map(|_| ()))?;
    Ok(Box::new(archive))
}

fn refuse(shown: &str, trouble: &Trouble) -> Refused {
    let what = format!("the ledger at {shown} can't be used");
    match trouble.certainty() {
        Certainty::Nothing => trouble.refuse("ledger", &what),
        Certainty::Unknown => trouble.refuse("ledger", &format!("{what}, and what was asked for may have been done")),
    }
}

impl PostgresArchive {
    /// Does it on a thread of its own: the caller's may belong to an async runtime, in which no other can be entered. What has
    /// failed without doing anything is tried again for as long as `patience`.
    fn drive<T: Send>(
        &mut self,
        patience: Duration,
        mut work: impl AsyncFnMut(&mut Visit) -> Result<T, Trouble> + Send,
    ) -> Result<T, Refused> {
        let (runtime, visit) = (&self.runtime, &mut self.visit);
        let Some(runtime) = runtime else { unreachable!("it is there until it is dropped") };
        let until = Instant::now() + patience;
        let done = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("portcullis-ledger".to_owned());
            match thread.spawn_scoped(scope, || runtime.block_on(visit.try_until(until, &mut work))) {
                Ok(driving) => driving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(error) => Err(Trouble::new(TroubleKind::Unreachable, format!("no thread for it: {error}"))),
            }
        });
        done.map_err(|trouble| refuse(self.visit.target.shown(), &trouble))
    }

    fn do_it<T: Send>(&mut self, work: impl AsyncFnMut(&mut Visit) -> Result<T, Trouble> + Send) -> Result<T, Refused> {
        self.drive(PATIENCE, work)
    }
}

impl Drop for PostgresArchive {
    fn drop(&mut self) {
        // The other way would wait, which inside an async runtime is a panic.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for PostgresArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresArchive").field(&self.visit.target).finish()
    }
}

impl Archive for PostgresArchive {
    fn claims(&mut self, which: &Which<'_>, limit: usize) -> Result<Vec<Record>, Refused> {
        let Query { rest, values, wanted, whole } = Query::of(which, limit);
        let sql = format!("{}{rest}", sql::RECORDS);
        let found = self.do_it(async |visit| {
            let values: Vec<Parameter<'_>> = values.iter().map(|(value, kind)| (&**value as _, kind.clone())).collect();
            let rows = if whole { visit.query_whole(&sql, &values).await? } else { visit.query(&sql, &values).await? };
            rows.iter().map(record).collect::<Result<Vec<_>, _>>()
        })?;
        // A lease may have run out while it was read.
        Ok(found.into_iter().filter(|record| wanted.is_none_or(|state| state == record.state)).collect())
    }

    fn events(&mut self, digest: &Digest) -> Result<Vec<Event>, Refused> {
        let (sql, digest) = (format!("{}WHERE digest = $1 ORDER BY id", sql::EVENTS), digest.0.as_slice());
        self.do_it(async |visit| {
            let rows = visit.query(&sql, &[(&digest, Type::BYTEA)]).await?;
            rows.iter().map(|row| logged(row).map(Event::from)).collect()
        })
    }

    fn notes(&mut self, digest: &Digest) -> Result<Vec<Note>, Refused> {
        let digest = digest.0.as_slice();
        self.do_it(async |visit| {
            let rows = visit.query(sql::NOTES, &[(&digest, Type::BYTEA)]).await?;
            rows.iter().map(rows::note).collect()
        })
    }

    fn verify(&mut self) -> Result<Option<(i64, i64)>, Refused> {
        let sql = format!("{}WHERE (owner, seq) > ($1, $2) ORDER BY owner, seq LIMIT {BATCH}", sql::EVENTS);
        let mut checked = Checked::default();
        loop {
            let (owner, seq) = checked.last();
            let page = self.do_it(async |visit| {
                let rows = visit.query(&sql, &[(&owner, Type::INT8), (&seq, Type::INT8)]).await?;
                rows.iter().map(logged).collect::<Result<Vec<_>, _>>()
            })?;
            for logged in &page {
                if !checked.follows(logged.owner, logged.seq, &logged.entry(), &logged.hash) {
                    return Ok(Some((logged.owner, logged.seq)));
                }
            }
            if page.len() < BATCH {
                return Ok(None);
            }
        }
    }

    fn act(&mut self, deed: &Deed<'_>) -> Result<OnAct, Refused> {
        self.do_it(async |visit| visit.transact(async |desk| act(desk, deed).await).await)
    }

    fn sweep(&mut self, by: &By) -> Result<usize, Refused> {
        self.do_it(async |visit| visit.transact(async |desk| sweep(desk, by).await).await)
    }

    fn next_claims(&mut self, after: Option<&Digest>) -> Result<Vec<(Record, Vec<Note>)>, Refused> {
        let after = after.map_or(&[][..], |digest| &digest.0);
        let sql = format!("{}WHERE claim.digest > $1 ORDER BY claim.digest LIMIT {BATCH}", sql::RECORDS);
        self.do_it(async |visit| {
            let rows = visit.query(&sql, &[(&after, Type::BYTEA)]).await?;
            let records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
            let digests: Vec<&[u8]> = records.iter().map(|record| record.digest().0.as_slice()).collect();
            let mut notes: HashMap<Digest, Vec<Note>> = HashMap::new();
            for row in visit.query(sql::NOTES_OF, &[(&digests, Type::BYTEA_ARRAY)]).await? {
                notes.entry(Digest(bytes(&row, 3)?)).or_default().push(rows::note(&row)?);
            }
            let with_notes = records.into_iter().map(|record| {
                let notes = notes.remove(record.digest()).unwrap_or_default();
                (record, notes)
            });
            Ok(with_notes.collect())
        })
    }

    fn next_events(&mut self, after: i64) -> Result<Vec<Logged>, Refused> {
        let sql = format!("{}WHERE id > $1 ORDER BY id LIMIT {BATCH}", sql::EVENTS);
        self.do_it(async |visit| {
            let rows = visit.query(&sql, &[(&after, Type::INT8)]).await?;
            rows.iter().map(logged).collect()
        })
    }
}

async fn act(desk: &mut Desk<'_>, deed: &Deed<'_>) -> Result<OnAct, Trouble> {
    let digest = deed.digest.0.as_slice();
    // Invariant 1.
    desk.transaction.query_typed(sql::HOLD, &[(&digest, Type::BYTEA)]).await?;
    let Some(seen) = desk.locked(&deed.digest).await? else { return Ok(OnAct::Changed) };
    let decided = deed.decide(&seen.row, life(&seen), seen.now_ms);
    if let OnAct::Apply { to } = decided {
        desk.put(&deed.digest, &deed.outcome(to)).await?;
        let (actor, about) = (deed.by.actor(), Some((&deed.digest, seen.row.epoch)));
        let detail = deed.detail().to_string();
        desk.append(seen.now_ms, deed.event(), actor, deed.action, about, &detail).await?;
    }
    Ok(decided)
}

/// How many receipts it took away.
async fn sweep(desk: &mut Desk<'_>, by: &By) -> Result<usize, Trouble> {
    let (now, most) = (desk.now_ms(), BATCH as i64);
    let mut over = Vec::new();
    for due in &desk.transaction.query_typed(sql::DUE, &[(&now, Type::INT8), (&most, Type::INT8)]).await? {
        let state = row::state(due.try_get::<_, i16>(1)?.into())?;
        if rules::expires(state, Some(due.try_get(2)?), now) {
            over.push(bytes::<32>(due, 0)?);
        }
    }
    if !over.is_empty() {
        let digests: Vec<&[u8]> = over.iter().map(<[u8; 32]>::as_slice).collect();
        let to = i16::try_from(State::Expired.code()).unwrap_or(i16::MAX);
        let values: [Parameter<'_>; 2] = [(&digests, Type::BYTEA_ARRAY), (&to, Type::INT2)];
        desk.transaction.execute_typed(sql::EXPIRE, &values).await?;
        desk.transaction.execute_typed(sql::FORGET_NOTES, &values[..1]).await?;
        desk.append(now, "gc", by.actor(), "", None, &by.swept(over.len()).to_string()).await?;
    }
    Ok(over.len())
}

/// Which claims, in SQL.
struct Query {
    rest: String,
    values: Vec<(Box<dyn ToSql + Sync + Send>, Type)>,
    wanted: Option<ClaimState>,
    /// No index serves.
    whole: bool,
}

impl Query {
    fn of(which: &Which<'_>, limit: usize) -> Self {
        let mut query = Query { rest: String::from("WHERE "), values: Vec::new(), wanted: None, whole: false };
        match which {
            Which::One(digest) => query.equals("claim.digest", "=", digest.0.to_vec(), Type::BYTEA),
            Which::Between(from, to) => {
                query.equals("claim.digest", ">=", from.0.to_vec(), Type::BYTEA);
                query.rest.push_str(" AND ");
                query.equals("claim.digest", "<=", to.0.to_vec(), Type::BYTEA);
            }
            Which::Filtered(filter) => {
                query.rest.push_str(filter.states());
                query.wanted = filter.wanted();
                if let Some(state) = query.wanted {
                    query.rest.push_str(shown_as(state));
                }
                query.whole = !matches!(query.wanted, Some(ClaimState::Pending | ClaimState::InDoubt));
                let (namespace, action) = filter.names();
                for (column, name) in [("action.namespace", namespace), ("action.name", action)] {
                    if let Some(name) = name {
                        query.rest.push_str(" AND ");
                        query.equals(column, "=", text(name).into_owned(), Type::TEXT);
                    }
                }
            }
        }
        query.rest.push_str(" ORDER BY claim.claimed_ms DESC, claim.digest");
        if let Ok(limit) = i64::try_from(limit) {
            query.rest.push_str(&format!(" LIMIT {limit}"));
        }
        query
    }

    fn equals(&mut self, column: &str, operator: &str, value: impl ToSql + Sync + Send + 'static, kind: Type) {
        self.values.push((Box::new(value), kind));
        self.rest.push_str(&format!("{column} {operator} ${}", self.values.len()));
    }
}

/// What else must hold for a claim in one of [these states](super::super::admin::Filter::states) to be shown as `wanted`.
fn shown_as(wanted: ClaimState) -> &'static str {
    macro_rules! over {
        () => {
            "coalesce(claim.settled_ms + claim.retain_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint, false)"
        };
    }
    match wanted {
        ClaimState::Pending => " AND owner.lease_until > clock_timestamp()",
        ClaimState::InDoubt => " AND (claim.state = 3 OR coalesce(owner.lease_until <= clock_timestamp(), true))",
        ClaimState::Committed | ClaimState::Failed => concat!(" AND NOT ", over!()),
        ClaimState::Expired => concat!(" AND (claim.state = 5 OR ", over!(), ")"),
        ClaimState::Open => "",
    }
}

fn life(seen: &Seen) -> Life {
    if seen.holder.as_ref().is_some_and(|holder| holder.alive) { Life::Alive } else { Life::Dead }
}

/// A row of [`sql::RECORDS`].
fn record(row: &tokio_postgres::Row) -> Result<Record, Trouble> {
    let seen = Seen::read(row)?;
    let program: Option<String> = row.try_get(27)?;
    let owner = seen.holder.zip(program).map(|(holder, program)| Owner {
        id: seen.row.owner,
        host: holder.host,
        pid: holder.pid,
        program,
        since: time(holder.since_ms),
        alive: holder.alive,
    });
    Ok(Record::from(Found {
        digest: seen.digest,
        namespace: row.try_get(23)?,
        action: row.try_get(24)?,
        place: row.try_get(25)?,
        key: row.try_get(26)?,
        row: seen.row,
        owner,
        now_ms: seen.now_ms,
    }))
}

/// A row of [`sql::EVENTS`].
fn logged(row: &tokio_postgres::Row) -> Result<Logged, Trouble> {
    let digest: Option<&[u8]> = row.try_get(7)?;
    Ok(Logged {
        id: row.try_get(0)?,
        owner: row.try_get(1)?,
        seq: row.try_get(2)?,
        at_ms: row.try_get(3)?,
        kind: row.try_get(4)?,
        actor: row.try_get(5)?,
        action: row.try_get(6)?,
        digest: if digest.is_some() { Some(bytes(row, 7)?) } else { None },
        epoch: row.try_get(8)?,
        detail: row.try_get(9)?,
        hash: bytes(row, 10)?,
    })
}
