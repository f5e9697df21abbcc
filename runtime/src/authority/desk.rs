//! Where questions are put to the authority, and where a refusal has its consequence.
//!
//! One I/O thread owns the provider's futures, and with them its HTTP client and kept-alive connections. A second
//! thread ([`watchdog`]) keeps the deadlines too, in case the first one is blocked by a provider.
//!
//! # Invariants
//! 1. Every question gets exactly one conclusion, by whoever takes it from its [`Case`] first.
//! 2. [`Answered::Allowed`] is sent only after each boundary was answered with an allow for our device before the
//!    deadline.
//! 3. A question that is dropped in any way without a conclusion is concluded as a fault ([`Armed`]).
//! 4. A consequence does not depend on whether the caller still waits.
//! 5. Nothing that belongs to others (a subscriber, a waker, a provider) runs between a conclusion and the end of the
//!    process that follows from it.
//! 6. In a fork, nothing here is locked, woken or waited for.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::Span;

mod caught;
mod event;
mod pace;
mod reason;

use self::caught::Caught;
use self::event::Event;
use self::pace::Pace;
use self::reason::Reason;
use super::watchdog::Watchdog;
use super::{Authority, DecisionId, Denial, Device, Fault, FaultKind, Question, Registration, Verdict};
use crate::boundary::{Boundary, OnRefusal};
use crate::halt::{self, Notice};
use crate::refused::{Kind, Refused};
use crate::ticket::{Reply, Ticket};

/// What is asked, and what follows a refusal.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Asked in this order; all must allow.
    pub(crate) boundaries: &'static [Boundary],
    pub(crate) action: Cow<'static, str>,
    /// `None`: the action.
    pub(crate) resource: Option<String>,
    pub(crate) width: Option<u64>,
    pub(crate) on_deny: OnRefusal,
    pub(crate) on_fault: OnRefusal,
}

/// What became of a question.
#[derive(Debug)]
#[must_use = "only `Allowed` lets the body run"]
pub(crate) enum Answered {
    /// Every boundary was allowed.
    Allowed,
    /// `OnRefusal::Return`.
    Refused(Refused),
    /// `OnRefusal::Exit` at a desk that [unwinds](Ending::Unwind): the caller carries it out.
    End(Notice),
}

/// How `OnRefusal::Exit` is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The process ends, from whichever thread comes to the conclusion.
    Process,
    /// The caller is told, and unwinds. For testing gates.
    Unwind,
}

/// See the module.
pub(crate) struct Desk {
    hall: Arc<Hall>,
    questions: mpsc::UnboundedSender<Job>,
    watchdog: Watchdog,
    pid: u32,
}

/// What the threads share.
struct Hall {
    authority: Arc<dyn Authority>,
    /// Asked once, because a provider's `name` is foreign code.
    name: String,
    device: Device,
    patience: Duration,
    ending: Ending,
    registered: AtomicBool,
    /// One registration at a time.
    registering: tokio::sync::Mutex<()>,
}

/// One question, from the asking to its conclusion.
pub(super) struct Case {
    hall: Arc<Hall>,
    ask: Ask,
    pub(super) deadline: Instant,
    /// Which of the boundaries is being asked.
    at: AtomicUsize,
    /// Taken by whoever concludes (invariant 1).
    waiting: Mutex<Option<Reply<Answered>>>,
}

/// A case on its way to the I/O thread.
struct Job {
    armed: Armed,
    span: Span,
}

/// Who concluded a case.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Concluded {
    Here,
    Before,
}

/// How a question ended.
enum Conclusion {
    Allowed(Option<DecisionId>),
    Denied(Denial),
    Fault(Fault),
    /// The process is ending anyway.
    Halted,
}

impl Desk {
    /// Starts the two threads.
    ///
    /// # Errors
    /// The operating system refuses a thread, or the event queue of the I/O thread.
    pub(crate) fn open(
        authority: Arc<dyn Authority>,
        device: Device,
        deadline: Duration,
        ending: Ending,
    ) -> Result<Desk, std::io::Error> {
        let name =
            catch_unwind(AssertUnwindSafe(|| authority.name().to_owned())).unwrap_or_else(|_| "authority".into());
        let hall = Arc::new(Hall {
            authority,
            name,
            device,
            patience: deadline,
            ending,
            registered: AtomicBool::new(false),
            registering: tokio::sync::Mutex::new(()),
        });
        // A name resolution that hangs occupies a thread; there is no use in hundreds of those.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(32).build()?;
        let watchdog = Watchdog::start(deadline)?;
        let (questions, jobs) = mpsc::unbounded_channel();
        let thread = thread::Builder::new().name("portcullis-io".into());
        thread.spawn(move || serve(runtime, jobs)).inspect_err(|_| watchdog.close())?;
        Ok(Desk { hall, questions, watchdog, pid: process::id() })
    }

