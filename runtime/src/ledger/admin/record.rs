//! What is shown of a claim.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::super::Digest;
use super::super::key::hex;
use super::super::row::Row;
use super::super::rules::{By, Life, Sight, State};
use crate::clock::{millis, time};

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

impl From<ClaimState> for State {
    fn from(state: ClaimState) -> Self {
        match state {
            ClaimState::Pending => State::Pending,
            ClaimState::Committed => State::Committed,
            ClaimState::Failed => State::Failed,
            ClaimState::InDoubt => State::InDoubt,
            ClaimState::Open => State::Open,
            ClaimState::Expired => State::Expired,
        }
    }
}

impl From<State> for ClaimState {
    fn from(state: State) -> Self {
        match state {
            State::Pending => ClaimState::Pending,
            State::Committed => ClaimState::Committed,
            State::Failed => ClaimState::Failed,
            State::InDoubt => ClaimState::InDoubt,
            State::Open => ClaimState::Open,
            State::Expired => ClaimState::Expired,
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
    /// It still runs: the kernel holds its lock, or, on PostgreSQL, its lease has not run out.
    pub alive: bool,
}

/// One claim as the ledger holds it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Record {
    #[serde(skip)]
    digest: Digest,
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
    /// In doubt because its body took longer than `max_run`, and the body may still be running.
    pub running: bool,
    /// Who has settled it, if not its own attempt: `reconciliation` or `person`.
    pub settled_by: Option<String>,
    /// Its effect and its settlement are one transaction in the ledger's own database.
    pub transactional: bool,
    /// The receipt is what the program's seal has made of it.
    pub sealed: bool,
    /// How an attempt in doubt, or one that was released, ended; or the reason of whoever decided.
    pub ended: Option<String>,
    /// The receipt, or the recorded error.
    pub receipt: Option<serde_json::Value>,
    /// The payload's fingerprint, in hexadecimal.
    pub fingerprint: String,
}

impl Record {
    pub(in crate::ledger) fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What whoever has this record has seen.
    pub(super) fn sight(&self) -> Sight {
        let settled_ms = self.settled_at.map(millis);
        Sight { epoch: self.epoch, state: self.state.into(), running: self.running, settled_ms }
    }
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

/// A claim as a store has read it.
#[derive(Debug)]
pub(in crate::ledger) struct Found {
    pub(in crate::ledger) digest: Digest,
    pub(in crate::ledger) namespace: String,
    pub(in crate::ledger) action: String,
    pub(in crate::ledger) place: Option<String>,
    pub(in crate::ledger) key: String,
    pub(in crate::ledger) row: Row,
    pub(in crate::ledger) owner: Option<Owner>,
    /// The ledger's clock when it was read.
    pub(in crate::ledger) now_ms: i64,
}

impl From<Found> for Record {
    fn from(found: Found) -> Self {
        let Found { digest, namespace, action, place, key, row, owner, now_ms } = found;
        let alive = owner.as_ref().is_some_and(|owner| owner.alive);
        let sight = row.sight(if alive { Life::Alive } else { Life::Dead }, now_ms);
        let state = ClaimState::from(sight.state);
        let kept_until = row.kept_until();
        // What is over is shown to nobody, also before it is taken away.
        let receipt = row.receipt.filter(|_| state != ClaimState::Expired);
        let settled_by = match row.by {
            By::Attempt => None,
            By::Reconciliation => Some("reconciliation".to_owned()),
            By::Person => Some("person".to_owned()),
        };
        Record {
            digest,
            id: digest.hex(),
            namespace,
            action,
            place,
            key,
            state,
            epoch: row.epoch,
            attempt: row.attempt.0.to_string(),
            owner,
            claimed_at: time(row.claimed_ms),
            settled_at: row.settled_ms.map(time),
            kept_until: kept_until.map(time),
            running: sight.running,
            settled_by,
            transactional: row.transactional,
            sealed: row.sealed,
            ended: row.ended,
            receipt: receipt.map(|text| serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))),
            fingerprint: hex(&row.fingerprint.0),
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
