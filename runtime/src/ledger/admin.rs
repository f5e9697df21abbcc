//! Looking into a ledger from outside, and deciding what nobody else can: for operators, and for the command
//! `portcullis ledger`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::params_from_iter;
use rusqlite::types::Value;

use super::sqlite::rows::notes;
use super::{Digest, Note};
use crate::refused::{Kind, Refused};
use crate::sqlite::{Create, Database, Place, Trouble, TroubleKind, retry, time, verify};
use record::COLUMNS;

mod acts;
mod export;
mod record;

pub use acts::{By, Swept};
pub use export::Exported;
pub use record::{ClaimState, Event, Owner, Record};

/// How long to wait for a lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// A ledger, opened to be looked at and decided about.
///
/// It blocks: inside an async runtime, use it on a thread for blocking work. It makes no file, and starts nothing.
///
/// # Examples
/// ```no_run
/// use portcullis::ledger::{ClaimState, Filter, Ledger};
///
/// # fn main() -> Result<(), portcullis::Refused> {
/// let ledger = Ledger::open("sqlite:/var/lib/shop/ledger.sqlite")?;
/// for record in ledger.list(&Filter::new().state(ClaimState::InDoubt))? {
///     println!("{} {} has been in doubt since {:?}", record.action, record.key, record.claimed_at);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Ledger {
    database: Mutex<Database>,
    shown: String,
    pid: u32,
}

/// Which claims to list; all of them, unless it says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    namespace: Option<String>,
    action: Option<String>,
    state: Option<ClaimState>,
    limit: Option<usize>,
}

impl Filter {
    /// Every claim.
    #[must_use]
    pub fn new() -> Self {
        Filter::default()
    }

    /// Only this namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Only this action.
    #[must_use]
    pub fn action(mut self, action: impl Into<String>) -> Self {
        self.action = Some(action.into());
        self
    }

    /// Only claims that stand here.
    #[must_use]
    pub fn state(mut self, state: ClaimState) -> Self {
        self.state = Some(state);
        self
    }

    /// At most this many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }
}

impl Ledger {
    /// Opens the ledger at `sqlite:PATH`.
    ///
    /// # Errors
    /// [`Kind::NotConfigured`] for a URL that can't be used; [`Kind::LedgerUnavailable`] if there is no such file, or it
    /// can't be opened, or is no ledger, or was written by a newer release.
    pub fn open(url: &str) -> Result<Self, Refused> {
        let place = Place::from_url(url).map_err(|trouble| {
            Refused::new(Kind::NotConfigured, "ledger", format!("the ledger's URL can't be used: {trouble}"))
        })?;
        let shown = place.shown();
        match Database::open(&place, Create::No, Instant::now() + PATIENCE) {
            Ok(database) => Ok(Ledger { database: Mutex::new(database), shown, pid: std::process::id() }),
            Err(trouble) => Err(refuse(&shown, &trouble)),
        }
    }

