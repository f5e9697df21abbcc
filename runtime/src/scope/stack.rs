//! The stack of frames that every thread has.
//!
//! # Invariants
//! 1. Frames are popped in the order in which they were pushed, also while unwinding.
//! 2. An account is in the stack at most once: a recursive call finds its account there and pushes none.
//! 3. No frame is borrowed while foreign code runs.

use std::cell::RefCell;
use std::sync::Arc;

use super::accounts::{Recent, Scope};
use super::keeper::Owed;
use super::purse::Purse;
use crate::budget::{Account, Limits, Per};
use crate::gate::Portcullis;
use crate::ledger::Digest;
use crate::refused::{Kind, Refused};

thread_local! {
    static AMBIENT: RefCell<Ambient> = const { RefCell::new(Ambient { frames: Vec::new(), recent: Recent::new() }) };
}

/// What a thread knows.
struct Ambient {
    frames: Vec<Frame>,
    recent: Recent,
}

/// One entry of the stack.
#[derive(Clone)]
pub(crate) enum Frame {
    Gate(Portcullis),
    Scope(Arc<Scope>),
    Call(CallFrame),
}

impl Frame {
    fn scope(&self) -> Option<&Scope> {
        match self {
            Frame::Scope(scope) => Some(scope),
            Frame::Call(call) => call.task().map(|task| &**task),
            Frame::Gate(_) => None,
        }
    }
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
    /// The task that it has entered: what happens inside of it is in this scope.
    task: Option<Arc<Scope>>,
}

impl CallFrame {
    pub(crate) fn set_claim(&mut self, claim: Digest) {
        self.rest.get_or_insert_default().claim = Some(claim);
    }

    pub(crate) fn set_purse(&mut self, purse: Arc<Purse>) {
        self.rest.get_or_insert_default().purse = Some(purse);
    }

    pub(crate) fn set_task(&mut self, task: Arc<Scope>) {
        self.rest.get_or_insert_default().task = Some(task);
    }

    pub(crate) fn task(&self) -> Option<&Arc<Scope>> {
        self.rest.as_ref()?.task.as_ref()
    }

    fn claim(&self) -> Option<&Digest> {
        self.rest.as_ref()?.claim.as_ref()
    }

    pub(crate) fn purse(&self) -> Option<&Arc<Purse>> {
        self.rest.as_ref()?.purse.as_ref()
    }
}

/// A budgeted function, as the stack sees it.
pub(crate) struct Own<'a> {
    pub(crate) site: usize,
    pub(crate) limits: &'a Limits,
    pub(crate) per: Per,
    pub(crate) key: Option<&'a str>,
    /// The task that the call itself has entered.
    pub(crate) task: Option<&'a Scope>,
}

/// A step that every account in memory has let through.
pub(crate) struct Stepped {
    /// What the call's own frame carries.
    pub(crate) account: Option<Arc<Account>>,
    /// What is to be put on record first.
    pub(crate) owed: Owed,
}

/// Charges one step to every account in whose scope the call happens.
pub(crate) fn step(gate: &Portcullis, action: &str, own: Option<Own<'_>>) -> Result<Stepped, Refused> {
    AMBIENT
        .try_with(|ambient| ambient.borrow_mut().step(gate, action, own))
        .unwrap_or_else(|_| Err(thread_is_ending(action)))
}

/// A step with nothing to wait for, or nearly.
pub(crate) enum Step {
    Taken(Pop),
    /// Once that is paid, the frame is to be pushed.
    Owes(CallFrame, Owed),
}

/// The same, and pushes the frame at once: for a call that has nothing to wait for before its body.
pub(crate) fn enter_step(gate: &Portcullis, action: &str, own: Option<Own<'_>>) -> Result<Step, Refused> {
    AMBIENT
        .try_with(|ambient| {
            let mut ambient = ambient.borrow_mut();
            let Stepped { account, owed } = ambient.step(gate, action, own)?;
            if !owed.is_nothing() {
                return Ok(Step::Owes(CallFrame { account, rest: None }, owed));
            }
            ambient.frames.push(Frame::Call(CallFrame { account, rest: None }));
            Ok(Step::Taken(Pop { pushed: true }))
        })
        .unwrap_or_else(|_| Err(thread_is_ending(action)))
}

impl Ambient {
    /// Every account counts the step, also when another one refuses it; the innermost refusal is the one that is returned.
    #[inline]
    fn step(&mut self, gate: &Portcullis, action: &str, own: Option<Own<'_>>) -> Result<Stepped, Refused> {
        let Ambient { frames, recent } = self;
        let own = own.map(|own| open(gate, frames, recent, &own)).transpose()?;
        let mut own_is_below = false;
        let mut depth = 1;
        let mut first_refusal = Ok(());
        let mut owed = Owed::default();
        for frame in frames.iter().rev() {
            let result = match frame {
                Frame::Gate(_) => Ok(()),
                Frame::Scope(scope) => scope.step(action, depth, &mut owed),
                Frame::Call(call) => {
                    // Its task is inside of the call.
                    let in_task = call.task().map_or(Ok(()), |task| task.step(action, depth, &mut owed));
                    depth += 1;
                    in_task.and(call.account.as_ref().map_or(Ok(()), |account| {
                        own_is_below |= own.as_ref().is_some_and(|own| Arc::ptr_eq(own, account));
                        account.step(action, depth)
                    }))
                }
            };
            first_refusal = first_refusal.and(result);
        }
        let account = match own {
            Some(own) if !own_is_below => own.step(action, 1).and(first_refusal).map(|()| Some(own)),
            Some(_) | None => first_refusal.map(|()| None),
        };
        account.map(|account| Stepped { account, owed })
    }
}

