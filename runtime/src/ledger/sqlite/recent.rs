//! Settled outcomes that were read lately, so that a flood of retries costs no reads.
//!
//! Nothing leads out of a settled outcome to another start, so what is kept can't become wrong, only outlive its retention: that
//! is looked at each time. What is pending or in doubt is never kept. Bounded in bytes, by two generations: what is asked for
//! moves to the young one, and when that is full, the old one is forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::rules::{self, OnAction};
use super::super::{ClaimRequest, Claimed, Digest, Fingerprint, Kept};

/// How many bytes each generation holds.
const BYTES: usize = 4 << 20;

/// What an entry costs beside its text, about.
const OVERHEAD: usize = 256;

/// A settled outcome.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) outcome: Outcome,
    pub(super) fingerprint: Fingerprint,
    /// Where its action's name belongs, if that is a defaulted one.
    pub(super) place: Option<String>,
    /// When the receipt is no longer kept, if ever.
    pub(super) until: Option<i64>,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Receipt(Kept),
    Error(Kept),
}

impl Settled {
    fn size(&self) -> usize {
        let (Outcome::Receipt(kept) | Outcome::Error(kept)) = &self.outcome;
        OVERHEAD + kept.text.len() + self.place.as_ref().map_or(0, String::len)
    }

    fn answers(&self, request: &ClaimRequest, now_ms: i64) -> bool {
        self.fingerprint == request.fingerprint
            && request.resolution.is_none()
            && self.until.is_none_or(|until| now_ms < until)
            && rules::action(self.place.as_deref(), request.place.as_deref()) == OnAction::Accept
    }
}

#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Digest, Arc<Settled>>,
    old: HashMap<Digest, Arc<Settled>>,
    bytes: usize,
}

impl Generations {
    fn insert(&mut self, digest: Digest, settled: Arc<Settled>) {
        let size = settled.size();
        if self.bytes + size > BYTES {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        if self.young.insert(digest, settled).is_none() {
            self.bytes += size;
        }
    }
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered, if it answers just this request. Whatever does not match exactly is looked up in the file.
    pub(super) fn get(&self, request: &ClaimRequest, now_ms: i64) -> Option<Claimed> {
        let settled = {
            let mut generations = self.lock();
            match generations.young.get(&request.digest) {
                Some(settled) => settled.clone(),
                None => {
                    let settled = generations.old.remove(&request.digest)?;
                    generations.insert(request.digest, settled.clone());
                    settled
                }
            }
        };
        settled.answers(request, now_ms).then(|| match &settled.outcome {
            Outcome::Receipt(receipt) => Claimed::Replay(receipt.clone()),
            Outcome::Error(error) => Claimed::ReplayError(error.clone()),
        })
    }

    pub(super) fn keep(&self, digest: Digest, settled: Settled) {
        // One that would push out all the others is better read each time.
        if settled.size() < BYTES / 16 {
            self.lock().insert(digest, Arc::new(settled));
        }
    }

    pub(super) fn forget(&self) {
        *self.lock() = Generations::default();
    }
}
