//! The gate: one configuration of authority, device, ledger and limits.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use once_cell::sync::OnceCell;

use crate::authority::desk::{Answered, Ask, Desk, Ending};
use crate::boundary::OnRefusal;
use crate::budget::{Account, Limits};
use crate::config::{Builder, ConfigError};
use crate::halt::{self, Notice};
use crate::ledger::{AuditRecord, Receipts, Store};
use crate::refused::{Kind, Refused};
use crate::scope::{self, Frame, Scope, Scoped};
use crate::tasks::{Register, Tasks};
use crate::ticket::Ticket;

mod accounts;
mod drain;
mod plan;

use accounts::Accounts;
use drain::Claims;
pub(crate) use drain::OpenClaim;
pub use drain::{Drain, Drained, drain};
pub(crate) use plan::{LedgerPlan, Plan, TaskPlan};

static INSTALLED: OnceCell<Portcullis> = OnceCell::new();

/// A gate: what is asked, as whom, and where claims are kept. Cheap to clone; clones are the same gate.
///
/// A guarded call uses the gate that its attribute names (`with = …`), else the nearest [`scope`](Portcullis::scope), else the
/// [`install`](Builder::install)ed one. If none is installed, the first guarded call installs one from environment and files.
#[derive(Clone)]
pub struct Portcullis(Arc<Inner>);

struct Inner {
    namespace: Option<String>,
    desk: Result<Desk, String>,
    device: String,
    ledger: OnceCell<Arc<dyn Store>>,
    open_ledger: LedgerPlan,
    receipts: Receipts,
    limits: Limits,
    task_plan: TaskPlan,
    tasks: Register,
    unwinds: bool,
    process: Scope,
    accounts: Accounts,
    claims: Claims,
}

impl fmt::Debug for Portcullis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portcullis")
            .field("device", &self.0.device)
            .field("authority", &self.0.desk.as_ref().map(|_| "configured"))
            .finish_non_exhaustive()
    }
}

impl AsRef<Portcullis> for Portcullis {
    fn as_ref(&self) -> &Portcullis {
        self
    }
}

impl Portcullis {
    /// Starts a configuration in code.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The gate that a guarded call made here would use.
    ///
    /// # Errors
    /// None is installed, and environment and files do not make one (the message says what is wrong with them).
    pub fn current() -> Result<Portcullis, ConfigError> {
        match scope::ambient_gate() {
            Some(gate) => Ok(gate),
            None => Portcullis::installed().cloned(),
        }
    }

