//! Where guarded calls are counted together.
//!
//! Every thread has a stack of frames: the gate in use, the scopes and the guarded calls that are running. Sync code
//! pushes a frame and pops it; a future keeps its frame and pushes it for the time of each poll. So a scope follows
//! its future across `.await`, onto any thread and any executor, and never leaks into a neighbour that is
//! polled in between.
//!
//! # Invariants
//! 1. Frames are popped in the order in which they were pushed, also while unwinding.
//! 2. An account is in the stack at most once: a recursive call finds its account there and pushes none.
//! 3. No frame is borrowed while foreign code runs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::budget::{Account, Cost, Limits, Per};
use crate::gate::Portcullis;
use crate::ledger::Digest;
use crate::refused::{Kind, Refused};

thread_local! {
    static AMBIENT: RefCell<Ambient> = const { RefCell::new(Ambient { frames: Vec::new(), recent: [const { None }; RECENT] }) };
}

/// What a thread knows.
struct Ambient {
    frames: Vec<Frame>,
    /// Accounts that this thread charged lately. A step takes its account from here and its end puts it back, so that a loop
    /// neither locks the scope's table nor touches a count of references.
    recent: [Option<Arc<Account>>; RECENT],
}

const RECENT: usize = 8;

/// Where a thread keeps the accounts of a site.
const fn slot(site: usize) -> usize {
    (site >> 4) % RECENT
}

/// One entry of the stack.
#[derive(Clone)]
pub(crate) enum Frame {
    Gate(Portcullis),
    Scope(Arc<Scope>),
    Call(CallFrame),
}

/// A guarded call that is running.
#[derive(Clone, Default)]
pub(crate) struct CallFrame {
    /// Its own account, unless it is in the stack already (invariant 2).
    pub(crate) account: Option<Arc<Account>>,
    /// What few calls have. Boxed, because every step moves the frame.
    pub(crate) rest: Option<Box<Rest>>,
}

#[derive(Clone, Default)]
pub(crate) struct Rest {
    /// What the call has claimed, so that the same claim inside itself is seen.
    claim: Option<Digest>,
    /// What it has reserved.
    purse: Option<Arc<Purse>>,
}

impl CallFrame {
    pub(crate) fn set_claim(&mut self, claim: Digest) {
        self.rest.get_or_insert_default().claim = Some(claim);
    }

    pub(crate) fn set_purse(&mut self, purse: Arc<Purse>) {
        self.rest.get_or_insert_default().purse = Some(purse);
    }

    fn claim(&self) -> Option<&Digest> {
        self.rest.as_ref()?.claim.as_ref()
    }

    pub(crate) fn purse(&self) -> Option<&Arc<Purse>> {
        self.rest.as_ref()?.purse.as_ref()
    }
}

/// A task's or scope's accounts.
#[derive(Debug)]
pub(crate) struct Scope {
    /// Never used twice, unlike an address.
    number: u64,
    holder: String,
    /// The limits of the configuration; every guarded call in the scope is a step on it.
    own: Option<Arc<Account>>,
    /// One account for each budgeted function that is called here, by the address of its site.
    accounts: RwLock<HashMap<usize, Arc<Account>, BuildHasherDefault<AddressHasher>>>,
}

impl Scope {
    pub(crate) fn named(id: &str, limits: Limits) -> Self {
        let holder = format!("the scope `{id}`");
        let own = (limits != Limits::new()).then(|| Account::open(holder.clone(), limits));
        Scope { number: next_number(), holder, own, accounts: RwLock::default() }
    }

    /// The one without a name: what happens outside of every scope.
    pub(crate) fn process() -> Self {
        Scope {
            number: next_number(),
            holder: "the process (no scope is open)".into(),
            own: None,
            accounts: RwLock::default(),
        }
    }

    #[inline]
    fn account(&self, recent: &mut [Option<Arc<Account>>; RECENT], site: usize, limits: &Limits) -> Arc<Account> {
        let home = Home { scope: self.number, site };
        match recent[slot(site)].take_if(|account| account.home() == Some(home)) {
            Some(account) => account,
            None => self.shared_account(home, limits),
        }
    }

