//! The same with `sqlx`.

use std::pin::Pin;

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Row, Transaction, Type};
use uuid::Uuid;

use super::super::super::inside::{Inside, SettleIn, sealed};
use super::super::super::rules::OnInside;
use super::super::sql;
use super::{Failed, Found, is_elsewhere, not_written, told};
use crate::refused::Refused;

impl sealed::Sealed for &mut Transaction<'_, Postgres> {}

impl SettleIn for &mut Transaction<'_, Postgres> {
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

async fn apply(transaction: &mut Transaction<'_, Postgres>, inside: &Inside<'_>) -> Result<OnInside, Failed> {
    let digest = inside.digest.0.as_slice();
    let written = sqlx::query(sql::SETTLE_INSIDE)
        .bind(digest)
        .bind(inside.epoch.cast_signed())
        .bind(Id(inside.attempt.0))
        .bind(inside.kept.text.as_bytes())
        .bind(inside.kept.sealed)
        .fetch_optional(&mut **transaction)
        .await?;
    if written.is_some() {
        return Ok(OnInside::Apply { event: None });
    }
    let found = sqlx::query(sql::KNOWN).bind(digest).fetch_optional(&mut **transaction).await?;
    let Some(row) = found else { return Ok(OnInside::Unknown) };
    let found = Found {
        state: row.try_get(0)?,
        epoch: row.try_get(1)?,
        attempt: row.try_get::<Id, _>(2)?.0,
        running: row.try_get(3)?,
        by: row.try_get(4)?,
    };
    not_written(found, inside)
}

/// A `uuid`. The feature of that name would bring sqlx's SQLite into the lockfile, beside ours.
struct Id(Uuid);

impl Type<Postgres> for Id {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(tokio_postgres::types::Type::UUID.oid()))
    }
}

impl Encode<'_, Postgres> for Id {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Id {
    // What was asked for with parameters comes in binary.
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Id(Uuid::from_slice(value.as_bytes()?)?))
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        let sqlstate = error.as_database_error().and_then(|error| error.code());
        let what = match (&sqlstate, error.as_database_error()) {
            // Not the detail: it may quote a row.
            (Some(state), Some(database)) => format!("a statement failed ({}, SQLSTATE {state})", database.message()),
            _ => error.to_string(),
        };
        Failed { is_elsewhere: is_elsewhere(sqlstate.as_deref()), what, error: Some(error.into()) }
    }
}
