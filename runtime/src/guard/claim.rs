//! A claim while its body runs.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use crate::gate::OpenClaim;
use crate::ledger::{Attempt, AuditRecord, Digest, SettleRequest, Settled, Settlement, Store, Ticket};

/// The claim of a running `#[once]` body; bound by `claim = NAME`.
pub struct Claim<'call>(&'call ClaimState);

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

    /// Says that the effect surely did not happen: if the body now returns `Err`, the key is free again, whatever `on_err`
    /// says. If it returns `Ok` all the same, that counts, and this is kept in the audit.
    pub fn did_not_happen(&self) {
        self.0.did_not_happen.store(true, Ordering::Release);
    }
}

impl fmt::Debug for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("idempotency_key", &self.0.idempotency_key).finish()
    }
}

/// What the body may say about its claim.
#[derive(Debug)]
pub(super) struct ClaimState {
    idempotency_key: String,
    did_not_happen: AtomicBool,
}

/// A granted claim that is not settled yet (invariant 3 of [`guard`](super)).
pub(super) struct Held {
    store: Arc<dyn Store>,
    digest: Digest,
    attempt: Attempt,
    epoch: u64,
    state: Arc<ClaimState>,
    stage: Stage,
    _open: OpenClaim,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Granted,
    Started,
    Settled,
}

impl Held {
    pub(super) fn new(store: Arc<dyn Store>, digest: Digest, attempt: Attempt, epoch: u64, open: OpenClaim) -> Self {
        let mut idempotency_key = String::with_capacity(40);
        for byte in &digest.0[..20] {
            idempotency_key
                .extend([byte >> 4, byte & 15].map(|nibble| char::from(b"0123456789abcdef"[usize::from(nibble)])));
        }
        let state = Arc::new(ClaimState { idempotency_key, did_not_happen: AtomicBool::new(false) });
        Held { store, digest, attempt, epoch, state, stage: Stage::Granted, _open: open }
    }

    pub(super) fn state(&self) -> &Arc<ClaimState> {
        &self.state
    }

    /// From here on, nobody can say that nothing happened but the body.
    pub(super) fn start(&mut self) {
        self.stage = Stage::Started;
    }

    pub(super) fn did_not_happen(&self) -> bool {
        self.state.did_not_happen.load(Ordering::Acquire)
    }

    /// For what the happy path has no place for. Appended with the next commit.
    pub(super) fn put_in_audit(&self, kind: &'static str, action: &str) {
        drop(self.store.audit(AuditRecord {
            kind,
            actor: "body".into(),
            action: action.into(),
            detail: serde_json::json!({ "attempt": self.attempt.0.to_string(), "epoch": self.epoch }),
            at: SystemTime::now(),
        }));
    }

    pub(super) fn settle(&mut self, settlement: Settlement) -> Ticket<Settled> {
        self.stage = Stage::Settled;
        self.store.settle(SettleRequest { digest: self.digest, epoch: self.epoch, attempt: self.attempt, settlement })
    }

    /// The call was cut short.
    pub(super) fn abandon(&mut self, how: &'static str) {
        match self.stage {
            // Nobody can wait here; the store works it off.
            Stage::Granted => drop(self.settle(Settlement::Released("never started"))),
            Stage::Started => drop(self.settle(Settlement::InDoubt(how))),
            Stage::Settled => {}
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.abandon(if std::thread::panicking() { "panic" } else { "cancelled" });
    }
}
