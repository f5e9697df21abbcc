//! Settled outcomes that were read lately, so that a flood of retries costs no reads.
//!
//! Nothing leads out of a settled outcome to another start, so what is kept can't become wrong, only outlive its retention: that
//! is looked at each time. What is pending or in doubt is never kept. Bounded in bytes, by two generations: what is asked for
//! moves to the young one, and when that is full, the old one is forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::rules::{self, OnAction};
use super::super::{ClaimRequest, Claimed, Digest, Fingerprint};

/// How many bytes each generation holds.
const BYTES: usize = 4 << 20;

/// What an entry costs beside its text, about.
const OVERHEAD: usize = 256;

/// A settled outcome.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) known: Known,
    pub(super) fingerprint: Fingerprint,
    /// Where its action's name belongs, if that is a defaulted one.
    pub(super) place: Option<String>,
    /// When the receipt is no longer kept, if ever.
    pub(super) until: Option<i64>,
}

#[derive(Debug)]
pub(super) enum Known {
    Receipt(Vec<u8>),
    Error(Vec<u8>),
}

impl Kept {
    fn size(&self) -> usize {
        let (Known::Receipt(bytes) | Known::Error(bytes)) = &self.known;
        OVERHEAD + bytes.len() + self.place.as_ref().map_or(0, String::len)
    }

    fn answers(&self, request: &ClaimRequest, now_ms: i64) -> bool {
        self.fingerprint == request.fingerprint
            && self.until.is_none_or(|until| now_ms < until)
            && rules::action(self.place.as_deref(), request.place.as_deref()) == OnAction::Accept
    }
}

#[derive(Debug, Default)]
pub(super) struct Receipts(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Digest, Arc<Kept>>,
    old: HashMap<Digest, Arc<Kept>>,
    bytes: usize,
}

impl Generations {
    fn insert(&mut self, digest: Digest, kept: Arc<Kept>) {
        let size = kept.size();
        if self.bytes + size > BYTES {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        if self.young.insert(digest, kept).is_none() {
            self.bytes += size;
        }
    }
}

impl Receipts {
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered, if it answers just this request. Whatever does not match exactly is looked up in the file.
    pub(super) fn get(&self, request: &ClaimRequest, now_ms: i64) -> Option<Claimed> {
        let kept = {
            let mut generations = self.lock();
            match generations.young.get(&request.digest) {
                Some(kept) => kept.clone(),
                None => {
                    let kept = generations.old.remove(&request.digest)?;
                    generations.insert(request.digest, kept.clone());
                    kept
                }
            }
        };
        kept.answers(request, now_ms).then(|| match &kept.known {
            Known::Receipt(receipt) => Claimed::Replay(Some(receipt.clone())),
            Known::Error(error) => Claimed::ReplayError(error.clone()),
        })
    }

    pub(super) fn keep(&self, digest: Digest, kept: Kept) {
        // One that would push out all the others is better read each time.
        if kept.size() < BYTES / 16 {
            self.lock().insert(digest, Arc::new(kept));
        }
    }

    pub(super) fn forget(&self) {
        *self.lock() = Generations::default();
    }
}
