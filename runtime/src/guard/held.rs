//! A claim from its grant to its settlement.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::overdue::{self, Watch};
use crate::gate::OpenClaim;
use crate::ledger::{
    Attempt, AuditRecord, Digest, Kept, Receipt, Receipts, Sealing, SettleRequest, Settled, Settlement, Store, Ticket,
};

/// How a call's receipts are kept, and whose they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Keeping {
    pub(super) receipts: Receipts,
    /// For a seal and a reconcile function; `None` where there is neither.
    pub(super) name: Option<Arc<Name>>,
}

/// What a claim is called, beside its action.
#[derive(Debug)]
pub(super) struct Name {
    pub(super) namespace: String,
    pub(super) key: String,
}

impl Keeping {
    fn sealing<'a>(&'a self, action: &'a str) -> Sealing<'a> {
        let name = self.name.as_deref();
        let (namespace, key) = name.map_or(("", ""), |name| (name.namespace.as_str(), name.key.as_str()));
        Sealing { namespace, action, key }
    }

    pub(super) fn keep(&self, action: &str, json: String) -> Receipt {
        self.receipts.keep(self.sealing(action), json)
    }

    pub(super) fn read(&self, action: &str, kept: Kept) -> Result<String, String> {
        self.receipts.read(self.sealing(action), kept)
    }
}

/// A start that the ledger has granted.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    pub(super) store: Arc<dyn Store>,
    pub(super) digest: Digest,
    pub(super) attempt: Attempt,
    pub(super) epoch: u64,
    pub(super) lazy: bool,
}

impl Granted {
    fn settlement(&self, settlement: Settlement) -> SettleRequest {
        let Granted { digest, attempt, epoch, lazy, .. } = *self;
        SettleRequest { digest, epoch, attempt, settlement, lazy }
    }
}

/// What the body may say about its claim.
#[derive(Debug)]
pub(super) struct ClaimState {
    pub(super) granted: Granted,
    pub(super) keeping: Keeping,
    /// The receipt that stands in a transaction of the body's, if that was committed.
    pub(super) inside: Mutex<Option<Kept>>,
    pub(super) action: Cow<'static, str>,
    pub(super) idempotency_key: String,
    pub(super) did_not_happen: AtomicBool,
    /// Its body waits in a [batch](super::batch), whose common body has not begun.
    pub(super) seated: AtomicBool,
}

/// A granted claim that is not settled yet (invariant 3 of [`guard`](super)).
pub(super) struct Held {
    state: Arc<ClaimState>,
    stage: Stage,
    watch: Option<Watch>,
    _open: OpenClaim,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Granted,
    Started,
    Settled,
}

impl Held {
    pub(super) fn new(granted: Granted, keeping: Keeping, action: Cow<'static, str>, open: OpenClaim) -> Self {
        let state = Arc::new(ClaimState {
            idempotency_key: granted.digest.idempotency_key(),
            granted,
            keeping,
            inside: Mutex::new(None),
            action,
            did_not_happen: AtomicBool::new(false),
            seated: AtomicBool::new(false),
        });
        Held { state, stage: Stage::Granted, watch: None, _open: open }
    }

    pub(super) fn state(&self) -> &Arc<ClaimState> {
        &self.state
    }

    /// From here on, nobody can say that nothing happened but the body.
    pub(super) fn start(&mut self, max_run: Option<Duration>) {
        self.stage = Stage::Started;
        if let Some(max_run) = max_run {
            let granted = &self.state.granted;
            self.watch = overdue::watch(max_run, granted.store.clone(), granted.settlement(Settlement::Overdue));
        }
    }

    pub(super) fn did_not_happen(&self) -> bool {
        self.state.did_not_happen.load(Ordering::Acquire)
    }

    /// What the body has settled in a transaction of its own.
    pub(super) fn settled_inside(&self) -> Option<Kept> {
        self.state.inside.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For what the happy path has no place for. Appended with the next commit.
    pub(super) fn put_in_audit(&self, kind: &'static str, action: &str) {
        let Granted { store, attempt, epoch, .. } = &self.state.granted;
        drop(store.audit(AuditRecord {
            kind,
            actor: "body".into(),
            action: action.into(),
            detail: serde_json::json!({ "attempt": attempt.0.to_string(), "epoch": epoch }),
            at: SystemTime::now(),
        }));
    }

    pub(super) fn settle(&mut self, settlement: Settlement) -> Ticket<Settled> {
        self.stage = Stage::Settled;
        // Nothing is overdue any more.
        self.watch = None;
        let granted = &self.state.granted;
        granted.store.settle(granted.settlement(settlement))
    }

    /// The call was cut short.
    pub(super) fn abandon(&mut self, how: &'static str) {
        match self.stage {
            // Nobody can wait here; the store works it off.
            Stage::Granted => drop(self.settle(Settlement::Released("never started"))),
            Stage::Started if self.state.seated.load(Ordering::Acquire) => {
                drop(self.settle(Settlement::Released("never started")));
            }
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
