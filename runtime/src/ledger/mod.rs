//! The durable record of claims and receipts.
//!
//! # Invariants
//! 1. A body runs only under a claim whose commit the store has acknowledged.
//! 2. A new epoch is granted only when the epoch before it is known not to have happened.
//! 3. A settlement changes a claim only if its epoch and attempt are the claim's own.
//! 4. The payload's fingerprint is compared before anything else, in every state.
//! 5. What fails is treated as unknown: a claim that may have been committed is released, never assumed free; a
//!    settlement that may have been lost is `unsettled`, never assumed done.

use std::time::{Duration, Instant, SystemTime};

use uuid::Uuid;

use crate::refused::Refused;

pub(crate) mod chain;
mod doubt;
mod events;
pub(crate) mod fingerprint;
mod inside;
pub(crate) mod key;
pub(crate) mod mail;
mod messages;
#[cfg(feature = "postgres")]
mod postgres;
pub(crate) mod program;
mod receipts;
mod row;
pub(crate) mod rules;
pub(crate) mod tasks;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod admin;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use crate::__batch as batch;
pub use crate::guard::{Batch, BatchItem};
pub(crate) use crate::ticket::{Reply, Ticket};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use admin::{By, ClaimState, Event, Exported, Filter, Ledger, Owner, Record, Swept};
pub(crate) use doubt::Evidence;
pub use doubt::{Doubt, Note, Reconciled};
pub(crate) use inside::Inside;
pub use inside::SettleIn;
pub use mail::Mailbox;
pub(crate) use receipts::Receipts;
pub use receipts::{Seal, Sealing};
pub(crate) use rules::Ways;
pub(crate) use tasks::{TaskAnswer, TaskRequest};
pub use tasks::{TaskBook, TaskFilter, TaskOwner, TaskRecord};

/// The identity of a claim: BLAKE3 over the length-prefixed namespace, action and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

/// The fingerprint of the payload: every parameter that is not skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(crate) [u8; 32]);

/// One start of a body, named by the caller, so that a lost acknowledgement is asked again and not guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attempt(pub(crate) Uuid);

/// What a caller wants to do once.
#[derive(Clone, Debug)]
pub(crate) struct ClaimRequest {
    pub(crate) namespace: String,
    pub(crate) action: String,
    /// Where in the code a *defaulted* action stands; `None` if the code names its action.
    pub(crate) place: Option<String>,
    pub(crate) key: String,
    pub(crate) digest: Digest,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) attempt: Attempt,
    /// How long to wait for a live duplicate's receipt. `None`: not at all.
    pub(crate) wait_until: Option<Instant>,
    /// How long the receipt is to be kept. `None`: for ever.
    pub(crate) retain: Option<Duration>,
    /// The effect and the settlement are one transaction in the ledger's own database.
    pub(crate) transactional: bool,
    /// What the caller can do about a doubt.
    pub(crate) ways: Ways,
    /// What it has found out about one: applied first, once, and only if that doubt is still the one that stands.
    pub(crate) resolution: Option<Resolution>,
}

/// What a reconcile function has found out about one doubt.
#[derive(Clone, Debug)]
pub(crate) struct Resolution {
    pub(crate) epoch: u64,
    pub(crate) attempt: Attempt,
    pub(crate) verdict: Verdict,
}

/// What happened, as far as the provider knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Happened(Receipt),
    DidNotHappen,
    Unknown,
}

/// What the caller must do next.
#[derive(Debug)]
#[must_use = "it says whether the body may run"]
pub(crate) enum Claimed {
    /// Run the body, then settle with this epoch.
    Run { epoch: u64 },
    /// Give this receipt again.
    Replay(Kept),
    /// Give this recorded error again.
    ReplayError(Kept),
    /// It is in doubt, and may be asked about: claim again with a [`Resolution`].
    Reconcile(Box<Evidence>),
    /// Do not run.
    Refuse(Refused),
}

/// A result or a recorded error, as the ledger holds it: JSON, or what a seal has made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) text: String,
    pub(crate) sealed: bool,
}

/// What is left of a committed claim's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    Kept(Kept),
    /// A person committed it without one.
    Absent,
    /// It can't be written as JSON.
    Unencodable,
    TooLarge,
    /// The seal failed, and without it nothing is stored.
    Unsealed,
}