    fn shared_account(&self, home: Home, limits: &Limits) -> Arc<Account> {
        let site = home.site;
        // A panic elsewhere leaves the map whole: it is only ever added to.
        if let Some(account) = self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(&site) {
            return Arc::clone(account);
        }
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(accounts.entry(site).or_insert_with(|| Account::open_at(home, self.holder.clone(), *limits)))
    }
}

fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Which account of which scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    scope: u64,
    site: usize,
}

/// Addresses are distinct as they are; what matters of them is not in the lowest bits.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 << 8 | u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
    fn write_usize(&mut self, address: usize) {
        self.0 = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A budgeted function, as the stack sees it.
pub(crate) struct Own<'a> {
    pub(crate) site: usize,
    pub(crate) limits: &'a Limits,
    pub(crate) per: Per,
    pub(crate) key: Option<&'a str>,
}

/// Charges one step to every account in whose scope the call happens. On success, the account that the call's own frame carries.
pub(crate) fn step(gate: &Portcullis, action: &str, own: Option<Own<'_>>) -> Result<Option<Arc<Account>>, Refused> {
    AMBIENT
        .try_with(|ambient| ambient.borrow_mut().step(gate, action, own))
        .unwrap_or_else(|_| Err(thread_is_ending(action)))
}

/// The same, and pushes the frame at once: for a call that has nothing to wait for before its body.
pub(crate) fn enter_step(gate: &Portcullis, action: &str, own: Option<Own<'_>>) -> Result<Pop, Refused> {
    AMBIENT
        .try_with(|ambient| {
            let mut ambient = ambient.borrow_mut();
            let account = ambient.step(gate, action, own)?;
            ambient.frames.push(Frame::Call(CallFrame { account, rest: None }));
            Ok(Pop { pushed: true })
        })
        .unwrap_or_else(|_| Err(thread_is_ending(action)))
}

impl Ambient {
    /// Every account counts the step, also when another one refuses it; the innermost refusal is the one that is returned.
    #[inline]
    fn step(&mut self, gate: &Portcullis, action: &str, own: Option<Own<'_>>) -> Result<Option<Arc<Account>>, Refused> {
        let Ambient { frames, recent } = self;
        let own = own.map(|own| open(gate, frames, recent, &own)).transpose()?;
        let mut own_is_below = false;
        let mut depth = 1;
        let mut first_refusal = Ok(());
        for frame in frames.iter().rev() {
            let result = match frame {
                Frame::Gate(_) => Ok(()),
                Frame::Scope(scope) => scope.own.as_ref().map_or(Ok(()), |account| account.step(action, depth)),
                Frame::Call(call) => {
                    depth += 1;
                    call.account.as_ref().map_or(Ok(()), |account| {
                        own_is_below |= own.as_ref().is_some_and(|own| Arc::ptr_eq(own, account));
                        account.step(action, depth)
                    })
                }
            };
            first_refusal = first_refusal.and(result);
        }
        match own {
            Some(own) if !own_is_below => own.step(action, 1).and(first_refusal).map(|()| Some(own)),
            Some(_) | None => first_refusal.map(|()| None),
        }
    }
}

fn open(
    gate: &Portcullis,
    frames: &[Frame],
    recent: &mut [Option<Arc<Account>>; RECENT],
    own: &Own<'_>,
) -> Result<Arc<Account>, Refused> {
    match own.per {
        Per::Task => {
            let scope = frames.iter().rev().find_map(|frame| match frame {
                Frame::Scope(scope) => Some(&**scope),
                Frame::Gate(_) | Frame::Call(_) => None,
            });
            Ok(scope.unwrap_or_else(|| gate.process_scope()).account(recent, own.site, own.limits))
        }
        Per::Process => Ok(gate.process_scope().account(recent, own.site, own.limits)),
        Per::Call => Ok(Account::open("this call".into(), *own.limits)),
        Per::Key => gate.keyed_account(own.site, own.key.unwrap_or_default(), own.limits),
    }
}