    /// Puts a question. Returns at once.
    ///
    /// The ticket is answered by the deadline at the latest, unless the process ends.
    ///
    /// # Cancel safety
    /// Dropping the ticket undoes nothing: the question is asked to its end, and a refusal has its consequence.
    pub(crate) fn ask(&self, ask: Ask) -> Ticket<Answered> {
        if process::id() != self.pid {
            return Ticket::ready(self.hall.forked(&ask));
        }
        let (sender, ticket) = Ticket::new();
        let case = Arc::new(Case {
            hall: Arc::clone(&self.hall),
            ask,
            deadline: Instant::now() + self.hall.patience,
            at: AtomicUsize::new(0),
            waiting: Mutex::new(Some(sender)),
        });
        if halt::halted() {
            case.conclude(Conclusion::Halted);
            return ticket;
        }
        self.watchdog.watch(&case);
        let job = Job { armed: Armed(case), span: Span::current() };
        // If the I/O thread is gone, the job comes back, and its guard answers (invariant 3).
        drop(self.questions.send(job));
        ticket
    }
}

impl Drop for Desk {
    /// Questions in flight still have their consequence; then the threads end by themselves.
    fn drop(&mut self) {
        if process::id() == self.pid {
            self.watchdog.close();
        } else {
            // Invariant 6: one more owner each, and what would lock or wake is never dropped.
            std::mem::forget(Arc::clone(&self.hall));
            std::mem::forget(self.questions.clone());
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("authority", &self.hall.name)
            .field("device", &self.hall.device)
            .field("deadline", &self.hall.patience)
            .field("ending", &self.hall.ending)
            .finish_non_exhaustive()
    }
}

/// The I/O thread.
fn serve(runtime: tokio::runtime::Runtime, mut jobs: mpsc::UnboundedReceiver<Job>) {
    runtime.block_on(async move {
        // Every task holds a sender, so the receiver ends with the last of them.
        let (under_way, mut all_done) = mpsc::channel::<()>(1);
        let pace = Arc::new(Pace::new());
        while let Some(job) = pace::next(&mut jobs, &pace).await {
            let (under_way, pace) = (under_way.clone(), Arc::clone(&pace));
            tokio::spawn(async move {
                let taken = Instant::now();
                examine(job).await;
                pace.answered(taken);
                drop(under_way);
            });
        }
        drop(under_way);
        let _ = all_done.recv().await;
    });
    // A name resolution that hangs must not keep the thread.
    runtime.shutdown_background();
}

/// One question on the I/O thread.
async fn examine(Job { armed, span }: Job) {
    let case = &armed.0;
    let mut way = std::pin::pin!(case.go_through());
    let conclusion = match tokio::time::timeout_at(case.deadline.into(), &mut way).await {
        Ok(conclusion) => conclusion,
        Err(_) => Conclusion::Fault(case.too_late()),
    };
    let event = Event::of(&conclusion);
    // Invariant 5: events come after the consequence.
    match case.conclude(conclusion) {
        Concluded::Here => event.emit(case, &span),
        Concluded::Before => Event::overdue().emit(case, &span),
    }
}

impl Case {
    /// Asks at each boundary.
    async fn go_through(&self) -> Conclusion {
        let mut last = None;
        for (index, &boundary) in self.ask.boundaries.iter().enumerate() {
            self.at.store(index, Ordering::Relaxed);
            match self.ask_at(boundary).await {
                Ok(decision) => last = Some(decision),
                Err(refusal) => return refusal,
            }
        }
        match last {
            Some(decision) => Conclusion::Allowed(decision),
            // Invariant 2: no question, no allow.
            None => Conclusion::Fault(Fault::new(FaultKind::NotConfigured, "no boundary was named, so none was asked")),
        }
    }

    async fn ask_at(&self, boundary: Boundary) -> Result<Option<DecisionId>, Conclusion> {
        let hall = &*self.hall;
        hall.registration(boundary).await?;
        let question = Question {
            boundary,
            device: hall.device.clone(),
            action: self.ask.action.clone().into_owned(),
            resource: self.ask.resource.clone().unwrap_or_else(|| self.ask.action.clone().into_owned()),
            width: self.ask.width,
            deadline: self.deadline,
        };
        let verdict = Caught::new(|| hall.authority.decide(&question)).await.ok_or_else(|| hall.panicked())?;
        match verdict {
            Verdict::Allow(_) if Instant::now() >= self.deadline => Err(Conclusion::Fault(self.too_late())),
            Verdict::Allow(grant) => match grant.device() {
                Some(device) if device != hall.device.as_str() => {
                    let detail = format!("`{}` allowed another device", hall.name);
                    Err(Conclusion::Fault(Fault::new(FaultKind::Malformed, detail)))
                }
                _ => Ok(grant.decision().cloned()),
            },
            Verdict::Deny(denial) => Err(Conclusion::Denied(denial)),
            Verdict::Fault(fault) => Err(Conclusion::Fault(fault)),
        }
    }

