//! Looking into a ledger from outside, and deciding what nobody else can: for operators, and for the command
//! `portcullis ledger`.

use std::sync::{Mutex, PoisonError};

use super::{Digest, Note};
use crate::refused::{Kind, Refused};
use archive::{Archive, Which};

mod acts;
pub(in crate::ledger) mod archive;
mod export;
mod record;

pub use acts::{By, Swept};
pub use export::Exported;
pub(in crate::ledger) use record::Found;
pub use record::{ClaimState, Event, Owner, Record};

/// A ledger, opened to be looked at and decided about.
///
/// It blocks: inside an async runtime, use it on a thread for blocking work. It makes no ledger, and no body is started by it.
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
    archive: Mutex<Box<dyn Archive>>,
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
    /// Opens the ledger at `sqlite:PATH`, or (with the feature `postgres`) at `postgres://…`.
    ///
    /// # Errors
    /// [`Kind::NotConfigured`] for a URL that can't be used; [`Kind::LedgerUnavailable`] if there is no ledger, or it can't be
    /// reached or opened, or is none, or was written by a newer release.
    pub fn open(url: &str) -> Result<Self, Refused> {
        Ok(Ledger { archive: Mutex::new(super::open_archive(url)?), pid: std::process::id() })
    }

    /// The claims that `filter` lets through, latest first.
    ///
    /// What is pending or in doubt is found by an index; for every other state each claim is looked at.
    ///
    /// # Errors
    /// [`Kind::LedgerUnavailable`] if it can't be read; [`Kind::Forked`] in a fork of the process that opened it.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Record>, Refused> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        self.with(|archive| archive.claims(&Which::Filtered(filter), limit))
    }

    /// The claim with this identity.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn show(&self, namespace: &str, action: &str, key: &str) -> Result<Option<Record>, Refused> {
        self.one(Digest::new(namespace, action, key))
    }

    fn one(&self, digest: Digest) -> Result<Option<Record>, Refused> {
        self.with(|archive| archive.claims(&Which::One(digest), 1)).map(|mut found| found.pop())
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
            Digest(std::array::from_fn(|i| u8::from_str_radix(&padded[2 * i..2 * i + 2], 16).unwrap_or_default()))
        };
        self.with(|archive| archive.claims(&Which::Between(bound('0'), bound('f')), usize::MAX))
    }

    /// What happened to a claim off the happy path, in order.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn events(&self, record: &Record) -> Result<Vec<Event>, Refused> {
        self.with(|archive| archive.events(record.digest()))
    }

    /// What bodies have noted beside a claim, in order.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn notes(&self, record: &Record) -> Result<Vec<Note>, Refused> {
        self.with(|archive| archive.notes(record.digest()))
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
        self.with(|archive| archive.verify())
    }

    fn with<T>(&self, work: impl FnOnce(&mut dyn Archive) -> Result<T, Refused>) -> Result<T, Refused> {
        if self.pid != std::process::id() {
            let why = "the ledger can't be used: this process is a fork of the one that opened it";
            return Err(Refused::new(Kind::Forked, "ledger", why)
                .advise("start a new process (`exec`) instead of going on in a fork"));
        }
        // Nothing of a transaction that panicked was written.
        let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut **archive)
    }
}
