//! Settling a claim inside the effect's own transaction, where the effect is in the ledger's own database.

use std::sync::{Mutex, PoisonError};

use super::rules::OnInside;
use super::{Attempt, Digest, Kept};
use crate::refused::{Kind, Refused};

/// A database transaction in which [`Claim::settle_in`](crate::Claim::settle_in) can settle.
///
/// | | with the feature | the ledger |
/// | --- | --- | --- |
/// | `&rusqlite::Transaction` | `sqlite` | `sqlite:PATH` |
/// | `&tokio_postgres::Transaction` | `postgres` | `postgres://…` |
/// | `&mut sqlx::Transaction<Postgres>` | `sqlx` | `postgres://…` |
///
/// Nobody else can implement it: what is written there is for the store to say.
pub trait SettleIn: sealed::Sealed {
    /// What [`Claim::settle_in`](crate::Claim::settle_in) answers with: a `Result`, or a future of one where transactions are
    /// asynchronous.
    type Settled<'a>
    where
        Self: 'a;

    #[doc(hidden)]
    fn settle<'a>(self, settlement: Result<Inside<'a>, Refused>) -> Self::Settled<'a>
    where
        Self: 'a;
}

pub(super) mod sealed {
    pub trait Sealed {}
}

/// What is to be written.
#[doc(hidden)]
#[derive(Debug)]
pub struct Inside<'a> {
    pub(crate) action: &'a str,
    pub(crate) digest: Digest,
    pub(crate) epoch: u64,
    pub(crate) attempt: Attempt,
    pub(crate) kept: Kept,
    /// Where the body's own settlement looks.
    pub(crate) settled: &'a Mutex<Option<Kept>>,
}

impl Inside<'_> {
    /// What the body is told. `elsewhere`: what to do where the claim is not to be seen.
    pub(super) fn outcome(self, decided: OnInside, elsewhere: &'static str) -> Result<(), Refused> {
        let (kind, why) = match decided {
            OnInside::Apply { .. } => {
                self.written();
                return Ok(());
            }
            OnInside::Unknown => {
                let refused =
                    self.refuse(Kind::InvalidArgument, "it does not see the claim in the ledger that granted it");
                return Err(refused.advise(elsewhere));
            }
            OnInside::Already => {
                (Kind::InvalidTransition, "it has been settled already, and a receipt does not change")
            }
            OnInside::Fenced => (
                Kind::InvalidTransition,
                "a person has decided about the claim in the meantime, or a newer attempt holds it",
            ),
        };
        Err(self.refuse(kind, why))
    }

    /// It is written. Whether it will be committed is not known here: what the ledger has in the end is what counts.
    fn written(self) {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.kept);
    }

    /// Nothing of it is on record, so the effect must not be either.
    pub(super) fn refuse(&self, kind: Kind, why: &str) -> Refused {
        Refused::new(kind, self.action, format!("it can't be settled in this transaction: {why}"))
            .advise("roll the transaction back, and return the error")
    }
}
