//! The claim as a body sees it.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use serde::Serialize;

use super::held::{ClaimState, Granted};
use crate::ledger::{Inside, Kept, NoteRequest, Receipt, SettleIn, Ticket};
use crate::refused::{Kind, Refused};

/// The claim of a running `#[once]` body; bound by `claim = NAME`.
pub struct Claim<'call>(&'call ClaimState);

/// How long a note may be, in bytes.
const LONGEST_NOTE: usize = 4096;

impl<'call> Claim<'call> {
    pub(super) fn of(state: &'call ClaimState) -> Self {
        Claim(state)
    }

    /// A key to send along to a provider that deduplicates: 40 characters of `0-9 a-f`, the same for every attempt of
    /// this `(namespace, action, key)`, and for no other.
    #[must_use]
    pub fn idempotency_key(&self) -> &str {
        &self.0.idempotency_key
    }

    /// Which start of this claim it is: 1 for the first, and one more for each that was granted after it. For a store that can
    /// refuse writes with an older number (a fencing token).
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.0.granted.epoch
    }

    /// Says that the effect surely did not happen: if the body now returns `Err`, the key is free again, whatever `on_err`
    /// says. If it returns `Ok` all the same, that counts, and this is kept in the audit.
    pub fn did_not_happen(&self) {
        self.0.did_not_happen.store(true, Ordering::Release);
    }

    /// Puts a note beside the claim: something that helps to find out later what happened, such as the provider's id for the
    /// request. It is on disk before the answer. Whoever looks into a doubt reads it: a `reconcile` function in
    /// [`Doubt::notes`](crate::ledger::Doubt::notes), a person in `portcullis ledger show`. At most 4096 bytes, and no secret.
    ///
    /// Await it, or [`wait`](Noting::wait) for it where nothing awaits.
    ///
    /// ```
    /// # use portcullis::{Refused, once};
    /// #[once(action = "pay", key = "order", claim = claim)]
    /// async fn pay(order: &str) -> Result<String, Refused> {
    ///     let payment = format!("pi_{order}");
    ///     claim.note(&payment).await?;
    ///     // … the call that moves the money …
    ///     Ok(payment)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Kind::InvalidArgument`] if it is too long; [`Kind::LedgerUnavailable`] if it is not on record. What that means is for
    /// the body to decide: the effect has not been touched.
    ///
    /// # Cancel safety
    /// A note that is dropped without being awaited is written all the same, if the ledger can.
    pub fn note(&self, note: impl AsRef<[u8]>) -> Noting {
        let note = note.as_ref();
        let ClaimState { granted: Granted { store, digest, epoch, .. }, action, .. } = self.0;
        let ticket = if note.len() > LONGEST_NOTE {
            let why = format!("its note is {} bytes long, and at most {LONGEST_NOTE} are kept", note.len());
            let advice = "note an id, and keep the rest where it belongs";
            Ticket::ready(Err(Refused::new(Kind::InvalidArgument, &**action, why).advise(advice)))
        } else {
            let request =
                NoteRequest { digest: *digest, epoch: *epoch, action: action.to_string(), note: note.to_vec() };
            store.note(request)
        };
        Noting { ticket, action: action.clone() }
    }

    /// Settles the claim inside the transaction that has the effect, where both are in one database: either both are on record,
    /// or neither. `receipt` is what a retry gets, so it is what the body then returns in `Ok`, after committing the transaction.
    ///
    /// On SQLite the transaction is a [`rusqlite::Transaction`](crate::rusqlite::Transaction) on the ledger's own file, and the answer is a
    /// `Result`. Leave the connection's settings as they are (`synchronous=FULL`, the default). While it is open nobody else writes to
    /// the ledger, this claim's [`note`](Self::note) included: begin it late, and commit it soon.
    ///
    /// On PostgreSQL it is a [`tokio_postgres::Transaction`](crate::tokio_postgres::Transaction) in the ledger's own database, of any
    /// isolation, begun in the body, or (with the feature `sqlx`) a `&mut sqlx::Transaction<Postgres>`; await the answer. Its user needs to read and update `portcullis.claim`. From then on it holds the
    /// claim's row: commit it soon.
    ///
    /// Open either with the version of the library that is re-exported here.
    ///
    /// A gate of `portcullis::testing` has its ledger in memory, which no transaction reaches: test with a file.
    ///
    /// With `settle = "transaction"` the body says that its whole effect is in that transaction. Then nothing is ever in doubt: if the
    /// process dies, or the body returns `Err`, panics or is dropped, what was not committed has not happened, and the next call runs
    /// it again. Without it, the same ends leave the call in doubt unless the transaction was committed.
    ///
    /// ```
    /// use portcullis::rusqlite::{self, Connection, TransactionBehavior};
    /// use portcullis::{Refused, once};
    ///
    /// # #[derive(Debug)] enum Error { Refused(Refused), Sql(rusqlite::Error) }
    /// # impl From<Refused> for Error { fn from(it: Refused) -> Self { Error::Refused(it) } }
    /// # impl From<rusqlite::Error> for Error { fn from(it: rusqlite::Error) -> Self { Error::Sql(it) } }
    /// #[once(action = "book", key = "order", skip(db), claim = claim, settle = "transaction")]
    /// fn book(db: &mut Connection, order: &str, cents: i64) -> Result<i64, Error> {
    ///     let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    ///     tx.execute("INSERT INTO booking(order_id, cents) VALUES(?1, ?2)", (order, cents))?;
    ///     let id = tx.last_insert_rowid();
    ///     claim.settle_in(&tx, &id)?;
    ///     tx.commit()?;
    ///     Ok(id)
    /// }
    /// ```
    ///
    /// With a ledger on PostgreSQL:
    ///
    /// ```
    /// use portcullis::tokio_postgres::{self, Client};
    /// use portcullis::{Refused, once};
    ///
    /// # #[derive(Debug)] enum Error { Refused(Refused), Sql(tokio_postgres::Error) }
    /// # impl From<Refused> for Error { fn from(it: Refused) -> Self { Error::Refused(it) } }
    /// # impl From<tokio_postgres::Error> for Error { fn from(it: tokio_postgres::Error) -> Self { Error::Sql(it) } }
    /// #[once(action = "book", key = "order", skip(db), claim = claim, settle = "transaction")]
    /// async fn book(db: &mut Client, order: &str, cents: i64) -> Result<i64, Error> {
    ///     let tx = db.transaction().await?;
    ///     let row = tx.query_one("INSERT INTO booking(order_id, cents) VALUES($1, $2) RETURNING id", &[&order, &cents]).await?;
    ///     let id = row.get(0);
    ///     claim.settle_in(&tx, &id).await?;
    ///     tx.commit().await?;
    ///     Ok(id)
    /// }
    /// ```
    ///
    /// # Errors
    /// Nothing is settled, and the effect must not be committed: [`Kind::InvalidArgument`] if the receipt can't be kept (it is no JSON, too
    /// large, or not sealed), or the transaction is not on the ledger that granted the claim, or began before it and looks at what was then; [`Kind::InvalidTransition`] if the claim was
    /// settled already, or decided about by somebody else; [`Kind::LedgerUnavailable`] if it can't be written.
    pub fn settle_in<'a, T: SettleIn + 'a>(
        &'a self,
        transaction: T,
        receipt: &(impl Serialize + ?Sized),
    ) -> T::Settled<'a> {
        let ClaimState { granted: Granted { digest, epoch, attempt, .. }, action, inside, .. } = self.0;
        let (digest, epoch, attempt) = (*digest, *epoch, *attempt);
        let kept = self.0.kept(receipt);
        transaction.settle(kept.map(|kept| Inside { action, digest, epoch, attempt, kept, settled: inside }))
    }
}

