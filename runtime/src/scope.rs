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
    static AMBIENT: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
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
    /// What it has claimed, so that the same claim inside itself is seen.
    pub(crate) claim: Option<Digest>,
    /// What it has reserved.
    pub(crate) purse: Option<Arc<Purse>>,
}

/// A task's or scope's accounts.
#[derive(Debug)]
pub(crate) struct Scope {
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
        Scope { holder, own, accounts: RwLock::default() }
    }

    /// The one without a name: what happens outside of every scope.
    pub(crate) fn process() -> Self {
        Scope { holder: "the process (no scope is open)".into(), own: None, accounts: RwLock::default() }
    }

    fn account(&self, site: usize, limits: &Limits) -> Arc<Account> {
        // A panic elsewhere leaves the map whole: it is only ever added to.
        if let Some(account) = self.accounts.read().unwrap_or_else(PoisonError::into_inner).get(&site) {
            return Arc::clone(account);
        }
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(accounts.entry(site).or_insert_with(|| Account::open(self.holder.clone(), *limits)))
    }
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
///
/// Every account counts the step, also when another one refuses it; the innermost refusal is the one that is returned.
pub(crate) fn step(gate: &Portcullis, action: &str, own: Option<Own<'_>>) -> Result<Option<Arc<Account>>, Refused> {
    AMBIENT
        .try_with(|frames| {
            let frames = frames.borrow();
            let own = own.map(|own| open(gate, &frames, &own)).transpose()?;
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
        })
        .unwrap_or_else(|_| Err(thread_is_ending(action)))
}

fn open(gate: &Portcullis, frames: &[Frame], own: &Own<'_>) -> Result<Arc<Account>, Refused> {
    match own.per {
        Per::Task => {
            let scope = frames.iter().rev().find_map(|frame| match frame {
                Frame::Scope(scope) => Some(&**scope),
                Frame::Gate(_) | Frame::Call(_) => None,
            });
            Ok(scope.unwrap_or_else(|| gate.process_scope()).account(own.site, own.limits))
        }
        Per::Process => Ok(gate.process_scope().account(own.site, own.limits)),
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
        self.accounts.iter().fold(Ok(()), |result, account| result.and(account.spend(action, beyond)))
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
    let mut purse = Purse { amount: cost, accounts: Vec::new(), charged: AtomicU64::new(0), started: AtomicBool::new(false) };
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
        .try_with(|frames| frames.borrow().iter().rev().filter_map(limited).collect())
        .map_err(|_| thread_is_ending(action))
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
        .try_with(|frames| {
            frames.borrow().iter().rev().find_map(|frame| match frame {
                Frame::Call(call) => call.purse.clone(),
                Frame::Scope(_) | Frame::Gate(_) => None,
            })
        })
        .map_err(|_| thread_is_ending(ACTION))?;
    match purse {
        Some(purse) => purse.charge(ACTION, cost),
        None => accounts_of_money(ACTION)?.iter().fold(Ok(()), |result, account| result.and(account.spend(ACTION, cost))),
    }
}

/// `true` if this very claim is being worked on further up in the call chain.
pub(crate) fn is_claimed_above(digest: &Digest) -> bool {
    AMBIENT
        .try_with(|frames| frames.borrow().iter().any(|frame| matches!(frame, Frame::Call(call) if call.claim.as_ref() == Some(digest))))
        .unwrap_or(false)
}

/// The gate of the nearest `gate.scope(…)`.
pub(crate) fn ambient_gate() -> Option<Portcullis> {
    AMBIENT
        .try_with(|frames| {
            frames.borrow().iter().rev().find_map(|frame| match frame {
                Frame::Gate(gate) => Some(gate.clone()),
                Frame::Scope(_) | Frame::Call(_) => None,
            })
        })
        .ok()
        .flatten()
}

/// Runs `f` with `frame` on the stack.
pub(crate) fn within<R>(frame: Frame, f: impl FnOnce() -> R) -> R {
    let _pushed = Pushed::push(&mut Some(frame), None);
    f()
}

/// Runs one poll with `frame` on the stack, and takes the frame back.
pub(crate) fn poll_within<R>(frame: &mut Option<Frame>, poll: impl FnOnce() -> R) -> R {
    let mut kept = frame.take();
    let _pushed = Pushed::push(&mut kept, Some(frame));
    poll()
}

/// Pops what it has pushed (invariant 1).
struct Pushed<'a> {
    height: Option<usize>,
    home: Option<&'a mut Option<Frame>>,
}

impl<'a> Pushed<'a> {
    fn push(frame: &mut Option<Frame>, home: Option<&'a mut Option<Frame>>) -> Self {
        let push = |frames: &RefCell<Vec<Frame>>| {
            let frame = frame.take()?;
            let mut frames = frames.borrow_mut();
            frames.push(frame);
            Some(frames.len() - 1)
        };
        // A thread whose stack is gone refuses every guarded call in it, so that nothing is lost without the frame.
        Pushed { height: AMBIENT.try_with(push).ok().flatten(), home }
    }
}

impl Drop for Pushed<'_> {
    fn drop(&mut self) {
        let Some(height) = self.height else { return };
        let popped = AMBIENT.try_with(|frames| {
            let mut frames = frames.borrow_mut();
            debug_assert_eq!(frames.len(), height + 1, "frames are popped in order");
            frames.pop()
        });
        match (popped, &mut self.home) {
            (Ok(frame), Some(home)) => **home = frame,
            // Dropped outside of the borrow: a frame may own the last reference to something that looks at the stack.
            (Ok(frame), None) => drop(frame),
            (Err(_), _) => {}
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
        let frames = AMBIENT.try_with(|frames| frames.borrow().clone()).unwrap_or_default();
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
        let _ = AMBIENT.try_with(|frames| std::mem::swap(&mut *frames.borrow_mut(), carried));
        Replaced { carried }
    }
}

impl Drop for Replaced<'_> {
    fn drop(&mut self) {
        let _ = AMBIENT.try_with(|frames| std::mem::swap(&mut *frames.borrow_mut(), self.carried));
    }
}
