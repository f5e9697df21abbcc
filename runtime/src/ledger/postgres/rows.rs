//! Rows of `claim`, and what is written into them.

use std::borrow::Cow;

use uuid::Uuid;

use super::super::holder::{Holder, OwnerId};
use super::super::messages::Standing;
use super::super::rules::{Life, Receipt, Stage, State, Stored};
use super::super::{Attempt, Digest, Fingerprint, ReceiptLoss, Settlement};
use super::trouble::{Trouble, TroubleKind};

/// A row of `claim`, with its owner, as [`sql::READ`](super::sql::READ) selects them.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) digest: Digest,
    fingerprint: Fingerprint,
    state: State,
    epoch: u64,
    attempt: Attempt,
    owner: OwnerId,
    claimed_ms: i64,
    settled_ms: Option<i64>,
    retain_ms: Option<i64>,
    loss: i64,
    receipt: Option<Vec<u8>>,
    pub(super) ended: Option<String>,
    pub(super) holder: Option<Holder>,
    /// The server's clock when it was read.
    pub(super) now_ms: i64,
}

impl Row {
    pub(super) fn read(row: &tokio_postgres::Row) -> Result<Self, Trouble> {
        let owner = OwnerId(row.try_get(5)?);
        let host: Option<String> = row.try_get(12)?;
        let holder = match host {
            None => None,
            Some(host) => Some(Holder {
                id: owner,
                host,
                pid: row.try_get::<_, i32>(13)?.cast_unsigned(),
                program: row.try_get(14)?,
                since_ms: row.try_get(15)?,
                alive: row.try_get(16)?,
            }),
        };
        Ok(Row {
            digest: Digest(bytes(row, 0)?),
            fingerprint: Fingerprint(bytes(row, 1)?),
            state: state(row.try_get(2)?)?,
            epoch: row.try_get::<_, i64>(3)?.cast_unsigned(),
            attempt: Attempt(row.try_get::<_, Uuid>(4)?),
            owner,
            claimed_ms: row.try_get(6)?,
            settled_ms: row.try_get(7)?,
            retain_ms: row.try_get(8)?,
            loss: row.try_get::<_, i16>(9)?.into(),
            receipt: row.try_get(10)?,
            ended: row.try_get(11)?,
            holder,
            now_ms: row.try_get(17)?,
        })
    }

    /// What the rules need to know. `own`: the owner that this process is.
    pub(super) fn stored(&self, own: Option<OwnerId>) -> Result<Stored, Trouble> {
        let alive = own == Some(self.owner) || self.holder.as_ref().is_some_and(|holder| holder.alive);
        let stage = match self.state {
            State::Pending => Stage::Pending { owner: if alive { Life::Alive } else { Life::Dead } },
            State::Committed => Stage::Committed { receipt: self.receipt()?, kept_until: self.kept_until() },
            State::Failed => Stage::Failed { error: self.receipt.clone().unwrap_or_default() },
            State::InDoubt => Stage::InDoubt,
            State::Open => Stage::Open,
            State::Expired => Stage::Expired,
        };
        Ok(Stored { fingerprint: self.fingerprint, epoch: self.epoch, attempt: self.attempt, stage })
    }

    /// What the rules need to know for a settlement.
    pub(super) fn standing(&self) -> (State, u64, Attempt) {
        (self.state, self.epoch, self.attempt)
    }

    fn receipt(&self) -> Result<Receipt, Trouble> {
        match (&self.receipt, self.loss) {
            (Some(receipt), _) => Ok(Receipt::Kept(receipt.clone())),
            (None, 0) => Ok(Receipt::Absent),
            (None, 1) => Ok(Receipt::Unencodable),
            (None, 2) => Ok(Receipt::TooLarge),
            (None, other) => Err(unreadable("loss", other)),
        }
    }

    fn kept_until(&self) -> Option<i64> {
        Some(self.settled_ms?.saturating_add(self.retain_ms?))
    }
}

impl Standing for Row {
    fn epoch(&self) -> u64 {
        self.epoch
    }
    fn claimed_ms(&self) -> i64 {
        self.claimed_ms
    }
    fn settled_ms(&self) -> Option<i64> {
        self.settled_ms
    }
    fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }
}

/// A column of exactly so many bytes.
pub(super) fn bytes<const N: usize>(row: &tokio_postgres::Row, column: usize) -> Result<[u8; N], Trouble> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|_| {
        let name = row.columns().get(column).map_or("column", |column| column.name());
        Trouble::new(TroubleKind::Statement, format!("a {name} has {} bytes, not {N}", bytes.len()))
    })
}

pub(super) fn state(code: i16) -> Result<State, Trouble> {
    State::from_code(code.into()).ok_or_else(|| unreadable("state", code.into()))
}

fn unreadable(column: &str, code: i64) -> Trouble {
    Trouble::new(TroubleKind::Statement, format!("a claim's {column} is {code}, which this release does not know"))
}

/// What a settlement writes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written<'a> {
    pub(super) state: i16,
    pub(super) loss: i16,
    pub(super) receipt: Option<&'a [u8]>,
    pub(super) ended: Option<&'static str>,
}

impl<'a> Written<'a> {
    pub(super) fn of(settlement: &'a Settlement) -> Self {
        let (state, receipt, loss, ended) = match settlement {
            Settlement::Committed(receipt, loss) => {
                let loss = match loss {
                    ReceiptLoss::None => 0,
                    ReceiptLoss::Unencodable => 1,
                    ReceiptLoss::TooLarge => 2,
                };
                (State::Committed, receipt.as_deref(), loss, None)
            }
            Settlement::Failed(error) => (State::Failed, Some(error.as_slice()), 0, None),
            Settlement::InDoubt(ended) => (State::InDoubt, None, 0, Some(*ended)),
            Settlement::Released(ended) => (State::Open, None, 0, Some(*ended)),
        };
        Written { state: i16::try_from(state.code()).unwrap_or(i16::MAX), loss, receipt, ended }
    }
}

/// Without a receipt that is too large, or no text.
pub(super) fn capped(settlement: Settlement, cap: usize) -> Settlement {
    match settlement {
        Settlement::Committed(Some(receipt), _) if receipt.len() > cap => {
            Settlement::Committed(None, ReceiptLoss::TooLarge)
        }
        Settlement::Committed(Some(receipt), _) if str::from_utf8(&receipt).is_err() => {
            Settlement::Committed(None, ReceiptLoss::Unencodable)
        }
        kept @ (Settlement::Committed(..)
        | Settlement::Failed(_)
        | Settlement::InDoubt(_)
        | Settlement::Released(_)) => kept,
    }
}

/// What an event says of a settlement; with its receipt if the claim's own row will not have it.
pub(super) fn evidence(settlement: &Settlement, with_receipt: bool) -> serde_json::Value {
    let text = |bytes: &[u8]| with_receipt.then(|| String::from_utf8_lossy(bytes).into_owned());
    match settlement {
        Settlement::Committed(receipt, _) => {
            serde_json::json!({ "settlement": "committed", "receipt": receipt.as_deref().and_then(text) })
        }
        Settlement::Failed(error) => serde_json::json!({ "settlement": "failed", "error": text(error) }),
        Settlement::InDoubt(ended) => serde_json::json!({ "settlement": "in_doubt", "ended": ended }),
        Settlement::Released(ended) => serde_json::json!({ "settlement": "released", "ended": ended }),
    }
}

/// PostgreSQL's `text` holds every character but NUL. What is shown to people shows its picture instead.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{2400}")) } else { Cow::Borrowed(text) }
}
