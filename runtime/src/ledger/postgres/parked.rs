//! Duplicates that wait for the first one's receipt.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::super::{Claimed, Digest};
use super::queue::Claiming;
use crate::refused::Refused;

/// Another process's settlement is seen by looking: soon at first, then less often.
const FIRST_LOOK: Duration = Duration::from_millis(5);
const LONGEST_LOOK: Duration = Duration::from_millis(100);

/// A duplicate that waits, with the refusal that it gets if nothing happens before its deadline.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) claiming: Box<Claiming>,
    pub(super) until: Instant,
    pub(super) refused: Refused,
}

#[derive(Debug)]
pub(super) struct Parked {
    waiters: HashMap<Digest, Vec<Waiter>>,
    look_at: Instant,
    pause: Duration,
}

impl Parked {
    pub(super) fn new() -> Self {
        Parked { waiters: HashMap::new(), look_at: Instant::now(), pause: FIRST_LOOK }
    }

    pub(super) fn park(&mut self, waiter: Waiter) {
        if self.waiters.is_empty() {
            self.pause = FIRST_LOOK;
            self.look_at = Instant::now() + self.pause;
        }
        self.waiters.entry(waiter.claiming.request.digest).or_default().push(waiter);
    }

    /// When to look again.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let deadline = self.waiters.values().flatten().map(|waiter| waiter.until).min()?;
        Some(deadline.min(self.look_at))
    }

    /// The claims that others may have settled, if it is time to look.
    pub(super) fn due(&mut self, now: Instant) -> Option<Vec<Digest>> {
        if self.waiters.is_empty() || now < self.look_at {
            return None;
        }
        self.pause = (self.pause * 2).min(LONGEST_LOOK);
        self.look_at = now + self.pause;
        Some(self.waiters.keys().copied().collect())
    }

    /// The waiters on one claim, because it has changed.
    pub(super) fn take(&mut self, digest: &Digest) -> Vec<Box<Claiming>> {
        let waiters = self.waiters.remove(digest).unwrap_or_default();
        waiters.into_iter().map(|waiter| waiter.claiming).collect()
    }

    /// Lets go of callers that have gone, and refuses those whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) {
        self.end(|waiter| waiter.until <= now, |_, refused| refused);
    }

    /// Refuses everybody.
    pub(super) fn refuse_all(&mut self, mut refuse: impl FnMut(&str) -> Refused) {
        self.end(|_| true, |action, _| refuse(action));
    }

    fn end(&mut self, over: impl Fn(&Waiter) -> bool, mut refuse: impl FnMut(&str, Refused) -> Refused) {
        let mut ended = Vec::new();
        self.waiters.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.claiming.reply.is_abandoned());
            let (gone, stay): (Vec<_>, Vec<_>) = std::mem::take(waiters).into_iter().partition(&over);
            *waiters = stay;
            ended.extend(gone);
            !waiters.is_empty()
        });
        for Waiter { claiming, refused, .. } in ended {
            let refused = refuse(&claiming.request.action, refused);
            claiming.reply.send(Claimed::Refuse(refused));
        }
    }
}