#[cold]
fn thread_is_ending(action: &str) -> Refused {
    Refused::new(Kind::Halted, action, "its thread is ending, and what it should be charged to is gone")
}

/// What a call with `cost = …` has set aside, on every account that limits money.
#[derive(Debug)]
pub(crate) struct Purse {
    amount: Cost,
    accounts: Vec<Arc<Account>>,
    charged: AtomicU64,
    /// Once the body has started, only `charge` can make the call cheaper.
    started: AtomicBool,
}

impl Purse {
    pub(crate) fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// Books `cost`, first against what is set aside.
    fn charge(&self, action: &str, cost: Cost) -> Result<(), Refused> {
        if cost.currency() != self.amount.currency() {
            return Err(Refused::new(
                Kind::InvalidArgument,
                action,
                format!("{cost} was charged inside a call that has reserved {}", self.amount),
            )
            .advise("charge in the currency of `cost = …`"));
        }
        let before = self.charged.fetch_add(cost.micros(), Ordering::Relaxed);
        let covered = self.amount.micros().saturating_sub(before).min(cost.micros());
        let beyond = Cost::from_micros_in(cost.micros() - covered, cost);
        if beyond.micros() == 0 {
            return Ok(());
        }
        spend(&self.accounts, action, beyond)
    }
}

impl Drop for Purse {
    fn drop(&mut self) {
        let (reserved, charged) = (self.amount.micros(), *self.charged.get_mut());
        let unused = match (*self.started.get_mut(), charged) {
            (false, _) => reserved,
            // Nobody said what it cost: what was set aside is what it cost.
            (true, 0) => 0,
            (true, charged) => reserved.saturating_sub(charged),
        };
        for account in &self.accounts {
            account.give_back(Cost::from_micros_in(unused, self.amount));
        }
    }
}

/// Sets `cost` aside on every account of the stack, and on `own`, which is not in it yet.
pub(crate) fn reserve(action: &str, cost: Cost, own: Option<&Arc<Account>>) -> Result<Arc<Purse>, Refused> {
    let mut purse =
        Purse { amount: cost, accounts: Vec::new(), charged: AtomicU64::new(0), started: AtomicBool::new(false) };
    for account in accounts_of_money(action)?.into_iter().chain(own.filter(|own| own.limits_money()).cloned()) {
        // A refusal drops the purse, which gives back what the earlier accounts had set aside.
        account.reserve(action, cost)?;
        purse.accounts.push(account);
    }
    Ok(Arc::new(purse))
}

fn accounts_of_money(action: &str) -> Result<Vec<Arc<Account>>, Refused> {
    let limited = |frame: &Frame| {
        let account = match frame {
            Frame::Call(call) => call.account.as_ref(),
            Frame::Scope(scope) => scope.own.as_ref(),
            Frame::Gate(_) => None,
        };
        account.filter(|account| account.limits_money()).cloned()
    };
    AMBIENT
        .try_with(|ambient| ambient.borrow().frames.iter().rev().filter_map(limited).collect())
        .map_err(|_| thread_is_ending(action))
}

/// The money is gone: every account hears of it, also after one has objected. The first objection is returned.
fn spend(accounts: &[Arc<Account>], action: &str, cost: Cost) -> Result<(), Refused> {
    let mut first_refusal = Ok(());
    for account in accounts {
        first_refusal = first_refusal.and(account.spend(action, cost));
    }
    first_refusal
}

