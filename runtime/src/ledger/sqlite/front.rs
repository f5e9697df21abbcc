//! What can be answered without the writer: claims that are settled.
//!
//! # Invariants
//! 1. Only what no later settlement can change is answered here: receipts, recorded errors, and refusals that hold in every
//!    later state. What is pending or in doubt goes through the queue, behind the settlements that are on their way.
//! 2. The fingerprint is compared first, also with what is remembered.
//! 3. Closed while a commit is in question: what can be read then may never have reached the disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::{ClaimRequest, Claimed};
use super::apply::{self, Actions};
use super::recent::{Outcome, Recent, Settled};
use super::writer::Answer;
use crate::refused::Kind;
use crate::sqlite::{DatabaseFile, OwnerId, Reader, Trouble, now_ms};

/// How many connections are kept for whoever asks next.
const READERS: usize = 8;

#[derive(Debug)]
pub(super) struct Front {
    desk: Mutex<Option<Desk>>,
    recent: Recent,
}

/// Where to read, while reading is possible.
#[derive(Debug)]
struct Desk {
    file: DatabaseFile,
    owner: OwnerId,
    readers: Vec<Looker>,
    /// Readers of an earlier opening are not to come back.
    opening: u64,
}

/// A connection that only reads.
#[derive(Debug)]
struct Looker {
    reader: Reader,
    actions: Actions,
}

/// What was found.
#[derive(Debug)]
#[must_use]
pub(super) enum Look {
    /// This is the answer.
    Settled(Claimed),
    /// It needs a write.
    Fresh,
    /// Ask the writer.
    Unclear,
}

impl Front {
    pub(super) fn new() -> Self {
        Front { desk: Mutex::new(None), recent: Recent::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Desk>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, file: DatabaseFile, owner: OwnerId) {
        static OPENINGS: AtomicU64 = AtomicU64::new(0);
        let opening = OPENINGS.fetch_add(1, Ordering::Relaxed);
        *self.lock() = Some(Desk { file, owner, readers: Vec::new(), opening });
    }

    /// Nothing is read, and nothing remembered, until it is opened again (invariant 3).
    pub(super) fn close(&self) {
        *self.lock() = None;
        self.recent.forget();
    }

    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.recent.forget();
    }

    /// From memory: blocks on no disk.
    pub(super) fn remembered(&self, request: &ClaimRequest) -> Option<Claimed> {
        let found = self.recent.get(request, now_ms())?;
        let file = self.lock().as_ref().map(|desk| desk.file.clone())?;
        // A ledger that has gone answers nothing, not even this.
        file.still_there().is_ok().then_some(found)
    }

    /// From the file, on this thread.
    pub(super) fn look(&self, request: &ClaimRequest) -> Look {
        let (file, owner, opening, looker) = match &mut *self.lock() {
            Some(desk) => (desk.file.clone(), desk.owner, desk.opening, desk.readers.pop()),
            None => return Look::Unclear,
        };
        if file.still_there().is_err() {
            return Look::Unclear;
        }
        let looker = match looker {
            Some(looker) => Ok(looker),
            None => file.reader().map(|reader| Looker { reader, actions: Actions::new() }),
        };
        let Ok(mut looker) = looker else { return Look::Unclear };
        // A reader that has failed is not used again, and the writer says what is wrong.
        let Ok((look, settled)) = looker.look(&file, owner, request) else { return Look::Unclear };
        if let Some(desk) = &mut *self.lock()
            && desk.opening == opening
        {
            if desk.readers.len() < READERS {
                desk.readers.push(looker);
            }
            if let Some(settled) = settled {
                self.recent.keep(request.digest, settled);
            }
        }
        look
    }
}

impl Looker {
    /// What was found, and what of it is worth remembering.
    fn look(
        &mut self,
        file: &DatabaseFile,
        owner: OwnerId,
        request: &ClaimRequest,
    ) -> Result<(Look, Option<Settled>), Trouble> {
        let context =
            apply::Context { connection: self.reader.connection()?, side: Some(file.side()), owner, beside: None };
        let Some((answer, row)) = apply::peek(&context, &mut self.actions, request)? else {
            return Ok((Look::Fresh, None));
        };
        let claimed = match answer {
            Answer::Claimed(claimed) => claimed,
            Answer::Park(_) | Answer::Settled(_) | Answer::Noted | Answer::Audited | Answer::Task(_) => {
                return Ok((Look::Unclear, None));
            }
        };
        let outcome = match &claimed {
            Claimed::Run { .. } | Claimed::Reconcile(_) => return Ok((Look::Unclear, None)),
            // Invariant 1.
            Claimed::Refuse(refused) if refused.kind() == Kind::InDoubt => return Ok((Look::Unclear, None)),
            Claimed::Refuse(_) => return Ok((Look::Settled(claimed), None)),
            Claimed::Replay(receipt) => Outcome::Receipt(receipt.clone()),
            Claimed::ReplayError(error) => Outcome::Error(error.clone()),
        };
        let action = self.actions.get(&request.namespace).and_then(|names| names.get(&request.action));
        let settled = action.zip(row).map(|(action, row)| Settled {
            outcome,
            fingerprint: row.fingerprint,
            place: action.place.clone(),
            until: row.kept_until(),
        });
        Ok((Look::Settled(claimed), settled))
    }
}