impl ClaimState {
    fn kept(&self, receipt: &(impl Serialize + ?Sized)) -> Result<Kept, Refused> {
        let refuse = |why: &str| {
            Refused::new(Kind::InvalidArgument, &*self.action, format!("its receipt can't be kept: {why}"))
                .advise("roll the transaction back, and return the error")
        };
        let json = serde_json::to_string(receipt).map_err(|error| refuse(&error.to_string()))?;
        match self.keeping.keep(&self.action, json) {
            Receipt::Kept(kept) => Ok(kept),
            Receipt::TooLarge => Err(refuse("it is larger than a receipt may be")),
            Receipt::Unsealed => Err(refuse("the seal failed")),
            Receipt::Absent | Receipt::Unencodable => Err(refuse("it can't be written as JSON")),
        }
    }
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("idempotency_key", &self.0.idempotency_key).finish()
    }
}

/// A note on its way to the disk; made by [`Claim::note`].
#[must_use = "it tells whether the note is on record"]
pub struct Noting {
    ticket: Ticket<Result<(), Refused>>,
    action: Cow<'static, str>,
}

impl Noting {
    /// Blocks until the note is on disk. Works inside any async runtime, where it blocks the thread.
    ///
    /// # Errors
    /// As [`Claim::note`].
    pub fn wait(self) -> Result<(), Refused> {
        pollster::block_on(self)
    }
}

impl fmt::Debug for Noting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Noting").finish_non_exhaustive()
    }
}

impl Future for Noting {
    type Output = Result<(), Refused>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.ticket).poll(cx).map(|noted| {
            noted.unwrap_or_else(|| {
                let why = "the ledger has stopped without an answer, so the note may not be on record";
                Err(Refused::new(Kind::LedgerUnavailable, &*self.action, why))
            })
        })
    }
}