    /// The claims that `filter` lets through, latest first.
    ///
    /// # Errors
    /// [`Kind::LedgerUnavailable`] if it can't be read; [`Kind::Forked`] in a fork of the process that opened it.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Record>, Refused> {
        let mut sql = format!("{COLUMNS} WHERE TRUE");
        let mut values = Vec::new();
        if let Some(namespace) = &filter.namespace {
            sql.push_str(" AND action.namespace = ?");
            values.push(Value::from(namespace.clone()));
        }
        if let Some(action) = &filter.action {
            sql.push_str(" AND action.name = ?");
            values.push(Value::from(action.clone()));
        }
        // What a row says and what is shown differ in two cases: pending with a dead owner, committed past its time.
        sql.push_str(match filter.state {
            None => "",
            Some(ClaimState::Pending) => " AND claim.state = 0",
            Some(ClaimState::Committed) => " AND claim.state = 1",
            Some(ClaimState::Failed) => " AND claim.state = 2",
            // As the partial index says it.
            Some(ClaimState::InDoubt) => " AND claim.state IN (0, 3)",
            Some(ClaimState::Open) => " AND claim.state = 4",
            Some(ClaimState::Expired) => " AND claim.state IN (1, 2, 5)",
        });
        sql.push_str(" ORDER BY claim.id DESC");
        let limit = filter.limit.unwrap_or(usize::MAX);
        self.read(|database| {
            records(database, &sql, &values, |record| filter.state.is_none_or(|state| state == record.state), limit)
        })
    }

    /// The claim with this identity.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn show(&self, namespace: &str, action: &str, key: &str) -> Result<Option<Record>, Refused> {
        let digest = Digest::new(namespace, action, key);
        let sql = format!("{COLUMNS} WHERE claim.digest = ?");
        let values = [Value::from(digest.0.to_vec())];
        self.read(|database| records(database, &sql, &values, |_| true, 1)).map(|mut found| found.pop())
    }

    /// The claims whose [`id`](Record::id) begins like this; messages show its first 16 digits.
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] if it is no hexadecimal number of at least 4 digits; else as [`list`](Self::list).
    pub fn find(&self, id: &str) -> Result<Vec<Record>, Refused> {
        let id = id.to_ascii_lowercase();
        if id.len() < 4 || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let why = "a claim's id is a hexadecimal number, of which at least the first 4 digits are needed";
            return Err(Refused::new(Kind::InvalidArgument, "ledger", why));
        }
        // As a range, so that the index on `digest` serves.
        let bound = |fill: char| {
            let padded = format!("{id}{}", fill.to_string().repeat(64 - id.len()));
            let digit = |i: usize| u8::from_str_radix(&padded[i..i + 2], 16).unwrap_or_default();
            Value::from((0..64).step_by(2).map(digit).collect::<Vec<u8>>())
        };
        let sql = format!("{COLUMNS} WHERE claim.digest BETWEEN ? AND ? ORDER BY claim.id DESC");
        let values = [bound('0'), bound('f')];
        self.read(|database| records(database, &sql, &values, |_| true, usize::MAX))
    }

    /// What happened to a claim off the happy path, in order.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn events(&self, record: &Record) -> Result<Vec<Event>, Refused> {
        let digest = Digest::new(&record.namespace, &record.action, &record.key);
        self.read(|database| {
            let mut statement = database
                .connection()?
                .prepare("SELECT at_ms, kind, actor, action, epoch, detail FROM event WHERE digest = ? ORDER BY id")?;
            let events = statement.query_map([digest.0], |row| {
                let detail: String = row.get(5)?;
                Ok(Event {
                    at: time(row.get(0)?),
                    kind: row.get(1)?,
                    actor: row.get(2)?,
                    action: row.get(3)?,
                    epoch: row.get(4)?,
                    detail: serde_json::from_str(&detail).unwrap_or(serde_json::Value::String(detail)),
                })
            })?;
            Ok(events.collect::<Result<_, _>>()?)
        })
    }

    /// What bodies have noted beside a claim, in order.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn notes(&self, record: &Record) -> Result<Vec<Note>, Refused> {
        let digest = Digest::new(&record.namespace, &record.action, &record.key);
        self.read(|database| notes(database.connection()?, &digest))
    }

    /// Checks the hash chains of the events: `None` if every line is what was once written, else where the first one is
    /// that is not, as owner and line.
    ///
    /// It finds lines that were changed, or taken out of the middle. It can't find lines taken off the end, nor a chain
    /// that somebody wrote anew from its beginning.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn verify_events(&self) -> Result<Option<(i64, i64)>, Refused> {
        self.read(|database| verify(database.connection()?))
    }

    fn read<T>(&self, body: impl Fn(&Database) -> Result<T, Trouble>) -> Result<T, Refused> {
        self.with(|database| retry(Instant::now() + PATIENCE, || body(database)))
    }

    fn with<T>(&self, body: impl FnOnce(&mut Database) -> Result<T, Trouble>) -> Result<T, Refused> {
        if self.pid != std::process::id() {
            let forked = Trouble::new(TroubleKind::Forked, "this process is a fork of the one that opened it");
            return Err(refuse(&self.shown, &forked));
        }
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        body(&mut database).map_err(|trouble| refuse(&self.shown, &trouble))
    }
}

fn refuse(shown: &str, trouble: &Trouble) -> Refused {
    trouble.refuse("ledger", &format!("the ledger at {shown} can't be used"))
}

fn records(
    database: &Database,
    sql: &str,
    values: &[Value],
    wanted: impl Fn(&Record) -> bool,
    limit: usize,
) -> Result<Vec<Record>, Trouble> {
    let mut statement = database.connection()?.prepare(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if found.len() >= limit {
            break;
        }
        let record = record::read(database, row)?;
        if wanted(&record) {
            found.push(record);
        }
    }
    Ok(found)
}
