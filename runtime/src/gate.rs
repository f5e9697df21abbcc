//! The gate: one configuration of authority, device, ledger and limits.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;

use crate::authority::desk::{Answered, Ask, Desk, Ending};
use crate::authority::{Authority, Device};
use crate::boundary::OnRefusal;
use crate::budget::{Account, Limits};
use crate::config::{Builder, ConfigError, TaskLayers};
use crate::halt::{self, Notice};
use crate::ledger::{AuditRecord, Receipts, Store};
use crate::refused::{Kind, Refused};
use crate::scope::{self, Frame, Scope, Scoped};
use crate::tasks::loops::Detector;
use crate::tasks::settings::Settings;
use crate::tasks::{Register, Tasks};
use crate::ticket::Ticket;

static INSTALLED: OnceCell<Portcullis> = OnceCell::new();

/// A gate: what is asked, as whom, and where claims are kept. Cheap to clone; clones are the same gate.
///
/// A guarded call uses the gate that its attribute names (`with = …`), else the nearest [`scope`](Portcullis::scope), else the
/// [`install`](Builder::install)ed one. If none is installed, the first guarded call installs one from environment and files.
#[derive(Clone)]
pub struct Portcullis(Arc<Inner>);

/// What a gate is built from, once every source of configuration has been heard.
pub(crate) struct Plan {
    pub(crate) namespace: Option<String>,
    /// `Err`: why no authority can be asked.
    pub(crate) authority: Result<(Arc<dyn Authority>, Device), String>,
    pub(crate) ledger: LedgerPlan,
    pub(crate) receipts: Receipts,
    pub(crate) deadline: Duration,
    pub(crate) limits: Limits,
    pub(crate) tasks: TaskPlan,
    pub(crate) unwinds: bool,
}

/// What tasks may do where their attribute says nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TaskPlan {
    /// Limits that a task's attribute leaves open.
    pub(crate) budget: Limits,
    /// What the working directory's files allow at most, whatever the attribute says.
    pub(crate) lowered: Limits,
    /// How deep the tree of tasks may be.
    pub(crate) max_depth: u64,
}

impl TaskPlan {
    pub(crate) fn of(layers: TaskLayers) -> Result<Self, ConfigError> {
        let (settings, lowered) = Settings::of(layers)?;
        Ok(TaskPlan { budget: settings.budget.limits(), lowered, max_depth: settings.lifecycle.max_depth })
    }

    /// What a task may use whose attribute states `limits`.
    fn limits(&self, limits: Limits) -> Limits {
        limits.or(self.budget).tightened_by(self.lowered)
    }
}

impl Default for TaskPlan {
    fn default() -> Self {
        TaskPlan { budget: Limits::TASK, lowered: Limits::new(), max_depth: Detector::MAX_DEPTH }
    }
}

/// How the ledger is opened, on the first claim.
pub(crate) type LedgerPlan = Box<dyn Fn() -> Result<Arc<dyn Store>, Refused> + Send + Sync>;

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
    scopes: Mutex<HashMap<String, Weak<Scope>>>,
    keyed: Mutex<HashMap<(usize, String), Keyed>>,
    claims: Claims,
}

/// An account of `per = EXPR`.
struct Keyed {
    account: Arc<Account>,
    used: Instant,
    idle: Duration,
}

/// How many accounts of `per = EXPR` a gate keeps at once.
const KEYED_ACCOUNTS: usize = 65_536;
/// How long such an account is remembered after its last step, at least.
const KEYED_IDLE: Duration = Duration::from_secs(3600);

/// Claims whose bodies are running, for `drain`.
#[derive(Default)]
struct Claims {
    draining: AtomicBool,
    open: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
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
            scopes: Mutex::default(),
            keyed: Mutex::default(),
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