/// How a started body ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    /// It happened.
    Committed(Receipt),
    /// The error is the outcome (`on_err = "record"`).
    Failed(Kept),
    /// Nobody knows: the text says how it ended (`panic`, `cancelled`, `err`).
    InDoubt(&'static str),
    /// It has not ended, and was to have: in doubt, while the body runs on.
    Overdue,
    /// The effect surely did not happen: the key is free again, for the same payload.
    Released(&'static str),
}

/// A settlement on its way to the store.
#[derive(Clone, Debug)]
pub(crate) struct SettleRequest {
    pub(crate) digest: Digest,
    pub(crate) epoch: u64,
    pub(crate) attempt: Attempt,
    pub(crate) settlement: Settlement,
    /// Its flush is not waited for.
    pub(crate) lazy: bool,
}

/// A note from inside a body, on its way to the store.
#[derive(Clone, Debug)]
pub(crate) struct NoteRequest {
    pub(crate) digest: Digest,
    pub(crate) epoch: u64,
    pub(crate) action: String,
    pub(crate) note: Vec<u8>,
}

/// What became of a settlement.
#[derive(Debug)]
#[must_use = "a settlement may not have taken effect"]
pub(crate) enum Settled {
    /// It is on record, durably.
    Recorded,
    /// A newer attempt or a person decided otherwise: kept as evidence, changed nothing.
    Fenced,
    /// The store could not record it (the text says why).
    Unsettled(String),
}

/// One line of the audit chain: everything that is not the happy path.
#[derive(Clone, Debug)]
pub(crate) struct AuditRecord {
    /// `denied`, `refused`, `in_doubt`, …
    pub(crate) kind: &'static str,
    pub(crate) actor: String,
    pub(crate) action: String,
    /// Anything else worth knowing, as one JSON object.
    pub(crate) detail: serde_json::Value,
    pub(crate) at: SystemTime,
}

/// A place that keeps claims. Every method returns at once. A claim or a settlement is begun at the latest when its ticket is polled,
/// waited for or dropped; everything else with the call. What is begun is done in that order: by the store's own threads, or on
/// the thread of a caller that blocks anyway.
///
/// A caller that drops the ticket of a claim before it is answered gives the claim up: the store releases it.
pub(crate) trait Store: Send + Sync + std::fmt::Debug {
    fn claim(&self, request: ClaimRequest) -> Ticket<Claimed>;
    fn settle(&self, request: SettleRequest) -> Ticket<Settled>;
    /// Puts a note beside a claim, durably. It changes nothing, so it is taken from every attempt, also from one that is outdated.
    fn note(&self, request: NoteRequest) -> Ticket<Result<(), Refused>>;
    /// Enters, charges or leaves a durable task. An entry whose ticket is dropped before it is answered is left again.
    fn task(&self, request: TaskRequest) -> Ticket<TaskAnswer>;
    /// Appended with the next commit. The ticket resolves when the record survives the end of this process (it survives a
    /// power cut as soon as anything else is flushed: a record is never flushed for itself).
    fn audit(&self, record: AuditRecord) -> Ticket<()>;
    /// Refuses new claims from now on, and resolves to `true` once every claim it granted is settled and on disk, or to
    /// `false` at `until`.
    fn drain(&self, until: Instant) -> Ticket<bool>;
}

/// The store that `url` names (`sqlite:PATH`, `postgres://…`). Reads the URL and no more. `lease`: how long a process that is
/// on another machine's ledger is taken for alive without a word of it.
#[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "one machine needs no lease"))]
pub(crate) fn open(url: &str, lease: Duration) -> Result<std::sync::Arc<dyn Store>, Refused> {
    match scheme(url) {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => postgres::open(url, lease),
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => Err(missing("postgres")),
        #[cfg(feature = "sqlite")]
        _ => sqlite::open(url),
        #[cfg(not(feature = "sqlite"))]
        _ => Err(missing("sqlite")),
    }
}

/// The ledger that `url` names, for whoever looks into it from outside, if there is one.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn open_archive(url: &str) -> Result<Box<dyn admin::archive::Archive>, Refused> {
    match scheme(url) {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => postgres::open_archive(url),
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => Err(missing("postgres")),
        #[cfg(feature = "sqlite")]
        _ => sqlite::open_archive(url),
        #[cfg(not(feature = "sqlite"))]
        _ => Err(missing("sqlite")),
    }
}

/// The tasks of the ledger that `url` names, to be looked at.
fn open_tasks(url: &str) -> Result<Box<dyn tasks::ReadTasks>, Refused> {
    match scheme(url) {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => postgres::open_tasks(url),
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => Err(missing("postgres")),
        #[cfg(feature = "sqlite")]
        _ => sqlite::open_tasks(url),
        #[cfg(not(feature = "sqlite"))]
        _ => Err(missing("sqlite")),
    }
}

/// The messages of the ledger that `url` names.
fn open_mail(url: &str) -> Result<Box<dyn mail::KeepMail>, Refused> {
    match scheme(url) {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => postgres::open_mail(url),
        #[cfg(not(feature = "postgres"))]
        "postgres" | "postgresql" => Err(missing("postgres")),
        #[cfg(feature = "sqlite")]
        _ => sqlite::open_mail(url),
        #[cfg(not(feature = "sqlite"))]
        _ => Err(missing("sqlite")),
    }
}

fn scheme(url: &str) -> &str {
    url.split_once(':').map_or("", |(scheme, _)| scheme)
}

/// There is no store without the feature that brings it.
#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
fn missing(feature: &str) -> Refused {
    let why = format!("the ledger that is configured needs portcullis' feature `{feature}`, which is not compiled in");
    Refused::new(crate::refused::Kind::LedgerUnavailable, "portcullis", why)
        .advise("turn the feature on, or name another ledger in `PORTCULLIS_LEDGER`")
}

/// A store that forgets everything with the process: for `portcullis::testing`.
#[cfg(feature = "testing")]
pub(crate) fn open_in_memory() -> std::sync::Arc<dyn Store> {
    sqlite::open_in_memory()
}

/// Where the ledger lies unless it is configured: `portcullis/ledger.sqlite` in the user's state directory. `None` for a
/// user without a home.
#[cfg(feature = "sqlite")]
#[must_use]
pub fn default_path() -> Option<std::path::PathBuf> {
    crate::sqlite::default_path()
}
