//! Settling a claim inside the effect's own transaction, where the effect is in the ledger's own database.

use std::sync::{Mutex, PoisonError};

use super::{Attempt, Digest, Kept};
use crate::refused::{Kind, Refused};

/// A database transaction in which [`Claim::settle_in`](crate::Claim::settle_in) can settle: `&rusqlite::Transaction`.
///
/// Nobody else can implement it: what is written there is for the store to say.
pub trait SettleIn: sealed::Sealed {
    /// What [`Claim::settle_in`](crate::Claim::settle_in) answers with.
    type Settled;
    #[doc(hidden)]
    fn settle(self, settlement: Result<Inside<'_>, Refused>) -> Self::Settled;
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
    /// It is written. Whether it will be committed is not known here: what the ledger has in the end is what counts.
    pub(super) fn written(self) {
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.kept);
    }

    /// Nothing of it is on record, so the effect must not be either.
    pub(super) fn refuse(&self, kind: Kind, why: &str) -> Refused {
        Refused::new(kind, self.action, format!("it can't be settled in this transaction: {why}"))
            .advise("roll the transaction back, and return the error")
    }
}
