//! What a reconcile function is told, and what it may answer.

use std::fmt;
use std::time::SystemTime;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::key::hex;
use super::{Attempt, Digest};

/// What really happened, as far as the provider knows: the answer of `reconcile = …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reconciled<T> {
    /// It happened, and this is its result: it becomes the receipt, and is returned.
    Happened(T),
    /// It surely did not happen, and can't happen any more: the body runs again, under the next epoch.
    DidNotHappen,
    /// The provider does not know either: the call stays in doubt.
    Unknown,
}

/// A call that is in doubt: what `reconcile = …` is asked about.
///
/// Its body is over: it has returned, panicked or been dropped, or its process is dead.
#[derive(Clone, PartialEq, Eq)]
pub struct Doubt {
    action: String,
    key: String,
    idempotency_key: String,
    evidence: Evidence,
}

/// What the ledger knows about a doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) epoch: u64,
    pub(crate) attempt: Attempt,
    pub(crate) started_at: SystemTime,
    pub(crate) ended: Option<String>,
    pub(crate) notes: Vec<Note>,
}

/// A note that a body has left with `claim.note(…)`.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// Which start of the claim left it.
    pub epoch: u64,
    /// When, by the ledger's clock.
    pub at: SystemTime,
    /// What the body wrote.
    pub bytes: Vec<u8>,
}

impl Doubt {
    pub(crate) fn new(action: &str, key: &str, digest: &Digest, evidence: Evidence) -> Self {
        Doubt { action: action.into(), key: key.into(), idempotency_key: digest.idempotency_key(), evidence }
    }

    /// The action, such as `orders.refund`.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.action
    }

    /// The key's text, as the ledger shows it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What `claim.idempotency_key()` gave to the body: the same for every attempt.
    #[must_use]
    pub fn idempotency_key(&self) -> &str {
        &self.idempotency_key
    }

    /// Which start of the claim is in doubt: 1 for the first.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.evidence.epoch
    }

    /// When the first of the starts whose outcome is unknown was granted, by the ledger's clock: the effect is no older.
    #[must_use]
    pub fn started_at(&self) -> SystemTime {
        self.evidence.started_at
    }

    /// How it ended, as far as the ledger knows, such as `panic`.
    #[must_use]
    pub fn ended(&self) -> Option<&str> {
        self.evidence.ended.as_deref()
    }

    /// What bodies have noted under this key with `claim.note(…)`, in order. The start in doubt may have left none: look at
    /// [`Note::epoch`].
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.evidence.notes
    }

    pub(crate) fn attempt(&self) -> Attempt {
        self.evidence.attempt
    }
}

impl fmt::Debug for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key and the notes, which may be anybody's data.
        f.debug_struct("Doubt").field("action", &self.action).field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}

/// `{"epoch": 1, "at": "2026-11-24T02:30:00.000Z", "text": "pi_1"}`; with `hex` instead of `text` if it is none.
impl Serialize for Note {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut note = serializer.serialize_struct("Note", 3)?;
        note.serialize_field("epoch", &self.epoch)?;
        note.serialize_field("at", &humantime::format_rfc3339_millis(self.at).to_string())?;
        match str::from_utf8(&self.bytes) {
            Ok(text) => note.serialize_field("text", text)?,
            Err(_) => note.serialize_field("hex", &hex(&self.bytes))?,
        }
        note.end()
    }
}

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Note").field("epoch", &self.epoch).field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}
