//! Events: one hash chain per owner, appended with whatever is committed next.
//!
//! Each event's hash covers the one before it, so that a line that was changed or taken out of the middle shows.

use rusqlite::{Connection, OptionalExtension, params};

use super::{OwnerId, Trouble};
pub(crate) use crate::ledger::chain::Entry;
use crate::ledger::chain::{Checked, link};

/// Appends an event to the chain of `owner`, inside a write transaction.
pub(crate) fn append(connection: &Connection, owner: OwnerId, entry: &Entry<'_>) -> Result<(), Trouble> {
    let last: Option<(i64, [u8; 32])> = connection
        .prepare_cached("SELECT seq, hash FROM event WHERE owner = ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([owner.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (seq, previous) = last.map_or((1, [0; 32]), |(seq, hash)| (seq + 1, hash));
    let hash = link(&previous, owner.0, seq, entry);
    connection
        .prepare_cached(
            "INSERT INTO event(owner, seq, at_ms, kind, actor, action, digest, epoch, detail, hash)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            owner.0,
            seq,
            entry.at_ms,
            entry.kind,
            entry.actor,
            entry.action,
            entry.digest,
            entry.epoch,
            entry.detail,
            hash
        ])?;
    Ok(())
}

/// The first event that is not what was appended, as `(owner, seq)`.
pub(crate) fn verify(connection: &Connection) -> Result<Option<(i64, i64)>, Trouble> {
    let mut statement = connection.prepare(
        "SELECT owner, seq, at_ms, kind, actor, action, digest, epoch, detail, hash FROM event ORDER BY owner, seq",
    )?;
    let mut rows = statement.query([])?;
    let mut checked = Checked::default();
    while let Some(row) = rows.next()? {
        let (owner, seq): (i64, i64) = (row.get(0)?, row.get(1)?);
        let (kind, actor, action, detail): (String, String, String, String) =
            (row.get(3)?, row.get(4)?, row.get(5)?, row.get(8)?);
        let digest: Option<[u8; 32]> = row.get(6)?;
        let entry = Entry {
            at_ms: row.get(2)?,
            kind: &kind,
            actor: &actor,
            action: &action,
            digest: digest.as_ref(),
            epoch: row.get(7)?,
            detail: &detail,
        };
        if !checked.follows(owner, seq, &entry, &row.get(9)?) {
            return Ok(Some((owner, seq)));
        }
    }
    Ok(None)
}