/// Books what something really cost, on every account in whose scope it happens.
///
/// Inside a call with `cost = …` it is booked against what that call has set aside; the rest of the reservation is given back
/// when the call ends. Money beyond the reservation counts as well, also where it does not fit: it is spent.
///
/// # Errors
/// `budget_cost` if an account is now over its limit: stop spending. `invalid_argument` for another currency.
///
/// ```
/// # fn answer() -> Result<(), portcullis::Refused> {
/// portcullis::charge(portcullis::Cost::from_micros(1_250, "USD"))?;
/// # Ok(())
/// # }
/// # answer().unwrap();
/// ```
pub fn charge(cost: Cost) -> Result<(), Refused> {
    const ACTION: &str = "portcullis::charge";
    let purse = AMBIENT
        .try_with(|ambient| {
            ambient.borrow().frames.iter().rev().find_map(|frame| match frame {
                Frame::Call(call) => call.purse().cloned(),
                Frame::Scope(_) | Frame::Gate(_) => None,
            })
        })
        .map_err(|_| thread_is_ending(ACTION))?;
    match purse {
        Some(purse) => purse.charge(ACTION, cost),
        None => spend(&accounts_of_money(ACTION)?, ACTION, cost),
    }
}

/// `true` if this very claim is being worked on further up in the call chain.
pub(crate) fn is_claimed_above(digest: &Digest) -> bool {
    AMBIENT
        .try_with(|ambient| {
            ambient
                .borrow()
                .frames
                .iter()
                .any(|frame| matches!(frame, Frame::Call(call) if call.claim() == Some(digest)))
        })
        .unwrap_or(false)
}

/// The gate of the nearest `gate.scope(…)`.
pub(crate) fn ambient_gate() -> Option<Portcullis> {
    AMBIENT
        .try_with(|ambient| {
            ambient.borrow().frames.iter().rev().find_map(|frame| match frame {
                Frame::Gate(gate) => Some(gate.clone()),
                Frame::Scope(_) | Frame::Call(_) => None,
            })
        })
        .ok()
        .flatten()
}

/// Runs `f` with `frame` on the stack.
#[inline]
pub(crate) fn within<R>(frame: Frame, f: impl FnOnce() -> R) -> R {
    let _pop = Pop { pushed: push(frame) };
    f()
}

/// Runs one poll with `frame` on the stack, and takes the frame back.
#[inline]
pub(crate) fn poll_within<R>(frame: &mut Option<Frame>, poll: impl FnOnce() -> R) -> R {
    let pushed = frame.take().is_some_and(push);
    let _pop = PopInto { pushed, home: frame };
    poll()
}

/// A thread whose stack is gone refuses every guarded call, so nothing is lost there without the frame.
#[inline]
fn push(frame: Frame) -> bool {
    AMBIENT.try_with(|ambient| ambient.borrow_mut().frames.push(frame)).is_ok()
}

/// Pops what was pushed (invariant 1).
#[must_use = "dropping it pops the frame"]
pub(crate) struct Pop {
    pushed: bool,
}

impl Drop for Pop {
    #[inline]
    fn drop(&mut self) {
        if !self.pushed {
            return;
        }
        let popped = AMBIENT.try_with(|ambient| {
            let Ambient { frames, recent } = &mut *ambient.borrow_mut();
            let mut popped = frames.pop();
            // The account is left to the next step.
            if let Some(Frame::Call(call)) = &mut popped
                && let Some(home) = call.account.as_ref().and_then(|account| account.home())
            {
                std::mem::swap(&mut recent[slot(home.site)], &mut call.account);
            }
            popped
        });
        // Out here nothing is borrowed: a frame may own the last reference to something that looks at the stack.
        drop(popped);
    }
}

/// Pops what was pushed, back to where it came from.
struct PopInto<'a> {
    pushed: bool,
    home: &'a mut Option<Frame>,
}

impl Drop for PopInto<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.pushed
            && let Ok(frame) = AMBIENT.try_with(|ambient| ambient.borrow_mut().frames.pop())
        {
            *self.home = frame;
        }
    }
}

pin_project! {
    /// A future inside a scope; made by [`scope`] and by [`Portcullis::scope`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        frame: Entry,
        #[pin]
        future: F,
    }
}

/// A scope is looked up when it is first entered, not when its future is made.
enum Entry {
    Named(String),
    Ready(Option<Frame>),
}