    /// Ends orderly: from now on no new claim is granted; claims whose bodies are running may settle until `timeout` has passed.
    ///
    /// Await it, or [`wait`](Drain::wait) for it where nothing awaits. Boundaries and budgets go on working: only `#[once]`
    /// calls are refused, as `halted`.
    pub fn drain(&self, timeout: Duration) -> Drain {
        self.0.claims.draining.store(true, Ordering::SeqCst);
        let until = Instant::now() + timeout;
        let (sender, ticket) = Ticket::new();
        let gate = self.clone();
        let work = move || {
            let settled = gate.0.claims.wait_until_none(until);
            let flushed = match gate.0.ledger.get() {
                Some(store) => store.drain(until).wait().unwrap_or(false),
                None => true,
            };
            // Nobody may be waiting any more; the draining itself goes on.
            sender.send(if settled && flushed { Drained::All } else { Drained::TimedOut });
        };
        if let Err(error) = std::thread::Builder::new().name("portcullis-drain".into()).spawn(work) {
            tracing::error!(%error, "no thread for draining: what is unsettled stays unsettled");
        }
        Drain(ticket)
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
        let mut scopes = lock(&self.0.scopes);
        if let Some(scope) = scopes.get(id).and_then(Weak::upgrade) {
            return scope;
        }
        if scopes.len() == scopes.capacity() {
            scopes.retain(|_, scope| scope.strong_count() > 0);
        }
        let scope = Arc::new(Scope::named(id, self.0.limits));
        scopes.insert(id.into(), Arc::downgrade(&scope));
        scope
    }

    pub(crate) fn keyed_account(&self, site: usize, key: &str, limits: &Limits) -> Result<Arc<Account>, Refused> {
        let now = Instant::now();
        let mut keyed = lock(&self.0.keyed);
        if let Some(entry) = keyed.get_mut(&(site, key.to_owned())) {
            entry.used = now;
            return Ok(Arc::clone(&entry.account));
        }
        if keyed.len() >= KEYED_ACCOUNTS {
            keyed.retain(|_, entry| now.duration_since(entry.used) < entry.idle);
        }
        if keyed.len() >= KEYED_ACCOUNTS {
            // Forgetting a live account would give it its limit anew.
            return Err(Refused::new(
                Kind::BudgetSteps,
                "per",
                format!("{KEYED_ACCOUNTS} accounts of `per = …` are in use, and one more would push a live one out"),
            )
            .advise("use an expression with fewer values"));
        }
        let account = Account::open(format!("`{key}`"), *limits);
        let idle = limits.lifetime().map_or(KEYED_IDLE, |lifetime| lifetime.max(KEYED_IDLE));
        keyed.insert((site, key.to_owned()), Keyed { account: Arc::clone(&account), used: now, idle });
        Ok(account)
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

    /// Counts a claim as open until the guard is dropped; `Err` while draining.
    pub(crate) fn open_claim(&self, action: &str) -> Result<OpenClaim, Refused> {
        self.0.claims.open.fetch_add(1, Ordering::SeqCst);
        let open = OpenClaim(self.clone());
        // Looked at after counting: `drain` sets the flag first and counts afterwards, so one of the two sees the other.
        if self.0.claims.draining.load(Ordering::SeqCst) {
            return Err(Refused::new(Kind::Halted, action, "the gate is draining, and no new claim is granted"));
        }
        Ok(open)
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

pub(crate) struct OpenClaim(Portcullis);

impl Drop for OpenClaim {
    fn drop(&mut self) {
        let claims = &self.0.0.claims;
        if claims.open.fetch_sub(1, Ordering::SeqCst) == 1 && claims.draining.load(Ordering::SeqCst) {
            drop(lock(&claims.lock));
            claims.changed.notify_all();
        }
    }
}

impl Claims {
    fn wait_until_none(&self, until: Instant) -> bool {
        let mut held = lock(&self.lock);
        while self.open.load(Ordering::SeqCst) > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            held = self.changed.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// The maps behind these locks are whole between any two statements: a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Draining; made by [`Portcullis::drain`]. Dropping it does not stop the draining.
#[must_use = "it tells whether everything was settled"]
pub struct Drain(Ticket<Drained>);

/// How a [`Drain`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every claim is settled, durably.
    All,
    /// The time was up first. What is unsettled will be in doubt once the process has ended.
    TimedOut,
}

impl Drain {
    /// Blocks until the draining has ended. Works inside any async runtime, where it blocks the thread.
    #[must_use]
    pub fn wait(self) -> Drained {
        self.0.wait().unwrap_or(Drained::TimedOut)
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").finish_non_exhaustive()
    }
}

impl Future for Drain {
    type Output = Drained;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Drained> {
        Pin::new(&mut self.0).poll(cx).map(|drained| drained.unwrap_or(Drained::TimedOut))
    }
}

/// [`Portcullis::drain`] of the gate that is installed. Without one there is nothing to drain.
pub fn drain(timeout: Duration) -> Drain {
    match INSTALLED.get() {
        Some(gate) => gate.drain(timeout),
        None => Drain(Ticket::ready(Drained::All)),
    }
}