    pub(crate) fn installed() -> Result<&'static Portcullis, ConfigError> {
        INSTALLED.get_or_try_init(|| Portcullis::builder().build())
    }

    pub(crate) fn install(self) -> Result<Portcullis, ConfigError> {
        INSTALLED.try_insert(self).cloned().map_err(|_| ConfigError::already_installed())
    }

    pub(crate) fn build(plan: Plan) -> Result<Portcullis, ConfigError> {
        if !plan.unwinds {
            halt::arm().map_err(|error| ConfigError::thread("the thread that ends the process", error))?;
        }
        let ending = if plan.unwinds { Ending::Unwind } else { Ending::Process };
        let (desk, device) = match plan.authority {
            Ok((authority, device)) => {
                let id = device.to_string();
                let desk = Desk::open(authority, device, plan.deadline, ending)
                    .map_err(|error| ConfigError::thread("the authority's threads", error))?;
                (Ok(desk), id)
            }
            Err(why) => (Err(why), String::from("-")),
        };
        let gate = Portcullis(Arc::new(Inner {
            namespace: plan.namespace,
            desk,
            device,
            ledger: OnceCell::new(),
            open_ledger: plan.ledger,
            receipts: plan.receipts,
            limits: plan.limits,
            task_plan: plan.tasks,
            tasks: Register::new(plan.tasks.max_depth),
            unwinds: plan.unwinds,
            process: Scope::process(),
            accounts: Accounts::default(),
            claims: Claims::default(),
        }));
        if !plan.unwinds {
            let witness = Arc::downgrade(&gate.0);
            halt::set_witness(move |notice, until| {
                if let Some(inner) = witness.upgrade() {
                    Portcullis(inner).witness(notice, until);
                }
            });
        }
        Ok(gate)
    }

    /// Runs `future` with this gate as the ambient one. It travels with the future like a [`scope`](crate::scope()).
    pub fn scope<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped::gate(self.clone(), future)
    }

    /// Runs `f` with this gate as the ambient one.
    pub fn scope_sync<R>(&self, f: impl FnOnce() -> R) -> R {
        scope::within(Frame::Gate(self.clone()), f)
    }

    /// The tasks that were opened on this gate.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        Tasks::of(self.clone())
    }

    // --- for the guarded call ---

    pub(crate) fn register(&self) -> &Register {
        &self.0.tasks
    }

    /// What a task may use whose attribute states `limits`.
    pub(crate) fn task_limits(&self, limits: Limits) -> Limits {
        self.0.task_plan.limits(limits).tightened_by(self.0.limits)
    }

    pub(crate) fn device(&self) -> &str {
        &self.0.device
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.0.namespace.as_deref()
    }

    pub(crate) fn receipts(&self) -> &Receipts {
        &self.0.receipts
    }

    pub(crate) fn process_scope(&self) -> &Scope {
        &self.0.process
    }

    pub(crate) fn named_scope(&self, id: &str) -> Arc<Scope> {
        self.0.accounts.named_scope(id, self.0.limits)
    }

    pub(crate) fn keyed_account(&self, site: usize, key: &str, limits: &Limits) -> Result<Arc<Account>, Refused> {
        self.0.accounts.keyed_account(site, key, limits)
    }

    /// Asks the authority. Without one, the answer is `not_configured`.
    pub(crate) fn ask(&self, ask: Ask) -> Ticket<Answered> {
        match &self.0.desk {
            Ok(desk) => desk.ask(ask),
            Err(why) => {
                let refused =
                    Refused::new(Kind::NotConfigured, ask.action.to_string(), why.clone()).advise(NO_AUTHORITY);
                let boundary = ask.boundaries.first().map_or("-", |boundary| boundary.name());
                Ticket::ready(match ask.on_fault {
                    OnRefusal::Return => Answered::Refused(refused),
                    OnRefusal::Exit => Answered::End(self.notice(boundary, &refused)),
                })
            }
        }
    }

    pub(crate) fn ledger(&self) -> Result<&Arc<dyn Store>, Refused> {
        self.0.ledger.get_or_try_init(|| (self.0.open_ledger)())
    }

    /// Carries out `on`: gives the refusal back, or ends the process (or the test).
    pub(crate) fn refuse(&self, on: OnRefusal, boundary: &'static str, refused: Refused) -> Refused {
        match on {
            OnRefusal::Return => refused,
            OnRefusal::Exit => self.end(&self.notice(boundary, &refused)),
        }
    }

    pub(crate) fn notice(&self, boundary: &'static str, refused: &Refused) -> Notice {
        Notice {
            kind: refused.kind(),
            boundary,
            action: refused.action().into(),
            device: self.0.device.clone(),
            code: refused.explanation(),
            request_id: String::new(),
        }
    }

    pub(crate) fn end(&self, notice: &Notice) -> ! {
        if self.0.unwinds {
            #[cfg(feature = "testing")]
            crate::testing::unwind(notice);
        }
        halt::end(notice)
    }

    /// Puts a refusal at a boundary on record, with the next commit. A ledger that nothing has opened yet is not opened for this.
    pub(crate) fn put_in_audit(&self, boundary: &'static str, refused: &Refused) {
        if let Some(store) = self.0.ledger.get() {
            drop(store.audit(self.record("refused", &self.notice(boundary, refused))));
        }
    }

    /// The audit record of the end, as far as the time allows.
    fn witness(&self, notice: &Notice, until: Instant) {
        let Some(store) = self.0.ledger.get() else { return };
        let mut ticket = store.audit(self.record("ended", notice));
        // The process is about to end: looking again and again is the one wait that needs nothing else to work.
        while ticket.is_pending() && Instant::now() < until {
            std::thread::yield_now();
        }
    }

    fn record(&self, kind: &'static str, notice: &Notice) -> AuditRecord {
        AuditRecord {
            kind,
            actor: self.0.device.clone(),
            action: notice.action.clone(),
            detail: serde_json::json!({
                "boundary": notice.boundary,
                "code": notice.kind.code(),
                "reason": notice.code,
                "request": notice.request_id,
            }),
            at: std::time::SystemTime::now(),
        }
    }
}

/// The two lines that a newcomer has to add.
const NO_AUTHORITY: &str = "set PORTCULLIS_AUTHORITY=machineid and MACHINEID_ORG_KEY=org_… (with SERVICE_NAME, ENVIRONMENT, \
     SERVICE_ROLE and INSTANCE_ID), or for one machine call \
     `Portcullis::builder().embedded(\"ledger.db\").install()?` first";

/// The maps behind these locks are whole between any two statements: a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
