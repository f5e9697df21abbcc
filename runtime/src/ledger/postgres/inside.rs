//! A settlement inside a transaction of the user's, on the ledger's own database.
//!
//! It is one statement, which writes only while the very start that settles still holds the claim. Whatever the transaction's
//! isolation: another's decision that is committed first is seen by the statement, or fails it; one that comes later waits for
//! the transaction. That the database is the ledger's is known by the claim itself: nowhere else is there one of this attempt, which
//! is a random number.

#[cfg(feature = "sqlx")]
mod by_sqlx;

use std::error::Error as StdError;
use std::pin::Pin;

use tokio_postgres::Transaction;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::super::Attempt;
use super::super::inside::{Inside, SettleIn, sealed};
use super::super::row::{self, Unreadable};
use super::super::rules::{self, Known, OnInside};
use super::room::Parameter;
use super::sql;
use super::trouble::Trouble;
use crate::refused::{Kind, Refused};

impl sealed::Sealed for &Transaction<'_> {}

impl SettleIn for &Transaction<'_> {
    type Settled<'a>
        = Pin<Box<dyn Future<Output = Result<(), Refused>> + Send + 'a>>
    where
        Self: 'a;

    fn settle<'a>(self, settlement: Result<Inside<'a>, Refused>) -> Self::Settled<'a>
    where
        Self: 'a,
    {
        Box::pin(async move {
            let inside = settlement?;
            let decided = apply(self, &inside).await;
            told(inside, decided)
        })
    }
}

async fn apply(transaction: &Transaction<'_>, inside: &Inside<'_>) -> Result<OnInside, Failed> {
    let (digest, epoch) = (inside.digest.0.as_slice(), inside.epoch.cast_signed());
    let (receipt, sealed) = (inside.kept.text.as_bytes(), inside.kept.sealed);
    let values: [Parameter<'_>; 5] = [
        (&digest, Type::BYTEA),
        (&epoch, Type::INT8),
        (&inside.attempt.0, Type::UUID),
        (&receipt, Type::BYTEA),
        (&sealed, Type::BOOL),
    ];
    if !transaction.query_typed(sql::SETTLE_INSIDE, &values).await?.is_empty() {
        return Ok(OnInside::Apply { event: None });
    }
    let rows = transaction.query_typed(sql::KNOWN, &values[..1]).await?;
    let Some(row) = rows.first() else { return Ok(OnInside::Unknown) };
    let (state, epoch, attempt, running, by): (i16, i64, Uuid, bool, i16) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
    not_written(Found { state, epoch, attempt, running, by }, inside)
}

/// A row of [`sql::KNOWN`].
struct Found {
    state: i16,
    epoch: i64,
    attempt: Uuid,
    running: bool,
    by: i16,
}

/// Why nothing was written.
fn not_written(found: Found, inside: &Inside<'_>) -> Result<OnInside, Failed> {
    let known = Known {
        state: row::state(found.state.into())?,
        epoch: found.epoch.cast_unsigned(),
        attempt: Attempt(found.attempt),
        running: found.running,
        by: row::by(found.by.into())?,
        transactional: true,
        earlier_doubt: false,
    };
    match rules::settle_inside(Some(known), inside.epoch, inside.attempt) {
        OnInside::Apply { .. } => {
            let what = "the claim was changed at the same moment".to_owned();
            Err(Failed { is_elsewhere: false, what, error: None })
        }
        decided @ (OnInside::Fenced | OnInside::Already | OnInside::Unknown) => Ok(decided),
    }
}

/// Why it could not be done.
struct Failed {
    /// There are no tables of a ledger, or not these.
    is_elsewhere: bool,
    what: String,
    error: Option<Box<dyn StdError + Send + Sync>>,
}

/// No such table, no such column, no such schema: a ledger's are not there.
fn is_elsewhere(sqlstate: Option<&str>) -> bool {
    matches!(sqlstate, Some("42P01" | "42703" | "3F000"))
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        let is_elsewhere = is_elsewhere(error.code().map(|state| state.code()));
        Failed { is_elsewhere, what: Trouble::of(&error).to_string(), error: Some(error.into()) }
    }
}

impl From<Unreadable> for Failed {
    fn from(unreadable: Unreadable) -> Self {
        Failed { is_elsewhere: false, what: unreadable.to_string(), error: None }
    }
}

fn told(inside: Inside<'_>, decided: Result<OnInside, Failed>) -> Result<(), Refused> {
    let advice = "begin the transaction on the ledger's own database, in the body; if the effect is in another database, settle by \
                  returning Ok";
    match decided {
        Ok(decided) => inside.outcome(decided, advice),
        Err(failed) if failed.is_elsewhere => inside.outcome(OnInside::Unknown, advice),
        Err(Failed { what, error, .. }) => {
            let refused = inside.refuse(Kind::LedgerUnavailable, &what);
            Err(match error {
                Some(error) => refused.because(error),
                None => refused,
            })
        }
    }
}
