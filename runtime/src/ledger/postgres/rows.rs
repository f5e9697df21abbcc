//! Rows of `claim`, and what is written into them.

use std::borrow::Cow;
use std::fmt;

use uuid::Uuid;

use super::super::row::{self, Circumstances, Outcome, Row, Unreadable};
use super::super::rules::{self, Age, By, Life, Moment, Stored};
use super::super::{Attempt, Digest, Fingerprint, Kept, Note};
use super::trouble::{Trouble, TroubleKind};
use crate::clock::{time, when};

/// A row of `claim`, with its owner, as [`sql::READ`](super::sql::READ) selects them.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) digest: Digest,
    pub(super) row: Row,
    pub(super) holder: Option<Holder>,
    /// The server's clock when it was read.
    pub(super) now_ms: i64,
    /// The latest time on record, which now can't be before.
    latest_ms: i64,
}

/// Who holds a claim.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) host: String,
    pub(super) pid: u32,
    pub(super) since_ms: i64,
    pub(super) alive: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)?;
        if !self.alive {
            write!(f, " (running since {}, now ended or out of reach)", when(self.since_ms))?;
        }
        Ok(())
    }
}

impl Seen {
    pub(super) fn read(row: &tokio_postgres::Row) -> Result<Self, Trouble> {
        let host: Option<String> = row.try_get(17)?;
        let holder = match host {
            None => None,
            Some(host) => Some(Holder {
                host,
                pid: row.try_get::<_, i32>(18)?.cast_unsigned(),
                since_ms: row.try_get(19)?,
                alive: row.try_get(20)?,
            }),
        };
        let receipt: Option<&[u8]> = row.try_get(10)?;
        let claim = Row {
            fingerprint: Fingerprint(bytes(row, 1)?),
            state: row::state(row.try_get::<_, i16>(2)?.into())?,
            epoch: row.try_get::<_, i64>(3)?.cast_unsigned(),
            attempt: Attempt(row.try_get::<_, Uuid>(4)?),
            owner: row.try_get(5)?,
            claimed_ms: row.try_get(6)?,
            settled_ms: row.try_get(7)?,
            retain_ms: row.try_get(8)?,
            loss: row.try_get::<_, i16>(9)?.into(),
            receipt: receipt.map(utf8).transpose()?,
            ended: row.try_get(11)?,
            first_ms: row.try_get(12)?,
            running: row.try_get(13)?,
            by: row::by(row.try_get::<_, i16>(14)?.into())?,
            sealed: row.try_get(15)?,
            transactional: row.try_get(16)?,
        };
        Ok(Seen {
            digest: Digest(bytes(row, 0)?),
            row: claim,
            holder,
            now_ms: row.try_get(21)?,
            latest_ms: row.try_get::<_, Option<i64>>(22)?.unwrap_or_default(),
        })
    }

    /// What the rules need to know. `own`: the owner that this process is.
    pub(super) fn stored(&self, own: i64) -> Result<Stored, Trouble> {
        self.row.stored(|| Ok(self.circumstances(own)))
    }

    fn circumstances(&self, own: i64) -> Circumstances {
        // An owner without a row was never committed: a claim can't have come from it, and nobody will settle it.
        let alive = self.row.owner == own || self.holder.as_ref().is_some_and(|holder| holder.alive);
        // One clock, the server's; when that machine started is not known.
        let age = |at_ms| -> Age {
            let now = Moment { at_ms: self.now_ms, origin_ms: None };
            rules::age(Moment { at_ms, origin_ms: None }, now, self.latest_ms)
        };
        Circumstances {
            owner: if alive { Life::Alive } else { Life::Dead },
            since: age(self.row.settled_ms.unwrap_or(self.now_ms)),
            started: age(self.row.first_ms()),
        }
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

/// A note, as [`sql::NOTES`](super::sql::NOTES) selects it.
pub(super) fn note(row: &tokio_postgres::Row) -> Result<Note, Trouble> {
    let epoch = row.try_get::<_, i64>(0)?.cast_unsigned();
    Ok(Note { epoch, at: time(row.try_get(1)?), bytes: row.try_get(2)? })
}

fn utf8(bytes: &[u8]) -> Result<String, Trouble> {
    let text = str::from_utf8(bytes).map_err(|_| Trouble::new(TroubleKind::Statement, "a receipt is not UTF-8"))?;
    Ok(text.to_owned())
}

impl From<Unreadable> for Trouble {
    fn from(unreadable: Unreadable) -> Self {
        Trouble::new(TroubleKind::Statement, unreadable.to_string())
    }
}

/// An outcome as the table spells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written<'a> {
    pub(super) state: i16,
    pub(super) loss: i16,
    pub(super) receipt: Option<&'a [u8]>,
    pub(super) sealed: bool,
    pub(super) by: i16,
}

impl<'a> Written<'a> {
    pub(super) fn of(outcome: &Outcome<'a>) -> Self {
        let small = |code: i64| i16::try_from(code).unwrap_or(i16::MAX);
        Written {
            state: small(outcome.state.code()),
            loss: small(outcome.loss),
            receipt: outcome.kept.map(|kept: &Kept| kept.text.as_bytes()),
            sealed: outcome.kept.is_some_and(|kept| kept.sealed),
            by: small(By::code(outcome.by)),
        }
    }
}

/// PostgreSQL's `text` holds every character but NUL. What is shown to people shows its picture instead.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{2400}")) } else { Cow::Borrowed(text) }
}

/// How long a receipt is to be kept.
pub(super) fn retain_ms(request: &super::super::ClaimRequest) -> Option<i64> {
    request.retain.map(|retain| i64::try_from(retain.as_millis()).unwrap_or(i64::MAX))
}
