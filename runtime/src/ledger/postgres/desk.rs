//! A transaction of several statements, with the events that it leaves in the chain of one owner.

use std::collections::HashSet;

use tokio_postgres::Transaction;
use tokio_postgres::types::Type;

use super::super::chain::{Entry, link};
use super::super::row::Outcome as Written;
use super::super::{Digest, Note};
use super::room::Parameter;
use super::rows::{self, Seen, bytes, text};
use super::sql;
use super::trouble::{Trouble, TroubleKind};

/// An open transaction. Dropped, it rolls back.
pub(super) struct Desk<'a> {
    pub(super) transaction: Transaction<'a>,
    /// Whose chain its events go into. Nobody else may write into that meanwhile.
    pub(super) owner: i64,
    chain: Chain,
}

/// The end of an owner's chain.
struct Chain {
    seq: i64,
    hash: [u8; 32],
    now_ms: i64,
}

impl Chain {
    async fn of(transaction: &Transaction<'_>, owner: i64) -> Result<Self, Trouble> {
        let rows = transaction.query_typed(sql::LAST_EVENT, &[(&owner, Type::INT8)]).await?;
        let row = rows.first().ok_or_else(|| Trouble::new(TroubleKind::Statement, "the server has no clock"))?;
        let seq: Option<i64> = row.try_get(0)?;
        let hash = if seq.is_some() { bytes(row, 1)? } else { [0; 32] };
        Ok(Chain { seq: seq.unwrap_or(0), hash, now_ms: row.try_get(2)? })
    }
}

impl<'a> Desk<'a> {
    pub(super) async fn open(transaction: Transaction<'a>, owner: i64) -> Result<Self, Trouble> {
        Ok(Desk { chain: Chain::of(&transaction, owner).await?, transaction, owner })
    }

    /// The server's clock when it was opened.
    pub(super) fn now_ms(&self) -> i64 {
        self.chain.now_ms
    }

    pub(super) async fn commit(self) -> Result<(), Trouble> {
        // Whatever is heard from here on that is no success may have been one.
        self.transaction.commit().await.map_err(|error| Trouble::from(error).unknown())
    }

    /// Locks these claims; answers with those that another transaction is at.
    pub(super) async fn held(&self, digests: &[Digest]) -> Result<HashSet<Digest>, Trouble> {
        let asked: Vec<&[u8]> = digests.iter().map(|digest| digest.0.as_slice()).collect();
        let values: [Parameter<'_>; 1] = [(&asked, Type::BYTEA_ARRAY)];
        // One after the other, in one trip.
        let (taken, there) = futures_util::future::try_join(
            self.transaction.query_typed(sql::TAKE, &values),
            self.transaction.query_typed(sql::THERE, &values),
        )
        .await?;
        let read = |row: &tokio_postgres::Row| bytes(row, 0).map(Digest);
        let mut held = there.iter().map(read).collect::<Result<HashSet<_>, _>>()?;
        for row in &taken {
            held.remove(&read(row)?);
        }
        Ok(held)
    }

    pub(super) async fn locked(&self, digest: &Digest) -> Result<Option<Seen>, Trouble> {
        let digest = digest.0.as_slice();
        let rows = self.transaction.query_typed(sql::LOCK, &[(&digest, Type::BYTEA)]).await?;
        rows.first().map(Seen::read).transpose()
    }

    pub(super) async fn put(&self, digest: &Digest, outcome: &Written<'_>) -> Result<(), Trouble> {
        let written = rows::Written::of(outcome);
        let (digest, ended) = (digest.0.as_slice(), outcome.ended.map(text));
        let values: [Parameter<'_>; 8] = [
            (&digest, Type::BYTEA),
            (&written.state, Type::INT2),
            (&written.loss, Type::INT2),
            (&written.receipt, Type::BYTEA),
            (&written.sealed, Type::BOOL),
            (&ended, Type::TEXT),
            (&outcome.running, Type::BOOL),
            (&written.by, Type::INT2),
        ];
        self.transaction.execute_typed(sql::PUT, &values).await?;
        Ok(())
    }

    pub(super) async fn notes(&self, digest: &Digest) -> Result<Vec<Note>, Trouble> {
        let digest = digest.0.as_slice();
        let rows = self.transaction.query_typed(sql::NOTES, &[(&digest, Type::BYTEA)]).await?;
        rows.iter().map(rows::note).collect()
    }

    pub(super) async fn append(
        &mut self,
        at_ms: i64,
        kind: &str,
        actor: &str,
        action: &str,
        about: Option<(&Digest, u64)>,
        detail: &str,
    ) -> Result<(), Trouble> {
        // As it will be read, so that the hash can be checked.
        let (actor, action) = (text(actor), text(action));
        let (digest, epoch) = (about.map(|(digest, _)| &digest.0), about.map(|(_, epoch)| epoch.cast_signed()));
        let entry = Entry { at_ms, kind, actor: &actor, action: &action, digest, epoch, detail };
        let seq = self.chain.seq + 1;
        let hash = link(&self.chain.hash, self.owner, seq, &entry);
        let (digest, shown) = (digest.map(|digest| digest.as_slice()), hash.as_slice());
        let values: [Parameter<'_>; 10] = [
            (&self.owner, Type::INT8),
            (&seq, Type::INT8),
            (&at_ms, Type::INT8),
            (&kind, Type::TEXT),
            (&actor, Type::TEXT),
            (&action, Type::TEXT),
            (&digest, Type::BYTEA),
            (&epoch, Type::INT8),
            (&detail, Type::TEXT),
            (&shown, Type::BYTEA),
        ];
        self.transaction.execute_typed(sql::APPEND, &values).await?;
        (self.chain.seq, self.chain.hash) = (seq, hash);
        Ok(())
    }
}
