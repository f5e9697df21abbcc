//! A settlement inside a transaction of the user's, on the ledger's own file.

use rusqlite::{Connection, Transaction};
use serde_json::json;

use super::super::inside::{Inside, SettleIn, sealed};
use super::super::rules::{self, By, OnInside, State};
use super::rows::{self, Outcome};
use crate::refused::{Kind, Refused};
use crate::sqlite::{ChainEntry, OwnerId, Trouble, append, is_ledger, now_ms};

impl sealed::Sealed for &Transaction<'_> {}

impl SettleIn for &Transaction<'_> {
    type Settled<'a>
        = Result<(), Refused>
    where
        Self: 'a;

    fn settle<'a>(self, settlement: Result<Inside<'a>, Refused>) -> Result<(), Refused>
    where
        Self: 'a,
    {
        let inside = settlement?;
        match apply(self, &inside) {
            Ok(decided) => inside.outcome(
                decided,
                "open the connection on the ledger's own file; if the effect is in another database, settle by returning Ok",
            ),
            Err(trouble) => {
                let refused = inside.refuse(Kind::LedgerUnavailable, &trouble.to_string());
                Err(refused.because(trouble))
            }
        }
    }
}

fn apply(connection: &Connection, inside: &Inside<'_>) -> Result<OnInside, Trouble> {
    if !is_ledger(connection)? {
        return Ok(OnInside::Unknown);
    }
    let found = rows::find(connection, &inside.digest)?;
    let decided = rules::settle_inside(found.as_ref().map(|row| row.known()), inside.epoch, inside.attempt);
    if let (OnInside::Apply { event }, Some(row)) = (decided, found) {
        let now = now_ms();
        let outcome = Outcome { kept: Some(&inside.kept), ..Outcome::new(State::Committed, By::Attempt) };
        rows::put(connection, row.id, &outcome, now)?;
        if let Some(kind) = event {
            let entry = ChainEntry {
                at_ms: now,
                kind,
                actor: "portcullis",
                action: inside.action,
                digest: Some(&inside.digest.0),
                epoch: Some(inside.epoch.cast_signed()),
                detail: &json!({ "settlement": "committed", "in_transaction": true }).to_string(),
            };
            append(connection, OwnerId(row.owner), &entry)?;
        }
    }
    Ok(decided)
}