    fn too_late(&self) -> Fault {
        let detail = format!("no complete answer from `{}` within {:?}", self.hall.name, self.hall.patience);
        Fault::new(FaultKind::Timeout, detail)
    }

    /// For the watchdog.
    pub(super) fn time_is_up(&self) {
        self.conclude(Conclusion::Fault(self.too_late()));
    }

    pub(super) fn is_concluded(&self) -> bool {
        self.waiting().is_none()
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Reply<Answered>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The boundary that is being asked.
    fn boundary(&self) -> &'static str {
        self.ask.boundaries.get(self.at.load(Ordering::Relaxed)).map_or("-", |boundary| boundary.name())
    }

    /// Carries out the consequence, if nobody has before.
    fn conclude(&self, conclusion: Conclusion) -> Concluded {
        let Some(sender) = self.waiting().take() else { return Concluded::Before };
        let answered = match conclusion {
            Conclusion::Allowed(_) if !halt::halted() => Answered::Allowed,
            Conclusion::Allowed(_) | Conclusion::Halted => {
                self.hall.consequence(&self.ask, self.boundary(), &Reason::halted())
            }
            Conclusion::Denied(denial) => self.hall.consequence(&self.ask, self.boundary(), &Reason::denied(&denial)),
            Conclusion::Fault(fault) => self.hall.consequence(&self.ask, self.boundary(), &Reason::fault(fault)),
        };
        // The caller may have gone; the consequence above does not depend on it (invariant 4).
        sender.send(answered);
        Concluded::Here
    }
}

impl Hall {
    async fn registration(&self, boundary: Boundary) -> Result<(), Conclusion> {
        let needed = || boundary == Boundary::Startup || !self.registered.load(Ordering::Acquire);
        if !needed() {
            return Ok(());
        }
        let _turn = self.registering.lock().await;
        if !needed() {
            return Ok(());
        }
        let registration =
            Caught::new(|| self.authority.register(&self.device)).await.ok_or_else(|| self.panicked())?;
        self.registered.store(matches!(registration, Registration::Accepted), Ordering::Release);
        match registration {
            Registration::Accepted => Ok(()),
            Registration::Refused(denial) => Err(Conclusion::Denied(denial)),
            Registration::Fault(fault) => Err(Conclusion::Fault(fault)),
        }
    }

    fn panicked(&self) -> Conclusion {
        Conclusion::Fault(Fault::new(FaultKind::Malformed, format!("the provider `{}` panicked", self.name)))
    }

    /// Invariant 6: uses nothing but its arguments and what never changes.
    fn forked(&self, ask: &Ask) -> Answered {
        self.consequence(ask, ask.boundaries.first().map_or("-", |boundary| boundary.name()), &Reason::forked())
    }

    fn consequence(&self, ask: &Ask, boundary: &'static str, reason: &Reason) -> Answered {
        let on_refusal = if reason.kind == Kind::Denied { ask.on_deny } else { ask.on_fault };
        match on_refusal {
            OnRefusal::Return => {
                Answered::Refused(reason.refused(&ask.action, &self.name, boundary, self.device.as_str()))
            }
            OnRefusal::Exit => {
                let notice = Notice {
                    kind: reason.kind,
                    boundary,
                    action: ask.action.clone().into_owned(),
                    device: self.device.as_str().to_owned(),
                    code: reason.code.clone(),
                    request_id: reason.request_id.clone(),
                };
                match self.ending {
                    Ending::Process => halt::end(&notice),
                    Ending::Unwind => Answered::End(notice),
                }
            }
        }
    }
}

/// Concludes as a fault what is dropped without a conclusion: a task that panicked, a runtime that was shut down.
struct Armed(Arc<Case>);

impl Drop for Armed {
    fn drop(&mut self) {
        if !self.0.is_concluded() {
            let detail = "the question was dropped before it was answered";
            self.0.conclude(Conclusion::Fault(Fault::new(FaultKind::Malformed, detail)));
        }
    }
}

#[cfg(test)]
mod tests;
