//! Looking into a ledger from outside: for operators, and for the command `portcullis ledger`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};
use serde::{Serialize, Serializer};

use super::Digest;
use super::key::hex;
use super::rules::State;
use crate::refused::{Kind, Refused};
use crate::sqlite::{
    Create, Database, Holder, OwnerId, Place, Trouble, TroubleKind, holder, now_ms, retry, time, verify,
};

/// How long to wait for a lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// A ledger, opened to be looked at.
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

/// Where a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClaimState {
    /// Its body is running.
    Pending,
    /// It happened.
    Committed,
    /// Its error is the outcome.
    Failed,
    /// Its body was started, and nobody knows how that ended. Also what a dead process left pending.
    InDoubt,
    /// It surely did not happen: the key is free, for the same payload.
    Open,
    /// It happened, and its receipt is no longer kept.
    Expired,
}

impl ClaimState {
    /// Every state there is.
    pub const ALL: [ClaimState; 6] = [
        ClaimState::Pending,
        ClaimState::Committed,
        ClaimState::Failed,
        ClaimState::InDoubt,
        ClaimState::Open,
        ClaimState::Expired,
    ];

    /// The stable name, such as `in_doubt`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ClaimState::Pending => "pending",
            ClaimState::Committed => "committed",
            ClaimState::Failed => "failed",
            ClaimState::InDoubt => "in_doubt",
            ClaimState::Open => "open",
            ClaimState::Expired => "expired",
        }
    }
}

impl std::fmt::Display for ClaimState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A process that has written to a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Owner {
    /// Its number in this ledger.
    pub id: i64,
    /// The machine's name.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// Its program's file name.
    pub program: String,
    /// When it first wrote.
    #[serde(serialize_with = "rfc3339")]
    pub since: SystemTime,
    /// It still runs: the kernel holds its lock.
    pub alive: bool,
}

/// One claim as the ledger holds it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Record {
    /// The claim's identity, in hexadecimal. What messages show the beginning of.
    pub id: String,
    /// The configured namespace.
    pub namespace: String,
    /// The action.
    pub action: String,
    /// Where in the code a defaulted action stands.
    pub place: Option<String>,
    /// The key's text.
    pub key: String,
    /// Where the claim stands.
    pub state: ClaimState,
    /// How many starts were granted.
    pub epoch: u64,
    /// The latest attempt's id.
    pub attempt: String,
    /// The process of the latest attempt.
    pub owner: Option<Owner>,
    /// When the latest attempt began.
    #[serde(serialize_with = "rfc3339")]
    pub claimed_at: SystemTime,
    /// When it came to where it stands.
    #[serde(serialize_with = "maybe_rfc3339")]
    pub settled_at: Option<SystemTime>,
    /// Until when the receipt is kept, if not for ever.
    #[serde(serialize_with = "maybe_rfc3339")]
    pub kept_until: Option<SystemTime>,
    /// How an attempt in doubt, or one that was released, ended.
    pub ended: Option<String>,
    /// The receipt, or the recorded error.
    pub receipt: Option<serde_json::Value>,
    /// The payload's fingerprint, in hexadecimal.
    pub fingerprint: String,
}

/// Something that happened off the happy path.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: SystemTime,
    /// What, such as `in_doubt` or `device_revoked`.
    pub kind: String,
    /// Who.
    pub actor: String,
    /// The action that it was about.
    pub action: String,
    /// Which start of the claim it was about.
    pub epoch: Option<i64>,
    /// The rest.
    pub detail: serde_json::Value,
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

const COLUMNS: &str =
    "SELECT claim.digest, action.namespace, action.name, action.place, claim.key, claim.state, claim.epoch,
    claim.attempt, claim.owner, claim.claimed_ms, claim.settled_ms, claim.retain_ms, claim.ended, claim.receipt,
    claim.fingerprint FROM claim JOIN action ON action.id = claim.action";

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
            Some(ClaimState::Expired) => " AND claim.state IN (1, 5)",
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
        if self.pid != std::process::id() {
            let forked = Trouble::new(TroubleKind::Forked, "this process is a fork of the one that opened it");
            return Err(refuse(&self.shown, &forked));
        }
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        retry(Instant::now() + PATIENCE, || body(&database)).map_err(|trouble| refuse(&self.shown, &trouble))
    }
}

fn refuse(shown: &str, trouble: &Trouble) -> Refused {
    trouble.refuse("ledger", &format!("the ledger at {shown} can't be read"))
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
        let record = record(database, row)?;
        if wanted(&record) {
            found.push(record);
        }
    }
    Ok(found)
}

fn record(database: &Database, row: &Row<'_>) -> Result<Record, Trouble> {
    let side = database.side().map(|side| &**side);
    let owner = holder(database.connection()?, side, OwnerId(row.get(8)?))?.map(Owner::from);
    let code: i64 = row.get(5)?;
    let state = State::from_code(code).ok_or_else(|| {
        Trouble::new(TroubleKind::Statement, format!("a claim's state is {code}, which this release does not know"))
    })?;
    let settled_ms: Option<i64> = row.get(10)?;
    let retain_ms: Option<i64> = row.get(11)?;
    let kept_until = settled_ms.zip(retain_ms).map(|(settled, retain)| settled.saturating_add(retain));
    let alive = owner.as_ref().is_some_and(|owner| owner.alive);
    let state = match state {
        State::Pending if alive => ClaimState::Pending,
        State::Pending | State::InDoubt => ClaimState::InDoubt,
        State::Committed if kept_until.is_some_and(|until| until <= now_ms()) => ClaimState::Expired,
        State::Committed => ClaimState::Committed,
        State::Failed => ClaimState::Failed,
        State::Open => ClaimState::Open,
        State::Expired => ClaimState::Expired,
    };
    let receipt: Option<String> = row.get(13)?;
    let attempt: [u8; 16] = row.get(7)?;
    Ok(Record {
        id: hex(&row.get::<_, [u8; 32]>(0)?),
        namespace: row.get(1)?,
        action: row.get(2)?,
        place: row.get(3)?,
        key: row.get(4)?,
        state,
        epoch: row.get::<_, i64>(6)?.unsigned_abs(),
        attempt: uuid::Uuid::from_bytes(attempt).to_string(),
        owner,
        claimed_at: time(row.get(9)?),
        settled_at: settled_ms.map(time),
        kept_until: kept_until.map(time),
        ended: row.get(12)?,
        receipt: receipt.map(|text| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))),
        fingerprint: hex(&row.get::<_, [u8; 32]>(14)?),
    })
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

fn rfc3339<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*at))
}

fn maybe_rfc3339<S: Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, serializer),
        None => serializer.serialize_none(),
    }
}