impl<F> Scoped<F> {
    pub(crate) fn gate(gate: Portcullis, future: F) -> Self {
        Scoped { frame: Entry::Ready(Some(Frame::Gate(gate))), future }
    }
}

impl<F> fmt::Debug for Scoped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scoped").finish_non_exhaustive()
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Entry::Named(id) = this.frame {
            *this.frame = Entry::Ready(Some(Frame::Scope(enter(id))));
        }
        match this.frame {
            Entry::Ready(frame) => poll_within(frame, || this.future.poll(cx)),
            Entry::Named(_) => unreachable!("it has just been made ready"),
        }
    }
}

fn enter(id: &str) -> Arc<Scope> {
    match Portcullis::current() {
        Ok(gate) => gate.named_scope(id),
        // Without a gate every guarded call in here is refused for that reason.
        Err(_) => Arc::new(Scope::named(id, Limits::new())),
    }
}

/// Runs `future` in the scope `id`: guarded calls in it are counted together, apart from all others.
///
/// While a scope is open, another one with the same id (on the same gate) shares its accounts, so that entering again does
/// not start from zero. When the last one ends, its accounts are gone: put the loop inside the scope, not
/// around it. The scope travels with the future across `.await`, on any executor; work that is spawned inside
/// takes it along with [`.in_task()`](InTask::in_task).
///
/// # Cancel safety
/// Dropping the future closes the scope.
///
/// ```
/// use portcullis::{Refused, budgeted};
///
/// #[budgeted(max_steps = 2)]
/// async fn think() -> Result<(), Refused> {
///     Ok(())
/// }
///
/// # pollster::block_on(async {
/// for job in ["job-1", "job-2"] {
///     portcullis::scope(job, async {
///         think().await.unwrap();
///         think().await.unwrap();
///         assert_eq!(think().await.unwrap_err().code(), "budget_steps");
///     })
///     .await;
/// }
/// # });
/// ```
pub fn scope<F: Future>(id: impl Into<String>, future: F) -> Scoped<F> {
    Scoped { frame: Entry::Named(id.into()), future }
}

/// Runs `f` in the scope `id`; like [`scope`], for code that does not await.
pub fn scope_sync<R>(id: impl AsRef<str>, f: impl FnOnce() -> R) -> R {
    within(Frame::Scope(enter(id.as_ref())), f)
}

/// Takes the scope along into work that is spawned.
pub trait InTask: Future + Sized {
    /// The same future, counted where this call is made, wherever it is spawned. Without it, spawned work is
    /// charged to the process.
    ///
    /// ```
    /// # async fn step() {}
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use portcullis::InTask;
    /// tokio::spawn(step().in_task()).await.unwrap();
    /// # });
    /// ```
    fn in_task(self) -> Carried<Self> {
        let frames = AMBIENT.try_with(|ambient| ambient.borrow().frames.clone()).unwrap_or_default();
        Carried { frames, future: self }
    }
}

impl<F: Future> InTask for F {}

pin_project! {
    /// A future that carries its scope; made by [`InTask::in_task`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Carried<F> {
        frames: Vec<Frame>,
        #[pin]
        future: F,
    }
}

impl<F> fmt::Debug for Carried<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").finish_non_exhaustive()
    }
}

impl<F: Future> Future for Carried<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _replaced = Replaced::with(this.frames);
        this.future.poll(cx)
    }
}

/// The whole stack, exchanged for another one for the time of a poll: what is awaited in place is not counted twice.
struct Replaced<'a> {
    carried: &'a mut Vec<Frame>,
}

impl<'a> Replaced<'a> {
    fn with(carried: &'a mut Vec<Frame>) -> Self {
        let _ = AMBIENT.try_with(|ambient| std::mem::swap(&mut ambient.borrow_mut().frames, carried));
        Replaced { carried }
    }
}

impl Drop for Replaced<'_> {
    fn drop(&mut self) {
        let _ = AMBIENT.try_with(|ambient| std::mem::swap(&mut ambient.borrow_mut().frames, self.carried));
    }
}