fn open(gate: &Portcullis, frames: &[Frame], recent: &mut Recent, own: &Own<'_>) -> Result<Arc<Account>, Refused> {
    match own.per {
        Per::Task => {
            let scope = own.task.or_else(|| frames.iter().rev().find_map(Frame::scope));
            Ok(scope.unwrap_or_else(|| gate.process_scope()).account(recent, own.site, own.limits))
        }
        Per::Process => Ok(gate.process_scope().account(recent, own.site, own.limits)),
        Per::Call => Ok(Account::open("this call".into(), *own.limits)),
        Per::Key => gate.keyed_account(own.site, own.key.unwrap_or_default(), own.limits),
    }
}

#[cold]
pub(super) fn thread_is_ending(action: &str) -> Refused {
    Refused::new(Kind::Halted, action, "its thread is ending, and what it should be charged to is gone")
}

/// What `pick` finds in the frame nearest to the top. `None`: the thread is ending, and its stack is gone.
pub(super) fn nearest<T>(pick: impl FnMut(&Frame) -> Option<T>) -> Option<Option<T>> {
    AMBIENT.try_with(|ambient| ambient.borrow().frames.iter().rev().find_map(pick)).ok()
}

/// Every account on the stack for which `pick` is true, from the top. `None`: the thread is ending, and its stack is gone.
pub(super) fn accounts(pick: impl Fn(&Account) -> bool) -> Option<Vec<Arc<Account>>> {
    let of = |frame: &Frame| match frame {
        Frame::Call(call) => [call.task().and_then(|task| task.own().cloned()), call.account.clone()],
        Frame::Scope(scope) => [scope.own().cloned(), None],
        Frame::Gate(_) => [None, None],
    };
    let picked =
        |frames: &[Frame]| frames.iter().rev().flat_map(of).flatten().filter(|account| pick(account)).collect();
    AMBIENT.try_with(|ambient| picked(&ambient.borrow().frames)).ok()
}

/// The whole stack. Empty on a thread that is ending, which refuses every guarded call anyway.
pub(super) fn copy() -> Vec<Frame> {
    AMBIENT.try_with(|ambient| ambient.borrow().frames.clone()).unwrap_or_default()
}

/// Puts `frames` in the place of the whole stack, and the stack into `frames`.
pub(super) fn exchange(frames: &mut Vec<Frame>) {
    // On a thread that is ending there is nothing to exchange.
    let _ = AMBIENT.try_with(|ambient| std::mem::swap(&mut ambient.borrow_mut().frames, frames));
}

/// `true` if this very claim is being worked on further up in the call chain.
pub(crate) fn is_claimed_above(digest: &Digest) -> bool {
    let same = |frame: &Frame| match frame {
        Frame::Call(call) => (call.claim() == Some(digest)).then_some(()),
        Frame::Gate(_) | Frame::Scope(_) => None,
    };
    nearest(same).flatten().is_some()
}

/// The tasks around, the nearest one first.
pub(crate) fn tasks_around() -> Vec<Arc<Scope>> {
    let task = |frame: &Frame| match frame {
        Frame::Call(call) => call.task().cloned(),
        Frame::Scope(_) | Frame::Gate(_) => None,
    };
    AMBIENT.try_with(|ambient| ambient.borrow().frames.iter().rev().filter_map(task).collect()).unwrap_or_default()
}

/// The gate of the nearest `gate.scope(…)`.
pub(crate) fn ambient_gate() -> Option<Portcullis> {
    let gate = |frame: &Frame| match frame {
        Frame::Gate(gate) => Some(gate.clone()),
        Frame::Scope(_) | Frame::Call(_) => None,
    };
    nearest(gate).flatten()
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
    let visit = frame.take().map(Visit::begin);
    let polled = poll();
    *frame = visit.and_then(Visit::end);
    polled
}

/// Pushes a frame until the answer is dropped.
pub(crate) fn pushed(frame: CallFrame) -> Pop {
    Pop { pushed: push(Frame::Call(frame)) }
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
            if let Some(Frame::Call(call)) = &mut popped {
                recent.keep(&mut call.account);
            }
            popped
        });
        // Out here nothing is borrowed: a frame may own the last reference to something that looks at the stack.
        drop(popped);
    }
}

/// A frame that is on the stack for the time of one poll.
#[must_use = "`end` takes the frame back"]
pub(crate) struct Visit {
    pushed: bool,
}

impl Visit {
    #[inline]
    pub(crate) fn begin(frame: Frame) -> Self {
        Visit { pushed: push(frame) }
    }

    /// The frame, unless the thread is ending.
    #[inline]
    pub(crate) fn end(mut self) -> Option<Frame> {
        self.pop()
    }

    fn pop(&mut self) -> Option<Frame> {
        if !std::mem::take(&mut self.pushed) {
            return None;
        }
        AMBIENT.try_with(|ambient| ambient.borrow_mut().frames.pop()).ok().flatten()
    }
}

/// The poll has panicked.
impl Drop for Visit {
    #[inline]
    fn drop(&mut self) {
        drop(self.pop());
    }
}
